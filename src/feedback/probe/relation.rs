//! Predicted against realised decreases of a target's loss, one pair a batch.
//!
//! ```text
//! slope, intercept   least squares: realised = intercept + slope predicted
//! ratio              least squares through the origin: sum(predicted realised) / sum(predicted^2)
//! ```
//! A linear model that is right has both at one. They differ in what they forgive: the slope any constant that all batches
//! share, as the drift of a momentum does; the ratio none.
//!
//! **Intervals** are 95 % bootstraps over batches, bias-corrected and accelerated (BCa, Efron 1987), of [`RESAMPLES`]
//! draws of pairs. Pairs, not residuals: the curvature that a linear model leaves out grows with the step, and so does its
//! error. Resamples of n batches vary too little by (n - 2) / n, and the normal quantile is too short for few batches, so
//! the levels are those of `t(n - 2) sqrt(n / (n - 2))` (after Hesterberg 2015); of 200 batches that is 1.1 % of the width.
//! Simulated, with errors alike for all batches, they cover 94 to 99 % from 10 batches on; where errors are in proportion
//! to the prediction, or tails are heavy, 20 to 200 batches cover 87 to 94 %: the few that matter most are seldom seen.
//!
//! **Where the linear model breaks** ([`linear_range`]): it *holds* at a step size where Pearson's correlation is at least
//! 0.9 and the slope between 0.9 and 1.1. At very small steps the realised decrease is lost in the rounding of an f32
//! loss, which is not curvature: steps below the first at which it holds are set aside. It goes on holding up to the last step
//! before one at which it does not; that next one is the break, whatever comes above.

use std::ops::RangeInclusive;

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::random::Stream;
use crate::stats::{spearman, t_quantile};

/// Draws of a bootstrap.
pub const RESAMPLES: usize = 2000;

/// Two points lie on a line whatever they are.
const FEWEST_BATCHES: usize = 3;

const LEAST_PEARSON: f64 = 0.9;
const SLOPES: RangeInclusive<f64> = 0.9..=1.1;

/// A number and its 95 % interval, which has room for the number itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// How far one-step predictions come true at one step size. What cannot be told is none: of fewer than three batches, of
/// a side that does not vary, and all that needs realised decreases where one of them is no number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Relation {
    pub batches: usize,
    /// Batches whose realised decrease is infinite or no number: the step blew up.
    pub diverged: usize,
    pub pearson: Option<Interval>,
    pub spearman: Option<f64>,
    /// Nats realised per nat predicted, beside an intercept.
    pub slope: Option<Interval>,
    /// Nats realised where none are predicted.
    pub intercept: Option<f64>,
    /// Nats realised per nat predicted, without an intercept.
    pub ratio: Option<Interval>,
    /// Share of batches whose realised decrease has the sign of the predicted one; zero is a sign of its own.
    pub sign_agreement: Option<f64>,
    /// Nats.
    pub mean_predicted: Option<f64>,
    /// Nats.
    pub mean_realised: Option<f64>,
}

impl Relation {
    /// `predicted`, `realised`: decreases of the target's loss in nats, one a batch. The same `seed` draws the same
    /// resamples.
    ///
    /// # Errors
    /// Lists of other lengths; predictions that are no finite numbers.
    pub fn of(predicted: &[f64], realised: &[f64], seed: u64) -> Result<Self> {
        let mut problems = Vec::new();
        if predicted.len() != realised.len() {
            let (wanted, found) = (predicted.len(), realised.len());
            let message = format!("expected a realised decrease for each of {wanted} predicted ones, found {found}");
            problems.push(Diagnostic::new(message));
        }
        for (batch, value) in predicted.iter().enumerate().filter(|(_, value)| !value.is_finite()) {
            let message = format!("expected a finite predicted decrease, found {value}");
            problems.push(Diagnostic::new(message).at(format!("batch {batch}")));
        }
        Error::check(problems)?;
        let diverged = realised.iter().filter(|value| !value.is_finite()).count();
        let pairs: Vec<Pair> = if diverged == 0 {
            predicted.iter().zip(realised).map(|(&predicted, &realised)| Pair { predicted, realised }).collect()
        } else {
            Vec::new()
        };
        let enough = pairs.len() >= FEWEST_BATCHES;
        let line = Deviations::of(&pairs);
        Ok(Self {
            batches: predicted.len(),
            diverged,
            pearson: interval(&pairs, seed, |pairs| Deviations::of(pairs).pearson()),
            spearman: enough.then(|| spearman(predicted, realised)).flatten(),
            slope: interval(&pairs, seed, |pairs| Deviations::of(pairs).slope()),
            intercept: line.slope().filter(|_| enough).map(|slope| line.means.realised - slope * line.means.predicted),
            ratio: interval(&pairs, seed, ratio),
            sign_agreement: mean(pairs.iter().map(|pair| f64::from(u8::from(pair.agrees())))),
            mean_predicted: mean(predicted.iter().copied()),
            mean_realised: mean(pairs.iter().map(|pair| pair.realised)),
        })
    }

    /// Whether the linear model holds: a Pearson correlation of at least 0.9 and a slope between 0.9 and 1.1.
    pub fn holds(&self) -> bool {
        self.pearson.is_some_and(|pearson| pearson.value >= LEAST_PEARSON)
            && self.slope.is_some_and(|slope| SLOPES.contains(&slope.value))
    }
}

/// Of one batch.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    predicted: f64,
    realised: f64,
}

