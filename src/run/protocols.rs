//! The same items asked and scored in several ways: what the way itself changes, and whether it changes the order of
//! checkpoints.
//!
//! A *protocol* is a variant of a task (`letter`, `continuation:polite`) with one of its metrics: `letter/acc`,
//! `acc_norm`, `generative/exact_match,letter`. Protocols are compared on the same items, pair by pair.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::metric::{Aggregation, Metric};
use crate::stats::{Estimate, Hits, kendall_tau};
use crate::store::{Manifest, Sample, TaskRecord};

/// The protocols of one task or group over some checkpoints.
#[derive(Debug)]
pub struct Protocols {
    pub task: String,
    /// At least two.
    pub names: Vec<String>,
    pub checkpoints: Vec<CheckpointHits>,
    /// Identity of each item, for the next checkpoint to be compared with.
    items: Vec<String>,
}

/// What one checkpoint got right under each protocol.
#[derive(Debug)]
pub struct CheckpointHits {
    pub checkpoint: String,
    pub step: Option<u64>,
    /// In the order of [`Protocols::names`].
    pub hits: Vec<Hits>,
}

/// How two protocols order the checkpoints.
#[derive(Debug)]
pub struct Agreement<'a> {
    pub first: &'a str,
    pub second: &'a str,
    pub checkpoints: usize,
    /// Kendall's tau-b of the two orders; `None` where one of them puts all checkpoints on one place.
    pub tau: Option<f64>,
    pub reversals: Vec<Reversal<'a>>,
}

/// Two checkpoints of which each protocol prefers another one, both with a 95 % interval of the paired difference that
/// excludes zero.
#[derive(Debug)]
pub struct Reversal<'a> {
    pub better_under_first: &'a str,
    pub better_under_second: &'a str,
    /// Accuracy of `better_under_first` minus the other's, under the first protocol (positive) and the second (negative).
    pub difference_under_first: Estimate,
    pub difference_under_second: Estimate,
}

/// Collects the protocols of all tasks and groups that have more than one, checkpoint by checkpoint.
#[derive(Debug, Default)]
pub struct Collector {
    tasks: Vec<Protocols>,
}

impl Collector {
    /// Takes in the record of one checkpoint.
    ///
    /// # Errors
    /// Variants of a task, or checkpoints, that were scored on different items or under different protocols.
    pub fn add(&mut self, checkpoint: &str, manifest: &Manifest, samples: &[Sample]) -> Result<()> {
        for (task, columns) in columns(manifest, samples)? {
            if columns.len() < 2 {
                continue;
            }
            let (names, columns): (Vec<String>, Vec<Column>) = columns.into_iter().unzip();
            let (mut items, mut hits) = (Vec::new(), Vec::new());
            for column in columns {
                let (found, right): (Vec<String>, Hits) = column.into_iter().unzip();
                if hits.is_empty() {
                    items = found;
                } else if items != found {
                    return Err(other_items(checkpoint, &task));
                }
                hits.push(right);
            }
            let hits = CheckpointHits { checkpoint: checkpoint.to_owned(), step: manifest.step, hits };
            match self.tasks.iter_mut().find(|known| known.task == task) {
                None => self.tasks.push(Protocols { task, names, checkpoints: vec![hits], items }),
                Some(known) if known.items == items && known.names == names => known.checkpoints.push(hits),
                Some(_) => return Err(other_items(checkpoint, &task)),
            }
        }
        Ok(())
    }

    /// Tasks and groups in the order of the suite, groups behind their first member.
    pub fn finish(self) -> Vec<Protocols> {
        self.tasks
    }
}

fn other_items(checkpoint: &str, task: &str) -> Error {
    Error::bad("expected the same items and metrics for every variant and checkpoint, found others")
        .at(format!("task {task}, checkpoint {checkpoint}"))
        .help("score all of them with one suite and the same --limit")
}

/// An item's identity without the variant, and whether it was right.
type Column = Vec<(String, bool)>;

/// Task or group, and its protocols by name.
type Columns = Vec<(String, Vec<(String, Column)>)>;

fn columns(manifest: &Manifest, samples: &[Sample]) -> Result<Columns> {
    let mut by_task: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_task.entry(&sample.task).or_default().push(sample);
    }
    let mut columns: Columns = Vec::new();
    for record in &manifest.tasks {
        let task = base(record, &record.name);
        let samples = by_task.get(record.name.as_str()).map_or(&[][..], Vec::as_slice);
        for key in protocol_keys(record)? {
            let right = |sample: &&Sample| {
                let item = sample.item.strip_prefix(record.name.as_str()).unwrap_or(&sample.item);
                Some((format!("{task}{item}"), *sample.metrics.get(&key)? == 1.0))
            };
            let column: Column = samples.iter().filter_map(right).collect();
            if column.is_empty() {
                continue;
            }
            let name = if record.variant.is_empty() { key } else { format!("{}/{key}", record.variant) };
            for place in std::iter::once(&record.name).chain(&record.groups).map(|name| base(record, name)) {
                let protocols = entry(&mut columns, place);
                entry(protocols, &name).extend(column.iter().cloned());
            }
        }
    }
    Ok(columns)
}

