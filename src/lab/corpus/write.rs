//! Documents as they are stored: JSON lines, packed.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};

use super::entities;
use crate::error::{Error, Result};
use crate::lab::document::Draft;
use crate::util::files;

/// Documents of one source, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub name: &'static str,
    pub documents: Vec<Draft>,
    /// Whether names are linked where they stand first, as an encyclopedia does.
    pub links: bool,
}

impl Source {
    /// The id of a document, by its number: unique in the corpus, though the source is part of its identity, too.
    pub fn id(&self, number: usize) -> String {
        format!("{}-{number:06}", self.name)
    }
}

/// Writes a packed corpus; the same documents make the same bytes.
///
/// | column | what |
/// | --- | --- |
/// | `source`, `id` | identity of the document |
/// | `year` | year in the world in which it was written |
/// | `title`, `author` | where there is one |
/// | `text` | |
/// | `entities` | mentions as LMEnt stores them, and the `kind` of each; offsets count characters |
pub fn write_corpus(path: &Path, sources: &[Source]) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("pack", path, &e);
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
    for source in sources {
        let rows = source.documents.iter().enumerate().map(|(number, draft)| row(source, number, draft));
        // In large pieces: each call of the packer has a cost of its own.
        let mut lines = Vec::new();
        rows.map(Value::Object).try_for_each(|row| writeln!(lines, "{row}")).map_err(failed)?;
        packed.write_all(&lines).map_err(failed)?;
    }
    files::write_atomic(path, &packed.finish().map_err(failed)?)
}

fn row(source: &Source, number: usize, draft: &Draft) -> Map<String, Value> {
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
    put("source", json!(source.name));
    put("id", json!(source.id(number)));
    put("year", json!(draft.year));
    for (key, value) in [("title", &draft.title), ("author", &draft.author)] {
        if let Some(value) = value {
            put(key, json!(value));
        }
    }
    put("text", json!(draft.text));
    if !draft.mentions.is_empty() {
        put("entities", entities(&draft.text, &draft.mentions, source.links));
    }
    row
}
