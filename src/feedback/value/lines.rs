//! `values.jsonl`, written and read a line at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::row::ValueRow;
use crate::error::{Error, Result};

/// Bytes of a line: ids, places and some numbers for each target.
const MOST_LINE: u64 = 1 << 20;

/// Writes rows as JSON lines; a reader sees the old file or the new one, never a part.
///
/// # Errors
/// What the disk says.
pub fn write_lines(path: &Path, rows: impl IntoIterator<Item = ValueRow>) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let neighbour = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let attempt = (|| {
        let mut file = BufWriter::new(File::create(&neighbour)?);
        for row in rows {
            serde_json::to_writer(&mut file, &row)?;
            file.write_all(b"\n")?;
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&neighbour, path)
    })();
    attempt.map_err(|e| {
        // The failure is reported; what is left of the neighbour is of no use to anybody.
        let _ = std::fs::remove_file(&neighbour);
        Error::io("write", path, &e)
    })
}

/// Rows of a file, one at a time.
///
/// # Errors
/// A file that cannot be opened; each row that is no row is an error of its own, with its line.
pub fn read_lines(path: &Path) -> Result<impl Iterator<Item = Result<ValueRow>>> {
    let mut file = BufReader::new(File::open(path).map_err(|e| Error::io("open", path, &e))?);
    let path = path.to_owned();
    let mut number = 0usize;
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        number += 1;
        match (&mut file).take(MOST_LINE).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Err(e) => Some(Err(Error::io("read", &path, &e))),
            Ok(_) => {
                let row = serde_json::from_slice(&line);
                Some(row.map_err(|e| {
                    let message = format!("expected a document's values, found a line that is none: {e}");
                    Error::bad(message).in_file(&path).at(format!("line {number}"))
                }))
            }
        }
    }))
}
