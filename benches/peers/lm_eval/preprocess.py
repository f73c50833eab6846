"""Hand-made rows put through lm-eval's own task files and code.

  preprocess.py [--out tests/fixtures/lm_eval/preprocess.json]

Every row has the columns of the public data set and text that was invented
here. lm-eval's own YAML and Python decide the context, the continuations, the
gold answer, the filters and the metrics; nothing of them is written again here.
"""

import argparse
import hashlib
import json
import math
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")
ROOT = Path(__file__).resolve().parents[3]

HELLASWAG = [
    {
        "activity_label": "Making tea",
        "ctx_a": "A woman fills a kettle.",
        "ctx_b": "she",
        "endings": ["pours the water over the leaves.", "throws the kettle away.", "sings to it.", "sleeps."],
        "label": "0",
    },
    {
        "activity_label": "Home and Garden",
        "ctx_a": "[header] How to plant a bulb [title] Pick a spot. [step] It should get sun.",
        "ctx_b": "",
        "endings": [
            "[title] Dig a hole. [substeps] Use a spade.",
            " [title] Water it. [step] Use a can ",
            "Do nothing [really].",
            "Eat  the  bulb.",
        ],
        "label": "1",
    },
    {
        "activity_label": "Odd CAPITALS",
        "ctx_a": "The band IS ready.",
        "ctx_b": "the NASA crew AND Bob",
        "endings": ["PLAY on.", "Stop.", "play  \u00a0 twice.", "\u00a0hum\u2003"],
        "label": "2",
    },
    {
        "activity_label": "Unicode",
        "ctx_a": "Caf\u00e9 \u2013 \u201cna\u00efve\u201d.",
        "ctx_b": "\u00dfTRASSE \u039f\u0394\u039f\u03a3 \u0130stanbul",
        "endings": ["\u00e9t\u00e9 \u2615", "\U0001f600 laughs", "\u200bzero width\u200b", "\u01c6"],
        "label": "3",
    },
    {
        "activity_label": " Spaces ",
        "ctx_a": " two  spaces   three    four ",
        "ctx_b": " leading space Then TEXT",
        "endings": ["a  b", "a   b", "a    b", "\ta\n"],
        "label": "0",
    },
    {
        "activity_label": "Brackets",
        "ctx_a": "Open [a [nested] one] then [no\nend] and [ ] gone [title] [title]",
        "ctx_b": "[step] then HE goes",
        "endings": ["[]", "x [y] z", "x[y]z [title] w", "keep ] and [ here"],
        "label": "1",
    },
    {
        "activity_label": "Digits",
        "ctx_a": "7",
        "ctx_b": "\u01c6up 3RD time",
        "endings": ["1", "22", "it's \"quoted\"", "back\\slash {{brace}} {% tag %}"],
        "label": "2",
    },
]

