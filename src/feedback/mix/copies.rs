//! How often each document stands in its source's stream, by its value: what `keep.txt` and `repeats.bin` say.
//!
//! A document whose value is `z` standard deviations above its source's mean is expected `exp(strength * z)` times,
//! between the rule's `least` and `most`. The whole number is `floor(expected + u)` with `u` in `[0, 1)` from a hash
//! of seed, source and id: the same in any order and on any machine, and right on average.

use std::collections::{BTreeMap, BTreeSet};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::train::{DocumentName, copy_chance};

/// Of one document: what two bytes hold.
const MAX_COPIES: f64 = i16::MAX as f64;
/// After this many problems the rest is counted only.
const SHOWN: usize = 20;

/// How values become copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CopyRule {
    /// Of a standard deviation. At 0 every document stands there once.
    pub strength: f64,
    /// Expected copies are at least this: at 0 a document may go.
    pub least: f64,
    pub most: f64,
    pub seed: u64,
}

impl Default for CopyRule {
    fn default() -> Self {
        Self { strength: 0.5, least: 0.0, most: 4.0, seed: 0 }
    }
}

/// A document of the corpus and what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentValue {
    pub name: DocumentName,
    pub value: f64,
}

/// Copies of a corpus, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentCopies {
    names: Vec<DocumentName>,
    /// Expected ones: the column `copies`.
    pub expected: Vec<f64>,
    /// Whole ones: the column `copies_int`.
    pub whole: Vec<i16>,
}

impl DocumentCopies {
    /// # Errors
    /// A rule that is none; values that are no numbers.
    pub fn new(documents: &[DocumentValue], rule: CopyRule) -> Result<Self> {
        check(documents, rule)?;
        let mut sources: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for document in documents {
            sources.entry(&document.name.source).or_default().push(document.value);
        }
        let moments: BTreeMap<&str, (f64, f64)> =
            sources.into_iter().map(|(source, values)| (source, mean_and_deviation(&values))).collect();
        let expected: Vec<f64> = documents
            .iter()
            .map(|document| {
                let (mean, deviation) = moments[document.name.source.as_str()];
                let score = if deviation > 0.0 { (document.value - mean) / deviation } else { 0.0 };
                (rule.strength * score).exp().clamp(rule.least, rule.most)
            })
            .collect();
        let whole = documents
            .iter()
            .zip(&expected)
            .map(|(document, expected)| (expected + copy_chance(rule.seed, &document.name)).floor() as i16);
        let whole = whole.collect();
        Ok(Self { names: documents.iter().map(|document| document.name.clone()).collect(), expected, whole })
    }

    /// `repeats.bin`: the whole number of each document as two bytes (little-endian, signed), in the order of the
    /// corpus.
    pub fn repeats(&self) -> Vec<u8> {
        self.whole.iter().flat_map(|count| count.to_le_bytes()).collect()
    }

    /// `keep.txt`: a line with the id of each document that has a copy, in the order of the corpus.
    ///
    /// # Errors
    /// Ids that would not be read back as they are: empty ones, with a line break, or of two documents.
    pub fn keep(&self) -> Result<String> {
        let mut seen = BTreeSet::new();
        let mut problems = Vec::new();
        let mut text = String::new();
        for (DocumentName { source, id }, count) in self.names.iter().zip(&self.whole) {
            let problem = if id.is_empty() || id.contains(['\n', '\r']) {
                Some(format!("expected an id that fits on a line, found {id:?}"))
            } else if !seen.insert(id) {
                Some(format!("expected ids that differ across sources, found {id:?} again"))
            } else {
                None
            };
            if let Some(message) = problem {
                let help = "repeats.bin names documents by their place and has no such limits";
                problems.push(Diagnostic::new(message).at(format!("source {source}")).help(help));
            }
            if *count > 0 {
                text.push_str(id);
                text.push('\n');
            }
        }
        some(problems)?;
        Ok(text)
    }
}

fn check(documents: &[DocumentValue], rule: CopyRule) -> Result<()> {
    let mut problems = Vec::new();
    let CopyRule { strength, least, most, .. } = rule;
    if !strength.is_finite() || strength < 0.0 {
        problems.push(Diagnostic::new(format!("expected a strength of at least 0, found {strength}")).at("strength"));
    }
    if !(0.0 <= least && least <= most && most < MAX_COPIES) {
        let message =
            format!("expected copies from 0 up to a larger number below {MAX_COPIES}, found {least} to {most}");
        problems.push(Diagnostic::new(message).at("copies"));
    }
    for document in documents.iter().filter(|document| !document.value.is_finite()) {
        let DocumentName { source, id } = &document.name;
        let message = format!("expected a value, found {} of {id:?}", document.value);
        problems.push(Diagnostic::new(message).at(format!("source {source}")));
    }
    some(problems)
}

/// The first problems, and how many more.
fn some(mut problems: Vec<Diagnostic>) -> Result<()> {
    if let Some(more) = problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        problems.truncate(SHOWN);
        problems.push(Diagnostic::new(format!("and {more} more")));
    }
    Error::check(problems)
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / count).sqrt())
}
