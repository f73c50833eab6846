"""The random signs of Bergson 2, and the rows that it makes with them.

    python bergson_signs.py record [--out FILE]      matrices by Bergson 2.5.1 (its own names and scales)
    python bergson_signs.py check PROGRAM            has the program collect stores with `--signs bergson2` and
                                                     compares every row with Bergson's own collector on the same tokens:
                                                     of items and of tokens, of modules and of everything at once

Bergson's 0.x and 1.x drew others (`projection_version` 1); `src/feedback/rademacher.rs` holds vectors of those.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy
import torch
from bergson.collector.collector import create_module_projection_matrix
from bergson.gradients import PROJECTION_VERSION
from gradient_page import CHECKPOINT, documents, veval

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "bergson_signs.json"
DIM, ITEMS = 4, 12

# Module, side, rows, columns, scale. Columns below, at and beyond the 128 of one block.
CASES = [
    ("x", "single", 3, 7, "jl"),
    ("layers.3.mlp.down_proj", "right", 5, 300, "jl"),
    ("layers.3.mlp.down_proj", "right", 2, 128, "row_norm"),
    ("layers.0.attention.dense", "left", 16, 129, "row_norm"),
    ("h.11.attn.c_attn", "left", 1, 1, "jl"),
]


def record(out):
    assert PROJECTION_VERSION == 2, "expected Bergson 2"
    cases = []
    for module, side, rows, columns, scale in CASES:
        matrix = create_module_projection_matrix(
            module, side, rows, columns, torch.float32, torch.device("cpu"), "rademacher", scale, None
        ).numpy()
        sizes = numpy.unique(numpy.abs(matrix))
        assert len(sizes) == 1
        # A row's signs as bits, the first in the lowest of a byte; what is behind the last column is zero.
        signs = [numpy.packbits(row > 0, bitorder="little").tobytes().hex() for row in matrix]
        cases.append({"module": module, "side": side, "rows": rows, "columns": columns, "scale": scale,
                      "entry_bits": int(sizes.view(numpy.uint32)[0]), "signs": signs})
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    out.write_text(f'{{"bergson": "2.5.1", "cases": [\n{lines}\n]}}\n')


# ---------------------------------------------------------------- check


# Name, numbers, target, rows of tokens, items. With 2^15 numbers Bergson cuts a matrix into blocks of 2^27 / 2^15 columns,
# fewer than a module has.
MODES = [
    ("modules", DIM, "per_module", False, ITEMS),
    ("tokens", DIM, "per_module", True, 3),
    ("everything", 64, "global", False, ITEMS),
    ("everything in blocks", 1 << 15, "global", False, 2),
    ("tokens of everything", 64, "global", True, 2),
]


def check(program):
    for mode in MODES:
        name, dim, target, per_token, items = mode
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "store"
            how = ["--limit", items, "--proj-dim", dim, "--dtype", "f32", "--signs", "bergson2"]
            how += ["--project", target.replace("_", "-"), *(["--per-token"] if per_token else [])]
            veval(program, "collect", *how, "--out", store)
            compare(store, Path(folder) / "bergson", mode)


def compare(store, run, mode):
    """Rows of the store against Bergson's collector, module by module."""
    name, dim, target, per_token, _ = mode
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    index = json.loads((store / "index.json").read_text())
    kind = "global" if target == "global" else "rademacher"
    wanted = {"kind": kind, "dim": dim, "scale": "jl", "signs": "philox"}
    assert index["projection"].items() >= wanted.items(), index["projection"]
    assert index["per_token"] == per_token
    shards = [load_file(store / shard["file"]) for shard in index["shards"]]
    rows = torch.cat([shard["grads"] for shard in shards])
    items = [json.loads(line) for line in (store / "items.jsonl").read_text().splitlines()]
    told = documents()
    tokens = [told[int(item["id"].split("/")[1])] for item in items]
    assert [len(own) for own in tokens] == [item["tokens"] for item in items]
    labels = [[-100] * item["start"] + own[item["start"] :] for own, item in zip(tokens, items)]
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32, attn_implementation="eager")
    theirs, worst = bergsons_rows(model, tokens, labels, run, mode), 0.0
    for module in index["modules"]:
        own, other = rows[:, module["start"] : module["end"]], torch.as_tensor(theirs[module["name"]])
        assert own.shape == other.shape, (own.shape, other.shape)
        off = ((own - other).abs().amax() / other.abs().amax()).item()
        assert off < 1e-3, (module["name"], off)
        worst = max(worst, off)
    assert len(index["modules"]) == len(theirs)
    print(f"Bergson's collector, {name}: {len(rows)} rows of {len(theirs)} modules, largest difference {worst:.0e} of a maximum")


def bergsons_rows(model, tokens, labels, run, mode):
    from bergson.collector.collector import CollectorComputer
    from bergson.collector.in_memory_collector import InMemoryCollector
    from bergson.config import IndexConfig
    from bergson.gradients import GradientProcessor
    from datasets import Dataset

    _, dim, target, per_token, _ = mode
    config = IndexConfig(
        run_path=str(run), loss_reduction="sum", projection_dim=dim, projection_target=target, attribute_tokens=per_token
    )
    Path(config.partial_run_path).mkdir(parents=True)
    data = Dataset.from_dict({"input_ids": tokens, "labels": labels})
    processor = GradientProcessor(projection_dim=dim, projection_scale="jl", projection_target=target)
    collector = InMemoryCollector(model=model.base_model, data=data, cfg=config, processor=processor)
    CollectorComputer(model=model, data=data, collector=collector, cfg=config).run_with_collector_hooks()
    return collector.gradients


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("--out", type=Path, default=FIXTURE)
    checking = verbs.add_parser("check")
    checking.add_argument("program")
    arguments = parser.parse_args()
    if arguments.verb == "record":
        record(arguments.out)
    else:
        check(arguments.program)
