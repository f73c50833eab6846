//! Filling a store, over any number of processes one after another.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::header::Header;
use super::index::{Index, ShardRecord, shard_name};
use super::shard::{self, Rows};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::{files, hash};

/// A shard is written when it has as many bytes as this: not too many files, not too much to lose.
const SHARD_BYTES: usize = 32 << 20;
/// So many faulty rows are told.
const MAX_TOLD: usize = 20;

/// One row of an item, which has one, or one for each of its tokens.
#[derive(Debug, Clone, Copy)]
pub struct GradRow<'a> {
    /// The item's number, by which a reader finds it again.
    pub id: i64,
    pub loss: f32,
    /// Tokens that the loss is about.
    pub n_tokens: i32,
    /// In a store of tokens' rows: the token's place among the item's.
    pub position: Option<i32>,
    /// `[dim]`
    pub values: &'a [f32],
}

/// A store that this process alone appends to.
pub struct GradWriter {
    folder: PathBuf,
    index: Index,
    pending: Rows,
    /// Rows of a full shard; an item's rows stay together.
    shard_rows: usize,
    /// The last item that has rows.
    last: Option<i64>,
    /// Held until the writer goes.
    _lock: File,
}

impl GradWriter {
    /// Opens the store in `folder`, or starts one. What a killed process left half-done is removed.
    ///
    /// # Errors
    /// A store of other rows, with every difference named; another writer; a damaged shard before the last one.
    pub fn open(folder: &Path, header: &Header) -> Result<Self> {
        Error::check(header.layout.problems())?;
        files::create_folder(folder)?;
        let lock = lock(folder)?;
        let index = match Index::read(folder)? {
            Some(found) => {
                Error::check(header.differences(&found.header)).map_err(|error| {
                    error.in_file(super::index::path(folder)).help("use another folder for these gradients")
                })?;
                repaired(folder, found)?
            }
            None if has_shards(folder)? => {
                return Err(Error::bad("expected index.json beside shards of gradients, found none")
                    .in_file(folder)
                    .help("use another folder for these gradients, or remove what is there"));
            }
            None => Index::new(header.clone()),
        };
        sweep(folder, index.shards.len())?;
        let shard_rows = (SHARD_BYTES / header.layout.row_bytes()).max(1);
        let last = match index.shards.last() {
            Some(record) => Some(shard::last_id(&folder.join(&record.file), &index.header, record.rows)?),
            None => None,
        };
        Ok(Self { folder: folder.to_path_buf(), index, pending: Rows::default(), shard_rows, last, _lock: lock })
    }

    /// The last item that has rows, with those that are still in memory. After [`Self::open`]: behind which to go on.
    pub fn last_item(&self) -> Option<i64> {
        self.last
    }

    /// Rows so far, with those that are still in memory.
    pub fn rows(&self) -> u64 {
        self.index.rows + self.pending.len() as u64
    }

    /// Takes all rows of some items over, and writes full shards. Rows that do not fill one are written by
    /// [`Self::flush`].
    ///
    /// # Errors
    /// Rows of another width, and losses or gradients that are no numbers, by item; then none of them is taken.
    pub fn append(&mut self, rows: &[GradRow<'_>]) -> Result<()> {
        let problems: Vec<Diagnostic> = rows.iter().filter_map(|row| self.problem(row)).take(MAX_TOLD).collect();
        Error::check(problems)?;
        for row in rows {
            if self.pending.len() >= self.shard_rows && self.last != Some(row.id) {
                self.flush()?;
            }
            self.last = Some(row.id);
            let Rows { grads, ids, losses, norms, n_tokens, positions, saturated } = &mut self.pending;
            *saturated += self.index.header.layout.dtype.encode(row.values, grads);
            ids.push(row.id);
            losses.push(row.loss);
            norms.push(row.values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32);
            n_tokens.push(row.n_tokens);
            positions.extend(row.position);
        }
        Ok(())
    }

    fn problem(&self, row: &GradRow<'_>) -> Option<Diagnostic> {
        let layout = &self.index.header.layout;
        let message = if row.values.len() != layout.dim() {
            format!("expected a gradient of {} numbers, found {}", layout.dim(), row.values.len())
        } else if !row.loss.is_finite() {
            format!("expected a finite loss, found {}", row.loss)
        } else if row.position.is_some() != self.index.header.per_token {
            "expected a position in stores of tokens' rows, and there alone".to_owned()
        } else if row.n_tokens < 0 {
            format!("expected a number of tokens, found {}", row.n_tokens)
        } else {
            let at = row.values.iter().position(|value| !value.is_finite())?;
            let module = layout.modules.iter().find(|module| module.columns().contains(&at));
            let name = module.map_or("", |module| module.name.as_str());
            format!("expected a finite gradient, found {} in {name}", row.values[at])
        };
        Some(Diagnostic::new(message).at(format!("item {}", row.id)))
    }

    /// Writes what is in memory as a shard of its own. After it a kill loses nothing that was appended before.
    pub fn flush(&mut self) -> Result<()> {
        if self.pending.len() == 0 {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let bytes = pending.file(&self.index.header, self.index.rows)?;
        let file = shard_name(self.index.shards.len());
        files::write_atomic(&self.folder.join(&file), &bytes)?;
        let (row_start, rows) = (self.index.rows, pending.len() as u64);
        let sha256 = hash::sha256_hex(&bytes);
        self.index.shards.push(ShardRecord { file, row_start, rows, sha256, saturated: pending.saturated });
        self.index.rows += rows;
        self.index.complete = false;
        self.index.write(&self.folder)
    }

    /// Writes the rest and says that everything is there.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.index.complete = true;
        self.index.write(&self.folder)
    }
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| Error::io("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::bad("expected a store that nobody writes, found another veval at work").in_file(folder))
        }
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, &e)),
    }
}

/// The index without a last shard that is torn. Earlier ones cannot be made again without those behind them.
fn repaired(folder: &Path, mut index: Index) -> Result<Index> {
    let check = |record: &ShardRecord| shard::open(&folder.join(&record.file), &index.header, record.rows).map(drop);
    let Some((last, earlier)) = index.shards.split_last() else { return Ok(index) };
    let problems = earlier.iter().filter_map(|record| check(record).err()).flat_map(Error::into_diagnostics);
    let problems: Vec<Diagnostic> = problems.collect();
    Error::check(problems).map_err(|error| error.help("copy the shard again, or collect into another folder"))?;
    let whole = check(last).is_ok() && hash::sha256_hex_of_file(&folder.join(&last.file))? == last.sha256;
    if !whole {
        index.rows = last.row_start;
        index.shards.pop();
        index.complete = false;
        index.write(folder)?;
    }
    Ok(index)
}

/// Whether there are shards that no index says anything about: somebody's, or of a store that lost its index.
fn has_shards(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, &e))? {
        let entry = entry.map_err(|e| Error::io("list", folder, &e))?;
        if shard_number(&entry.file_name().to_string_lossy()).is_some_and(|number| number > 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The number in the name of a shard.
fn shard_number(name: &str) -> Option<usize> {
    name.strip_prefix("grads-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// Removes neighbours that were never renamed, and shards that no index came to name.
fn sweep(folder: &Path, shards: usize) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list", folder, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let neighbour = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")?.rsplit_once('.'));
        let torn = neighbour.is_some_and(|(name, _)| name == "index.json" || shard_number(name).is_some());
        if torn || shard_number(&name).is_some_and(|number| number >= shards) {
            std::fs::remove_file(entry.path()).map_err(|e| Error::io("remove", &entry.path(), &e))?;
        }
    }
    Ok(())
}
