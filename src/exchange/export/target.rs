//! What is right, as `doc_to_target` of the harness says it.

use super::python::repr;
use crate::metric::Outcome;
use crate::store::Sample;

/// The right answer of an item. Its text stands in the sample, and the text's SHA-256 beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Of a record alone.
    Unknown,
    Text(String),
    /// Any of these will do.
    Texts(Vec<String>),
    Index(usize),
    Indices(Vec<usize>),
}

impl Target {
    /// Python's `str` of the target.
    pub fn text(&self) -> String {
        let list = |parts: Vec<String>| format!("[{}]", parts.join(", "));
        match self {
            Self::Unknown => "None".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Texts(texts) => list(texts.iter().map(|text| repr(text)).collect()),
            Self::Index(index) => index.to_string(),
            Self::Indices(indices) => list(indices.iter().map(usize::to_string).collect()),
        }
    }

    /// With `listed`, what could be one is a list of one.
    pub fn of(outcome: &Outcome, text: Option<&String>, listed: bool) -> Self {
        match (text, outcome) {
            (Some(text), _) => Self::Text(text.clone()),
            (None, Outcome::Choices(item)) => match item.gold[..] {
                [gold] if !listed => Self::Index(gold),
                _ => Self::Indices(item.gold.clone()),
            },
            (None, Outcome::Answer(item)) => match &item.golds[..] {
                [gold] if !listed => Self::Text(gold.clone()),
                _ => Self::Texts(item.golds.clone()),
            },
            (None, Outcome::Cloze(_) | Outcome::Rolling(_)) => Self::Unknown,
        }
    }
}

/// Whether the targets of a task are lists: there, one item with several right answers makes lists of all.
pub(super) fn listed(samples: &[&Sample]) -> bool {
    samples.iter().any(|sample| match &sample.outcome {
        Outcome::Choices(item) => item.gold.len() != 1,
        Outcome::Answer(item) => item.golds.len() != 1,
        Outcome::Cloze(_) | Outcome::Rolling(_) => false,
    })
}