impl Pair {
    fn agrees(self) -> bool {
        self.predicted.partial_cmp(&0.0) == self.realised.partial_cmp(&0.0)
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

/// Means, and sums of squares and products of deviations from them.
#[derive(Debug, Default)]
struct Deviations {
    means: Pair,
    predicted: f64,
    realised: f64,
    product: f64,
}

impl Deviations {
    fn of(pairs: &[Pair]) -> Self {
        let Some(&first) = pairs.first() else { return Self::default() };
        let count = pairs.len() as f64;
        // From the first pair on, as values that are all equal then have deviations of exactly zero.
        let from_first = || pairs.iter().map(|pair| (pair.predicted - first.predicted, pair.realised - first.realised));
        let sums = from_first().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        let centre = (sums.0 / count, sums.1 / count);
        let means = Pair { predicted: first.predicted + centre.0, realised: first.realised + centre.1 };
        let mut found = Self { means, ..Self::default() };
        for (x, y) in from_first() {
            let (x, y) = (x - centre.0, y - centre.1);
            found.predicted += x * x;
            found.realised += y * y;
            found.product += x * y;
        }
        found
    }

    fn pearson(&self) -> Option<f64> {
        let norms = self.predicted.sqrt() * self.realised.sqrt();
        (norms > 0.0).then(|| (self.product / norms).clamp(-1.0, 1.0))
    }

    fn slope(&self) -> Option<f64> {
        (self.predicted > 0.0).then(|| self.product / self.predicted)
    }
}

fn ratio(pairs: &[Pair]) -> Option<f64> {
    let squares: f64 = pairs.iter().map(|pair| pair.predicted * pair.predicted).sum();
    let products: f64 = pairs.iter().map(|pair| pair.predicted * pair.realised).sum();
    (squares > 0.0).then(|| products / squares)
}

/// Of all batches, with the interval of the bootstrap. Resamples of which the statistic is not defined are passed over.
fn interval(pairs: &[Pair], seed: u64, statistic: impl Fn(&[Pair]) -> Option<f64>) -> Option<Interval> {
    let count = pairs.len();
    if count < FEWEST_BATCHES {
        return None;
    }
    let value = statistic(pairs)?;
    // Of one name, so that all statistics see the same resamples.
    let mut stream = Stream::new(seed, &["resamples of batches"]);
    let mut resample = pairs.to_vec();
    let mut draws = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        resample.fill_with(|| pairs[stream.below(count)]);
        draws.extend(statistic(&resample));
    }
    draws.sort_by(f64::total_cmp);
    let without: Vec<f64> = (0..count)
        .filter_map(|left_out| {
            resample.clear();
            resample.extend_from_slice(&pairs[..left_out]);
            resample.extend_from_slice(&pairs[left_out + 1..]);
            statistic(&resample)
        })
        .collect();
    let (low, high) = levels(count, share_below(&draws, value), acceleration(&without));
    let at = |level: f64| draws.get(((draws.len() as f64 - 1.0) * level).round() as usize).copied().unwrap_or(value);
    Some(Interval { value, low: at(low).min(value), high: at(high).max(value) })
}

/// Share of sorted draws below the value, equal ones by half; never quite none or all.
fn share_below(draws: &[f64], value: f64) -> f64 {
    let (below, not_above) =
        (draws.partition_point(|draw| *draw < value), draws.partition_point(|draw| *draw <= value));
    let least = 0.5 / draws.len().max(1) as f64;
    (f64::midpoint(below as f64, not_above as f64) * 2.0 * least).clamp(least, 1.0 - least)
}

/// A sixth of the skewness of the jackknife's influences; zero where they do not vary.
fn acceleration(without: &[f64]) -> f64 {
    let centre = without.iter().sum::<f64>() / without.len() as f64;
    let (mut squares, mut cubes) = (0.0, 0.0);
    for value in without {
        let influence: f64 = centre - value;
        squares += influence * influence;
        cubes += influence.powi(3);
    }
    let scale = 6.0 * squares.powf(1.5);
    if scale > 0.0 { cubes / scale } else { 0.0 }
}

/// Shares of the draws that lie below the interval's ends.
fn levels(batches: usize, share_below: f64, acceleration: f64) -> (f64, f64) {
    let normal = Normal::standard();
    let freedom = batches as f64 - 2.0;
    let reach = t_quantile(freedom) * (batches as f64 / freedom).sqrt();
    let bias = normal.inverse_cdf(share_below);
    let level = |z: f64| {
        let shifted = bias + z;
        let shrink = 1.0 - acceleration * shifted;
        // Beyond the pole the correction has no meaning; up to it the level goes to the end of the draws.
        if shrink > 0.0 { normal.cdf(bias + shifted / shrink) } else { f64::from(u8::from(z > 0.0)) }
    };
    (level(-reach), level(reach))
}

/// Step sizes over which the linear model holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LinearRange {
    /// The smallest step at which it holds; below, rounding hides the change.
    pub first: f64,
    /// The largest step such that it holds there and at every tried step down to `first`.
    pub last: f64,
    /// The next step that was tried, at which it breaks; none where the largest one still holds.
    pub breaks_at: Option<f64>,
}

/// Over relations at several step sizes, in any order. None where the linear model holds at no step: then the steps are
/// all too small to see or all too large, or the predictions are wrong at any step.
pub fn linear_range(relations: &[(f64, Relation)]) -> Option<LinearRange> {
    let mut ascending: Vec<&(f64, Relation)> = relations.iter().collect();
    ascending.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut from_first = ascending.iter().skip_while(|(_, relation)| !relation.holds());
    let first = from_first.next()?.0;
    let mut last = first;
    for (step, relation) in from_first {
        if !relation.holds() {
            return Some(LinearRange { first, last, breaks_at: Some(*step) });
        }
        last = *step;
    }
    Some(LinearRange { first, last, breaks_at: None })
}

/// The smallest step above those of [`linear_range`]. None where the linear model never broke, and where it never held.
pub fn break_point(relations: &[(f64, Relation)]) -> Option<f64> {
    linear_range(relations)?.breaks_at
}
