"""Read what `veval export lm-eval` wrote with lm-evaluation-harness's own code.

FOLDER is an exported folder of one model: `results_<time>.json` and one
`samples_<task>_<time>.jsonl` for each task. The script

- finds and loads the files with the harness's functions, and prints its tables;
- makes the dataset card that the harness makes of such files on the hub, with
  a stand-in for the hub, and loads every sample file with `datasets`;
- takes every hash again (documents, prompts, targets, tasks);
- takes every item's metrics again from the answers, with the harness's
  `process_results`, where it has the metric and the texts are there;
- takes every score and standard error again from the items, with its
  aggregations, and every group's from its tasks.

With `--against`, a folder that the harness itself wrote for the same model and
data is compared key by key: task NAME there may be called NAME_local, as the
files in `benches/peers/lm_eval/tasks` are. No text of a benchmark is printed.

    python exchange.py FOLDER [--against FOLDER]

Exit code 1 when anything is not as the harness has it; what `--against` finds
is a table for people and does not count. Needs lm_eval[hf]==0.4.13, pandas.
"""

import argparse
import ast
import json
import math
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", DISABLE_MULTIPROC="1")

import datasets
import huggingface_hub
import numpy as np
from lm_eval.api.metrics import (
    aggregate_subtask_metrics,
    brier_score,
    exact_match_fn,
    pooled_sample_stderr,
    stderr_for_metric,
)
from lm_eval.api.registry import get_aggregation
from lm_eval.api.task import ConfigurableTask
from lm_eval.loggers.evaluation_tracker import EvaluationTracker, GeneralConfigTracker
from lm_eval.loggers.wandb_logger import WandbLogger
from lm_eval.tasks.truthfulqa.utils import process_results_mc2
from lm_eval.utils import (
    get_file_datetime,
    get_file_task_name,
    get_latest_filename,
    get_results_filenames,
    get_sample_results_filenames,
    handle_non_serializable,
    hash_string,
    make_table,
    sanitize_model_name,
    softmax,
)

PROFILE = "lm-eval@0.4.13"  # whose standard errors are the harness's
OURS = {"acc_per_token", "ties", "choice_bits_per_byte", "token_perplexity", "veval_acc"}
TOLERANCE = 1e-12  # relative: sums in another order

datasets.disable_progress_bars()
problems = []


def expect(what, expected, found):
    if not same(expected, found):
        problems.append(f"{what}: expected {expected!r}, found {found!r}")


def same(a, b):
    if isinstance(a, bool) or isinstance(b, bool) or not (is_number(a) and is_number(b)):
        return a == b
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-15)


def is_number(x):
    return isinstance(x, (int, float, np.integer, np.floating))


# ---------------------------------------------------------------- loading


class Folder:
    """The files of one model, as the harness's readers find them."""

    def __init__(self, path):
        self.path = path
        files = [f.as_posix() for f in sorted(path.iterdir()) if f.is_file()]
        self.results_file = get_latest_filename(get_results_filenames(files))
        self.results = json.loads(Path(self.results_file).read_text(encoding="utf-8"))
        self.files = {}
        for file in get_sample_results_filenames(files):
            task = get_file_task_name(Path(file).name)
            self.files[task] = get_latest_filename([file, self.files.get(task, file)])
        self.samples = {task: lines(file) for task, file in self.files.items()}


def lines(file):
    with open(file, encoding="utf-8") as f:
        return [json.loads(line.strip()) for line in f]


def check_names(folder):
    r = folder.results
    name = GeneralConfigTracker._get_model_name(r["config"]["model_args"])
    expect("model_name", name, r["model_name"])
    expect("folder", sanitize_model_name(name), folder.path.name)
    expect("model_name_sanitized", sanitize_model_name(name), r["model_name_sanitized"])
    expect("tasks with samples", sorted(r["configs"]), sorted(folder.files))
    times = {get_file_datetime(Path(f).name) for f in folder.files.values()}
    expect("time of results", times, {get_file_datetime(Path(folder.results_file).name).removesuffix(".json")})


def check_card(folder):
    """`recreate_metadata_card`, whose hub is this folder."""
    cards = []
    inside = {f"{folder.path.name}/{Path(f).name}": f for f in [folder.results_file, *folder.files.values()]}
    huggingface_hub.hf_hub_url = lambda repo_id, filename, repo_type: inside[filename]
    huggingface_hub.DatasetCard.push_to_hub = lambda card, *a, **k: cards.append(card)
    tracker = EvaluationTracker()
    tracker.general_config_tracker.model_name = folder.results["model_name"]
    tracker.api = SimpleNamespace(list_repo_files=lambda repo_id, repo_type: list(inside))
    tracker.recreate_metadata_card()
    configs = [c["config_name"] for c in cards[0].data.configs]
    expect("configurations of the card", len(folder.files), len(configs))
    print(f"card: {len(configs)} configurations")


def check_datasets(folder):
    for task, file in folder.files.items():
        try:
            rows = datasets.load_dataset("json", data_files=file, split="train")
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs in the report
            problems.append(f"{task}: datasets does not load it: {str(error.__cause__ or error)[:200]}")
            continue
        expect(f"{task}: rows that datasets loads", len(folder.samples[task]), len(rows))


