"""What `speed.py` starts in processes of their own, with the peers' Python: makes checkpoints, times the peers.

    speed_peers.py FUNCTION ARGUMENTS      # the name of a function in CHILDREN, its arguments as JSON

Results go to standard output, one JSON object a line, in the form that `speed.py` describes.
"""

import ctypes
import json
import math
import os
import resource
import shutil
import sys
import time
from pathlib import Path

# Name: class of the config, type of the weights, shape. All have the GPT-NeoX tokenizer.
MODELS = {
    "smollm2-135m": ("LlamaConfig", "float32", dict(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        max_position_embeddings=8192, tie_word_embeddings=True)),
    "pythia-160m": ("GPTNeoXConfig", "float32", dict(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, rotary_pct=0.25,
        max_position_embeddings=2048, use_parallel_residual=True, tie_word_embeddings=False)),
    "tinyllama-1.1b": ("LlamaConfig", "bfloat16", dict(
        hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4,
        max_position_embeddings=4096, tie_word_embeddings=False)),
}
COMMON = dict(vocab_size=50304, bos_token_id=0, eos_token_id=0)


# ---------------------------------------------------------------- checkpoints


def make_checkpoint(name, folder, tokenizer):
    import torch
    import transformers

    kind, dtype, shape = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**COMMON, **shape)
    transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).save_pretrained(folder)
    shutil.copy(tokenizer, Path(folder) / "tokenizer.json")
    end = "<|endoftext|>"
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": end, "eos_token": end}
    (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings))


def make_gguf(folder, file):
    """A checkpoint as float32 GGUF without a vocabulary: only token ids are fed."""
    import gguf
    from safetensors.torch import load_file

    c = json.loads((Path(folder) / "config.json").read_text())
    arch = {"llama": gguf.MODEL_ARCH.LLAMA, "gpt_neox": gguf.MODEL_ARCH.GPTNEOX}[c["model_type"]]
    layers, heads = c["num_hidden_layers"], c["num_attention_heads"]
    width = c["hidden_size"] // heads
    w = gguf.GGUFWriter(file + ".part", gguf.MODEL_ARCH_NAMES[arch])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(layers)
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(heads)
    if arch == gguf.MODEL_ARCH.LLAMA:
        w.add_head_count_kv(c["num_key_value_heads"])
        w.add_rope_dimension_count(width)
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
        layout = {"q_proj": lambda t: pairs(t, heads), "k_proj": lambda t: pairs(t, c["num_key_value_heads"])}
    else:
        w.add_rope_dimension_count(int(width * c["rope_parameters"]["partial_rotary_factor"]))
        w.add_layer_norm_eps(c["layer_norm_eps"])
        w.add_parallel_residual(c["use_parallel_residual"])
        layout = {"query_key_value": lambda t: by_kind(t, heads)}
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(arch, layers)
    for name, tensor in load_file(Path(folder) / "model.safetensors").items():
        rows = layout.get(name.split(".")[-2], lambda t: t)(tensor.float().numpy()).copy()
        w.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), rows)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.rename(file + ".part", file)


