//! Gradients of whole parameters under the names that the checkpoint gives them, for use inside training.
//!
//! One safetensors file a set, in bfloat16 or float32. Shapes are the parameters', so that a trainer adds, multiplies
//! or projects without a table of names:
//!
//! | kind | content |
//! | --- | --- |
//! | `target` | mean over items of the gradient of the loss |
//! | `retain` | the same for abilities that must stay |
//! | `fisher` | mean over items of the squared gradient |
//! | `precond` | the mean gradient as an optimizer scales it |
//! | `lowrank` | the best approximation of low rank of each matrix of the mean gradient |
//!
//! Of low rank r the matrix `NAME [O, I]` is `NAME.u [O, r]`, `NAME.s [r]` and `NAME.v [r, I]`, as `u diag(s) v`; of
//! `[.., O, I]` there is a stack of each. Vectors stay under their own name.
//!
//! Strings of the header, `schema = "veval.gradset/1"`:
//!
//! | key | value |
//! | --- | --- |
//! | `kind`, `name` | as above; what the set is called |
//! | `checkpoint`, `step` | fingerprint of the weights; the trainer's step or `unknown` |
//! | `loss`, `reduction` | what the loss of an item is; `sum` or `mean` over its tokens |
//! | `sign` | always that of the gradient: a step against it lowers the loss |
//! | `optimizer` | the state that was used to scale, or `none` |
//! | `items` | how many |
//! | `norm_mean`, `norm_median` | of the norms of the items' gradients over all parameters, before any scaling |
//! | `split_half_cosine` | between the mean gradients of two halves of the items, or `unknown` |
//! | `warning` | there when that cosine is below 0.1 or unknown: the set is noise, as far as anybody can tell |
//!
//! Hashes of the items choose their halves; the cosine is unknown where one has no gradient.

mod builder;
mod file;
mod low_rank;
mod products;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::store::Reduction;
use crate::request::SiteValues;

pub use builder::{Collected, GradSetBuilder};
pub use file::Precision;
pub use low_rank::{ThinSvd, low_rank, thin_svd};
pub use products::{cosine, dot, dot_values};

/// By parameter name, of the stored shapes.
pub type Gradients = BTreeMap<String, SiteValues>;

/// Below it two halves of the items say nothing in common.
pub const LEAST_COSINE: f64 = 0.1;

/// What a set contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Target,
    Retain,
    Fisher,
    Preconditioned,
    LowRank,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Target, Self::Retain, Self::Fisher, Self::Preconditioned, Self::LowRank];

    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Retain => "retain",
            Self::Fisher => "fisher",
            Self::Preconditioned => "precond",
            Self::LowRank => "lowrank",
        }
    }
}

/// Where a set is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub name: String,
    /// Fingerprint of the weights.
    pub checkpoint: String,
    /// The trainer's.
    pub step: Option<u64>,
    /// In words.
    pub loss: String,
    pub reduction: Reduction,
    /// The state that was used, in words and by fingerprint.
    pub optimizer: Option<String>,
}

/// What says how far a set can be trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub items: u64,
    /// Of the norms of the items' gradients.
    pub norm_mean: f64,
    pub norm_median: f64,
    /// `None` when one half has no items or a gradient of zero.
    pub split_half_cosine: Option<f64>,
}

impl Evidence {
    /// `norms`: those of the items' gradients, of which there is at least one.
    pub fn of(norms: &[f64], split_half_cosine: Option<f64>) -> Self {
        let mut sorted = norms.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let norm_median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        let norm_mean = norms.iter().sum::<f64>() / norms.len() as f64;
        Self { items: norms.len() as u64, norm_mean, norm_median, split_half_cosine }
    }

    /// What a reader must know before using the set.
    pub fn warning(&self) -> Option<String> {
        match self.split_half_cosine {
            None => {
                Some("noise, as far as anybody can tell: one half of the items has no gradient to compare".to_owned())
            }
            Some(cosine) if cosine < LEAST_COSINE => Some(format!(
                "noise: the gradients of two halves of the items have a cosine of {cosine:.3}, below {LEAST_COSINE}; \
                 use more items"
            )),
            Some(_) => None,
        }
    }
}

/// A set as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct GradSet {
    pub kind: Kind,
    pub provenance: Provenance,
    pub evidence: Evidence,
    pub tensors: Gradients,
}
