//! `values.parquet`: the rows of `values.jsonl`, a column each, compressed with Snappy.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{PrimitiveTypeBuilder, Type, TypePtr};

use super::row::ValueRow;
use crate::error::{Error, Result};

const SCHEMA: &str = "veval.values/1";
/// Rows that are held at a time.
const GROUP_ROWS: usize = 16_384;

/// What a column holds of a row.
enum Column {
    Text(fn(&ValueRow) -> Option<&str>),
    /// Of so many bits, with a sign or without.
    Int(i8, bool, fn(&ValueRow) -> Option<i32>),
    Long(fn(&ValueRow) -> Option<i64>),
    Float(fn(&ValueRow) -> Option<f32>),
    Longs(fn(&ValueRow) -> Option<&[i64]>),
    /// Of [`ValueRow::targets`].
    Target,
}

fn fixed() -> Vec<(&'static str, Column)> {
    use Column::{Float, Int, Long, Longs, Text};
    vec![
        ("doc_id", Text(|row| Some(&row.doc_id))),
        ("source", Text(|row| Some(&row.source))),
        ("shard", Text(|row| row.place.shard.as_deref())),
        ("row", Long(|row| row.place.row)),
        ("byte_start", Long(|row| row.place.byte_start)),
        ("byte_end", Long(|row| row.place.byte_end)),
        ("token_start", Long(|row| row.place.token_start)),
        ("token_end", Long(|row| row.place.token_end)),
        ("n_tokens", Int(32, true, |row| Some(row.n_tokens))),
        ("n_loss_tokens", Int(32, true, |row| Some(row.n_loss_tokens))),
        ("loss", Float(|row| Some(row.loss))),
        ("loss_ref", Float(|row| row.loss_ref)),
        ("excess", Float(|row| row.excess)),
        ("learnability", Float(|row| row.learnability)),
        ("value", Float(|row| Some(row.value))),
        ("value_se", Float(|row| Some(row.value_se))),
        ("pct", Float(|row| Some(row.pct))),
        ("self_influence", Float(|row| Some(row.self_influence))),
        ("grad_norm", Float(|row| Some(row.grad_norm))),
        ("overlap", Float(|row| row.overlap)),
        ("span_hits", Int(32, true, |row| row.span_hits)),
        ("near_dup", Long(|row| row.near_dup)),
        ("seen_steps", Longs(|row| row.seen_steps.as_deref())),
        ("exclude", Int(8, false, |row| row.exclude.map(i32::from))),
        ("copies", Float(|row| row.copies)),
        ("copies_int", Int(16, true, |row| row.copies_int.map(i32::from))),
        ("loss_weight", Float(|row| row.loss_weight)),
        ("stage", Int(16, true, |row| row.stage.map(i32::from))),
    ]
}

/// Writes rows; a reader sees the old file or the new one, never a part. Columns of targets are those of the first row.
///
/// # Errors
/// What the disk says; rows of other targets.
pub fn write_parquet(path: &Path, rows: impl IntoIterator<Item = ValueRow>) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let neighbour = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let attempt = write(&neighbour, rows)
        .and_then(|()| std::fs::rename(&neighbour, path).map_err(|e| Error::io("write", path, &e)));
    if attempt.is_err() {
        // The failure is reported; what is left of the neighbour is of no use to anybody.
        let _ = std::fs::remove_file(&neighbour);
    }
    attempt
}

fn write(path: &Path, rows: impl IntoIterator<Item = ValueRow>) -> Result<()> {
    let failed = |e: &ParquetError| Error::bad(format!("failed to write parquet: {e}")).in_file(path);
    let mut rows = rows.into_iter().peekable();
    let targets: BTreeSet<String> = rows.peek().map(|row| row.targets.keys().cloned().collect()).unwrap_or_default();
    let mut columns: Vec<(String, Column)> =
        fixed().into_iter().map(|(name, column)| (name.to_owned(), column)).collect();
    columns.extend(targets.iter().map(|name| (name.clone(), Column::Target)));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![KeyValue::new("schema".to_owned(), SCHEMA.to_owned())]))
        .build();
    let file = std::fs::File::create(path).map_err(|e| Error::io("create", path, &e))?;
    let schema = schema(&columns).map_err(|e| failed(&e))?;
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(|e| failed(&e))?;
    loop {
        let group: Vec<ValueRow> = rows.by_ref().take(GROUP_ROWS).collect();
        if group.is_empty() {
            break;
        }
        if let Some(row) = group.iter().find(|row| row.targets.keys().any(|name| !targets.contains(name))) {
            let message = "expected rows of the targets that the first one has, found others";
            return Err(Error::internal(message).in_file(path).at(format!("document {}", row.doc_id)));
        }
        let attempt = (|| {
            let mut out = writer.next_row_group()?;
            columns.iter().try_for_each(|(name, column)| column.write(name, &group, &mut out))?;
            out.close()
        })();
        attempt.map_err(|e| failed(&e))?;
    }
    let file = writer.into_inner().map_err(|e| failed(&e))?;
    file.sync_all().map_err(|e| Error::io("write", path, &e))
}

fn schema(columns: &[(String, Column)]) -> parquet::errors::Result<TypePtr> {
    let fields = columns.iter().map(|(name, column)| column.field(name).map(Arc::new));
    let fields = fields.collect::<parquet::errors::Result<Vec<TypePtr>>>()?;
    Ok(Arc::new(Type::group_type_builder("values").with_fields(fields).build()?))
}

