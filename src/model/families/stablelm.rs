//! StableLM: Llama's layout with layer norms, partial rotary, and in some sizes parallel blocks or a norm for each head.

use super::parts::{Biases, Norm, Shape, before, with_activation};
use super::{Described, Family, ROTARY_BUFFERS, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::NormKind;
use crate::model::spec::{BlockOrder, DecoderSpec, Positions, QueryKeyNorm};
use crate::model::weights::BlockWeights;

pub const FAMILY: Family = Family {
    model_type: "stablelm",
    class: "StableLmForCausalLM",
    examples: "StableLM 3B, StableLM 2 1.6B and 12B",
    about: "layer norms, partial rotary, gated MLP; parallel blocks or norms of each head in some sizes",
    read,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let norm = before(NormKind::Layer, config.number_or("layer_norm_eps", 1e-5));
    let keys = rope::Keys { fraction: Some(("partial_rotary_factor", 0.25)), ..rope::Keys::default() };
    let parallel = config.flag_or("use_parallel_residual", false);
    let normed = config.flag_or("qk_layernorm", false);
    let spec = DecoderSpec {
        positions: Positions::Rotary(vec![keys.read(config, shape.head_width)]),
        order: if parallel { BlockOrder::Parallel } else { BlockOrder::Serial },
        query_key_norm: normed.then_some(QueryKeyNorm::PerHead),
        ..shape.spec("stablelm", config, norm)
    };
    let spec = with_activation(spec, config, "hidden_act", "silu");
    let biases = Biases { query_key_value: config.flag_or("use_qkv_bias", false), output: false };
    let weights = shape.weights(&spec, Norm::GainAndBias, |place| {
        let mut attention = place.attention("o_proj", biases);
        if normed {
            let norms = |name: &str, heads: usize| {
                let one = |head| Norm::Gain.named(&place.at(&format!("{name}.norms.{head}")), shape.head_width);
                (0..heads).map(one).collect()
            };
            attention.query_norms = norms("self_attn.q_layernorm", shape.heads);
            attention.key_norms = norms("self_attn.k_layernorm", shape.kv_heads);
        }
        // A parallel block has one norm for both.
        let mlp_norm = if parallel { "input_layernorm" } else { "post_attention_layernorm" };
        BlockWeights {
            attention_norm: Some(place.norm(Norm::GainAndBias, "input_layernorm")),
            attention,
            attention_post_norm: None,
            mlp_norm: Some(place.norm(Norm::GainAndBias, mlp_norm)),
            mlp: place.gated_mlp(false),
            mlp_post_norm: None,
        }
    });
    Described { spec, weights }
}
