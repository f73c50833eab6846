"""Writes result and sample files with lm-evaluation-harness's own command line, for `veval import lm-eval`.

    python exchange_import.py --data DIR [--out FOLDER]

DIR holds tiny-lm-stories260k-hf/, a trained Llama of 260 thousand parameters. The rows are invented here. What the
harness writes is kept as it is, except for `pretty_env_info`, paths of this machine and the clock.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

CHOICES = [
    {"q": "The cat sat on the", "c": ["mat", "moon beam", "sea"], "g": 0, "kind": "a"},
    {"q": "Lily was very", "c": ["stone", "happy", "and the of"], "g": 1, "kind": "a"},
    {"q": "Tom had a big red", "c": ["ball", "sang", "Straße naïve"], "g": 0, "kind": "a"},
    {"q": "The sun was", "c": ["cold", "a shoe", "bright"], "g": 2, "kind": "a"},
    {"q": "She went to the", "c": ["park", "happy"], "g": 0, "kind": "b"},
    {"q": "They played", "c": ["blue", "with the dog all day", "when"], "g": 1, "kind": "b"},
    {"q": "He ate an", "c": ["apple", "cloud"], "g": 0, "kind": "b"},
]
LAST = [
    {"text": "Once upon a time, there was a little", "last": "girl"},
    {"text": "The dog was so happy that he wagged his", "last": "tail"},
    {"text": "Mom said, \"It is time for", "last": "bed.\""},
    {"text": "One day, a", "last": "boy"},
]
PAGES = [
    {"page": "Once upon a time, there was a little girl named Lily.  She loved to play outside.\n"},
    {"page": "Tom and his mom went to the park. They saw a big dog."},
    {"page": "The naïve fox said: \"Hello!\" and ran away."},
]
FILL = [
    {"s": ["The boy", "The lamp"], "rest": "ran to his mom.", "g": 0},
    {"s": ["The cake", "The girl"], "rest": "was sad and cried.", "g": 1},
    {"s": ["The bird", "The book"], "rest": "sang a song.", "g": 0},
]
WRITE = [
    {"q": "Once upon a time, there was a", "a": "little girl", "all": ["little girl", "a boy"]},
    {"q": "Lily and Tom", "a": "were", "all": ["were", "it's \"fun\"", "wanted"]},
    {"q": "One day,", "a": "Lily", "all": ["Lily", "a"]},
]

COMMON = "dataset_path: json\ntest_split: test\noutput_type: {kind}\nmetadata:\n  version: {version}\n"
EACH = "  - metric: {0}\n    aggregation: {1}\n    higher_is_better: {2}\n"
ACC = EACH.format("acc", "mean", "true")
ACC_NORM = EACH.format("acc_norm", "mean", "true")
MATCH = EACH.format("exact_match", "mean", "true") + (
    "    ignore_case: true\n    ignore_punctuation: true\n    regexes_to_ignore:\n      - \",\"\n"
)


def task(name, data, kind, body, version=1.0):
    head = f"task: {name}\n" + COMMON.format(kind=kind, version=version)
    return head + f"dataset_kwargs:\n  data_files:\n    test: {data}\n" + body


def definitions(folder):
    files = {}
    rows = {
        "a": [row for row in CHOICES if row["kind"] == "a"],
        "b": [row for row in CHOICES if row["kind"] == "b"],
        "last": LAST,
        "pages": PAGES,
        "fill": FILL,
        "write": WRITE,
    }
    for name, list_of in rows.items():
        files[f"{name}.jsonl"] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in list_of)
    path = lambda name: folder / f"{name}.jsonl"
    choice = 'doc_to_text: "{{q}}"\ndoc_to_choice: "{{c}}"\ndoc_to_target: g\n'
    mutual = EACH.format("acc_mutual_info", "mean", "true")
    files["toy_a.yaml"] = task(
        "toy_a", path("a"), "multiple_choice", choice + "metric_list:\n" + ACC + ACC_NORM + mutual
    )
    files["toy_b.yaml"] = task(
        "toy_b", path("b"), "multiple_choice", choice + "num_fewshot: 2\nmetric_list:\n" + ACC + ACC_NORM, 2
    )
    mean = "aggregate_metric_list:\n  - metric: acc\n    aggregation: mean\n    weight_by_size: true\n"
    files["toy.yaml"] = "group: toy\ntask:\n  - toy_a\n  - toy_b\n" + mean + "metadata:\n  version: 1.0\n"
    files["toy_last.yaml"] = task(
        "toy_last",
        path("last"),
        "loglikelihood",
        'doc_to_text: "{{text}}"\ndoc_to_target: "{{\' \' + last}}"\ntarget_delimiter: ""\nmetric_list:\n'
        + EACH.format("perplexity", "perplexity", "false")
        + ACC,
    )
    rolling = "".join(
        EACH.format(name, how, "false")
        for name, how in [
            ("word_perplexity", "weighted_perplexity"),
            ("byte_perplexity", "weighted_perplexity"),
            ("bits_per_byte", "bits_per_byte"),
        ]
    )
    files["toy_pages.yaml"] = task(
        "toy_pages",
        path("pages"),
        "loglikelihood_rolling",
        'doc_to_text: ""\ndoc_to_target: "{{page}}"\nmetric_list:\n' + rolling,
    )
    files["toy_fill.yaml"] = task(
        "toy_fill",
        path("fill"),
        "multiple_choice",
        'doc_to_text: g\ndoc_to_choice: "{{s}}"\ndoc_to_target: "{{rest}}"\nmetric_list:\n' + ACC,
    )
    write = 'doc_to_text: "{{q}}"\ndoc_to_target: "{{%s}}"\n' + (
        'generation_kwargs:\n  until: ["\\n"]\n  max_gen_toks: 12\n  do_sample: false\n'
    )
    filters = (
        "filter_list:\n"
        "  - name: first-word\n    filter:\n      - function: regex\n        regex_pattern: '(\\w+)'\n"
        "      - function: take_first\n"
        "  - name: last-word\n    filter:\n      - function: regex\n        regex_pattern: '(\\w+)|(zzz)'\n"
        "        group_select: -1\n      - function: take_first\n"
    )
    files["toy_write.yaml"] = task(
        "toy_write", path("write"), "generate_until", write % "a" + filters + "metric_list:\n" + MATCH
    )
    files["toy_write_any.yaml"] = task(
        "toy_write_any", path("write"), "generate_until", write % "all" + filters + "metric_list:\n" + MATCH
    )
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def tidy(path, places):
    text = path.read_text(encoding="utf-8")
    for place, name in places:
        text = text.replace(str(place), name)
    if path.suffix == ".json":
        found = json.loads(text)
        for key in ["pretty_env_info", "date", "start_time", "end_time", "total_evaluation_time_seconds"]:
            found.pop(key, None)
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE.parent / "fixtures" / "exchange" / "lm_eval_0.4.13")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        model = work / "stories260k" / "step1000-tokens4B"
        shutil.copytree(arguments.data / "tiny-lm-stories260k-hf", model)
        special = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
        (model / "tokenizer_config.json").write_text(json.dumps(special))
        definitions(work)
        tasks = "toy,toy_last,toy_pages,toy_fill,toy_write,toy_write_any"
        command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf"]
        command += ["--model_args", f"pretrained={model},dtype=float32", "--tasks", tasks]
        command += ["--include_path", str(work), "--output_path", str(work / "out"), "--log_samples"]
        command += ["--device", "cpu", "--batch_size", "1"]
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(work / "cache")}
        subprocess.run(command, check=True, env={**os.environ, **offline, "DISABLE_MULTIPROC": "1"})
        shutil.rmtree(arguments.out, ignore_errors=True)
        arguments.out.mkdir(parents=True)
        for path in sorted((work / "out").rglob("*.json*")):
            name = re.sub(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d+", "2026-11-29T10-00-00.000000", path.name)
            sanitized = re.sub(r"[\"<>:/|\\?*\[\]]+", "__", str(model))
            text = tidy(path, [(sanitized, "stories260k__step1000-tokens4B"), (work, "WORK")])
            (arguments.out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
