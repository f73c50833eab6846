//! What families have in common: `model.layers.N.self_attn.q_proj` and its like.

use super::activation;
use crate::ckpt::ConfigReader;
use crate::kernels::{Activation, NormKind, Scoring, View};
use crate::model::spec::{
    AttentionSpec, BlockOrder, DecoderSpec, MlpSpec, Multipliers, NormSpec, Positions, QueryKeyNorm,
};
use crate::model::weights::{
    AttentionWeights, BlockWeights, DenseWeights, Linear, MlpWeights, NormWeights, Source, Weights,
};

/// More blocks than any model has: a hostile count must not fill memory.
pub(super) const MOST_LAYERS: usize = 1 << 12;
pub(super) const MOST_EXPERTS: usize = 1 << 12;

/// The sizes of a model, under the names that most configurations use.
pub(super) struct Shape {
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_width: usize,
    pub mlp_width: usize,
    pub vocab: usize,
}

impl Shape {
    pub fn read(config: &mut ConfigReader<'_>) -> Self {
        let width = config.count("hidden_size");
        let heads = config.count("num_attention_heads");
        let shape = Self {
            width,
            layers: config.count("num_hidden_layers"),
            heads,
            kv_heads: config.count_or("num_key_value_heads", heads),
            head_width: config.count_or("head_dim", (width / heads).max(1)),
            mlp_width: config.count("intermediate_size"),
            vocab: config.count("vocab_size"),
        };
        if !config.has("head_dim") {
            shape.check(config, "num_attention_heads");
        }
        shape
    }

    /// Whether the heads share out the width, for those that have no width of their own.
    pub fn check(&self, config: &mut ConfigReader<'_>, heads_key: &str) {
        let Self { width, heads, .. } = *self;
        if !width.is_multiple_of(heads) {
            config.problem(heads_key, &format!("expected a divisor of the width {width}, found {heads}"));
        }
    }

    pub fn blocks(&self) -> std::ops::Range<usize> {
        0..self.layers.min(MOST_LAYERS)
    }

    /// A serial decoder with norms before and a gated MLP, which sees everything before it.
    pub fn spec(&self, family: &'static str, config: &mut ConfigReader<'_>, norm: NormSpec) -> DecoderSpec {
        let scoring = Scoring { scale: (self.head_width as f64).sqrt().recip(), window: None, cap: None };
        DecoderSpec {
            family,
            vocab: self.vocab,
            width: self.width,
            layers: self.layers,
            context: config.optional_count("max_position_embeddings"),
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_width: self.head_width,
            norm,
            positions: Positions::Rotary(Vec::new()),
            order: BlockOrder::Serial,
            mlp: MlpSpec { width: self.mlp_width, gated: true, activation: Activation::Silu, mixture: None },
            attention: self.blocks().map(|_| AttentionSpec { scoring, rotary: Some(0) }).collect(),
            query_key_norm: None,
            clip: None,
            multipliers: Multipliers::default(),
            logit_cap: None,
            tied_head: config.flag_or("tie_word_embeddings", false),
        }
    }

    /// `model.embed_tokens`, `model.layers`, `model.norm`, `lm_head`, around the blocks.
    pub fn weights(
        &self,
        spec: &DecoderSpec,
        norm: Norm,
        block: impl Fn(Place<'_>) -> BlockWeights<Source, Source>,
    ) -> Weights<Source, Source> {
        Weights {
            embedding: Source::whole("model.embed_tokens.weight", &[self.vocab, self.width]),
            positions: None,
            blocks: self.blocks().map(|layer| block(Place { shape: self, layer })).collect(),
            final_norm: norm.named("model.norm", self.width),
            head: (!spec.tied_head).then(|| linear("lm_head", self.vocab, self.width, false)),
        }
    }
}

/// `model.layers.{layer}.`
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub shape: &'a Shape,
    pub layer: usize,
}

/// Which of the attention's projections have biases.
#[derive(Clone, Copy, Default)]
pub(super) struct Biases {
    pub query_key_value: bool,
    pub output: bool,
}

