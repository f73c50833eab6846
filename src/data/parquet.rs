//! Parquet files, as the Hugging Face hub keeps data sets.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::Value;

use super::read::{MAX_BYTES, Row};
use crate::error::{Error, Result};

/// Columns within columns: real data sets have three or four.
const MAX_DEPTH: usize = 16;

/// All rows. Nested columns are lists and objects; bytes that are no UTF-8 text (images, sound) become null.
///
/// # Errors
/// Files that are damaged, use another compression than Snappy, Zstandard or Gzip, or are too large unpacked.
pub(super) fn read(path: &Path, file: File) -> Result<Vec<Row>> {
    let bad = |message: String| Error::bad(message).in_file(path).help("the file is damaged or no parquet file");
    // The library checks most of what it reads, and panics on some of the rest.
    let rows = catch_unwind(AssertUnwindSafe(|| rows(file)));
    rows.unwrap_or_else(|_| Err("expected a sound parquet file, found one that cannot be read".to_owned())).map_err(bad)
}

fn rows(file: File) -> std::result::Result<Vec<Row>, String> {
    let length = file.metadata().map_err(|e| format!("failed to read its size: {e}"))?.len();
    let reader = SerializedFileReader::new(file).map_err(|e| format!("expected a parquet file: {e}"))?;
    let metadata = reader.metadata();
    let sizes = metadata.row_groups().iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX));
    let size = sizes.fold(0u64, u64::saturating_add);
    if size > MAX_BYTES {
        return Err(format!("expected at most {MAX_BYTES} bytes unpacked, found {size}"));
    }
    for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        let begin = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let range = u64::try_from(begin).ok().zip(u64::try_from(column.compressed_size()).ok());
        if range.and_then(|(begin, size)| begin.checked_add(size)).is_none_or(|end| end > length) {
            let name = column.column_descr().name();
            return Err(format!("expected column {name} within the file's {length} bytes, found it outside"));
        }
    }
    let depth = depth(metadata.file_metadata().schema(), 0);
    if depth > MAX_DEPTH {
        return Err(format!("expected columns nested at most {MAX_DEPTH} deep, found {depth}"));
    }
    let iterator = reader.get_row_iter(None).map_err(|e| format!("expected rows: {e}"))?;
    let mut rows = Vec::new();
    for row in iterator {
        let row = row.map_err(|e| format!("row {}: {e}", rows.len()))?;
        rows.push(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect());
    }
    Ok(rows)
}

fn depth(schema: &Type, above: usize) -> usize {
    if above > MAX_DEPTH || !schema.is_group() {
        return above;
    }
    schema.get_fields().iter().map(|field| depth(field, above + 1)).max().unwrap_or(above)
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bool(x) => Value::from(*x),
        Field::Byte(x) => Value::from(*x),
        Field::Short(x) => Value::from(*x),
        Field::Int(x) | Field::Date(x) | Field::TimeMillis(x) => Value::from(*x),
        Field::Long(x) | Field::TimeMicros(x) | Field::TimestampMillis(x) | Field::TimestampMicros(x) => {
            Value::from(*x)
        }
        Field::UByte(x) => Value::from(*x),
        Field::UShort(x) => Value::from(*x),
        Field::UInt(x) => Value::from(*x),
        Field::ULong(x) => Value::from(*x),
        Field::Float16(x) => Value::from(f32::from(*x)),
        Field::Float(x) => Value::from(*x),
        Field::Double(x) => Value::from(*x),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, Value::from),
        Field::Group(row) => row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let key = |field: &Field| match value(field) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.entries().iter().map(|(name, field)| (key(name), value(field))).collect()
        }
        // Decimals have no exact number here.
        Field::Decimal(_) => Value::from(field.to_string()),
        Field::Null => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_rows;
    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(name)
    }

    #[test]
    fn rows_are_those_of_the_same_data_as_json_lines() {
        let wanted = read_rows(&fixture("rows.jsonl"), None).unwrap();
        assert!(wanted.len() >= 40);
        for name in ["snappy", "zstd", "gzip", "none"] {
            assert_eq!(read_rows(&fixture(&format!("{name}.parquet")), None).unwrap(), wanted, "{name}");
        }
        let brotli = read_rows(&fixture("brotli.parquet"), None).unwrap_err().to_string();
        assert!(brotli.contains("brotli.parquet") && brotli.to_lowercase().contains("brotli"), "{brotli}");
    }

    /// Whatever a file says, it ends in rows or in an error.
    #[test]
    fn damaged_files_are_no_danger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let good = std::fs::read(fixture("snappy.parquet")).unwrap();
        let mut state = 1u64;
        for round in 0..600 {
            let mut bytes = good.clone();
            if round % 3 == 0 {
                bytes.truncate(good.len() * (round + 1) / 600);
            } else {
                for _ in 0..=round % 5 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let at = (state >> 33) as usize % bytes.len();
                    bytes[at] = (state >> 17) as u8;
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read_rows(&path, None) {
                assert!(error.to_string().contains("x.parquet"), "{error}");
            }
        }
    }
}
