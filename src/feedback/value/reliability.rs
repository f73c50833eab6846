//! How far values can be trusted, and whether they are worth more than counting words.
//!
//! | evidence | question |
//! | --- | --- |
//! | split-half cosine of a target's gradient | do two halves of the feedback items point the same way? |
//! | split-half Spearman of the values | would other items rank the documents the same? |
//! | recall of planted documents | are documents that are known to help ranked first? |
//! | LDS | do sums of values predict what twins trained on subsets of the documents reach? |
//! | agreement with word overlap and with random feedback | is it something else than words, and than noise? |
//!
//! **The test against word overlap.** Recall: planted documents are drawn again with replacement, each with whether it is
//! among the first k by value and by overlap, and so are the parts of the feedback items, whose values rank all documents
//! anew. Documents that were planted have a direction in common; a target's gradient of noise alone happens to lie along it or against it, and
//! planted documents by themselves would be sure of what is an accident of the items. LDS: twins are drawn again, and both rank
//! correlations computed of the same twins. The values are better if at least 97.5 % of [`RESAMPLES`] differences are above
//! zero; otherwise the sentence says that they are not.

use serde::{Deserialize, Serialize};

use super::values::Values;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::random::Stream;
use crate::stats::{pearson, spearman};

/// Draws of a bootstrap.
pub const RESAMPLES: usize = 2000;

/// Agreement of two halves of a target's items.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitHalf {
    /// Of the target's mean gradient, at each checkpoint; none where a half has a gradient of zero.
    pub cosine: Vec<Option<f64>>,
    /// Of all documents' values.
    pub spearman: Option<f64>,
    /// What all items would have, by Spearman and Brown: `2 r / (1 + r)`; zero for a negative `r`.
    pub full: Option<f64>,
}

impl Values {
    /// Of each target.
    pub fn split_halves(&self) -> Vec<SplitHalf> {
        let targets = self.table.setup.targets.iter().enumerate();
        targets
            .map(|(number, target)| {
                let cosine = target.grams.iter().map(|gram| half_cosine(&target.parts, gram)).collect();
                let spearman = spearman(&self.of_half(number, 0), &self.of_half(number, 1));
                SplitHalf { cosine, spearman, full: spearman.map(spearman_brown) }
            })
            .collect()
    }

    /// Between the combined values with two halves of each target's items.
    pub fn combined_split_half(&self) -> Option<f64> {
        spearman(&self.combined_half(0), &self.combined_half(1))
    }
}

/// Reliability of twice as many items.
pub fn spearman_brown(half: f64) -> f64 {
    let half = half.max(0.0);
    2.0 * half / (1.0 + half)
}

/// Between the parts of even number and those of odd number.
fn half_cosine(weights: &[f64], gram: &[f64]) -> Option<f64> {
    let product = |one: usize, other: usize| -> f64 {
        let of = |half: usize| weights.iter().enumerate().skip(half).step_by(2);
        of(one).map(|(k, a)| of(other).map(|(l, b)| a * b * gram[k * weights.len() + l]).sum::<f64>()).sum()
    };
    let norms = product(0, 0).sqrt() * product(1, 1).sqrt();
    (norms > 0.0).then(|| (product(0, 1) / norms).clamp(-1.0, 1.0))
}

/// A statistic of the values beside that of word overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// `recall@20`, `LDS`
    pub statistic: String,
    pub value: f64,
    /// 95 % of the bootstrap.
    pub value_interval: (f64, f64),
    pub overlap: f64,
    /// Of no information at all.
    pub random: f64,
    /// `value - overlap`
    pub difference: f64,
    pub difference_interval: (f64, f64),
    /// What was drawn again: `40 planted documents`
    pub over: String,
}

impl Comparison {
    pub fn beats_overlap(&self) -> bool {
        self.difference_interval.0 > 0.0
    }

    pub fn beats_random(&self) -> bool {
        self.value_interval.0 > self.random
    }

