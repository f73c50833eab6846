//! What llama.cpp's converter did to each architecture (`convert_hf_to_gguf.py` in llama-cpp-python 0.3.36), as tables to
//! undo it by.

/// How one architecture's files differ from the Hugging Face checkpoint.
pub(super) struct Architecture {
    /// `general.architecture`
    pub name: &'static str,
    pub model_type: &'static str,
    /// Metadata keys after `{name}.`, and the configuration's.
    pub keys: &'static [Names],
    /// Stems of tensor names; `{}` is the layer.
    pub tensors: &'static [Names],
    /// What was done to the tensors whose GGUF stem ends so.
    pub changes: &'static [(&'static str, Change)],
    /// Configuration keys that the metadata do not have and that hold for every file.
    pub constants: &'static [(&'static str, Constant)],
}

/// What the converter did to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Rows of each head were reordered so that the two entries that turn together are neighbours.
    Paired(Heads),
    /// One was added.
    PlusOne,
    /// Rows became columns.
    Transposed,
    /// `[heads, 3, width]` rows became all queries, all keys, all values.
    Unfused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heads {
    Query,
    Key,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Constant {
    Flag(bool),
    Text(&'static str),
}

type Names = &'static [(&'static str, &'static str)];

const COMMON_KEYS: Names = &[
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
];

const OTHER_KEYS: Names = &[
    ("attention.layer_norm_epsilon", "layer_norm_eps"),
    ("attention.clamp_kqv", "clip_qkv"),
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("use_parallel_residual", "use_parallel_residual"),
];

const WINDOW_KEYS: Names = &[("attention.sliding_window", "sliding_window")];

const GRANITE_KEYS: Names = &[
    ("embedding_scale", "embedding_multiplier"),
    ("residual_scale", "residual_multiplier"),
    ("attention.scale", "attention_multiplier"),
    ("logit_scale", "logits_scaling"),
];

const GEMMA_KEYS: Names = &[
    ("rope.freq_base_swa", "rope_local_base_freq"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
];

const GPT2_KEYS: Names = &[
    ("context_length", "n_positions"),
    ("embedding_length", "n_embd"),
    ("block_count", "n_layer"),
    ("feed_forward_length", "n_inner"),
    ("attention.head_count", "n_head"),
    ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
];

const EMBEDDING: Names = &[("token_embd", "model.embed_tokens")];
const FINAL_NORM: Names = &[("output_norm", "model.norm")];
const HEAD: Names = &[("output", "lm_head")];

const NORMS: Names = &[
    ("blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
    ("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"),
];

const GEMMA_NORMS: Names = &[
    ("blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
    ("blk.{}.ffn_norm", "model.layers.{}.pre_feedforward_layernorm"),
];

const NORMS_AFTER: Names = &[
    ("blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm"),
    ("blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm"),
];

const PROJECTIONS: Names = &[
    ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"),
    ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"),
    ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"),
];

const ATTENTION_OUTPUT: Names = &[("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj")];

const QUERY_KEY_NORMS: Names = &[
    ("blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm"),
    ("blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm"),
];

const MLP: Names = &[
    ("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"),
    ("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"),
    ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"),
];

const EXPERTS: Names = &[
    ("blk.{}.ffn_gate_inp", "model.layers.{}.mlp.gate"),
    ("blk.{}.ffn_gate_exps", "model.layers.{}.mlp.experts.{e}.gate_proj"),
    ("blk.{}.ffn_up_exps", "model.layers.{}.mlp.experts.{e}.up_proj"),
    ("blk.{}.ffn_down_exps", "model.layers.{}.mlp.experts.{e}.down_proj"),
];

const MIXTRAL_EXPERTS: Names = &[
    ("blk.{}.ffn_gate_inp", "model.layers.{}.block_sparse_moe.gate"),
    ("blk.{}.ffn_gate_exps", "model.layers.{}.block_sparse_moe.experts.{e}.w1"),
    ("blk.{}.ffn_up_exps", "model.layers.{}.block_sparse_moe.experts.{e}.w3"),
    ("blk.{}.ffn_down_exps", "model.layers.{}.block_sparse_moe.experts.{e}.w2"),
];

const PHI_REST: Names = &[
    ("output_norm", "model.final_layernorm"),
    ("blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
    ("blk.{}.attn_output", "model.layers.{}.self_attn.dense"),
    ("blk.{}.ffn_up", "model.layers.{}.mlp.fc1"),
    ("blk.{}.ffn_down", "model.layers.{}.mlp.fc2"),
];

const LLAMA_TENSORS: &[Names] =
    &[EMBEDDING, FINAL_NORM, HEAD, NORMS, PROJECTIONS, ATTENTION_OUTPUT, QUERY_KEY_NORMS, MLP, EXPERTS];
const MIXTRAL_TENSORS: &[Names] = &[EMBEDDING, FINAL_NORM, HEAD, NORMS, PROJECTIONS, ATTENTION_OUTPUT, MIXTRAL_EXPERTS];
const OLMO2_TENSORS: &[Names] =
    &[EMBEDDING, FINAL_NORM, HEAD, PROJECTIONS, ATTENTION_OUTPUT, QUERY_KEY_NORMS, NORMS_AFTER, MLP];
// Its head is the embedding.
const GEMMA_TENSORS: &[Names] =
    &[EMBEDDING, FINAL_NORM, GEMMA_NORMS, PROJECTIONS, ATTENTION_OUTPUT, QUERY_KEY_NORMS, NORMS_AFTER, MLP];
const PHI_TENSORS: &[Names] = &[EMBEDDING, HEAD, PROJECTIONS, PHI_REST];

const GPT2_TENSORS: Names = &[
    ("token_embd", "transformer.wte"),
    ("position_embd", "transformer.wpe"),
    ("output_norm", "transformer.ln_f"),
    ("output", "lm_head"),
    ("blk.{}.attn_norm", "transformer.h.{}.ln_1"),
    ("blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn"),
    ("blk.{}.attn_output", "transformer.h.{}.attn.c_proj"),
    ("blk.{}.ffn_norm", "transformer.h.{}.ln_2"),
    ("blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc"),
    ("blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj"),
];

const NEOX_TENSORS: Names = &[
    ("token_embd", "gpt_neox.embed_in"),
    ("output_norm", "gpt_neox.final_layer_norm"),
    ("output", "embed_out"),
    ("blk.{}.attn_norm", "gpt_neox.layers.{}.input_layernorm"),
    ("blk.{}.attn_qkv", "gpt_neox.layers.{}.attention.query_key_value"),
    ("blk.{}.attn_output", "gpt_neox.layers.{}.attention.dense"),
    ("blk.{}.ffn_norm", "gpt_neox.layers.{}.post_attention_layernorm"),
    ("blk.{}.ffn_up", "gpt_neox.layers.{}.mlp.dense_h_to_4h"),
    ("blk.{}.ffn_down", "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
];

const PAIRED: &[(&str, Change)] = &[("attn_q", Change::Paired(Heads::Query)), ("attn_k", Change::Paired(Heads::Key))];
const PAIRED_WEIGHTS: &[(&str, Change)] =
    &[("attn_q.weight", Change::Paired(Heads::Query)), ("attn_k.weight", Change::Paired(Heads::Key))];
const NONE: &[(&str, Change)] = &[];
const PLAIN: &[(&str, Constant)] = &[];

const fn like_llama(name: &'static str, model_type: &'static str, changes: &'static [(&str, Change)]) -> Architecture {
    Architecture {
        name,
        model_type,
        keys: &[COMMON_KEYS, OTHER_KEYS],
        tensors: LLAMA_TENSORS,
        changes,
        constants: PLAIN,
    }
}

const GEMMA: Architecture = Architecture {
    name: "gemma2",
    model_type: "gemma2",
    keys: &[COMMON_KEYS, WINDOW_KEYS, GEMMA_KEYS],
    tensors: GEMMA_TENSORS,
    changes: &[("norm", Change::PlusOne)],
    constants: PLAIN,
};

/// Every supported architecture. Llama files with experts are Mixtral's, OLMo 2 files with a window are OLMo 3's.
pub(super) const ARCHITECTURES: &[Architecture] = &[
    like_llama("llama", "llama", PAIRED),
    like_llama("qwen2", "qwen2", NONE),
    like_llama("qwen3", "qwen3", NONE),
    Architecture {
        constants: &[("norm_topk_prob", Constant::Flag(true))],
        ..like_llama("qwen3moe", "qwen3_moe", NONE)
    },
    // Its biases are left as they were.
    like_llama("olmo", "olmo", PAIRED_WEIGHTS),
    like_llama("olmoe", "olmoe", NONE),
    like_llama("stablelm", "stablelm", NONE),
    Architecture { keys: &[COMMON_KEYS, GRANITE_KEYS], ..like_llama("granite", "granite", PAIRED) },
    Architecture { tensors: OLMO2_TENSORS, ..like_llama("olmo2", "olmo2", NONE) },
    GEMMA,
    Architecture { name: "gemma3", model_type: "gemma3_text", ..GEMMA },
    Architecture { tensors: PHI_TENSORS, ..like_llama("phi2", "phi", NONE) },
    Architecture {
        name: "gpt2",
        model_type: "gpt2",
        keys: &[GPT2_KEYS],
        tensors: &[GPT2_TENSORS],
        changes: &[
            ("attn_qkv.weight", Change::Transposed),
            ("attn_output.weight", Change::Transposed),
            ("ffn_up.weight", Change::Transposed),
            ("ffn_down.weight", Change::Transposed),
        ],
        constants: PLAIN,
    },
    Architecture {
        tensors: &[NEOX_TENSORS],
        constants: &[("hidden_act", Constant::Text("gelu"))],
        ..like_llama("gptneox", "gpt_neox", &[("attn_qkv", Change::Unfused)])
    },
];

/// OLMo 2 files with a window.
pub(super) const OLMO3: Architecture =
    Architecture { keys: &[COMMON_KEYS, WINDOW_KEYS], tensors: OLMO2_TENSORS, ..like_llama("olmo2", "olmo3", NONE) };

/// Llama files with experts.
pub(super) const MIXTRAL: Architecture =
    Architecture { tensors: MIXTRAL_TENSORS, ..like_llama("llama", "mixtral", PAIRED) };
