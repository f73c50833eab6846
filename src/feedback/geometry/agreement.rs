//! Two gradients of each sample, side by side: of a text's marginal and its conditional likelihood, of two losses, of two
//! modalities. Do they point the same way?
//!
//! The cosine of each sample's two gradients says whether one is a stand-in for the other *there* (of `log P(y)` and
//! `log P(y | x)`: one where the model passes over `x`). It is a statement about the samples' own gradients, noise and all,
//! where `similarity` is one about the truths behind their means. Groups may be sources, or tokens of high and of low
//! certainty.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::stats::{Estimate, mean, proportion};

/// Cosines by group, as samples come. Eight bytes a sample.
#[derive(Debug, Default)]
pub struct PairedAgreement {
    cosines: BTreeMap<String, Vec<f64>>,
    zero: BTreeMap<String, usize>,
}

/// Of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// Mean over samples of the cosine.
    pub cosine: Estimate,
    /// 5th, 25th, 50th, 75th and 95th percentile.
    pub percentiles: [f64; 5],
    /// Share of samples with a cosine below zero.
    pub conflict: Estimate,
    /// Samples of which one gradient is zero: they have no cosine and are in none of these numbers.
    pub zero: usize,
}

const PERCENTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

impl PairedAgreement {
    /// Adds a sample by its two gradients.
    ///
    /// # Errors
    /// Other lengths; what is no number.
    pub fn add(&mut self, group: &str, one: &[f64], other: &[f64]) -> Result<Option<f64>> {
        if one.len() != other.len() {
            let message = format!("expected two gradients of one length, found {} and {}", one.len(), other.len());
            return Err(Error::bad(message).at(format!("group {group}, sample {}", self.len(group))));
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
        self.add_products(group, [dot(one, one), dot(one, other), dot(other, other)])
    }

    /// The same by `<a, a>`, `<a, b>` and `<b, b>`. Returns the cosine; none where one of them is zero.
    ///
    /// # Errors
    /// What is no number.
    pub fn add_products(&mut self, group: &str, [one, product, other]: [f64; 3]) -> Result<Option<f64>> {
        if let Some(number) = [one, product, other].into_iter().find(|number| !number.is_finite()) {
            let place = format!("group {group}, sample {}", self.len(group));
            return Err(Error::bad(format!("expected finite inner products, found {number}")).at(place));
        }
        let norms = one.sqrt() * other.sqrt();
        let cosine = (norms > 0.0).then(|| (product / norms).clamp(-1.0, 1.0));
        match cosine {
            Some(cosine) => self.cosines.entry(group.to_owned()).or_default().push(cosine),
            None => *self.zero.entry(group.to_owned()).or_default() += 1,
        }
        Ok(cosine)
    }

    fn len(&self, group: &str) -> usize {
        self.cosines.get(group).map_or(0, Vec::len) + self.zero.get(group).copied().unwrap_or(0)
    }

    /// Groups with at least one cosine.
    pub fn finish(&self) -> BTreeMap<String, Agreement> {
        let of = |(group, cosines): (&String, &Vec<f64>)| {
            let mut sorted = cosines.clone();
            sorted.sort_by(f64::total_cmp);
            let below: Vec<f64> = cosines.iter().map(|cosine| f64::from(u8::from(*cosine < 0.0))).collect();
            let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
            let agreement = Agreement {
                cosine: mean(cosines).within((-1.0, 1.0)),
                percentiles: PERCENTILES.map(at),
                conflict: proportion(&below),
                zero: self.zero.get(group).copied().unwrap_or(0),
            };
            (group.clone(), agreement)
        };
        self.cosines.iter().map(of).collect()
    }

    /// Share of a group's samples that stay when only those with a cosine of at least `least` are kept; those of zero
    /// gradients are not. None for a group that is not there.
    pub fn kept(&self, group: &str, least: f64) -> Option<f64> {
        let cosines = self.cosines.get(group)?;
        Some(cosines.iter().filter(|cosine| **cosine >= least).count() as f64 / self.len(group) as f64)
    }
}
