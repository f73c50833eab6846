//! GPT-NeoX, which is Pythia's family: parallel blocks, partial rotary, query, key and value fused head by head.

use super::parts::{Norm, Shape, before, linear, with_activation};
use super::{Described, Family, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::{NormKind, View};
use crate::model::spec::{BlockOrder, DecoderSpec, MlpSpec, Positions};
use crate::model::weights::{AttentionWeights, BlockWeights, DenseWeights, Linear, MlpWeights, Source, Weights};

pub const FAMILY: Family = Family {
    model_type: "gpt_neox",
    class: "GPTNeoXForCausalLM",
    examples: "Pythia, GPT-NeoX-20B",
    about: "parallel blocks, partial rotary, query, key and value fused head by head",
    read,
    optional_prefix: "",
    buffers: &["attention.bias", "attention.masked_bias", "rotary_emb.inv_freq"],
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let width = config.count("hidden_size");
    let heads = config.count("num_attention_heads");
    let shape = Shape {
        width,
        layers: config.count("num_hidden_layers"),
        heads,
        kv_heads: heads,
        head_width: width / heads,
        mlp_width: config.count("intermediate_size"),
        vocab: config.count("vocab_size"),
    };
    shape.check(config, "num_attention_heads");
    let keys = rope::Keys { theta: ("rotary_emb_base", 10_000.0), fraction: Some(("rotary_pct", 0.25)) };
    let norm = before(NormKind::Layer, config.number_or("layer_norm_eps", 1e-5));
    let parallel = config.flag_or("use_parallel_residual", true);
    let spec = DecoderSpec {
        positions: Positions::Rotary(vec![keys.read(config, shape.head_width)]),
        order: if parallel { BlockOrder::Parallel } else { BlockOrder::Serial },
        ..shape.spec("gpt_neox", config, norm)
    };
    let spec = DecoderSpec { mlp: MlpSpec { gated: false, ..spec.mlp }, ..spec };
    let spec = with_activation(spec, config, "hidden_act", "gelu");
    let attention_bias = config.flag_or("attention_bias", true);

    let norm = |name: &str| Norm::GainAndBias.named(name, width);
    let block = |layer: usize| {
        let at = |name: &str| format!("gpt_neox.layers.{layer}.{name}");
        let part = |part: usize| {
            let view = View::HeadPart { part, parts: 3, heads, width: shape.head_width };
            Linear {
                weight: Source::viewed(at("attention.query_key_value.weight"), &[3 * width, width], view),
                bias: attention_bias.then(|| Source::viewed(at("attention.query_key_value.bias"), &[3 * width], view)),
            }
        };
        BlockWeights {
            attention_norm: Some(norm(&at("input_layernorm"))),
            attention: AttentionWeights {
                query: part(0),
                key: part(1),
                value: part(2),
                output: linear(&at("attention.dense"), width, width, attention_bias),
                query_norms: Vec::new(),
                key_norms: Vec::new(),
            },
            attention_post_norm: None,
            mlp_norm: Some(norm(&at("post_attention_layernorm"))),
            mlp: MlpWeights::Dense(DenseWeights {
                gate: None,
                up: linear(&at("mlp.dense_h_to_4h"), shape.mlp_width, width, true),
                down: linear(&at("mlp.dense_4h_to_h"), width, shape.mlp_width, true),
            }),
            mlp_post_norm: None,
        }
    };
    let weights = Weights {
        embedding: Source::whole("gpt_neox.embed_in.weight", &[shape.vocab, width]),
        positions: None,
        blocks: shape.blocks().map(block).collect(),
        final_norm: norm("gpt_neox.final_layer_norm"),
        head: (!spec.tied_head).then(|| linear("embed_out", shape.vocab, width, false)),
    };
    Described { spec, weights }
}
