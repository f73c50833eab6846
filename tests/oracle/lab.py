"""Checks the trainer and the shipped checkpoints against PyTorch: python lab.py PROGRAM

Trains a small model with `veval lab train`, then again with torch: the batches are put together from the corpus, the
tokenizer and the files under `order/`, the model is transformers' LlamaForCausalLM from the first checkpoint, the optimizer
torch.optim.AdamW with the clipping and the schedule of the plan. Losses of every step, weights and moments at the end must
agree.

Then transformers loads the last shipped checkpoint and scores the choices of forty questions: every log-probability of every
token must be the program's.

Run with torch 2.15, transformers 5.23, tokenizers 0.23: 40 steps, every loss within 1.9e-7 of torch's, weights within 4e-6.
"""

import csv
import json
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

STEPS, WARMUP, DECAY, PEAK, FLOOR = 40, 5, 10, 0.003, 0.0003
SEQUENCES, LENGTH, CLIP, DECAY_OF_WEIGHTS = 8, 64, 1.0, 0.1
PLAN = f"""
schema = "veval.training/1"
seed = 11
steps = {STEPS}
corpus = "corpus.jsonl"
tokenizer = {{ entries = 300 }}
clip = {CLIP}
model = {{ layers = 3, width = 48, heads = 4, kv_heads = 2, mlp = 80, context = 64, init_std = 0.06 }}
batch = {{ sequences = {SEQUENCES}, length = {LENGTH} }}
optimizer = {{ weight_decay = {DECAY_OF_WEIGHTS} }}
schedule = {{ kind = "wsd", peak = {PEAK}, warmup = {WARMUP}, decay = {DECAY}, floor = {FLOOR} }}
checkpoints = {{ steps = [0], precision = "float32", moments = true }}
"""


def corpus():
    draw = random.Random(5)
    words = "the a red blue old new dog cat bird tree house sees finds likes near under".split()
    for number in range(300):
        source = ["tales", "sums"][number % 3 == 0]
        if source == "sums":
            a, b = draw.randrange(20), draw.randrange(20)
            text = f"{a} + {b} = {a + b}."
        else:
            text = " ".join(draw.choice(words) for _ in range(draw.randrange(5, 60))) + "."
        yield {"source": source, "id": f"{source}-{number}", "text": text}


def batches(folder, documents, tokenizer):
    """The token sequences of every step, from the order files alone."""
    end = tokenizer.token_to_id("<|endoftext|>")
    tokens = [tokenizer.encode(d["text"], add_special_tokens=False).ids + [end] for d in documents]
    names = [json.loads(line) for line in open(folder / "documents.jsonl")]
    assert [(d["source"], d["id"]) for d in documents] == [(n["source"], n["id"]) for n in names]
    order, counts, steps = (np.load(folder / f"{name}.npy") for name in ("documents", "tokens", "steps"))
    at = {}  # of each source: the document it is in, and how far
    for step in range(len(steps) - 1):
        entries = list(zip(order[steps[step] : steps[step + 1]], counts[steps[step] : steps[step + 1]]))
        sequences = []
        while entries:
            predicted, source, before = [], None, None
            while len(predicted) < LENGTH:
                document, count = map(int, entries.pop(0))
                source = documents[document]["source"]
                current, offset = at.get(source, (None, 0))
                if current is None:
                    offset = 1  # the first token of a stream is only given
                    before = tokens[document][0]
                elif current != document or offset == len(tokens[document]):
                    if before is None:
                        before = tokens[current][offset - 1]
                    offset = 0
                elif before is None:
                    before = tokens[document][offset - 1]
                predicted += tokens[document][offset : offset + count]
                at[source] = (document, offset + count)
            assert len(predicted) == LENGTH
            sequences.append([before] + predicted)
        assert len(sequences) == SEQUENCES
        yield torch.tensor(sequences)


