//! What a decoder is, as data.

use serde::Serialize;

use crate::kernels::{Activation, NormKind, RotarySpec};

/// Everything about an architecture that its forward pass depends on. Serialised, it is the "effective config" of a
/// model's fingerprint: two configurations that read to the same spec are the same model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecoderSpec {
    pub family: &'static str,
    pub vocab: usize,
    pub width: usize,
    pub layers: usize,
    /// Longest input, in tokens; `None` when the configuration does not say.
    pub context: Option<usize>,
    pub heads: usize,
    /// Key/value heads; fewer than `heads` under grouped-query attention.
    pub kv_heads: usize,
    pub head_width: usize,
    pub norm: NormSpec,
    pub positions: Positions,
    pub order: BlockOrder,
    pub mlp: MlpSpec,
    /// Factor of the attention scores, one per layer.
    pub attention_scale: Vec<f64>,
    /// Whether the embedding table is the output head as well.
    pub tied_head: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NormSpec {
    pub kind: NormKind,
    pub eps: f64,
}

/// How positions enter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Positions {
    /// A table added to the embeddings.
    Learned {
        rows: usize,
    },
    Rotary(RotarySpec),
}

/// How attention and MLP of a block are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BlockOrder {
    /// `x += attention(ln1(x)); x += mlp(ln2(x))`
    Serial,
    /// `x += attention(ln1(x)) + mlp(ln2(x))`
    Parallel,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MlpSpec {
    pub width: usize,
    /// `down(act(gate(x)) * up(x))`, else `down(act(up(x)))`.
    pub gated: bool,
    pub activation: Activation,
}
