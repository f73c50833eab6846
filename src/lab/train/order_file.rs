//! Which documents each step saw, as files: a folder that numpy reads.
//!
//! | file | what |
//! | --- | --- |
//! | `documents.npy` | `uint32 [entries]`: documents in the order in which they were predicted, sequence after sequence |
//! | `tokens.npy` | `uint32 [entries]`: how many of the document's tokens that sequence predicted |
//! | `steps.npy` | `uint64 [steps + 1]`: where each step's entries begin; the last element is where the last one's end |
//! | `documents.jsonl` | a line `{"source": .., "id": ..}` for each document; the first line is document 0 |
//!
//! ```python
//! documents, steps = np.load("documents.npy"), np.load("steps.npy")
//! documents[steps[n - 1]:steps[n]]    # of step n, the first of which is 1
//! ```
//! A document that goes on in another sequence, or stands in the step twice, has an entry for each. Steps are appended as they
//! are trained, the offset last; a kill leaves whole steps, and resuming from a checkpoint cuts what came after it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::copies::DocumentName;
use super::order::{Batch, Exposure, TokenSequence};
use crate::data::read_rows;
use crate::error::{Error, Result};
use crate::util::files;
use crate::util::npy::{self, GrowingArray};

/// The files of a run that goes on.
#[derive(Debug)]
pub struct OrderFile {
    documents: GrowingArray<u32>,
    tokens: GrowingArray<u32>,
    steps: GrowingArray<u64>,
}

/// Of `documents.jsonl`.
#[derive(Serialize, Deserialize)]
struct Line<Text> {
    source: Text,
    id: Text,
}

struct Paths {
    documents: PathBuf,
    tokens: PathBuf,
    steps: PathBuf,
    names: PathBuf,
}

impl Paths {
    fn of(folder: &Path) -> Self {
        let [documents, tokens, steps, names] =
            ["documents.npy", "tokens.npy", "steps.npy", "documents.jsonl"].map(|name| folder.join(name));
        Self { documents, tokens, steps, names }
    }
}

impl OrderFile {
    /// Begins the files of a run over these documents, in the place of those that were there. Steps up to `after` were
    /// trained elsewhere: they have no entries.
    pub fn create(folder: &Path, documents: &[DocumentName], after: u64) -> Result<Self> {
        files::create_folder(folder)?;
        let paths = Paths::of(folder);
        let mut names = Vec::new();
        for DocumentName { source, id } in documents {
            serde_json::to_writer(&mut names, &Line { source, id })
                .map_err(|e| Error::internal(format!("documents.jsonl: {e}")))?;
            names.push(b'\n');
        }
        files::write_atomic(&paths.names, &names)?;
        let mut steps = GrowingArray::create(&paths.steps)?;
        for _ in 0..=after {
            steps.append(&[0])?;
        }
        Ok(Self {
            documents: GrowingArray::create(&paths.documents)?,
            tokens: GrowingArray::create(&paths.tokens)?,
            steps,
        })
    }

    /// Goes on after `step`: what the files have of later steps is cut.
    ///
    /// # Errors
    /// Files that are not there, are others or have fewer steps.
    pub fn resume(folder: &Path, step: u64) -> Result<Self> {
        let paths = Paths::of(folder);
        let offsets: Vec<u64> = npy::read(&paths.steps, step, step.saturating_add(1))?;
        let [entries] = offsets[..] else {
            let message = format!("expected the order of at least {step} steps, found fewer");
            return Err(Error::bad(message)
                .in_file(&paths.steps)
                .help("go on from an earlier checkpoint, or begin the run anew"));
        };
        // The offsets last: while they stand, a failure here has cut nothing that they need for this step.
        let documents = GrowingArray::open(&paths.documents, entries)?;
        let tokens = GrowingArray::open(&paths.tokens, entries)?;
        Ok(Self { documents, tokens, steps: GrowingArray::open(&paths.steps, step + 1)? })
    }

    /// Appends the step that follows the last one.
    pub fn append(&mut self, batch: &Batch) -> Result<()> {
        let expected = self.steps.count();
        if batch.step != expected {
            let found = batch.step;
            return Err(Error::internal(format!("expected step {expected} for the batch order, found {found}")));
        }
        let exposures: Vec<Exposure> = batch.sequences.iter().flat_map(TokenSequence::exposures).collect();
        let column = |value: fn(&Exposure) -> usize| exposures.iter().map(|e| value(e) as u32).collect::<Vec<u32>>();
        self.documents.append(&column(|exposure| exposure.document))?;
        self.tokens.append(&column(|exposure| exposure.tokens))?;
        self.steps.append(&[self.documents.count()])
    }

    /// Returns when the disk has all steps: before a checkpoint is written from which a run may resume.
    pub fn sync(&mut self) -> Result<()> {
        self.documents.sync()?;
        self.tokens.sync()?;
        self.steps.sync()
    }

    /// How many tokens of each document were predicted in all steps, over and over.
    ///
    /// # Errors
    /// Files that are not there or are others.
    pub fn tokens_by_document(folder: &Path) -> Result<Vec<(DocumentName, u64)>> {
        let paths = Paths::of(folder);
        let mut names = Vec::new();
        for (number, row) in read_rows(&paths.names, None)?.into_iter().enumerate() {
            let line: Line<String> = serde_json::from_value(row.into()).map_err(|e| {
                let error = Error::bad(format!("expected the name of a document: {e}"));
                error.in_file(&paths.names).at(format!("line {}", number + 1))
            })?;
            names.push((DocumentName { source: line.source, id: line.id }, 0));
        }
        let documents: Vec<u32> = npy::read(&paths.documents, 0, u64::MAX)?;
        let tokens: Vec<u32> = npy::read(&paths.tokens, 0, u64::MAX)?;
        for (document, tokens) in documents.into_iter().zip(tokens) {
            let count = names.len();
            let Some((_, sum)) = names.get_mut(document as usize) else {
                let message = format!("expected documents below {count}, found {document}");
                return Err(Error::bad(message).in_file(&paths.documents));
            };
            *sum += u64::from(tokens);
        }
        Ok(names)
    }

    /// The documents of one step, counted from 1, with the tokens that were predicted of each.
    ///
    /// # Errors
    /// Files that are not there or are others; a step that they do not have.
    pub fn read_step(folder: &Path, step: u64) -> Result<Vec<Exposure>> {
        let paths = Paths::of(folder);
        let offsets: Vec<u64> = npy::read(&paths.steps, step.saturating_sub(1), step.saturating_add(1))?;
        let [from, to] = offsets[..] else {
            return Err(Error::bad(format!("expected a step that was trained, found {step}")).in_file(&paths.steps));
        };
        let documents: Vec<u32> = npy::read(&paths.documents, from, to)?;
        let tokens: Vec<u32> = npy::read(&paths.tokens, from, to)?;
        for (path, found) in [(&paths.documents, documents.len()), (&paths.tokens, tokens.len())] {
            if to.checked_sub(from) != Some(found as u64) {
                let message = format!("expected the elements {from}..{to} of step {step}, found {found} of them");
                return Err(Error::bad(message).in_file(path));
            }
        }
        let exposure =
            |(document, tokens): (u32, u32)| Exposure { document: document as usize, tokens: tokens as usize };
        Ok(documents.into_iter().zip(tokens).map(exposure).collect())
    }
}

#[cfg(test)]
#[path = "tests_order_file.rs"]
mod tests;
