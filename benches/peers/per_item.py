"""Times projected gradients of items by veval, by torch one item at a time, and by Bergson; in turn, as speed.py does.

    per_item.py --work DIR --data ../shared/data --engine target/release/examples/engine_speed [--json FILE]

The checkpoint (SmolLM2-135M's shape, random weights, float32) is the one that speed.py makes in DIR; the environment of
the peers is DIR/venv or --venv, with bergson==2.5.1 besides speed.py's pins. Each item is a text of its own, every token
but the first a target; the gradient of each linear map inside a block is projected to 16 x 16.

  veval     engine_speed per-item: what `veval grad collect` does between reading the checkpoint and writing the store
  torch     forward and backward of one item, then P_L G P_R^T for each linear map
  bergson   its in-memory collector, at each batch size; the fastest counts

All draw the same random signs, so losses and the rows' sum of squares must agree. Seconds are of all items, without
loading; the peak is of the whole process, with it.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from speed import Bench, disturbance, in_turn
from speed_peers import MODELS

GOALS = {"torch": 2.0, "bergson": 1.3}
AGREEMENT = 1e-3


def commands(bench):
    """Side: what to start."""
    o = bench.options
    work = {"model": bench.checkpoint(o.model), "threads": o.threads, "items": o.items, "tokens": o.tokens, "dim": o.dim,
            "readings": 1}

    def peer(function, **more):
        return [bench.python, Path(__file__).with_name("per_item_peers.py"), function, json.dumps(work | more)]

    engine = [o.engine, "per-item", "--batch-tokens", str(o.batch_tokens)]
    for name, value in work.items():
        engine += [f"--{name}", str(value)]
    sides = {"veval": engine} if o.engine else {}
    sides["torch"] = peer("torch_one_at_a_time")
    return sides | {f"bergson {batch}": peer("bergson_batches", batch=batch) for batch in o.batches}


def read(bench, side, command):
    """A reading with the seconds of the work, or None."""
    reading = bench.timed(f"per-item {side}", command)
    output = reading.pop("output")
    if "failed" in reading:
        bench.problems.append(f"{side}: {reading['failed']}")
        print(f"  {side}: {reading['failed']}", flush=True)
        return None
    # Others may write beside the line.
    line = json.loads(next(line for line in output.splitlines() if line.startswith('{"') and "per-item" in line))
    reading |= {"seconds": median(line["seconds"]), "line": line}
    print(f"  {side}: {reading['seconds']:.2f} s, peak {reading['peak_mb']} MB ({disturbance(reading)})", flush=True)
    return reading


def agree(bench, readings):
    """Losses and squares of all sides, relative to the first."""
    lines = {side: own[-1]["line"] for side, own in readings.items() if own}
    for what in ("modules", "check", "squares"):
        values = [line[what] for line in lines.values()]
        spread = (max(values) - min(values)) / abs(values[0])
        print(f"  {what}: {values[0]:.6g}, all sides within {spread:.0e}", flush=True)
        if spread > AGREEMENT:
            found = ", ".join(f"{side} {line[what]}" for side, line in lines.items())
            bench.problems.append(f"the sides do not agree in {what}: {found}")


def compare(bench):
    o, sides = bench.options, commands(bench)
    readings = {side: [] for side in sides}
    print(f"{o.model}: {o.items} items of {o.tokens} tokens, {o.dim} x {o.dim} a module, {o.threads} threads", flush=True)
    for number in range(o.repeats):
        for side in in_turn(number, list(sides)):
            reading = read(bench, side, sides[side])
            if reading is None:
                del sides[side]
            else:
                readings[side].append(reading)
        if number == 0:  # batch sizes that are clearly slower are not repeated
            theirs = [side for side in sides if side.startswith("bergson")]
            fastest = min((readings[side][0]["seconds"] for side in theirs), default=0)
            for side in theirs:
                if readings[side][0]["seconds"] > 1.1 * fastest:
                    del sides[side]
    agree(bench, readings)
    seconds = {side: median(r["seconds"] for r in readings[side]) for side in sides}
    peaks = {side: max(r["peak_mb"] for r in own) for side, own in readings.items() if own}
    for side, value in seconds.items():
        print(f"  {side}: median {value:.2f} s, {o.items * o.tokens / value:.0f} tokens/s, peak {peaks[side]} MB")
    ratios = {}
    for peer, goal in GOALS.items():
        theirs = min((seconds[side] for side in seconds if side.startswith(peer)), default=None)
        if theirs and "veval" in seconds:
            ratios[peer] = theirs / seconds["veval"]
            print(f"  {peer} takes {ratios[peer]:.2f} times as long (goal {goal})", flush=True)
    bench.keep(what="per-item", model=o.model, items=o.items, tokens=o.tokens, dim=o.dim, threads=o.threads,
               medians=seconds, peaks=peaks, ratios=ratios, readings=readings)


def main():
    numbers = lambda text: [int(x) for x in text.split(",")]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True, help="folder for what is made, as speed.py's")
    p.add_argument("--data", type=Path, help="folder of the tokenizers, for the checkpoint")
    p.add_argument("--venv", type=Path, help="Python environment of the peers [WORK/venv]")
    p.add_argument("--engine", type=Path, help="the example `engine_speed`; without it only peers are timed")
    p.add_argument("--model", choices=list(MODELS), default="smollm2-135m")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--items", type=int, default=16)
    p.add_argument("--tokens", type=int, default=256, help="of an item")
    p.add_argument("--dim", type=int, default=16, help="of each side")
    p.add_argument("--batch-tokens", type=int, default=512, help="veval's, as `grad collect` has it [512]")
    p.add_argument("--batches", type=numbers, default=[1, 2, 4, 8], help="Bergson's; the fastest counts [1,2,4,8]")
    p.add_argument("--repeats", type=int, default=3, help="runs of each side")
    p.add_argument("--json", type=Path, help="file for every reading")
    o = p.parse_args()
    o.work = o.work.resolve()
    o.venv = (o.venv or o.work / "venv").absolute()
    o.data, o.engine = (path and path.resolve() for path in (o.data, o.engine))
    bench = Bench(o)
    compare(bench)
    if bench.problems:
        sys.exit("\n" + "\n".join(bench.problems))


if __name__ == "__main__":
    main()
