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
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
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


# name -> (base, changes to its config, options):
#   dtype, max_shard_size   how the weights are saved (float32 in one file by default)
#   edit                    a function applied to config.json after saving
#   seed                    added to the case's own seed, where seed 0 gave a useless continuation
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
}  # fmt: skip

# Where each family keeps the modules whose activations are recorded. The last four are inside a block.
MODULES = {
    "llama": dict(embed="model.embed_tokens", blocks="model.layers", norm="model.norm",
                  attn="self_attn", attn_proj="self_attn.o_proj", mlp="mlp", mlp_proj="mlp.down_proj"),
    "gpt2": dict(embed="transformer.wte", pos_embed="transformer.wpe", blocks="transformer.h",
                 norm="transformer.ln_f",
                 attn="attn", attn_proj="attn.c_proj", mlp="mlp", mlp_proj="mlp.c_proj"),
    "gpt_neox": dict(embed="gpt_neox.embed_in", blocks="gpt_neox.layers", norm="gpt_neox.final_layer_norm",
                     attn="attention", attn_proj="attention.dense", mlp="mlp", mlp_proj="mlp.dense_4h_to_h"),
}  # fmt: skip

# ---------------------------------------------------------------- the work


@torch.no_grad()
def randomise(model, generator):
    """Draw every parameter anew, large enough for peaked attention and logits of std 1 to 3."""
    hidden = model.config.hidden_size
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:  # norm gains around 1, every bias around 0
            is_gain = name.endswith("weight")
            p.copy_(1 + 0.3 * noise if is_gain else 0.3 * noise)
        elif any(s in name for s in ("embed", "wte", "wpe", "lm_head")):
            p.copy_(noise * 1.8 / math.sqrt(hidden))
        else:  # nn.Linear is [out, in], but GPT-2's Conv1D is [in, out]
            fan_in = p.shape[0] if model.config.model_type == "gpt2" else p.shape[1]
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


def activations(model, tokens):
    """One forward pass: its logits, with the graph attached, and what the hooks saw."""
    at, seen = MODULES[model.config.model_type], {}

    def output_of(path, name):
        def hook(_module, _args, out):
            seen[name] = (out[0] if isinstance(out, tuple) else out)[0]  # drop the batch axis

        return model.get_submodule(path).register_forward_hook(hook)

    def input_of(path, name):
        def hook(_module, args):
            seen[name] = args[0][0]

        return model.get_submodule(path).register_forward_pre_hook(hook)

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
            input_of(f"{block}.{at['mlp_proj']}", f"blocks.{i}.mlp.hook_post"),
        ]
    out = model(tokens[None], use_cache=False, output_attentions=True)
    for handle in handles:
        handle.remove()
    for i, pattern in enumerate(out.attentions):
        seen[f"blocks.{i}.attn.hook_pattern"] = pattern[0]
    return out.logits[0], seen


def expected(model, tokens):
    """Everything recorded for one case, by name."""
    logits, seen = activations(model, tokens)
    # The logits at position p predict the token at p + 1.
    nll = torch.nn.functional.cross_entropy(logits[:-1], tokens[1:], reduction="none")
    loss = nll[SPAN.start - 1 : SPAN.stop - 1].sum()
    loss.backward()
    # named_parameters() lists a tied weight once, under the embedding's name. transformers 5
    # calls GPT-NeoX's head lm_head in memory but still embed_out in the file: keep the file's name.
    neox = model.config.model_type == "gpt_neox"
    grads = {
        "grad." + (name.replace("lm_head", "embed_out") if neox else name): p.grad
        for name, p in model.named_parameters()
    }
    return {
        "tokens": tokens,
        "logits": logits,
        "loss": loss[None],
        "greedy": greedy(model, tokens[:PROMPT]),
        **seen,
        **grads,
    }


def stored_names(folder):
    """Names of the tensors in a checkpoint's files."""
    names = set()
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names.update(file.keys())
    return names


def make(name, folder):
    base, changes, options = CASES[name]
    dtype = options.get("dtype", torch.float32)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + options.get("seed", 0))

    # A random model, rounded to the precision it is stored in, and its logits computed as float32.
    config = AutoConfig.for_model(**{**base, **changes})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomise(model, generator)
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
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    record = {key: t.detach().contiguous().clone() for key, t in expected(model, tokens).items()}
    assert torch.equal(record["logits"], before), "the folder does not load back to the same model"
    assert {k.removeprefix("grad.") for k in record if k.startswith("grad.")} == stored_names(folder)
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
