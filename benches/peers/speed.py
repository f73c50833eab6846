"""Times veval and its peers on the same work, in turn; prints every reading, medians and ratios.

    speed.py --work DIR --install                      # DIR/venv with the pinned peers; llama.cpp is compiled
    speed.py --work DIR --data ../shared/data tasks --veval target/release/veval
    speed.py --work DIR --data ../shared/data prefill decode matmul --engine target/release/examples/engine_speed

  tasks    whole runs against lm-evaluation-harness (`--model hf`, float32, the same threads): MMLU 5-shot, ARC 25-shot
           with shots drawn for each item and with fixed shots, HellaSwag 0-shot, GSM8K 5-shot with 128 new tokens.
           Scores and log-likelihoods of both sides are compared. `start`: one item, no shots, one new token.
  prefill  one sequence through the model, against transformers and llama.cpp (float32 weights)
  decode   one token for each of 16 sequences at a time, against the same two
  matmul   y[M,N] = x[M,K] W^T with W packed beforehand, against MKL; the weights rotate through 400 MB

DIR holds what is made on the way: checkpoints with random weights in the shapes of public models (speed does not depend
on the values), converted data, tasks, logs. A reading is disturbed when `others` (cores that other processes of this
machine used meanwhile) or `stolen` (cores that the host took) is much above 0.05.

ENGINE gets the options below and prints one JSON object a line, as the peers do:

    ENGINE prefill --model DIR --threads T --tokens 512,... --readings R
        {"what": "prefill", "tokens": 512, "logits": "all" or "last", "seconds": [R numbers], "check": C}
    ENGINE decode --model DIR --threads T --sequences 16 --context 128 --new 32 --readings R
        {"what": "decode", "sequences": 16, "context": 128, "new": 32, "seconds": [R numbers, all steps], "check": C}
    ENGINE matmul --threads T --rows 1,... --shapes KxN,... --rotate-mb 400 --flop F --readings R
        {"what": "matmul", "m": M, "k": K, "n": N, "calls": products in a reading, "seconds": [R numbers]}

One warm-up precedes the R readings. Position p of sequence s holds token (7919 p + 101 s + 13) mod 50000, in decoding
too. C, which may be left out, is the sum of log p(next token): prefill with all logits, over all positions but the
last; decode, over the sequences after the last step. A reading of products is about F operations, but at most four
times through the weights (`matmul_calls` in speed_peers.py, which holds the peers' side).
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from speed_peers import MODELS

PINS = ["lm-eval==0.4.13", "torch==2.15.0", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0",
        "numpy==2.4.6", "gguf==0.19.0", "mkl==2026.2.0"]
LLAMA_CPP = "llama-cpp-python==0.3.36"

SUBJECTS = ["anatomy", "high_school_us_history"]
ARC_POOL = 100  # the last rows of the local file are the pool of shots, the others the items
SHAPES = [(576, 576), (576, 1536), (1536, 576), (768, 3072), (2048, 5632), (576, 49152)]
ROWS = [1, 16, 64, 256, 1024]
ENGINE_WORK = {
    "prefill": {"tokens": [512], "readings": 5},
    "decode": {"sequences": 16, "context": 128, "new": 32, "readings": 5},
    "reverse": {"tokens": [256], "readings": 5},
    "matmul": {"rows": ROWS, "shapes": SHAPES, "rotate_mb": 400, "flop": 20_000_000_000, "readings": 7},
}
QUICK_WORK = {
    "prefill": {"tokens": [64], "readings": 1},
    "decode": {"sequences": 16, "context": 16, "new": 4, "readings": 1},
    "reverse": {"tokens": [32], "readings": 1},
    "matmul": {"rows": ROWS[:2], "shapes": SHAPES[:2], "rotate_mb": 400, "flop": 1_000_000_000, "readings": 1},
}


# ---------------------------------------------------------------- what is made once


def benchmarks(data, made):
    """Name: shots, items, veval's task entry, lm-eval's tasks (the file that each includes, and what it changes)."""

    def local(base, files, **changes):
        files = {split: str(file) for split, file in files.items()}
        return base, {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}, **changes}

    def arc(order, sampler):
        files = {"test": made / "arc_items.jsonl", "train": made / "arc_shots.jsonl"}
        local_files = f'data = {{ file = "{made.name}/arc_items.jsonl", shots_file = "{made.name}/arc_shots.jsonl" }}'
        peer = local("arc/arc_challenge.yaml", files, validation_split=None, fewshot_split="train",
                     fewshot_config={"sampler": sampler, "split": "train"})
        return 25, 25, f'use = "arc_challenge"\nshot_order = "{order}"\n{local_files}', {"arc_challenge": peer}

    mmlu = {f"mmlu_{s}": local(f"mmlu/default/mmlu_{s}.yaml",
                               {split: made / f"mmlu_{s}_{split}.jsonl" for split in ("test", "dev")})
            for s in SUBJECTS}
    hellaswag = local("hellaswag/hellaswag.yaml", {"validation": data / "hellaswag/olmes_val1000_docs.jsonl"},
                      training_split=None, process_docs=None, doc_to_target="{{gold}}")
    gsm8k = local("gsm8k/gsm8k.yaml", {split: data / f"gsm8k/{split}.jsonl" for split in ("train", "test")},
                  generation_kwargs={"until": ["Question:", "</s>", "<|im_end|>"], "do_sample": False,
                                     "temperature": 0.0, "max_gen_toks": 128})
    return {
        "mmlu": (5, 100, f'use = "mmlu"\nsubsets = {json.dumps(SUBJECTS)}\nsubset_groups = {{}}', mmlu),
        "arc_random": arc("random", "default"),
        "arc_first": arc("first", "first_n"),
        "hellaswag": (0, 100, 'use = "hellaswag"', {"hellaswag": hellaswag}),
        "gsm8k": (5, 16, 'use = "gsm8k"\nmax_tokens = 128', {"gsm8k": gsm8k}),
    }


def convert_data(data, made):
    made.mkdir(parents=True, exist_ok=True)
    lines = (data / "arc/ARC-Challenge-validation.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (made / "arc_items.jsonl").write_text("".join(lines[:-ARC_POOL]), encoding="utf-8")
    (made / "arc_shots.jsonl").write_text("".join(lines[-ARC_POOL:]), encoding="utf-8")
    for name in [f"{subject}_{split}" for subject in SUBJECTS for split in ("test", "dev")]:
        with open(data / "mmlu" / name.rsplit("_", 1)[1] / f"{name}.csv", encoding="utf-8", newline="") as f:
            rows = [{"question": r["question"], "choices": [r[f"choice{i}"] for i in range(4)],
                     "answer": int(r["answer"])} for r in csv.DictReader(f)]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (made / f"mmlu_{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def install(venv):
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *PINS], check=True)
    native = dict(os.environ, CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF")
    subprocess.run([*pip, "--no-binary", "llama-cpp-python", LLAMA_CPP], check=True, env=native)


# ---------------------------------------------------------------- timing


def machine_seconds():
    """CPU seconds since boot that processes used, and that the host took."""
    user, nice, system, _idle, _io, irq, soft, stolen = map(int, open("/proc/stat").readline().split()[1:9])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK"), stolen / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, options):
        self.options, self.results, self.problems = options, [], []
        self.python = options.venv / "bin/python" if options.venv.exists() else Path(sys.executable)
        threads = str(options.threads)
        self.environment = dict(
            os.environ, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_CACHE=str(options.work / "datasets"),
            CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
        (options.work / "logs").mkdir(parents=True, exist_ok=True)

    def child(self, function, **arguments):
        return [self.python, Path(__file__).with_name("speed_peers.py"), function, json.dumps(arguments)]

    def timed(self, label, command):
        """Runs a command; a reading of its time, with what it printed."""
        log = self.options.work / "logs" / (label.replace(" ", "-") + ".log")
        own, start, (busy, stolen) = sum(os.times()[:2]), time.perf_counter(), machine_seconds()
        with open(log, "wb") as errors:
            process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=errors)
            output = process.stdout.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall, (busy_now, stolen_now) = time.perf_counter() - start, machine_seconds()
        own = sum(os.times()[:2]) - own + usage.ru_utime + usage.ru_stime
        reading = {"wall": wall, "others": max(0, busy_now - busy - own) / wall, "stolen": (stolen_now - stolen) / wall,
                   "peak_mb": usage.ru_maxrss // 1024, "output": output}
        if process.returncode:
            reading["failed"] = f"exit code {process.returncode}, see {log}"
        return reading

    def need(self, label, command):
        reading = self.timed(label, command)
        if "failed" in reading:
            sys.exit(f"{label}: {reading['failed']}")
        return reading

    def checkpoint(self, name):
        folder = self.options.work / "ckpt" / name
        if not (folder / "tokenizer_config.json").exists():
            tokenizer = str(self.options.data / "tokenizers/gpt-neox-20b/tokenizer.json")
            command = self.child("make_checkpoint", name=name, folder=str(folder), tokenizer=tokenizer)
            self.need(f"make {name}", command)
        return str(folder)

    def gguf(self, name):
        file = str(self.options.work / "ckpt" / f"{name}-f32.gguf")
        if not Path(file).exists():
            self.need(f"gguf {name}", self.child("make_gguf", folder=self.checkpoint(name), file=file))
        return file

    def keep(self, **result):
        self.results.append(result)
        if self.options.json:
            cpu = next(l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name"))
            report = {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "pins": [*PINS, LLAMA_CPP],
                      "arguments": sys.argv[1:], "results": self.results}
            self.options.json.write_text(json.dumps(report, indent=1) + "\n")


def disturbance(reading):
    return f"others {reading['others']:.2f}, stolen {reading['stolen']:.2f}"


def in_turn(number, sides):
    """Each round begins with another side."""
    return sides[number % len(sides) :] + sides[: number % len(sides)]


def middle(rows, key="wall"):
    return median(row[key] for row in rows)


# ---------------------------------------------------------------- whole runs


class TaskComparison:
    def __init__(self, bench, model, name, tasks):
        self.bench, self.options, self.model, self.name = bench, bench.options, model, name
        self.path = bench.checkpoint(model)
        self.shots, items, entry, peer = tasks[name]
        self.limit, self.peer_tasks = self.options.limit or items, list(peer)
        self.folder = self.options.work / "tasks" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        where = "import importlib.util as u; print(u.find_spec('lm_eval').submodule_search_locations[0])"
        library = bench.need("find lm-eval", [bench.python, "-c", where])["output"].strip()
        for task, (base, changes) in peer.items():
            config = {"include": f"{library}/tasks/{base}", "task": task, **changes}
            (self.folder / f"{task}.yaml").write_text(json.dumps(config, indent=1))  # JSON is YAML
        for suite, shots, limit in (("full", self.shots, self.limit), ("start", 0, 1)):
            text = f'schema = "veval.suite/1"\nname = "{suite}"\n[[task]]\n{entry}\nshots = {shots}\nlimit = {limit}\n'
            if suite == "start":
                text = text.replace("max_tokens = 128", "max_tokens = 1")
            self.suite_file(suite).write_text(text)

    def suite_file(self, suite):
        return self.options.work / f"{self.name}-{suite}.toml"  # above the data that it names

    def run_veval(self, suite):
        out = self.options.work / "runs"
        shutil.rmtree(out, ignore_errors=True)
        return self.bench.need(f"veval {suite} {self.name}", [
            self.options.veval, "run", self.suite_file(suite), self.path, "--data-dir", self.options.data,
            "--out", out, "--quiet", "--threads", str(self.options.threads), "--format", "json"])

    def run_lm_eval(self, batch, limit):
        reading = self.bench.timed(f"lm-eval {self.name} batch {batch}", self.bench.child(
            "peer_lm_eval", model=self.path, threads=self.options.threads, batch=batch, tasks=self.peer_tasks,
            tasks_dir=str(self.folder), shots=self.shots, limit=limit))
        output = reading.pop("output")
        return reading if "failed" in reading else reading | json.loads(output.splitlines()[-1])

    def veval_outcome(self, output):
        """Scores, and log-likelihoods or texts in the peer's order, of the latest run."""
        scores, answers = {}, {}
        for row in json.loads(output):
            if not row["slice"]:
                scores.setdefault(row["task"], {})[f"{row['metric']},{row['filter']}"] = row["value"]
        for line in open(next((self.options.work / "runs").rglob("samples.jsonl")), encoding="utf-8"):
            sample = json.loads(line)
            what = sample["outcome"]
            mine = [what["answer"]["text"]] if "answer" in what else [
                sum(choice["log_probs"]) for choice in what["choices"]["choices"]]
            answers.setdefault(sample["task"], []).extend(mine)
        return scores, answers

    def run(self):
        print(f"\n{self.model} {self.name}: {self.shots} shots, {self.limit} items, {self.options.threads} threads",
              flush=True)
        batches, ours, starts, peers = list(self.options.batches), [], [], {b: [] for b in self.options.batches}
        self.run_lm_eval(batches[0], limit=1)  # makes the `datasets` cache, warms the file cache
        for number in range(self.options.repeats):
            for side in in_turn(number, ["veval", *batches]):
                if side == "veval":
                    start, reading = self.run_veval("start"), self.run_veval("full")
                    start.pop("output")
                    scores, answers = self.veval_outcome(reading.pop("output"))
                    starts.append(start)
                    ours.append(reading)
                    note = f"start {start['wall']:.2f}"
                else:
                    reading = self.run_lm_eval(side, self.limit)
                    if "failed" in reading:
                        batches.remove(side)
                        print(f"  lm-eval batch {side}: {reading['failed']}", flush=True)
                        continue
                    peers[side].append(reading)
                    note = "import {imports:.2f}, load {load:.2f}, evaluate {evaluate:.2f}".format(**reading)
                label = "veval" if side == "veval" else f"lm-eval batch {side}"
                print(f"  {label} {reading['wall']:.2f} s ({note}; {disturbance(reading)})", flush=True)
            if number == 0 and batches:  # batch sizes that are clearly slower are not repeated
                fastest = min(middle(peers[b], "evaluate") for b in batches)
                batches = [b for b in batches if middle(peers[b], "evaluate") <= 1.1 * fastest]
        if not batches:
            sys.exit("no batch size of lm-eval worked")
        best = min(batches, key=lambda b: middle(peers[b]))
        agreement = compare_answers(scores, answers, peers[best][-1])
        if agreement["scores_differ"] or agreement["answers_agree"] < agreement["answers"]:
            self.bench.problems.append(f"{self.model} {self.name}: the two sides do not agree")
        work = [full["wall"] - start["wall"] for full, start in zip(ours, starts)]
        ratio, inner = middle(peers[best]) / middle(ours), None
        if median(work) > 0.2 * middle(ours):  # else the difference is mostly noise
            inner = middle(peers[best], "evaluate") / median(work)
        print(f"  medians: veval {middle(ours):.2f} s, {median(work):.2f} without start; lm-eval batch {best} "
              f"{middle(peers[best]):.2f} s, evaluate {middle(peers[best], 'evaluate'):.2f}; "
              f"ratio {ratio:.2f}, without start {inner and round(inner, 2)}", flush=True)
        for reading in sum(peers.values(), []):
            del reading["answers"]
        self.bench.keep(what="tasks", model=self.model, task=self.name, shots=self.shots, limit=self.limit,
                        threads=self.options.threads, veval=ours, veval_start=starts, lm_eval=peers, best_batch=best,
                        ratio=ratio, ratio_without_start=inner, scores=scores, **agreement)


