//! The arithmetic that a decoder is made of.
//!
//! [`Kernels`] is the small set of operations that `model` is written over; an implementation decides about layout,
//! threads and rounding. [`cpu`] is the product's path on a CPU. [`candle`] composes plain tensor operations: it
//! differentiates, runs on a GPU, and is the oracle that `cpu` is compared with.

pub mod candle;
pub mod cpu;
mod reverse;
mod rotary;
pub mod tape;

pub use reverse::{Reverse, Taught};
pub use rotary::{RotaryRows, RotaryScaling, RotarySpec};

use std::ops::Range;

use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::request::SiteValues;

/// How a weight is cut out of a stored tensor. All views end as `[out, in]` matrices or `[out]` vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As stored.
    Whole,
    /// Stored as `[in, out]` (GPT-2's Conv1D), taking the columns `start..start + len`.
    Columns { start: usize, len: usize },
    /// The entries `start..start + len` of a vector.
    Entries { start: usize, len: usize },
    /// A vector that is stored less one (Gemma's gains).
    PlusOne,
    /// Stored as `[heads, parts, width, ...]` (GPT-NeoX's fused query-key-value), taking one part of every head.
    HeadPart { part: usize, parts: usize, heads: usize, width: usize },
}

/// What is divided by, and subtracted, before gain and bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum NormKind {
    /// `(x - mean) / sqrt(mean((x - mean)^2) + eps)`
    Layer,
    /// `x / sqrt(mean(x^2) + eps)`
    Rms,
}

/// Activation functions, by the names that configurations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Activation {
    Silu,
    /// Exact, by erf.
    Gelu,
    /// The tanh approximation (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    Relu,
}

impl Activation {
    /// Names in Hugging Face configurations.
    pub const NAMES: &[(&str, Self)] = &[
        ("silu", Self::Silu),
        ("swish", Self::Silu),
        ("gelu", Self::Gelu),
        ("gelu_new", Self::GeluTanh),
        ("gelu_pytorch_tanh", Self::GeluTanh),
        ("gelu_fast", Self::GeluTanh),
        ("relu", Self::Relu),
    ];
}

/// A tensor as a checkpoint stores it: row-major, little-endian.
#[derive(Debug, Clone)]
pub struct RawTensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// How a query scores the keys that it sees.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Scoring {
    /// Factor of the products, above 0.
    pub scale: f64,
    /// Positions that a row sees, its own included; all before it where there is no window.
    pub window: Option<usize>,
    /// `cap * tanh(scaled / cap)` (Gemma 2).
    pub cap: Option<f64>,
}

impl Scoring {
    /// The first position that the row at `position` sees.
    pub fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Consecutive rows of a pass that continue one sequence.
pub struct Branch<'a, Kv> {
    /// First row within the pass.
    pub first: usize,
    pub rows: usize,
    /// All positions up to the last of these rows; the rows' own keys and values are the last of the last segment.
    pub segments: Vec<&'a Kv>,
}

/// One row of logits, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitRow {
    /// Index of the first largest.
    pub best: usize,
    pub max: f32,
    /// Natural logarithm of the sum of `exp(logit - max)`.
    pub log_sum: f64,
}

impl LogitRow {
    /// The log-softmax at a logit of this row: differences in f64, the result in f32.
    pub fn log_prob(&self, logit: f32) -> f32 {
        (f64::from(logit) - f64::from(self.max) - self.log_sum) as f32
    }
}

/// Operations on f32 arrays. Shapes: S rows of the forward pass (positions of one or several sequences), T positions of
/// keys and values so far, H query heads, G key/value heads, h head width, D model width. An array that is given away
/// may be changed in place.
pub trait Kernels: Send + Sync {
    /// An activation.
    type Array: Clone + Send + Sync;
    /// A stored tensor, from which weights are viewed.
    type Raw: Send + Sync;
    /// A weight `[out, in]`.
    type Matrix: Send + Sync;
    /// A gain or bias.
    type Vector: Send + Sync;
    /// Keys and values of a run of positions.
    type Kv: Send + Sync;

    /// Backend and revision: a change of arithmetic changes it.
    fn numerics_id(&self) -> &'static str;

    fn raw(&self, tensor: RawTensor) -> Result<Self::Raw>;
    fn matrix(&self, raw: &Self::Raw, view: View) -> Result<Self::Matrix>;
    fn vector(&self, raw: &Self::Raw, view: View) -> Result<Self::Vector>;
    /// Bytes that a matrix of `[out, in]` takes when it is stored as `dtype`.
    fn matrix_bytes(out: usize, inner: usize, dtype: Dtype) -> usize;
    fn array(&self, values: SiteValues) -> Result<Self::Array>;
    fn host(&self, x: &Self::Array) -> Result<SiteValues>;
    fn shape(&self, x: &Self::Array) -> Vec<usize>;
    /// The same value at a place of its own, where kernels that record tell places apart: what reads the result shares
    /// no gradient with what else reads `x`.
    fn apart(&self, x: Self::Array) -> Result<Self::Array> {
        Ok(x)
    }

