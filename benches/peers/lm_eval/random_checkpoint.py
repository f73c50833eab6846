"""Tiny random checkpoints whose weights follow from their tensor names.

  random_checkpoint.py tokenizers --corpus tinyshakespeare/input.txt --fixtures DIR
      trains the two byte-level BPEs and writes config.json, tokenizer.json and
      tokenizer_config.json into DIR/gpt2 and DIR/gpt_neox (done once, committed)
  random_checkpoint.py weights --fixtures DIR --out DIR2
      copies those three files to DIR2/{gpt2,gpt_neox} and adds model.safetensors
  random_checkpoint.py check --fixtures DIR --out DIR2
      loads both with transformers, checks that the tensor names and shapes are
      exactly those of save_pretrained, and prints the check values

The formula is in the README.md beside the fixtures.
"""

import argparse
import hashlib
import json
import shutil
import struct
from pathlib import Path

import numpy as np

VOCAB = 1024
CONTEXT = 4096
WIDTH = 48
LAYERS = 2
HEADS = 4
EOT = "<|endoftext|>"

CONFIGS = {
    "gpt2": {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.0,
        "bos_token_id": VOCAB - 1,
        "embd_pdrop": 0.0,
        "eos_token_id": VOCAB - 1,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": CONTEXT,
        "n_embd": WIDTH,
        "n_head": HEADS,
        "n_inner": None,
        "n_layer": LAYERS,
        "n_positions": CONTEXT,
        "resid_pdrop": 0.0,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": VOCAB,
    },
    "gpt_neox": {
        "architectures": ["GPTNeoXForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "hidden_act": "gelu",
        "hidden_dropout": 0.0,
        "hidden_size": WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": CONTEXT,
        "model_type": "gpt_neox",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        # head size 12, so 6 rotary dimensions
        "rotary_emb_base": 10000,
        "rotary_pct": 0.5,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_parallel_residual": True,
        "vocab_size": VOCAB,
    },
}


def shapes(kind):
    """Tensor names and shapes, as save_pretrained writes them."""
    w, out = WIDTH, {}
    if kind == "gpt2":
        out["transformer.wte.weight"] = (VOCAB, w)
        out["transformer.wpe.weight"] = (CONTEXT, w)
        for i in range(LAYERS):
            p = f"transformer.h.{i}."
            for n in ("ln_1", "ln_2"):
                out[p + n + ".weight"] = (w,)
                out[p + n + ".bias"] = (w,)
            # Conv1D keeps [in, out]
            for n, (a, b) in {
                "attn.c_attn": (w, 3 * w),
                "attn.c_proj": (w, w),
                "mlp.c_fc": (w, 4 * w),
                "mlp.c_proj": (4 * w, w),
            }.items():
                out[p + n + ".weight"] = (a, b)
                out[p + n + ".bias"] = (b,)
        out["transformer.ln_f.weight"] = (w,)
        out["transformer.ln_f.bias"] = (w,)
    else:
        inner = CONFIGS[kind]["intermediate_size"]
        out["gpt_neox.embed_in.weight"] = (VOCAB, w)
        out["embed_out.weight"] = (VOCAB, w)
        for i in range(LAYERS):
            p = f"gpt_neox.layers.{i}."
            for n in ("input_layernorm", "post_attention_layernorm"):
                out[p + n + ".weight"] = (w,)
                out[p + n + ".bias"] = (w,)
            for n, (a, b) in {
                "attention.query_key_value": (3 * w, w),
                "attention.dense": (w, w),
                "mlp.dense_h_to_4h": (inner, w),
                "mlp.dense_4h_to_h": (w, inner),
            }.items():
                out[p + n + ".weight"] = (a, b)
                out[p + n + ".bias"] = (a,)
        out["gpt_neox.final_layer_norm.weight"] = (w,)
        out["gpt_neox.final_layer_norm.bias"] = (w,)
    return dict(sorted(out.items()))


GAINS = (
    "ln_1.weight",
    "ln_2.weight",
    "ln_f.weight",
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
    "final_layer_norm.weight",
)
TABLES = ("wte.weight", "wpe.weight", "embed_in.weight", "embed_out.weight", "lm_head.weight")


def tensor(name, shape):
    """The values of one tensor, float32, row-major."""
    n = int(np.prod(shape))
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    u = np.uint64
    i = np.arange(1, n + 1, dtype=np.uint64)
    z = u(seed) + i * u(0x9E3779B97F4A7C15)  # wraps
    z = (z ^ (z >> u(30))) * u(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u(27))) * u(0x94D049BB133111EB)
    z = z ^ (z >> u(31))
    v = ((z >> u(40)).astype(np.int64) - (1 << 23)).astype(np.float32) * np.float32(2.0**-23)
    if name.endswith(GAINS):
        v = np.float32(1) + v / np.float32(8)
    elif name.endswith(".bias"):
        v = v / np.float32(16)
    elif name.endswith(TABLES):
        v = v / np.float32(2)
    else:
        v = v / np.float32(4)
    assert v.dtype == np.float32
    return v.reshape(shape)


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)))
        f.write(head)
        for t in tensors.values():
            f.write(t.astype("<f4").tobytes())


