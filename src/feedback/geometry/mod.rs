//! How the gradients of sources and tasks lie to each other: similarity without the noise, conflict by layer, what a
//! projection would remove.
//!
//! ```text
//! items of each group ─► K parts at random ─► mean gradients ─► PartGram (inner products), one a layer, which add up
//!                                                               ├─ similarity   cosines, corrected, with intervals
//!      (at a checkpoint: grams_at)                              ├─ conflicts    by layer
//!                                                               └─ removals     what projections would take out
//! arrays from outside (.npy, safetensors [n, d]) ─► PartSums ─┘
//! items with and without their context, rows of two arrays ─► PairedAgreement: cosines of each one's two gradients
//! ```
//! **Why cosines of means are wrong.** A mean of n noisy gradients is the truth and noise of length `sigma sqrt(d / n)`; with
//! millions of parameters the noise is most of it, so the cosine of two means is near zero however alike the truths are,
//! and that of a group with itself is one even of pure noise. Inner products of *different* parts have no such bias:
//!
//! ```text
//! <A, B> = mean over k != l of <A_k, B_l>        cosine = <A, B> / sqrt(<A, A> <B, B>)
//! ```
//! Numerator and both factors of the denominator are unbiased, the ratio is consistent. `k != l` also between groups, so
//! that two tasks over the same items, part by part, do not share noise. Intervals are the jackknife's over parts with
//! Student's quantile: take ten parts or more. Where a group's own `<A, A>` cannot be told from zero there is no cosine: it would be noise over
//! noise. Method: as in the notes on Nexus (Chen et al., arXiv 2604.09258); projection: PCGrad (Yu et al. 2020).

mod agreement;
mod arrays;
mod checkpoint;
mod conflict;
mod part_gram;
mod projection;
mod similarity;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_arrays;
#[cfg(test)]
mod tests_planted;

pub use agreement::{Agreement, PairedAgreement};
pub use arrays::{GradientArray, array_grams};
pub use checkpoint::{AtCheckpoint, Group, grams_at, without_context};
pub use conflict::{LayerConflict, conflicts};
pub use part_gram::{Layer, LayerGrams, PartGram, PartSums};
pub use projection::{Projected, Removal, project, removals};
pub use similarity::{Relation, Similarity};
