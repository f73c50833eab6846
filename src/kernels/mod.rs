//! The arithmetic that a decoder is made of.
//!
//! [`Kernels`] is the small set of operations that `model` is written over; an implementation decides about layout,
//! threads and rounding. [`cpu`] is the product's path on a CPU. [`candle`] composes plain tensor operations: it
//! differentiates, runs on a GPU, and is the oracle that `cpu` is compared with.

pub mod candle;
pub mod cpu;
mod rotary;

pub use rotary::{RotaryRows, RotaryScaling, RotarySpec};

use crate::error::Result;
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

/// Operations on f32 arrays. Shapes: S rows (positions) of the forward pass, T positions of keys and values so far,
/// H query heads, G key/value heads, h head width, D model width.
pub trait Kernels: Send + Sync {
    /// An activation.
    type Array: Clone + Send + Sync;
    /// A stored tensor, from which weights are viewed.
    type Raw: Send + Sync;
    /// A weight `[out, in]`.
    type Matrix: Send + Sync;
    /// A gain or bias.
    type Vector: Send + Sync;

    /// Backend and revision: a change of arithmetic changes it.
    fn numerics_id(&self) -> &'static str;

    fn raw(&self, values: SiteValues) -> Result<Self::Raw>;
    fn matrix(&self, raw: &Self::Raw, view: View) -> Result<Self::Matrix>;
    fn vector(&self, raw: &Self::Raw, view: View) -> Result<Self::Vector>;
    fn array(&self, values: SiteValues) -> Result<Self::Array>;
    fn host(&self, x: &Self::Array) -> Result<SiteValues>;
    fn shape(&self, x: &Self::Array) -> Vec<usize>;

    /// Rows of a table: `[S, D]`.
    fn embed(&self, table: &Self::Matrix, ids: &[u32]) -> Result<Self::Array>;
    /// `x W^T + b`: `[S, in]` to `[S, out]`.
    fn linear(&self, x: &Self::Array, weight: &Self::Matrix, bias: Option<&Self::Vector>) -> Result<Self::Array>;
    /// Subtracts each row's mean.
    fn centre(&self, x: &Self::Array) -> Result<Self::Array>;
    /// `sqrt(mean(x^2) + eps)` of each row: `[S, 1]`.
    fn norm_scale(&self, x: &Self::Array, eps: f64) -> Result<Self::Array>;
    /// `x / scale * gain + bias`
    fn norm_apply(
        &self,
        x: &Self::Array,
        scale: &Self::Array,
        gain: &Self::Vector,
        bias: Option<&Self::Vector>,
    ) -> Result<Self::Array>;
    /// `[S, H * h]` to `[S, H, h]`.
    fn split_heads(&self, x: &Self::Array, heads: usize) -> Result<Self::Array>;
    /// `[S, H, h]` to `[S, H * h]`.
    fn merge_heads(&self, x: &Self::Array) -> Result<Self::Array>;
    /// Turns the first `2 * columns` entries of every head, half-split as in `transformers`.
    fn rotate(&self, x: &Self::Array, rows: &RotaryRows) -> Result<Self::Array>;
    /// Appends along the first axis.
    fn append(&self, before: Option<&Self::Array>, x: &Self::Array) -> Result<Self::Array>;
    /// `scale * q k^T` with the causal mask as -inf: `[S, H, h]`, `[T, G, h]` to `[H, S, T]`; query row s stands at
    /// position T - S + s.
    fn attention_scores(&self, q: &Self::Array, k: &Self::Array, scale: f64) -> Result<Self::Array>;
    /// Softmax over the last axis.
    fn softmax(&self, scores: &Self::Array) -> Result<Self::Array>;
    /// `[H, S, T]`, `[T, G, h]` to `[S, H, h]`.
    fn attention_mix(&self, pattern: &Self::Array, v: &Self::Array) -> Result<Self::Array>;
    /// Scores, softmax and mix in one, for passes in which nobody looks between them. The same bits as the three.
    fn attention(&self, q: &Self::Array, k: &Self::Array, v: &Self::Array, scale: f64) -> Result<Self::Array> {
        self.attention_mix(&self.softmax(&self.attention_scores(q, k, scale)?)?, v)
    }
    /// Each head's share of the output projection: `[S, H, h]`, `[D, H * h]` to `[S, H, D]`.
    fn head_results(&self, z: &Self::Array, weight: &Self::Matrix) -> Result<Self::Array>;
    fn activate(&self, x: &Self::Array, kind: Activation) -> Result<Self::Array>;
    fn add(&self, a: &Self::Array, b: &Self::Array) -> Result<Self::Array>;
    fn multiply(&self, a: &Self::Array, b: &Self::Array) -> Result<Self::Array>;
    fn subtract(&self, a: &Self::Array, b: &Self::Array) -> Result<Self::Array>;
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
}
