//! Qwen 2 (biases on query, key and value), Qwen 3 (norms of queries and keys) and its mixture of experts.

use super::parts::{Biases, Norm, Shape, before, experts, llama_block, windows, with_activation};
use super::{Described, Family, ROTARY_BUFFERS, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::NormKind;
use crate::model::spec::{DecoderSpec, MixtureSpec, MlpSpec, Positions, QueryKeyNorm};
use crate::model::weights::BlockWeights;

pub const QWEN2: Family = Family {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    examples: "Qwen 1.5, Qwen 2, Qwen 2.5",
    about: "as llama, with biases on query, key and value; windows in some layers",
    read: read_qwen2,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

pub const QWEN3: Family = Family {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    examples: "Qwen 3",
    about: "as llama, with norms of queries and keys head by head; windows in some layers",
    read: read_qwen3,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

pub const QWEN3_MOE: Family = Family {
    model_type: "qwen3_moe",
    class: "Qwen3MoeForCausalLM",
    examples: "Qwen 3 30B-A3B",
    about: "as qwen3, with a mixture of experts in some layers",
    read: read_qwen3_moe,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

fn read_qwen2(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let spec = by_layer(read(config, "qwen2", &shape), config);
    let biases = Biases { query_key_value: true, output: false };
    let weights = shape.weights(&spec, Norm::Gain, |place| llama_block(place, biases, false));
    Described { spec, weights }
}

fn read_qwen3(config: &mut ConfigReader<'_>) -> Described {
    // Heads are 128 wide where nothing is said.
    let shape = Shape { head_width: config.count_or("head_dim", 128), ..Shape::read(config) };
    let spec = by_layer(read(config, "qwen3", &shape), config);
    let spec = DecoderSpec { query_key_norm: Some(QueryKeyNorm::PerHead), ..spec };
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let weights = shape.weights(&spec, Norm::Gain, |place| BlockWeights {
        attention: place.normed_attention(biases, Norm::Gain, QueryKeyNorm::PerHead),
        ..llama_block(place, biases, false)
    });
    Described { spec, weights }
}

fn read_qwen3_moe(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let spec = read(config, "qwen3_moe", &shape);
    // Its window, where it is switched on, is that of every layer.
    let window = config.optional_count("sliding_window").filter(|_| config.flag_or("use_sliding_window", false));
    let count = experts(config, 128);
    let chosen = config.count_or("num_experts_per_tok", 8);
    let width = config.count_or("moe_intermediate_size", 768);
    let dense = config.whole_numbers("mlp_only_layers").unwrap_or_default();
    let step = config.count_or("decoder_sparse_step", 1);
    let sparse = |layer: usize| !dense.contains(&layer) && (layer + 1).is_multiple_of(step);
    let layers: Vec<bool> = shape.blocks().map(sparse).collect();
    let normalised = config.flag_or("norm_topk_prob", false);
    let mixture = MixtureSpec { layers: layers.clone(), experts: count, width, chosen, normalised };
    let mlp = MlpSpec { mixture: Some(mixture), ..spec.mlp };
    let mut spec = DecoderSpec { query_key_norm: Some(QueryKeyNorm::PerHead), mlp, ..spec };
    spec.attention.iter_mut().for_each(|attention| attention.scoring.window = window);
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let weights = shape.weights(&spec, Norm::Gain, |place| BlockWeights {
        attention: place.normed_attention(biases, Norm::Gain, QueryKeyNorm::PerHead),
        mlp: if layers[place.layer] {
            place.mixture("mlp", count, width, ["gate_proj", "up_proj", "down_proj"])
        } else {
            place.gated_mlp(false)
        },
        ..llama_block(place, biases, false)
    });
    Described { spec, weights }
}

fn read(config: &mut ConfigReader<'_>, family: &'static str, shape: &Shape) -> DecoderSpec {
    let norm = before(NormKind::Rms, config.number_or("rms_norm_eps", 1e-6));
    let spec = DecoderSpec {
        positions: Positions::Rotary(vec![rope::Keys::default().read(config, shape.head_width)]),
        ..shape.spec(family, config, norm)
    };
    with_activation(spec, config, "hidden_act", "silu")
}

/// Windows in the layers from `max_window_layers` on, where they are switched on.
fn by_layer(mut spec: DecoderSpec, config: &mut ConfigReader<'_>) -> DecoderSpec {
    let there = config.flag_or("use_sliding_window", false);
    let window = if there { Some(config.count_or("sliding_window", 4096)) } else { None };
    let first = config.optional_whole_number("max_window_layers").unwrap_or(28);
    let windows = windows(config, spec.layers, window, |layer| window.is_some() && layer >= first);
    for (attention, window) in spec.attention.iter_mut().zip(windows) {
        attention.scoring.window = window;
    }
    spec
}
