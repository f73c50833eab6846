"""Runs the Python that stands in docs/gradients.md, on a store and a gradient set of the example.

    python gradient_page.py PROGRAM

The pieces are cut out of the page itself. They read the paths that the page names, so the store and the set are made
there, in a folder that is removed. What they leave is compared with the bytes of the files, read here without
safetensors, and with gradients by torch.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/gradients.md"
SUITE, CHECKPOINT, DATA = (ROOT / path for path in ("suites/example.toml", "data/example/ckpts/step700", "data"))
TYPES = {"F16": numpy.float16, "F32": numpy.float32, "I32": numpy.int32, "I64": numpy.int64}


def pieces():
    """The page's pieces of Python, in order."""
    found = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(found) == 2, f"expected a piece for stores and one for sets, found {len(found)}"
    return found


def run(piece, **names):
    """What a piece leaves."""
    exec(compile(piece, str(PAGE), "exec"), names)
    return names


def raw(path):
    """Header, and arrays by name, of a safetensors file."""
    blob = path.read_bytes()
    end = 8 + int.from_bytes(blob[:8], "little")
    header, arrays = json.loads(blob[8:end]), {}
    for name, place in header.items():
        if name == "__metadata__":
            continue
        start, stop = (end + offset for offset in place["data_offsets"])
        if place["dtype"] == "BF16":
            wide = numpy.frombuffer(blob[start:stop], numpy.uint16).astype(numpy.uint32) << 16
            values = wide.view(numpy.float32)
        else:
            values = numpy.frombuffer(blob[start:stop], TYPES[place["dtype"]])
        arrays[name] = values.reshape(place["shape"])
    return header["__metadata__"], arrays


def documents():
    """Token ids of the documents of the task `told`, one a line, behind the token that ends a text."""
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    lines = (ROOT / "suites/example/told.txt").read_text(encoding="utf-8").splitlines()
    return [[0, *tokenizer.encode(line).ids] for line in lines]


def veval(program, verb, *arguments):
    command = [program, "grad", verb, SUITE, CHECKPOINT, "--data-dir", DATA, "--task", "told", "--quiet", *arguments]
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def check_store(program, piece, texts):
    folder = Path("grads/gsm8k")
    veval(program, "collect", "--out", folder)
    left = run(piece)
    rows, part, agree, index = (left[name] for name in ("rows", "part", "agree", "index"))
    _, arrays = raw(folder / "grads-00000.safetensors")
    assert rows.shape == (len(texts), index["dim"]) == (index["rows"], index["modules"][-1]["end"])
    assert rows.dtype == torch.float32 and numpy.array_equal(rows.numpy(), arrays["grads"].astype(numpy.float32))
    module = next(m for m in index["modules"] if m["name"] == "layers.0.mlp.down_proj")
    assert numpy.array_equal(part.numpy(), rows.numpy()[:, module["start"] : module["end"]])
    assert part.shape == (len(texts), 16 * 16) and module["shape"] == [16, 16]
    wide = rows.double().numpy()
    unit = wide / numpy.linalg.norm(wide, axis=1, keepdims=True)
    assert agree.shape == (len(texts),) * 2 and numpy.abs(agree.numpy() - unit @ unit.T).max() < 1e-5
    # The columns beside the rows.
    assert numpy.allclose(arrays["norm"], numpy.linalg.norm(wide, axis=1), rtol=2e-3)
    assert numpy.array_equal(arrays["n_tokens"], [len(text) - 1 for text in texts])
    print(f"store: {tuple(rows.shape)}, the part of {module['name']} {tuple(part.shape)}; rows are the shard's, "
          f"{int((agree > 0.5).sum() - len(texts)) // 2} pairs of documents with a cosine above 0.5")


def check_set(program, piece, texts):
    said = veval(program, "set", "--out", "gsm8k.safetensors")
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32, attn_implementation="eager")
    for text in texts:
        ids = torch.tensor([text])
        logits = model(ids, use_cache=False).logits[0, :-1]
        (torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum") / len(texts)).backward()
    left = run(piece, model=model)
    header, arrays = raw(Path("gsm8k.safetensors"))
    target = left["target"]
    parameters = dict(model.named_parameters())
    assert set(target) == set(parameters) == set(arrays), set(target) ^ set(parameters)
    worst = 0.0
    for name, parameter in parameters.items():
        assert target[name].shape == parameter.shape, name
        assert target[name].dtype == torch.bfloat16 and numpy.array_equal(target[name].float().numpy(), arrays[name])
        # Rounded to bfloat16: half of 2^-7 of a value at most.
        off = (target[name].float() - parameter.grad).abs() - parameter.grad.abs() * 2**-8
        worst = max(worst, (off.max() / parameter.grad.abs().max()).item())
    assert worst < 1e-4, worst
    assert left["header"] == header and left["cosine"] == float(header["split_half_cosine"])
    assert int(header["items"]) == len(texts)
    assert said.strip().endswith(f"cosine of two halves {left['cosine']:.3f}"), said
    # Torch's gradient is the target's: together they are its length squared.
    squared = sum(float((values.astype(numpy.float64) ** 2).sum()) for values in arrays.values())
    assert abs(left["agreement"] / squared - 1) < 1e-3, (left["agreement"], squared)
    print(f"set: {len(target)} parameters, torch's mean gradient of {len(texts)} documents within {max(worst, 0):.0e} "
          f"beyond bfloat16; cosine of halves {left['cosine']:.4f}, agreement {left['agreement']:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    program = parser.parse_args().program.resolve()
    of_stores, of_sets = pieces()
    texts = documents()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("grads").mkdir()
        check_store(program, of_stores, texts)
        check_set(program, of_sets, texts)
        os.chdir(ROOT)
