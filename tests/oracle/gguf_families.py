"""Make tiny GGUF files with llama.cpp's own converter, and see what llama.cpp computes with them.

Every file comes from a checkpoint that `parity.py` made, with a tokenizer added, by the `convert_hf_to_gguf.py` of
the unpacked source of llama-cpp-python (which holds llama.cpp). Nothing of the converter is changed but how it
recognises a pre-tokenizer (by a hash) and two settings that its version of transformers has and ours drops. Each
tensor is put back and compared with the checkpoint, and llama.cpp evaluates the recorded `tokens`.

    pip download --no-binary llama-cpp-python --no-deps llama-cpp-python==0.3.36     # then unpack it
    python gguf_families.py --sdist llama_cpp_python-0.3.36 [--parity DIR] [--parity-script FILE] [--out DIR] [CASE ...]

Besides parity.py's needs: llama-cpp-python (the same version), sentencepiece. Writes to DIR:

    NAME.gguf             the case NAME of parity.py, or a checkpoint of own_checkpoints below
    NAME/                 those of own_checkpoints: as parity.py writes a case
    results.json          for each file metadata, tensors, differences to transformers; or why there is none
"""

import argparse
import importlib.util
import io
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

SPECIAL = ["<unk>", "<s>", "</s>"]  # ids 0, 1, 2

# ---------------------------------------------------------------- what to convert

# Cases of parity.py that become files.
CASES = """
    llama_gqa9x3 llama_head_dim llama_bias llama_tied llama_rope_linear llama_rope_llama3 llama_rope_yarn
    llama_yarn_mscale mistral_head_dim mistral_window mixtral qwen2_bias qwen2_tied qwen2_window qwen3_head_dim
    qwen3_layer_types qwen3_moe_unnormed olmo_clip olmo_tied olmo2_plain olmo2_gqa olmo3_old olmo3_yarn olmoe_clip
    gemma2_caps gemma3_old phi_plain stablelm_bias stablelm_parallel granite_plain granite_bias gpt2_odd gpt2_relu
    neox_parallel neox_serial
""".split()


def rope(theta, **more):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=theta, **more))


def own_checkpoints(parity):
    """Further cases in parity.py's form, where a file can say all of them: the base of the RoPE is 10000 where the
    converter does not write it, the MLP as wide as it supposes, and so on."""
    p = parity
    return {
        # Biases and head dim 5.
        "gguf_gpt2": (p.GPT2, dict(n_embd=15, n_inner=None), dict(seed=1)),
        # Head dim 10, of which 6 are rotated.
        "gguf_neox_parallel": (p.NEOX, dict(hidden_size=20, num_attention_heads=2, **rope(
            10000.0, partial_rotary_factor=0.6)), {}),
        "gguf_neox_serial": (p.NEOX, dict(use_parallel_residual=False, **rope(
            10000.0, partial_rotary_factor=0.6)), {}),
        "gguf_phi": (p.PHI, dict(intermediate_size=60, **rope(10000.0, partial_rotary_factor=0.9)),
                     dict(edit=p.old_rope)),
        "gguf_stablelm": (p.STABLELM, dict(num_key_value_heads=1, use_qkv_bias=True, **rope(
            10000.0, partial_rotary_factor=0.9)), dict(edit=p.old_rope, seed=2)),
        "gguf_stablelm_parallel": (p.STABLELM, dict(use_parallel_residual=True, **rope(
            10000.0, partial_rotary_factor=0.9)), {}),
        # The scale of the queries is that of the head dim.
        "gguf_gemma2": (p.GEMMA2, dict(query_pre_attn_scalar=6, attn_logit_softcapping=1.5,
                                       final_logit_softcapping=1.2, **rope(10000.0)),
                        dict(embed=0.5, edit=p.old_gemma2, seed=1)),
        # llama.cpp takes every sixth layer for a full one.
        "gguf_gemma3": (p.GEMMA3, dict(num_hidden_layers=6, query_pre_attn_scalar=6, intermediate_size=7,
                                       rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=30.0),
            full_attention=dict(rope_type="linear", rope_theta=700.0, factor=2.5))), dict(embed=0.5)),
        # Whatever config.json says, the converter writes 1e-5.
        "gguf_olmoe": (p.OLMOE, dict(rms_norm_eps=1e-5), dict(seed=2)),
        "gguf_qwen3_moe": (p.QWEN3_MOE, {}, dict(seed=2)),
    }  # fmt: skip


def base_10000(config):
    config.rope_parameters["rope_theta"] = 10000.0


