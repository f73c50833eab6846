"""Record what the field's own libraries compute from invented texts.

sacrebleu (BLEU, chrF, chrF++, TER), rouge_score, NLTK (tokenizers, stemmer, BLEU,
edit distance), scikit-learn (F1, Matthews correlation), SciPy (hypergeometric
tail), and the scripts of QASPER (SQuAD's normaliser and token F1) and DROP as lm-evaluation-
harness ships them. The normaliser that lighteval calls HELM's has no library here
and is written down in this file.

    python text_metrics.py [--out FILE]
"""

import argparse
import importlib.util
import json
import random
import re
import string
from pathlib import Path

import lm_eval
import nltk
import numpy
import rouge_score
import sacrebleu
import scipy
import sklearn
from nltk.metrics.distance import edit_distance
from nltk.stem.porter import PorterStemmer
from nltk.tokenize import NLTKWordTokenizer, TreebankWordTokenizer
from nltk.translate.bleu_score import sentence_bleu
from rouge_score import rouge_scorer
from scipy.stats import hypergeom
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
)

HERE = Path(__file__).resolve().parent


def task_script(path):
    """A file of lm-evaluation-harness by itself, without its task registry."""
    file = Path(lm_eval.__file__).parent / "tasks" / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DROP = task_script("drop/utils.py")
QASPER = task_script("qasper/metrics.py")
MATH = task_script("hendrycks_math/utils.py")

# ---------------------------------------------------------------- texts

# An answer and its references.
ITEMS = [
    ("The ferry left at dawn.", ["The ferry left at dawn.", "At dawn, the ferry departed."]),
    ("ferry at dawn", ["The ferry left at dawn"]),
    ("dawn at left ferry the", ["the ferry left at dawn"]),
    ("", ["nothing was said"]),
    ("something was said", [""]),
    ("", [""]),
    ("Yes", ["Yes", "No"]),
    ("It cost $1,250.50 - or 1,000-1,300 euros (about 12%)!", ["It cost 1,250.50 dollars, or 1000-1300 euros; about 12%."]),
    ("don't &quot;stop&quot; &amp; listen <now>", ["don't \"stop\" & listen <now>", "do not stop"]),
    ("Über die Brücke läuft ein kleiner Fuchs, heißt es.", ["Über die Brücke lief ein Fuchs, heißt es."]),
    ("Старый мост стоит над рекой.", ["Новый мост стоит над рекой."]),
    ("古い橋が川の上に立っている。", ["新しい橋が川の上にある。"]),
    ("naïve café — “quoted”, l’été…", ["naive cafe - \"quoted\", l'été..."]),
    ("tabs\tand\u00a0no-break\u2003spaces \n", ["tabs and no-break spaces"]),
    ("a a a a a a a", ["a a", "the a an"]),
    ("x", ["y"]),
    ("one two three four five six seven eight nine ten", ["six seven eight nine ten one two three four five"]),
    (
        "The red boat crossed. Its captain slept\nand the crew was rowing quickly\n\nto the islands",
        ["The captain slept.\nThe crews rowed quickly to the island.\nA red boat was crossing"],
    ),
    (
        "b c d e f a g h i j k l m n o p q r s t u v w x y z 1 2 3 a b",
        ["a b c d e f g h i j k l m n o p q r s t u v w x y z 3 2 1", "z y x"],
    ),
    ("word " * 60 + "end", ["end " + "word " * 20]),
    ("😀 smile 😀", ["😀 frown", "smile 😀 😀"]),
    ("He'll've gone; they're 'here', aren't they? I'd say: \"cannot\" -- gonna!", ["He will have gone: 'tis so."]),
    ("e\u0301tude vs étude", ["étude vs e\u0301tude"]),
    ("ΟΔΟΣ ὈΔΥΣΣΕΎΣ", ["οδος ὀδυσσεύς"]),
    ("skipped <skipped> hy-\nphen 3.5.1 1,2,3 -5 5-", ["hyphen 3.5.1 , 1,2,3 - 5"]),
]

NORMALISED = [
    "The  A+ student's an-swer, the end",
    "a1 the_2 an'the 3.50 and $7 007 1e3 1_000 .5 -2",
    "AN apple\ta day\u00a0the\u2003doctor",
    "Thé the\u0301 a\u0301 ａ аn",
    "inf nan Infinity 1e400 1e-5 123456789012345678901",
    "",
    "the",
    "Ünïcode—dash “quotes” ¿qué?",
    "٣ the ² half½ a",
]

