"""Measures what a run holds under `--max-memory`, with a plan that wants more: many long generations at once.

    memory.py --veval target/release/veval --model CKPT --data ../shared/data --work DIR [--limits 1,2,8]

CKPT is the SmolLM2-135M shape that `peers/speed.py` makes. The largest anonymous resident memory (`RssAnon`) is read every
10 ms until the run ends or `--seconds` are over; it is printed beside the limit. A series of two checkpoints has the second
one read while the first runs.
"""

import argparse
import shutil
import subprocess
import time
from pathlib import Path

SUITE = """schema = "veval.suite/1"
name = "memory"
[[task]]
use = "gsm8k"
shots = 5
limit = {items}
max_tokens = 400
"""


def anonymous(process):
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(line[1]) * 1024 for line in lines if line and line[0] == "RssAnon:"), 0)


def series(o):
    """Two checkpoints that differ in one weight."""
    folder = o.work / "pair"
    for step in (1, 2):
        copy = folder / f"step{step}"
        if not copy.exists():
            shutil.copytree(o.model, copy)
    with open(o.model / "model.safetensors", "rb") as original, open(folder / "step2/model.safetensors", "r+b") as changed:
        original.seek(-4, 2)
        changed.seek(-4, 2)
        changed.write(bytes([original.read(1)[0] ^ 1]))
    return folder


def peak(o, limit, checkpoints):
    out = o.work / "runs"
    shutil.rmtree(out, ignore_errors=True)
    command = [o.veval, "run", o.work / "memory.toml", checkpoints, "--data-dir", o.data, "--out", out, "--quiet",
               "--max-memory", f"{limit}GB"]
    process, start, most = subprocess.Popen(command, stdout=subprocess.DEVNULL), time.monotonic(), 0
    while process.poll() is None and time.monotonic() - start < o.seconds:
        most = max(most, anonymous(process.pid))
        time.sleep(0.01)
    ended = process.poll()
    process.kill()
    process.wait()
    return most, "ended" if ended == 0 else "stopped" if ended is None else f"exit code {ended}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("veval", "model", "data", "work"):
        p.add_argument(f"--{name}", type=Path, required=True)
    p.add_argument("--limits", type=lambda text: [int(x) for x in text.split(",")], default=[1, 2, 8], help="GB")
    p.add_argument("--items", type=int, default=300)
    p.add_argument("--seconds", type=float, default=300, help="of each run, at most")
    o = p.parse_args()
    o.veval, o.model, o.data, o.work = (path.resolve() for path in (o.veval, o.model, o.data, o.work))
    o.work.mkdir(parents=True, exist_ok=True)
    (o.work / "memory.toml").write_text(SUITE.format(items=o.items))
    for limit in o.limits:
        for name, checkpoints in (("one checkpoint", o.model), ("the second read meanwhile", series(o))):
            most, end = peak(o, limit, checkpoints)
            print(f"{limit} GB, {name}: {most / 1e9:.3f} GB at most, {end}", flush=True)


if __name__ == "__main__":
    main()
