//! The weights of a decoder, generic over what a weight is: where it is stored ([`Source`]), or a backend's own form.

use crate::error::Result;
use crate::kernels::View;

/// Where a weight is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the stored tensor.
    pub name: String,
    /// Shape of the whole stored tensor.
    pub shape: Vec<usize>,
    pub view: View,
}

impl Source {
    pub fn whole(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), view: View::Whole }
    }

    pub fn viewed(name: impl Into<String>, shape: &[usize], view: View) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), view }
    }
}

impl Source {
    /// Whether it is the weight of a linear map, rather than a vector of gains or biases.
    pub fn is_linear_map(&self) -> bool {
        self.shape.len() == 2
    }

    /// `[out, in]` of the whole linear map that is stored.
    pub fn stored_map(&self) -> [usize; 2] {
        let (rows, columns) = (self.shape[0], self.shape.get(1).copied().unwrap_or(1));
        match self.view {
            View::Columns { .. } => [columns, rows],
            _ => [rows, columns],
        }
    }

    /// Which outputs of the stored map the outputs of the viewed matrix are.
    pub fn outputs(&self) -> Vec<usize> {
        match self.view {
            View::Whole | View::PlusOne => (0..self.shape[0]).collect(),
            View::Columns { start, len } | View::Entries { start, len } => (start..start + len).collect(),
            View::HeadPart { part, parts, heads, width } => {
                (0..heads * width).map(|row| (row / width * parts + part) * width + row % width).collect()
            }
        }
    }

    /// `[out, in]` of the matrix that is viewed.
    pub(crate) fn matrix_shape(&self) -> [usize; 2] {
        let (rows, columns) = (self.shape[0], self.shape.get(1).copied().unwrap_or(1));
        match self.view {
            View::Whole | View::PlusOne => [rows, columns],
            View::Columns { len, .. } => [len, rows],
            View::Entries { len, .. } => [len, columns],
            View::HeadPart { heads, width, .. } => [heads * width, columns],
        }
    }
}

/// `M`: matrices `[out, in]`; `V`: vectors.
pub struct Weights<M, V> {
    /// `[vocab, width]`
    pub embedding: M,
    /// `[rows, width]`, with learned positions.
    pub positions: Option<M>,
    pub blocks: Vec<BlockWeights<M, V>>,
    pub final_norm: NormWeights<V>,
    /// `None` when the embedding is the head.
    pub head: Option<Linear<M, V>>,
}

/// A norm before a sub-layer works on what it reads of the residual, one after it on what it adds.
pub struct BlockWeights<M, V> {
    pub attention_norm: Option<NormWeights<V>>,
    pub attention: AttentionWeights<M, V>,
    pub attention_post_norm: Option<NormWeights<V>>,
    pub mlp_norm: Option<NormWeights<V>>,
    pub mlp: MlpWeights<M, V>,
    pub mlp_post_norm: Option<NormWeights<V>>,
}

pub struct AttentionWeights<M, V> {
    pub query: Linear<M, V>,
    pub key: Linear<M, V>,
    pub value: Linear<M, V>,
    pub output: Linear<M, V>,
    /// Norms of queries and of keys: none, one, or one for each head.
    pub query_norms: Vec<NormWeights<V>>,
    pub key_norms: Vec<NormWeights<V>>,
}

pub enum MlpWeights<M, V> {
    Dense(DenseWeights<M, V>),
    Mixture {
        /// `[experts, width]`
        router: M,
        experts: Vec<DenseWeights<M, V>>,
    },
}

pub struct DenseWeights<M, V> {
    pub gate: Option<Linear<M, V>>,
    pub up: Linear<M, V>,
    pub down: Linear<M, V>,
}

pub struct Linear<M, V> {
    pub weight: M,
    pub bias: Option<V>,
}

pub struct NormWeights<V> {
    pub gain: Option<V>,
    pub bias: Option<V>,
}

