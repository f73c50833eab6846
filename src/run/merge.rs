//! From the parts of a run to the whole.

use std::path::Path;

use super::score::score;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Manifest, MetricRow, RunFolder, Shard, Status, list_folders, write_metrics};

/// Merges the parts of every run under `<out>/<suite>/` for all suites: one `samples.jsonl`, one table. Nothing is
/// changed unless all of them are there.
///
/// # Errors
/// Incomplete, with every missing part named; parts that do not belong together.
pub fn merge(out: &Path, threads: usize) -> Result<Vec<(RunFolder, Manifest, Vec<MetricRow>)>> {
    let mut ready = Vec::new();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for suite in list_folders(out)? {
        for run in list_folders(suite.path())? {
            let parts = run.shards()?;
            if parts.is_empty() {
                continue;
            }
            match check(&run, &parts) {
                Ok(lost) if lost.is_empty() => ready.push((run, parts)),
                Ok(lost) => missing.extend(lost),
                Err(error) => wrong.extend(error.into_diagnostics()),
            }
        }
    }
    Error::check(wrong)?;
    if !missing.is_empty() {
        return Err(Error::collected(ErrorKind::Incomplete, missing));
    }
    if ready.is_empty() {
        return Err(Error::bad("expected parts of a run, found none")
            .in_file(out)
            .help("`veval run --shard 0/3` makes one"));
    }
    ready.into_iter().map(|(run, parts)| join(run, &parts, threads)).collect()
}

/// The parts that are missing or not finished.
fn check(run: &RunFolder, parts: &[(RunFolder, Manifest)]) -> Result<Vec<Diagnostic>> {
    let (_, first) = &parts[0];
    let count = first.shard.map_or(0, |shard| shard.count);
    let strangers =
        parts.iter().filter(|(_, part)| part.key != first.key || part.shard.is_none_or(|s| s.count != count));
    let strangers = strangers.map(|(folder, part)| {
        let shown = part.shard.map_or_else(|| "no part".to_owned(), |shard| format!("part {shard}"));
        Diagnostic::new(format!("expected parts of one run in {count}, found {shown} of other work"))
            .in_file(folder.path())
            .help("remove the folder, or run that part again with the same suite, tasks and checkpoint")
    });
    Error::check(strangers.collect())?;
    let state = |index| parts.iter().find(|(_, part)| part.shard == Some(Shard { index, count }));
    let lost = (0..count).filter_map(|index| {
        let found = match state(index) {
            Some((_, part)) if part.status == Status::Complete => return None,
            Some(_) => "one that is not finished",
            None => "none",
        };
        let problem = Diagnostic::new(format!("expected part {index}/{count}, found {found}")).in_file(run.path());
        Some(problem.help(format!("run it with --shard {index}/{count}")))
    });
    Ok(lost.collect())
}

fn join(
    run: RunFolder,
    parts: &[(RunFolder, Manifest)],
    threads: usize,
) -> Result<(RunFolder, Manifest, Vec<MetricRow>)> {
    let _lock = run.lock()?;
    let first = parts.iter().map(|(_, part)| part.started.clone()).min().unwrap_or_default();
    let last = parts.iter().filter_map(|(_, part)| part.finished.clone()).max();
    let whole = Manifest { status: Status::Running, shard: None, finished: None, ..parts[0].1.clone() };
    let model_seconds: Option<f64> = parts.iter().map(|(_, part)| part.model_seconds).sum();
    let manifest = Manifest { started: first, model_seconds, ..whole };
    let mut writer = run.begin(&manifest)?;
    let mut samples = Vec::new();
    for (folder, _) in parts {
        for sample in folder.samples()? {
            writer.write(&sample)?;
            samples.push(sample);
        }
    }
    writer.flush()?;
    // The same check that a reader makes: as many samples of each task as the manifest says.
    run.complete_samples(&manifest)?;
    let rows = score(&manifest, &samples, threads)?;
    write_metrics(&run.metrics_path(), &rows)?;
    let manifest = Manifest { status: Status::Complete, finished: last, ..manifest };
    run.finish(writer, &manifest)?;
    run.remove_shards()?;
    Ok((run, manifest, rows))
}
