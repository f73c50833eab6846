//! OLMo (norms without parameters), OLMo 2 and 3 (norms behind attention and MLP, and on queries and keys) and OLMoE.

use super::parts::{
    Biases, Norm, Shape, before, experts, llama_block, normed_after, positive, window, windows, with_activation,
};
use super::{Described, Family, ROTARY_BUFFERS, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::{NormKind, RotarySpec};
use crate::model::spec::{DecoderSpec, MixtureSpec, MlpSpec, NormSpec, Positions, QueryKeyNorm};
use crate::model::weights::BlockWeights;

pub const OLMO: Family = Family {
    model_type: "olmo",
    class: "OlmoForCausalLM",
    examples: "OLMo 1B, 7B (and 0424, 0724)",
    about: "as llama, with layer norms that have no parameters; clipped query, key and value",
    read: read_olmo,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

pub const OLMO2: Family = Family {
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    examples: "OLMo 2 1B to 32B",
    about: "norms behind attention and MLP, and over all queries and all keys",
    read: read_olmo2,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

pub const OLMO3: Family = Family {
    model_type: "olmo3",
    class: "Olmo3ForCausalLM",
    examples: "OLMo 3 7B, 32B",
    about: "as olmo2, with windows in three of four layers, which have a rotary table of their own",
    read: read_olmo3,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

pub const OLMOE: Family = Family {
    model_type: "olmoe",
    class: "OlmoeForCausalLM",
    examples: "OLMoE 1B-7B",
    about: "as llama, with norms over all queries and all keys, clipping, and a mixture of experts",
    read: read_olmoe,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

fn read_olmo(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let spec = DecoderSpec {
        positions: Positions::Rotary(vec![rope::Keys::default().read(config, shape.head_width)]),
        clip: clip(config),
        // The epsilon is no key of the configuration.
        ..shape.spec("olmo", config, before(NormKind::Layer, 1e-5))
    };
    let spec = with_activation(spec, config, "hidden_act", "silu");
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let weights = shape.weights(&spec, Norm::Plain, |place| BlockWeights {
        attention_norm: Some(place.norm(Norm::Plain, "")),
        mlp_norm: Some(place.norm(Norm::Plain, "")),
        ..llama_block(place, biases, false)
    });
    Described { spec, weights }
}

fn read_olmo2(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let tables = vec![rope::Keys::default().read(config, shape.head_width)];
    described(config, "olmo2", &shape, tables, |spec, _| spec)
}

fn read_olmo3(config: &mut ConfigReader<'_>) -> Described {
    const SLIDING: usize = 0;
    const FULL: usize = 1;
    let shape = Shape::read(config);
    let keys = rope::Keys { theta: ("rope_theta", 500_000.0), ..rope::Keys::default() };
    let tables = vec![
        keys.read_kind(config, shape.head_width, "sliding_attention", false),
        keys.read_kind(config, shape.head_width, "full_attention", true),
    ];
    described(config, "olmo3", &shape, tables, |mut spec, config| {
        let window = window(config);
        let windows = windows(config, spec.layers, window, |layer| !(layer + 1).is_multiple_of(4));
        for (attention, window) in spec.attention.iter_mut().zip(windows) {
            attention.scoring.window = window;
            attention.rotary = Some(if window.is_some() { SLIDING } else { FULL });
        }
        spec
    })
}

fn described(
    config: &mut ConfigReader<'_>,
    family: &'static str,
    shape: &Shape,
    tables: Vec<RotarySpec>,
    finish: impl FnOnce(DecoderSpec, &mut ConfigReader<'_>) -> DecoderSpec,
) -> Described {
    let eps = config.number_or("rms_norm_eps", 1e-5);
    let spec = DecoderSpec {
        positions: Positions::Rotary(tables),
        query_key_norm: Some(QueryKeyNorm::Whole),
        ..shape.spec(family, config, NormSpec { kind: NormKind::Rms, eps, before: false, after: true })
    };
    let spec = finish(with_activation(spec, config, "hidden_act", "silu"), config);
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let weights = shape.weights(&spec, Norm::Gain, |place| {
        normed_after(place, place.normed_attention(biases, Norm::Gain, QueryKeyNorm::Whole))
    });
    Described { spec, weights }
}

fn read_olmoe(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let norm = before(NormKind::Rms, config.number_or("rms_norm_eps", 1e-5));
    let count = experts(config, 64);
    let chosen = config.count_or("num_experts_per_tok", 8);
    let mixture = MixtureSpec {
        layers: shape.blocks().map(|_| true).collect(),
        experts: count,
        width: shape.mlp_width,
        chosen,
        normalised: config.flag_or("norm_topk_prob", false),
    };
    let spec = DecoderSpec {
        positions: Positions::Rotary(vec![rope::Keys::default().read(config, shape.head_width)]),
        query_key_norm: Some(QueryKeyNorm::Whole),
        clip: clip(config),
        ..shape.spec("olmoe", config, norm)
    };
    let spec = DecoderSpec { mlp: MlpSpec { mixture: Some(mixture), ..spec.mlp }, ..spec };
    let spec = with_activation(spec, config, "hidden_act", "silu");
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let weights = shape.weights(&spec, Norm::Gain, |place| BlockWeights {
        attention: place.normed_attention(biases, Norm::Gain, QueryKeyNorm::Whole),
        mlp: place.mixture("mlp", count, shape.mlp_width, ["gate_proj", "up_proj", "down_proj"]),
        ..llama_block(place, biases, false)
    });
    Described { spec, weights }
}

fn clip(config: &mut ConfigReader<'_>) -> Option<f64> {
    config.has("clip_qkv").then(|| positive(config, "clip_qkv", None))
}