# Pairs of answers in LaTeX.
EQUIVALENT = [
    ("\\frac12", "\\frac{1}{2}"), ("\\dfrac1{72}", "\\tfrac{1}{72}"), ("0.5", "\\frac{1}{2}"), (".5", "0.5"), ("1/2", "\\frac12"),
    ("x/2", "x/2 "), ("x/2", "x/2"), ("01/2", "\\frac{1}{2}"), ("+1/2", "\\frac{1}{2}"), ("-1/2", "\\frac{-1}{2}"), ("-0/2", "\\frac{-0}{2}"),
    ("5 \\text{ cm}", "5"), ("5\\text{ cm}\\text{ x}", "5"), ("5\\text{cm}", "5"), ("x = 5", "5"), ("xyz=5", "5"), ("a=b=c", "c"),
    ("\\sqrt3", "\\sqrt{3}"), ("\\sqrt", "\\sqrt"), ("2\\sqrt 3", "2\\sqrt{3}"), ("\\frac", "\\frac"), ("\\frac1", "\\frac 1"),
    ("\\left(1,\\,2\\right)", "(1,\\,2)"), ("50\\%", "50"), ("\\$3", "3"), ("90^\\circ", "90^{\\circ}"), ("", " "), ("", ""), ("1,000", "1000"),
    ("\\frac{1}{2}/3", "\\frac{1}{2}/3"), ("1/2/3", "1/2/3 "), ("1_0/2", "1_0/2"), ("\\{.5\\}", "\\{0.5\\}"), ("é/2", "é / 2"), ("\\frac éx", "\\frac{é}{x}"),
]

BOXED = [
    "so \\boxed{4}.", "\\boxed{\\frac{1}{2}} or \\boxed{\\{1,2\\}}", "\\boxed 7$ and \\boxed{8}", "none", "\\boxed{open", "$\\boxed 3$ then $\\boxed 4$ end",
    "\\boxed{}", "ends {\\boxed{a}}",
]

# Predicted spans, and answers of several spans.
SPANS = [
    (["12 yards"], [["12"], ["12 yards", "3"]]),
    (["Smith", "Jones and Lee"], [["Lee and Jones", "Smith"]]),
    (["a", "b", "c"], [["c", "d"]]),
    (["1,000"], [["1000.0"]]),
    (["twenty-two"], [["twenty two"]]),
    (["The Bears"], [["bears"], [""]]),
    ([""], [["x"]]),
    (["x"], [["  ", "x"]]),
    (["3 dogs 4 cats"], [["4 cats"]]),
    (["north of the river", "south"], [["south river", "north", "east of it"]]),
    (["z", "z"], [["z"]]),
]

TOKENISED = [
    "\"Well,\" he said (quietly), \"it's 5:30 p.m. -- or isn't it?\"",
    "'Twas won't gimme gonna wanna more'n d'ye lemme gotta 'tis",
    "A 'quoted' word's end's' and ``ticks'' [here] {or} <there>.",
    "«Ça va?» “l’été” ‘single’ „low“ — dash – en… three... two..",
    "Prices: $3.88, 4,5% & #1; me@home.org; a:b, c:1, 2,x,",
    "Ends with a stop.\"  ",
    "No. Middle. Stops.\nLine two.",
    "* star ** and ?! marks' ",
    "",
]

STEMMED = """running runs easily fairly generously conditional rationalize digitizer operators feudalism decisiveness hopefulness
callousness formality sensitivity sensibility triplicate formative electricity electrical goodness revival allowance inference
airliner gyroscopic adjustable defensible irritant replacement adjustment dependent adoption homologous communism activate
angularity effective bowdlerize probate rate cease controlling roll flies dies spied died tying skies sky news innings proceed
geology theology archaeological hesitancy valency radically differently vilely analogously vietnamization predication
enjoyment happily fuller fully beautifully joyfully agreed feed bled sized troubled hopping tanned falling hissing fizzed
failing filing syzygy toys trees oaten ivy by yearly abc123 2nd ies ied eed ing ed ss s bless actually equally actuallyalli
aed owing eying yyyyed conflated matting exceed oed use used ally usually nationally generalizations""".split()

CLASSES = {
    "binary": ([0, 1, 1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 1, 1, 0, 1]),
    "three": ([0, 1, 2, 2, 1, 0, 2, 2, 1], [0, 2, 2, 2, 0, 0, 1, 2, 1]),
    "constant prediction": ([0, 1, 2, 1], [1, 1, 1, 1]),
    "constant gold": ([3, 3, 3], [3, 4, 3]),
    "unseen prediction": ([0, 0, 1, 1], [0, 2, 2, 1]),
    "all wrong": ([0, 1], [1, 0]),
    "one": ([5], [5]),
}

