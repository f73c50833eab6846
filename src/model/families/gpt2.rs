//! GPT-2. Weights of linear maps are stored `[in, out]`, query, key and value side by side in one of them.

use super::parts::{Norm, Shape, before, with_activation};
use super::{Described, Family, refuse_if_true};
use crate::ckpt::ConfigReader;
use crate::kernels::{NormKind, View};
use crate::model::spec::{DecoderSpec, MlpSpec, Positions};
use crate::model::weights::{AttentionWeights, BlockWeights, DenseWeights, Linear, MlpWeights, Source, Weights};

pub const FAMILY: Family = Family {
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    examples: "GPT-2, DistilGPT-2 and the GPT-2-shaped baselines",
    about: "learned positions, layer norms, fused query, key and value stored by columns",
    read,
    optional_prefix: "transformer.",
    buffers: &[".attn.bias", ".attn.masked_bias"],
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let width = config.count("n_embd");
    let heads = config.count("n_head");
    let shape = Shape {
        width,
        layers: config.count("n_layer"),
        heads,
        kv_heads: heads,
        head_width: width / heads,
        mlp_width: config.count_or("n_inner", 4 * width),
        vocab: config.count("vocab_size"),
    };
    shape.check(config, "n_head");
    let rows = config.count("n_positions");
    refuse_if_true(config, "add_cross_attention");
    let scaled = config.flag_or("scale_attn_weights", true);
    let by_layer = config.flag_or("scale_attn_by_inverse_layer_idx", false);
    let norm = before(NormKind::Layer, config.number_or("layer_norm_epsilon", 1e-5));
    let tied_head = config.flag_or("tie_word_embeddings", true);
    let spec = shape.spec("gpt2", config, norm);
    let mut spec = DecoderSpec {
        context: Some(rows),
        positions: Positions::Learned { rows },
        mlp: MlpSpec { gated: false, ..spec.mlp },
        tied_head,
        ..spec
    };
    for (layer, attention) in spec.attention.iter_mut().enumerate() {
        let base = if scaled { attention.scoring.scale } else { 1.0 };
        attention.scoring.scale = if by_layer { base / (layer + 1) as f64 } else { base };
        attention.rotary = None;
    }
    let spec = with_activation(spec, config, "activation_function", "gelu_new");

    // `of` maps lie side by side in the stored tensor; this is number `part`.
    let linear = |name: &str, input: usize, out: usize, part: usize, of: usize| Linear {
        weight: Source::viewed(
            format!("{name}.weight"),
            &[input, of * out],
            View::Columns { start: part * out, len: out },
        ),
        bias: Some(Source::viewed(format!("{name}.bias"), &[of * out], View::Entries { start: part * out, len: out })),
    };
    let norm = |name: &str| Norm::GainAndBias.named(name, width);
    let block = |layer: usize| {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let fused = at("attn.c_attn");
        BlockWeights {
            attention_norm: Some(norm(&at("ln_1"))),
            attention: AttentionWeights {
                query: linear(&fused, width, width, 0, 3),
                key: linear(&fused, width, width, 1, 3),
                value: linear(&fused, width, width, 2, 3),
                output: linear(&at("attn.c_proj"), width, width, 0, 1),
                query_norms: Vec::new(),
                key_norms: Vec::new(),
            },
            attention_post_norm: None,
            mlp_norm: Some(norm(&at("ln_2"))),
            mlp: MlpWeights::Dense(DenseWeights {
                gate: None,
                up: linear(&at("mlp.c_fc"), width, shape.mlp_width, 0, 1),
                down: linear(&at("mlp.c_proj"), shape.mlp_width, width, 0, 1),
            }),
            mlp_post_norm: None,
        }
    };
    let weights = Weights {
        embedding: Source::whole("transformer.wte.weight", &[shape.vocab, width]),
        positions: Some(Source::whole("transformer.wpe.weight", &[rows, width])),
        blocks: shape.blocks().map(block).collect(),
        final_norm: norm("transformer.ln_f"),
        head: (!spec.tied_head)
            .then(|| Linear { weight: Source::whole("lm_head.weight", &[shape.vocab, width]), bias: None }),
    };
    Described { spec, weights }
}