    /// One plain sentence for a report.
    pub fn sentence(&self) -> String {
        let Self { statistic, value, overlap, random, difference, over, .. } = self;
        let (low, high) = self.difference_interval;
        let verdict = match (self.beats_overlap(), self.beats_random()) {
            (true, _) => "The values are better than word overlap",
            (false, true) => "The values are no better than word overlap: counting words would have done as well",
            (false, false) => "The values are no better than word overlap, and cannot be told from random ones",
        };
        format!(
            "{verdict} ({statistic} {value:.3} against {overlap:.3}, difference {difference:.3} [{low:.3}, {high:.3}], \
             random {random:.3}; paired bootstrap over {over})."
        )
    }
}

/// How many of the planted documents are among the first `k`, as a share of all planted ones: each with the probability
/// that it is where equal values are in random order.
fn hits(values: &[f64], planted: &[usize], k: usize) -> Vec<f64> {
    let mut order = values.to_vec();
    let (above, cut, below) = order.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let cut = *cut;
    let greater = above.iter().filter(|value| **value > cut).count();
    let equal = above.len() - greater + 1 + below.iter().filter(|value| **value >= cut).count();
    let share = (k - greater) as f64 / equal as f64;
    let hit = |&number: &usize| {
        let value = values[number];
        if value > cut { 1.0 } else { share * f64::from(u8::from(value == cut)) }
    };
    planted.iter().map(hit).collect()
}

/// Documents that are known to help, among others.
#[derive(Debug, Clone, Copy)]
pub struct Among<'a> {
    /// Numbers of the planted ones.
    pub planted: &'a [usize],
    /// How many of the first are looked at.
    pub k: usize,
}

/// Recall of planted documents among the first `k`, of the values and of word overlap. `again`: values with the parts of the
/// feedback items drawn again.
///
/// # Errors
/// Nothing planted; `k` of none or of more than there are; lists of other lengths; numbers that are none.
pub fn recall(
    values: &[f64],
    overlap: &[f64],
    among: Among<'_>,
    again: impl Fn(&mut Stream) -> Vec<f64>,
) -> Result<Comparison> {
    let Among { planted, k } = among;
    let mut problems = list_problems(values, overlap);
    if k == 0 || k > values.len() {
        problems.push(Diagnostic::new(format!("expected a k between 1 and {} documents, found {k}", values.len())));
    }
    if planted.is_empty() {
        problems.push(Diagnostic::new("expected at least one planted document, found none"));
    }
    if let Some(number) = planted.iter().find(|&&number| number >= values.len()) {
        let message = format!("expected planted documents below {}, found document {number}", values.len());
        problems.push(Diagnostic::new(message));
    }
    Error::check(problems)?;
    let theirs = hits(overlap, planted, k);
    let mean = |hits: &[f64], drawn: &[usize]| drawn.iter().map(|&at| hits[at]).sum::<f64>() / drawn.len() as f64;
    let statistic = |drawn: &[usize], stream: Option<&mut Stream>| {
        let mine = match stream {
            None => hits(values, planted, k),
            Some(stream) => hits(&again(stream), planted, k),
        };
        Some((mean(&mine, drawn), mean(&theirs, drawn)))
    };
    let random = k as f64 / values.len() as f64;
    compared(format!("recall@{k}"), random, planted.len(), "planted documents", statistic)
}

/// A model that was trained on some of the documents, all else alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Twin {
    /// Their numbers, and how many of its tokens were learned, over and over.
    pub learned: Vec<(usize, f64)>,
    /// The target's loss that it reached.
    pub loss: f64,
}

/// Fewer twins have too few orders to tell.
pub const FEWEST_TWINS: usize = 5;

