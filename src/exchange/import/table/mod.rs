//! Tables of scores, long or wide: one row for each score, or a column for each metric and task.

mod layout;
mod pattern;
mod role;
mod rows;

use std::path::{Path, PathBuf};

use super::run::{Imported, check_suite};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::store::DataFile;
use crate::util::{files, hash};
use layout::Layout;
pub use role::{Column, Constant, Role};
use rows::Collector;

const MAX_BYTES: u64 = 256 << 20;

/// What is to be imported.
///
/// Roles that have neither a column nor a constant are filled as follows: a column of the role's own name (`step`,
/// `task`, `metric`, `value`, ..) is taken; the series is the file's name; the checkpoint is called by its step or
/// tokens; step and tokens are read from the checkpoint's name.
#[derive(Debug, Clone)]
pub struct CsvImport {
    /// `.csv` files, `.tsv` with tabs.
    pub paths: Vec<PathBuf>,
    /// The suite that the runs are filed under.
    pub suite: String,
    pub columns: Vec<Column>,
    pub constants: Vec<Constant>,
}

/// Reads tables; rows of one series and checkpoint become one run, whichever file they are in.
///
/// # Errors
/// Every problem of every file: columns that are not there, cells that are no numbers, a score that stands twice.
pub fn import_csv(request: &CsvImport) -> Result<Imported> {
    check_suite(&request.suite)?;
    if request.paths.is_empty() {
        return Err(Error::bad("expected at least one file, found none"));
    }
    let mut collector = Collector::new(request.suite.clone());
    for path in &request.paths {
        if let Err(error) = read(path, request, &mut collector) {
            collector.problems.extend(error.in_file(path).into_diagnostics());
        }
    }
    collector.finish()
}

fn read(path: &Path, request: &CsvImport, collector: &mut Collector) -> Result<()> {
    let delimiter =
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv")) { b'\t' } else { b',' };
    let text = files::read_text(path, MAX_BYTES)?;
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().map_err(|e| table_error(&e))?.iter().map(str::to_owned).collect();
    let mut problems = Vec::new();
    for (index, name) in header.iter().enumerate() {
        if header[..index].contains(name) {
            let message = format!("expected columns of different names, found {name:?} twice");
            problems.push(Diagnostic::new(message).at("line 1"));
        }
    }
    let layout = Layout::new(request, header, &mut problems);
    Error::check(problems)?;
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let fingerprint = hash::fingerprint(text.as_bytes());
    let file = DataFile { path: path.to_string_lossy().into_owned(), fingerprint };
    let mut sheet = collector.sheet(file, stem, &layout);
    for record in reader.into_records() {
        let record = record.map_err(|e| table_error(&e))?;
        let line = record.position().map_or(0, csv::Position::line);
        if !sheet.row(&record, line) {
            break;
        }
    }
    Ok(())
}

fn table_error(error: &csv::Error) -> Error {
    let bad = Error::bad(format!("expected rows of the header's columns: {error}"));
    match error.position() {
        Some(position) => bad.at(format!("line {}", position.line())),
        None => bad,
    }
}
