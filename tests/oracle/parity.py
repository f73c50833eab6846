"""Make tiny random checkpoints and record what transformers computes with them.

Every case is one folder: a checkpoint as `save_pretrained` writes it, and
`expected.safetensors` with what transformers computed after loading that folder
back as float32. Shapes are odd on purpose, and every gain, bias and weight is
random, so that a wrong layout or a dropped term cannot cancel out.

    python parity.py [--out DIR] [CASE ...]
"""

import argparse
import json
import math
import shutil
import zlib
from copy import deepcopy
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

SEQ = 19  # tokens per case
PROMPT, NEW = 8, 12  # greedy: continue tokens[:PROMPT] by NEW tokens
SPAN = slice(9, 17)  # loss: sum of the NLL of tokens[9..16], 8 terms

# ---------------------------------------------------------------- the cases

# Epsilons and RoPE bases are far from the defaults, so that a hard-coded one shows.
LLAMA = dict(
    model_type="llama", vocab_size=97, hidden_size=20, intermediate_size=27, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, rms_norm_eps=0.01,
    rope_parameters=dict(rope_type="default", rope_theta=700.0),
)  # fmt: skip
GPT2 = dict(
    model_type="gpt2", vocab_size=71, n_embd=21, n_head=3, n_inner=34, n_layer=2, n_positions=31,
    layer_norm_epsilon=0.01, bos_token_id=0, eos_token_id=0,
)  # fmt: skip
NEOX = dict(  # odd head dim 7, of which int(7 * 0.6) = 4 are rotated
    model_type="gpt_neox", vocab_size=97, hidden_size=21, intermediate_size=26, num_hidden_layers=2,
    num_attention_heads=3, max_position_embeddings=64, layer_norm_eps=0.01, eos_token_id=0,
    rope_parameters=dict(rope_type="default", rope_theta=300.0, partial_rotary_factor=0.6),
)  # fmt: skip

