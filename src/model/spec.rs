//! What a decoder is, as data.

use serde::Serialize;

use crate::kernels::{Activation, NormKind, RotarySpec, Scoring};

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
    /// One for each layer.
    pub attention: Vec<AttentionSpec>,
    /// What norms of queries and keys see, where there are some.
    pub query_key_norm: Option<QueryKeyNorm>,
    /// Queries and keys (behind their norms) and values are held within plus and minus this.
    pub clip: Option<f64>,
    pub multipliers: Multipliers,
    /// `cap * tanh(logits / cap)`
    pub logit_cap: Option<f64>,
    /// Whether the embedding table is the output head as well.
    pub tied_head: bool,
}

/// Attention of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AttentionSpec {
    pub scoring: Scoring,
    /// Which of the rotary tables turns queries and keys; `None` where nothing does.
    pub rotary: Option<usize>,
}

/// Norms of queries and keys, before they turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum QueryKeyNorm {
    /// Over each head.
    PerHead,
    /// Over all heads together.
    Whole,
}

/// Constant factors, 1 in most families.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Multipliers {
    /// Of the embeddings.
    pub embedding: f64,
    /// Of what attention and MLP add to the residual.
    pub residual: f64,
    /// Of the logits.
    pub logits: f64,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self { embedding: 1.0, residual: 1.0, logits: 1.0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NormSpec {
    pub kind: NormKind,
    pub eps: f64,
    /// Whether attention and MLP have one before them, and one after.
    pub before: bool,
    pub after: bool,
}

/// How positions enter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Positions {
    /// A table added to the embeddings.
    Learned { rows: usize },
    /// Turned queries and keys; layers may differ in which of these they use.
    Rotary(Vec<RotarySpec>),
}

/// How attention and MLP of a block are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BlockOrder {
    /// `x += attention(x); x += mlp(x)`
    Serial,
    /// `x += attention(x) + mlp(x)`
    Parallel,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MlpSpec {
    pub width: usize,
    /// `down(act(gate(x)) * up(x))`, else `down(act(up(x)))`.
    pub gated: bool,
    pub activation: Activation,
    pub mixture: Option<MixtureSpec>,
}

/// A mixture of experts: each row goes through the few that its router finds most likely, weighted by their
/// probabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MixtureSpec {
    /// Which layers have one; the others have a plain MLP.
    pub layers: Vec<bool>,
    pub experts: usize,
    /// Of an expert.
    pub width: usize,
    /// Experts for each row.
    pub chosen: usize,
    /// Whether the weights of the chosen ones are divided by their sum.
    pub normalised: bool,
}