    /// Rows of a table: `[S, D]`.
    fn embed(&self, table: &Self::Matrix, ids: &[u32]) -> Result<Self::Array>;
    /// `x W^T + b`: `[S, in]` to `[S, out]`.
    fn linear(&self, x: &Self::Array, weight: &Self::Matrix, bias: Option<&Self::Vector>) -> Result<Self::Array> {
        let mut all = self.linears(x, &[(weight, bias)])?;
        all.pop().ok_or_else(|| Error::internal("a product without result"))
    }
    /// The same for several weights that read the same rows.
    fn linears(&self, x: &Self::Array, weights: &[(&Self::Matrix, Option<&Self::Vector>)]) -> Result<Vec<Self::Array>>;
    /// Subtracts each row's mean.
    fn centre(&self, x: &Self::Array) -> Result<Self::Array>;
    /// `sqrt(mean(x^2) + eps)` of each row: `[S, 1]`.
    fn norm_scale(&self, x: &Self::Array, eps: f64) -> Result<Self::Array>;
    /// `x / scale * gain + bias`
    fn norm_apply(
        &self,
        x: &Self::Array,
        scale: &Self::Array,
        gain: Option<&Self::Vector>,
        bias: Option<&Self::Vector>,
    ) -> Result<Self::Array>;
    /// `[S, H * h]` to `[S, H, h]`.
    fn split_heads(&self, x: Self::Array, heads: usize) -> Result<Self::Array>;
    /// `[S, H, h]` to `[S, H * h]`.
    fn merge_heads(&self, x: Self::Array) -> Result<Self::Array>;
    /// Turns the first `2 * columns` entries of every head, half-split as in `transformers`.
    fn rotate(&self, x: Self::Array, rows: &RotaryRows) -> Result<Self::Array>;

    /// Room for the keys and values of `capacity` positions.
    fn kv(&self, heads: usize, width: usize, capacity: usize) -> Result<Self::Kv>;
    /// Bytes that such a room takes.
    fn kv_bytes(heads: usize, width: usize, capacity: usize) -> usize;
    /// Appends rows of keys and values, `[S, G, h]` each. They must fit.
    fn kv_append(&self, kv: &mut Self::Kv, k: &Self::Array, v: &Self::Array, rows: Range<usize>) -> Result<()>;
    /// Keys and values of consecutive segments as arrays: `[T, G, h]` each.
    fn kv_arrays(&self, segments: &[&Self::Kv]) -> Result<(Self::Array, Self::Array)>;
    /// `softmax(scores) v` under the causal mask, branch by branch: `[S, H, h]` to the same. The bits of scores,
    /// softmax and mix one after the other.
    fn attention(&self, q: &Self::Array, branches: &[Branch<'_, Self::Kv>], scoring: Scoring) -> Result<Self::Array>;
    /// Scores with the causal mask (and the window) as -inf: `[S, H, h]`, `[T, G, h]` to `[H, S, T]`; query row s
    /// stands at position T - S + s.
    fn attention_scores(&self, q: &Self::Array, k: &Self::Array, scoring: Scoring) -> Result<Self::Array>;
    /// Softmax over the last axis.
    fn softmax(&self, scores: Self::Array) -> Result<Self::Array>;
    /// `[H, S, T]`, `[T, G, h]` to `[S, H, h]`.
    fn attention_mix(&self, pattern: &Self::Array, v: &Self::Array) -> Result<Self::Array>;
    /// Each head's share of the output projection: `[S, H, h]`, `[D, H * h]` to `[S, H, D]`.
    fn head_results(&self, z: &Self::Array, weight: &Self::Matrix) -> Result<Self::Array>;

    fn activate(&self, x: Self::Array, kind: Activation) -> Result<Self::Array>;
    /// `activate(gate) * up`, with the bits of the two one after the other.
    fn gated(&self, gate: Self::Array, up: &Self::Array, kind: Activation) -> Result<Self::Array> {
        self.multiply(self.activate(gate, kind)?, up)
    }
    /// Every value times a number.
    fn scale(&self, x: Self::Array, by: f64) -> Result<Self::Array>;
    /// Every value held within plus and minus `limit`.
    fn clip(&self, x: Self::Array, limit: f64) -> Result<Self::Array>;
    /// `cap * tanh(x / cap)`
    fn soft_cap(&self, x: Self::Array, cap: f64) -> Result<Self::Array>;
    /// Every row divided by its sum.
    fn share(&self, x: Self::Array) -> Result<Self::Array>;
    /// Adds row i of `y`, times `weights[rows[i], column]`, to row `rows[i]` of `x`.
    fn add_rows(
        &self,
        x: Self::Array,
        rows: &[usize],
        y: &Self::Array,
        weights: &Self::Array,
        column: usize,
    ) -> Result<Self::Array>;
    fn add(&self, a: Self::Array, b: &Self::Array) -> Result<Self::Array>;
    fn multiply(&self, a: Self::Array, b: &Self::Array) -> Result<Self::Array>;
    fn subtract(&self, a: Self::Array, b: &Self::Array) -> Result<Self::Array>;
    /// `a` where the mask is not zero, else `b`.
    fn select(&self, mask: &Self::Array, a: &Self::Array, b: &Self::Array) -> Result<Self::Array>;
    /// These rows of the first axis.
    fn rows(&self, x: &Self::Array, rows: &[usize]) -> Result<Self::Array>;
    /// `[S, D]` to `[S, heads, D]`, the same row for every head.
    fn repeat_for_heads(&self, x: &Self::Array, heads: usize) -> Result<Self::Array>;
    /// One head: `[S, H, w]` to `[S, w]`.
    fn head(&self, x: &Self::Array, head: usize) -> Result<Self::Array>;
    /// The inverse of taking every head: `[S, w]` each, to `[S, H, w]`.
    fn stack_heads(&self, heads: &[Self::Array]) -> Result<Self::Array>;
    /// Sum over the head axis: `[S, H, D]` to `[S, D]`.
    fn sum_heads(&self, x: &Self::Array) -> Result<Self::Array>;

    /// Maximum and log-sum-exp of every row of logits `[S, vocab]`.
    fn logit_rows(&self, logits: &Self::Array) -> Result<Vec<LogitRow>>;
    /// Single values, by row and column.
    fn pick(&self, x: &Self::Array, places: &[(usize, usize)]) -> Result<Vec<f32>>;
}
