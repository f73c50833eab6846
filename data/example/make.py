"""Makes the example of the README: a small invented world, a series of trained checkpoints, and items to ask them.

    python data/example/make.py        (torch, transformers, tokenizers; two to four minutes on one core)

People live in towns, work in trades and like colours; how often a fact is told falls off as 1 / rank. Besides there
are sums of two digits, plurals, and strings to copy. All text is made here. A third of the sums, and the strings that
are asked, are never told.
"""

import itertools
import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
ITEMS = HERE.parents[1] / "suites" / "example"
STEPS = [0, 60, 200, 700, 2500]
BATCH, LENGTH = 24, 96
END = "<|endoftext|>"

PEOPLE = ["Arlo", "Bena", "Cato", "Dora", "Elmo", "Fia", "Gus", "Hana", "Ivo", "Jada", "Kip", "Lena",
          "Milo", "Nora", "Otto", "Pia", "Quin", "Rosa", "Sami", "Tess", "Ugo", "Vera", "Wim", "Yara"]
TOWNS = ["Alder", "Brook", "Cliff", "Dale"]
TRADES = ["baker", "miner", "pilot", "tailor"]
COLOURS = ["red", "blue", "green", "white"]
NOUNS = ["cat", "dog", "cup", "hat", "map", "pen", "bed", "key", "car", "sun", "bag", "jar", "net", "pot", "rug", "van"]
FACTS = {
    "town": (TOWNS, ["{p} lives in {v} .", "{v} is where {p} lives .", "the home of {p} is {v} ."]),
    "trade": (TRADES, ["{p} works as a {v} .", "{p} is a {v} .", "the trade of {p} is {v} ."]),
    "colour": (COLOURS, ["{p} likes {v} .", "{p} wears {v} .", "the colour of {p} is {v} ."]),
}
ASKED = {"town": "the home of {p} is", "trade": "the trade of {p} is", "colour": "the colour of {p} is"}


def world(rng):
    """person -> kind -> value, and the order of the people: the first are told most often."""
    order = PEOPLE[:]
    rng.shuffle(order)
    truth = {p: {kind: rng.choice(values) for kind, (values, _) in FACTS.items()} for p in PEOPLE}
    return truth, order


def split(rng, things, held_out):
    things = list(things)
    rng.shuffle(things)
    return things[held_out:], things[:held_out]


def documents(rng, truth, order, sums, words):
    """An endless stream of short documents."""
    weights = [1 / (rank + 1) for rank in range(len(order))]
    while True:
        kind = rng.random()
        if kind < 0.45:
            person = rng.choices(order, weights)[0]
            facts = rng.sample(list(FACTS), 2)
            yield " ".join(rng.choice(FACTS[f][1]).format(p=person, v=truth[person][f]) for f in facts)
        elif kind < 0.65:
            yield " ".join(f"{a} + {b} = {a + b} ." for a, b in rng.choices(sums, k=3))
        elif kind < 0.8:
            yield " ".join(f"one {n} , two {n}s ." for n in rng.choices(NOUNS, k=3))
        else:
            yield " ".join(f"copy {w} : {w} ." for w in rng.choices(words, k=2))


def write_items(truth, order, sums, words, text):
    def write(name, rows):
        (ITEMS / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    facts = [
        {"question": ASKED[kind].format(p=p), "choices": FACTS[kind][0], "answer": FACTS[kind][0].index(truth[p][kind]),
         "kind": kind, "told": "often" if rank < 6 else "seldom"}
        for rank, p in enumerate(order) for kind in FACTS
    ]
    write("facts", facts)
    write("sums", [{"sum": f"{a} + {b} =", "result": str(a + b), "told": (a, b) in sums}
                   for a, b in itertools.product(range(10), range(10))])
    write("copies", [{"word": w} for w in words])
    (ITEMS / "told.txt").write_text("".join(f"{line}\n" for line in text), encoding="utf-8")


def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    rng = random.Random(7)
    ITEMS.mkdir(parents=True, exist_ok=True)
    truth, order = world(rng)
    sums, _ = split(rng, itertools.product(range(10), range(10)), 33)
    all_words = {"".join(rng.choice("bdgklmnprt") + rng.choice("aeiou") for _ in range(2)) for _ in range(900)}
    words, asked_words = split(rng, sorted(all_words), 60)
    stream = documents(rng, truth, order, sums, words)
    write_items(truth, order, sums, asked_words, [next(stream) for _ in range(60)])

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator([next(stream) for _ in range(3000)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=END, eos_token=END)

    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=160, num_hidden_layers=3,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                         tie_word_embeddings=True, bos_token_id=0, eos_token_id=0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    tokens = []
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            folder = HERE / "ckpts" / f"step{step}"
            model.to(torch.bfloat16).save_pretrained(folder)
            model.to(torch.float32)
            bpe.save(str(folder / "tokenizer.json"))
            settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END, "eos_token": END}
            (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")
            seen = {"global_step": step, "num_input_tokens_seen": step * BATCH * LENGTH}
            (folder / "trainer_state.json").write_text(json.dumps(seen) + "\n")
            (folder / "generation_config.json").unlink(missing_ok=True)
        while len(tokens) < BATCH * LENGTH:
            tokens += [0, *bpe.encode(next(stream)).ids]
        batch = torch.tensor(tokens[: BATCH * LENGTH]).view(BATCH, LENGTH)
        tokens = tokens[BATCH * LENGTH:]
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 50) * (1 - 0.9 * step / STEPS[-1])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(step, round(loss.item(), 3), flush=True)


if __name__ == "__main__":
    main()