def check_value(tensors):
    h = hashlib.sha256()
    for name in sorted(tensors):
        h.update(tensors[name].astype("<f4").tobytes())
    return h.hexdigest()


def dump(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def train(corpus, fixtures):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    for kind in CONFIGS:
        neox = kind == "gpt_neox"
        tok = Tokenizer(models.BPE())
        if neox:
            tok.normalizer = normalizers.NFC()
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tok.post_processor = processors.ByteLevel(trim_offsets=neox)
        tok.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            # gpt2: one id is left free at the end for the special token
            vocab_size=VOCAB if neox else VOCAB - 1,
            special_tokens=[EOT] if neox else [],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tok.train_from_iterator([Path(corpus).read_text(encoding="utf-8")], trainer)
        data = json.loads(tok.to_str())
        if not neox:
            # as in GPT-2's own file: in the vocabulary and an added token
            data["model"]["vocab"][EOT] = VOCAB - 1
            data["added_tokens"] = [
                {
                    "id": VOCAB - 1,
                    "content": EOT,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
            ]
        assert len(data["model"]["vocab"]) == VOCAB
        assert data["model"]["vocab"][EOT] == (0 if neox else VOCAB - 1)
        out = Path(fixtures) / kind
        out.mkdir(parents=True, exist_ok=True)
        dump(out / "tokenizer.json", data)
        dump(
            out / "tokenizer_config.json",
            {
                "bos_token": EOT,
                "clean_up_tokenization_spaces": False,
                "eos_token": EOT,
                "model_max_length": CONTEXT,
                "tokenizer_class": "PreTrainedTokenizerFast",
                "unk_token": EOT,
            },
        )
        dump(out / "config.json", CONFIGS[kind])


def weights(fixtures, out):
    for kind in CONFIGS:
        dst = Path(out) / kind
        dst.mkdir(parents=True, exist_ok=True)
        for f in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(Path(fixtures) / kind / f, dst / f)
        tensors = {n: tensor(n, s) for n, s in shapes(kind).items()}
        write_safetensors(dst / "model.safetensors", tensors)
        print(kind, len(tensors), "tensors", sum(t.size for t in tensors.values()), "values", check_value(tensors))


def check(out):
    import tempfile

    import torch
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = [
        "ROMEO:\nO, she doth teach", "  two  spaces ", "caf\u00e9 cafe\u0301 \u00fc", "a\n\nb\t c\n", "\u2615\U0001f600 \u201cquoted\u201d",
        EOT + "x", "x" + EOT + " y", "", "123,456.7", "it's we'll I'd",
    ]
    for kind in CONFIGS:
        path = Path(out) / kind
        ours = load_file(path / "model.safetensors")
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        with tempfile.TemporaryDirectory() as tmp:
            model.save_pretrained(tmp)
            theirs = load_file(Path(tmp) / "model.safetensors")
        assert sorted(ours) == sorted(theirs), set(ours) ^ set(theirs)
        for n in ours:
            assert ours[n].shape == theirs[n].shape and (ours[n] == theirs[n]).all(), n
        print(kind, "names, shapes and values as save_pretrained writes them;", check_value(ours))
        tok, raw = AutoTokenizer.from_pretrained(path), Tokenizer.from_file(str(path / "tokenizer.json"))
        for t in texts:
            a, b = tok.encode(t), raw.encode(t).ids
            assert a == b, (t, a, b)
            if b:
                assert tok.decode(a, skip_special_tokens=True) == raw.decode(b)
        ids = tok.encode("First Citizen:\nBefore we proceed any further, hear me speak.")
        with torch.no_grad():
            lp = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
        total = sum(lp[i, t].item() for i, t in enumerate(ids[1:]))
        print(kind, type(tok).__name__, "ids", ids, "summed log-likelihood after the first id", total)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["tokenizers", "weights", "check"])
    p.add_argument("--corpus")
    p.add_argument("--fixtures", default=str(Path(__file__).parents[3] / "tests/fixtures/random_ckpt"))
    p.add_argument("--out")
    a = p.parse_args()
    if a.what == "tokenizers":
        train(a.corpus, a.fixtures)
    elif a.what == "weights":
        weights(a.fixtures, a.out)
    else:
        check(a.out)


if __name__ == "__main__":
    main()