def pairs(tensor, heads):
    """Rotary pairs side by side, as Llama has them in GGUF."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def by_kind(tensor, heads):
    """Query, key and value of each head one after the other become all queries, all keys, all values."""
    return tensor.reshape(heads, 3, -1, *tensor.shape[1:]).swapaxes(0, 1).reshape(tensor.shape)


# ---------------------------------------------------------------- the peers, each in a process of its own


def peer_lm_eval(model, threads, batch, tasks, tasks_dir, shots, limit):
    start = time.perf_counter()
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=batch)
    loaded = time.perf_counter()
    manager = TaskManager(include_path=tasks_dir, include_defaults=False)
    result = simple_evaluate(lm, tasks=tasks, num_fewshot=shots, limit=limit, bootstrap_iters=0, task_manager=manager)
    done = time.perf_counter()
    answers = {}
    for task, samples in result["samples"].items():
        by_item = {s["doc_id"]: [r[0] for r in s["resps"]] for s in samples}  # one sample for each filter
        answers[task] = [r if isinstance(r, str) else r[0] for item in sorted(by_item) for r in by_item[item]]
    scores = {t: {k: v for k, v in m.items() if isinstance(v, float)} for t, m in result["results"].items()}
    report = {"imports": imported - start, "load": loaded - imported, "evaluate": done - loaded}
    print(json.dumps(report | {"scores": scores, "answers": answers}))


def token(position, sequence):
    return (7919 * position + 101 * sequence + 13) % 50000


class Transformers:
    def __init__(self, model, threads, **_):
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch, self.model = torch, AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.cut(0)

    def feed(self, positions, sequences, logits):
        ids = self.torch.tensor([[token(p, s) for p in positions] for s in range(sequences)])
        out = self.model(ids, past_key_values=self.cache, use_cache=True, logits_to_keep=int(logits == "last"))
        self.rows, self.cache = out.logits, out.past_key_values

    def logits(self):
        return self.rows.flatten(0, 1).numpy()

    def cut(self, length):
        if length == 0:
            self.cache = None
        elif self.cache.get_seq_length() > length:
            self.cache.crop(length - self.cache.get_seq_length())


class LlamaCpp:
    def __init__(self, gguf, threads, length, sequences, flash, **_):
        import llama_cpp as api

        self.api, self.length, self.sequences = api, length, sequences
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(gguf.encode(), api.llama_model_default_params())
        p = api.llama_context_default_params()
        p.n_seq_max, p.n_ctx = sequences, sequences * math.ceil(length / 256) * 256
        p.n_batch = p.n_ubatch = sequences * length
        p.n_threads = p.n_threads_batch = threads
        p.flash_attn_type = int(flash)
        self.context = api.llama_init_from_model(self.model, p)
        self.batch = api.llama_batch_init(p.n_batch, 0, 1)

    def feed(self, positions, sequences, logits):
        b, i = self.batch, 0
        for s in range(sequences):
            for p in positions:
                b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0] = token(p, s), p, 1, s
                b.logits[i] = logits == "all" or p == positions[-1]
                i += 1
        b.n_tokens, self.outputs = i, i if logits == "all" else sequences
        if self.api.llama_decode(self.context, b) != 0:
            raise RuntimeError("llama_decode failed")
        self.api.llama_synchronize(self.context)

    def logits(self):
        import numpy

        width = self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model))
        return numpy.ctypeslib.as_array(self.api.llama_get_logits(self.context), (self.outputs, width))

    def cut(self, length):
        self.api.llama_memory_seq_rm(self.api.llama_get_memory(self.context), -1, length, -1)


def run_readings(step, count, reset=lambda: None):
    """Seconds of `count` calls after a warm-up."""
    seconds = []
    for _ in range(count + 1):
        reset()
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def log_prob(logits, targets):
    """Sum of log p(target) over the first rows of logits."""
    import numpy

    total = 0.0
    for row, target in zip(logits, targets):
        row = row.astype(numpy.float64)
        total += float(row[target] - row.max() - numpy.log(numpy.exp(row - row.max()).sum()))
    return total


def peer_engine(engine, what, **a):
    flavours = [("llama.cpp", LlamaCpp, False), ("llama.cpp flash", LlamaCpp, True)]
    if engine == "transformers":
        flavours = [("transformers", Transformers, None)]
    for name, kind, flash in flavours:
        def say(seconds, check, **case):
            print(json.dumps({"engine": name, "what": what, **case, "seconds": seconds, "check": check}), flush=True)

        if what == "reverse":
            for case in gradients(**a):
                say(**case)
        elif what == "prefill":
            model = kind(**a, length=max(a["tokens"]), sequences=1, flash=flash)
            for tokens, logits in [(t, l) for t in a["tokens"] for l in ("all", "last")]:
                prompt = range(tokens)
                seconds = run_readings(lambda: model.feed(prompt, 1, logits), a["readings"], lambda: model.cut(0))
                check = log_prob(model.logits(), [token(p + 1, 0) for p in prompt[:-1]]) if logits == "all" else None
                say(seconds, check, tokens=tokens, logits=logits)
        else:
            sequences, context, end = a["sequences"], a["context"], a["context"] + a["new"]
            model = kind(**a, length=end, flash=flash)
            model.feed(range(context), sequences, "last")
            steps = lambda: [model.feed([p], sequences, "last") for p in range(context, end)]
            seconds = run_readings(steps, a["readings"], lambda: model.cut(context))
            check = log_prob(model.logits(), [token(end, s) for s in range(sequences)])
            say(seconds, check, sequences=sequences, context=context, new=a["new"])


def gradients(model, threads, tokens, readings, **_):
    """Forward and reverse with every token but the first as a target: gradients of all weights, and of the inputs."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    for count in tokens:
        ids = torch.tensor([[token(p, 0) for p in range(count)]])
        for of in ("weights", "inputs"):
            model.requires_grad_(of == "weights")
            loss = None

            def step():
                nonlocal loss
                model.zero_grad(set_to_none=True)
                embedded = model.get_input_embeddings()(ids[:, :-1])
                if of == "inputs":
                    embedded = embedded.detach().requires_grad_()
                logits = model(inputs_embeds=embedded, use_cache=False).logits[0]
                loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
                loss.backward()

            seconds = run_readings(step, readings)
            yield {"seconds": seconds, "check": loss.item() if of == "weights" else None, "tokens": count, "of": of}


