"""Times the streaming search of a store against a plain read of its files, cold and warm, in turn.

    top_k.py --work DIR --veval target/release/veval [--rows 100000 --dim 4096]

The store is made in DIR once: f16 rows of random numbers, in shards of 32 MB as `veval grad collect` writes them. The
search is the whole process, `veval grad query STORE --like 0 --k 10`, start and printing included. The read takes the
same files in blocks of 1 MB, in a Python that has started already, and does nothing with them. Cold: the files' pages
are dropped before (posix_fadvise). Every reading gives the same rows.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

from speed import Bench, disturbance, in_turn, middle

SHARD_BYTES = 32 << 20
BLOCK = bytearray(1 << 20)
GOAL = 2.0
# High bytes of a float16 whose magnitude is below 2: neither infinite nor no number.
SMALL = bytes(byte & 0xBF for byte in range(256))


def make_store(folder, rows, dim):
    """Random rows. A folder that is there is whole."""
    whole, folder = folder, folder.with_suffix(".part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng, shards = random.Random(7), []
    shard_rows = max(1, SHARD_BYTES // (2 * dim))
    for start in range(0, rows, shard_rows):
        count = min(shard_rows, rows - start)
        grads = bytearray(2 * count * dim)
        grads[0::2] = rng.randbytes(count * dim)
        grads[1::2] = rng.randbytes(count * dim).translate(SMALL)
        name = f"grads-{len(shards):05}.safetensors"
        blob = shard(start, count, dim, grads)
        (folder / name).write_bytes(blob)
        shards.append({"file": name, "row_start": start, "rows": count, "sha256": hashlib.sha256(blob).hexdigest()})
    side = next(n for n in range(int(dim**0.5), 0, -1) if dim % n == 0)
    module = {"name": "made", "start": 0, "end": dim, "shape": [side, dim // side]}
    index = {"format": "veval.grads/1", "rows": rows, "dim": dim, "dtype": "f16", "modules": [module],
             "projection": {"kind": "none"}, "normalizer": {"kind": "none"}, "loss_reduction": "sum",
             "sign": "gradient_of_loss", "model": "blake3:00", "tokenizer": "blake3:00", "numerics": "none",
             "per_token": False, "shards": shards, "complete": True}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    folder.rename(whole)


def shard(start, rows, dim, grads):
    """A safetensors file: the columns, and the rows behind them."""
    columns = [("row_id", "I64", b"".join((start + row).to_bytes(8, "little") for row in range(rows))),
               ("loss", "F32", bytes(4 * rows)), ("norm", "F32", bytes(4 * rows)), ("n_tokens", "I32", bytes(4 * rows)),
               ("grads", "F16", grads)]
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, data in columns:
        shape = [rows, dim] if name == "grads" else [rows]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in columns)


def files(folder):
    return sorted(folder.glob("grads-*.safetensors"))


def drop(folder):
    """The files' pages out of memory."""
    for path in files(folder):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain_read(folder):
    for path in files(folder):
        with open(path, "rb", buffering=0) as file:
            while file.readinto(BLOCK):
                pass


class Comparison:
    def __init__(self, bench, store):
        o = bench.options
        self.bench, self.store, self.answer = bench, store, None
        self.command = [o.veval, "grad", "query", store, "--like", "0", "--k", str(o.k), "--threads", str(o.threads),
                        "--format", "json"]

    def search(self):
        reading = self.bench.need("top-k veval", self.command)
        answer = json.loads(reading.pop("output"))
        self.answer = self.answer or answer
        if answer != self.answer or len(answer) != self.bench.options.k:
            self.bench.problems.append("two searches found different rows")
        return reading

    def read(self):
        start = time.perf_counter()
        plain_read(self.store)
        return {"wall": time.perf_counter() - start}

    def run(self):
        o, size = self.bench.options, sum(path.stat().st_size for path in files(self.store))
        print(f"top {o.k} of {o.rows} x {o.dim} f16, {size >> 20} MB, {o.threads} threads", flush=True)
        sides = {"veval": self.search, "read": self.read}
        for state in ("cold", "warm"):
            readings = {side: [] for side in sides}
            plain_read(self.store)
            for number in range(o.repeats):
                for side in in_turn(number, list(sides)):
                    if state == "cold":
                        drop(self.store)
                    reading = sides[side]()
                    readings[side].append(reading)
                    note = f", peak {reading['peak_mb']} MB ({disturbance(reading)})" if side == "veval" else ""
                    print(f"  {state} {side}: {reading['wall']:.3f} s, {size / reading['wall'] / 1e9:.2f} GB/s{note}",
                          flush=True)
            ratio = middle(readings["veval"]) / middle(readings["read"])
            print(f"  {state}: medians {middle(readings['veval']):.3f} and {middle(readings['read']):.3f} s, the search "
                  f"takes {ratio:.2f} times as long (goal {GOAL})", flush=True)
            self.bench.keep(what="top-k", state=state, rows=o.rows, dim=o.dim, bytes=size, threads=o.threads,
                            ratio=ratio, readings=readings)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True, help="folder for the store")
    p.add_argument("--veval", type=Path, required=True, help="the program")
    p.add_argument("--rows", type=int, default=100_000)
    p.add_argument("--dim", type=int, default=4096)
    p.add_argument("--k", type=int, default=10)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--json", type=Path, help="file for every reading")
    o = p.parse_args()
    o.work, o.veval = o.work.resolve(), o.veval.resolve()
    o.venv = o.work / "venv"
    store = o.work / f"top_k-{o.rows}x{o.dim}"
    if not store.exists():
        make_store(store, o.rows, o.dim)
    bench = Bench(o)
    Comparison(bench, store).run()
    if bench.problems:
        sys.exit("\n" + "\n".join(bench.problems))


if __name__ == "__main__":
    main()
