"""Projected gradients: Bergson, safetensors, numpy and TRAK on our stores, and we on theirs.

    python grad_store.py record [--out DIR]       an index by Bergson, a store by safetensors,
                                                  and what Bergson finds in them
    python grad_store.py check PROGRAM STORE      exports STORE with the program, loads it with
                                                  everybody's own readers, compares what Bergson's
                                                  Attributor finds with `veval grad query`

Bergson's 0.x and 1.x project by other signs than its 2.x (`veval grad collect --signs bergson1`,
`bergson2`). `check` runs with each (0.26.3, 1.2.0 and 2.5.1 were tried). The `Attributor` of 2.x must
refuse rows of the first; then they are compared all the same, because no query is projected here.
0.x and 1.x cannot open the file of the second. `record` wants 2.5.1.
"""

import argparse
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

import ml_dtypes
import numpy
import torch
from bergson import gradients as bergsons
from bergson.data import create_index, load_gradients, load_module_gradients
from bergson.gradients import GradientProcessor
from bergson.query.attributor import Attributor
from safetensors import safe_open
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures" / "grad_store"
DIM = 2
MODULES = {"layers.0.mlp.up_proj": DIM * DIM, "layers.1.mlp.down_proj": DIM * DIM, "layers.1.attn": DIM * DIM}
ROWS = 7
TYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def found(folder, queries, unit_norm, k):
    """Rows and scores that Bergson finds for queries of shape [n, dim]."""
    attributor = Attributor(folder, unit_norm=unit_norm)
    parts, start = {}, 0
    for name, grads in attributor.grads.items():
        parts[name] = queries[:, start : start + grads.shape[1]].clone()
        start += grads.shape[1]
    scores, rows = attributor.search(parts, k)
    return [
        [{"row": int(row), "score": float(score)} for row, score in zip(*pair)]
        for pair in zip(rows, scores)
    ]


# ---------------------------------------------------------------- record


def record(out):
    width = sum(MODULES.values())
    expected = {}
    for dtype, torch_type in TYPES.items():
        generator = torch.Generator().manual_seed(sum(dtype.encode()))
        values = (torch.randn(ROWS, width, generator=generator) * 0.3).to(torch_type)
        queries = torch.randn(2, width, generator=generator)

        index = out / f"bergson_{dtype}"
        numpy_type = ml_dtypes.bfloat16 if dtype == "bf16" else numpy.dtype(str(torch_type).split(".")[1])
        grads = create_index(index, ROWS, MODULES, numpy_type)
        grads[:] = values.float().numpy().astype(numpy_type)
        grads.flush()
        GradientProcessor(projection_dim=DIM, projection_scale="jl").save(index)
        expected[dtype] = {
            "values": values.float().tolist(),
            "queries": queries.tolist(),
            "dot": found(index, queries, False, ROWS),
            "cosine": found(index, queries, True, ROWS),
        }
        # What it finds is recorded; of the index, what says something.
        for path in index.glob("*.pth"):
            path.unlink()
        write_store(out / f"store_{dtype}", dtype, values)
    (out / "expected.json").write_text(json.dumps(expected) + "\n")


