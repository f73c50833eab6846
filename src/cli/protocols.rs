//! `veval protocols`: what the way of asking changes.

use serde::Serialize;

use super::args::ProtocolsArguments;
use super::print;
use super::table::{MAX_COLUMNS, aligned, plain};
use crate::error::{Error, Result};
use crate::run::{Agreement, CheckpointHits, Collector, Protocols};
use crate::stats::Estimate;
use crate::store::{guard, list_runs};
use crate::util::files;

pub(super) fn protocols(arguments: &ProtocolsArguments) -> Result<()> {
    let folder = &arguments.folder;
    let mut collector = Collector::default();
    let runs = list_runs(folder)?;
    for (run, manifest) in &runs {
        let name = run.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        collector.add(&name, manifest, &run.complete_samples(manifest)?)?;
    }
    let tasks = collector.finish();
    if tasks.is_empty() {
        return Err(Error::bad("expected complete runs of a task with at least two protocols, found none")
            .in_file(folder)
            .help("name the folder of a suite, `<out>/<suite>`; a task gets protocols by `protocols`, `prefix`, `system` or `metrics`"));
    }
    write(folder, &tasks)?;
    let mut text = String::new();
    for task in &tasks {
        text += &format!("{}\n", shares(task));
        text += &ranks(task);
    }
    print(&text)
}

/// Accuracy under each protocol, and how far it is from the first one's on the same items.
fn shares(task: &Protocols) -> String {
    let skipped = task.checkpoints.len().saturating_sub(MAX_COLUMNS);
    let shown = &task.checkpoints[skipped..];
    let head = [task.task.as_str(), "protocol"].map(plain).into_iter();
    let mut rows = vec![head.chain(shown.iter().map(|checkpoint| plain(&checkpoint.checkpoint))).collect::<Vec<_>>()];
    for (index, name) in task.names.iter().enumerate() {
        let cell = |checkpoint: &CheckpointHits| {
            let share = format!("{:.4}", checkpoint.hits[index].share());
            if index == 0 {
                return share;
            }
            let difference = checkpoint.hits[index].difference(&checkpoint.hits[0]);
            format!("{share}  {}", signed(&difference))
        };
        rows.push(["\u{a0}".to_owned(), plain(name)].into_iter().chain(shown.iter().map(cell)).collect());
    }
    let items = task.checkpoints.first().map_or(0, |checkpoint| checkpoint.hits[0].len());
    let mut text = aligned(&rows, &[0, 1]);
    text += &format!("{items} items; differences to {} with half the width of their 95 % interval\n", task.names[0]);
    if skipped > 0 {
        text += &format!("{skipped} earlier checkpoints are in protocols.csv\n");
    }
    text
}

/// `+0.0310 ±0.0121`
fn signed(difference: &Estimate) -> String {
    let half = difference.interval.map_or_else(String::new, |(lo, hi)| format!(" ±{:.4}", (hi - lo) / 2.0));
    format!("{:+.4}{half}", difference.value)
}

/// How far the protocols rank the checkpoints alike: each beside the first one, and where there are reversals.
fn ranks(task: &Protocols) -> String {
    let agreements = task.agreements();
    if agreements.is_empty() {
        return String::new();
    }
    let mut rows = vec![["first", "second", "Kendall's tau", "reversals"].map(str::to_owned).to_vec()];
    let mut found = String::new();
    let shown = |agreement: &&Agreement<'_>| agreement.first == task.names[0] || !agreement.reversals.is_empty();
    for agreement in agreements.iter().filter(shown) {
        let tau = agreement.tau.map_or_else(|| "no order".to_owned(), |tau| format!("{tau:.3}"));
        let names = [agreement.first, agreement.second].map(plain);
        for reversal in &agreement.reversals {
            found += &format!(
                "  {} is ahead of {} by {} under {}, and behind by {} under {}\n",
                plain(reversal.better_under_first),
                plain(reversal.better_under_second),
                signed(&reversal.difference_under_first),
                names[0],
                signed(&reversal.difference_under_second),
                names[1],
            );
        }
        rows.push(names.into_iter().chain([tau, agreement.reversals.len().to_string()]).collect());
    }
    let more = match agreements.len() + 1 - rows.len() {
        0 => String::new(),
        more => format!("{more} more pairs, without reversals, are in protocol_ranks.csv\n"),
    };
    format!("{}{found}{more}\n", aligned(&rows, &[0, 1]))
}

/// A line of `protocols.csv`.
#[derive(Serialize)]
struct DifferenceRow<'a> {
    task: String,
    checkpoint: String,
    step: Option<u64>,
    first: &'a str,
    second: &'a str,
    value_first: f64,
    value_second: f64,
    difference: f64,
    stderr: Option<f64>,
    ci_lo: Option<f64>,
    ci_hi: Option<f64>,
    n: usize,
}

/// A line of `protocol_ranks.csv`: a pair of protocols, or one of their reversals.
#[derive(Serialize)]
struct RankRow<'a> {
    task: String,
    first: &'a str,
    second: &'a str,
    checkpoints: usize,
    tau: Option<f64>,
    reversals: usize,
    better_under_first: String,
    better_under_second: String,
    difference_under_first: Option<f64>,
    difference_under_second: Option<f64>,
}

fn write(folder: &std::path::Path, tasks: &[Protocols]) -> Result<()> {
    let mut differences = csv::Writer::from_writer(Vec::new());
    let mut ranks = csv::Writer::from_writer(Vec::new());
    let broken = |e: csv::Error| Error::internal(format!("a table of protocols: {e}"));
    for task in tasks {
        for (checkpoint, a, b, difference) in task.differences() {
            let row = DifferenceRow {
                task: guard(&task.task),
                checkpoint: guard(&checkpoint.checkpoint),
                step: checkpoint.step,
                first: &task.names[a],
                second: &task.names[b],
                value_first: checkpoint.hits[a].share(),
                value_second: checkpoint.hits[b].share(),
                difference: difference.value,
                stderr: difference.stderr,
                ci_lo: difference.interval.map(|(lo, _)| lo),
                ci_hi: difference.interval.map(|(_, hi)| hi),
                n: difference.n,
            };
            differences.serialize(row).map_err(broken)?;
        }
        for agreement in task.agreements() {
            let row = || RankRow {
                task: guard(&task.task),
                first: agreement.first,
                second: agreement.second,
                checkpoints: agreement.checkpoints,
                tau: agreement.tau,
                reversals: agreement.reversals.len(),
                better_under_first: String::new(),
                better_under_second: String::new(),
                difference_under_first: None,
                difference_under_second: None,
            };
            ranks.serialize(row()).map_err(broken)?;
            for reversal in &agreement.reversals {
                let row = RankRow {
                    better_under_first: guard(reversal.better_under_first),
                    better_under_second: guard(reversal.better_under_second),
                    difference_under_first: Some(reversal.difference_under_first.value),
                    difference_under_second: Some(reversal.difference_under_second.value),
                    ..row()
                };
                ranks.serialize(row).map_err(broken)?;
            }
        }
    }
    for (name, table) in [("protocols.csv", differences), ("protocol_ranks.csv", ranks)] {
        let bytes = table.into_inner().map_err(|e| Error::internal(format!("{name}: {e}")))?;
        files::write_atomic(&folder.join(name), &bytes)?;
    }
    Ok(())
}
