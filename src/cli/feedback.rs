//! `veval feedback`: what documents are worth becomes what a trainer reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::args::{FeedbackArguments, FeedbackExportArguments, Feedbacks, MixArguments};
use super::print;
use crate::data::read_rows;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::mix::{MixedStage, Rule, Run, SourceValue, StageUpdate, update};
use crate::feedback::trainers::{Blend, Export, ExportSettings, TRAINERS, Trainer, export, find};
use crate::lab::train::MixtureFile;

/// After this many bad rows the rest is not looked at.
const MOST_PROBLEMS: usize = 20;

pub(super) fn feedback(arguments: &FeedbackArguments) -> Result<()> {
    match &arguments.what {
        Feedbacks::Mix(arguments) => mix(arguments),
        Feedbacks::Export(arguments) => export_to(arguments),
    }
}

fn mix(arguments: &MixArguments) -> Result<()> {
    if arguments.out.exists() {
        let error = Error::bad("expected a name that is free, found a file").in_file(&arguments.out);
        return Err(error.help("remove it first, or name another"));
    }
    let previous = MixtureFile::read(&arguments.mixture)?;
    let run = Run::of(&previous, arguments.total_tokens, arguments.sequence_length)
        .map_err(|error| error.in_file(&arguments.mixture))?;
    let values = source_values(&arguments.values, arguments.target.as_deref())?;
    let stage = StageUpdate { name: arguments.stage.clone(), start_tokens: arguments.start_tokens, values };
    let rule =
        Rule { limit: arguments.limit, floor: arguments.floor, max_repeat: arguments.max_repeat, seed: arguments.seed };
    let mixed = update(&previous, run, &[stage], rule)?;
    mixed.file.write(&arguments.out)?;
    print(&mixed.stages.iter().map(stage_text).collect::<String>())
}

/// What is read of a document's values; other columns are passed over.
#[derive(Deserialize)]
struct Worth {
    source: String,
    n_tokens: u64,
    #[serde(flatten)]
    columns: BTreeMap<String, Value>,
}

/// Values by source, from those of documents.
fn source_values(path: &Path, target: Option<&str>) -> Result<BTreeMap<String, SourceValue>> {
    let column = target.map_or_else(|| "value".to_owned(), |target| format!("value_{target}"));
    let (mut documents, mut problems, mut known) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, row) in read_rows(path, None)?.into_iter().enumerate() {
        let place = |problem: Diagnostic| problem.in_file(path).at(format!("document {}", index + 1));
        match serde_json::from_value::<Worth>(Value::Object(row)) {
            Err(error) => problems.push(place(Diagnostic::new(format!(
                "expected a text `source` and a whole number `n_tokens`: {error}"
            )))),
            Ok(worth) => {
                if let Some(value) = worth.columns.get(&column).and_then(Value::as_f64) {
                    documents.push((worth.source, worth.n_tokens, value));
                } else {
                    known.extend(worth.columns.into_keys().filter(|name| name.starts_with("value")));
                    problems.push(place(Diagnostic::new(format!("expected a number under {column}, found none"))));
                }
            }
        }
        if problems.len() >= MOST_PROBLEMS {
            break;
        }
    }
    let known: Vec<String> = known.into_iter().collect();
    Error::check(problems).map_err(|error| error.help(format!("columns of values are {}", known.join(", "))))?;
    Ok(SourceValue::by_source(documents.iter().map(|(source, tokens, value)| (source.as_str(), *tokens, *value))))
}

fn stage_text(stage: &MixedStage) -> String {
    let mut text = format!(
        "{} from token {}: eta {:.4e}, divergence {:.4} nats\n{:<20} {:>8} {:>8} {:>19} {:>11} {:>11} {:>7}\n",
        stage.name,
        stage.start_tokens,
        stage.eta,
        stage.divergence,
        "source",
        "before",
        "share",
        "interval",
        "value",
        "error",
        "repeat",
    );
    for source in &stage.sources {
        let repeat = source.repeat.map_or_else(|| "–".to_owned(), |repeat| format!("{repeat:.2}"));
        let (low, high) = source.interval;
        let _ = writeln!(
            text,
            "{:<20} {:>8.4} {:>8.4}   {:>7.4} – {:<7.4} {:>11.3e} {:>11.3e} {:>7}",
            super::printable(&source.name),
            source.before,
            source.share,
            low,
            high,
            source.value.value,
            source.value.error,
            repeat,
        );
    }
    for binding in &stage.bindings {
        let _ = writeln!(text, "binds: {}", super::printable(&binding.to_string()));
    }
    text
}

fn export_to(arguments: &FeedbackExportArguments) -> Result<()> {
    let file = MixtureFile::read(&arguments.mixture)?;
    let run = Run::of(&file, arguments.total_tokens, arguments.sequence_length)
        .map_err(|error| error.in_file(&arguments.mixture))?;
    let settings = ExportSettings { run, batch_sequences: arguments.batch_sequences, seed: arguments.seed };
    let blend = Blend::new(&file, settings).map_err(|error| error.in_file(&arguments.mixture))?;
    let trainers: Vec<&'static Trainer> = if arguments.trainers.is_empty() {
        TRAINERS.to_vec()
    } else {
        arguments.trainers.iter().map(|name| find(name)).collect::<Result<_>>()?
    };
    // All of them, or none.
    let (mut exports, mut problems) = (Vec::new(), Vec::new());
    for trainer in trainers {
        match export(trainer, &blend) {
            Ok(made) => exports.push(made),
            Err(error) => problems.extend(error.at(trainer.name).into_diagnostics()),
        }
    }
    Error::check(problems).map_err(|error| error.in_file(&arguments.mixture))?;
    let mut text = String::new();
    for made in &exports {
        let folder = arguments.out.join(made.trainer.replace('-', "_"));
        made.write(&folder)?;
        let _ = writeln!(text, "{}: {}", folder.display(), made.unit.words());
        text += &achieved(made, &blend);
    }
    print(&text)
}

/// What a trainer's sampler makes of each stage, and what it cannot be told.
fn achieved(made: &Export, blend: &Blend) -> String {
    let mut text = String::new();
    for stage in &made.achieved {
        let (source, gap) = &stage.deviation;
        let named = blend.sources.iter().zip(&stage.shares);
        let shares: Vec<String> =
            named.map(|(source, share)| format!("{} {share:.4}", super::printable(&source.name))).collect();
        let _ = writeln!(
            text,
            "  {}: tokens of {}; {gap:.1e} off at most, for {}",
            super::printable(&stage.stage),
            shares.join(", "),
            super::printable(source)
        );
    }
    for warning in &made.warnings {
        let _ = writeln!(text, "  warning: {}", super::printable(warning));
    }
    text
}
