//! Gemma 2 (soft caps, norms on both sides, every other layer with a window) and Gemma 3 (norms of queries and keys in
//! place of the caps, two rotary tables). Gains are stored less one.

use super::parts::{Biases, Norm, Place, Shape, positive, window, windows, with_activation};
use super::{Described, Family, ROTARY_BUFFERS, refuse_if_true, rope};
use crate::ckpt::ConfigReader;
use crate::kernels::{NormKind, RotarySpec};
use crate::model::spec::{DecoderSpec, Multipliers, NormSpec, Positions, QueryKeyNorm};
use crate::model::weights::{AttentionWeights, BlockWeights, Source};

pub const GEMMA2: Family = Family {
    model_type: "gemma2",
    class: "Gemma2ForCausalLM",
    examples: "Gemma 2 2B, 9B, 27B",
    about: "norms on both sides, soft caps of scores and logits, windows in every other layer, scaled embeddings",
    read: read_gemma2,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

pub const GEMMA3: Family = Family {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    examples: "Gemma 3 270M, 1B (text only)",
    about: "as gemma2 without caps, with norms of queries and keys and two rotary tables",
    read: read_gemma3,
    optional_prefix: "",
    buffers: ROTARY_BUFFERS,
};

const SLIDING: usize = 0;
const FULL: usize = 1;

fn read_gemma2(config: &mut ConfigReader<'_>) -> Described {
    let shape = gemma_shape(config);
    let table = rope::Keys::default().read(config, shape.head_width);
    let mut spec = read(config, "gemma2", &shape, vec![table], (30.0, 50.0));
    let windows = sliding(config, &spec, |layer| layer.is_multiple_of(2));
    for (attention, window) in spec.attention.iter_mut().zip(windows) {
        attention.scoring.window = window;
    }
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let weights = shape.weights(&spec, Norm::GainLessOne, |place| block(place, place.attention("o_proj", biases)));
    Described { spec, weights }
}

fn read_gemma3(config: &mut ConfigReader<'_>) -> Described {
    let shape = gemma_shape(config);
    let keys = |theta| rope::Keys { theta, ..rope::Keys::default() };
    let local = keys(("rope_local_base_freq", 10_000.0));
    let global = keys(("rope_theta", 1_000_000.0));
    let tables = vec![
        local.read_kind(config, shape.head_width, "sliding_attention", false),
        global.read_kind(config, shape.head_width, "full_attention", true),
    ];
    if config.has("attn_logit_softcapping") {
        config.refuse("attn_logit_softcapping", "expected none: transformers stores it and does not apply it");
    }
    let mut spec = read(config, "gemma3_text", &shape, tables, (0.0, 0.0));
    spec.query_key_norm = Some(QueryKeyNorm::PerHead);
    let pattern = config.count_or("sliding_window_pattern", 6);
    let windows = sliding(config, &spec, |layer| !(layer + 1).is_multiple_of(pattern));
    for (attention, window) in spec.attention.iter_mut().zip(windows) {
        attention.scoring.window = window;
        attention.rotary = Some(if window.is_some() { SLIDING } else { FULL });
    }
    let biases = Biases::all(config.flag_or("attention_bias", false));
    let weights = shape.weights(&spec, Norm::GainLessOne, |place| {
        block(place, place.normed_attention(biases, Norm::GainLessOne, QueryKeyNorm::PerHead))
    });
    Described { spec, weights }
}

fn gemma_shape(config: &mut ConfigReader<'_>) -> Shape {
    let head_width = config.count_or("head_dim", 256);
    Shape { head_width, ..Shape::read(config) }
}

fn sliding(config: &mut ConfigReader<'_>, spec: &DecoderSpec, slides: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
    let window = window(config);
    windows(config, spec.layers, window, slides)
}

/// `caps`: of logits and of scores where the configuration names none; 0 for none.
fn read(
    config: &mut ConfigReader<'_>,
    family: &'static str,
    shape: &Shape,
    tables: Vec<RotarySpec>,
    caps: (f64, f64),
) -> DecoderSpec {
    refuse_if_true(config, "use_bidirectional_attention");
    let eps = config.number_or("rms_norm_eps", 1e-6);
    let mut cap = |key: &str, default: f64| {
        let value = if config.names(key) && !config.has(key) { 0.0 } else { config.number_or(key, default) };
        (value > 0.0).then_some(value)
    };
    let (logit_cap, score_cap) = (cap("final_logit_softcapping", caps.0), cap("attn_logit_softcapping", caps.1));
    let scale = positive(config, "query_pre_attn_scalar", Some(256.0)).sqrt().recip();
    let tied_head = config.flag_or("tie_word_embeddings", true);
    let mut spec = DecoderSpec {
        positions: Positions::Rotary(tables),
        multipliers: Multipliers { embedding: (shape.width as f64).sqrt(), ..Multipliers::default() },
        logit_cap,
        tied_head,
        ..shape.spec(family, config, NormSpec { kind: NormKind::Rms, eps, before: true, after: true })
    };
    for attention in &mut spec.attention {
        attention.scoring.cap = score_cap;
        attention.scoring.scale = scale;
    }
    with_activation(spec, config, "hidden_activation", "gelu_pytorch_tanh")
}

fn block(place: Place<'_>, attention: AttentionWeights<Source, Source>) -> BlockWeights<Source, Source> {
    let norm = |name| place.norm(Norm::GainLessOne, name);
    BlockWeights {
        attention_norm: Some(norm("input_layernorm")),
        attention,
        attention_post_norm: Some(norm("post_attention_layernorm")),
        mlp_norm: Some(norm("pre_feedforward_layernorm")),
        mlp: place.gated_mlp(false),
        mlp_post_norm: Some(norm("post_feedforward_layernorm")),
    }
}
