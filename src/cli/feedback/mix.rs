//! `veval feedback mix`: what sources are worth becomes the next mixture.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::args::MixArguments;
use crate::cli::{print, printable};
use crate::data::read_rows;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::mix::{Mixed, MixedStage, Rule, Run, SourceValue, StageUpdate, update};
use crate::feedback::value::{SourceReport, ValueReport};
use crate::lab::train::MixtureFile;
use crate::util::files;

/// After this many bad rows the rest is not looked at.
const MOST_PROBLEMS: usize = 20;

pub(super) fn mix(arguments: &MixArguments) -> Result<()> {
    let mixed = make(arguments)?;
    print(&mixed.stages.iter().map(stage_text).collect::<String>())
}

/// The next mixture, written to the file `out`.
pub(in crate::cli) fn make(arguments: &MixArguments) -> Result<Mixed> {
    files::check_free(&arguments.out)?;
    let previous = MixtureFile::read(&arguments.mixture)?;
    let run = Run::of(&previous, arguments.total_tokens, arguments.sequence_length)
        .map_err(|error| error.in_file(&arguments.mixture))?;
    let report = arguments.values.with_file_name("report.json");
    let values = if report.exists() {
        reported_values(&report, arguments.target.as_deref())?
    } else {
        source_values(&arguments.values, arguments.target.as_deref())?
    };
    let stage = StageUpdate { name: arguments.stage.clone(), start_tokens: arguments.start_tokens, values };
    let rule =
        Rule { limit: arguments.limit, floor: arguments.floor, max_repeat: arguments.max_repeat, seed: arguments.seed };
    let mixed = update(&previous, run, &[stage], rule)?;
    mixed.file.write(&arguments.out)?;
    Ok(mixed)
}

/// Values by source with the errors of the feedback items in them, which documents alone do not show.
fn reported_values(path: &Path, target: Option<&str>) -> Result<BTreeMap<String, SourceValue>> {
    let value = |own: SourceReport| -> Result<(String, SourceValue)> {
        let worth = match target {
            None => Some(own.combined),
            Some(target) => own.targets.get(target).copied(),
        };
        let worth = worth.ok_or_else(|| {
            let known: Vec<&str> = own.targets.keys().map(String::as_str).collect();
            let found = target.unwrap_or_default();
            Error::bad(format!("expected one of the targets {}, found {found}", known.join(", "))).in_file(path)
        })?;
        let error = worth.standard_error.unwrap_or(f64::INFINITY);
        Ok((own.source, SourceValue { value: worth.value, error }))
    };
    ValueReport::read(path)?.sources.into_iter().map(value).collect()
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
            printable(&source.name),
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
        let _ = writeln!(text, "binds: {}", printable(&binding.to_string()));
    }
    text
}
