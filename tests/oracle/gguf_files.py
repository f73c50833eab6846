"""Makes small GGUF files with gguf-py and llama.cpp, and records what llama.cpp says of them.

    gguf_files.py [--out DIR]

Writes, with the stories260K checkpoint (`stories-*`) and a random one of hidden size 256 (`tiny256*`):

    *-f32.gguf               as convert_hf_to_gguf.py writes Llama with a SentencePiece vocabulary
    *-{q8_0,...}.gguf        quantised by llama.cpp
    blocks.safetensors       for each type: the bytes of two blocks (`Q4_K.bytes`) and their f32 values (`Q4_K.values`)
    logits.safetensors       [20, 512] logits of `expected.json`'s input by llama.cpp, of a F32 file with the dequantised
                             weights: with the file itself it would quantise the activations too
    bpe-*.gguf               byte-level BPE vocabularies without tensors, one for each common `tokenizer.ggml.pre`
    expected.json            token ids, greedy text; for each BPE vocabulary the ids by llama.cpp and by tokenizers

Key and value cache are f32, no flash attention, one thread.
"""


import argparse
import ctypes
import hashlib
import json
import shutil
import struct
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[2] / "shared" / "data"
STORIES = DATA / "tiny-lm-stories260k-hf"
SCORES = DATA / "tiny-lm-stories260k" / "tok512.bin"
TEXTS = ["Once upon a time", "Hello, world! 12.5", "  two  spaces\nand\ttabs ", "caf\u00e9 \U0001f642 na\u00efve", "<s>Lily</s> saw"]
PROMPT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
# llama.cpp's numbers of file types.
FTYPES = {"f16": 1, "q8_0": 7, "q4_k_s": 14, "q4_k_m": 15, "q6_k": 18}
FILES = {"stories": ["f16", "q8_0", "q4_k_m"], "tiny256": ["q8_0", "q4_k_s", "q4_k_m", "q6_k"]}
KEPT = ["stories-f32", "stories-q8_0", "stories-q4_k_m", "tiny256-q4_k_s"]


# ---------------------------------------------------------------- checkpoints


def make_tiny(folder):
    config = json.loads((STORIES / "config.json").read_text())
    config |= dict(hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=4,
                   num_key_value_heads=2, head_dim=64, tie_word_embeddings=False)
    random = np.random.default_rng(0)

    def matrix(rows, columns):
        return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def norm():
        return (1 + 0.1 * random.standard_normal(256)).astype(np.float32)

    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": matrix(512, 256) * 16,
        layer + "input_layernorm.weight": norm(),
        layer + "self_attn.q_proj.weight": matrix(256, 256) * 2,
        layer + "self_attn.k_proj.weight": matrix(128, 256) * 2,
        layer + "self_attn.v_proj.weight": matrix(128, 256),
        layer + "self_attn.o_proj.weight": matrix(256, 256),
        layer + "post_attention_layernorm.weight": norm(),
        layer + "mlp.gate_proj.weight": matrix(512, 256),
        layer + "mlp.up_proj.weight": matrix(512, 256),
        layer + "mlp.down_proj.weight": matrix(256, 512),
        "model.norm.weight": norm(),
        "lm_head.weight": matrix(512, 256) * 2,
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    shutil.copyfile(STORIES / "tokenizer.json", folder / "tokenizer.json")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def sentencepiece_vocabulary(folder):
    """Pieces, scores and types, as `_create_vocab_sentencepiece` reads them from tokenizer.model."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    tokens = [t for t, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    data, at, scores = SCORES.read_bytes(), 4, []
    for token in tokens:
        score, length = struct.unpack_from("<fi", data, at)
        piece = data[at + 8:at + 8 + length].decode()
        assert piece.strip("\n") == token.replace("\u2581", " ") or token.startswith(("<unk", "<0x")), (piece, token)
        scores.append(score)
        at += 8 + length
    types = [gguf.TokenType.NORMAL] * len(tokens)
    for i, token in enumerate(tokens):
        if token.startswith("<0x"):
            types[i] = gguf.TokenType.BYTE
    types[0], types[1], types[2] = gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL
    return tokens, scores, types


def permute(tensor, heads):
    """Rotary pairs lie side by side in GGUF's Llama: LlamaModel.permute."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def unpermute(tensor, heads):
    return tensor.reshape(heads, -1, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def gguf_tensors(folder):
    c = json.loads((folder / "config.json").read_text())
    heads = {"q_proj": c["num_attention_heads"], "k_proj": c["num_key_value_heads"]}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c["num_hidden_layers"])
    out = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if count := heads.get(name.split(".")[-2]):
            tensor = permute(tensor, count)
        out[names.get_name(name, try_suffixes=(".weight",))] = np.ascontiguousarray(tensor)
    return out