REPEATS = [(1, 0, 1), (1, 1, 1), (5, 2, 3), (10, 3, 4), (16, 15, 8), (64, 1, 32), (100, 50, 10), (200, 7, 100), (1000, 400, 64)]

# ---------------------------------------------------------------- what is computed


def made_up_words():
    """Words of random syllables with suffixes that the stemmer has rules for."""
    rng = random.Random(1)
    suffixes = """s es ies sses ed ied eed ing ational tional enci anci izer bli alli entli eli ousli ization ation ator alism
    iveness fulness ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible
    ant ement ment ent ion sion tion ou ism ate iti ous ive ize e ll y ally lly ss at bl iz""".split()
    for suffix in suffixes * 6:
        syllables = (rng.choice("bcdfglmnprstwxyz ") + rng.choice("aeiouy") + rng.choice("bdllnrstxy  ") for _ in range(rng.randint(0, 2)))
        yield "".join(syllables).replace(" ", "") + suffix + rng.choice(["", "", "", "s", "ed", "ing", "ly"])


def shuffled():
    """Random sentences of few words, so that runs of them can be moved, and what the scores are."""
    rng = random.Random(2)
    ter = sacrebleu.TER()
    for round in range(60):
        words = "a b c d e f g h i j k l".split()[: rng.randint(2, 12)]
        reference = [rng.choice(words) for _ in range(rng.randint(1, 4 + round // 2))]
        answer = list(reference)
        for _ in range(rng.randint(0, 4)):
            start = rng.randrange(len(answer) + 1)
            run = answer[start : start + rng.randint(1, 4)]
            del answer[start : start + len(run)]
            place = rng.randint(0, len(answer))
            answer[place:place] = run if rng.random() < 0.8 else [rng.choice(words)]
        # A new line now and then, for the sentences of ROUGE-Lsum.
        join = lambda words: "".join(word + rng.choice([" ", " ", " ", "\n"]) for word in words).strip()
        answer, reference = join(answer), join(reference)
        rouge = rouge_scorer.RougeScorer(["rouge2", "rougeL", "rougeLsum"]).score(reference, answer)
        yield {
            "answer": answer,
            "reference": reference,
            "ter": ter.sentence_score(answer, [reference]).score,
            "bleu": sacrebleu.BLEU(effective_order=True).sentence_score(answer, [reference]).score,
            "chrf++": sacrebleu.CHRF(word_order=2).sentence_score(answer, [reference]).score,
            "rouge": [rouge[kind].fmeasure for kind in ("rouge2", "rougeL", "rougeLsum")],
        }



def lighteval_helm(text):
    """`helm_normalizer` of lighteval."""
    tokens = []
    for piece in re.split(" |-", text):
        piece = "".join(ch for ch in piece.lower() if ch not in set(string.punctuation))
        try:
            piece = str(float(piece))
        except ValueError:
            pass
        tokens.append(" ".join(re.sub(r"\b(a|an|the)\b", " ", piece).split()))
    return " ".join(token for token in tokens if token)


def item(answer, references):
    words = [NLTKWordTokenizer().tokenize(reference) for reference in references]
    rouge = {}
    for name, stem in (("plain", False), ("porter", True)):
        kinds = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
        scorer = rouge_scorer.RougeScorer(kinds, use_stemmer=stem)
        for reference in references:
            scores = scorer.score(reference, answer)
            rouge.setdefault(name, []).append([list(scores[kind]) for kind in kinds])
    return {
        "answer": answer,
        "references": references,
        "sentence_bleu": sacrebleu.BLEU(effective_order=True).sentence_score(answer, references).score,
        "sentence_chrf": sacrebleu.CHRF().sentence_score(answer, references).score,
        "sentence_chrf++": sacrebleu.CHRF(word_order=2).sentence_score(answer, references).score,
        "sentence_ter": sacrebleu.TER().sentence_score(answer, references).score,
        "plain_bleu": [
            float(sentence_bleu(words, NLTKWordTokenizer().tokenize(answer), weights=weights))
            for weights in ([1], [0, 0, 0, 1], [0.25] * 4)
        ],
        "rouge": rouge,
        "token_f1": [QASPER.f1_abstractive([answer], [reference]) for reference in references],
        "set_f1": [nltk.scores.f_measure(set(reference.split()), set(answer.split())) or 0.0 for reference in references],
        "characters": [edit_distance(answer, reference) for reference in references],
        "words": [edit_distance(answer.split(), reference.split()) for reference in references],
    }


def corpus(items):
    """Scores of several items together; with a varying number of references None stands for a missing one."""
    answers = [answer for answer, _ in items]
    most = max(len(references) for _, references in items)
    streams = [[refs[i] if i < len(refs) else None for _, refs in items] for i in range(most)]
    return {
        "bleu": sacrebleu.BLEU().corpus_score(answers, streams).score,
        "chrf": sacrebleu.CHRF().corpus_score(answers, streams).score,
        "chrf++": sacrebleu.CHRF(word_order=2).corpus_score(answers, streams).score,
        "ter": sacrebleu.TER().corpus_score(answers, streams).score,
    }


def classes(gold, predicted):
    return {
        "gold": gold,
        "predicted": predicted,
        "accuracy": accuracy_score(gold, predicted),
        "balanced": balanced_accuracy_score(gold, predicted),
        **{average: f1_score(gold, predicted, average=average, zero_division=0) for average in ("macro", "micro", "weighted")},
        "largest": max(f1_score(gold, predicted, average=None, zero_division=0)),
        "mcc": matthews_corrcoef(gold, predicted),
    }


def repeats(n, c, k):
    pass_at_k = 1.0 if n - c < k else 1.0 - numpy.prod(1.0 - k / numpy.arange(n - c + 1, n + 1))
    at_least = lambda m: 0.0 if m > min(c, k) or k > n else hypergeom.sf(m - 1, n, c, k)
    half = -(-k // 2)
    return {
        "n": n,
        "c": c,
        "k": k,
        "pass": pass_at_k,
        "g_pass": [at_least(max(-(-k * quarter // 4), 1)) for quarter in range(5)],
        "mg_pass": 2 / k * sum(at_least(m) for m in range(half + 1, k + 1)),
    }


def boxed(text):
    found = MATH.last_boxed_only_string(text)
    return None if found is None else MATH.remove_boxed(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE.parent / "fixtures" / "text_metrics.json")
    args = parser.parse_args()
    libraries = {"sacrebleu": sacrebleu, "nltk": nltk, "scikit-learn": sklearn, "scipy": scipy, "numpy": numpy}
    record = {
        "versions": {name: module.__version__ for name, module in libraries.items()} | {"rouge_score": "0.1.2"},
        "items": [item(answer, references) for answer, references in ITEMS],
        "corpora": [{"from": a, "to": b, **corpus(ITEMS[a:b])} for a, b in ((0, 25), (0, 3), (3, 6), (6, 16), (20, 25), (15, 16))],
        "normalised": [{"text": t, "squad": QASPER.normalize_answer(t), "lighteval_helm": lighteval_helm(t), "drop": DROP._normalize(t)} for t in NORMALISED],
        "spans": [],
        "equivalent": [[a, b, MATH.is_equiv(a, b)] for a, b in EQUIVALENT],
        "boxed": [[text, boxed(text)] for text in BOXED],
        "tokenised": [
            {"text": t, "treebank": TreebankWordTokenizer().tokenize(t), "nltk": NLTKWordTokenizer().tokenize(t)}
            for t in TOKENISED
        ],
        "mteval": [{"text": a, "tokens": sacrebleu.BLEU().tokenizer(a.rstrip())} for a, _ in ITEMS],
        "stems": [[word, PorterStemmer().stem(word)] for word in [*STEMMED, *made_up_words()]],
        "shuffled": list(shuffled()),
        "classes": {name: classes(gold, predicted) for name, (gold, predicted) in CLASSES.items()},
        "repeats": [repeats(*numbers) for numbers in REPEATS],
    }
    for predicted, answers in SPANS:
        scores = DROP.process_results({"answers": answers}, predicted)
        record["spans"].append({"predicted": predicted, "answers": answers, "em": scores["em"], "f1": float(scores["f1"])})
    args.out.write_text(dump(record))
    print(f"{args.out}: {args.out.stat().st_size} bytes")


def dump(record):
    """JSON with one entry a line."""
    parts = []
    for key, value in record.items():
        if isinstance(value, list):
            lines = ",\n".join(json.dumps(entry, ensure_ascii=False, default=float) for entry in value)
            parts.append(f"{json.dumps(key)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, default=float)}")
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    json.loads(text)
    return text


if __name__ == "__main__":
    main()
