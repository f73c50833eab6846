"""Records what `lm_eval --model hf` says on local files, as a fixture for veval.

  record.py --data DATA --work DIR [--out FIXTURES] [--checkpoint NAME ...] [--task NAME ...]

DATA is the folder with one folder per data set (hellaswag/, arc/, ... and
tiny-lm-stories260k-hf/). DIR keeps what is made on the way: checkpoints,
converted data, rendered task files, the `datasets` cache. A (checkpoint, task,
shots) that is already recorded is skipped, so the run can be stopped and
started again. No text of a benchmark is written to FIXTURES.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import os
import re
import string
import sys
import time
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    DISABLE_MULTIPROC="1",  # the bootstrap: same draws, one process
)
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

CHECKPOINTS = ["stories260k", "random_gpt2", "random_neox"]
# task: (shots, limit)
TASKS = {
    "hellaswag": ((0, 5), 200),
    "arc_easy": ((0, 5), 200),
    "gsm8k": ((0, 5), 200),
    "mmlu": ((0, 5), 50),
    "lambada_openai": ((0, 5), 200),
    "truthfulqa_mc1": ((0,), 200),
    "wikitext": ((0,), 200),
    "winogrande": ((0, 5), 200),
    "arc_challenge": ((0, 5), 200),
    "piqa": ((0, 5), 200),
    "boolq": ((0, 5), 200),
    "openbookqa": ((0, 5), 200),
    "sciq": ((0, 5), 200),
    "truthfulqa_mc2": ((0,), 200),
    "copa": ((0, 5), 50),
    "commonsense_qa": ((0, 5), 50),
    "social_iqa": ((0, 5), 50),
    "triviaqa": ((0, 5), 50),
    "nq_open": ((0, 5), 50),
    "svamp": ((0, 5), 50),
    "mmlu_continuation": ((0, 5), 20),
    "blimp": ((0,), 50),
    "openbookqa_fact": ((0, 5), 40),
    "race": ((0, 2), 40),
    "texts": ((0,), 50),
}
# Rows of our own, where no public ones are at hand.
INVENTED = ROOT / "tests/fixtures/invented"
MMLU = ["abstract_algebra", "anatomy", "high_school_us_history", "professional_law"]
GPT2_NEOX = {"random_gpt2": "gpt2", "random_neox": "gpt_neox"}


def sha(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def write_jsonl(path, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def rows(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def convert(data, out):
    """The files whose shape `datasets` cannot read as they are."""
    out.mkdir(parents=True, exist_ok=True)
    with open(data / "truthfulqa/mc_task.json", encoding="utf-8") as f:
        questions = json.load(f)  # keeps the key order
    write_jsonl(
        out / "truthfulqa.jsonl",
        (
            {
                "question": r["question"],
                **{
                    k: {"choices": list(r[k]), "labels": list(r[k].values())}
                    for k in ("mc1_targets", "mc2_targets")
                },
            }
            for r in questions
        ),
    )
    for subject in MMLU:
        for split in ("test", "dev"):
            with open(data / f"mmlu/{split}/{subject}_{split}.csv", encoding="utf-8", newline="") as f:
                table = list(csv.DictReader(f))
            write_jsonl(
                out / f"mmlu_{subject}_{split}.jsonl",
                (
                    {
                        "question": r["question"],
                        "choices": [r[f"choice{i}"] for i in range(4)],
                        "answer": int(r["answer"]),
                    }
                    for r in table
                ),
            )
    trivia = rows(data / "triviaqa/triviaqa_sm_sub.jsonl")
    question = lambda context: context.removeprefix("Question: ").removesuffix("\nAnswer:")
    write_jsonl(
        out / "triviaqa.jsonl",
        ({"question": question(r["context"]), "answer": {"value": r["answer"], "aliases": r["aliases"]}} for r in trivia),
    )
    # The public set holds the text of a Python list.
    write_jsonl(
        out / "race.jsonl",
        ({"article": r["article"], "problems": repr(r["problems"])} for r in rows(INVENTED / "race/high_test.jsonl")),
    )
    write_jsonl(out / "wikitext.jsonl", ({"page": p} for p in wikitext_pages(data)))


def wikitext_pages(data):
    """An article starts at a first-level heading; lines before the first are dropped."""
    with open(data / "corpus-wikitext2/valid.txt", encoding="utf-8", newline="") as f:
        lines = f.read().split("\n")
    lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    pages = []
    for line in lines:
        if re.search(r"^ = [^=].* = $", line.rstrip("\n")):
            pages.append([])
        if pages:
            pages[-1].append(line)
    return ["".join(p) for p in pages]


def render_tasks(data, converted, out):
    import lm_eval.tasks

    values = {
        "DATA": str(data),
        "CONVERTED": str(converted),
        "INVENTED": str(INVENTED),
        "LM_EVAL_TASKS": str(Path(lm_eval.tasks.__file__).parent),
    }
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((HERE / "tasks").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        (out / path.name).write_text(string.Template(text).substitute(values), encoding="utf-8")


def checkpoint(name, data, work):
    dst = work / "ckpt" / name
    if name in GPT2_NEOX:
        sys.path.insert(0, str(HERE))
        import random_checkpoint

        kind = GPT2_NEOX[name]
        if not (work / "random" / kind / "model.safetensors").exists():
            random_checkpoint.weights(ROOT / "tests/fixtures/random_ckpt", work / "random")
        return work / "random" / kind
    dst.mkdir(parents=True, exist_ok=True)
    for f in ("config.json", "model.safetensors", "tokenizer.json"):
        (dst / f).write_bytes((data / "tiny-lm-stories260k-hf" / f).read_bytes())
    # without this file there is no BOS or EOS token to speak of, and with
    # tokenizer_class LlamaTokenizer parts of tokenizer.json would be rebuilt
    (dst / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
            }
        )
    )
    check_tokenizer(dst)
    return dst


def check_tokenizer(path):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    ours, raw = AutoTokenizer.from_pretrained(path), Tokenizer.from_file(str(path / "tokenizer.json"))
    for text in (
        "Once upon a time", "caf\u00e9 \u00c9cole", "  two  spaces ", "a\nb\n\n c\n", "", " ", "\t", "\u2615\U0001f600",
        "<s>x", "x</s> y", "Question: 1+1?\nAnswer:",
    ):  # fmt: skip
        a, b = ours.encode(text), raw.encode(text).ids
        assert a == b and a[0] == raw.token_to_id("<s>"), (text, a, b)
        assert ours.decode(a, skip_special_tokens=True) == raw.decode(b), text


class Spy:
    """Notes what lm-eval does not log: token counts, generated ids, chosen examples."""

    def __init__(self):
        from lm_eval.api import samplers
        from lm_eval.models.huggingface import HFLM

        self.clear()
        spy = self

        def wrap(cls, name, after):
            inner = getattr(cls, name)

            def outer(this, *args, **kwargs):
                out = inner(this, *args, **kwargs)
                after(this, out, *args, **kwargs)
                return out

            setattr(cls, name, outer)

        def pairs(this, out, requests, *args, **kwargs):
            for text, ctx, cont in requests:
                if text is not None:
                    spy.lengths[text] = [len(ctx), len(cont)]

        def encoded(this, out, strings, *args, **kwargs):
            spy.context = strings[0]

        def generated(this, out, context, *args, **kwargs):
            n = context.shape[1]
            spy.generated[spy.context] = (n, out[0].tolist()[n:])

        def chosen(this, out, *args, **kwargs):
            if out:
                # the examples are the very objects of the pool
                where = {id(d): i for i, d in enumerate(this.df)}
                spy.shots.append([where[id(d)] for d in out])

        wrap(HFLM, "_loglikelihood_tokens", pairs)
        wrap(HFLM, "tok_batch_encode", encoded)
        wrap(HFLM, "_model_generate", generated)
        wrap(samplers.ContextSampler, "sample", chosen)
        wrap(samplers.FirstNSampler, "sample", chosen)

    def clear(self):
        self.lengths, self.generated, self.shots = {}, {}, []


def number(x):
    return x if isinstance(x, int) else float(x)


def lines(samples, shots, spy):
    """One record per item; with several filters lm-eval logs an item once for each."""
    out = {}
    for s in samples:
        args, resps = s["arguments"], [r[0] for r in s["resps"]]
        rec = out.setdefault(s["doc_id"], {"doc_id": s["doc_id"]})
        if shots and "shots" not in rec:
            rec["shots"] = shots[s["doc_id"]]
        contexts = [a[0] for a in args]
        rec["prompt_sha"] = sha(contexts[0]) if len(set(contexts)) == 1 else [sha(c) for c in contexts]
        if len(args[0]) == 1:  # rolling
            (ll,) = resps
            rec["ll"] = float(ll)
            rec["words"] = s["word_perplexity"][1]
            rec["bytes"] = s["byte_perplexity"][1]
        elif isinstance(args[0][1], dict):  # generation
            rec["prompt_tokens"], rec["ids"] = spy.generated[contexts[0]]
            rec["text"] = resps[0]
            rec.setdefault("filtered", {})[s["filter"]] = s["filtered_resps"][0]
            rec.setdefault("exact_match", {})[s["filter"]] = number(s["exact_match"])
        else:
            rec["cont_sha"] = [sha(a[1]) for a in args]
            rec["tokens"] = [spy.lengths[a] for a in args]
            rec["ll"] = [float(r[0]) for r in resps]
            rec["greedy"] = [bool(r[1]) for r in resps]
            if isinstance(s["target"], int):
                rec["gold"] = s["target"]
            rec["metrics"] = {m: number(s[m]) for m in s["metrics"]}
    return [out[k] for k in sorted(out)]


def write_gz(path, records):
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=9) as f:
        for r in records:
            f.write((json.dumps(r, ensure_ascii=False) + "\n").encode())
    path.write_bytes(raw.getvalue())


def plain(value):
    """Numbers and strings of a result, without numpy types."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (str, int)) or value is None:
        return value
    return float(value)


