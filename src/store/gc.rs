//! Letting go of answers of models that no record is of any more.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::list_folders;
use super::scores::{self, Found, Scan, identity};
use crate::error::{Error, Result};
use crate::request::Key;
use crate::util::files;

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
    let mut used = models(out)?;
    let mut swept = Vec::new();
    let mut seen = BTreeSet::new();
    let files = scores::list(&scores::folder(out))?;
    let whole = whole_answers(&files)?;
    // Of an answer that stands twice the store takes the last, but none on its way beside a whole one.
    for path in files.into_iter().rev() {
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(|e| Error::io("open", &path, &e))?;
        if file.try_lock().is_err() {
            swept.push(Swept::InUse { path });
            continue;
        }
        let Scan { header, mut records, .. } = scores::scan(&path, &file)?;
        let bytes = file.metadata().map_err(|e| Error::io("read the size of", &path, &e))?.len();
        if header.as_ref().is_some_and(|header| !used.contains(&header.model)) {
            // A run may have begun and ended since they were listed; now that the file is locked none can.
            used = models(out)?;
        }
        let Some(header) = header.filter(|header| used.contains(&header.model)) else {
            if !dry {
                std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
            }
            swept.push(Swept::Removed { path, bytes });
            continue;
        };
        let head = serde_json::to_vec(&header).map_err(|e| Error::internal(format!("header: {e}")))?;
        records.reverse();
        records.retain(|found| {
            let answer = (header.model.clone(), found.key);
            (found.whole || !whole.contains(&answer)) && seen.insert(answer)
        });
        records.reverse();
        let kept = head.len() as u64 + 1 + records.iter().map(|found| found.length as u64).sum::<u64>();
        if kept >= bytes {
            continue;
        }
        if !dry {
            let mut content = head;
            content.push(b'\n');
            for Found { offset, length, .. } in records {
                let from = content.len();
                content.resize(from + length, 0);
                file.read_exact_at(&mut content[from..], offset).map_err(|e| Error::io("read", &path, &e))?;
            }
            // Whoever has the old file open reads on in it; nobody appends to it, since it is locked, and who opens it for
            // that looks whether it is still in its place.
            files::write_atomic(&path, &content)?;
        }
        swept.push(Swept::Rewritten { path, bytes: bytes - kept });
    }
    swept.reverse();
    Ok(swept)
}

/// Models and keys of all answers that are whole, in whatever file.
fn whole_answers(files: &[PathBuf]) -> Result<BTreeSet<(String, Key)>> {
    let mut whole = BTreeSet::new();
    for path in files {
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let Scan { header, records, .. } = scores::scan(path, &file)?;
        let Some(header) = header else { continue };
        whole.extend(records.iter().filter(|found| found.whole).map(|found| (header.model.clone(), found.key)));
    }
    Ok(whole)
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