def rate(step):
    if step <= WARMUP:
        return PEAK * step / WARMUP
    if step <= STEPS - DECAY:
        return PEAK
    return FLOOR + (PEAK - FLOOR) * (1 - (step - (STEPS - DECAY)) / DECAY)


def shipped(program):
    """Log-probabilities of the choices of a task, by transformers and by the program."""
    from transformers import AutoTokenizer

    lab = Path(__file__).parents[2] / "data" / "lab"
    checkpoint, worst, tokens = lab / "ckpts" / "step3600", 0.0, 0
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    with tempfile.TemporaryDirectory() as out:
        command = [program, "run", lab / "suite.toml", checkpoint, "--task", "facts_choice", "--limit", "40", "-q", "--out", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [samples] = Path(out).glob("lab/*/samples.jsonl")
        rows = [json.loads(line) for line in open(lab / "tasks/items/facts_choice.jsonl")]
        for sample in map(json.loads, open(samples)):
            row = rows[sample["row"]]
            for choice, found in zip(row["choices"], sample["outcome"]["choices"]["choices"]):
                ids = tokenizer(row["prompt"] + " " + choice, return_tensors="pt").input_ids
                with torch.no_grad():
                    log_probs = model(ids).logits[0, :-1].log_softmax(-1)
                ours = found["log_probs"]
                theirs = log_probs[torch.arange(ids.shape[1] - 1), ids[0, 1:]][-len(ours) :]
                worst = max(worst, (theirs - torch.tensor(ours)).abs().max().item())
                tokens += len(ours)
    assert worst < 1e-4, worst
    print(f"step3600 in transformers: {tokens} log-probabilities within {worst:.1e}")


def main(program):
    torch.set_num_threads(1)
    shipped(program)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        documents = list(corpus())
        (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
        (folder / "lab.toml").write_text(PLAN)
        out = folder / "out"
        subprocess.run([program, "lab", "train", folder / "lab.toml", "--out", out], check=True, stdout=subprocess.DEVNULL)
        curve = list(csv.DictReader(open(out / "curve.csv")))

        model = AutoModelForCausalLM.from_pretrained(out / "step0", dtype=torch.float32, attn_implementation="eager")
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim == 1]
        groups = [{"params": matrices, "weight_decay": DECAY_OF_WEIGHTS}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
        tokenizer = Tokenizer.from_file(str(out / "step0" / "tokenizer.json"))
        worst = 0.0
        for step, batch in enumerate(batches(out / "order", documents, tokenizer), 1):
            logits = model(batch[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.step()
            ours = curve[step - 1]
            assert math.isclose(float(ours["rate"]), rate(step), rel_tol=1e-9), (step, ours["rate"], rate(step))
            assert math.isclose(float(ours["grad_norm"]), norm.item(), rel_tol=1e-4), (step, ours["grad_norm"], norm)
            worst = max(worst, abs(float(ours["loss"]) / loss.item() - 1))
        assert step == STEPS == len(curve)
        assert worst < 1e-5, worst
        last = load_file(out / f"step{STEPS}" / "model.safetensors")
        moments = load_file(out / f"step{STEPS}" / "moments.safetensors")
        state = dict(model.named_parameters())
        weights = max((last[name] - state[name].detach()).abs().max().item() for name in last)
        squares = max(
            ((moments[f"exp_avg_sq.{name}"] - optimizer.state[state[name]]["exp_avg_sq"]).abs().max()
             / optimizer.state[state[name]]["exp_avg_sq"].abs().max()).item()
            for name in last
        )  # fmt: skip
        assert weights < 1e-4 and squares < 1e-3, (weights, squares)
        first, final = float(curve[0]["loss"]), float(curve[-1]["loss"])
        print(f"{STEPS} steps, loss {first:.3f} to {final:.3f}: within {worst:.1e} of torch's at every step,")
        print(f"weights within {weights:.1e}, second moments within {squares:.1e} of their largest")


if __name__ == "__main__":
    main(sys.argv[1])