# The other families, smaller still. No padding token: transformers gives its embedding no gradient.
SMALL = dict(
    vocab_size=47, hidden_size=12, intermediate_size=11, num_hidden_layers=2, num_attention_heads=3,
    num_key_value_heads=1, max_position_embeddings=64, pad_token_id=None, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
ROPE = dict(rope_parameters=dict(rope_type="default", rope_theta=700.0))
ROPES = dict(rope_parameters=dict(  # where each type of layer has its own
    sliding_attention=dict(rope_type="default", rope_theta=30.0),
    full_attention=dict(rope_type="default", rope_theta=700.0)))  # fmt: skip
SLIDING, FULL = "sliding_attention", "full_attention"
MISTRAL = dict(SMALL, **ROPE, model_type="mistral", rms_norm_eps=0.01)
QWEN2 = dict(SMALL, **ROPE, model_type="qwen2", rms_norm_eps=0.01)
QWEN3 = dict(SMALL, **ROPE, model_type="qwen3", rms_norm_eps=0.01, hidden_size=13, head_dim=6)
OLMO = dict(SMALL, **ROPE, model_type="olmo", num_key_value_heads=3)
OLMO2 = dict(SMALL, **ROPE, model_type="olmo2", rms_norm_eps=0.01, num_key_value_heads=3)
OLMO3 = dict(SMALL, **ROPES, model_type="olmo3", rms_norm_eps=0.01, sliding_window=4)
GEMMA2 = dict(SMALL, **ROPE, model_type="gemma2", rms_norm_eps=0.01, head_dim=6, sliding_window=4,
              query_pre_attn_scalar=3)  # fmt: skip
GEMMA3 = dict(SMALL, **ROPES, model_type="gemma3_text", rms_norm_eps=0.01, head_dim=6, sliding_window=4,
              query_pre_attn_scalar=3)  # fmt: skip
# Odd head dim 5, of which int(5 * 0.9) = 4 are rotated.
PARTIAL = dict(SMALL, hidden_size=15, layer_norm_eps=0.01, rope_parameters=dict(
    rope_type="default", rope_theta=300.0, partial_rotary_factor=0.9))  # fmt: skip
PHI = dict(PARTIAL, model_type="phi", num_key_value_heads=3)
STABLELM = dict(PARTIAL, model_type="stablelm", num_key_value_heads=3)
GRANITE = dict(SMALL, **ROPE, model_type="granite", rms_norm_eps=0.01, embedding_multiplier=3.5,
               residual_multiplier=0.4, attention_multiplier=1.2, logits_scaling=2.5)  # fmt: skip
QWEN3_MOE = dict(SMALL, **ROPE, model_type="qwen3_moe", rms_norm_eps=0.01, hidden_size=13, head_dim=6,
                 num_experts=5, num_experts_per_tok=2, moe_intermediate_size=7, norm_topk_prob=True)  # fmt: skip
OLMOE = dict(SMALL, **ROPE, model_type="olmoe", rms_norm_eps=0.01, num_key_value_heads=3,
             num_experts=6, num_experts_per_tok=2, intermediate_size=7)  # fmt: skip
MIXTRAL = dict(SMALL, **ROPE, model_type="mixtral", rms_norm_eps=0.01,
               num_local_experts=4, num_experts_per_tok=2, intermediate_size=7)  # fmt: skip


def llama4_rope(config):
    """Rewrite a Llama config.json the way transformers 4 wrote it."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")


def neox4_rope(config):
    """Rewrite a GPT-NeoX config.json the way transformers 4 wrote it."""
    rope = config.pop("rope_parameters")
    config["rotary_pct"] = rope["partial_rotary_factor"]
    config["rotary_emb_base"] = rope["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")


def old_rope(config):
    """Rewrite any config.json with one RoPE the way transformers 4 wrote it, without layer types."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)


def qwen2_unused_window(config):
    """The published files name a window that use_sliding_window turns off."""
    old_rope(config)
    config.update(use_sliding_window=False, sliding_window=4, max_window_layers=0)


def old_gemma2(config):
    """The published files say neither which layers slide (0, 2, ...) nor that the head is tied."""
    old_rope(config)
    del config["tie_word_embeddings"]
    config["hidden_act"] = "silu"  # an older name of hidden_activation, which nothing reads


def old_gemma3(config):
    """Two bases and a scaling for the full layers, and every how many layers one is full."""
    ropes = config.pop("rope_parameters")
    config["rope_local_base_freq"] = ropes["sliding_attention"]["rope_theta"]
    config["rope_theta"] = ropes["full_attention"].pop("rope_theta")
    config["rope_scaling"] = ropes["full_attention"]
    config["torch_dtype"] = config.pop("dtype")
    config["sliding_window_pattern"] = 2
    for key in ("layer_types", "_sliding_window_pattern", "tie_word_embeddings"):
        del config[key]


def old_olmo3(config):
    """One base, and a scaling for the full layers only."""
    ropes = config.pop("rope_parameters")
    config["rope_theta"] = ropes["full_attention"].pop("rope_theta")
    config["rope_scaling"] = ropes["full_attention"]
    config["torch_dtype"] = config.pop("dtype")


def old_qwen3_moe(config):
    """transformers 5 calls num_experts num_local_experts."""
    old_rope(config)
    config["num_experts"] = config.pop("num_local_experts")


# name -> (base, changes to its config, options):
#   dtype, max_shard_size   how the weights are saved (float32 in one file by default)
#   edit                    a function applied to config.json after saving
#   embed                   multiplies the embeddings
#   seed                    added to the case's own seed, where seed 0 gave a dull continuation or magnified rounding
CASES = {
    "llama_gqa9x3": (LLAMA, dict(vocab_size=61, hidden_size=36, num_attention_heads=9, num_key_value_heads=3,
                                 intermediate_size=13), {}),
    "llama_head_dim": (LLAMA, dict(num_attention_heads=5, head_dim=6), {}),
    "llama_tied": (LLAMA, dict(tie_word_embeddings=True, num_key_value_heads=2), {}),
    "llama_bias": (LLAMA, dict(attention_bias=True, mlp_bias=True), {}),
    "llama_rope_linear": (LLAMA, dict(rope_parameters=dict(
        rope_type="linear", rope_theta=700.0, factor=2.5)), {}),
    # Wavelengths 6.3 | 14, 30 | 66, 144: one kept, two in the smooth band (8 to 32), two divided.
    "llama_rope_llama3": (LLAMA, dict(rope_parameters=dict(
        rope_type="llama3", rope_theta=50.0, factor=8.0, low_freq_factor=0.5, high_freq_factor=2.0,
        original_max_position_embeddings=16)), dict(edit=llama4_rope)),
    # Ramp 0, 1/3, 2/3, 1, 1 over the five frequencies (a small base, or the ramp would be one step).
    "llama_rope_yarn": (LLAMA, dict(rope_parameters=dict(
        rope_type="yarn", rope_theta=10.0, factor=4.0, original_max_position_embeddings=16)), {}),
    # Explicit betas as well: ramp 0, 0, 1/3, 2/3, 1.
    "llama_yarn_mscale": (LLAMA, dict(rope_parameters=dict(
        rope_type="yarn", rope_theta=10.0, factor=4.0, original_max_position_embeddings=16,
        attention_factor=1.1, beta_fast=1.5, beta_slow=0.5)), {}),
    "llama_sharded": (LLAMA, {}, dict(max_shard_size="12KB")),
    "llama_bf16": (LLAMA, {}, dict(dtype=torch.bfloat16)),
    "llama_f16": (LLAMA, {}, dict(dtype=torch.float16)),
    "gpt2_odd": (GPT2, dict(n_inner=50), dict(seed=5)),
    "gpt2_untied": (GPT2, dict(tie_word_embeddings=False), {}),
    "gpt2_inverse_layer": (GPT2, dict(scale_attn_by_inverse_layer_idx=True, n_layer=3, n_embd=15), {}),
    "gpt2_unscaled": (GPT2, dict(scale_attn_weights=False), dict(seed=3)),
    # n_inner left out (null in config.json): 4 * n_embd.
    "gpt2_relu": (GPT2, dict(activation_function="relu", n_embd=15, n_inner=None), dict(seed=4)),
    # Head dim 16, of which 4 are rotated.
    "neox_parallel": (NEOX, dict(vocab_size=61, hidden_size=32, num_attention_heads=2, rope_parameters=dict(
        rope_type="default", rope_theta=300.0, partial_rotary_factor=0.25)), dict(seed=3, edit=neox4_rope)),
    "neox_serial": (NEOX, dict(use_parallel_residual=False), dict(seed=1)),
    "neox_tied": (NEOX, dict(tie_word_embeddings=True), dict(seed=1)),
    "neox_nobias": (NEOX, dict(attention_bias=False), {}),
    "neox_full_rotary": (NEOX, dict(hidden_size=20, num_attention_heads=2, rope_parameters=dict(
        rope_type="default", rope_theta=300.0, partial_rotary_factor=1.0)), dict(seed=1)),
    "mistral_window": (MISTRAL, dict(sliding_window=5), dict(edit=old_rope)),
    "mistral_head_dim": (MISTRAL, dict(sliding_window=None, head_dim=6, hidden_size=13), dict(seed=1)),
    "qwen2_bias": (QWEN2, dict(num_key_value_heads=3), {}),
    # The file has no layer types: the layers from max_window_layers on slide.
    "qwen2_window": (QWEN2, dict(use_sliding_window=True, sliding_window=4, max_window_layers=1,
                                 num_hidden_layers=3), dict(edit=old_rope, seed=2)),
    "qwen2_tied": (QWEN2, dict(tie_word_embeddings=True), dict(edit=qwen2_unused_window, seed=2)),
    "qwen3_head_dim": (QWEN3, {}, dict(edit=old_rope)),
    "qwen3_bias": (QWEN3, dict(attention_bias=True, tie_word_embeddings=True, num_key_value_heads=3), dict(seed=13)),
    # Layer types win over max_window_layers.
    "qwen3_layer_types": (QWEN3, dict(use_sliding_window=True, sliding_window=4, max_window_layers=2,
                                      layer_types=[SLIDING, FULL]), {}),
    # The epsilon is 1e-5 in all OLMo: embeddings this small make it count.
    "olmo_clip": (OLMO, dict(clip_qkv=1.3), dict(embed=0.01, edit=old_rope)),
    "olmo_tied": (OLMO, dict(tie_word_embeddings=True, num_key_value_heads=1), {}),
    "olmo_bias": (OLMO, dict(attention_bias=True, clip_qkv=1.6), {}),
    "olmo2_plain": (OLMO2, {}, dict(edit=old_rope)),
    "olmo2_gqa": (OLMO2, dict(num_key_value_heads=1, tie_word_embeddings=True), dict(seed=2)),
    "olmo2_bias": (OLMO2, dict(attention_bias=True), dict(seed=1)),
    "olmo3_layer_types": (OLMO3, dict(layer_types=[FULL, SLIDING], num_key_value_heads=3), dict(seed=1)),
    # Ramp 0, 1/3, 2/3, 1 over the four frequencies of the full layer.
    "olmo3_yarn": (OLMO3, dict(hidden_size=16, num_attention_heads=2, layer_types=[SLIDING, FULL], rope_parameters=dict(
        sliding_attention=dict(rope_type="default", rope_theta=30.0),
        full_attention=dict(rope_type="yarn", rope_theta=10.0, factor=4.0, original_max_position_embeddings=16,
                            beta_fast=2.0, beta_slow=0.5, attention_factor=1.3))), dict(seed=7)),
    # Ramp 0, 1/2, 1, 1. transformers 5 gives the base of an old file to the full layers and the default base, which
    # is the one of all published files, to the others: only with this base is the file read the same everywhere.
    "olmo3_old": (OLMO3, dict(hidden_size=16, num_attention_heads=2, layer_types=[SLIDING, FULL],
                              max_position_embeddings=16384, rope_parameters=dict(
        sliding_attention=dict(rope_type="default", rope_theta=500000.0),
        full_attention=dict(rope_type="yarn", rope_theta=500000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0,
                            original_max_position_embeddings=4096))), dict(edit=old_olmo3, seed=1)),
    "gemma2_caps": (GEMMA2, dict(attn_logit_softcapping=1.5, final_logit_softcapping=1.2),
                    dict(embed=0.5, edit=old_gemma2, seed=32)),
    "gemma2_nocaps": (GEMMA2, dict(attn_logit_softcapping=None, final_logit_softcapping=None, num_key_value_heads=3,
                                   layer_types=[FULL, SLIDING]), dict(embed=0.5, seed=4)),
    "gemma2_bias": (GEMMA2, dict(attn_logit_softcapping=2.5, final_logit_softcapping=None, attention_bias=True,
                                 tie_word_embeddings=False), {}),
    "gemma3_layer_types": (GEMMA3, dict(layer_types=[FULL, SLIDING]), dict(embed=0.5, seed=5)),
    "gemma3_linear": (GEMMA3, dict(layer_types=[SLIDING, FULL], num_key_value_heads=3, rope_parameters=dict(
        sliding_attention=dict(rope_type="default", rope_theta=30.0),
        full_attention=dict(rope_type="linear", rope_theta=700.0, factor=2.5))), dict(embed=0.5, seed=9)),
    "gemma3_old": (GEMMA3, dict(num_hidden_layers=3, layer_types=[SLIDING, FULL, SLIDING], rope_parameters=dict(
        sliding_attention=dict(rope_type="default", rope_theta=30.0),
        full_attention=dict(rope_type="linear", rope_theta=700.0, factor=2.5))),
                   dict(embed=0.5, edit=old_gemma3, seed=2)),
    "gemma3_bias": (GEMMA3, dict(layer_types=[SLIDING, FULL], attention_bias=True, tie_word_embeddings=False,
                                 final_logit_softcapping=2.5), {}),
    "phi_plain": (PHI, {}, dict(edit=old_rope, seed=1)),
    "phi_qk_norm": (PHI, dict(qk_layernorm=True, num_key_value_heads=1), dict(seed=5)),
    "phi_tied": (PHI, dict(tie_word_embeddings=True), dict(seed=16)),
    "stablelm_bias": (STABLELM, dict(use_qkv_bias=True), dict(edit=old_rope)),
    "stablelm_gqa": (STABLELM, dict(num_key_value_heads=1, tie_word_embeddings=True), dict(seed=4)),
    "stablelm_parallel": (STABLELM, dict(use_parallel_residual=True, use_qkv_bias=True), dict(seed=2)),
    # One norm per head, as many of them as there are heads.
    "stablelm_qk_norm": (STABLELM, dict(qk_layernorm=True, num_attention_heads=2, num_key_value_heads=1, hidden_size=10,
                                        use_parallel_residual=True), dict(edit=old_rope)),
    "granite_plain": (GRANITE, {}, {}),
    "granite_bias": (GRANITE, dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True, num_key_value_heads=3,
                              residual_multiplier=1.7, attention_multiplier=0.2, logits_scaling=0.3),
                     dict(embed=0.3, edit=old_rope, seed=14)),
    "qwen3_moe_step": (QWEN3_MOE, dict(decoder_sparse_step=2), dict(seed=1)),
    "qwen3_moe_mlp_only": (QWEN3_MOE, dict(mlp_only_layers=[0], attention_bias=True), dict(edit=old_qwen3_moe)),
    "qwen3_moe_unnormed": (QWEN3_MOE, dict(norm_topk_prob=False), dict(edit=old_qwen3_moe, seed=10)),
    "qwen3_moe_window": (QWEN3_MOE, dict(use_sliding_window=True, sliding_window=4, decoder_sparse_step=2,
                                     tie_word_embeddings=True), dict(seed=2)),
    "olmoe_clip": (OLMOE, dict(clip_qkv=1.1), dict(edit=old_rope, seed=7)),
    "olmoe_normed": (OLMOE, dict(norm_topk_prob=True, num_key_value_heads=1), dict(seed=1)),
    "mixtral": (MIXTRAL, {}, dict(edit=old_rope, seed=1)),
}  # fmt: skip

