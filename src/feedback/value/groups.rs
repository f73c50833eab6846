//! Values of sources and batches: means over documents by tokens.
//!
//! ```text
//! value = sum n_d v_d / sum n_d      n_d: tokens with a loss
//! ```
//! which is the value of a step on the mean gradient of all those tokens. Its variance is the sum of
//! - that of the feedback items: the aggregate's own parts, with K - 1 degrees of freedom (`parts.rs`). Documents that lean
//!   the same way share the error of the target's gradient, so it does not shrink with their number;
//! - that of the checkpoints, in the same way;
//! - of a source also that of its documents, as a sample of the source: a bootstrap of 200 resamples of documents, n - 1
//!   degrees of freedom. A batch is the documents that it is, and has no such error.
//!
//! Intervals are Student's at 95 %, each of these errors with its own freedom ([`summed`]). Of two halves that is one
//! degree: the interval reaches twelve standard errors of that part to each side. Four to eight parts are far narrower.

use super::parts::{Variance, summed, variance_of_checkpoints, variance_of_parts, weighted_mean};
use super::values::{Values, wide};
use crate::error::{Error, Result};
use crate::lab::random::Stream;
use crate::stats::Estimate;

const RESAMPLES: usize = 200;
/// A source, or a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupValue {
    pub name: String,
    pub documents: usize,
    /// With a loss.
    pub tokens: u64,
    /// Combined over targets, in standard units.
    pub combined: Estimate,
    /// In the order of [`Values::targets`]; nats of the target's loss per unit of learning rate.
    pub targets: Vec<Estimate>,
}

/// What is known of one mean.
struct Parts {
    value: f64,
    items: Variance,
    by_checkpoint: Vec<f64>,
}

impl Values {
    /// Every source, as they came, by those of its documents that count; sources of which none does are left out.
    pub fn by_source(&self, counts: impl Fn(usize) -> bool) -> Vec<GroupValue> {
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.sources().len()];
        for (number, document) in self.table.documents.iter().enumerate().filter(|(number, _)| counts(*number)) {
            members[document.source as usize].push(number);
        }
        let names = self.sources().iter();
        names
            .zip(&members)
            .filter(|(_, members)| !members.is_empty())
            .map(|(name, members)| self.group(name, members, true))
            .collect()
    }

    /// One batch: numbers of documents, a document as often as it is in the batch.
    ///
    /// # Errors
    /// No documents; numbers of documents that are not there.
    pub fn batch(&self, name: &str, documents: &[usize]) -> Result<GroupValue> {
        if documents.is_empty() {
            return Err(Error::bad("expected a batch of at least one document, found none").at(format!("batch {name}")));
        }
        if let Some(number) = documents.iter().find(|&&number| number >= self.len()) {
            let message = format!("expected documents below {}, found document {number}", self.len());
            return Err(Error::bad(message).at(format!("batch {name}")));
        }
        Ok(self.group(name, documents, false))
    }

    fn group(&self, name: &str, documents: &[usize], sample: bool) -> GroupValue {
        let weights: Vec<f64> =
            documents.iter().map(|&number| f64::from(self.table.documents[number].loss_tokens)).collect();
        let total: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let parts: Vec<Parts> = (0..self.factors.len()).map(|target| self.parts(target, documents, &shares)).collect();
        let of_documents = if sample { self.bootstrap(name, documents, &weights) } else { vec![0.0; parts.len() + 1] };
        let estimate = |value: f64, items: Vec<Variance>, by_checkpoint: &[f64], of_documents: f64| {
            let checkpoints = Variance {
                value: variance_of_checkpoints(&self.table.shares, by_checkpoint),
                freedom: by_checkpoint.len() as f64 - 1.0,
            };
            let of_documents = Variance { value: of_documents, freedom: documents.len() as f64 - 1.0 };
            let known = !sample || documents.len() > 1;
            let mut variances = items;
            variances.extend([checkpoints, of_documents]);
            let (stderr, half) = summed(&variances);
            let stderr = known.then_some(stderr);
            let interval = known.then_some((value - half, value + half));
            Estimate { value, stderr, interval, n: documents.len() }
        };
        let targets = parts
            .iter()
            .zip(&of_documents)
            .map(|(part, of_documents)| estimate(part.value, vec![part.items], &part.by_checkpoint, *of_documents))
            .collect();
        let mut by_checkpoint = vec![0.0; self.table.shares.len()];
        let mut items = Vec::new();
        for (part, factor) in parts.iter().zip(&self.factors) {
            by_checkpoint.iter_mut().zip(&part.by_checkpoint).for_each(|(sum, value)| *sum += factor * value);
            items.push(Variance { value: factor * factor * part.items.value, ..part.items });
        }
        let value = parts.iter().zip(&self.factors).map(|(part, factor)| factor * part.value).sum();
        let combined = estimate(value, items, &by_checkpoint, of_documents[parts.len()]);
        GroupValue { name: name.to_owned(), documents: documents.len(), tokens: total as u64, combined, targets }
    }

    fn parts(&self, target: usize, documents: &[usize], shares: &[f64]) -> Parts {
        let part_shares = &self.table.layout.targets[target].shares;
        let mut sums = vec![0.0; part_shares.len()];
        let mut by_checkpoint = vec![0.0; self.table.shares.len()];
        for (&document, share) in documents.iter().zip(shares) {
            let stored = self.stored(document, target);
            sums.iter_mut().zip(stored.parts).for_each(|(sum, &part)| *sum += share * f64::from(part));
            by_checkpoint.iter_mut().zip(stored.checkpoints).for_each(|(sum, &v)| *sum += share * f64::from(v));
        }
        let items = Variance { value: variance_of_parts(part_shares, &sums), freedom: part_shares.len() as f64 - 1.0 };
        Parts { value: weighted_mean(part_shares, &sums), items, by_checkpoint }
    }

    /// Variance over resamples of each target's mean, and of the combined one.
    fn bootstrap(&self, name: &str, documents: &[usize], weights: &[f64]) -> Vec<f64> {
        let columns = self.factors.len() + 1;
        let mut values = Vec::with_capacity(documents.len() * columns);
        for &document in documents {
            for (target, part) in self.table.layout.targets.iter().enumerate() {
                values.push(weighted_mean(&part.shares, &wide(self.stored(document, target).parts)));
            }
            values.push(f64::from(self.combined()[document]));
        }
        let mut stream = Stream::new(0, &["bootstrap of a source's documents", name]);
        let mut moments = vec![(0.0, 0.0); columns];
        // Around the first mean, as variances of small differences are.
        let mut first: Option<Vec<f64>> = None;
        for _ in 0..RESAMPLES {
            let (mut sums, mut total) = (vec![0.0; columns], 0.0);
            for _ in 0..documents.len() {
                let drawn = stream.below(documents.len());
                total += weights[drawn];
                let row = &values[drawn * columns..][..columns];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weights[drawn] * value);
            }
            let means: Vec<f64> = sums.iter().map(|sum| sum / total).collect();
            let origin = first.get_or_insert_with(|| means.clone());
            for ((moment, mean), origin) in moments.iter_mut().zip(&means).zip(origin.iter()) {
                moment.0 += mean - origin;
                moment.1 += (mean - origin).powi(2);
            }
        }
        let count = RESAMPLES as f64;
        // A resample of n documents varies as if there were n - 1: `n / (n - 1)` makes it unbiased.
        let small = documents.len() as f64 / (documents.len() as f64 - 1.0).max(1.0);
        moments.iter().map(|(sum, squares)| small * (squares - sum * sum / count).max(0.0) / (count - 1.0)).collect()
    }
}