def write_gguf(folder, tensors, path):
    c = json.loads((folder / "config.json").read_text())
    w = gguf.GGUFWriter(path, "llama")
    w.add_type(gguf.GGUFType.MODEL)
    w.add_name(folder.name)
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_key_length(c["head_dim"])
    w.add_value_length(c["head_dim"])
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_vocab_size(c["vocab_size"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokens, scores, types = sentencepiece_vocabulary(folder)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores(scores)
    w.add_token_types(types)
    gguf.SpecialVocab(folder, n_vocab=len(tokens)).add_to_gguf(w, quiet=True)
    for name, tensor in tensors.items():
        w.add_tensor(name, tensor)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def quantise(source, path, ftype):
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = ftype, 1
    if llama_cpp.llama_model_quantize(str(source).encode(), str(path).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError(f"llama.cpp could not make {path}")


def dequantised(path):
    """Name: (type, first bytes, f32 values of the file's shape)."""
    out = {}
    for t in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        out[t.name] = (t.tensor_type, np.array(t.data), values.reshape(t.shape[::-1]))
    return out


# ---------------------------------------------------------------- blocks


def library():
    folder = Path(gguf.__file__).parent.parent / "llama_cpp" / "lib"
    return ctypes.CDLL(str(folder / "libggml-base.so"))


def row_function(lib, type):
    name = {Type.F16: "ggml_fp16_to_fp32_row", Type.BF16: "ggml_bf16_to_fp32_row"}
    return getattr(lib, name.get(type, f"dequantize_row_{type.name.lower().replace('_k', '_K')}"))


def c_values(lib, type, data, count):
    """The values by ggml's own C function."""
    if type == Type.F32:
        return data.view(np.float32)
    out = np.zeros(count, np.float32)
    row_function(lib, type)(ctypes.c_void_p(data.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(count))
    return out


def c_blocks(lib, type, values):
    """Blocks by llama.cpp's quantiser without an importance matrix."""
    length, size = gguf.GGML_QUANT_SIZES[type]
    out = np.zeros(len(values) // length * size, np.uint8)
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk(int(type), ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(out.ctypes.data),
                            ctypes.c_int64(0), ctypes.c_int64(1), ctypes.c_int64(len(values)), None)
    return out


def record_blocks(out, made):
    lib, found = library(), {}
    for path in made:
        for type, data, _ in dequantised(path).values():
            length, size = gguf.GGML_QUANT_SIZES[type]
            if type.name not in found and type != Type.F32:
                found[type.name] = (data.reshape(-1).view(np.uint8)[:2 * size].copy(), None)
    row = np.ascontiguousarray(load_file(out / "tiny256" / "model.safetensors")["lm_head.weight"].reshape(-1)[:512])
    for name in "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split():
        length, size = gguf.GGML_QUANT_SIZES[Type[name]]
        if name == "Q8_0" or name not in found:
            source = row[:2 * length].copy()
            found[name] = (c_blocks(lib, Type[name], source), source)
    tensors = {}
    for name, (data, source) in sorted(found.items()):
        count = 2 * gguf.GGML_QUANT_SIZES[Type[name]][0]
        values = gguf.quants.dequantize(data, Type[name]).astype(np.float32)
        assert values.tobytes() == c_values(lib, Type[name], data, count).tobytes(), name
        tensors |= {f"{name}.bytes": data, f"{name}.values": values}
        if source is not None:
            tensors[f"{name}.source"] = source
    save_file(tensors, out / "blocks.safetensors")


# ---------------------------------------------------------------- BPE vocabularies

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
# tokenizer.ggml.pre: the expressions that split a text, each within the pieces of those before it; `ignore_merges`.
PRES = {
    "gpt-2": ([GPT2], False),
    "olmo": ([GPT2], False),
    "smollm": ([r"\p{N}", GPT2], False),
    "llama-bpe": ([LLAMA3], True),
    "dbrx": ([LLAMA3], False),
    "qwen2": ([LLAMA3.replace("{1,3}", "")], False),
    "default": ([r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], False),
}
BPE_TEXTS = [
    "Once upon a time, there was a king.", "  two  spaces\nand\ttabs \n\n  end  ", "I'm he'LL they'Re it's 'tis DON'T",
    "In 2024 there were 1234567 cats, 3.14159 dogs", "caf\u00e9 na\u00efve \u6211\u60f3\u5728\u5de5\u4f5c \U0001f642!",
    "a zebra<|endoftext|> <mark> x  <|endoftext|>y", "x=a+b; $5 <= ~^|` \u2014 \u201cquote\u201d\r\nnext", "\u0663\u0664\u00b2\u2167 end.\nnext.\n\n 1234 56123 \n",
]


def make_bpe(out):
    """One vocabulary of 600 pieces; ids by llama.cpp and by tokenizers, for each way to split."""
    import tokenizers
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

    base = tokenizers.Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    corpus = (DATA / "corpus-tinyshakespeare" / "input.txt").read_text()[:300_000].splitlines(keepends=True)
    trainer = trainers.BpeTrainer(vocab_size=597, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    base.train_from_iterator(corpus + [" 1234 in 100 000 20 30 \n\n  \n"] * 50, trainer)
    trained = json.loads(base.to_str())["model"]
    vocabulary, merges = trained["vocab"], [tuple(m) for m in trained["merges"]]
    # Pieces across the borders that some of the expressions set and others do not.
    for merge in "1 2|12 3|123 4|3 4|5 6|' L|'L L|= a|+ b|. \u010a|\u010a \u010a|.\u010a \u010a|\u0120 \u010a".split("|"):
        if tuple(merge.split()) not in merges:
            merges.append(tuple(merge.split()))
            vocabulary.setdefault("".join(merges[-1]), len(vocabulary))
    # A piece that no merge makes: only a vocabulary whose merges are ignored for whole words finds it.
    vocabulary["\u0120zebra"] = len(vocabulary)
    added = [("<|endoftext|>", True), ("<mark>", False)]
    pieces = [p for p, _ in sorted(vocabulary.items(), key=lambda item: item[1])] + [text for text, _ in added]
    kinds = [gguf.TokenType.NORMAL] * len(vocabulary) + [
        gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED for _, special in added]
    facts = {}
    for pre, (expressions, ignore_merges) in PRES.items():
        path = out / f"bpe-{pre}.gguf"
        w = gguf.GGUFWriter(path, "llama")
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(pre)
        w.add_token_list(pieces)
        w.add_token_types(kinds)
        w.add_token_merges([" ".join(m) for m in merges])
        w.add_bos_token_id(len(vocabulary))
        w.add_eos_token_id(len(vocabulary))
        w.add_add_bos_token(False)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        own = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=ignore_merges))
        splits = [pre_tokenizers.Split(Regex(e), "isolated") for e in expressions]
        own.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(False, use_regex=False)])
        own.decoder = decoders.ByteLevel()
        own.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, special in added if special])
        own.add_tokens([AddedToken(t, normalized=False) for t, special in added if not special])
        theirs = bpe_ids(path)
        mine = [own.encode(t, add_special_tokens=False).ids for t in BPE_TEXTS]
        facts[pre] = {"file": path.name, "bytes": path.stat().st_size, "splits": expressions,
                      "ignore_merges": ignore_merges, "tokens_with_special": theirs, "tokens_hf": mine}
        print("bpe", pre, path.stat().st_size, "bytes; same ids as tokenizers:", [a == b for a, b in zip(theirs, mine)])
    return facts