# Where each family keeps the modules whose activations are recorded. Those of the second line are inside
# a block; attn and mlp are the modules whose output is added to the residual.
AS_LLAMA = dict(embed="model.embed_tokens", blocks="model.layers", norm="model.norm",
                attn="self_attn", attn_proj="self_attn.o_proj", mlp="mlp", mlp_proj="mlp.down_proj")  # fmt: skip
POST_NORMS = dict(attn="post_attention_layernorm", mlp="post_feedforward_layernorm")
MODULES = {
    "gpt2": dict(embed="transformer.wte", pos_embed="transformer.wpe", blocks="transformer.h",
                 norm="transformer.ln_f",
                 attn="attn", attn_proj="attn.c_proj", mlp="mlp", mlp_proj="mlp.c_proj"),
    "gpt_neox": dict(embed="gpt_neox.embed_in", blocks="gpt_neox.layers", norm="gpt_neox.final_layer_norm",
                     attn="attention", attn_proj="attention.dense", mlp="mlp", mlp_proj="mlp.dense_4h_to_h"),
    "phi": AS_LLAMA | dict(norm="model.final_layernorm", attn_proj="self_attn.dense", mlp_proj="mlp.fc2"),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "olmo", "stablelm", "granite",
                     "qwen3_moe", "olmoe", "mixtral"), AS_LLAMA),
    **dict.fromkeys(("olmo2", "olmo3", "gemma2", "gemma3_text"), AS_LLAMA | POST_NORMS),
}  # fmt: skip

