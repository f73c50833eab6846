"""Measures how the cost of a run grows, and draws it: docs/growth.csv, docs/growth.svg.

    growth.py --veval target/release/veval --engine target/release/examples/engine_speed --model CKPT --work DIR

Items, shots and checkpoints grow on the example's checkpoint of 156,352 parameters, where everything but the model shows;
the length of the context grows on CKPT (the SmolLM2-135M shape that `peers/speed.py` makes). Seconds are wall time of
the whole program; for the context, of one forward pass. Each is the best of three, since disturbances only add.
"""

import argparse
import csv
import json
import math
import os
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "data/example/ckpts/step700"
NAMES = ["Arlo", "Bena", "Cato", "Dara", "Egon", "Fenn", "Gala", "Hugo"]
TOWNS = ["Alder", "Brook", "Cliff", "Dale", "Elm", "Ford", "Glen", "Heath"]


def suite(work, items, shots):
    """Questions of random words: what is shared is shots, as in a benchmark."""
    draw = random.Random(7)
    words = lambda n: " ".join(draw.choice(NAMES + TOWNS) for _ in range(n))
    rows = [{"q": f"{words(6)} {i} the home of {draw.choice(NAMES)} is", "c": [f" {t}" for t in draw.sample(TOWNS, 4)],
             "a": draw.randrange(4)} for i in range(items)]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = [{"q": f"{words(6)} the home of {draw.choice(NAMES)} is", "c": [f" {t}" for t in TOWNS[:4]], "a": 0}
            for _ in range(40)]
    (work / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))
    text = (f'schema = "veval.suite/1"\nname = "growth"\n[[task]]\nname = "towns"\nkind = "multiple_choice"\n'
            f'data = {{ file = "rows.jsonl", shots_file = "pool.jsonl" }}\nprompt = "{{{{ q }}}}"\nchoices = "c"\n'
            f'gold = "a"\ndelimiter = ""\nshots = {shots}\nmetrics = ["acc"]\n')
    (work / "growth.toml").write_text(text)
    return work / "growth.toml"


def series(work, count):
    """Checkpoints that differ in one weight, so that none is taken for another."""
    folder = work / f"series{count}"
    weights = (EXAMPLE / "model.safetensors").read_bytes()
    head = 8 + struct.unpack("<Q", weights[:8])[0]
    for step in range(count):
        ckpt = folder / f"step{step}"
        ckpt.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(EXAMPLE / name, ckpt)
        changed = bytearray(weights)
        changed[head + 2 * step] ^= 1
        (ckpt / "model.safetensors").write_bytes(changed)
    return folder


def seconds(o, suite_file, checkpoints, readings=3):
    best = math.inf
    for _ in range(readings):
        out = o.work / "runs"
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        command = [o.veval, "run", suite_file, checkpoints, "--out", out, "--quiet", "--format", "csv"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - start)
    return best


def measure(o):
    for items in (100, 1000, 10_000, 100_000):
        yield "items", items, seconds(o, suite(o.work, items, 0), EXAMPLE)
    for shots in (0, 1, 2, 5, 10, 25):
        yield "shots (1000 items)", shots, seconds(o, suite(o.work, 1000, shots), EXAMPLE)
    short = suite(o.work, 100, 0)
    for count in (1, 10, 100, 1000):
        yield "checkpoints (100 items)", count, seconds(o, short, series(o.work, count), 3 if count < 1000 else 1)
    lengths = "128,256,512,1024,2048,4096"
    command = [o.engine, "prefill", "--model", o.model, "--tokens", lengths, "--readings", "3"]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        line = json.loads(line)
        if line["logits"] == "last":
            yield "context (135M, one pass)", line["tokens"], min(line["seconds"])


def draw(rows):
    """One panel for each quantity, both axes logarithmic, with the slope of the last step."""
    panels = list(dict.fromkeys(name for name, *_ in rows))
    width, height, gap = 250, 200, 60
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(panels) * (width + gap) + gap} {height + 100}" '
             'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>']
    for number, name in enumerate(panels):
        points = [(x, y) for n, x, y in rows if n == name]
        left, top = gap + number * (width + gap), 40
        along = lambda x: math.log10(x or 0.5)  # none stands as far before one as two behind it
        low_x, high_x = along(points[0][0]), along(points[-1][0])
        low_y = math.floor(math.log10(min(y for _, y in points)))
        high_y = max(math.ceil(math.log10(max(y for _, y in points))), low_y + 1)
        at_x = lambda x: left + (along(x) - low_x) / (high_x - low_x) * width
        at_y = lambda y: top + height - (math.log10(y) - low_y) / (high_y - low_y) * height
        parts.append(f'<text x="{left}" y="{top - 14}" font-weight="bold">{name}</text>')
        for power in range(low_y, high_y + 1):
            y = at_y(10.0**power)
            parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                         f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="#1a6" stroke-width="2"/>')
        for x, y in points:
            parts.append(f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5" fill="#1a6"/>'
                         f'<text x="{at_x(x):.1f}" y="{top + height + 18}" text-anchor="middle">{x}</text>')
        (x0, y0), (x1, y1) = points[-2:]
        slope = math.log(y1 / y0) / math.log(x1 / x0)
        parts.append(f'<text x="{left}" y="{top + height + 42}" fill="#555">last step: grows as n^{slope:.2f}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("veval", "engine", "model", "work"):
        p.add_argument(f"--{name}", type=Path, required=True)
    o = p.parse_args()
    o.veval, o.engine, o.model, o.work = (path.resolve() for path in (o.veval, o.engine, o.model, o.work))
    o.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, x, y in measure(o):
        print(f"{name} {x}: {y:.3f} s", flush=True)
        rows.append((name, x, round(y, 4)))
    with open(ROOT / "docs/growth.csv", "w", newline="") as f:
        csv.writer(f).writerows([("quantity", "n", "seconds"), *rows])
    (ROOT / "docs/growth.svg").write_text(draw(rows))


if __name__ == "__main__":
    os.environ.pop("VEVAL_ISA", None)
    main()
