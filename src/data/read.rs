//! One file to rows.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use fancy_regex::Regex;
use serde_json::{Map, Value};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Columns in the order of the file.
pub type Row = Map<String, Value>;

/// Bound of a file's content, unpacked.
pub(super) const MAX_BYTES: u64 = 8 << 30;
/// Bound of one line.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// After this many bad lines the rest is not looked at.
const MAX_PROBLEMS: usize = 20;

/// Reads a `.jsonl`, `.jsonl.gz`, `.json` (a list of objects), `.csv`, `.tsv`, `.parquet` or `.txt` file. For `.txt`, a line that
/// matches `record_start` begins a record with the column `text`; without it the whole file is one record. Of a folder,
/// all `.txt` files inside, with the columns `path` and `domain` besides.
pub fn read_rows(path: &Path, record_start: Option<&Regex>) -> Result<Vec<Row>> {
    read(path, record_start, &|row| row)
}

/// The same with these columns of JSON lines only: others are dropped line by line, so that a corpus with notes on every
/// word takes no more memory than its texts.
pub fn read_columns(path: &Path, columns: &[&str]) -> Result<Vec<Row>> {
    read(path, None, &|mut row| columns.iter().filter_map(|column| row.remove_entry(*column)).collect())
}

fn read(path: &Path, record_start: Option<&Regex>, keep: &dyn Fn(Row) -> Row) -> Result<Vec<Row>> {
    if path.is_dir() {
        return super::folder::read(path, record_start);
    }
    let name = path.to_string_lossy().to_lowercase();
    let file = std::fs::File::open(path).map_err(|e| Error::io("open", path, &e))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(Error::bad("expected a file").in_file(path));
    }
    if name.ends_with(".parquet") {
        return parquet(path, file);
    }
    let (name, reader): (&str, Box<dyn Read>) = match name.strip_suffix(".gz") {
        Some(inner) => (inner, Box::new(flate2::read::MultiGzDecoder::new(file))),
        None => (&name, Box::new(file)),
    };
    let reader = BufReader::new(reader.take(MAX_BYTES));
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("jsonl" | "ndjson") => json_lines(path, reader, keep),
        Some("json") => json_list(path, reader),
        Some("csv") => separated(path, reader, b','),
        Some("tsv") => separated(path, reader, b'\t'),
        Some("txt") => records(path, reader, record_start),
        _ => Err(Error::bad(
            "expected a file that ends in .parquet, or in .jsonl, .json, .csv, .tsv or .txt, possibly followed by .gz",
        )
        .in_file(path)),
    }
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path, file: std::fs::File) -> Result<Vec<Row>> {
    super::parquet::read(path, file)
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path, _: std::fs::File) -> Result<Vec<Row>> {
    Err(Error::bad("expected a build with the feature `parquet`, found one without").in_file(path))
}

fn json_lines(path: &Path, mut reader: impl BufRead, keep: &dyn Fn(Row) -> Row) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read =
            (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(|e| Error::io("read", path, &e))?;
        if read == 0 || problems.len() >= MAX_PROBLEMS {
            break;
        }
        let text = line.strip_prefix("\u{feff}".as_bytes()).filter(|_| number == 1).unwrap_or(&line);
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Row>(text) {
            Ok(row) => rows.push(keep(row)),
            Err(e) => problems.push(
                Diagnostic::new(format!("expected a JSON object: {e}")).in_file(path).at(format!("line {number}")),
            ),
        }
    }
    Error::check(problems)?;
    Ok(rows)
}

fn json_list(path: &Path, reader: impl Read) -> Result<Vec<Row>> {
    serde_json::from_reader(reader)
        .map_err(|e| Error::bad(format!("expected a JSON list of objects: {e}")).in_file(path))
}

fn separated(path: &Path, reader: impl Read, delimiter: u8) -> Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader);
    let bad = |e: csv::Error| Error::bad(format!("expected rows of the header's columns: {e}")).in_file(path);
    let headers: Vec<String> =
        reader.headers().map_err(bad)?.iter().map(|h| h.trim_start_matches('\u{feff}').to_owned()).collect();
    if let Some(twice) = headers.iter().enumerate().find(|(i, name)| headers[..*i].contains(name)) {
        return Err(Error::bad(format!("expected columns of different names, found `{}` twice", twice.1))
            .in_file(path)
            .at("line 1"));
    }
    let mut rows = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(bad)?;
        rows.push(headers.iter().cloned().zip(record.iter().map(Value::from)).collect());
    }
    Ok(rows)
}

fn records(path: &Path, mut reader: impl Read, start: Option<&Regex>) -> Result<Vec<Row>> {
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|e| Error::io("read", path, &e))?;
    let row = |text: &str| -> Row { [("text".to_owned(), Value::from(text))].into_iter().collect() };
    let Some(start) = start else { return Ok(vec![row(&text)]) };
    let mut rows = Vec::new();
    let mut begin = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let matches = start.is_match(line.trim_end_matches('\n'));
        if matches.map_err(|e| Error::bad(format!("record_start: {e}")).in_file(path))?
            && let Some(begin) = begin.replace(at)
        {
            rows.push(row(&text[begin..at]));
        }
        at += line.len();
    }
    if let Some(begin) = begin {
        rows.push(row(&text[begin..]));
    }
    if rows.is_empty() {
        return Err(Error::bad("expected a line that matches `record_start`, found none").in_file(path));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_rows(&path, Some(&Regex::new("^# ").unwrap()))
    }

    fn shown(rows: &[Row]) -> String {
        serde_json::to_string(rows).unwrap()
    }

    #[test]
    fn formats_agree() {
        let wanted = r#"[{"b":"x, y","a":"1"},{"b":"ü\n","a":"2"}]"#;
        let lines = "\u{feff}{\"b\":\"x, y\",\"a\":\"1\"}\n\n{\"b\":\"ü\\n\",\"a\":\"2\"}";
        assert_eq!(shown(&read("a.jsonl", lines.as_bytes()).unwrap()), wanted);
        assert_eq!(shown(&read("a.json", wanted.as_bytes()).unwrap()), wanted);
        assert_eq!(shown(&read("a.CSV", "\u{feff}b,a\n\"x, y\",1\n\"ü\n\",2\n".as_bytes()).unwrap()), wanted);
        assert_eq!(shown(&read("a.tsv", "b\ta\nx, y\t1\n\"ü\n\"\t2\n".as_bytes()).unwrap()), wanted);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(lines.as_bytes()).unwrap();
        assert_eq!(shown(&read("a.jsonl.gz", &gz.finish().unwrap()).unwrap()), wanted);
        assert_eq!(
            shown(&read("a.txt", b"lost\n# A\nx\n# B\n").unwrap()),
            r##"[{"text":"# A\nx\n"},{"text":"# B\n"}]"##
        );
    }

    #[test]
    fn problems_name_lines() {
        let message = read("a.jsonl", b"{}\n[1]\n{\"a\":\n").unwrap_err().to_string();
        assert!(message.contains("line 2: expected a JSON object") && message.contains("line 3"), "{message}");
        assert!(read("a.csv", b"a,b\n1\n").unwrap_err().to_string().contains("a.csv"));
        assert!(read("a.csv", b"a,a\n1,2\n").unwrap_err().to_string().contains("`a` twice"));
        assert!(read("a.xlsx", b"").unwrap_err().to_string().contains("expected a file that ends in"));
        assert!(read("a.txt", b"none").unwrap_err().to_string().contains("record_start"));
        assert!(read("a.jsonl.gz", b"not gzip").is_err());
    }
}