impl Biases {
    pub fn all(there: bool) -> Self {
        Self { query_key_value: there, output: there }
    }
}

impl Place<'_> {
    pub fn at(&self, name: &str) -> String {
        format!("model.layers.{}.{name}", self.layer)
    }

    /// A norm over the width.
    pub fn norm(&self, norm: Norm, name: &str) -> NormWeights<Source> {
        norm.named(&self.at(name), self.shape.width)
    }

    /// `self_attn.{q,k,v}_proj` and the output projection.
    pub fn attention(&self, output: &str, biases: Biases) -> AttentionWeights<Source, Source> {
        let Shape { width, heads, kv_heads, head_width, .. } = *self.shape;
        let (query, key) = (heads * head_width, kv_heads * head_width);
        let linear = |name: &str, out, input, bias| linear(&self.at(&format!("self_attn.{name}")), out, input, bias);
        AttentionWeights {
            query: linear("q_proj", query, width, biases.query_key_value),
            key: linear("k_proj", key, width, biases.query_key_value),
            value: linear("v_proj", key, width, biases.query_key_value),
            output: linear(output, width, query, biases.output),
            query_norms: Vec::new(),
            key_norms: Vec::new(),
        }
    }

    /// The same with `self_attn.q_norm` and `k_norm`.
    pub fn normed_attention(&self, biases: Biases, norm: Norm, over: QueryKeyNorm) -> AttentionWeights<Source, Source> {
        let Shape { heads, kv_heads, head_width, .. } = *self.shape;
        let size = |heads: usize| if over == QueryKeyNorm::Whole { heads * head_width } else { head_width };
        AttentionWeights {
            query_norms: vec![norm.named(&self.at("self_attn.q_norm"), size(heads))],
            key_norms: vec![norm.named(&self.at("self_attn.k_norm"), size(kv_heads))],
            ..self.attention("o_proj", biases)
        }
    }

    /// `mlp.{gate,up,down}_proj`
    pub fn gated_mlp(&self, bias: bool) -> MlpWeights<Source, Source> {
        let names = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"].map(|name| self.at(name));
        MlpWeights::Dense(gated(&names, self.shape.width, self.shape.mlp_width, bias))
    }

    /// A router and the experts, whose projections are called so.
    pub fn mixture(&self, block: &str, count: usize, mlp_width: usize, names: [&str; 3]) -> MlpWeights<Source, Source> {
        let width = self.shape.width;
        let expert = |index: usize| {
            let names = names.map(|name| self.at(&format!("{block}.experts.{index}.{name}")));
            gated(&names, width, mlp_width, false)
        };
        MlpWeights::Mixture {
            router: Source::whole(self.at(&format!("{block}.gate.weight")), &[count, width]),
            experts: (0..count.min(MOST_EXPERTS)).map(expert).collect(),
        }
    }
}

fn gated([gate, up, down]: &[String; 3], width: usize, inner: usize, bias: bool) -> DenseWeights<Source, Source> {
    DenseWeights {
        gate: Some(linear(gate, inner, width, bias)),
        up: linear(up, inner, width, bias),
        down: linear(down, width, inner, bias),
    }
}

/// `{name}.weight` `[out, input]` and `{name}.bias`.
pub(super) fn linear(name: &str, out: usize, input: usize, bias: bool) -> Linear<Source, Source> {
    Linear {
        weight: Source::whole(format!("{name}.weight"), &[out, input]),
        bias: bias.then(|| Source::whole(format!("{name}.bias"), &[out])),
    }
}

/// How the norms of a family are stored.
#[derive(Clone, Copy)]
pub(super) enum Norm {
    /// Nothing is.
    Plain,
    Gain,
    /// The gain less one.
    GainLessOne,
    GainAndBias,
}

