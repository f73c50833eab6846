//! Reading a store: by position, in pieces, no memory map, so a file that shrinks is an error and no crash.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::header::{Header, Layout};
use super::index::Index;
use super::{bergson, shard};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::cpu::Isa;
use crate::util::hash;

/// A store, or an index of Bergson's, open for reading.
#[derive(Debug)]
pub struct GradStore {
    folder: PathBuf,
    layout: Layout,
    /// `None`: an index of Bergson's, which does not say.
    index: Option<Index>,
    parts: Vec<Part>,
    /// Of an index of Bergson's with tokens' rows: where those of each item begin, and where the last ends.
    offsets: Option<Vec<u64>>,
}

/// Consecutive rows in one file.
#[derive(Debug)]
pub(super) struct Part {
    pub path: PathBuf,
    pub rows: Range<u64>,
    /// Where the first row begins.
    pub grads: u64,
    /// Where the columns begin, in a shard of ours.
    pub columns: Option<shard::Places>,
}

/// What is known about one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowInfo {
    pub row: u64,
    /// The item's number; the row where the store has none.
    pub id: i64,
    /// What else a store of ours has.
    pub item: Option<ItemInfo>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemInfo {
    pub loss: f32,
    /// Length of the row before it was rounded.
    pub norm: f32,
    pub n_tokens: i32,
    /// Of a token's row: its place among the item's tokens.
    pub position: Option<i32>,
}

impl GradStore {
    /// Opens the folder of a store, or of a Bergson index (`info.json`). Headers of all shards are checked; their
    /// content only by [`Self::verify`].
    pub fn open(folder: &Path) -> Result<Self> {
        if let Some(index) = Index::read(folder)? {
            return Self::of_index(folder, index);
        }
        if let Some(found) = bergson::open(folder)? {
            let bergson::Found { layout, part, offsets } = found;
            return Ok(Self { folder: folder.to_path_buf(), layout, index: None, parts: vec![part], offsets });
        }
        Err(Error::bad("expected index.json of a store of gradients, or Bergson's info.json, found neither")
            .in_file(folder))
    }

    fn of_index(folder: &Path, index: Index) -> Result<Self> {
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        for record in &index.shards {
            let path = folder.join(&record.file);
            match shard::open(&path, &index.header, record.rows) {
                Ok(places) => {
                    let rows = record.row_start..record.row_start + record.rows;
                    parts.push(Part { path, rows, grads: places.grads, columns: Some(places) });
                }
                Err(error) => problems.extend(error.into_diagnostics()),
            }
        }
        Error::check(problems)?;
        let layout = index.header.layout.clone();
        Ok(Self { folder: folder.to_path_buf(), layout, index: Some(index), parts, offsets: None })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Of which checkpoint the rows are. `None` for an index of Bergson's, which does not say.
    pub fn header(&self) -> Option<&Header> {
        self.index.as_ref().map(|index| &index.header)
    }

    /// Whether a row is a token's.
    pub fn is_per_token(&self) -> bool {
        self.offsets.is_some() || self.header().is_some_and(|header| header.per_token)
    }

    /// Whether its writer finished.
    pub fn is_complete(&self) -> bool {
        self.index.as_ref().is_none_or(|index| index.complete)
    }

    /// Numbers that were stored as the largest of their type.
    pub fn saturated(&self) -> u64 {
        self.index.iter().flat_map(|index| &index.shards).map(|shard| shard.saturated).sum()
    }

    pub fn len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.rows.end)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares every shard with the hash in the index.
    pub fn verify(&self) -> Result<()> {
        let mut problems = Vec::new();
        for record in self.index.iter().flat_map(|index| &index.shards) {
            let path = self.folder.join(&record.file);
            let found = hash::sha256_hex_of_file(&path)?;
            if !found.eq_ignore_ascii_case(&record.sha256) {
                let message = format!("expected sha256 {}, found {found}", record.sha256);
                problems.push(Diagnostic::new(message).in_file(path).help("the shard was damaged; copy it again"));
            }
        }
        Error::check(problems)
    }

