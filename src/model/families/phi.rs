//! Phi 1, 1.5 and 2: parallel blocks in which attention and MLP read the same norm, biases everywhere.

use super::parts::{Biases, Norm, Shape, before, linear, with_activation};
use super::{Described, Family, ROTARY_BUFFERS, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::NormKind;
use crate::model::spec::{BlockOrder, DecoderSpec, MlpSpec, Positions, QueryKeyNorm};
use crate::model::weights::{BlockWeights, DenseWeights, Linear, MlpWeights, Weights};

pub const FAMILY: Family = Family {
    model_type: "phi",
    class: "PhiForCausalLM",
    examples: "Phi-1, Phi-1.5, Phi-2",
    about: "parallel blocks with one norm, biases everywhere, partial rotary",
    read,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let norm = before(NormKind::Layer, config.number_or("layer_norm_eps", 1e-5));
    let keys = rope::Keys { fraction: Some(("partial_rotary_factor", 0.5)), ..rope::Keys::default() };
    let normed = config.flag_or("qk_layernorm", false);
    let spec = DecoderSpec {
        positions: Positions::Rotary(vec![keys.read(config, shape.head_width)]),
        order: BlockOrder::Parallel,
        query_key_norm: normed.then_some(QueryKeyNorm::PerHead),
        ..shape.spec("phi", config, norm)
    };
    let spec = DecoderSpec { mlp: MlpSpec { gated: false, ..spec.mlp }, ..spec };
    let spec = with_activation(spec, config, "hidden_act", "gelu_new");
    let (width, inner) = (shape.width, shape.mlp_width);
    let weights = shape.weights(&spec, Norm::GainAndBias, |place| {
        let mut attention = place.attention("dense", Biases::all(true));
        if normed {
            let norm = |name| vec![Norm::GainAndBias.named(&place.at(name), shape.head_width)];
            attention.query_norms = norm("self_attn.q_layernorm");
            attention.key_norms = norm("self_attn.k_layernorm");
        }
        BlockWeights {
            attention_norm: Some(place.norm(Norm::GainAndBias, "input_layernorm")),
            attention,
            attention_post_norm: None,
            mlp_norm: Some(place.norm(Norm::GainAndBias, "input_layernorm")),
            mlp: MlpWeights::Dense(DenseWeights {
                gate: None,
                up: linear(&place.at("mlp.fc1"), inner, width, true),
                down: linear(&place.at("mlp.fc2"), width, inner, true),
            }),
            mlp_post_norm: None,
        }
    });
    // The head has a bias, also where its weight is the embedding.
    let head = linear("lm_head", shape.vocab, width, true);
    let weight = if spec.tied_head { weights.embedding.clone() } else { head.weight };
    let weights = Weights {
        final_norm: Norm::GainAndBias.named("model.final_layernorm", width),
        head: Some(Linear { weight, bias: head.bias }),
        ..weights
    };
    Described { spec, weights }
}