def no_window(config):
    config.sliding_window = None
    config.layer_types = ["full_attention"] * config.num_hidden_layers


def gemma2_as_read(config):
    base_10000(config)
    config.query_pre_attn_scalar = config.head_dim


def gemma3_as_read(config):
    config.layer_types = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in
                          range(config.num_hidden_layers)]  # fmt: skip
    config.query_pre_attn_scalar = config.head_dim


def default_yarn(rope):
    for key in ("attention_factor", "beta_fast", "beta_slow"):
        rope.pop(key, None)


def olmo3_as_read(config):
    full = config.rope_parameters["full_attention"]
    default_yarn(full)
    config.rope_parameters["sliding_attention"]["rope_theta"] = full["rope_theta"]


def olmoe_as_read(config):
    config.rms_norm_eps, config.clip_qkv = 1e-5, None


# How llama.cpp reads a file otherwise than transformers reads the checkpoint.
READ_AS = {
    "llama_yarn_mscale": ("YaRN's factor and betas are the defaults", lambda c: default_yarn(c.rope_parameters)),
    "mistral_window": ("no window", lambda c: setattr(c, "sliding_window", None)),
    "qwen2_window": ("no window", no_window),
    "qwen3_layer_types": ("no window", no_window),
    "qwen3_moe_unnormed": ("norm_topk_prob", lambda c: setattr(c, "norm_topk_prob", True)),
    "olmo3_yarn": ("one base, YaRN's factor and betas are the defaults", olmo3_as_read),
    "olmoe_clip": ("no clip, epsilon 1e-5", olmoe_as_read),
    "gemma2_caps": ("base 10000, query_pre_attn_scalar is the head dim", gemma2_as_read),
    "gemma3_old": ("all layers slide, query_pre_attn_scalar is the head dim", gemma3_as_read),
    "stablelm_bias": ("base 10000", base_10000),
    "stablelm_parallel": ("base 10000", base_10000),
    "gpt2_relu": ("activation gelu_new", lambda c: setattr(c, "activation_function", "gelu_new")),
    "neox_parallel": ("base 10000", base_10000),
    "neox_serial": ("base 10000", base_10000),
}

# ---------------------------------------------------------------- tokenizers


