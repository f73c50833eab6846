//! Documents as a trainer reads them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::data::read_columns;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::hash;

/// A document: its identity is the pair of source and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusDocument {
    pub source: String,
    pub id: String,
    pub text: String,
}

/// After this many bad documents the rest is not looked at.
const MOST_PROBLEMS: usize = 20;

/// Of sources, ids, texts and their order, however the file that has them is packed.
pub fn fingerprint(documents: &[CorpusDocument]) -> String {
    let texts = documents.iter().flat_map(|own| [&own.source, &own.id, &own.text]);
    hash::fingerprint_of_parts(texts.map(String::as_str))
}

/// Reads a corpus: JSON lines with `source`, `id` and `text`, perhaps packed with gzip. Other columns are passed over.
///
/// # Errors
/// Lines that are no JSON, columns that are missing or no text, an empty corpus, and a document that is there twice.
pub fn read_corpus(path: &Path) -> Result<Vec<CorpusDocument>> {
    let rows = read_columns(path, &["source", "id", "text"])?;
    if rows.is_empty() {
        return Err(Error::bad("expected documents, found an empty file").in_file(path));
    }
    let (mut documents, mut problems, mut seen) = (Vec::with_capacity(rows.len()), Vec::new(), BTreeSet::new());
    for (index, mut row) in rows.into_iter().enumerate() {
        let mut text = |key: &str| match row.remove(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("expected a text as `{key}`, found {other}")),
            None => Err(format!("expected the column `{key}`, found none")),
        };
        let mut problem = |message: String| {
            problems.push(Diagnostic::new(message).in_file(path).at(format!("document {}", index + 1)));
        };
        match (text("source"), text("id"), text("text")) {
            (Ok(source), Ok(id), Ok(text)) => {
                if !seen.insert((source.clone(), id.clone())) {
                    problem(format!("expected each document once, found {source} {id} again"));
                }
                documents.push(CorpusDocument { source, id, text });
            }
            (source, id, text) => [source.err(), id.err(), text.err()].into_iter().flatten().for_each(problem),
        }
        if problems.len() >= MOST_PROBLEMS {
            break;
        }
    }
    Error::check(problems)?;
    Ok(documents)
}
