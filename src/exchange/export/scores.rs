//! `results`, `groups` and the tables beside them: scores of tasks and of groups of tasks.

use std::collections::BTreeMap;

use super::names::{ExportedMetric, ExportedTask};
use super::python::Python;
use crate::store::{MetricRow, TaskRecord};

/// Stands where a score has no standard error.
const NO_ERROR: &str = "N/A";

/// The scores of one task of a run.
pub(super) struct TaskScores<'a> {
    pub name: &'a str,
    pub record: &'a TaskRecord,
    /// Those that any item has.
    pub metrics: Vec<&'a ExportedMetric>,
    rows: Vec<&'a MetricRow>,
}

/// A group and what it is made of.
pub(super) struct Group<'a> {
    pub name: &'a str,
    /// Tasks or groups.
    pub children: Vec<&'a str>,
    /// Groups within groups come first.
    depth: usize,
    leaves: Vec<&'a TaskScores<'a>>,
    rows: Vec<&'a MetricRow>,
}

/// The scores of every task over all its items. Slices are unknown there.
pub(super) fn task_scores<'a>(tasks: &'a [ExportedTask<'a>], rows: &'a [MetricRow]) -> Vec<TaskScores<'a>> {
    let of_task = |task: &'a ExportedTask<'a>| {
        let rows = rows_of(rows, &task.record.name);
        let scored = |metric: &&ExportedMetric| rows.iter().any(|row| row.metric == metric.metric.name);
        let metrics = task.metrics.iter().filter(scored).collect();
        TaskScores { name: &task.name, record: task.record, metrics, rows }
    };
    tasks.iter().map(of_task).collect()
}

fn rows_of<'a>(rows: &'a [MetricRow], name: &str) -> Vec<&'a MetricRow> {
    rows.iter().filter(|row| row.task == name && row.slice.is_empty()).collect()
}

/// Every group, the inner ones first. A task names its groups from the inside out.
pub(super) fn groups<'a>(tasks: &'a [TaskScores<'a>], rows: &'a [MetricRow]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for task in tasks {
        let mut child = task.name;
        for (depth, name) in task.record.groups.iter().enumerate() {
            let index = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
                let (children, leaves) = (Vec::new(), Vec::new());
                groups.push(Group { name, children, depth, leaves, rows: rows_of(rows, name) });
                groups.len() - 1
            });
            let group = &mut groups[index];
            if !group.children.contains(&child) {
                group.children.push(child);
            }
            group.depth = group.depth.max(depth);
            group.leaves.push(task);
            child = name;
        }
    }
    groups.sort_by_key(|group| group.depth);
    groups
}

impl TaskScores<'_> {
    /// The entry under `results`.
    pub fn entry(&self) -> Python {
        let mut entries = vec![
            ("name".to_owned(), self.name.into()),
            ("alias".to_owned(), self.name.into()),
            ("sample_len".to_owned(), Python::count(self.record.items)),
        ];
        entries.extend(self.rows.iter().filter_map(|row| score(row, &self.metrics)).flatten());
        Python::Dict(entries)
    }

    pub fn higher_is_better(&self) -> BTreeMap<&str, Option<bool>> {
        self.metrics.iter().map(|metric| (metric.name.as_str(), Some(metric.metric.higher_is_better))).collect()
    }
}

impl Group<'_> {
    /// Whether any metric of the members has a mean over all of them.
    pub fn has_scores(&self) -> bool {
        !self.rows.is_empty()
    }

    /// The entry under `results` and `groups`.
    pub fn entry(&self) -> Python {
        let mut entries = vec![("alias".to_owned(), self.name.into()), ("name".to_owned(), self.name.into())];
        if self.has_scores() {
            let items = self.leaves.iter().map(|task| task.record.items).sum();
            entries.push(("sample_len".to_owned(), Python::count(items)));
            let metrics: Vec<&ExportedMetric> = self.leaves.iter().flat_map(|task| task.metrics.clone()).collect();
            let mut counts = Vec::new();
            for row in &self.rows {
                let Some([value, error]) = score(row, &metrics) else { continue };
                counts.push((value.0.clone(), row.n.into()));
                entries.extend([value, error]);
            }
            entries.push(("sample_count".to_owned(), Python::Dict(counts)));
        }
        Python::Dict(entries)
    }

    /// The number of shots that all members have.
    pub fn shots(&self) -> Option<usize> {
        let mut shots = self.leaves.iter().map(|task| task.record.shots);
        let first = shots.next()?;
        shots.all(|other| other == first).then_some(first)
    }

    /// None where members differ.
    pub fn higher_is_better(&self) -> BTreeMap<&str, Option<bool>> {
        let mut all: BTreeMap<&str, Option<bool>> = BTreeMap::new();
        for (name, better) in self.leaves.iter().flat_map(|task| task.higher_is_better()) {
            all.entry(name).and_modify(|known| *known = known.filter(|_| *known == better)).or_insert(better);
        }
        all
    }
}

/// `metric,filter` and `metric_stderr,filter`. One item has no standard error, whatever made the score.
fn score(row: &MetricRow, metrics: &[&ExportedMetric]) -> Option<[(String, Python); 2]> {
    let name = &metrics.iter().find(|metric| metric.metric.name == row.metric)?.name;
    let error = row.stderr.filter(|_| row.n.is_none_or(|n| n > 1)).map_or_else(|| NO_ERROR.into(), Python::Float);
    Some([
        (format!("{name},{}", row.filter), Python::Float(row.value)),
        (format!("{name}_stderr,{}", row.filter), error),
    ])
}