def bpe_tokenizer(folder):
    """A byte-level BPE of 43 pieces; the converter fills the rest of the vocabulary with [PADn]."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = ["\u0120", "\u010a", *"abcdefghijklmnopqrstuvwxyz", *",.!?"]
    merges = ["t h", "th e", "\u0120 the", "i n", "in g", "e r", "a n", "\u0120 a"]
    pieces = SPECIAL + letters + [m.replace(" ", "") for m in merges]
    assert len(set(pieces)) == len(pieces) == 43
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(m.split()) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def sentencepiece_tokenizer(folder):
    """A SentencePiece BPE of 40 pieces; padded like the other."""
    import sentencepiece

    model, text = io.BytesIO(), ["the cat sat in the inn", "a quick brown fox jumps over the lazy dog", "and then"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, vocab_size=40, model_type="bpe", character_coverage=1.0,
        num_threads=1, minloglevel=2)  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())


# Those whose published checkpoints have a tokenizer.model.
SENTENCEPIECE = ("mistral", "mixtral", "gemma2", "gemma3_text")

# ---------------------------------------------------------------- conversion


def load_converter(sdist):
    folder = sdist / "vendor" / "llama.cpp"
    assert "gguf" not in sys.modules, "the converter brings its own gguf"
    sys.path.insert(0, str(folder))
    import convert_hf_to_gguf as converter
    from conversion.base import ModelBase, TextModel

    # A table of hashes of what real tokenizers make of one text. Ours splits like GPT-2's.
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    # The converter reads config.json through transformers, and it wants 4.57; 5 has dropped two settings.
    load_hparams = ModelBase.load_hparams

    def with_dropped_settings(folder, is_mistral_format):
        settings = load_hparams(folder, is_mistral_format)
        if settings["model_type"] == "gpt2":
            settings["n_ctx"] = settings["n_positions"]
        if settings["model_type"] == "gpt_neox" and "rotary_pct" not in settings:
            settings["rotary_pct"] = settings["rope_parameters"]["partial_rotary_factor"]
        return settings

    ModelBase.load_hparams = staticmethod(with_dropped_settings)
    return converter


def convert(converter, source, path, scratch):
    """What the converter refused to do, or None."""
    folder = scratch / source.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in [source / "config.json", *source.glob("model*")]:
        shutil.copy(file, folder)
    family = json.loads((source / "config.json").read_text())["model_type"]
    (sentencepiece_tokenizer if family in SENTENCEPIECE else bpe_tokenizer)(folder)
    sys.argv = ["convert_hf_to_gguf.py", str(folder), "--outtype", "f32", "--outfile", str(path)]
    path.unlink(missing_ok=True)
    try:
        converter.main()
    except (Exception, SystemExit) as error:
        path.unlink(missing_ok=True)
        return f"{type(error).__name__}: {error}"


def contents(path):
    """Metadata without the long arrays, and name -> [type, dimensions as GGUF has them]."""
    import gguf

    reader, metadata = gguf.GGUFReader(path), {}
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        value = field.contents()
        if key.startswith("tokenizer.ggml.") and isinstance(value, list):
            value = f"[{len(value)}]"
        metadata[key] = [field.types[0].name, value]
    return metadata, {t.name: [t.tensor_type.name, [int(d) for d in t.shape]] for t in reader.tensors}


# ---------------------------------------------------------------- the way back

AS_LLAMA = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "blk": "model.layers",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate_inp": "mlp.gate", "ffn_gate_exps": "mlp.experts.{}.gate_proj",
    "ffn_up_exps": "mlp.experts.{}.up_proj", "ffn_down_exps": "mlp.experts.{}.down_proj",
}  # fmt: skip
# Of "llama": Mixtral, where the file has experts.
MIXTRAL = {
    "ffn_gate_inp": "block_sparse_moe.gate", "ffn_gate_exps": "block_sparse_moe.experts.{}.w1",
    "ffn_up_exps": "block_sparse_moe.experts.{}.w3", "ffn_down_exps": "block_sparse_moe.experts.{}.w2",
}  # fmt: skip
GEMMA = AS_LLAMA | {"ffn_norm": "pre_feedforward_layernorm"}
NAMES = {
    "llama": AS_LLAMA | MIXTRAL,
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "phi2": AS_LLAMA | {"output_norm": "model.final_layernorm", "attn_output": "self_attn.dense",
                        "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"},
    "gpt2": {"token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f",
             "output": "lm_head", "blk": "transformer.h", "attn_norm": "ln_1", "ffn_norm": "ln_2",
             "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
    "gptneox": {"token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm", "output": "embed_out",
                "blk": "gpt_neox.layers", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
                "attn_qkv": "attention.query_key_value", "attn_output": "attention.dense",
                "ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h"},
}  # fmt: skip


def undone(path):
    """The tensors of a file under the names and with the values of the checkpoint."""
    import gguf

    reader, out = gguf.GGUFReader(path), {}
    arch = reader.fields["general.architecture"].contents()
    names = NAMES.get(arch, AS_LLAMA)

    def number(key):
        field = reader.fields.get(f"{arch}.{key}")
        return None if field is None else field.contents()

    heads = number("attention.head_count")
    kv_heads = number("attention.head_count_kv") or heads
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            continue
        value = np.array(tensor.data)  # GGUF lists dimensions from the innermost, so this has the shape of torch
        stem, suffix = tensor.name.rsplit(".", 1)
        part = stem.split(".")[-1]
        permuted = arch in ("llama", "granite") or arch == "olmo" and suffix == "weight"
        if permuted and part in ("attn_q", "attn_k"):
            # From pairs side by side to halves. Of OLMo the converter forgets the biases.
            n = heads if part == "attn_q" else kv_heads
            value = value.reshape(n, -1, 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
        if arch == "gptneox" and part == "attn_qkv":
            # From all queries, all keys, all values to the three of each head.
            value = value.reshape(3, heads, -1, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
        if arch == "gpt2" and suffix == "weight" and part in ("attn_qkv", "attn_output", "ffn_up", "ffn_down"):
            value = value.T
        if arch in ("gemma2", "gemma3") and part.endswith("norm"):
            value = value - np.float32(1)
        if stem.startswith("blk."):
            name = f"{names['blk']}.{stem.split('.')[1]}.{names[part]}.{suffix}"
        else:
            name = f"{names[part]}.{suffix}"
        if "{}" in name:
            out |= {name.format(i): expert for i, expert in enumerate(value)}
        else:
            out[name] = value
    return out


def greatest_change(path, source):
    """What is left of the converter's changes once undone: 0, and rounding where 1 was added."""
    back, stored = undone(path), load_file(source / "model.safetensors")
    assert back.keys() == stored.keys(), back.keys() ^ stored.keys()
    return max(difference(back[name], stored[name].numpy()) for name in stored)


# ---------------------------------------------------------------- logits


