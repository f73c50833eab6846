//! Llama 2 and 3, SmolLM2, TinyLlama, and the many checkpoints in their layout.

use super::parts::{Biases, Norm, Shape, before, llama_block, with_activation};
use super::{Described, Family, ROTARY_BUFFERS, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::NormKind;
use crate::model::spec::{DecoderSpec, Positions};

pub const FAMILY: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    examples: "Llama 2, Llama 3.x, SmolLM2, TinyLlama, stories",
    about: "RMS norms, gated MLP, grouped queries; linear, llama3 and YaRN scaling of rotary",
    read,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let shape = Shape::read(config);
    let norm = before(NormKind::Rms, config.number_or("rms_norm_eps", 1e-6));
    let spec = DecoderSpec {
        positions: Positions::Rotary(vec![rope::Keys::default().read(config, shape.head_width)]),
        ..shape.spec("llama", config, norm)
    };
    let spec = with_activation(spec, config, "hidden_act", "silu");
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let mlp_bias = config.flag_or("mlp_bias", false);
    let weights = shape.weights(&spec, Norm::Gain, |place| llama_block(place, biases, mlp_bias));
    Described { spec, weights }
}