# ---------------------------------------------------------------- the work


@torch.no_grad()
def randomise(model, generator, embed=1.0):
    """Draw every parameter anew, large enough for peaked attention and logits of std 1 to 3."""
    hidden, family = model.config.hidden_size, model.config.model_type
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:  # norm gains around 1 (Gemma adds the 1 itself), every bias around 0
            is_gain = name.endswith("weight") and not family.startswith("gemma")
            p.copy_(1 + 0.3 * noise if is_gain else 0.3 * noise)
        elif any(s in name for s in ("embed", "wte", "wpe", "lm_head")):
            p.copy_(noise * 1.8 / math.sqrt(hidden) * (embed if "embed" in name else 1.0))
        else:  # nn.Linear is [out, in], fused experts [expert, out, in], but GPT-2's Conv1D is [in, out]
            fan_in = p.shape[0] if family == "gpt2" else p.shape[-1]
            p.copy_(noise * 1.3 / math.sqrt(fan_in))


@torch.no_grad()
def logits_of(model, tokens):
    return model(tokens[None], use_cache=False).logits[0]


def greedy(model, tokens):
    """Argmax continuation without a KV cache.

    Refuses near ties, which rounding could turn, and a dull result (one token repeated).
    """
    tokens = tokens.clone()
    for _ in range(NEW):
        last = logits_of(model, tokens)[-1]
        best, second = last.topk(2).values
        assert best - second > 1e-3, "near tie: change the seed"
        tokens = torch.cat([tokens, last.argmax()[None]])
    new = tokens[-NEW:]
    assert len(new.unique()) >= 5, "dull continuation: change the seed"
    return new


