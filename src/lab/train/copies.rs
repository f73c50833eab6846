//! How often each document stands in its source's stream, from the files that feedback writes.
//!
//! | file | what |
//! | --- | --- |
//! | `values.jsonl`, `.parquet`, `.csv` .. | a row for each document: `source`, `doc_id` and `copies_int`, or `copies` |
//! | `repeats.bin` | a number of two bytes (little-endian, signed) for each document, in the order of the corpus |
//!
//! An expected number of copies `c` becomes `floor(c + u)` with `u` in `[0, 1)` from a hash of seed, source and id: the
//! same in any order and on any machine, and `c` on average.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::data::{Row, read_rows};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::{files, hash};

/// Of one document: what two bytes hold.
const MAX_COPIES: u32 = i16::MAX as u32;
const MAX_REPEATS_BYTES: u64 = 2 << 30;
/// After this many problems the rest is counted only.
const SHOWN: usize = 20;

/// A document's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentName {
    pub source: String,
    /// Within its source.
    pub id: String,
}

/// Copies as a file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copies {
    /// Of every document one.
    One,
    ByName(BTreeMap<DocumentName, u32>),
    /// In the order of the corpus.
    ByRow(Vec<u32>),
}

impl Copies {
    /// Reads a file of either kind. The seed decides how fractions are rounded.
    ///
    /// # Errors
    /// All rows (the first twenty, and how many more) without a name or a number of copies, or that name a document
    /// again.
    pub fn read(path: &Path, seed: u64) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension == "bin") {
            return Self::repeats(&files::read_bounded(path, MAX_REPEATS_BYTES)?).map_err(|error| error.in_file(path));
        }
        Self::values(&read_rows(path, None)?, seed).map_err(|error| error.in_file(path))
    }

    fn values(rows: &[Row], seed: u64) -> Result<Self> {
        let mut copies = BTreeMap::new();
        let mut problems = Problems::default();
        for (number, row) in rows.iter().enumerate() {
            let place = || format!("row {}", number + 1);
            match parse_row(row, seed) {
                Err(message) => problems.push(|| Diagnostic::new(message).at(place())),
                Ok((name, count)) => {
                    let shown = format!("{:?} of {:?}", name.id, name.source);
                    if copies.insert(name, count).is_some() {
                        let message = format!("expected each document once, found {shown} again");
                        problems.push(|| Diagnostic::new(message).at(place()));
                    }
                }
            }
        }
        problems.check()?;
        Ok(Self::ByName(copies))
    }

    fn repeats(bytes: &[u8]) -> Result<Self> {
        let (numbers, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Error::bad(format!("expected two bytes for each document, found {} bytes", bytes.len())));
        }
        let mut problems = Problems::default();
        let mut copies = Vec::with_capacity(numbers.len());
        for (row, number) in numbers.iter().enumerate() {
            let number = i16::from_le_bytes(*number);
            copies.push(u32::from(number.unsigned_abs()));
            if number < 0 {
                let message = format!("expected a number of copies of at least 0, found {number}");
                problems.push(|| Diagnostic::new(message).at(format!("document {row}")));
            }
        }
        problems.check()?;
        Ok(Self::ByRow(copies))
    }

    /// Copies of the documents of a corpus, in its order.
    ///
    /// # Errors
    /// Documents without copies, and copies of documents that are not there.
    pub fn of(&self, corpus: &[DocumentName]) -> Result<Vec<u32>> {
        match self {
            Self::One => Ok(vec![1; corpus.len()]),
            Self::ByRow(copies) if copies.len() == corpus.len() => Ok(copies.clone()),
            Self::ByRow(copies) => Err(Error::bad(format!(
                "expected a number of copies for each of {} documents, found {}",
                corpus.len(),
                copies.len()
            ))),
            Self::ByName(copies) => by_name(copies, corpus),
        }
    }
}

fn by_name(copies: &BTreeMap<DocumentName, u32>, corpus: &[DocumentName]) -> Result<Vec<u32>> {
    let mut unseen: BTreeMap<&DocumentName, u32> = copies.iter().map(|(name, count)| (name, *count)).collect();
    let mut problems = Problems::default();
    let mut found = Vec::with_capacity(corpus.len());
    for name in corpus {
        found.push(copies.get(name).copied().unwrap_or(0));
        unseen.remove(name);
        if !copies.contains_key(name) {
            problems.push(|| {
                let message = format!("expected a row for each document, found none for {:?}", name.id);
                Diagnostic::new(message).at(format!("source {}", name.source))
            });
        }
    }
    for name in unseen.keys() {
        problems.push(|| {
            let message = format!("expected documents of the corpus, found {:?}, which is none", name.id);
            Diagnostic::new(message).at(format!("source {}", name.source))
        });
    }
    problems.check()?;
    Ok(found)
}

/// The document of a row, and its copies.
fn parse_row(row: &Row, seed: u64) -> Result<(DocumentName, u32), String> {
    let text = |column: &str| match row.get(column) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(other) => Err(format!("expected a name in the column {column}, found {other}")),
        None => Err(format!("expected a column {column}, found none")),
    };
    let name = DocumentName { source: text("source")?, id: text("doc_id")? };
    // Tables of text have numbers as texts.
    let number = |column: &str| -> Result<Option<f64>, String> {
        match row.get(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(value) => {
                let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                let within = number.filter(|number| (0.0..=f64::from(MAX_COPIES)).contains(number));
                let message =
                    || format!("expected a number from 0 to {MAX_COPIES} in the column {column}, found {value}");
                within.map(Some).ok_or_else(message)
            }
        }
    };
    let count = match (number("copies_int")?, number("copies")?) {
        (Some(whole), _) if whole.fract() == 0.0 => whole as u32,
        (Some(whole), _) => return Err(format!("expected a whole number in the column copies_int, found {whole}")),
        (None, Some(expected)) => (expected + copy_chance(seed, &name)).floor() as u32,
        (None, None) => return Err("expected a column copies_int or copies, found none".to_owned()),
    };
    Ok((name, count))
}

/// What decides between the two whole numbers around expected copies: in `[0, 1)`, of 53 bits, the same for a document
/// wherever it is asked.
pub fn copy_chance(seed: u64, name: &DocumentName) -> f64 {
    let hash = hash::seed_from(&["veval.copies", &seed.to_string(), &name.source, &name.id]);
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// The first problems, and how many more.
#[derive(Default)]
struct Problems {
    shown: Vec<Diagnostic>,
    more: usize,
}

impl Problems {
    fn push(&mut self, problem: impl FnOnce() -> Diagnostic) {
        if self.shown.len() < SHOWN {
            self.shown.push(problem());
        } else {
            self.more += 1;
        }
    }

    fn check(mut self) -> Result<()> {
        if self.more > 0 {
            self.shown.push(Diagnostic::new(format!("and {} more", self.more)));
        }
        Error::check(self.shown)
    }
}

#[cfg(test)]
#[path = "tests_copies.rs"]
mod tests;
