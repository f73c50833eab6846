//! Cosines between groups, corrected for noise.

use super::part_gram::{LeaveOneOut, PartGram};
use crate::stats::Estimate;

/// What can be said of two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The interval of the inner product is above zero.
    Agree,
    /// It is below zero: a step on one raises the loss of the other.
    Conflict,
    /// It holds zero.
    Unclear,
}

/// Of all pairs of groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Similarity {
    pub groups: Vec<String>,
    /// Cosine of the means, with the noise: `[groups, groups]`, as the following two.
    pub raw: Vec<f64>,
    /// Unbiased inner products. On the diagonal: the squared norm of the truth.
    pub products: Vec<Estimate>,
    /// Corrected cosines; none where one of the two groups is not above its noise.
    pub cosines: Vec<Option<Estimate>>,
}

impl Similarity {
    pub fn of(gram: &PartGram) -> Self {
        let count = gram.groups().len();
        let own: Vec<LeaveOneOut> = (0..count).map(|group| gram.unbiased(group, group)).collect();
        let mut this =
            Self { groups: gram.groups().to_vec(), raw: Vec::new(), products: Vec::new(), cosines: Vec::new() };
        for a in 0..count {
            for b in 0..count {
                let norms = gram.raw(a, a).sqrt() * gram.raw(b, b).sqrt();
                this.raw.push(if norms > 0.0 { (gram.raw(a, b) / norms).clamp(-1.0, 1.0) } else { 0.0 });
                let product = gram.unbiased(a, b);
                this.cosines.push(cosine(&product, &own[a], &own[b]));
                this.products.push(product.estimate());
            }
        }
        this
    }

    fn at(&self, a: usize, b: usize) -> usize {
        a * self.groups.len() + b
    }

    /// Corrected; none where one of the groups is not above its noise.
    pub fn cosine(&self, a: usize, b: usize) -> Option<Estimate> {
        self.cosines[self.at(a, b)]
    }

    pub fn raw_cosine(&self, a: usize, b: usize) -> f64 {
        self.raw[self.at(a, b)]
    }

    pub fn product(&self, a: usize, b: usize) -> Estimate {
        self.products[self.at(a, b)]
    }

    /// Whether the group's gradient can be told from zero.
    pub fn above_noise(&self, group: usize) -> bool {
        relation(&self.product(group, group)) == Relation::Agree
    }

    pub fn relation(&self, a: usize, b: usize) -> Relation {
        relation(&self.product(a, b))
    }
}

pub(super) fn relation(product: &Estimate) -> Relation {
    match product.interval {
        Some((low, _)) if low > 0.0 => Relation::Agree,
        Some((_, high)) if high < 0.0 => Relation::Conflict,
        _ => Relation::Unclear,
    }
}

fn cosine(product: &LeaveOneOut, one: &LeaveOneOut, other: &LeaveOneOut) -> Option<Estimate> {
    let above_noise = |norm: &LeaveOneOut| relation(&norm.estimate()) == Relation::Agree;
    if !above_noise(one) || !above_noise(other) {
        return None;
    }
    let ratio = |product: f64, one: f64, other: f64| (one > 0.0 && other > 0.0).then(|| product / (one * other).sqrt());
    let without = product.without.iter().zip(&one.without).zip(&other.without);
    let without = without.map(|((&product, &one), &other)| ratio(product, one, other)).collect::<Option<_>>()?;
    let estimate = LeaveOneOut { all: ratio(product.all, one.all, other.all)?, without }.estimate();
    // Errors may carry it beyond one, where no cosine is.
    let inside = |bound: f64| bound.clamp(-1.0, 1.0);
    let interval = estimate.interval.map(|(low, high)| (inside(low), inside(high)));
    Some(Estimate { value: inside(estimate.value), interval, ..estimate })
}