/// Linear datamodeling score (Park et al. 2023, TRAK): Spearman's correlation over twins of the sum of their documents'
/// values by their tokens with the loss that they reached, its sign changed so that positive is good.
///
/// # Errors
/// Fewer than five twins; documents that are not there; losses that are no numbers; twins that do not differ.
pub fn lds(values: &[f64], overlap: &[f64], twins: &[Twin]) -> Result<Comparison> {
    let mut problems = list_problems(values, overlap);
    if twins.len() < FEWEST_TWINS {
        let message = format!("expected at least {FEWEST_TWINS} twins, found {}", twins.len());
        problems.push(Diagnostic::new(message));
    }
    for (number, twin) in twins.iter().enumerate() {
        let place = || format!("twin {number}");
        if let Some((document, _)) = twin.learned.iter().find(|(document, _)| *document >= values.len()) {
            let message = format!("expected documents below {}, found document {document}", values.len());
            problems.push(Diagnostic::new(message).at(place()));
        }
        if !twin.loss.is_finite() {
            problems.push(Diagnostic::new(format!("expected a finite loss, found {}", twin.loss)).at(place()));
        }
    }
    Error::check(problems)?;
    let sums = |values: &[f64]| -> Vec<f64> {
        let sum = |twin: &Twin| twin.learned.iter().map(|&(document, tokens)| tokens * values[document]).sum();
        twins.iter().map(sum).collect()
    };
    let (mine, theirs) = (sums(values), sums(overlap));
    let reached: Vec<f64> = twins.iter().map(|twin| -twin.loss).collect();
    let statistic = |drawn: &[usize], _: Option<&mut Stream>| {
        let take = |values: &[f64]| drawn.iter().map(|&at| values[at]).collect::<Vec<f64>>();
        let reached = take(&reached);
        // Overlap that is the same for all predicts nothing.
        Some((spearman(&take(&mine), &reached)?, spearman(&take(&theirs), &reached).unwrap_or(0.0)))
    };
    compared("LDS".to_owned(), 0.0, twins.len(), "twins", statistic)
}

fn list_problems(values: &[f64], overlap: &[f64]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if values.len() != overlap.len() {
        let message = format!("expected a word overlap for each of {} values, found {}", values.len(), overlap.len());
        problems.push(Diagnostic::new(message));
    }
    if let Some(number) = values.iter().chain(overlap).find(|number| !number.is_finite()) {
        problems.push(Diagnostic::new(format!("expected finite values, found {number}")));
    }
    problems
}

/// `statistic`: of the values and of word overlap, for numbers of what is drawn, and with a stream where what else there is
/// is to be drawn again; none where it cannot be told.
fn compared(
    name: String,
    random: f64,
    count: usize,
    of: &str,
    statistic: impl Fn(&[usize], Option<&mut Stream>) -> Option<(f64, f64)>,
) -> Result<Comparison> {
    let all: Vec<usize> = (0..count).collect();
    let (value, overlap) = statistic(&all, None).ok_or_else(|| {
        Error::bad(format!("expected {of} that differ, found {count} that do not: their {name} is not defined"))
    })?;
    let mut stream = Stream::new(0, &["bootstrap of reliability", &name]);
    let (mut values, mut differences) = (Vec::with_capacity(RESAMPLES), Vec::with_capacity(RESAMPLES));
    for _ in 0..RESAMPLES {
        let drawn: Vec<usize> = (0..count).map(|_| stream.below(count)).collect();
        // A draw of one thing again and again tells nothing.
        if let Some((value, overlap)) = statistic(&drawn, Some(&mut stream)) {
            values.push(value);
            differences.push(value - overlap);
        }
    }
    Ok(Comparison {
        statistic: name,
        value,
        value_interval: middle(&mut values, value),
        overlap,
        random,
        difference: value - overlap,
        difference_interval: middle(&mut differences, value - overlap),
        over: format!("{count} {of}"),
    })
}

/// The middle 95 %, which has room for the value itself.
fn middle(draws: &mut [f64], value: f64) -> (f64, f64) {
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| draws.get(((draws.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(value);
    (at(0.025).min(value), at(0.975).max(value))
}

/// Agreement of the values with other lists over the same documents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    pub spearman: Option<f64>,
    pub pearson: Option<f64>,
}

/// With word overlap, or with the values of a feedback set of random items of equal size.
pub fn agreement(values: &[f64], other: &[f64]) -> Agreement {
    Agreement { spearman: spearman(values, other), pearson: pearson(values, other) }
}
