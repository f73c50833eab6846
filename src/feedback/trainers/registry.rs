//! The trainers as data: what each reads, in which unit, and what it cannot be told.

use super::export::{Draft, ExportFile};
use super::sampler::Sampler;
use super::{energon, hf, levanter, live, llamafactory, llm_foundry, megatron, nanotron, olmo_core, torchtitan};
use crate::error::{Error, Result};
use crate::util::suggest::nearest;

/// In the order in which they are listed.
pub const TRAINERS: [&Trainer; 10] = [
    &olmo_core::TRAINER,
    &torchtitan::TRAINER,
    &nanotron::TRAINER,
    &megatron::TRAINER,
    &llm_foundry::TRAINER,
    &hf::TRAINER,
    &llamafactory::TRAINER,
    &levanter::TRAINER,
    &energon::TRAINER,
    &live::TRAINER,
];

/// A consumer of mixtures.
#[derive(Debug)]
pub struct Trainer {
    /// As `--for` names it.
    pub name: &'static str,
    /// What a share counts in its files.
    pub unit: Unit,
    /// How to use the files, in a sentence.
    pub usage: &'static str,
    pub(super) stages: Stages,
    pub(super) starts: Starts,
    pub(super) repeats: Repeats,
    /// Whether its files can weight the loss of a source.
    pub(super) loss_weights: bool,
    pub(super) paths: Paths,
    /// Whether its files weight paths rather than sources.
    pub(super) entry_per_path: bool,
    /// Of one stage.
    pub(super) most_entries: usize,
    /// What names and paths may not contain.
    pub(super) refused: &'static [Refused],
    pub(super) sampler: Sampler,
    pub(super) write: fn(&mut Draft<'_>) -> Vec<ExportFile>,
}

/// What a share is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of the trained tokens.
    Tokens,
    /// Of documents drawn.
    Documents,
    /// Of sequences of one length, packed from documents of one source.
    Sequences,
}

/// What becomes of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stages {
    /// In the trainer's own schedule.
    Native,
    /// A file for each, and a new run.
    Files,
}

/// What the start of a stage is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starts {
    /// Exact, or not in the files.
    Tokens,
    Steps,
    /// Steps that are whole blocks of so many sequences.
    Blocks(u64),
}

/// Who keeps a source from being seen too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// The trainer refuses to.
    Kept,
    /// Nobody: a source that is used up begins again.
    Free,
}

/// Whether its files name where a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    Needed,
    Unused,
}

/// A piece of text that would be read as something else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    pub what: Part,
    pub has: fn(&str) -> bool,
    /// `"... a comma"`.
    pub named: &'static str,
    pub why: &'static str,
}

/// What of a source is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Name,
    Path,
}

impl Unit {
    /// In words: `"shares of documents"`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Tokens => "shares of tokens",
            Self::Documents => "shares of documents",
            Self::Sequences => "shares of fixed-length sequences",
        }
    }
}

/// The trainer of this name.
///
/// # Errors
/// A name that the table does not have.
pub fn find(name: &str) -> Result<&'static Trainer> {
    TRAINERS.into_iter().find(|trainer| trainer.name == name).ok_or_else(|| {
        let known = TRAINERS.map(|trainer| trainer.name);
        let help = nearest(name, known)
            .map_or_else(|| format!("the trainers are {}", known.join(", ")), |near| format!("did you mean {near:?}?"));
        Error::bad(format!("unknown trainer {name:?}")).help(help)
    })
}