def compare_answers(scores, answers, peer):
    """The same prompts give the same answers, but for rounding. Allowed: 1e-2 + 1e-5 |log-likelihood|."""
    pairs = []
    for task, theirs in peer["answers"].items():
        if len(answers[task]) != len(theirs):
            sys.exit(f"{task}: veval has {len(answers[task])} answers, lm-eval {len(theirs)}")
        pairs += zip(answers[task], theirs)
    different = 0
    for task, metric, theirs in [(t, k, v) for t, values in peer["scores"].items() for k, v in values.items()]:
        mine = scores[task].get(metric)
        if mine is not None:
            same = abs(mine - theirs) < 1e-6
            different += not same
            print(f"  {task} {metric}: veval {mine:.4f} {'=' if same else 'DIFFERS FROM'} lm-eval {theirs:.4f}")
    errors = [(x != y) if isinstance(x, str) else abs(x - y) / (1e-2 + 1e-5 * abs(y)) for x, y in pairs]
    agree = sum(error < 1 for error in errors)
    kind = "texts" if isinstance(pairs[0][0], str) else "log-likelihoods"
    print(f"  {agree} of {len(errors)} {kind} agree; largest difference {max(errors):.1e} of the allowance", flush=True)
    return {"scores_differ": different, "answers": len(errors), "answers_agree": agree,
            "largest_of_allowance": float(max(errors))}


