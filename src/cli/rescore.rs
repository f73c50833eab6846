//! `veval rescore`: metrics from the record alone.

use super::args::RescoreArguments;
use super::{print, run, table};
use crate::ctx;
use crate::error::{Error, Result};
use crate::report::View;
use crate::run::{rescore as rescore_samples, score};
use crate::store::{Manifest, RunFolder, write_metrics};
use crate::suite::Suite;

pub(super) fn rescore(arguments: &RescoreArguments) -> Result<()> {
    let suite = arguments.suite.as_deref().map(run::read).transpose()?;
    let mut runs = Vec::new();
    for path in &arguments.runs {
        let folder = RunFolder::at(path);
        let mut manifest = folder.manifest()?.ok_or_else(|| {
            Error::bad("expected run.json, found none")
                .in_file(path)
                .help("name a run folder, `<out>/<suite>/<checkpoint>`")
        })?;
        if !manifest.imported.is_empty() {
            return Err(Error::bad("expected a run of our own, found one that was imported")
                .in_file(path)
                .help("its scores are those of the tool that made it"));
        }
        let mut samples = folder.complete_samples(&manifest)?;
        if let Some(suite) = &suite {
            take_rules(&mut manifest, suite)?;
        }
        rescore_samples(&manifest, &mut samples)?;
        let rows = score(&manifest, &samples, ctx::cores())?;
        write_metrics(&folder.metrics_path(), &rows)?;
        runs.push((manifest, rows));
    }
    let name = runs.first().map_or_else(String::new, |(manifest, _)| manifest.suite.clone());
    let view = View::new(&name, &runs);
    let rows: Vec<_> = runs.into_iter().flat_map(|(_, rows)| rows).collect();
    print(&table::format(arguments.format, &view, &rows)?)
}

/// Metrics, filters and match rules of the suite's tasks of the same names.
fn take_rules(manifest: &mut Manifest, suite: &Suite) -> Result<()> {
    for record in &mut manifest.tasks {
        let task =
            suite.tasks.iter().find(|task| task.name == record.name && task.kind.outcome() == record.kind).ok_or_else(
                || {
                    Error::bad(format!(
                        "expected the recorded task {} in the suite, found none of that name and kind",
                        record.name
                    ))
                },
            )?;
        record.metrics = task.metrics.iter().map(|metric| metric.name.to_owned()).collect();
        record.filters = task.filters.clone();
        record.rules = task.rules.clone();
    }
    Ok(())
}