/// Keys of the metrics that say right or wrong, item by item.
fn protocol_keys(record: &TaskRecord) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for filter in &record.filters {
        for name in &record.metrics {
            let metric = Metric::find(record.kind, name)
                .ok_or_else(|| Error::bad(format!("task {}: expected a known metric, found {name:?}", record.name)))?;
            if metric.aggregation == Aggregation::Proportion && metric.higher_is_better {
                keys.push(super::score::key(metric, filter));
            }
        }
    }
    Ok(keys)
}

/// A name of the task or of its group without the variant.
fn base<'a>(record: &TaskRecord, name: &'a str) -> &'a str {
    name.strip_suffix(record.variant.as_str()).and_then(|base| base.strip_suffix(':')).unwrap_or(name)
}

fn entry<'a, T: Default>(list: &'a mut Vec<(String, T)>, name: &str) -> &'a mut T {
    let index = list.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        list.push((name.to_owned(), T::default()));
        list.len() - 1
    });
    &mut list[index].1
}

impl Protocols {
    /// All pairs of protocols, in order.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.names.len();
        (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)))
    }

    /// For each checkpoint and pair of protocols: the second's accuracy minus the first's on the same items.
    pub fn differences(&self) -> impl Iterator<Item = (&CheckpointHits, usize, usize, Estimate)> {
        self.checkpoints.iter().flat_map(move |checkpoint| {
            self.pairs().map(move |(a, b)| (checkpoint, a, b, checkpoint.hits[b].difference(&checkpoint.hits[a])))
        })
    }

    /// How each pair of protocols orders the checkpoints; none for a single checkpoint.
    pub fn agreements(&self) -> Vec<Agreement<'_>> {
        if self.checkpoints.len() < 2 {
            return Vec::new();
        }
        let shares: Vec<Vec<f64>> = (0..self.names.len())
            .map(|protocol| self.checkpoints.iter().map(|checkpoint| checkpoint.hits[protocol].share()).collect())
            .collect();
        let agreement = |(a, b): (usize, usize)| Agreement {
            first: &self.names[a],
            second: &self.names[b],
            checkpoints: self.checkpoints.len(),
            tau: kendall_tau(&shares[a], &shares[b]),
            reversals: self.reversals((a, &shares[a]), (b, &shares[b])),
        };
        self.pairs().map(agreement).collect()
    }

    fn reversals(&self, (a, shares_a): (usize, &[f64]), (b, shares_b): (usize, &[f64])) -> Vec<Reversal<'_>> {
        let mut found = Vec::new();
        for first in 0..self.checkpoints.len() {
            for second in 0..self.checkpoints.len() {
                // The order of the shares alone rules most pairs out.
                if shares_a[first] <= shares_a[second] || shares_b[first] >= shares_b[second] {
                    continue;
                }
                let (better, other) = (&self.checkpoints[first], &self.checkpoints[second]);
                let under = |protocol: usize| better.hits[protocol].difference(&other.hits[protocol]);
                let (under_first, under_second) = (under(a), under(b));
                let above = under_first.interval.is_some_and(|(lo, _)| lo > 0.0);
                let below = under_second.interval.is_some_and(|(_, hi)| hi < 0.0);
                if above && below {
                    found.push(Reversal {
                        better_under_first: &better.checkpoint,
                        better_under_second: &other.checkpoint,
                        difference_under_first: under_first,
                        difference_under_second: under_second,
                    });
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::python_random::PythonRandom;

    /// Checkpoints with the given accuracies under two protocols, drawn independently for each item.
    fn drawn(accuracies: &[(f64, f64)], items: usize, seed: u64) -> Protocols {
        let mut rng = PythonRandom::new(seed);
        let mut hits = |share: f64| (0..items).map(|_| rng.random() < share).collect::<Hits>();
        let checkpoints = accuracies.iter().enumerate().map(|(index, &(a, b))| CheckpointHits {
            checkpoint: format!("step{index}"),
            step: Some(index as u64),
            hits: vec![hits(a), hits(b)],
        });
        Protocols {
            task: "planted".into(),
            names: vec!["acc".into(), "acc_norm".into()],
            checkpoints: checkpoints.collect(),
            items: Vec::new(),
        }
    }

    #[test]
    fn a_planted_reversal_is_found_and_no_other() {
        let protocols = drawn(&[(0.3, 0.3), (0.5, 0.7), (0.7, 0.5), (0.9, 0.9)], 400, 1);
        let agreements = protocols.agreements();
        let [agreement] = &agreements[..] else { panic!("one pair of protocols") };
        assert!((agreement.tau.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        let [reversal] = &agreement.reversals[..] else { panic!("{:?}", agreement.reversals) };
        assert_eq!((reversal.better_under_first, reversal.better_under_second), ("step2", "step1"));
        assert!(reversal.difference_under_first.value > 0.1 && reversal.difference_under_second.value < -0.1);
    }

    /// Null: where all checkpoints are alike, orders differ at random and hardly any reversal is claimed.
    #[test]
    fn chance_claims_few_reversals() {
        let (mut reversals, mut pairs) = (0, 0);
        for seed in 0..40 {
            let protocols = drawn(&[(0.4, 0.4); 10], 150, seed);
            reversals += protocols.agreements()[0].reversals.len();
            pairs += 45;
        }
        // Two independent one-sided 2.5 % errors in opposite directions: 2 * 0.025^2 = 0.125 %.
        assert!(reversals <= pairs / 100, "{reversals} of {pairs}");
    }
}