/// Turns every leaf into another form, in a fixed order.
pub(crate) trait Convert<M, V, N, W> {
    fn matrix(&mut self, matrix: &M) -> Result<N>;
    fn vector(&mut self, vector: &V) -> Result<W>;
}

impl<M, V> Weights<M, V> {
    pub(crate) fn convert<N, W>(&self, to: &mut dyn Convert<M, V, N, W>) -> Result<Weights<N, W>> {
        Ok(Weights {
            embedding: to.matrix(&self.embedding)?,
            positions: self.positions.as_ref().map(|table| to.matrix(table)).transpose()?,
            blocks: self.blocks.iter().map(|block| block.convert(to)).collect::<Result<_>>()?,
            final_norm: self.final_norm.convert(to)?,
            head: self.head.as_ref().map(|head| head.convert(to)).transpose()?,
        })
    }
}

impl<M, V> BlockWeights<M, V> {
    pub(crate) fn convert<N, W>(&self, to: &mut dyn Convert<M, V, N, W>) -> Result<BlockWeights<N, W>> {
        Ok(BlockWeights {
            attention_norm: optional(self.attention_norm.as_ref(), to)?,
            attention: self.attention.convert(to)?,
            attention_post_norm: optional(self.attention_post_norm.as_ref(), to)?,
            mlp_norm: optional(self.mlp_norm.as_ref(), to)?,
            mlp: self.mlp.convert(to)?,
            mlp_post_norm: optional(self.mlp_post_norm.as_ref(), to)?,
        })
    }
}

impl<M, V> AttentionWeights<M, V> {
    fn convert<N, W>(&self, to: &mut dyn Convert<M, V, N, W>) -> Result<AttentionWeights<N, W>> {
        Ok(AttentionWeights {
            query: self.query.convert(to)?,
            key: self.key.convert(to)?,
            value: self.value.convert(to)?,
            output: self.output.convert(to)?,
            query_norms: self.query_norms.iter().map(|norm| norm.convert(to)).collect::<Result<_>>()?,
            key_norms: self.key_norms.iter().map(|norm| norm.convert(to)).collect::<Result<_>>()?,
        })
    }
}

impl<M, V> MlpWeights<M, V> {
    fn convert<N, W>(&self, to: &mut dyn Convert<M, V, N, W>) -> Result<MlpWeights<N, W>> {
        Ok(match self {
            Self::Dense(dense) => MlpWeights::Dense(dense.convert(to)?),
            Self::Mixture { router, experts } => MlpWeights::Mixture {
                router: to.matrix(router)?,
                experts: experts.iter().map(|expert| expert.convert(to)).collect::<Result<_>>()?,
            },
        })
    }
}

impl<M, V> DenseWeights<M, V> {
    fn convert<N, W>(&self, to: &mut dyn Convert<M, V, N, W>) -> Result<DenseWeights<N, W>> {
        Ok(DenseWeights {
            gate: self.gate.as_ref().map(|gate| gate.convert(to)).transpose()?,
            up: self.up.convert(to)?,
            down: self.down.convert(to)?,
        })
    }
}

impl<M, V> Linear<M, V> {
    fn convert<N, W>(&self, to: &mut dyn Convert<M, V, N, W>) -> Result<Linear<N, W>> {
        Ok(Linear {
            weight: to.matrix(&self.weight)?,
            bias: self.bias.as_ref().map(|bias| to.vector(bias)).transpose()?,
        })
    }
}

impl<V> NormWeights<V> {
    fn convert<M, N, W>(&self, to: &mut dyn Convert<M, V, N, W>) -> Result<NormWeights<W>> {
        Ok(NormWeights {
            gain: self.gain.as_ref().map(|gain| to.vector(gain)).transpose()?,
            bias: self.bias.as_ref().map(|bias| to.vector(bias)).transpose()?,
        })
    }
}

fn optional<M, V, N, W>(
    norm: Option<&NormWeights<V>>,
    to: &mut dyn Convert<M, V, N, W>,
) -> Result<Option<NormWeights<W>>> {
    norm.map(|norm| norm.convert(to)).transpose()
}