def matmul_calls(m, k, n, copies, flop):
    return max(1, min(4 * copies, math.ceil(flop / (2 * m * k * n))))


def peer_mkl(threads, rows, shapes, rotate_mb, flop, **a):
    import numpy

    mkl = ctypes.CDLL(str(next(Path(sys.prefix, "lib").glob("libmkl_rt.so*"))), mode=ctypes.RTLD_GLOBAL)
    mkl.MKL_Set_Num_Threads(threads)
    mkl.cblas_sgemm_pack_get_size.restype = ctypes.c_size_t
    row_major, plain, transposed, packed, is_b = 101, 111, 112, 151, 162
    one, zero, pointer = ctypes.c_float(1), ctypes.c_float(0), ctypes.c_void_p
    random = numpy.random.default_rng(0)
    for (k, n), m in [(shape, m) for shape in shapes for m in rows]:
        copies = max(2, math.ceil(rotate_mb * 1e6 / (4 * k * n)))
        calls = matmul_calls(m, k, n, copies, flop)
        x, w = (random.standard_normal((height, k), dtype=numpy.float32) for height in (m, n))
        y = numpy.zeros((m, n), numpy.float32)
        stride = math.ceil(mkl.cblas_sgemm_pack_get_size(is_b, m, n, k) / 4096) * 4096
        store = numpy.zeros(copies * stride + 4096, numpy.uint8)
        base = math.ceil(store.ctypes.data / 4096) * 4096
        places = [pointer(base + stride * i) for i in range(copies)]
        for place in places:
            mkl.cblas_sgemm_pack(row_major, is_b, transposed, m, n, k, one, pointer(w.ctypes.data), k, place)
        at_x, at_y, done = pointer(x.ctypes.data), pointer(y.ctypes.data), 0

        def products():
            nonlocal done
            for done in range(done + 1, done + 1 + calls):
                place = places[done % copies]
                mkl.cblas_sgemm_compute(row_major, plain, packed, m, n, k, at_x, k, place, n, zero, at_y, n)

        seconds = run_readings(products, a["readings"])
        assert numpy.allclose(y[:, :64], x @ w[:64].T, rtol=1e-3, atol=1e-3)
        print(json.dumps({"engine": "MKL packed", "what": "matmul", "m": m, "k": k, "n": n, "calls": calls,
                          "seconds": seconds}), flush=True)


CHILDREN = {f.__name__: f for f in (make_checkpoint, make_gguf, peer_lm_eval, peer_engine, peer_mkl)}


def main():
    """Allocations beyond the free memory fail here, and trouble no other process."""
    free = next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    resource.setrlimit(resource.RLIMIT_DATA, (int(free * 0.9),) * 2)
    CHILDREN[sys.argv[1]](**json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
