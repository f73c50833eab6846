//! `lab.toml`: what is trained, on what, for how long.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
use super::checkpoint::Precision;
use super::model::Shape;
use super::schedule::{Schedule, ScheduleSettings};
use super::tokenizer::FEWEST_ENTRIES;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

const SCHEMA: &str = "veval.training/1";
const MOST_BYTES: u64 = 1 << 20;
const MOST_CHECKPOINTS: u64 = 10_000;
const MOST_ENTRIES: usize = 1 << 20;
/// Of a side of a matrix, and of layers.
const MOST_OF_A_SIZE: usize = 1 << 20;
/// Bounds of what a laptop can hold.
const MOST_TOKENS_OF_A_STEP: usize = 1 << 24;

/// The file as it is written; paths are relative to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub schema: String,
    /// Of first weights and of the order of documents.
    pub seed: u64,
    /// Updates in all.
    pub steps: u64,
    /// JSON lines of documents: `source`, `id`, `text`.
    pub corpus: PathBuf,
    /// Shares of the sources (`veval.mixture/1`); without it, each has the share of its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixture: Option<PathBuf>,
    /// Copies of single documents: JSON lines with `doc_id` and `copies` or `copies_int`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<PathBuf>,
    /// Soft targets of the corpus's tokens (`veval.soft-targets/1`); positions that it does not list are taught as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<PathBuf>,
    /// A checkpoint with moments that training goes on from, with its tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    pub tokenizer: TokenizerSource,
    pub model: Shape,
    pub batch: BatchSize,
    #[serde(default)]
    pub optimizer: AdamW,
    /// Largest norm of a gradient; without it none is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    pub schedule: ScheduleSettings,
    #[serde(default)]
    pub checkpoints: Checkpoints,
}

/// Where the tokenizer comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum TokenizerSource {
    /// Learned from the corpus, with so many entries.
    Learned { entries: usize },
    /// A `tokenizer.json` with the entry `<|endoftext|>`.
    File { file: PathBuf },
}

/// What one update sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSize {
    pub sequences: usize,
    /// Predictions of a sequence, which has a token more.
    pub length: usize,
    /// Sequences that go through the model together. Part of the plan, since it says how sums are rounded.
    #[serde(default = "usual_at_once")]
    pub at_once: usize,
}

fn usual_at_once() -> usize {
    4
}

/// Which steps leave checkpoints, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoints {
    /// These steps; the last step is always one.
    pub steps: Option<Vec<u64>>,
    /// In place of `steps`: step 0, and this many more, each about the same factor after the one before.
    pub log_spaced: Option<u64>,
    /// The first of them after step 0; 1 by default.
    pub first: Option<u64>,
    pub precision: Precision,
    /// Whether checkpoints have the optimizer's moments.
    pub moments: bool,
}

/// A training that can be run: everything was checked.
#[derive(Debug, Clone)]
pub struct Plan {
    pub training: Training,
    pub schedule: Schedule,
    /// Ascending; the last step is among them.
    pub checkpoint_steps: Vec<u64>,
    /// The folder that paths are relative to.
    folder: PathBuf,
}

