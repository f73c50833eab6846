//! What lm-evaluation-harness calls our metrics, how it aggregates them, and what its samples hold of them.

use super::python::Python;
use crate::error::{Error, Result};
use crate::metric::{Aggregation, AnswerOutcome, Filter, ItemValue, Metric, Outcome, OutcomeKind};
use crate::store::TaskRecord;

/// A task with its metrics under the names that they are exported by.
pub(super) struct ExportedTask<'a> {
    pub record: &'a TaskRecord,
    /// Readers find a task's file by this name and look it up in the tables by the name of its file.
    pub name: String,
    /// In the task's order.
    pub metrics: Vec<ExportedMetric>,
}

/// A metric of a task.
pub(super) struct ExportedMetric {
    pub metric: &'static Metric,
    pub name: String,
}

/// Metrics that are called otherwise there.
const RENAMED: &[(OutcomeKind, &str, &str)] = &[
    // TruthfulQA's mass of true answers is the `acc` of its task.
    (OutcomeKind::Choices, "mc2", "acc"),
    // Their `bits_per_byte` is a pair of log-likelihood and bytes, of texts.
    (OutcomeKind::Choices, "bits_per_byte", "choice_bits_per_byte"),
];

/// What goes before our name where a renamed metric takes it.
const TAKEN: &str = "veval_";

/// Metrics whose item values are Python integers there, where others are floats.
const INTEGERS: &[(OutcomeKind, &str)] = &[(OutcomeKind::Cloze, "acc"), (OutcomeKind::Choices, "exact_match")];

/// Every task of a run.
///
/// # Errors
/// A name that is no metric of a task's kind; two tasks whose files would have one name.
pub(super) fn exported_tasks(records: &[TaskRecord]) -> Result<Vec<ExportedTask<'_>>> {
    let mut tasks: Vec<ExportedTask<'_>> = Vec::new();
    for record in records {
        let name = record.name.replace(['/', '\\', '\0'], "__");
        if let Some(other) = tasks.iter().find(|task| task.name == name) {
            let (first, second) = (&other.record.name, &record.name);
            return Err(Error::bad(format!("expected tasks of different file names, found {first:?} and {second:?}")));
        }
        tasks.push(ExportedTask { record, name, metrics: exported_metrics(record)? });
    }
    Ok(tasks)
}

fn exported_metrics(record: &TaskRecord) -> Result<Vec<ExportedMetric>> {
    let renamed = |name: &str| {
        let entry = RENAMED.iter().find(|(kind, ours, _)| *kind == record.kind && *ours == name);
        entry.map(|(_, _, theirs)| *theirs)
    };
    let taken = |name: &str| record.metrics.iter().any(|other| renamed(other) == Some(name));
    let exported = |name: &String| {
        let metric = Metric::find(record.kind, name).ok_or_else(|| {
            Error::bad(format!("expected a known metric, found {name:?}")).at(format!("task {}", record.name))
        })?;
        let name = match renamed(name) {
            Some(theirs) => theirs.to_owned(),
            None if taken(name) => format!("{TAKEN}{name}"),
            None => name.clone(),
        };
        Ok(ExportedMetric { metric, name })
    };
    record.metrics.iter().map(exported).collect()
}

impl ExportedMetric {
    /// The harness's function that makes a score of what the samples hold.
    pub fn aggregation(&self) -> &'static str {
        match self.metric.aggregation {
            Aggregation::Proportion | Aggregation::Mean => "mean",
            Aggregation::ExpNegMean => "perplexity",
            Aggregation::ExpRatio => "weighted_perplexity",
            Aggregation::Ratio => "bits_per_byte",
            // Functions of the same names.
            Aggregation::Bleu | Aggregation::Chrf => self.metric.name,
        }
    }

    /// What a sample holds: a value, log-likelihood and weight, or reference and answer; `None` where the item has none.
    pub fn of_item(&self, outcome: &Outcome, filter: &Filter, record: &TaskRecord) -> Option<Python> {
        let (value, weight) = match self.metric.item(outcome, filter, &record.rules)? {
            ItemValue::Weighted(value, weight) => (value, weight),
            ItemValue::Bleu(_) | ItemValue::Chrf(_) => return reference_and_answer(outcome, filter),
        };
        Some(match self.metric.aggregation {
            Aggregation::Ratio | Aggregation::ExpRatio => {
                Python::List(vec![Python::Float(log_likelihood(outcome)?), Python::Int(weight as i128)])
            }
            _ if INTEGERS.contains(&(record.kind, self.metric.name)) => Python::Int(value as i128),
            _ => Python::Float(value),
        })
    }
}

/// What scores of a corpus are made of there. Several references stand in a list.
fn reference_and_answer(outcome: &Outcome, filter: &Filter) -> Option<Python> {
    let Outcome::Answer(AnswerOutcome { text, golds, .. }) = outcome else { return None };
    let reference = match &golds[..] {
        [gold] => Python::text(gold),
        golds => Python::List(golds.iter().map(Python::text).collect()),
    };
    Some(Python::List(vec![reference, Python::text(filter.apply(text))]))
}

/// Of an item with one scored text.
pub(super) fn log_likelihood(outcome: &Outcome) -> Option<f64> {
    let log_probs = match outcome {
        Outcome::Cloze(item) => &item.log_probs,
        Outcome::Rolling(item) => &item.log_probs,
        Outcome::Choices(_) | Outcome::Answer(_) => return None,
    };
    Some(log_probs.iter().map(|&log_prob| f64::from(log_prob)).sum())
}
