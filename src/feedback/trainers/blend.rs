//! A mixture as exports see it: checked, with whole tokens and steps.

use std::collections::BTreeSet;

use super::registry::{Starts, Unit};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::mix::Run;
use crate::lab::train::{Mixture, MixtureFile, SourceRecord, Stage};

/// What a mixture does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSettings {
    pub run: Run,
    /// Sequences of one step.
    pub batch_sequences: u64,
    pub seed: u64,
}

/// Sources and stages of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Blend {
    pub sources: Vec<BlendSource>,
    /// In order; the first starts at 0.
    pub stages: Vec<BlendStage>,
    pub settings: ExportSettings,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BlendSource {
    pub name: String,
    pub paths: Vec<String>,
    /// Of a document.
    pub mean_tokens: Option<f64>,
    pub available_tokens: Option<f64>,
    pub max_repeat: Option<f64>,
    /// What its loss is multiplied with: the mixture's `w / q`, at most 4, since variance grows with it.
    pub loss_factor: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BlendStage {
    pub name: String,
    pub start_tokens: u64,
    /// Until the next stage or the end of the run.
    pub tokens: u64,
    /// Of tokens, by source; they sum to 1.
    pub shares: Vec<f64>,
}

/// One entry of a trainer's file: a source, or one of its paths.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry<'a> {
    pub source: usize,
    pub label: String,
    /// Empty for a source without paths.
    pub path: &'a str,
    /// Of the trainer's unit; those of a stage sum to 1.
    pub share: f64,
}

const MOST_LOSS_FACTOR: f64 = 4.0;

impl Blend {
    /// # Errors
    /// A mixture that is none; a step without sequences, or longer than the run; a stage that starts after its end.
    pub fn new(file: &MixtureFile, settings: ExportSettings) -> Result<Self> {
        let ExportSettings { run, batch_sequences, .. } = settings;
        let step_tokens = batch_sequences.checked_mul(run.sequence_length);
        if !step_tokens.is_some_and(|tokens| (1..=run.total_tokens).contains(&tokens)) {
            let message = format!(
                "expected steps of at least one sequence of {} tokens in a run of {}, found {batch_sequences} \
                 sequences",
                run.sequence_length, run.total_tokens
            );
            return Err(Error::bad(message).at("batch_sequences"));
        }
        let mixture = Mixture::new(file)?;
        let total = run.total_tokens;
        let stages = mixture.stages();
        let end = |number: usize| stages.get(number + 1).map_or(total, |next| next.start_tokens);
        let mut problems = Vec::new();
        for (number, stage) in stages.iter().enumerate().filter(|(number, stage)| stage.start_tokens >= end(*number)) {
            let message = format!("expected a start before {}, found {}", end(number), stage.start_tokens);
            problems.push(Diagnostic::new(message).at(format!("stages[{number}] ({})", stage.name)));
        }
        Error::check(problems)?;
        let stage = |(number, stage): (usize, &Stage)| BlendStage {
            name: stage.name.clone(),
            start_tokens: stage.start_tokens,
            tokens: end(number) - stage.start_tokens,
            shares: stage.shares.clone(),
        };
        Ok(Self {
            sources: file.sources.iter().map(source).collect(),
            stages: stages.iter().enumerate().map(stage).collect(),
            settings,
        })
    }

    /// Tokens of a step.
    pub(super) fn batch_tokens(&self) -> u64 {
        self.settings.batch_sequences * self.settings.run.sequence_length
    }

