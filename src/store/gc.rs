//! Letting go of answers that no record refers to any more.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::list_folders;
use super::scores::{self, Scan, identity};
use crate::error::{Error, Result};

/// What became of one score file.
#[derive(Debug, PartialEq, Eq)]
pub enum Swept {
    /// No run under the folder is of this model.
    Removed { path: PathBuf, bytes: u64 },
    /// Damaged, torn or doubled records were left out.
    Rewritten { path: PathBuf, bytes: u64 },
    /// Another process appends to it.
    InUse { path: PathBuf },
}

/// Removes the answers of models that no run under `out` records, and what is damaged or stands twice in the files of
/// the others. With `dry` only says what it would do.
pub fn sweep(out: &Path, dry: bool) -> Result<Vec<Swept>> {
    let used = models(out)?;
    let mut swept = Vec::new();
    let mut seen = BTreeSet::new();
    for path in scores::list(&scores::folder(out))? {
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(|e| Error::io("open", &path, &e))?;
        if file.try_lock().is_err() {
            swept.push(Swept::InUse { path });
            continue;
        }
        let Scan { header, mut records, .. } = scores::scan(&path, &file)?;
        let bytes = file.metadata().map_err(|e| Error::io("read the size of", &path, &e))?.len();
        let Some(header) = header.filter(|header| used.contains(&header.model)) else {
            if !dry {
                std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
            }
            swept.push(Swept::Removed { path, bytes });
            continue;
        };
        let head = serde_json::to_vec(&header).map_err(|e| Error::internal(format!("header: {e}")))?;
        records.retain(|(key, ..)| seen.insert((header.model.clone(), *key)));
        let kept = head.len() as u64 + 1 + records.iter().map(|(.., length)| *length as u64).sum::<u64>();
        if kept >= bytes {
            continue;
        }
        if !dry {
            let mut content = head;
            content.push(b'\n');
            for (_, offset, length) in records {
                let from = content.len();
                content.resize(from + length, 0);
                file.read_exact_at(&mut content[from..], offset).map_err(|e| Error::io("read", &path, &e))?;
            }
            // In place of a rename: a lock belongs to the file, and somebody may be waiting to append to it.
            file.set_len(0).and_then(|()| (&file).write_all(&content)).map_err(|e| Error::io("write", &path, &e))?;
        }
        swept.push(Swept::Rewritten { path, bytes: bytes - kept });
    }
    Ok(swept)
}

/// The models of all runs and parts of runs.
fn models(out: &Path) -> Result<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    let suites = std::fs::read_dir(out).map_err(|e| Error::io("list", out, &e))?;
    for suite in suites {
        let suite = suite.map_err(|e| Error::io("list", out, &e))?.path();
        if !suite.is_dir() || suite == scores::folder(out) {
            continue;
        }
        for run in list_folders(&suite)? {
            let shards = run.shards()?.into_iter().map(|(_, manifest)| manifest);
            let all = run.manifest()?.into_iter().chain(shards);
            used.extend(all.map(|manifest| identity(&manifest.model, &manifest.tokenizer)));
        }
    }
    Ok(used)
}

/// Bytes that were let go, or would be.
impl Swept {
    pub fn freed(&self) -> u64 {
        match self {
            Self::Removed { bytes, .. } | Self::Rewritten { bytes, .. } => *bytes,
            Self::InUse { .. } => 0,
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Removed { path, .. } | Self::Rewritten { path, .. } | Self::InUse { path } => path,
        }
    }
}