def check_table(folder):
    """The data frame that the harness sends to Weights & Biases."""
    for task, samples in folder.samples.items():
        if all(known(s) for s in samples):
            listed = [
                s | {"arguments": [list(a.values()) for a in s["arguments"].values()]} for s in samples
            ]
            frame = WandbLogger._generate_dataset(None, listed, folder.results["configs"][task])
            expect(f"{task}: rows of the data frame", len(samples), len(frame))


# ---------------------------------------------------------------- hashes


def known(sample):
    """Whether the texts were exported."""
    return all(text is not None for request in sample["arguments"].values() for text in request.values())


def check_hashes(folder):
    for task, samples in folder.samples.items():
        for s in samples:
            where = f"{task}, document {s['doc_id']}"
            doc = json.dumps(s["doc"], indent=2, default=handle_non_serializable, ensure_ascii=False)
            expect(f"{where}: doc_hash", hash_string(doc), s["doc_hash"])
            expect(f"{where}: target_hash", hash_string(s["target"]), s["target_hash"])
            if known(s):
                expect(f"{where}: prompt_hash", hash_string(s["arguments"]["gen_args_0"]["arg_0"]), s["prompt_hash"])
        whole = "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples)
        expect(f"{task}: task hash", hash_string(whole), folder.results["task_hashes"][task])


# ---------------------------------------------------------------- items


def answers(sample, kind):
    """Answers as `process_results` gets them, from their texts."""
    pair = lambda r: (float(r[0]), r[1] == "True")
    read = {"loglikelihood": pair, "multiple_choice": pair, "loglikelihood_rolling": float, "generate_until": str}
    return [read[kind](r) for r in sample["filtered_resps"]]


def gold_of(sample, kind):
    if kind in ("loglikelihood", "loglikelihood_rolling"):
        return sample["target"]
    text = sample["target"]
    listed = text.startswith("[") and text.endswith("]")
    if kind == "generate_until":
        return literal(text) if listed else text
    return literal(text) if listed or text.isdigit() else None