impl Norm {
    pub fn named(self, name: &str, width: usize) -> NormWeights<Source> {
        let stored = |end: &str, view| Some(Source::viewed(format!("{name}.{end}"), &[width], view));
        let (gain, bias) = match self {
            Self::Plain => (None, None),
            Self::Gain => (stored("weight", View::Whole), None),
            Self::GainLessOne => (stored("weight", View::PlusOne), None),
            Self::GainAndBias => (stored("weight", View::Whole), stored("bias", View::Whole)),
        };
        NormWeights { gain, bias }
    }
}

/// Norms before attention and MLP.
pub(super) fn before(kind: NormKind, eps: f64) -> NormSpec {
    NormSpec { kind, eps, before: true, after: false }
}

/// The block of Llama and those that followed it.
pub(super) fn llama_block(place: Place<'_>, biases: Biases, mlp_bias: bool) -> BlockWeights<Source, Source> {
    BlockWeights {
        attention_norm: Some(place.norm(Norm::Gain, "input_layernorm")),
        attention: place.attention("o_proj", biases),
        attention_post_norm: None,
        mlp_norm: Some(place.norm(Norm::Gain, "post_attention_layernorm")),
        mlp: place.gated_mlp(mlp_bias),
        mlp_post_norm: None,
    }
}

/// The block whose norms stand after attention and MLP (OLMo 2 and 3).
pub(super) fn normed_after(
    place: Place<'_>,
    attention: AttentionWeights<Source, Source>,
) -> BlockWeights<Source, Source> {
    BlockWeights {
        attention_norm: None,
        attention,
        attention_post_norm: Some(place.norm(Norm::Gain, "post_attention_layernorm")),
        mlp_norm: None,
        mlp: place.gated_mlp(false),
        mlp_post_norm: Some(place.norm(Norm::Gain, "post_feedforward_layernorm")),
    }
}

/// The number of experts, which configurations call either way.
pub(super) fn experts(config: &mut ConfigReader<'_>, default: usize) -> usize {
    let key = if config.has("num_experts") { "num_experts" } else { "num_local_experts" };
    config.count_or(key, default)
}

/// A number above 0; without a default it must be there.
pub(super) fn positive(reader: &mut ConfigReader<'_>, key: &str, default: Option<f64>) -> f64 {
    if !reader.has(key) && default.is_none() {
        reader.problem(key, "expected a number above 0, found none");
        return 1.0;
    }
    let value = reader.number_or(key, default.unwrap_or(1.0));
    if value <= 0.0 {
        reader.problem(key, &format!("expected a number above 0, found {value}"));
        return 1.0;
    }
    value
}

/// `sliding_window` where a configuration without the key means 4096 and one with null none (transformers 5.23).
pub(super) fn window(config: &mut ConfigReader<'_>) -> Option<usize> {
    if config.names("sliding_window") { config.optional_count("sliding_window") } else { Some(4096) }
}

/// The window of each layer: as `layer_types` says, else as the family does.
pub(super) fn windows(
    config: &mut ConfigReader<'_>,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Vec<Option<usize>> {
    let layers = layers.min(MOST_LAYERS);
    let Some(kinds) = config.texts("layer_types") else {
        return (0..layers).map(|layer| window.filter(|_| slides(layer))).collect();
    };
    if kinds.len() != layers {
        config.problem("layer_types", &format!("expected one for each of the {layers} layers, found {}", kinds.len()));
    }
    let of = |kind: &&str| match *kind {
        "full_attention" => None,
        "sliding_attention" if window.is_none() => {
            config.problem("sliding_window", "expected the window of the layers that slide, found none");
            None
        }
        "sliding_attention" => window,
        other => {
            config.problem("layer_types", &format!("expected full_attention or sliding_attention, found {other:?}"));
            None
        }
    };
    kinds.iter().map(of).collect()
}

/// Reads the activation into the spec.
pub(super) fn with_activation(
    mut spec: DecoderSpec,
    config: &mut ConfigReader<'_>,
    key: &str,
    default: &'static str,
) -> DecoderSpec {
    spec.mlp.activation = activation(config, key, default);
    spec
}