def write_store(folder, dtype, values):
    """A store of ours whose shards safetensors itself wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    shards, start = [], 0
    for number, rows in enumerate([4, 3]):
        path = folder / f"grads-{number:05}.safetensors"
        ids = torch.arange(start, start + rows)
        own = values[start : start + rows].contiguous()
        tensors = {
            "grads": own,
            "row_id": ids * 10,
            "loss": ids.float() + 0.5,
            "norm": own.float().norm(dim=1),
            "n_tokens": ids.int() + 1,
        }
        save_file(tensors, path, {"format": "pt"})
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"file": path.name, "row_start": start, "rows": rows, "sha256": digest})
        start += rows
    modules, end = [], 0
    for name, width in MODULES.items():
        modules.append({"name": name, "start": end, "end": end + width, "shape": [DIM, DIM], "params": 1200})
        end += width
    index = {
        "format": "veval.grads/1",
        "rows": start,
        "dim": end,
        "dtype": dtype,
        "modules": modules,
        "projection": {"kind": "rademacher", "dim": DIM, "scale": "jl", "signs": "philox"},
        "normalizer": {"kind": "none"},
        "loss_reduction": "sum",
        "sign": "gradient_of_loss",
        "model": "blake3:aa",
        "tokenizer": "blake3:bb",
        "numerics": "cpu/3",
        "per_token": False,
        "shards": shards,
        "complete": True,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=2) + "\n")


# ---------------------------------------------------------------- check


def run(program, *arguments):
    done = subprocess.run([program, "grad", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and bool((a.view(torch.uint8) == b.view(torch.uint8)).all())


def check(program, store):
    index = json.loads((store / "index.json").read_text())
    shards = [store / shard["file"] for shard in index["shards"]]
    # A shard in one line of PyTorch, and a part of one.
    grads = torch.cat([load_file(shard)["grads"] for shard in shards])
    with safe_open(shards[0], "pt") as file:
        part = file.get_slice("grads")[1:3]
        texts = file.metadata()
    assert same_bits(part, grads[1:3])
    assert texts["model"] == index["model"] and json.loads(texts["modules"]) == index["modules"]
    assert grads.shape == (index["rows"], index["dim"]) and grads.dtype == TYPES[index["dtype"]]
    columns = {name: torch.cat([load_file(shard)[name] for shard in shards]) for name in ("row_id", "loss", "norm", "n_tokens")}
    assert [columns[name].dtype for name in columns] == [torch.int64, torch.float32, torch.float32, torch.int32]
    for shard, record in zip(shards, index["shards"]):
        assert hashlib.sha256(shard.read_bytes()).hexdigest() == record["sha256"]
    print(f"safetensors: {len(shards)} shards, {tuple(grads.shape)} {grads.dtype}")

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        check_numpy(program, store, folder / "npy", grads, columns)
        check_trak(program, store, folder / "trak", grads)
        check_bergson(program, store, folder / "bergson", index, grads)


def for_numpy(grads):
    return (grads.float() if grads.dtype == torch.bfloat16 else grads).numpy()


def check_numpy(program, store, out, grads, columns):
    run(program, "export", store, "--to", "npy", "--out", out)
    mapped = numpy.load(out / "grads.npy", mmap_mode="r")
    assert mapped.dtype == for_numpy(grads).dtype and numpy.array_equal(mapped, for_numpy(grads))
    for name, column in columns.items():
        assert numpy.array_equal(numpy.load(out / f"{name}.npy"), column.numpy()), name
    print("numpy: grads.npy and the columns")


def check_trak(program, store, out, grads):
    run(program, "export", store, "--to", "trak", "--out", out)
    metadata = json.loads((out / "metadata.json").read_text())
    try:
        from trak.savers import MmapSaver

        saver = MmapSaver(
            out, metadata, metadata["train set size"], metadata["JL dimension"], True, 30, grads.dtype == torch.float16
        )
        saver.load_current_store(0)
        assert saver.model_ids == {0: {"is_featurized": 1, "is_finalized": 0}}
        kept, by = saver.current_store, "its MmapSaver"
    except ImportError:
        names = {"grads": "grads", "out_to_loss": "out_to_loss", "is_featurized": "_is_featurized", "features": "features"}
        kept = {name: numpy.load(out / "0" / f"{file}.mmap") for name, file in names.items()}
        by = "numpy (TRAK is not installed)"
    assert numpy.array_equal(kept["grads"], for_numpy(grads))
    assert kept["out_to_loss"].shape == (len(grads), 1) and (kept["out_to_loss"] == 1).all()
    assert kept["is_featurized"].dtype == numpy.int32 and kept["is_featurized"].sum() == len(grads)
    assert kept["features"].shape == grads.shape
    print(f"TRAK: by {by}")


def check_bergson(program, store, out, index, grads):
    run(program, "export", store, "--to", "bergson", "--out", out)
    mapped = load_gradients(out)
    assert numpy.array_equal(mapped.astype(numpy.float32), grads.float().numpy())
    modules = load_module_gradients(out)
    for module in index["modules"]:
        assert numpy.array_equal(modules[module["name"]], mapped[:, module["start"] : module["end"]])
    processor = GradientProcessor.load(out)
    if processor.projection_dim:
        record = index["projection"]
        assert (processor.projection_dim, processor.projection_scale) == (record["dim"], record["scale"])
        assert processor.projection_type == "rademacher"
    # Those before the second did not count.
    version = getattr(bergsons, "PROJECTION_VERSION", 1)
    drawn = {"pcg64": 1, "philox": 2}.get(index["projection"].get("signs"), version)
    try:
        Attributor(out)
        assert drawn == version, f"rows of version {drawn} were taken for {version}"
        print(f"Bergson makes queries: its random signs are those of the rows (version {version})")
    except ValueError as refusal:
        assert drawn != version, refusal
        print(f"Bergson refuses to make queries: {refusal}")
        with (out / "processor_config.yaml").open("a") as config:
            config.write(f"projection_version: {version}\n")
    rows = sorted({0, len(grads) // 2, len(grads) - 1})
    k = min(len(grads), 50)
    like = ",".join(map(str, rows))
    for flags, unit_norm in (([], False), (["--cosine"], True)):
        theirs = found(out, grads[rows].float(), unit_norm, k)
        for source in (store, out):
            lines = json.loads(run(program, "query", source, "--like", like, "--k", k, "--format", "json", *flags))
            for number, row in enumerate(rows):
                # Bergson divides a query by its norm and a little more.
                norm = grads[row].float().norm()
                less = float(norm / (norm + torch.finfo(torch.float32).eps)) if unit_norm else 1.0
                ours = lines[number * k : (number + 1) * k]
                scale = max(abs(hit["score"]) for hit in theirs[number])
                scores = {hit["row"]: hit["score"] for hit in theirs[number]}
                for place, hit in enumerate(ours):
                    hit["score"] *= less
                    assert abs(hit["score"] - theirs[number][place]["score"]) <= 1e-5 * scale, (hit, theirs[number][place])
                    # Rows whose scores are as good as equal may change places.
                    last = theirs[number][-1]["score"]
                    assert hit["row"] in scores or abs(hit["score"] - last) <= 1e-5 * scale, hit
        print(f"Bergson's Attributor: {len(rows)} queries, {k} rows each, unit_norm={unit_norm}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("--out", type=Path, default=FIXTURES)
    checking = verbs.add_parser("check")
    checking.add_argument("program")
    checking.add_argument("store", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "record":
        record(arguments.out)
    else:
        check(arguments.program, arguments.store)