    /// Steps before each stage, to the nearest that the trainer can start one at, with a warning where that moves a
    /// start.
    ///
    /// # Errors
    /// Stages that would start at the same step.
    pub(super) fn start_steps(&self, starts: Starts, warnings: &mut Vec<String>) -> Result<Vec<u64>> {
        let unit = match starts {
            Starts::Tokens => return Ok(Vec::new()),
            Starts::Steps => 1,
            Starts::Blocks(block) => block / greatest_common_divisor(block, self.settings.batch_sequences),
        };
        let step_tokens = self.batch_tokens().saturating_mul(unit);
        let mut starts: Vec<u64> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let tokens = stage.start_tokens;
            let start = tokens.saturating_add(step_tokens / 2) / step_tokens * unit;
            if start * self.batch_tokens() != tokens {
                warnings.push(format!(
                    "stage {:?} starts at {tokens} tokens; the files start it after {start} steps, at {} tokens",
                    stage.name,
                    start * self.batch_tokens()
                ));
            }
            if starts.last().is_some_and(|last| *last >= start) {
                return Err(Error::bad(format!(
                    "expected stages that start {unit} or more steps of {} tokens apart, found two that start after \
                     {start} steps",
                    self.batch_tokens()
                ))
                .at(format!("stage {}", stage.name)));
            }
            starts.push(start);
        }
        Ok(starts)
    }

    /// What the trainer draws in a stage, of sources with a share: the share of each in its unit.
    pub(super) fn drawn(&self, stage: &BlendStage, unit: Unit) -> Vec<(usize, f64)> {
        let weight = |source: usize, share: f64| match unit {
            Unit::Tokens | Unit::Sequences => share,
            // Checked before any file is written.
            Unit::Documents => share / self.sources[source].mean_tokens.unwrap_or(1.0),
        };
        let present = stage.shares.iter().enumerate().filter(|(_, share)| **share > 0.0);
        let weights: Vec<(usize, f64)> = present.map(|(source, share)| (source, weight(source, *share))).collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        weights.into_iter().map(|(source, weight)| (source, weight / total)).collect()
    }

    /// The entries of a stage, one for each path: a source's share is split evenly among its paths.
    pub(super) fn entries(&self, stage: &BlendStage, unit: Unit) -> Vec<Entry<'_>> {
        let entries = self.drawn(stage, unit).into_iter().flat_map(|(source, share)| {
            let BlendSource { name, paths, .. } = &self.sources[source];
            let count = paths.len().max(1);
            (0..count).map(move |number| Entry {
                source,
                label: if count == 1 { name.clone() } else { format!("{name}/{}", number + 1) },
                path: paths.get(number).map_or("", String::as_str),
                share: share / count as f64,
            })
        });
        entries.collect()
    }

    /// Labels that two entries would have.
    pub(super) fn ambiguous_labels(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let labels = self.sources.iter().flat_map(|source| {
            let many = (source.paths.len() > 1).then_some(1..=source.paths.len());
            std::iter::once(source.name.clone())
                .chain(many.into_iter().flatten().map(|number| format!("{}/{number}", source.name)))
        });
        labels.filter(|label| !seen.insert(label.clone())).collect()
    }

    /// How often a source is seen in the whole run.
    pub(super) fn repeat(&self, source: usize) -> Option<f64> {
        let seen: f64 = self.stages.iter().map(|stage| stage.tokens as f64 * stage.shares[source]).sum();
        self.sources[source].available_tokens.filter(|available| *available > 0.0).map(|available| seen / available)
    }

    /// `stem.extension`, or `stem-2.extension` for the second of several stages.
    pub(super) fn stage_file(&self, stem: &str, extension: &str, stage: usize) -> String {
        if self.stages.len() == 1 { format!("{stem}.{extension}") } else { format!("{stem}-{}.{extension}", stage + 1) }
    }
}

fn source(record: &SourceRecord) -> BlendSource {
    let counted = || Some(record.available_tokens? / record.documents? as f64);
    let positive = |number: &f64| number.is_finite() && *number > 0.0;
    let factor = record.w.filter(|_| record.q > 0.0).map_or(1.0, |w| w / record.q);
    BlendSource {
        name: record.name.clone(),
        paths: record.paths.clone(),
        mean_tokens: record.mean_tokens.or_else(counted).filter(positive),
        available_tokens: record.available_tokens.filter(positive),
        max_repeat: record.max_repeat,
        loss_factor: if positive(&factor) { factor.min(MOST_LOSS_FACTOR) } else { 1.0 },
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
