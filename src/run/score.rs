//! From samples to the table of scores.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::metric::{Aggregation, Filter, ItemValue, Metric, Outcome, summarise};
use crate::stats::{Estimate, pooled_mean};
use crate::store::{Manifest, MetricRow, Sample, TaskRecord};
use crate::suite::{Profile, Stderr};

/// Values of one item under one metric and filter.
fn item_values(record: &TaskRecord, outcome: &Outcome) -> Result<Vec<(String, &'static Metric, String, ItemValue)>> {
    let mut values = Vec::new();
    for filter in &record.filters {
        for name in &record.metrics {
            let metric = Metric::find(record.kind, name)
                .ok_or_else(|| Error::bad(format!("task {}: expected a known metric, found {name:?}", record.name)))?;
            if let Some(value) = metric.item(outcome, filter, &record.rules) {
                values.push((key(metric, filter), metric, filter.name.clone(), value));
            }
        }
    }
    Ok(values)
}

/// What a sample calls the value of a metric under a filter.
pub(super) fn key(metric: &Metric, filter: &Filter) -> String {
    if filter.name == "none" { metric.name.to_owned() } else { format!("{},{}", metric.name, filter.name) }
}

/// The `metrics` of a sample: ratios and corpus scores as the item's own, exponentials of means left out.
pub fn sample_metrics(record: &TaskRecord, outcome: &Outcome) -> Result<BTreeMap<String, f64>> {
    let own = |(key, metric, _, value): (String, &Metric, String, ItemValue)| (key, value.own(metric));
    Ok(item_values(record, outcome)?.into_iter().map(own).collect())
}

/// Scores of every task, slice, filter and metric, and of every group of tasks.
pub fn score(manifest: &Manifest, samples: &[Sample], threads: usize) -> Result<Vec<MetricRow>> {
    let mut by_task: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_task.entry(&sample.task).or_default().push(sample);
    }
    let mut rows = Vec::new();
    let mut groups: Groups = BTreeMap::new();
    for record in &manifest.tasks {
        let samples = by_task.get(record.name.as_str()).map_or(&[][..], Vec::as_slice);
        let bootstrap = match Profile::find(&record.profile).map(|profile| profile.stderr) {
            Some(Stderr::PythonBootstrap) => Some(threads),
            _ => None,
        };
        for (slice, filter, metric, values) in columns(record, samples)? {
            // The peer knows no slices; its slow bootstrap is kept for the score that it has as well.
            let estimate = summarise(metric, &values, bootstrap.filter(|_| slice.is_empty()));
            rows.push(row(manifest, record, &record.name, &slice, &filter, metric.name, &estimate));
            let averaged = matches!(metric.aggregation, Aggregation::Proportion | Aggregation::Mean);
            if slice.is_empty() && averaged {
                for group in &record.groups {
                    let members = groups.entry(group).or_default();
                    match members.iter_mut().find(|(f, m, _)| *f == filter && m.name == metric.name) {
                        Some((_, _, parts)) => parts.push((record, estimate)),
                        None => members.push((filter.clone(), metric, vec![(record, estimate)])),
                    }
                }
            }
        }
    }
    for (group, members) in &groups {
        for (filter, metric, parts) in members {
            let estimates: Vec<Estimate> = parts.iter().map(|(_, estimate)| *estimate).collect();
            let estimate = pooled_mean(&estimates).within(metric.bounds());
            rows.push(row(manifest, parts[0].0, group, "", filter, metric.name, &estimate));
        }
    }
    Ok(rows)
}

/// Group, then filter and metric, with the estimates of the members.
type Groups<'a> = BTreeMap<&'a str, Vec<(String, &'static Metric, Vec<(&'a TaskRecord, Estimate)>)>>;

/// Slice (empty for all items), filter, metric, and the values of its items.
type Column = (String, String, &'static Metric, Vec<ItemValue>);

fn columns(record: &TaskRecord, samples: &[&Sample]) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    let mut place: BTreeMap<(String, String), usize> = BTreeMap::new();
    for sample in samples {
        for (key, metric, filter, value) in item_values(record, &sample.outcome)? {
            let slices = sample.slices.iter().map(|(name, value)| format!("{name}={value}"));
            for slice in std::iter::once(String::new()).chain(slices) {
                let index = *place.entry((slice.clone(), key.clone())).or_insert_with(|| {
                    columns.push((slice.clone(), filter.clone(), metric, Vec::new()));
                    columns.len() - 1
                });
                columns[index].3.push(value);
            }
        }
    }
    // All items first, then slices by name; within them the order of the task's metrics.
    columns.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(columns)
}

fn row(
    manifest: &Manifest,
    record: &TaskRecord,
    task: &str,
    slice: &str,
    filter: &str,
    metric: &str,
    estimate: &Estimate,
) -> MetricRow {
    MetricRow {
        suite: manifest.suite.clone(),
        series: manifest.series.clone(),
        checkpoint: manifest.checkpoint.clone(),
        step: manifest.step,
        tokens: manifest.tokens,
        task: task.to_owned(),
        slice: slice.to_owned(),
        filter: filter.to_owned(),
        shots: Some(record.shots),
        metric: metric.to_owned(),
        value: estimate.value,
        stderr: estimate.stderr,
        ci_lo: estimate.interval.map(|(lo, _)| lo),
        ci_hi: estimate.interval.map(|(_, hi)| hi),
        n: Some(estimate.n),
        profile: record.profile.clone(),
    }
}

/// Computes the item metrics of stored samples again, without the model.
pub fn rescore(manifest: &Manifest, samples: &mut [Sample]) -> Result<()> {
    let records: BTreeMap<&str, &TaskRecord> =
        manifest.tasks.iter().map(|record| (record.name.as_str(), record)).collect();
    for sample in samples {
        let record = records
            .get(sample.task.as_str())
            .ok_or_else(|| Error::bad(format!("sample of an unknown task {:?}", sample.task)))?;
        sample.metrics = sample_metrics(record, &sample.outcome)?;
    }
    Ok(())
}
