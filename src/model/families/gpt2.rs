//! GPT-2. Weights of linear maps are stored `[in, out]`, query, key and value side by side in one of them.

use super::{Described, Family, activation, refuse_if_true};
use crate::ckpt::ConfigReader;
use crate::kernels::{NormKind, View};
use crate::model::spec::{BlockOrder, DecoderSpec, MlpSpec, NormSpec, Positions};
use crate::model::weights::{AttentionWeights, BlockWeights, Linear, MlpWeights, NormWeights, Source, Weights};

pub const FAMILY: Family = Family {
    model_type: "gpt2",
    examples: "GPT-2, DistilGPT-2 and the GPT-2-shaped baselines",
    read,
    optional_prefix: "transformer.",
    buffers: &[".attn.bias", ".attn.masked_bias"],
};

fn read(config: &mut ConfigReader<'_>) -> Described {
    let width = config.count("n_embd");
    let layers = config.count("n_layer");
    let heads = config.count("n_head");
    let rows = config.count("n_positions");
    let vocab = config.count("vocab_size");
    let mlp_width = config.count_or("n_inner", 4 * width);
    if !width.is_multiple_of(heads) {
        config.problem("n_head", &format!("expected a divisor of the width {width}, found {heads}"));
    }
    refuse_if_true(config, "add_cross_attention");
    let head_width = width / heads;
    let scaled = config.flag_or("scale_attn_weights", true);
    let by_layer = config.flag_or("scale_attn_by_inverse_layer_idx", false);
    let scale = |layer: usize| {
        let base = if scaled { (head_width as f64).sqrt().recip() } else { 1.0 };
        if by_layer { base / (layer + 1) as f64 } else { base }
    };
    let spec = DecoderSpec {
        family: "gpt2",
        vocab,
        width,
        layers,
        context: Some(rows),
        heads,
        kv_heads: heads,
        head_width,
        norm: NormSpec { kind: NormKind::Layer, eps: config.number_or("layer_norm_epsilon", 1e-5) },
        positions: Positions::Learned { rows },
        order: BlockOrder::Serial,
        mlp: MlpSpec {
            width: mlp_width,
            gated: false,
            activation: activation(config, "activation_function", "gelu_new"),
        },
        attention_scale: (0..layers.min(1 << 16)).map(scale).collect(),
        tied_head: config.flag_or("tie_word_embeddings", true),
    };

    // `of` maps lie side by side in the stored tensor; this is number `part`.
    let linear = |name: &str, input: usize, out: usize, part: usize, of: usize| Linear {
        weight: Source::viewed(
            format!("{name}.weight"),
            &[input, of * out],
            View::Columns { start: part * out, len: out },
        ),
        bias: Some(Source::viewed(format!("{name}.bias"), &[of * out], View::Entries { start: part * out, len: out })),
    };
    let norm = |name: &str| NormWeights {
        gain: Source::whole(format!("{name}.weight"), &[width]),
        bias: Some(Source::whole(format!("{name}.bias"), &[width])),
    };
    let block = |layer: usize| {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let fused = at("attn.c_attn");
        BlockWeights {
            attention_norm: norm(&at("ln_1")),
            attention: AttentionWeights {
                query: linear(&fused, width, width, 0, 3),
                key: linear(&fused, width, width, 1, 3),
                value: linear(&fused, width, width, 2, 3),
                output: linear(&at("attn.c_proj"), width, width, 0, 1),
            },
            mlp_norm: norm(&at("ln_2")),
            mlp: MlpWeights {
                gate: None,
                up: linear(&at("mlp.c_fc"), width, mlp_width, 0, 1),
                down: linear(&at("mlp.c_proj"), mlp_width, width, 0, 1),
            },
        }
    };
    let weights = Weights {
        embedding: Source::whole("transformer.wte.weight", &[vocab, width]),
        positions: Some(Source::whole("transformer.wpe.weight", &[rows, width])),
        blocks: (0..layers.min(1 << 16)).map(block).collect(),
        final_norm: norm("transformer.ln_f"),
        head: (!spec.tied_head)
            .then(|| Linear { weight: Source::whole("lm_head.weight", &[vocab, width]), bias: None }),
    };
    Described { spec, weights }
}