def environment():
    from importlib.metadata import version

    import torch

    return {
        **{p: version(p) for p in ("lm_eval", "torch", "transformers", "tokenizers", "datasets", "numpy")},
        "python": sys.version.split()[0],
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def run(name, path, task, shots, limit, manager, spy, out):
    import lm_eval

    spy.clear()
    started = time.time()
    res = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={path},dtype=float32",
        tasks=[task + "_local"],
        num_fewshot=shots,
        batch_size=1,
        device="cpu",
        limit=limit,
        log_samples=True,
        task_manager=manager,
    )
    chosen = spy.shots
    for local, samples in res["samples"].items():
        n = len({s["doc_id"] for s in samples})
        mine, chosen = chosen[:n], chosen[n:]
        write_gz(out / f"{local.removesuffix('_local')}-{shots}shot.jsonl.gz", lines(samples, mine, spy))
    assert not chosen
    return res, time.time() - started


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data", required=True, type=Path)
    p.add_argument("--work", required=True, type=Path)
    p.add_argument("--out", default=ROOT / "tests/fixtures/lm_eval", type=Path)
    p.add_argument("--checkpoint", action="append", choices=CHECKPOINTS)
    p.add_argument("--task", action="append", choices=list(TASKS))
    a = p.parse_args()
    data, work = a.data.resolve(), a.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["HF_DATASETS_CACHE"] = str(work / "datasets")

    import torch

    torch.set_num_threads(1)
    from lm_eval.tasks import TaskManager

    convert(data, work / "converted")
    render_tasks(data, work / "converted", work / "tasks")
    manager = TaskManager(include_path=str(work / "tasks"), include_defaults=False)
    spy = Spy()
    for name in a.checkpoint or CHECKPOINTS:
        path = checkpoint(name, data, work)
        out = a.out / name
        out.mkdir(parents=True, exist_ok=True)
        summary_path = out / "results.json"
        summary = {"environment": environment(), "versions": {}, "items": {}, "results": {}, "groups": {}, "errors": {}}
        if summary_path.exists():
            summary |= json.loads(summary_path.read_text(encoding="utf-8"))
        for task in a.task or TASKS:
            for shots in TASKS[task][0]:
                key = f"{task}-{shots}shot"
                done = summary["results"] | summary["groups"] | summary["errors"]
                if key in done:
                    continue
                print(f"#### {name} {key}", flush=True)
                try:
                    res, seconds = run(name, path, task, shots, TASKS[task][1], manager, spy, out)
                except (AssertionError, ValueError, IndexError) as err:
                    import traceback

                    traceback.print_exc()
                    summary["errors"][key] = f"{type(err).__name__}: {err}"
                else:
                    print(f"#### {name} {key} done in {seconds:.0f} s", flush=True)
                    groups = res.get("groups", {})
                    for local, values in res["results"].items():
                        values = {k: plain(v) for k, v in values.items() if k not in ("name", "alias")}
                        if isinstance(values.get("sample_count"), dict):
                            values["sample_count"] = plain(values["sample_count"])
                        short = local.removesuffix("_local")
                        where = "groups" if local in groups else "results"
                        summary[where][f"{short}-{shots}shot"] = values
                    for local, version in res["versions"].items():
                        summary["versions"][local.removesuffix("_local")] = version
                    for local, count in res["n-samples"].items():
                        summary["items"][local.removesuffix("_local")] = count["effective"]
                tmp = summary_path.with_suffix(".tmp")
                tmp.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                tmp.replace(summary_path)


if __name__ == "__main__":
    main()
