//! Llama 2 and 3, SmolLM2, TinyLlama, and the many checkpoints in their layout.

use super::{Described, Family, activation, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::{NormKind, RotarySpec};
use crate::model::spec::{BlockOrder, DecoderSpec, MlpSpec, NormSpec, Positions};
use crate::model::weights::{AttentionWeights, BlockWeights, Linear, MlpWeights, NormWeights, Source, Weights};

pub const FAMILY: Family = Family {
    model_type: "llama",
    examples: "Llama 2, Llama 3.x, SmolLM2, TinyLlama, stories",
    read,
    optional_prefix: "",
    buffers: &["rotary_emb.inv_freq"],
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let width = config.count("hidden_size");
    let layers = config.count("num_hidden_layers");
    let heads = config.count("num_attention_heads");
    let kv_heads = config.count_or("num_key_value_heads", heads);
    let head_width = config.count_or("head_dim", width / heads);
    let mlp_width = config.count("intermediate_size");
    let vocab = config.count("vocab_size");
    let rope = rope(config, "rope_theta", "partial_rotary_factor", 1.0);
    if !head_width.is_multiple_of(2) {
        config.problem("head_dim", &format!("expected an even head width, found {head_width}"));
    }
    let spec = DecoderSpec {
        family: "llama",
        vocab,
        width,
        layers,
        context: config.optional_count("max_position_embeddings"),
        heads,
        kv_heads,
        head_width,
        norm: NormSpec { kind: NormKind::Rms, eps: config.number_or("rms_norm_eps", 1e-6) },
        positions: Positions::Rotary(RotarySpec {
            dims: (head_width as f64 * rope.fraction) as usize,
            theta: rope.theta,
            scaling: rope.scaling,
        }),
        order: BlockOrder::Serial,
        mlp: MlpSpec { width: mlp_width, gated: true, activation: activation(config, "hidden_act", "silu") },
        attention_scale: vec![(head_width as f64).sqrt().recip(); layers.min(1 << 16)],
        tied_head: config.flag_or("tie_word_embeddings", false),
    };
    let attention_bias = config.flag_or("attention_bias", false);
    let mlp_bias = config.flag_or("mlp_bias", false);

    let linear = |name: &str, out: usize, input: usize, bias: bool| Linear {
        weight: Source::whole(format!("{name}.weight"), &[out, input]),
        bias: bias.then(|| Source::whole(format!("{name}.bias"), &[out])),
    };
    let norm = |name: &str| NormWeights { gain: Source::whole(format!("{name}.weight"), &[width]), bias: None };
    let (query, key) = (heads * head_width, kv_heads * head_width);
    let block = |layer: usize| {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        BlockWeights {
            attention_norm: norm(&at("input_layernorm")),
            attention: AttentionWeights {
                query: linear(&at("self_attn.q_proj"), query, width, attention_bias),
                key: linear(&at("self_attn.k_proj"), key, width, attention_bias),
                value: linear(&at("self_attn.v_proj"), key, width, attention_bias),
                output: linear(&at("self_attn.o_proj"), width, query, attention_bias),
            },
            mlp_norm: norm(&at("post_attention_layernorm")),
            mlp: MlpWeights {
                gate: Some(linear(&at("mlp.gate_proj"), mlp_width, width, mlp_bias)),
                up: linear(&at("mlp.up_proj"), mlp_width, width, mlp_bias),
                down: linear(&at("mlp.down_proj"), width, mlp_width, mlp_bias),
            },
        }
    };
    let weights = Weights {
        embedding: Source::whole("model.embed_tokens.weight", &[vocab, width]),
        positions: None,
        blocks: (0..layers.min(1 << 16)).map(block).collect(),
        final_norm: norm("model.norm"),
        head: (!spec.tied_head).then(|| linear("lm_head", vocab, width, false)),
    };
    Described { spec, weights }
}