impl Column {
    fn field(&self, name: &str) -> parquet::errors::Result<Type> {
        let optional = |physical| primitive(name, physical, Repetition::OPTIONAL);
        match self {
            Self::Text(_) => optional(Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::String)).build(),
            Self::Int(bits, signed, _) => {
                let integer = LogicalType::integer(*bits, *signed);
                optional(Physical::INT32).with_logical_type(Some(integer)).build()
            }
            Self::Long(_) => optional(Physical::INT64).build(),
            Self::Float(_) | Self::Target => optional(Physical::FLOAT).build(),
            Self::Longs(_) => {
                let element = primitive("element", Physical::INT64, Repetition::REQUIRED).build()?;
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![Arc::new(element)])
                    .build()?;
                Type::group_type_builder(name)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(Some(LogicalType::List))
                    .with_fields(vec![Arc::new(list)])
                    .build()
            }
        }
    }

    fn write(
        &self,
        name: &str,
        rows: &[ValueRow],
        out: &mut SerializedRowGroupWriter<'_, std::fs::File>,
    ) -> parquet::errors::Result<()> {
        match self {
            Self::Text(get) => optional::<ByteArrayType>(out, rows.iter().map(|row| get(row).map(ByteArray::from))),
            Self::Int(_, _, get) => optional::<Int32Type>(out, rows.iter().map(get)),
            Self::Long(get) => optional::<Int64Type>(out, rows.iter().map(get)),
            Self::Float(get) => optional::<FloatType>(out, rows.iter().map(get)),
            Self::Target => optional::<FloatType>(out, rows.iter().map(|row| row.targets.get(name).copied())),
            Self::Longs(get) => {
                let (mut values, mut present, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
                for list in rows.iter().map(get) {
                    // What is not known is at level 0, an empty list at 1; both take one entry.
                    let level = list.map_or(0, |list| if list.is_empty() { 1 } else { 2 });
                    let list = list.unwrap_or_default();
                    values.extend(list);
                    present.extend(std::iter::repeat_n(level, list.len().max(1)));
                    repeated.extend((0..list.len().max(1)).map(|at| i16::from(at > 0)));
                }
                levels::<Int64Type>(out, &values, &present, Some(&repeated))
            }
        }
    }
}

fn primitive(name: &str, physical: Physical, repetition: Repetition) -> PrimitiveTypeBuilder<'_> {
    Type::primitive_type_builder(name, physical).with_repetition(repetition)
}

/// A column without nulls in its values, and which rows have one.
fn optional<T: DataType>(
    out: &mut SerializedRowGroupWriter<'_, std::fs::File>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> parquet::errors::Result<()> {
    let cells: Vec<Option<T::T>> = cells.collect();
    let present: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    levels::<T>(out, &values, &present, None)
}

fn levels<T: DataType>(
    out: &mut SerializedRowGroupWriter<'_, std::fs::File>,
    values: &[T::T],
    present: &[i16],
    repeated: Option<&[i16]>,
) -> parquet::errors::Result<()> {
    let mut column =
        out.next_column()?.ok_or_else(|| ParquetError::General("more columns than the schema has".to_owned()))?;
    column.typed::<T>().write_batch(values, Some(present), repeated)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::feedback::value::Place;

    #[test]
    fn a_reader_finds_the_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.parquet");
        let row = |number: i64| ValueRow {
            doc_id: format!("d{number}"),
            source: "web".to_owned(),
            place: Place { row: (number > 0).then_some(number), ..Place::default() },
            value: number as f32 / 2.0,
            seen_steps: (number != 1).then(|| (0..number).collect()),
            exclude: (number == 2).then_some(9),
            targets: BTreeMap::from([("value_t".to_owned(), -0.5)]),
            ..ValueRow::default()
        };
        write_parquet(&path, (0..4).map(row)).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().key_value_metadata().unwrap();
        assert!(schema.iter().any(|entry| entry.key == "schema" && entry.value.as_deref() == Some(SCHEMA)));
        let rows: Vec<serde_json::Value> = reader.get_row_iter(None).unwrap().map(|row| json(&row.unwrap())).collect();
        assert_eq!(rows.len(), 4);
        assert_eq!((&rows[3]["doc_id"], &rows[3]["row"], &rows[3]["value"]), (&"d3".into(), &3.into(), &1.5.into()));
        assert_eq!(rows[3]["seen_steps"], serde_json::json!([0, 1, 2]));
        assert_eq!(
            (&rows[0]["seen_steps"], &rows[1]["seen_steps"]),
            (&serde_json::json!([]), &serde_json::Value::Null)
        );
        assert_eq!((&rows[0]["row"], &rows[2]["exclude"]), (&serde_json::Value::Null, &9.into()));
        assert_eq!(rows[1]["value_t"], serde_json::json!(-0.5));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let other = ValueRow { targets: BTreeMap::from([("value_u".to_owned(), 1.0)]), ..row(0) };
        assert!(write_parquet(&path, [row(0), other]).unwrap_err().to_string().contains("document d0"));
    }

    fn json(row: &parquet::record::Row) -> serde_json::Value {
        use parquet::record::Field;
        fn value(field: &Field) -> serde_json::Value {
            match field {
                Field::Str(text) => text.as_str().into(),
                Field::Int(number) => (*number).into(),
                Field::UByte(number) => (*number).into(),
                Field::Short(number) => (*number).into(),
                Field::Long(number) => (*number).into(),
                Field::Float(number) => (*number).into(),
                Field::ListInternal(list) => list.elements().iter().map(value).collect(),
                _ => serde_json::Value::Null,
            }
        }
        serde_json::Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
    }
}
