//! What a reverse pass needs besides the operations of a forward pass.

use std::ops::Range;

use super::{Activation, Kernels, Scoring};
use crate::error::Result;

/// What a row of logits is taught.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Taught<'a> {
    /// One token.
    Token(u32),
    /// Different tokens with these probabilities; all others have none.
    Shares(&'a [(u32, f32)]),
}

/// Gradients of the operations of [`Kernels`]. Names and shapes are theirs; `dy` is the gradient of a loss with respect
/// to the operation's result, and what is returned is the gradient with respect to its arguments. Operations whose
/// reverse is made of others (a sum, a product, a turn) are not here; [`super::tape`] puts them together.
pub trait Reverse: Kernels + 'static {
    /// Memory of arrays that is kept for the next ones as long as this lives.
    type Keeping;

    /// Keeps the memory of arrays that this thread no longer needs, up to so many bytes: passes one after another ask for
    /// the same sizes again, and fresh pages of the system cost a tenth of a pass.
    fn keeping(&self, bytes: usize) -> Self::Keeping;

    /// `W^T`: the weight that carries a gradient back through `x W^T`.
    fn transposed(&self, weight: &Self::Matrix) -> Result<Self::Matrix>;

    /// The sum over `rows` of `outer(a[row], b[row])`: `[S, m]`, `[S, n]` to `[m, n]`. In ascending order of rows, so
    /// that the result depends on these rows alone.
    fn outer(&self, a: &Self::Array, b: &Self::Array, rows: Range<usize>) -> Result<Self::Array>;

    /// The sum over `rows` of the first axis, and over every further axis but the last: `[n]`.
    fn column_sums(&self, x: &Self::Array, rows: Range<usize>) -> Result<Self::Array>;

    /// Adds row i of `x`, for i in `rows`, to row `ids[i]` of a table, in ascending order.
    fn add_to_rows(&self, table: Self::Array, x: &Self::Array, rows: Range<usize>, ids: &[u32]) -> Result<Self::Array>;

    /// Inner products of each of `a` with each of `b`, all of one size: `[a.len(), b.len()]`. None depends on the others.
    fn inner_products(&self, a: &[&Self::Array], b: &[&Self::Array]) -> Result<Vec<f64>>;

    /// Of each array the sum of `weights x x`, or of `x x`.
    fn squares(&self, xs: &[&Self::Array], weights: Option<&Self::Array>) -> Result<Vec<f64>>;

    /// Of `x / scale * gain + bias`: with respect to `x`, and to `scale` (`[S, 1]`).
    fn norm_apply_reverse(
        &self,
        x: &Self::Array,
        scale: &Self::Array,
        gain: Option<&Self::Vector>,
        dy: &Self::Array,
    ) -> Result<(Self::Array, Self::Array)>;

    /// Of `scale = sqrt(mean(x^2) + eps)`, with respect to `x`.
    fn norm_scale_reverse(&self, x: &Self::Array, scale: &Self::Array, dscale: &Self::Array) -> Result<Self::Array>;

    /// Of an activation, with respect to `x`, its argument.
    fn activate_reverse(&self, x: &Self::Array, kind: Activation, dy: Self::Array) -> Result<Self::Array>;

    /// Of `activate(gate) * up`, with respect to both.
    fn gated_reverse(
        &self,
        gate: &Self::Array,
        up: &Self::Array,
        kind: Activation,
        dy: &Self::Array,
    ) -> Result<(Self::Array, Self::Array)>;

    /// Of the softmax `p` over the last axis, with respect to its argument.
    fn softmax_reverse(&self, p: &Self::Array, dp: Self::Array) -> Result<Self::Array>;

    /// Of causal attention within each of `branches`, which are rows of `q`, `k` and `v` alike: with respect to the
    /// three. `[S, H, h]`, `[S, G, h]` twice, and `dz [S, H, h]`.
    fn attention_reverse(
        &self,
        q: &Self::Array,
        k: &Self::Array,
        v: &Self::Array,
        branches: &[Range<usize>],
        scoring: Scoring,
        dz: &Self::Array,
    ) -> Result<[Self::Array; 3]>;

    /// Of the sum over rows of `weights[row] * cross entropy(logits[row], taught[row])`: `weight * (softmax - taught)`.
    fn nll_reverse(&self, logits: Self::Array, taught: &[Taught<'_>], weights: &[f32]) -> Result<Self::Array>;
}
