//! Mistral (Llama with a sliding window) and Mixtral (the same with experts).

use super::parts::{Biases, Norm, Shape, before, experts, llama_block, window, with_activation};
use super::{Described, Family, ROTARY_BUFFERS, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::NormKind;
use crate::model::spec::{DecoderSpec, MixtureSpec, MlpSpec, Positions};
use crate::model::weights::BlockWeights;

pub const MISTRAL: Family = Family {
    model_type: "mistral",
    class: "MistralForCausalLM",
    examples: "Mistral 7B, Zephyr",
    about: "as llama, with a sliding window in every layer",
    read: read_mistral,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

pub const MIXTRAL: Family = Family {
    model_type: "mixtral",
    class: "MixtralForCausalLM",
    examples: "Mixtral 8x7B",
    about: "as mistral, with a mixture of experts in place of the MLP",
    read: read_mixtral,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

fn read_mistral(config: &mut ConfigReader<'_>) -> Described {
    let window = window(config);
    let (shape, spec) = read(config, "mistral", window, 1e-6, 10_000.0);
    let weights = shape.weights(&spec, Norm::Gain, |place| llama_block(place, Biases::default(), false));
    Described { spec, weights }
}

fn read_mixtral(config: &mut ConfigReader<'_>) -> Described {
    let window = config.optional_count("sliding_window");
    let (shape, spec) = read(config, "mixtral", window, 1e-5, 1_000_000.0);
    let count = experts(config, 8);
    let chosen = config.count_or("num_experts_per_tok", 2);
    let mixture = MixtureSpec {
        layers: vec![true; spec.attention.len()],
        experts: count,
        width: shape.mlp_width,
        chosen,
        normalised: true,
    };
    let spec = DecoderSpec { mlp: MlpSpec { mixture: Some(mixture), ..spec.mlp }, ..spec };
    let weights = shape.weights(&spec, Norm::Gain, |place| BlockWeights {
        mlp: place.mixture("block_sparse_moe", count, shape.mlp_width, ["w1", "w3", "w2"]),
        ..llama_block(place, Biases::default(), false)
    });
    Described { spec, weights }
}

fn read(
    config: &mut ConfigReader<'_>,
    family: &'static str,
    window: Option<usize>,
    eps: f64,
    theta: f64,
) -> (Shape, DecoderSpec) {
    let shape = Shape::read(config);
    let norm = before(NormKind::Rms, config.number_or("rms_norm_eps", eps));
    let keys = rope::Keys { theta: ("rope_theta", theta), ..rope::Keys::default() };
    if config.has("layer_types") {
        config.refuse("layer_types", "expected none: every layer has the window");
    }
    let mut spec = DecoderSpec {
        positions: Positions::Rotary(vec![keys.read(config, shape.head_width)]),
        ..shape.spec(family, config, norm)
    };
    spec.attention.iter_mut().for_each(|attention| attention.scoring.window = window);
    (shape, with_activation(spec, config, "hidden_act", "silu"))
}
