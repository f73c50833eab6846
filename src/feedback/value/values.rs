//! Values of all documents, when all are known.

use std::collections::BTreeMap;

use super::parts::{variance_of_checkpoints, variance_of_parts, weighted_mean};
use super::row::ValueRow;
use super::table::{Kept, Stored, ValueTable};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Degrees of freedom that the variance pooled over a source counts for in a document's, beside those of its own parts.
const POOLED_FREEDOM: f64 = 4.0;

/// Values, percentiles and errors. The face of the module states the rules.
#[derive(Debug)]
pub struct Values {
    pub(super) table: ValueTable,
    /// What a target's value is multiplied by in the combined one: `1 / (domains * targets of its domain * scale)`.
    pub(super) factors: Vec<f64>,
    /// Mean over documents of a source of `variance / size`, `[sources, targets]`.
    pooled: Vec<f64>,
    combined: Vec<f32>,
    percentiles: Vec<f32>,
}

impl Values {
    pub(super) fn new(table: ValueTable) -> Result<Self> {
        let factors = factors(&table)?;
        let combined: Vec<f32> = (0..table.len())
            .map(|document| {
                let value = |(target, factor): (usize, &f64)| factor * value_of(&table, document, target);
                factors.iter().enumerate().map(value).sum::<f64>() as f32
            })
            .collect();
        let percentiles = percentiles(&table.documents, &combined, table.sources.list.len());
        let pooled = pooled(&table);
        Ok(Self { table, factors, pooled, combined, percentiles })
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Names of the targets, in order.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = &str> {
        self.table.setup.targets.iter().map(|target| target.name.as_str())
    }

    /// Names of the sources, as they came.
    pub fn sources(&self) -> &[String] {
        &self.table.sources.list
    }

    /// Of all documents.
    pub fn combined(&self) -> &[f32] {
        &self.combined
    }

    /// A target's values of all documents.
    pub fn of_target(&self, target: usize) -> Vec<f64> {
        (0..self.len()).map(|document| value_of(&self.table, document, target)).collect()
    }

    /// Combined values, or those of one target, of these documents and behind them of others, on the scale of these and by
    /// the length of each document's gradient: those of a few tokens are long, whatever they say. `weights`: of the parts of
    /// each target.
    ///
    /// # Panics
    /// For documents of other targets.
    pub(super) fn directions_with(&self, others: &ValueTable, target: Option<usize>, weights: &[Vec<f64>]) -> Vec<f64> {
        assert_eq!(self.table.setup, others.setup, "documents of the same targets");
        let mut values = vec![0.0; self.len() + others.len()];
        for (number, factor) in self.factors.iter().enumerate().filter(|(own, _)| target.is_none_or(|one| one == *own))
        {
            let factor = if target.is_some() { 1.0 } else { *factor };
            let of = |table: &ValueTable, document: usize| {
                let parts = table.layout.of(number, table.numbers_of(document)).parts;
                let value: f64 =
                    weights[number].iter().zip(parts).map(|(weight, part)| weight * f64::from(*part)).sum();
                let length = f64::from(table.documents[document].size).sqrt();
                if length > 0.0 { factor * value / length } else { 0.0 }
            };
            let all = (0..self.len()).map(|at| of(&self.table, at)).chain((0..others.len()).map(|at| of(others, at)));
            values.iter_mut().zip(all).for_each(|(sum, value)| *sum += value);
        }
        values
    }

    /// Weights of the parts of each target.
    pub(super) fn part_weights(&self) -> Vec<Vec<f64>> {
        self.table.layout.targets.iter().map(|target| target.shares.clone()).collect()
    }

    /// A target's values with one of two halves of its feedback items: the parts of even number, or those of odd number.
    pub fn of_half(&self, target: usize, half: usize) -> Vec<f64> {
        let shares = &self.table.layout.targets[target].shares;
        let total: f64 = shares.iter().skip(half % 2).step_by(2).sum();
        let value = |document: usize| {
            let parts = self.stored(document, target).parts;
            let halves = shares.iter().zip(parts).skip(half % 2).step_by(2);
            halves.map(|(share, &part)| share * f64::from(part)).sum::<f64>() / total
        };
        (0..self.len()).map(value).collect()
    }

    /// The combined value of all documents with one of two halves of each target's items.
    pub fn combined_half(&self, half: usize) -> Vec<f64> {
        let mut combined = vec![0.0; self.len()];
        for (target, factor) in self.factors.iter().enumerate() {
            let values = self.of_half(target, half);
            combined.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
        }
        combined
    }

    pub(super) fn stored(&self, document: usize, target: usize) -> Stored<'_> {
        self.table.layout.of(target, self.table.numbers_of(document))
    }

    /// Variance of a document's value for a target: of the feedback items, and of the checkpoints.
    fn variances(&self, document: usize, target: usize) -> (f64, f64) {
        let (stored, shares) = (self.stored(document, target), &self.table.layout.targets[target].shares);
        let kept = &self.table.documents[document];
        let own_freedom = shares.len() as f64 - 1.0;
        let own = variance_of_parts(shares, &wide(stored.parts));
        let pooled = self.pooled[kept.source as usize * self.factors.len() + target] * f64::from(kept.size);
        let items = (POOLED_FREEDOM * pooled + own_freedom * own) / (POOLED_FREEDOM + own_freedom);
        (items, variance_of_checkpoints(&self.table.shares, &wide(stored.checkpoints)))
    }