# ---------------------------------------------------------------- engines

CASES = {"prefill": ("tokens", "logits"), "reverse": ("tokens", "of"), "decode": ("sequences", "context", "new"), "matmul": ("k", "n", "m")}


def rate(line):
    """Of the median reading: tokens a second, or GFLOP/s."""
    work = {"prefill": lambda: line["tokens"], "reverse": lambda: line["tokens"], "decode": lambda: line["sequences"] * line["new"],
            "matmul": lambda: 2e-9 * line["m"] * line["k"] * line["n"] * line["calls"]}
    return work[line["what"]]() / median(line["seconds"])


def engine_commands(bench, what):
    o, work = bench.options, (QUICK_WORK if bench.options.quick else ENGINE_WORK)[what]
    if what == "matmul":
        commands = {"MKL": bench.child("peer_mkl", threads=o.threads, **work)}
        work = work | {"shapes": [f"{k}x{n}" for k, n in work["shapes"]]}
    else:
        name = (o.model or ["smollm2-135m"])[0]
        work = work | {"model": bench.checkpoint(name)}
        if what in ("prefill", "reverse") and o.tokens:
            work["tokens"] = o.tokens
        peer = {"what": what, "threads": o.threads, **work}
        commands = {"transformers": bench.child("peer_engine", engine="transformers", **peer)}
        if what != "reverse":
            commands["llama.cpp"] = bench.child("peer_engine", engine="llama.cpp", gguf=bench.gguf(name), **peer)
    if not o.engine:
        return commands
    ours = [o.engine, what, "--threads", str(o.threads)]
    for key, value in work.items():
        ours += ["--" + key.replace("_", "-"), ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return {"veval": ours, **commands}


def compare_engines(bench, what):
    commands, rates, checks, rounds = engine_commands(bench, what), {}, {}, []
    unit = "GFLOP/s" if what == "matmul" else "tokens/s"
    print(f"\n{what}, {bench.options.threads} threads, {unit}: median and best round", flush=True)
    for number in range(bench.options.repeats):
        for side, command in in_turn(number, list(commands.items())):
            reading = bench.timed(f"{what} {side}", command)
            lines = [json.loads(line) for line in reading.pop("output").splitlines()]
            rounds.append({"side": side, **reading, "lines": lines})
            print(f"  {side}: {reading['wall']:.1f} s, {reading.get('failed', disturbance(reading))}", flush=True)
            if "failed" in reading:
                bench.problems.append(f"{what} {side}: {reading['failed']}")
            for line in lines:
                case, engine = tuple(line[key] for key in CASES[what]), line.get("engine", side)
                rates.setdefault(case, {}).setdefault(engine, []).append(rate(line))
                if line.get("check") is not None:
                    checks.setdefault(case, {})[engine] = line["check"]
    for case, engines in rates.items():
        text = [f"{engine} {median(r):.0f} ({max(r):.0f})" for engine, r in engines.items()]
        peers = [median(r) for engine, r in engines.items() if engine != "veval"]
        if "veval" in engines and peers:
            text.append(f"ratio {median(engines['veval']) / max(peers):.2f}")
        values = list(checks.get(case, {}).values())
        if len(values) > 1:
            spread = (max(values) - min(values)) / abs(values[0])
            text.append(f"checks within {spread:.0e}")
            if spread > 1e-3:
                bench.problems.append(f"{what} {case}: the engines do not agree")
        print("  " + " ".join(map(str, case)) + ": " + ", ".join(text), flush=True)
    table = [{"case": case, "engines": engines, "checks": checks.get(case)} for case, engines in rates.items()]
    bench.keep(what=what, unit=unit, threads=bench.options.threads, cases=CASES[what], rates=table, rounds=rounds)


def main():
    numbers = lambda text: [int(x) for x in text.split(",")]
    names = list(benchmarks(Path(), Path()))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", nargs="*", help="tasks, prefill, decode, reverse, matmul")
    p.add_argument("--work", type=Path, required=True, help="folder for what is made")
    p.add_argument("--data", type=Path, help="folder of the data sets and tokenizers")
    p.add_argument("--venv", type=Path, help="Python environment of the peers [WORK/venv]")
    p.add_argument("--install", action="store_true", help="make that environment")
    p.add_argument("--veval", type=Path, help="the program; for `tasks`")
    p.add_argument("--engine", type=Path, help="the example `engine_speed`; without it only peers are timed")
    p.add_argument("--model", action="append", choices=list(MODELS), help="[smollm2-135m; tasks: and pythia-160m]")
    p.add_argument("--task", action="append", choices=names, help="[all]")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeats", type=int, default=3, help="runs of each side")
    p.add_argument("--limit", type=int, help="items of a task or MMLU subject [mmlu, hellaswag 100, arc 25, gsm8k 16]")
    p.add_argument("--batches", type=numbers, default=[1, 8, 32], help="lm-eval's; the fastest counts [1,8,32]")
    p.add_argument("--tokens", type=numbers, help="prefill, reverse: lengths [512, 256]")
    p.add_argument("--quick", action="store_true", help="engines: small work, to see that everything runs")
    p.add_argument("--json", type=Path, help="file for every reading")
    o = p.parse_args()
    o.work = o.work.resolve()
    o.venv = (o.venv or o.work / "venv").absolute()
    o.data, o.veval, o.engine = (path and path.resolve() for path in (o.data, o.veval, o.engine))
    if "tasks" in o.what and not (o.veval and o.data) or set(o.what) - {"tasks", *CASES}:
        p.error("expected tasks (with --veval and --data), prefill, decode, reverse or matmul")
    if o.install:
        install(o.venv)
    bench = Bench(o)
    for what in o.what:
        if what != "tasks":
            compare_engines(bench, what)
            continue
        convert_data(o.data, o.work / "data")
        tasks = benchmarks(o.data, o.work / "data")
        for model, task in [(m, t) for m in o.model or ["smollm2-135m", "pythia-160m"] for t in o.task or names]:
            TaskComparison(bench, model, task, tasks).run()
    if bench.problems:
        sys.exit("\n" + "\n".join(bench.problems))


if __name__ == "__main__":
    main()