def bpe_ids(path):
    import llama_cpp

    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [model.tokenize(t.encode(), add_bos=True, special=True) for t in BPE_TEXTS]


# ---------------------------------------------------------------- llama.cpp's answers


class Model:
    def __init__(self, path):
        import llama_cpp

        self.model = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, n_threads=1, n_threads_batch=1, logits_all=True,
                                     type_k=0, type_v=0, flash_attn=False, verbose=False)

    def ids(self, text, special=False):
        return self.model.tokenize(text.encode(), add_bos=True, special=special)

    def logits(self, ids):
        self.model.reset()
        self.model.eval(ids)
        return np.array(self.model.scores[:len(ids)], dtype=np.float32)

    def greedy(self, text, count):
        ids, made = self.ids(text), []
        self.model.reset()
        self.model.eval(ids)
        for _ in range(count):
            made.append(int(np.argmax(self.model.scores[self.model.n_tokens - 1])))
            self.model.eval(made[-1:])
        return made, self.model.detokenize(made, prev_tokens=ids).decode(errors="replace")


def transformers_logits(folder, tensors, ids):
    """Of the weights of a GGUF file, put back into Hugging Face's layout; float64 activations."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    state = {}
    for name in model.state_dict():
        stored = names.get_name(name, try_suffixes=(".weight",))
        if stored not in tensors:
            stored = "token_embd.weight"  # tied
        count = heads.get(name.split(".")[-2])
        tensor = unpermute(tensors[stored], count) if count else tensors[stored]
        state[name] = torch.tensor(tensor.copy()).double()
    model.load_state_dict(state)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def hf_ids(folder, text):
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids


def record(out, name, folder, scratch):
    path = out / f"{name}.gguf"
    model, stored = Model(path), dequantised(path)
    ids = model.ids(PROMPT)[:20]
    own = model.logits(ids)
    plain = {key: np.ascontiguousarray(values) for key, (_, _, values) in stored.items()}
    write_gguf(folder, plain, scratch / "plain.gguf")
    exact = Model(scratch / "plain.gguf").logits(ids)
    reference = transformers_logits(folder, plain, ids)
    made, text = model.greedy("Once upon a time", 20)
    types = {}
    for type, _, _ in stored.values():
        types[type.name] = types.get(type.name, 0) + 1
    facts = {
        "file": path.name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "checkpoint": folder.name, "tensors_of_type": types, "input": ids, "greedy_prompt": "Once upon a time",
        "greedy": made, "greedy_text": text, "tokens": [model.ids(t) for t in TEXTS],
        "tokens_with_special": [model.ids(t, True) for t in TEXTS], "tokens_hf": [hf_ids(folder, t) for t in TEXTS],
        "greatest_difference": {
            "llama_cpp - dequantised": float(abs(own - exact).max()),
            "dequantised - transformers float64": float(abs(exact - reference).max()),
        },
    }
    return facts, {f"{name}.llama_cpp": own, f"{name}.dequantised": exact}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE.parent / "fixtures" / "gguf")
    out = parser.parse_args().out
    out.mkdir(exist_ok=True, parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        make_tiny(scratch / "tiny256")
        folders, made = {"stories": STORIES, "tiny256": scratch / "tiny256"}, []
        for name, kinds in FILES.items():
            source = scratch / f"{name}-f32.gguf"
            write_gguf(folders[name], gguf_tensors(folders[name]), source)
            made.append(source)
            for kind in kinds:
                made.append(scratch / f"{name}-{kind}.gguf")
                quantise(source, made[-1], FTYPES[kind])
        record_blocks(scratch, made)
        shutil.copyfile(scratch / "blocks.safetensors", out / "blocks.safetensors")
        models, logits = {}, {}
        for name in KEPT:
            facts, rows = record(scratch, name, folders[name.split("-")[0]], scratch)
            models[name], logits[name] = facts, rows[f"{name}.dequantised"]
            shutil.copyfile(scratch / f"{name}.gguf", out / f"{name}.gguf")
            print(name, facts["bytes"], facts["tensors_of_type"], facts["greatest_difference"], facts["greedy_text"])
    save_file(logits, out / "logits.safetensors")
    expected = {"prompt": PROMPT, "texts": TEXTS, "models": models, "bpe_texts": BPE_TEXTS, "bpe": make_bpe(out)}
    (out / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