    /// Whether rows of another store may be multiplied with these: same modules, projection, checkpoint and sign.
    /// Normalizers and reductions may differ, as they do in LESS.
    pub fn comparable(&self, other: &Self) -> Result<()> {
        let white = |store: &Self| store.header().is_some_and(|header| header.whitening.is_some());
        let problems = match (self.header(), other.header()) {
            (Some(mine), Some(theirs)) => mine.incomparable(theirs),
            // An index of Bergson's does not say; its rows are as they were.
            _ if white(self) != white(other) => {
                vec![
                    Diagnostic::new("expected rows that are both whitened or both not, found one of each")
                        .at("whitening"),
                ]
            }
            _ => self.layout.differences(&other.layout),
        };
        Error::check(problems).map_err(|error| error.in_file(&other.folder))
    }

    /// Rows, widened: `[rows, dim]`.
    pub fn rows(&self, range: Range<u64>) -> Result<Vec<f32>> {
        let mut bytes = Vec::new();
        self.read(range, &mut bytes)?;
        let mut values = vec![0.0; bytes.len() / self.layout.dtype.size()];
        self.layout.dtype.widen(Isa::best(), &bytes, &mut values);
        Ok(values)
    }

    /// Rows as they are stored, into a buffer that is used again and again.
    pub(super) fn read(&self, range: Range<u64>, bytes: &mut Vec<u8>) -> Result<()> {
        if range.start > range.end || range.end > self.len() {
            let (Range { start, end }, rows) = (range, self.len());
            return Err(Error::bad(format!("expected rows below {rows}, found {start} to {end}")).in_file(&self.folder));
        }
        let width = self.layout.row_bytes();
        bytes.resize((range.end - range.start) as usize * width, 0);
        let mut rest = bytes.as_mut_slice();
        let first = self.parts.partition_point(|part| part.rows.end <= range.start);
        for part in &self.parts[first..] {
            let (from, to) = (range.start.max(part.rows.start), range.end.min(part.rows.end));
            if from >= to {
                break;
            }
            let (own, behind) = rest.split_at_mut((to - from) as usize * width);
            rest = behind;
            let file = File::open(&part.path).map_err(|e| Error::io("open", &part.path, &e))?;
            file.read_exact_at(own, part.grads + (from - part.rows.start) * width as u64)
                .map_err(|e| Error::io("read", &part.path, &e))?;
        }
        Ok(())
    }

    /// What is known about a row.
    pub fn info(&self, row: u64) -> Result<RowInfo> {
        let part = self.parts.get(self.parts.partition_point(|part| part.rows.end <= row));
        let Some(part) = part else {
            let message = format!("expected a row below {}, found {row}", self.len());
            return Err(Error::bad(message).in_file(&self.folder));
        };
        let Some(columns) = &part.columns else {
            let item = |offsets: &Vec<u64>| offsets.partition_point(|&first| first <= row).saturating_sub(1) as u64;
            return Ok(RowInfo { row, id: self.offsets.as_ref().map_or(row, item) as i64, item: None });
        };
        let file = File::open(&part.path).map_err(|e| Error::io("open", &part.path, &e))?;
        let at = row - part.rows.start;
        let read = || -> std::io::Result<RowInfo> {
            let four = |column: u64| -> std::io::Result<[u8; 4]> {
                let mut bytes = [0; 4];
                file.read_exact_at(&mut bytes, column + at * 4).map(|()| bytes)
            };
            let mut id = [0; 8];
            file.read_exact_at(&mut id, columns.ids + at * 8)?;
            let item = ItemInfo {
                loss: f32::from_le_bytes(four(columns.losses)?),
                norm: f32::from_le_bytes(four(columns.norms)?),
                n_tokens: i32::from_le_bytes(four(columns.n_tokens)?),
                position: columns.positions.map(four).transpose()?.map(i32::from_le_bytes),
            };
            Ok(RowInfo { row, id: i64::from_le_bytes(id), item: Some(item) })
        };
        read().map_err(|e| Error::io("read", &part.path, &e))
    }

    /// Runs of rows whose bytes together are about `block`.
    pub(super) fn blocks(&self, block: usize) -> impl Iterator<Item = Range<u64>> {
        let step = (block / self.layout.row_bytes()).max(1);
        let rows = self.len();
        (0..rows).step_by(step).map(move |from| from..rows.min(from + step as u64))
    }
}
