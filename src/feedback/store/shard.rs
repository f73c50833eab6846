//! A shard: one safetensors file, written whole.
//!
//! Columns of fixed width stand before the rows, so that every tensor starts at a multiple of its element.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::header::Header;
use crate::error::{Error, Result};

const MAX_HEADER_BYTES: u64 = 64 << 20;
const METADATA: &str = "__metadata__";

/// Rows that are not on disk yet.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// `[rows, dim]`, encoded.
    pub grads: Vec<u8>,
    pub ids: Vec<i64>,
    pub losses: Vec<f32>,
    pub norms: Vec<f32>,
    pub n_tokens: Vec<i32>,
    /// Of a row of a token: its place among the item's tokens. Else empty.
    pub positions: Vec<i32>,
    pub saturated: u64,
}

/// Where the tensors of a shard begin in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub grads: u64,
    pub ids: u64,
    pub losses: u64,
    pub norms: u64,
    pub n_tokens: u64,
    /// In a store of tokens' rows.
    pub positions: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Names, element types and sizes of the columns, in the order of the file. The rows come last.
const COLUMNS: [(&str, &str, u64); 4] =
    [("row_id", "I64", 8), ("loss", "F32", 4), ("norm", "F32", 4), ("n_tokens", "I32", 4)];
const GRADS: &str = "grads";
/// In a store of tokens' rows, before the other columns: where the rows of each item begin, and where the last ends.
const OFFSETS: &str = "offsets";
/// Likewise, behind them.
const POSITION: &str = "position";

impl Rows {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Where the rows of each item begin, and where the last ends.
    fn offsets(&self) -> Vec<i64> {
        let mut end = 0;
        let ends = self.ids.chunk_by(|a, b| a == b).map(|own| {
            end += own.len() as i64;
            end
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// The whole file. `first`: the number of the first row.
    pub fn file(&self, header: &Header, first: u64) -> Result<Vec<u8>> {
        let rows = self.len() as u64;
        let (mut tensors, mut end) = (Map::new(), 0);
        tensors.insert(METADATA.to_owned(), metadata(header, first, rows));
        let mut put = |name: &str, dtype: &str, shape: Vec<u64>, bytes: u64| {
            let tensor = Tensor { dtype: dtype.to_owned(), shape, data_offsets: [end, end + bytes] };
            end += bytes;
            tensors.insert(name.to_owned(), json!(tensor));
        };
        let offsets = if header.per_token { self.offsets() } else { Vec::new() };
        if header.per_token {
            put(OFFSETS, "I64", vec![offsets.len() as u64], 8 * offsets.len() as u64);
        }
        for (name, dtype, size) in COLUMNS {
            put(name, dtype, vec![rows], rows * size);
        }
        if header.per_token {
            put(POSITION, "I32", vec![rows], 4 * rows);
        }
        let layout = &header.layout;
        put(GRADS, layout.dtype.safetensors(), vec![rows, layout.dim() as u64], self.grads.len() as u64);
        let mut text = serde_json::to_vec(&tensors).map_err(|e| Error::internal(format!("shard header: {e}")))?;
        // The data begin at a multiple of eight.
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut file = Vec::with_capacity(8 + text.len() + end as usize);
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text);
        file.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
        file.extend(self.ids.iter().flat_map(|id| id.to_le_bytes()));
        file.extend(self.losses.iter().flat_map(|loss| loss.to_le_bytes()));
        file.extend(self.norms.iter().flat_map(|norm| norm.to_le_bytes()));
        file.extend(self.n_tokens.iter().flat_map(|count| count.to_le_bytes()));
        file.extend(self.positions.iter().flat_map(|position| position.to_le_bytes()));
        file.extend(&self.grads);
        Ok(file)
    }
}

/// What a reader who has only this file must know. Values are texts, as safetensors wants them.
fn metadata(header: &Header, first: u64, rows: u64) -> Value {
    let mut texts = Map::new();
    texts.insert("format".to_owned(), "pt".into());
    texts.insert("veval".to_owned(), "veval.grads/1".into());
    texts.insert("row_start".to_owned(), first.to_string().into());
    texts.insert("rows".to_owned(), rows.to_string().into());
    if let Ok(Value::Object(fields)) = serde_json::to_value(header) {
        for (name, value) in fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            texts.insert(name, text.into());
        }
    }
    Value::Object(texts)
}

/// Reads the header of a shard that must have so many rows, and checks it against the file's size.
pub(super) fn open(path: &Path, header: &Header, rows: u64) -> Result<Places> {
    let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let size = file.metadata().map_err(|e| Error::io("read the size of", path, &e))?.len();
    let bad = |message: String| Error::bad(message).in_file(path).help("the shard is cut short or is another file");
    if size < 8 {
        return Err(bad(format!("expected a shard of at least 8 bytes, found {size}")));
    }
    let mut prefix = [0; 8];
    file.read_exact_at(&mut prefix, 0).map_err(|e| Error::io("read", path, &e))?;
    let length = u64::from_le_bytes(prefix);
    let most = MAX_HEADER_BYTES.min(size - 8);
    if length > most {
        return Err(bad(format!("expected a header of at most {most} bytes, found a length of {length}")));
    }
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, 8).map_err(|e| Error::io("read", path, &e))?;
    let mut tensors: BTreeMap<String, Value> =
        serde_json::from_slice(&text).map_err(|e| bad(format!("expected a safetensors header: {e}")))?;
    let data = 8 + length;
    let mut place = |name: &str, dtype: &str, shape: &[u64], size_of: u64| {
        let value = tensors.remove(name).ok_or_else(|| bad(format!("expected the tensor {name}, found none")))?;
        let tensor: Tensor =
            serde_json::from_value(value).map_err(|e| bad(format!("expected a tensor {name}: {e}")))?;
        let bytes = shape.iter().try_fold(size_of, |bytes, length| bytes.checked_mul(*length));
        let [begin, end] = tensor.data_offsets;
        if tensor.dtype != dtype || tensor.shape != shape || end.checked_sub(begin) != bytes {
            let Tensor { dtype: found, shape: of, .. } = tensor;
            return Err(bad(format!("expected {name} as {dtype} {shape:?}, found {found} {of:?} in {begin}..{end}")));
        }
        if end > size - data {
            return Err(bad(format!("expected {} bytes, found {size}", data.saturating_add(end))));
        }
        Ok(data + begin)
    };
    let layout = &header.layout;
    let mut columns = [0; COLUMNS.len()];
    for (at, (name, dtype, size)) in columns.iter_mut().zip(COLUMNS) {
        *at = place(name, dtype, &[rows], size)?;
    }
    let positions = if header.per_token { Some(place(POSITION, "I32", &[rows], 4)?) } else { None };
    let shape = [rows, layout.dim() as u64];
    let grads = place(GRADS, layout.dtype.safetensors(), &shape, layout.dtype.size() as u64)?;
    let [ids, losses, norms, n_tokens] = columns;
    Ok(Places { grads, ids, losses, norms, n_tokens, positions })
}

/// The item of the last row.
pub(super) fn last_id(path: &Path, header: &Header, rows: u64) -> Result<i64> {
    let at = open(path, header, rows)?.ids + 8 * rows.saturating_sub(1);
    let mut bytes = [0; 8];
    let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    file.read_exact_at(&mut bytes, at).map_err(|e| Error::io("read", path, &e))?;
    Ok(i64::from_le_bytes(bytes))
}