impl Plan {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All problems of its settings, by key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read_text(path, MOST_BYTES)?;
        let training: Training = toml::from_str(&text).map_err(|error| {
            let problem = Diagnostic::new(error.message().to_owned()).in_file(path);
            let problem = match error.span() {
                Some(span) => problem.spanning(Arc::from(text.as_str()), span),
                None => problem,
            };
            Error::all(vec![problem])
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::new(training, folder).map_err(|error| error.in_file(path))
    }

    /// Checks settings whose paths are relative to a folder.
    pub fn new(training: Training, folder: PathBuf) -> Result<Self> {
        let mut problems = Vec::new();
        let mut rule = |key: &str, holds: bool, expected: &str, found: &dyn std::fmt::Display| {
            if !holds {
                problems.push(Diagnostic::new(format!("expected {expected}, found {found}")).at(key.to_owned()));
            }
        };
        let Training { schema, steps, model, batch, clip, tokenizer, .. } = &training;
        rule("schema", schema == SCHEMA, SCHEMA, schema);
        rule("steps", *steps > 0, "at least 1", steps);
        for (key, count) in [
            ("model.layers", model.layers),
            ("model.width", model.width),
            ("model.heads", model.heads),
            ("model.kv_heads", model.kv_heads),
            ("model.mlp", model.mlp),
            ("batch.sequences", batch.sequences),
            ("batch.length", batch.length),
            ("batch.at_once", batch.at_once),
        ] {
            rule(key, (1..=MOST_OF_A_SIZE).contains(&count), &format!("1 to {MOST_OF_A_SIZE}"), &count);
        }
        let heads = model.heads.max(1);
        rule("model.width", model.width.is_multiple_of(2 * heads), "an even width for each head", &model.width);
        rule("model.context", model.context >= batch.length, "at least batch.length", &model.context);
        let deviation = model.init_std;
        rule("model.init_std", deviation.is_finite() && deviation > 0.0, "a number above 0", &deviation);
        let tokens = batch.sequences.saturating_mul(batch.length);
        rule("batch", tokens <= MOST_TOKENS_OF_A_STEP, &format!("at most {MOST_TOKENS_OF_A_STEP} tokens"), &tokens);
        if let Some(clip) = clip {
            rule("clip", clip.is_finite() && *clip > 0.0, "a number above 0", clip);
        }
        if let TokenizerSource::Learned { entries } = tokenizer {
            let (fewest, most) = (FEWEST_ENTRIES, MOST_ENTRIES);
            rule("tokenizer.entries", (fewest..=most).contains(entries), &format!("{fewest} to {most}"), entries);
        }
        let mut absorb = |error: Error| problems.extend(error.into_diagnostics());
        training.optimizer.check().map_err(|error| absorb(error.at("optimizer"))).ok();
        let schedule = Schedule::new(training.schedule, *steps).map_err(|error| absorb(error.at("schedule"))).ok();
        let checkpoint_steps = training.checkpoints.all(*steps).map_err(&mut absorb).ok();
        match (schedule, checkpoint_steps, Error::check(problems)) {
            (Some(schedule), Some(checkpoint_steps), Ok(())) => {
                Ok(Self { training, schedule, checkpoint_steps, folder })
            }
            (_, _, Err(error)) => Err(error),
            _ => Err(Error::internal("a plan without problems that is no plan")),
        }
    }

    /// A path of the file.
    pub fn path(&self, of: &Path) -> PathBuf {
        self.folder.join(of)
    }

    /// Predictions of one update.
    pub fn tokens_of_a_step(&self) -> u64 {
        (self.training.batch.sequences * self.training.batch.length) as u64
    }
}

impl Checkpoints {
    /// Steps that leave checkpoints, of so many in all.
    fn all(&self, steps: u64) -> Result<Vec<u64>> {
        let mut all = match (&self.steps, self.log_spaced) {
            (Some(_), Some(_)) => {
                return Err(Error::bad("expected `steps` or `log_spaced`, found both").at("checkpoints"));
            }
            (Some(named), None) => named.clone(),
            (None, Some(count)) if count > MOST_CHECKPOINTS => {
                let error = Error::bad(format!("expected at most {MOST_CHECKPOINTS}, found {count}"));
                return Err(error.at("checkpoints.log_spaced"));
            }
            (None, Some(count)) => log_spaced(count, self.first.unwrap_or(1).clamp(1, steps.max(1)), steps.max(1)),
            (None, None) => Vec::new(),
        };
        if let Some(step) = all.iter().find(|step| **step > steps) {
            return Err(Error::bad(format!("expected steps of at most {steps}, found {step}")).at("checkpoints.steps"));
        }
        all.push(steps);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

/// 0 and `count` steps from `first` to `last`, each about the same factor after the one before; fewer where they would be
/// the same.
fn log_spaced(count: u64, first: u64, last: u64) -> Vec<u64> {
    let factor = last as f64 / first as f64;
    let at = |n: u64| {
        let share = if count > 1 { n as f64 / (count - 1) as f64 } else { 1.0 };
        ((first as f64 * libm::pow(factor, share)).round() as u64).clamp(first, last)
    };
    std::iter::once(0).chain((0..count).map(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = r#"
        schema = "veval.training/1"
        seed = 7
        steps = 1000
        corpus = "corpus.jsonl.gz"
        tokenizer = { entries = 1024 }
        model = { layers = 2, width = 64, heads = 4, kv_heads = 4, mlp = 128, context = 128 }
        batch = { sequences = 8, length = 128 }
        schedule = { kind = "wsd", peak = 0.003, warmup = 50, decay = 200 }
        checkpoints = { log_spaced = 7 }
    "#;

    fn plan(text: &str) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lab.toml");
        std::fs::write(&path, text).unwrap();
        Plan::read(&path)
    }

    #[test]
    fn checkpoints_are_spaced_by_factors() {
        assert_eq!(plan(USUAL).unwrap().checkpoint_steps, [0, 1, 3, 10, 32, 100, 316, 1000]);
        let later = USUAL.replace("log_spaced = 7", "log_spaced = 3, first = 10");
        assert_eq!(plan(&later).unwrap().checkpoint_steps, [0, 10, 100, 1000]);
        let named = USUAL.replace("log_spaced = 7", "steps = [500, 0, 500]");
        assert_eq!(plan(&named).unwrap().checkpoint_steps, [0, 500, 1000]);
    }

    #[test]
    fn problems_come_together_by_key() {
        let bad = USUAL
            .replace("width = 64", "width = 65")
            .replace("warmup = 50", "warmup = 900")
            .replace("entries = 1024", "entries = 200")
            .replace("log_spaced = 7", "steps = [2000]");
        let found = plan(&bad).unwrap_err().to_string();
        for wanted in ["model.width", "warm-up", "tokenizer.entries", "checkpoints.steps"] {
            assert!(found.contains(wanted), "{wanted}: {found}");
        }
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let found = plan(&USUAL.replace("steps = 1000", "stepps = 1000")).unwrap_err().to_string();
        assert!(found.contains("stepps") && found.contains("lab.toml:4"), "{found}");
    }
}
