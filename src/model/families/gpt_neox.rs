//! GPT-NeoX, which is Pythia's family: parallel blocks, partial rotary, query, key and value fused head by head.

use super::{Described, Family, activation, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::{NormKind, RotarySpec, View};
use crate::model::spec::{BlockOrder, DecoderSpec, MlpSpec, NormSpec, Positions};
use crate::model::weights::{AttentionWeights, BlockWeights, Linear, MlpWeights, NormWeights, Source, Weights};

pub const FAMILY: Family = Family {
    model_type: "gpt_neox",
    examples: "Pythia, GPT-NeoX-20B",
    read,
    optional_prefix: "",
    buffers: &["attention.bias", "attention.masked_bias", "rotary_emb.inv_freq"],
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let width = config.count("hidden_size");
    let layers = config.count("num_hidden_layers");
    let heads = config.count("num_attention_heads");
    let mlp_width = config.count("intermediate_size");
    let vocab = config.count("vocab_size");
    if !width.is_multiple_of(heads) {
        config.problem("num_attention_heads", &format!("expected a divisor of the width {width}, found {heads}"));
    }
    let head_width = width / heads;
    let rope = rope(config, "rotary_emb_base", "rotary_pct", 0.25);
    // transformers truncates the product; an odd number of turning entries has no halves.
    let dims = (head_width as f64 * rope.fraction) as usize;
    if !dims.is_multiple_of(2) {
        config
            .problem("rotary_pct", &format!("expected an even number of rotary entries, found {dims} of {head_width}"));
    }
    let parallel = config.flag_or("use_parallel_residual", true);
    let spec = DecoderSpec {
        family: "gpt_neox",
        vocab,
        width,
        layers,
        context: config.optional_count("max_position_embeddings"),
        heads,
        kv_heads: heads,
        head_width,
        norm: NormSpec { kind: NormKind::Layer, eps: config.number_or("layer_norm_eps", 1e-5) },
        positions: Positions::Rotary(RotarySpec { dims, theta: rope.theta, scaling: rope.scaling }),
        order: if parallel { BlockOrder::Parallel } else { BlockOrder::Serial },
        mlp: MlpSpec { width: mlp_width, gated: false, activation: activation(config, "hidden_act", "gelu") },
        attention_scale: vec![(head_width as f64).sqrt().recip(); layers.min(1 << 16)],
        tied_head: config.flag_or("tie_word_embeddings", false),
    };
    let attention_bias = config.flag_or("attention_bias", true);

    let linear = |name: &str, out: usize, input: usize, bias: bool| Linear {
        weight: Source::whole(format!("{name}.weight"), &[out, input]),
        bias: bias.then(|| Source::whole(format!("{name}.bias"), &[out])),
    };
    let norm = |name: &str| NormWeights {
        gain: Source::whole(format!("{name}.weight"), &[width]),
        bias: Some(Source::whole(format!("{name}.bias"), &[width])),
    };
    let block = |layer: usize| {
        let at = |name: &str| format!("gpt_neox.layers.{layer}.{name}");
        let part = |part: usize| {
            let view = View::HeadPart { part, parts: 3, heads, width: head_width };
            Linear {
                weight: Source::viewed(at("attention.query_key_value.weight"), &[3 * width, width], view),
                bias: attention_bias.then(|| Source::viewed(at("attention.query_key_value.bias"), &[3 * width], view)),
            }
        };
        BlockWeights {
            attention_norm: norm(&at("input_layernorm")),
            attention: AttentionWeights {
                query: part(0),
                key: part(1),
                value: part(2),
                output: linear(&at("attention.dense"), width, width, attention_bias),
            },
            mlp_norm: norm(&at("post_attention_layernorm")),
            mlp: MlpWeights {
                gate: None,
                up: linear(&at("mlp.dense_h_to_4h"), mlp_width, width, true),
                down: linear(&at("mlp.dense_4h_to_h"), width, mlp_width, true),
            },
        }
    };
    let weights = Weights {
        embedding: Source::whole("gpt_neox.embed_in.weight", &[vocab, width]),
        positions: None,
        blocks: (0..layers.min(1 << 16)).map(block).collect(),
        final_norm: norm("gpt_neox.final_layer_norm"),
        head: (!spec.tied_head).then(|| linear("embed_out", vocab, width, false)),
    };
    Described { spec, weights }
}