ARC = [
    {
        "question": "Which of these is a metal?",
        "choices": {"text": ["wood", "iron", "glass", "wool"], "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    },
    {
        "question": "A ball of 2 kg falls.\nHow long does it take?",
        "choices": {"text": ["1 s", "2 s", "it's \"unknown\"", "back\\slash"], "label": ["1", "2", "3", "4"]},
        "answerKey": "4",
    },
    {
        "question": " Which came first? ",
        "choices": {"text": [" egg", "hen ", "na\u00efve \u2615"], "label": ["A", "B", "C"]},
        "answerKey": "C",
    },
    {
        "question": "Five ways?",
        "choices": {"text": ["a", "b", "c", "d", "\u4e94"], "label": ["A", "B", "C", "D", "E"]},
        "answerKey": "E",
    },
]

PIQA = [
    {"goal": "How to open a jar", "sol1": "Turn the lid to the left.", "sol2": "Turn the jar inside out.", "label": 0},
    {"goal": "To dry  socks:", "sol1": "it's \"simple\": hang them", "sol2": "freeze\nthem", "label": 1},
    {"goal": "\u00c9plucher une pomme?", "sol1": " couteau ", "sol2": "cuill\u00e8re \u2615", "label": 0},
]

WINOGRANDE = [
    {
        "sentence": "Anna thanked Maria because _ had helped with the boat.",
        "option1": "Anna",
        "option2": "Maria",
        "answer": "2",
    },
    {"sentence": "_ was late, so Tom left without Sam.", "option1": "Tom", "option2": "Sam", "answer": "2"},
    {"sentence": "The cup fits the box as the _  is small_ . ", "option1": "cup", "option2": "caf\u00e9 box", "answer": "1"},
    {"sentence": "He kept the _.", "option1": "key", "option2": "door", "answer": "1"},
]

BOOLQ = [
    {"passage": "Salt -- Salt is a mineral.", "question": "is salt a mineral", "label": 1, "idx": 0},
    {"passage": " Two  spaces\u00a0and a\nline. ", "question": "is this odd?", "label": 0, "idx": 1},
    {"passage": "Caf\u00e9 \u2013 a place.", "question": "Can a caf\u00e9 be closed ", "label": 1, "idx": 2},
]

OPENBOOKQA = [
    {
        "question_stem": "The moon is",
        "choices": {"text": ["a star", "a satellite", "a cheese", "a lamp"], "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    },
    {
        "question_stem": "What melts ice? ",
        "choices": {"text": ["it's heat", "\"cold\"", "a\\b", "\u96ea"], "label": ["A", "B", "C", "D"]},
        "answerKey": " A",
    },
    {
        "question_stem": "A caf\u00e9  sells",
        "choices": {"text": [" tea", "rock ", "sand", "mud"], "label": ["A", "B", "C", "D"]},
        "answerKey": "A",
    },
]

SCIQ = [
    {
        "question": "What orbits the sun?",
        "distractor1": "a lake",
        "distractor2": "a tree",
        "distractor3": "a shoe",
        "correct_answer": "a planet",
        "support": "Planets orbit the sun.",
    },
    {
        "question": " Which gas? ",
        "distractor1": "it's \"air\"",
        "distractor2": "back\\slash",
        "distractor3": "caf\u00e9",
        "correct_answer": "oxygen ",
        "support": "",
    },
    {
        "question": "Pourquoi?",
        "distractor1": "1",
        "distractor2": "2",
        "distractor3": "3",
        "correct_answer": "\u56db",
        "support": "\n \u00a0\u2003\u200b Leading white space, and trailing. \n",
    },
]

LAMBADA = [
    {"text": "He opened the door and saw his friend Bob"},
    {"text": "\u201cWell,\u201d she said.\n\n\u201cIt is caf\u00e9\nor nothing, said  Ren\u00e9e"},
    {"text": "Two spaces at the end  x"},
    {"text": "A line break before the last\nword"},
    {"text": "Ends with a space "},
]

TRUTHFULQA = [
    {
        "question": "What happens if you shout at a plant?",
        "mc1_targets": {"choices": ["Nothing much happens.", "It grows.", "It dies."], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": ["Nothing much happens.", "It stays.", "It dies."], "labels": [1, 1, 0]},
    },
    {
        "question": "Who said \"it's late\"? ",
        "mc1_targets": {"choices": ["I don't know", "Caf\u00e9 \u2615"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["I don't know", "Caf\u00e9 \u2615", " No one"], "labels": [1, 0, 0]},
    },
    {
        "question": "1+1?",
        "mc1_targets": {"choices": ["2", "3"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["2", "two", "3"], "labels": [1, 1, 0]},
    },
]

MMLU = [
    {"question": "What is 2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1, "subject": "x"},
    {
        "question": " \nLeading and trailing \u00a0\u2003",
        "choices": ["it's", " \"b\" ", "c\\d", "caf\u00e9\nline"],
        "answer": 3,
        "subject": "x",
    },
    {"question": "Pick  the first\n\nI. one\nII. two", "choices": ["0.10", "1,000", "", "\u2615"], "answer": 0, "subject": "x"},
]

GSM8K = [
    {"question": "Tom has 3 pens and buys 4.\nHow many?", "answer": "He has 3 + 4 = <<3+4=7>>7 pens.\n#### 7"},
    {"question": "A car costs $1,200 and a wheel  $50. Total?", "answer": "1200+50=<<1200+50=1250>>1,250\n#### 1,250"},
    {"question": "It was 4 \u00b0C and fell by 9. Now?", "answer": "4-9 = -5\n#### -5"},
]

# (response, index of the row whose answer is the gold)
RESPONSES = [
    (" 3 + 4 = 7.\n#### 7", 0),
    (" #### 7.", 0),
    (" The answer is 7", 0),
    (" The answer is $7.00", 0),
    (" He has 7 pens, so #### 8 and then #### 7", 0),
    (" seven", 0),
    ("", 0),
    (" 7 or 70", 0),
    (" #### 1,250", 1),
    (" #### $1250", 1),
    (" It is $1,250.", 1),
    (" It is 1250 dollars. , .", 1),
    (" #### -5", 2),
    (" -5 degrees", 2),
    (" - 5", 2),
    (" ####  7", 0),
    (" x = 3,.,4 ... then 7", 0),
    (" 7\u00a0\uff17 \u0667", 0),
    (" #### 7\n#### 9", 0),
]

WIKITEXT = [
    {"page": " = Title = \n \n The dog 's bone , which is old , cost 1 @,@ 000 @.@ 50 crowns . \n"},
    {"page": " = = Section = = \n \n \" Quoted \" and ' single ' ( brackets ) [ square ] { curly } . \n = = = Sub = = = \n"},
    {"page": " N units at 5 \u00b0 C : the dogs ' well @-@ known run ; stop ! why ? \u201c caf\u00e9 \u201d \n \n ( a ( nested ) b ) \" open\n"},
    {"page": ""},
]

MC2 = [
    (0, [-1.0, -2.0, -3.0]),
    (0, [-10.5, -10.5, -10.5]),
    (0, [-700.0, -710.0, -720.0]),
    (0, [-744.0, -745.0, -746.0]),
    (0, [-800.0, -900.0, -1000.0]),
    (1, [-3.25, -0.125, -7.75]),
    (2, [-55.33451461791992, -54.12345886230469, -60.99999237060547]),
]

# (choices, log-likelihoods, greedy flags, gold)
CHOICES = [
    (["a", "bb", "ccc", "dddd"], [-1.0, -2.0, -3.0, -4.0], [True, False, False, False], 0),
    (["a", "bb", "ccc", "dddd"], [-1.0, -1.0, -1.0, -1.0], [False, False, False, False], 3),
    (["\u00e9\u00e9", "abc", "\u2615", "x"], [-4.0, -5.9, -2.9, -2.0], [False, True, False, False], 1),
    (["caf\u00e9", "cafes", "\U0001f600", "\u65e5\u672c"], [-8.0, -9.0, -2.5, -4.5], [False, False, True, False], 2),
    (["one", "two", "six", "ten"], [-3.0, float("-inf"), -3.0, -2.0], [False, False, False, False], 3),
    (["same", "same", "same", "other one"], [-7.5, -7.5, -7.5, -16.0], [False, False, False, False], 1),
]


def clean(x):
    """Numbers for JSON: NaN and infinities as strings."""
    if isinstance(x, (list, tuple)):
        return [clean(v) for v in x]
    if isinstance(x, dict):
        return {k: clean(v) for k, v in x.items()}
    if isinstance(x, (bool, int, str)) or x is None:
        return x
    x = float(x)
    return "NaN" if math.isnan(x) else "Infinity" if x == math.inf else "-Infinity" if x == -math.inf else x


def make_task(yaml, rows):
    import datasets
    import lm_eval.tasks
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(Path(lm_eval.tasks.__file__).parent / yaml)
    splits = {config.get(k) for k in ("training_split", "validation_split", "test_split", "fewshot_split")} - {None}
    data = datasets.DatasetDict({s: datasets.Dataset.from_list(rows) for s in splits})
    config["custom_dataset"] = lambda **_: data
    return ConfigurableTask(config=config)


def requests(task, doc, ctx):
    out = task.construct_requests(doc=doc, ctx=ctx, metadata=(task.task_name, 0, 1))
    return out if isinstance(out, list) else [out]


def task_rows(yaml, rows, shots=2):
    """Context, continuations and gold of every row; also with few-shot examples."""
    task = make_task(yaml, rows)
    out = []
    # the stream of the sampler runs over the rows, as in build_all_requests
    task.set_fewshot_seed(1234)
    for row, doc in zip(rows, list(task.eval_docs), strict=True):
        rec = {"task": task.config.task, "row": row}
        for n in (0, shots):
            if n and task.config.num_fewshot == 0:
                continue  # a task that says 0 cannot be given examples
            reqs = requests(task, doc, task.fewshot_context(doc, n))
            contexts = [r.args[0] for r in reqs]
            context = contexts[0] if len(set(contexts)) == 1 else contexts
            if n:
                rec["fewshot"] = {"n": n, "context": context}
                continue
            rec["context"] = context
            if task.OUTPUT_TYPE != "generate_until":
                rec["continuations"] = [r.args[1] for r in reqs]
            gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
            rec["gold"] = gold
        out.append(rec)
    return out


def wikitext_rows():
    task, out = make_task("wikitext/wikitext.yaml", WIKITEXT), []
    for row, doc in zip(WIKITEXT, list(task.eval_docs), strict=True):
        (req,) = requests(task, doc, "")
        res = task.process_results(doc, [-1.0])
        out.append(
            {
                "task": "wikitext",
                "row": row,
                "context": "",
                "continuations": [req.args[0]],
                "gold": None,
                "words": res["word_perplexity"][1],
                "bytes": res["byte_perplexity"][1],
            }
        )
    return out


def filter_rows():
    task, out = make_task("gsm8k/gsm8k.yaml", GSM8K), []
    docs = list(task.eval_docs)
    for response, i in RESPONSES:
        (inst,) = requests(task, docs[i], "")
        inst.resps = [response]
        task._instances = [inst]
        task.apply_filters()
        rec = {"task": "gsm8k", "response": response, "gold": docs[i]["answer"], "exact_match": {}}
        for name, value in inst.filtered_resps.items():
            rec[{"strict-match": "strict", "flexible-extract": "flexible"}[name]] = value
            rec["exact_match"][name] = clean(task.process_results(docs[i], [value])["exact_match"])
        out.append(rec)
    return out


def mc2_rows():
    task = make_task("truthfulqa/truthfulqa_mc2.yaml", TRUTHFULQA)
    docs, out = list(task.eval_docs), []
    for i, lls in MC2:
        value = task.process_results(docs[i], [(x, False) for x in lls])["acc"]
        out.append({"lls": lls, "labels": docs[i]["mc2_targets"]["labels"], "value": clean(value)})
    return out


def choice_rows():
    rows = [{"query": "q", "choices": c, "gold": g} for c, _, _, g in CHOICES]
    import datasets
    from lm_eval.api.task import ConfigurableTask

    task = ConfigurableTask(
        config={
            "task": "choices",
            "custom_dataset": lambda **_: datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}),
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{query}}",
            "doc_to_target": "gold",
            "doc_to_choice": "choices",
            "metric_list": [
                {"metric": m, "aggregation": "mean", "higher_is_better": True}
                for m in ("acc", "acc_norm", "acc_bytes", "exact_match")
            ]
            + [{"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": False}],
        }
    )
    out = []
    for doc, (choices, lls, greedy, gold) in zip(list(task.eval_docs), CHOICES, strict=True):
        res = task.process_results(doc, list(zip(lls, greedy, strict=True)))
        brier = task.aggregation()["brier_score"]([res.pop("brier_score")])
        out.append(
            {
                "choices": choices,
                "lls": clean(lls),
                "greedy": greedy,
                "gold": gold,
                "metrics": clean({**res, "brier_score": brier}),
            }
        )
    return out


def sampler_rows():
    """Index lists the default sampler draws for items 0, 1, 2, ... with seed 1234."""
    from lm_eval.api.samplers import ContextSampler

    out = []
    for size, n, own, copies in (
        (1000, 5, False, 1), (1000, 5, True, 1), (570, 5, True, 1), (299, 5, True, 1), (7473, 5, False, 1),
        (20, 5, True, 1), (22, 3, True, 1), (8, 5, True, 1), (6, 5, True, 1), (100, 25, True, 1), (64, 10, False, 1),
        (12, 4, True, 3), (30, 5, True, 2), (5, 1, True, 1),
    ):  # fmt: skip
        # `copies` equal rows stand next to one another: rows i and j are equal
        # when i // copies == j // copies
        pool = [{"value": i // copies} for i in range(size)]
        sampler = ContextSampler(pool, rnd=1234)
        where = {id(d): i for i, d in enumerate(pool)}
        draws = [
            [where[id(d)] for d in sampler.sample(n=n, eval_doc=dict(pool[i]) if own else None)]
            for i in range(min(8, size))
        ]
        out.append({"pool": size, "copies": copies, "n": n, "item_is_in_pool": own, "shots": draws})
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", default=ROOT / "tests/fixtures/lm_eval/preprocess.json", type=Path)
    a = p.parse_args()
    rows = []
    for yaml, data in (
        ("hellaswag/hellaswag.yaml", HELLASWAG),
        ("arc/arc_easy.yaml", ARC),
        ("arc/arc_challenge.yaml", ARC),
        ("piqa/piqa.yaml", PIQA),
        ("winogrande/default.yaml", WINOGRANDE),
        ("super_glue/boolq/default.yaml", BOOLQ),
        ("openbookqa/openbookqa.yaml", OPENBOOKQA),
        ("sciq/sciq.yaml", SCIQ),
        ("lambada/lambada_openai.yaml", LAMBADA),
        ("truthfulqa/truthfulqa_mc1.yaml", TRUTHFULQA),
        ("truthfulqa/truthfulqa_mc2.yaml", TRUTHFULQA),
        ("mmlu/default/mmlu_abstract_algebra.yaml", MMLU),
        ("mmlu/default/mmlu_high_school_us_history.yaml", MMLU),
        ("gsm8k/gsm8k.yaml", GSM8K),
    ):
        rows += task_rows(yaml, data)
    for row in rows:
        if row["task"].startswith("truthfulqa"):
            # The fixed primer is benchmark text: only its hash is kept.
            start = row["context"].rindex("Q: " + row["row"]["question"])
            row["primer_sha"] = hashlib.sha256(row["context"][:start].encode()).hexdigest()
            row["context"] = row["context"][start:]
    import lm_eval

    out = {
        "lm_eval": lm_eval.__version__,
        "rows": rows + wikitext_rows(),
        "filters": filter_rows(),
        "mc2": mc2_rows(),
        "multiple_choice": choice_rows(),
        "sampler": sampler_rows(),
    }
    a.out.parent.mkdir(parents=True, exist_ok=True)
    # backslash escapes keep unusual white space visible and safe from editors
    a.out.write_text(json.dumps(out, indent=1, ensure_ascii=True, allow_nan=False) + "\n", encoding="utf-8")
    print(len(out["rows"]), "rows,", len(out["filters"]), "responses")


if __name__ == "__main__":
    main()