def literal(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def items_again(sample, config):
    """What the harness makes of one document's answers; None where it cannot know."""
    kind = config["output_type"]
    gold = gold_of(sample, kind)
    results = answers(sample, kind)
    names = [m["metric"] for m in config["metric_list"]]
    if gold is None:
        return None
    choices = None
    if kind == "multiple_choice":
        cut = len(config["target_delimiter"])
        requests = [r["arg_1"] for r in sample["arguments"].values()]
        choices = [text[cut:] for text in requests[: len(results)]]
        if "acc_mutual_info" in names:
            choices = choices[: len(choices) // 2]
    if "veval_acc" in names:  # TruthfulQA's, whose first choices are the true ones
        labels = [int(i in (gold if isinstance(gold, list) else [gold])) for i in range(len(results))]
        if labels != sorted(labels, reverse=True):
            return None
        return process_results_mc2({"mc2_targets": {"labels": labels}}, results)
    rules = {
        k: v
        for m in config["metric_list"]
        if m["metric"] == "exact_match"
        for k, v in m.items()
        if k not in ("metric", "aggregation", "higher_is_better")
    }
    task = SimpleNamespace(
        config=SimpleNamespace(process_results=None, doc_to_choice=None),
        OUTPUT_TYPE=kind,
        _metric_fn_list={n: exact_match_fn for n in names},
        _metric_fn_kwargs=defaultdict(lambda: rules),
        _aggregation_list={},
        _higher_is_better={},
        doc_to_target=lambda doc: gold,
        doc_to_choice=lambda doc: choices,
        multiple_input=0,
        multiple_target=isinstance(gold, list),
        count_words=ConfigurableTask.count_words,
        count_bytes=ConfigurableTask.count_bytes,
    )
    again = ConfigurableTask.process_results(task, None, results)
    if "brier_score" in sample:
        lls = [ll for ll, _ in results[: len(choices)]]
        again["brier_score"] = brier_score([(gold, softmax(lls))])
    return again


def check_items(folder):
    counts = Counter()
    for task, samples in folder.samples.items():
        config = folder.results["configs"][task]
        for s in samples:
            expect(f"{task}: metrics of a sample", [k for k in s if k in s["metrics"]], s["metrics"])
            again = items_again(s, config) if known(s) else None
            for name in s["metrics"]:
                if name in OURS:
                    counts["ours alone"] += 1
                    continue
                if again is None or name not in again:
                    counts["not enough known"] += 1
                    continue
                found, expected = s[name], again[name]
                if isinstance(expected, tuple):
                    # Words and bytes may be those of the text before it was detokenised.
                    found, expected = found[0], expected[0]
                expect(f"{task}, document {s['doc_id']}: {name}", expected, found)
                counts["taken again"] += 1
    print("item metrics:", dict(counts))


# ---------------------------------------------------------------- scores


def check_scores(folder):
    r, count = folder.results, 0
    for task, samples in folder.samples.items():
        table, config = r["results"][task], r["configs"][task]
        harness = config["metadata"]["profile"] == PROFILE
        filters = list(dict.fromkeys(s["filter"] for s in samples))
        expect(f"{task}: sample_len", len(samples) // len(filters), table["sample_len"])
        expect(f"{task}: effective", table["sample_len"], r["n-samples"][task]["effective"])
        wanted = {"name", "alias", "sample_len"}
        for metric in config["metric_list"]:
            name = metric["metric"]
            aggregation = get_aggregation(metric["aggregation"])
            for f in filters:
                items = [s[name] for s in samples if s["filter"] == f and name in s]
                wanted |= {f"{name},{f}", f"{name}_stderr,{f}"}
                expect(f"{task}: {name},{f}", float(aggregation(items)), table[f"{name},{f}"])
                count += 1
                if harness or metric["aggregation"] == "mean":
                    stderr = stderr_for_metric(aggregation, bootstrap_iters=100_000)
                    stderr = stderr(items) if stderr and len(items) > 1 else "N/A"
                    expect(f"{task}: {name}_stderr,{f}", stderr, table[f"{name}_stderr,{f}"])
            expect(f"{task}: direction of {name}", metric["higher_is_better"], r["higher_is_better"][task][name])
        expect(f"{task}: keys", sorted(wanted), sorted(table))
    for group, table in r.get("groups", {}).items():
        leaves = leaves_of(group, r["group_subtasks"])
        for key, n in table["sample_count"].items():
            name, _, f = key.partition(",")
            parts = [r["results"][t] for t in leaves if key in r["results"][t]]
            sizes = [p["sample_len"] for p in parts]
            expect(f"{group}: {key}", aggregate_subtask_metrics([p[key] for p in parts], sizes), table[key])
            expect(f"{group}: items of {key}", sum(sizes), n)
            errors = [p[f"{name}_stderr,{f}"] for p in parts]
            pooled = "N/A" if "N/A" in errors else pooled_sample_stderr(errors, sizes)
            expect(f"{group}: {name}_stderr,{f}", pooled, table[f"{name}_stderr,{f}"])
            count += 1
        expect(f"{group} among the results", table, r["results"][group])
    print(f"scores taken again: {count}")


def leaves_of(name, children):
    return [leaf for child in children[name] for leaf in leaves_of(child, children)] if name in children else [name]


# ---------------------------------------------------------------- side by side


def compare(folder, other):
    """Key by key with what the harness wrote: how many lines are equal, near (numbers within 1e-3), different."""
    print(f"{'task':<32} {'key':<18} {'equal':>6} {'near':>6} {'differ':>6}")
    total = defaultdict(Counter)
    for task, samples in sorted(folder.samples.items()):
        theirs = other.samples.get(task) or other.samples.get(f"{task}_local")
        if theirs is None:
            continue
        index = {(s["doc_id"], s["filter"]): s for s in theirs}
        counts = defaultdict(Counter)
        for s in samples:
            t = index.get((s["doc_id"], s["filter"]))
            if t is None:
                counts["(line)"]["differ"] += 1
                continue
            if [k for k in t if k not in t["metrics"]] != [k for k in s if k not in s["metrics"]]:
                counts["(order of keys)"]["differ"] += 1
            for key in t:
                counts[key][relation(s.get(key), t[key], key)] += 1
        for key, found in counts.items():
            total[key].update(found)
            if found["differ"]:
                print(f"{task:<32} {key:<18} {found['equal']:>6} {found['near']:>6} {found['differ']:>6}")
    for key, found in total.items():
        print(f"{'all':<32} {key:<18} {found['equal']:>6} {found['near']:>6} {found['differ']:>6}")
    a, b = folder.results, other.results
    print("keys of results that only the harness has:", sorted(set(b) - set(a)))
    print("keys of results that only we have:", sorted(set(a) - set(b)))
    print("keys of config that differ:", sorted(set(a["config"]) ^ set(b["config"])))


def relation(ours, theirs, key):
    if ours == theirs and type(ours) is type(theirs):
        return "equal"
    if key == "metrics":
        return "near" if set(theirs) <= set(ours or []) else "differ"
    return "near" if near(ours, theirs) else "differ"


def near(a, b):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(near, a, b))
    try:
        return abs(float(a) - float(b)) <= 1e-3 + 1e-6 * abs(float(b))
    except (TypeError, ValueError):
        return a == b


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, metavar="FOLDER")
    p.add_argument("--against", type=Path, metavar="FOLDER")
    a = p.parse_args()
    folder = Folder(a.folder.resolve())
    n = sum(map(len, folder.samples.values()))
    print(f"{folder.results_file}: {len(folder.samples)} tasks, {n} lines")
    print(make_table(folder.results))
    if "groups" in folder.results:
        print(make_table(folder.results, "groups"))
    for check in (check_names, check_card, check_datasets, check_table, check_hashes, check_items, check_scores):
        check(folder)
    if a.against:
        compare(folder, Folder(a.against.resolve()))
    for problem in problems[:50]:
        print("problem:", problem)
    print(f"{len(problems)} problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
