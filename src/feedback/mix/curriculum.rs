//! A run's stages, and what each source has been seen by then.

use std::collections::BTreeMap;

use super::value::SourceValue;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::train::{Mixture, MixtureFile, Stage};

/// Whole numbers up to here are exact in f64.
const MAX_TOKENS: u64 = 1 << 53;
/// Of a source that does not say it.
const MAX_REPEAT: f64 = 4.0;

/// Sizes of the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub total_tokens: u64,
    /// Tokens that a sequence predicts.
    pub sequence_length: u64,
}

/// New shares from some token on, by what sources are worth.
#[derive(Debug, Clone, PartialEq)]
pub struct StageUpdate {
    pub name: String,
    /// Tokens trained before it.
    pub start_tokens: u64,
    /// By name, of all sources.
    pub values: BTreeMap<String, SourceValue>,
}

/// What a source has, beside its shares.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Supply {
    pub name: String,
    pub available_tokens: Option<f64>,
    pub max_repeat: f64,
}

/// A run as it was planned so far. Stages in order; the last one goes to the end of the run.
#[derive(Debug, Clone)]
pub(super) struct Curriculum {
    pub supplies: Vec<Supply>,
    pub stages: Vec<Stage>,
    run: Run,
}

impl Run {
    /// Sizes as a mixture has them, unless they are given.
    ///
    /// # Errors
    /// A size that neither has; sizes that are no whole numbers above 0; less than one sequence.
    pub fn of(file: &MixtureFile, total_tokens: Option<u64>, sequence_length: Option<u64>) -> Result<Self> {
        let mut problems = Vec::new();
        let in_file = file.total_tokens.filter(|tokens| (1.0..=MAX_TOKENS as f64).contains(tokens));
        let total = total_tokens.or(in_file.map(|tokens| tokens as u64));
        let length = sequence_length.or(file.sequence_length);
        for (place, size) in [("total_tokens", total), ("sequence_length", length)] {
            if !size.is_some_and(|size| (1..=MAX_TOKENS).contains(&size)) {
                let found = size.map_or("none".to_owned(), |size| size.to_string());
                let message = format!("expected the run's {place}, from 1 to {MAX_TOKENS}, found {found}");
                problems.push(Diagnostic::new(message).at(place).help("give it, or write it into the mixture"));
            }
        }
        Error::check(problems)?;
        let run = Self { total_tokens: total.unwrap_or(1), sequence_length: length.unwrap_or(1) };
        if run.total_tokens < run.sequence_length {
            let Self { total_tokens, sequence_length } = run;
            return Err(Error::bad(format!(
                "expected a run of at least one sequence of {sequence_length} tokens, found {total_tokens} tokens"
            )));
        }
        Ok(run)
    }

    /// The first sequence before which as many tokens have been predicted.
    pub(super) fn first_sequence(self, tokens: u64) -> u64 {
        tokens.div_ceil(self.sequence_length)
    }

    pub(super) fn sequences(self) -> u64 {
        self.total_tokens / self.sequence_length
    }
}

impl Curriculum {
    /// Limits of repeats are what is given, else what sources say, else 4.
    ///
    /// # Errors
    /// A mixture that is none; a number of tokens that is not at least 0.
    pub fn new(file: &MixtureFile, run: Run, max_repeat: Option<f64>) -> Result<Self> {
        let mut problems = Vec::new();
        for (number, source) in file.sources.iter().enumerate() {
            if let Some(tokens) = source.available_tokens.filter(|tokens| !(tokens.is_finite() && *tokens >= 0.0)) {
                let message = format!("expected a number of tokens of at least 0, found {tokens}");
                problems.push(
                    Diagnostic::new(message).at(format!("sources[{number}] ({}), available_tokens", source.name)),
                );
            }
        }
        Error::check(problems)?;
        let mixture = Mixture::new(file)?;
        let supplies = file.sources.iter().map(|source| Supply {
            name: source.name.clone(),
            available_tokens: source.available_tokens,
            max_repeat: max_repeat.or(source.max_repeat).unwrap_or(MAX_REPEAT),
        });
        Ok(Self { supplies: supplies.collect(), stages: mixture.stages().to_vec(), run })
    }

    /// The shares that hold just before a token; at the start of the run, those of the last stage.
    pub fn shares_before(&self, start_tokens: u64) -> Vec<f64> {
        let earlier = self.stages.iter().rev().find(|stage| stage.start_tokens < start_tokens);
        earlier.or(self.stages.last()).map_or(Vec::new(), |stage| stage.shares.clone())
    }

    /// Tokens of each source that are seen before a token.
    pub fn seen(&self, start_tokens: u64) -> Vec<f64> {
        let end = self.run.first_sequence(start_tokens).min(self.run.sequences());
        let mut seen = vec![0.0; self.supplies.len()];
        for (number, stage) in self.stages.iter().enumerate() {
            let next = self.stages.get(number + 1).map_or(u64::MAX, |next| self.run.first_sequence(next.start_tokens));
            let sequences = next.min(end).saturating_sub(self.run.first_sequence(stage.start_tokens));
            let tokens = sequences as f64 * self.run.sequence_length as f64;
            for (seen, share) in seen.iter_mut().zip(&stage.shares) {
                *seen += tokens * share;
            }
        }
        seen
    }

    /// Drops what was planned from a token on, and plans this.
    pub fn go_on(&mut self, stage: Stage) {
        self.stages.retain(|earlier| earlier.start_tokens < stage.start_tokens);
        self.stages.push(stage);
    }
}