@torch.no_grad()
def check_routing(model, tokens):
    """Refuse near ties between the last expert chosen and the first one left out, at any token."""
    chosen = model.config.num_experts_per_tok
    out = model(tokens[None], use_cache=False, output_router_logits=True)
    for logits in out.router_logits:
        best = logits.softmax(-1).topk(chosen + 1).values
        assert (best[:, -2] - best[:, -1]).min() > 1e-3, "near tie between experts: change the seed"


def activations(model, tokens):
    """One forward pass: its logits, with the graph attached, and what the hooks saw."""
    at, seen = MODULES[model.config.model_type], {}
    modules = dict(model.named_modules())

    def output_of(path, name):
        def hook(_module, _args, out):
            seen[name] = (out[0] if isinstance(out, tuple) else out)[0]  # drop the batch axis

        return modules[path].register_forward_hook(hook)

    def input_of(path, name):
        def hook(_module, args):
            seen[name] = args[0][0]

        return modules[path].register_forward_pre_hook(hook)

    handles = [
        output_of(at["embed"], "hook_embed"),
        output_of(at["norm"], "final_norm_out"),
        input_of(f"{at['blocks']}.0", "resid_pre.0"),
    ]
    if "pos_embed" in at:
        handles.append(output_of(at["pos_embed"], "hook_pos_embed"))
    for i in range(model.config.num_hidden_layers):
        block = f"{at['blocks']}.{i}"
        handles += [
            output_of(block, f"resid_post.{i}"),  # leaving the block, before the final norm
            output_of(f"{block}.{at['attn']}", f"blocks.{i}.hook_attn_out"),
            output_of(f"{block}.{at['mlp']}", f"blocks.{i}.hook_mlp_out"),
            input_of(f"{block}.{at['attn_proj']}", f"blocks.{i}.attn.hook_z"),
        ]
        if f"{block}.mlp.experts" not in modules:  # a mixture has no single one
            handles.append(input_of(f"{block}.{at['mlp_proj']}", f"blocks.{i}.mlp.hook_post"))
    out = model(tokens[None], use_cache=False, output_attentions=True)
    for handle in handles:
        handle.remove()
    for i, pattern in enumerate(out.attentions):
        seen[f"blocks.{i}.attn.hook_pattern"] = pattern[0]
    # Granite scales the embeddings outside any module (Gemma does it in its embedding module).
    seen["hook_embed"] = seen["hook_embed"] * getattr(model.config, "embedding_multiplier", 1)
    if "pos_embed" not in at:
        assert torch.equal(seen["hook_embed"], seen["resid_pre.0"])
    return out.logits[0], seen


