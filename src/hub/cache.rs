//! The cache of Python's `huggingface_hub`, read. For each repository a folder:
//!
//! ```text
//! models--owner--name/
//!   refs/main                       the commit that a branch or tag was at, 40 hexadecimal digits
//!   blobs/<etag>                    contents, by SHA-256 (large files) or git's SHA-1
//!   snapshots/<commit>/config.json  -> ../../blobs/<etag>
//!   trees/<commit>.json             all files of the commit, where huggingface_hub 2 has listed them
//!   .no_exist/<commit>/<path>       empty: this file is not in the repository
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::address::{Commit, Repo, RepoPath, Revision};
use crate::error::{Error, Result};
use crate::util::files;

const MAX_TREE_BYTES: u64 = 256 << 20;
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: usize = 16;

/// One repository's folder, which need not exist.
#[derive(Debug)]
pub(super) struct RepoCache {
    pub(super) folder: PathBuf,
    #[cfg(feature = "hub")]
    pub(super) locks: PathBuf,
}

impl RepoCache {
    pub fn new(cache: &Path, repo: &Repo) -> Self {
        let name = repo.folder();
        Self {
            folder: cache.join(&name),
            #[cfg(feature = "hub")]
            locks: cache.join(".locks").join(&name),
        }
    }

    pub fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.folder.join("snapshots").join(commit.as_str())
    }

    /// A folder or file of a snapshot, or the snapshot itself.
    pub fn place(&self, commit: &Commit, path: Option<&RepoPath>) -> PathBuf {
        let snapshot = self.snapshot(commit);
        path.map_or_else(|| snapshot.clone(), |path| snapshot.join(path.as_str()))
    }

    /// The commit that a revision was at when somebody last asked the hub.
    pub fn commit_of(&self, revision: &Revision) -> Result<Option<Commit>> {
        if let Some(commit) = revision.commit() {
            return Ok(Some(commit));
        }
        let path = self.folder.join("refs").join(revision.as_str());
        if !path.is_file() {
            return Ok(None);
        }
        let text = files::read_text(&path, 1024)?;
        let commit = Commit::parse(text.trim()).ok_or_else(|| {
            Error::bad(format!("expected a commit of 40 hexadecimal digits, found {:?}", text.trim()))
                .in_file(&path)
                .help("delete the file; it is written anew when the hub is asked")
        })?;
        Ok(Some(commit))
    }

    /// The file, if it is here.
    pub fn find(&self, commit: &Commit, path: &RepoPath) -> Option<PathBuf> {
        let found = self.snapshot(commit).join(path.as_str());
        found.is_file().then_some(found)
    }

    /// Whether the hub has said that the commit has no such file.
    pub fn is_absent(&self, commit: &Commit, path: &RepoPath) -> bool {
        self.folder.join(".no_exist").join(commit.as_str()).join(path.as_str()).is_file()
    }

    /// All files of a commit, where a listing of them was kept.
    pub fn listed(&self, commit: &Commit) -> Option<BTreeSet<RepoPath>> {
        let path = self.folder.join("trees").join(format!("{commit}.json"));
        let text = files::read_bounded(&path, MAX_TREE_BYTES).ok()?;
        let tree: Map<String, Value> = serde_json::from_slice(&text).ok()?;
        // A listing of a later format says nothing that is known here; the files themselves still do.
        let files = tree.get("files").filter(|_| tree.get("format_version") == Some(&Value::from(1)))?;
        files.as_object()?.keys().map(|name| RepoPath::parse(name)).collect()
    }

    /// The files of a commit that are here.
    pub fn present(&self, commit: &Commit) -> Result<BTreeSet<RepoPath>> {
        let root = self.snapshot(commit);
        let mut found = BTreeSet::new();
        let mut open = vec![(root.clone(), 0)];
        while let Some((folder, depth)) = open.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.map_err(|e| Error::io("list", &folder, &e))?.path();
                let name = path.strip_prefix(&root).ok().and_then(Path::to_str).and_then(RepoPath::parse);
                // Folders are real ones, files are mostly links; a dangling link is no file.
                if path.is_symlink() || !path.is_dir() {
                    found.extend(name.filter(|_| path.is_file()));
                } else if depth < MAX_DEPTH {
                    open.push((path, depth + 1));
                }
            }
            if found.len() > MAX_FILES {
                return Err(Error::bad(format!("expected at most {MAX_FILES} files, found more")).in_file(root));
            }
        }
        Ok(found)
    }
}
