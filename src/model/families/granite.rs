//! Granite 3: Llama with constant multipliers.

use super::parts::{Biases, Norm, Shape, before, llama_block, positive, with_activation};
use super::{Described, Family, ROTARY_BUFFERS, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::NormKind;
use crate::model::spec::{DecoderSpec, Multipliers, Positions};

pub const FAMILY: Family = Family {
    model_type: "granite",
    class: "GraniteForCausalLM",
    examples: "Granite 3.x 2B, 8B",
    about: "as llama, with constant multipliers of embeddings, scores, residual and logits",
    read,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let norm = before(NormKind::Rms, config.number_or("rms_norm_eps", 1e-6));
    let multipliers = Multipliers {
        embedding: config.number_or("embedding_multiplier", 1.0),
        residual: config.number_or("residual_multiplier", 1.0),
        logits: positive(config, "logits_scaling", Some(1.0)).recip(),
    };
    let mut spec = DecoderSpec {
        positions: Positions::Rotary(vec![rope::Keys::default().read(config, shape.head_width)]),
        multipliers,
        ..shape.spec("granite", config, norm)
    };
    let scale = positive(config, "attention_multiplier", Some(1.0));
    spec.attention.iter_mut().for_each(|attention| attention.scoring.scale = scale);
    let spec = with_activation(spec, config, "hidden_act", "silu");
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let mlp_bias = config.flag_or("mlp_bias", false);
    let weights = shape.weights(&spec, Norm::Gain, |place| llama_block(place, biases, mlp_bias));
    Described { spec, weights }
}