    /// Standard error of the combined value: items of different targets differ, checkpoints are the same for all.
    fn combined_error(&self, document: usize) -> f64 {
        let mut by_checkpoint = vec![0.0; self.table.shares.len()];
        let mut items = 0.0;
        for (target, factor) in self.factors.iter().enumerate() {
            items += factor * factor * self.variances(document, target).0;
            let values = self.stored(document, target).checkpoints;
            by_checkpoint.iter_mut().zip(values).for_each(|(sum, &value)| *sum += factor * f64::from(value));
        }
        (items + variance_of_checkpoints(&self.table.shares, &by_checkpoint)).sqrt()
    }

    /// One row a document, in the order in which they came; made as they are asked for.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = ValueRow> {
        (0..self.len()).map(|document| self.row(document))
    }

    fn row(&self, document: usize) -> ValueRow {
        let kept = &self.table.documents[document];
        let excess = kept.loss_ref.map(|reference| kept.loss - reference);
        let mut targets = BTreeMap::new();
        for (number, name) in self.targets().enumerate() {
            let stored = self.stored(document, number);
            let (items, checkpoints) = self.variances(document, number);
            targets.insert(format!("value_{name}"), value_of(&self.table, document, number) as f32);
            targets.insert(format!("value_se_{name}"), (items + checkpoints).sqrt() as f32);
            targets.insert(format!("dot_{name}"), stored.dot);
            targets.insert(format!("cosine_{name}"), stored.cosine);
            if !stored.step.is_nan() {
                targets.insert(format!("step_{name}"), stored.step);
            }
        }
        ValueRow {
            doc_id: kept.id.to_string(),
            source: self.sources()[kept.source as usize].clone(),
            place: self.table.place_of(kept),
            n_tokens: kept.tokens as i32,
            n_loss_tokens: kept.loss_tokens as i32,
            loss: kept.loss,
            loss_ref: kept.loss_ref,
            excess,
            learnability: excess.map(|excess| if kept.loss > 0.0 { excess.max(0.0) / kept.loss } else { 0.0 }),
            value: self.combined[document],
            value_se: self.combined_error(document) as f32,
            pct: self.percentiles[document],
            self_influence: kept.self_influence,
            grad_norm: kept.norm,
            targets,
            ..ValueRow::default()
        }
    }
}

fn value_of(table: &ValueTable, document: usize, target: usize) -> f64 {
    let parts = table.layout.of(target, table.numbers_of(document)).parts;
    weighted_mean(&table.layout.targets[target].shares, &wide(parts))
}

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// The scale of a target is the root of the mean square of its values: zero stays zero, so that the sign keeps its meaning.
fn factors(table: &ValueTable) -> Result<Vec<f64>> {
    let mut domains: BTreeMap<&str, f64> = BTreeMap::new();
    for target in &table.setup.targets {
        *domains.entry(&target.domain).or_default() += 1.0;
    }
    let mut problems = Vec::new();
    let mut factors = Vec::new();
    for (number, target) in table.setup.targets.iter().enumerate() {
        let squares: f64 = (0..table.len()).map(|document| value_of(table, document, number).powi(2)).sum();
        let scale = (squares / table.len() as f64).sqrt();
        if scale == 0.0 {
            let message = "expected a value that is not zero of at least one document, found none";
            problems.push(Diagnostic::new(message).at(format!("target {}", target.name)));
        }
        factors.push(1.0 / (domains.len() as f64 * domains[target.domain.as_str()] * scale));
    }
    Error::check(problems)?;
    Ok(factors)
}

fn pooled(table: &ValueTable) -> Vec<f64> {
    let targets = table.setup.targets.len();
    let mut sums = vec![0.0; table.sources.list.len() * targets];
    let mut counts = vec![0.0; table.sources.list.len()];
    for (document, kept) in table.documents.iter().enumerate() {
        let source = kept.source as usize;
        counts[source] += 1.0;
        for target in 0..targets {
            let parts = wide(table.layout.of(target, table.numbers_of(document)).parts);
            let variance = variance_of_parts(&table.layout.targets[target].shares, &parts);
            sums[source * targets + target] += variance / f64::from(kept.size);
        }
    }
    sums.iter_mut().enumerate().for_each(|(at, sum)| *sum /= counts[at / targets]);
    sums
}

fn percentiles(documents: &[Kept], values: &[f32], sources: usize) -> Vec<f32> {
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); sources];
    for (number, document) in documents.iter().enumerate() {
        members[document.source as usize].push(number);
    }
    let mut percentiles = vec![0.0; values.len()];
    for mut members in members {
        members.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut below = 0;
        for equal in members.chunk_by(|&a, &b| values[a] == values[b]) {
            let rank = below as f64 + equal.len() as f64 / 2.0;
            for &number in equal {
                percentiles[number] = (100.0 * rank / members.len() as f64) as f32;
            }
            below += equal.len();
        }
    }
    percentiles
}