def as_stored(model, value):
    """`value(p)` for each parameter p, under the names and in the shapes of the file.

    named_parameters() lists a tied weight once, under the embedding's name, as the file does. But transformers 5
    calls GPT-NeoX's head lm_head in memory and still embed_out in the file, and it fuses the experts of a layer.
    """
    family, stored = model.config.model_type, {}
    for name, p in model.named_parameters():
        if family == "gpt_neox":
            name = name.replace("lm_head", "embed_out")
        if family == "mixtral":
            name = name.replace(".mlp.", ".block_sparse_moe.")
        if ".experts." not in name:
            stored[name] = value(p)
            continue
        layer, fused = name.split(".experts.")
        gate, up, down = ("w1", "w3", "w2") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
        for e, expert in enumerate(value(p)):  # [gate and up stacked, hidden] or [hidden, intermediate]
            parts = zip((gate, up), expert.chunk(2)) if fused == "gate_up_proj" else [(down, expert)]
            stored |= {f"{layer}.experts.{e}.{part}.weight": t for part, t in parts}
    return stored


def expected(model, tokens):
    """Everything recorded for one case, by name."""
    logits, seen = activations(model, tokens)
    # The logits at position p predict the token at p + 1.
    nll = torch.nn.functional.cross_entropy(logits[:-1], tokens[1:], reduction="none")
    loss = nll[SPAN.start - 1 : SPAN.stop - 1].sum()
    loss.backward()
    grads = as_stored(model, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
    return {
        "tokens": tokens,
        "logits": logits,
        "loss": loss[None],
        "greedy": greedy(model, tokens[:PROMPT]),
        **seen,
        **{f"grad.{name}": grad for name, grad in grads.items()},
    }


def stored_tensors(folder):
    """The tensors in a checkpoint's files, by name."""
    return {name: t for path in folder.glob("model*.safetensors") for name, t in load_file(path).items()}


def make(name, folder):
    base, changes, options = CASES[name]
    dtype = options.get("dtype", torch.float32)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + options.get("seed", 0))

    # A random model, rounded to the precision it is stored in, and its logits computed as float32.
    config = AutoConfig.for_model(**deepcopy({**base, **changes}))  # which may add to the RoPE dicts
    eager = dict(attn_implementation="eager", experts_implementation="eager")
    model = AutoModelForCausalLM.from_config(config, **eager).eval()
    randomise(model, generator, options.get("embed", 1.0))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(dtype).float())
    tokens = torch.randint(config.vocab_size, (SEQ,), generator=generator)
    before = logits_of(model, tokens)

    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=options.get("max_shard_size", "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if "edit" in options:
        path = folder / "config.json"
        settings = json.loads(path.read_text())
        options["edit"](settings)
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")

    # Record from the folder, not from the model in memory: the files are what is tested.
    model = AutoModelForCausalLM.from_pretrained(folder, **eager, dtype=torch.float32).eval()
    record = {key: t.detach().contiguous().clone() for key, t in expected(model, tokens).items()}
    assert torch.equal(record["logits"], before), "the folder does not load back to the same model"
    stored, parameters = stored_tensors(folder), as_stored(model, lambda p: p)
    assert {k.removeprefix("grad.") for k in record if k.startswith("grad.")} == parameters.keys() == stored.keys()
    for key, t in stored.items():
        assert torch.equal(t.float(), parameters[key]), f"{key} is not what the model computes with"
        assert record[f"grad.{key}"].any(), f"{key} got no gradient: change the seed"
    if hasattr(config, "num_experts_per_tok"):
        check_routing(model, tokens)
        check_routing(model, torch.cat([tokens[:PROMPT], record["greedy"]]))
    # One metadata entry only: safetensors writes several in a random order.
    made_by = f"transformers {transformers.__version__}, torch {torch.__version__}"
    save_file(record, folder / "expected.safetensors", metadata=dict(made_by=made_by))

    size = sum(f.stat().st_size for f in folder.iterdir())
    peak = torch.stack([record[k][:, 8:].amax(-1).mean() for k in record if k.endswith("hook_pattern")])
    print(
        f"{name:20} {size / 1000:6.1f} kB  logits std {record['logits'].std():.2f}"
        f"  mean attention peak {peak.mean():.2f}  loss {record['loss'].item():6.2f}"
        f"  greedy {record['greedy'].tolist()}"
    )


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases to make (all of them by default)")
    parser.add_argument("--out", type=Path, default=here.parent / "fixtures" / "parity")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in args.cases or CASES:
        make(name, args.out / name)


if __name__ == "__main__":
    main()
