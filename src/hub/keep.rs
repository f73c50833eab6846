//! The cache, written: references, links to contents, notes of what is absent, and locks, as Python's
//! `huggingface_hub` writes them.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::address::{Commit, RepoPath, Revision};
use super::cache::RepoCache;
use super::digest::Digest;
use super::event::{Event, Events};
use super::transport::{TICK, sleep};
use crate::error::{Error, Result};
use crate::util::files;

/// A content that no other process may write as long as this lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl RepoCache {
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    /// Where a content grows until it is whole.
    pub fn incomplete(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", digest.hex()))
    }

    /// Waits until a content is this process's own.
    pub fn lock(&self, digest: &Digest, file: &str, events: &mut Events<'_>) -> Result<Lock> {
        files::create_folder(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", digest.hex()));
        let mut told = false;
        loop {
            let open = File::options().write(true).create(true).truncate(false).open(&path);
            let opened = open.map_err(|e| Error::io("open", &path, &e))?;
            match opened.try_lock() {
                // The process before may have removed the file together with its lock.
                Ok(()) if is_at(&opened, &path) => return Ok(Lock { _file: opened }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        events(&Event::Waiting { file });
                        told = true;
                    }
                    sleep(TICK)?;
                }
                Err(TryLockError::Error(error)) => {
                    let error = Error::io("lock", &path, &error);
                    return Err(error.help("put the cache on a file system with locks: HF_HUB_CACHE names its folder"));
                }
            }
        }
    }

    /// Notes which commit a branch or tag is at.
    pub fn set_commit(&self, revision: &Revision, commit: &Commit) -> Result<()> {
        // Whole files are written by way of a neighbour that bears the process's number: one thread at a time.
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join("refs").join(revision.as_str());
        let known = fs::read(&path).is_ok_and(|known| known == commit.as_str().as_bytes());
        if known || revision.commit().is_some() {
            return Ok(());
        }
        create_parent(&path)?;
        files::write_atomic(&path, commit.as_str().as_bytes())
    }

    /// Notes that a commit has no such file.
    pub fn set_absent(&self, commit: &Commit, path: &RepoPath) -> Result<()> {
        let path = self.folder.join(".no_exist").join(commit.as_str()).join(path.as_str());
        create_parent(&path)?;
        fs::write(&path, b"").map_err(|e| Error::io("write", &path, &e))
    }

    /// Puts a content in its place in a commit's snapshot.
    pub fn link(&self, commit: &Commit, path: &RepoPath, digest: &Digest) -> Result<PathBuf> {
        let place = self.snapshot(commit).join(path.as_str());
        create_parent(&place)?;
        let up = "../".repeat(1 + path.as_str().split('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", digest.hex()));
        // A dangling link may be left; a right one by another process that was as fast.
        match symlink(&target, &place) {
            Err(_) if place.is_file() => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let replaced = fs::remove_file(&place).and_then(|()| symlink(&target, &place));
                replaced.map_err(|e| Error::io("link", &place, &e))?;
            }
            other => other.map_err(|e| Error::io("link", &place, &e))?,
        }
        Ok(place)
    }
}

/// Whether an open file is still the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => id(open) == id(named),
        _ => false,
    }
}

fn create_parent(path: &Path) -> Result<()> {
    files::create_folder(path.parent().unwrap_or(path))
}
