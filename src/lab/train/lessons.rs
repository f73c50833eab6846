//! From the soft targets of documents to those of sequences: whatever packing, copies and cuts do, a target stays with the
//! token that it was made for.

use std::path::Path;

use super::gradient::Lesson;
use super::order::{TokenSequence, TrainingDocument};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::targets::{SoftTarget, TargetFile};
use crate::model::SoftPlace;

/// After this many rows that do not fit the rest is not looked at.
const MOST_PROBLEMS: usize = 20;

/// What a file of targets has to be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprints {
    pub tokenizer: String,
    pub documents: String,
}

/// Soft targets of each document, by ascending position.
#[derive(Debug, Default)]
pub(super) struct SoftTargets {
    /// As many as documents, or none at all.
    documents: Vec<Vec<(u32, SoftTarget)>>,
}

impl SoftTargets {
    /// # Errors
    /// A file for other documents or another tokenizer; rows beyond their document, of another true token, or of tokens
    /// that the vocabulary does not have.
    pub fn read(path: &Path, of: &Fingerprints, documents: &[TrainingDocument], vocabulary: usize) -> Result<Self> {
        let TargetFile { origin, documents: targets } = TargetFile::read(path)?;
        let in_file = |error: Error| error.in_file(path);
        let pairs = [("tokenizer", &of.tokenizer, &origin.tokenizer), ("corpus", &of.documents, &origin.documents)];
        let others = pairs.iter().filter(|(_, wanted, found)| wanted != found);
        let problem = |(name, wanted, found): &(&str, &String, &String)| {
            Diagnostic::new(format!("expected targets for the {name} of the plan, {wanted}, found those for {found}"))
                .help("make them for this corpus with `veval feedback targets`, at a checkpoint with this tokenizer")
        };
        Error::check(others.map(problem).collect()).map_err(in_file)?;
        if targets.len() != documents.len() {
            let (wanted, found) = (documents.len(), targets.len());
            return Err(in_file(Error::bad(format!("expected targets of {wanted} documents, found {found}"))));
        }
        let rows = targets.iter().zip(documents).enumerate();
        let problems = rows.flat_map(|(number, (targets, document))| {
            let problem = move |(position, target): &(u32, SoftTarget)| {
                let message = strange(&document.tokens, *position, target, vocabulary)?;
                Some(Diagnostic::new(message).at(format!("document {number}, position {position}")))
            };
            targets.iter().filter_map(problem)
        });
        Error::check(problems.take(MOST_PROBLEMS).collect()).map_err(in_file)?;
        Ok(Self { documents: targets })
    }

    /// What a sequence teaches. Its first token is given only, whatever the file says of it.
    pub fn lesson<'a>(&'a self, sequence: &'a TokenSequence) -> Lesson<'a> {
        let mut lesson = Lesson::plain(&sequence.tokens);
        if self.documents.is_empty() {
            return lesson;
        }
        let mut before = 0;
        for piece in &sequence.pieces {
            let targets = &self.documents[piece.document];
            let first = targets.partition_point(|(position, _)| (*position as usize) < piece.tokens.start);
            let here = targets[first..].iter().take_while(|(position, _)| (*position as usize) < piece.tokens.end);
            let placed = here.map(|(position, target)| SoftPlace {
                place: before + *position as usize - piece.tokens.start,
                shares: target.entries(),
            });
            lesson.soft.extend(placed.filter(|soft| soft.place > 0));
            before += piece.tokens.len();
        }
        lesson
    }
}

/// What is wrong with a row.
fn strange(tokens: &[u32], position: u32, target: &SoftTarget, vocabulary: usize) -> Option<String> {
    let Some(&token) = tokens.get(position as usize) else {
        return Some(format!("expected a position below the document's {} tokens", tokens.len()));
    };
    if token != target.truth() {
        return Some(format!("expected a target for the token {token}, which stands there, found {}", target.truth()));
    }
    let unknown = target.entries().iter().find(|(id, _)| *id as usize >= vocabulary);
    unknown.map(|(id, _)| format!("expected token ids below {vocabulary}, found {id}"))
}

#[cfg(test)]
#[path = "tests_lessons.rs"]
mod tests;
