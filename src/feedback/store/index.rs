//! `index.json`: what the rows are, and where.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::header::Header;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

const FORMAT: &str = "veval.grads/1";
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Index {
    pub format: String,
    pub rows: u64,
    pub dim: usize,
    #[serde(flatten)]
    pub header: Header,
    pub shards: Vec<ShardRecord>,
    /// Whether everything that was wanted is there.
    pub complete: bool,
}

/// A whole shard. An item's rows are in one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardRecord {
    pub file: String,
    pub row_start: u64,
    pub rows: u64,
    /// Of the file.
    pub sha256: String,
    /// Numbers that were beyond the element type's range.
    #[serde(default)]
    pub saturated: u64,
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("index.json")
}

/// The name of a shard.
pub(super) fn shard_name(number: usize) -> String {
    format!("grads-{number:05}.safetensors")
}

impl Index {
    pub fn new(header: Header) -> Self {
        let dim = header.layout.dim();
        Self { format: FORMAT.to_owned(), rows: 0, dim, header, shards: Vec::new(), complete: false }
    }

    /// Reads and checks an index; `None` where there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = path(folder);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path, MAX_INDEX_BYTES)?;
        Self::parse(&text).map(Some).map_err(|error| error.in_file(&path))
    }

    fn parse(text: &str) -> Result<Self> {
        /// Read before the rest: a later format may have other fields.
        #[derive(Deserialize)]
        struct Start {
            format: String,
        }
        let bad = |e: serde_json::Error| Error::bad(format!("expected an index of gradients: {e}"));
        let start: Start = serde_json::from_str(text).map_err(bad)?;
        if start.format != FORMAT {
            return Err(Error::bad(format!("expected format {FORMAT}, found {:?}", start.format))
                .help("a newer veval wrote it, or it is no store of gradients"));
        }
        let index: Self = serde_json::from_str(text).map_err(bad)?;
        Error::check(index.problems())?;
        Ok(index)
    }

    fn problems(&self) -> Vec<Diagnostic> {
        let mut problems = self.header.layout.problems();
        let mut expect = |what: &str, expected: String, found: String| {
            if expected != found {
                problems.push(Diagnostic::new(format!("expected {expected}, found {found}")).at(what));
            }
        };
        expect("dim", self.header.layout.dim().to_string(), self.dim.to_string());
        let mut rows = 0u64;
        for (number, shard) in self.shards.iter().enumerate() {
            let place = format!("shard {number}");
            expect(&place, format!("row_start {rows}"), format!("row_start {}", shard.row_start));
            rows = rows.saturating_add(shard.rows);
            if shard.rows == 0 {
                expect(&place, "rows".to_owned(), "none".to_owned());
            }
            if !is_plain(&shard.file) {
                expect(&place, "the name of a file beside the index".to_owned(), format!("{:?}", shard.file));
            }
            if shard.sha256.len() != 64 || !shard.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                expect(&place, "a sha256 of 64 hexadecimal digits".to_owned(), format!("{:?}", shard.sha256));
            }
        }
        expect("rows", rows.to_string(), self.rows.to_string());
        problems
    }

    /// Replaces the file.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(|e| Error::internal(format!("index.json: {e}")))?;
        text.push('\n');
        files::write_atomic(&path(folder), text.as_bytes())
    }
}

fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains('\\')
}