def llama_cpp_logits(path, tokens):
    """In a process of its own, for llama.cpp aborts at times. Logits, or the last error it printed."""
    done = subprocess.run([sys.executable, __file__, "--evaluate", str(path), *map(str, tokens)], capture_output=True)
    if done.returncode == 0:
        return np.frombuffer(done.stdout, np.float32).reshape(len(tokens), -1), None
    lines = done.stderr.decode(errors="replace").splitlines()
    telling = [x for x in lines if "llama_model_load: error" in x or "GGML_ASSERT" in x] or lines[-1:]
    return None, " | ".join(telling)


def evaluate(path, tokens):
    """Logits to stdout. Everything in float32; what the file does not say is left to llama.cpp, not to this binding."""
    import llama_cpp

    model = llama_cpp.Llama(
        path, n_ctx=64, n_batch=64, n_threads=1, n_threads_batch=1, logits_all=True, type_k=0, type_v=0,
        flash_attn=False, yarn_attn_factor=-1.0, yarn_beta_fast=-1.0, yarn_beta_slow=-1.0, verbose=True)  # fmt: skip
    model.eval([int(t) for t in tokens])
    sys.stdout.buffer.write(np.array(model.scores[: len(tokens)], np.float32).tobytes())


class GgmlGelu(torch.nn.Module):
    """The tanh approximation, looked up in ggml's table: a half for every half."""

    def forward(self, x):
        return torch.nn.functional.gelu(x.half().float(), approximate="tanh").half().float()


def transformers_logits(folder, tokens, change=None, table=False):
    config = AutoConfig.from_pretrained(folder)
    if change is not None:
        change(config)
    if table:
        for key in ("hidden_act", "hidden_activation", "activation_function"):
            if "gelu" in (getattr(config, key, None) or ""):
                setattr(config, key, "ggml_gelu")
    eager = dict(attn_implementation="eager", experts_implementation="eager")
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, **eager, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].numpy()


def difference(a, b):
    return float(f"{np.abs(a - b).max():.2g}")


# ---------------------------------------------------------------- the work


def make(name, own, args, converter, parity, scratch):
    source = args.parity / name
    if name in own:
        source = args.out / name
        parity.CASES[name] = own[name]
        parity.make(name, source)
    path, facts = args.out / f"{name}.gguf", {}
    if refusal := convert(converter, source, path, scratch):
        return {"converter": refusal}
    facts["bytes"] = path.stat().st_size
    facts["metadata"], facts["tensors"] = contents(path)
    facts["undone - checkpoint"] = greatest_change(path, source)
    record = load_file(source / "expected.safetensors")
    tokens, expected = record["tokens"].tolist(), record["logits"].numpy()
    assert difference(transformers_logits(source, tokens), expected) < 1e-4
    logits, error = llama_cpp_logits(path, tokens)
    if error:
        facts["llama.cpp"] = error
        return facts
    facts["std"] = float(f"{expected.std():.2g}")
    facts["llama.cpp - transformers"] = difference(logits, expected)
    facts["same, gelu of ggml"] = difference(logits, transformers_logits(source, tokens, table=True))
    if name in READ_AS:
        why, change = READ_AS[name]
        theirs = transformers_logits(source, tokens, change, table=True)
        facts["read as"] = why
        facts["same, read as llama.cpp does"] = difference(logits, theirs)
    return facts


def main():
    if sys.argv[1:2] == ["--evaluate"]:
        return evaluate(sys.argv[2], sys.argv[3:])
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases to convert (all of them by default)")
    parser.add_argument("--sdist", type=Path, required=True, help="the unpacked source of llama-cpp-python")
    parser.add_argument("--parity", type=Path, default=here.parent / "fixtures" / "parity")
    parser.add_argument("--parity-script", type=Path, default=here / "parity.py")
    parser.add_argument("--out", type=Path, required=True, help="a folder; the files kept here are in tests/fixtures/gguf/families")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.out = args.out.resolve()
    converter = load_converter(args.sdist.resolve())
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    spec = importlib.util.spec_from_file_location("parity", args.parity_script)
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    own = own_checkpoints(parity)
    transformers.activations.ACT2FN["ggml_gelu"] = GgmlGelu
    results_path = args.out / "results.json"
    results = json.loads(results_path.read_text()) if args.cases and results_path.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.cases or [*CASES, *own]:
            facts = results[name] = make(name, own, args, converter, parity, Path(scratch))
            print(name, {k: v for k, v in facts.items() if k not in ("metadata", "tensors")}, flush=True)
    lines = (f"{json.dumps(name)}: {json.dumps(facts)}" for name, facts in results.items())
    results_path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
