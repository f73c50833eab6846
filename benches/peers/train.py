"""Steps of training a small model, veval's trainer and PyTorch in turn: python train.py --venv VENV --engine train_speed

The same shape (the lab's: 4 layers of width 128, 1024 entries), batch (32 sequences of 256 predictions), float32, threads,
clipping and AdamW. Each side runs in a process of its own; the first step of each is left out. Both begin with random
weights of the same distribution and see the same tokens, so that losses after so many steps are alike, not equal.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

SHAPE = {"layers": 4, "width": 128, "heads": 4, "mlp": 344, "vocab": 1024, "sequences": 32, "length": 256}


def torch_side(threads, readings, micro):
    import time

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(7)
    s = SHAPE
    config = LlamaConfig(hidden_size=s["width"], intermediate_size=s["mlp"], num_hidden_layers=s["layers"],
                         num_attention_heads=s["heads"], num_key_value_heads=s["heads"], vocab_size=s["vocab"],
                         max_position_embeddings=s["length"], tie_word_embeddings=True)
    model = LlamaForCausalLM(config).float()
    groups = [{"params": [p for p in model.parameters() if (p.ndim > 1) == matrix], "weight_decay": decay}
              for matrix, decay in ((True, 0.01), (False, 0.0))]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    rows, columns = torch.arange(s["sequences"])[:, None], torch.arange(s["length"] + 1)[None]
    batch = (rows * 31 + columns * 17 + columns * columns) % s["vocab"]
    seconds = []
    for _ in range(readings):
        start, total = time.perf_counter(), 0.0
        optimizer.zero_grad()
        for part in batch.split(micro):
            logits = model(part[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
            (loss / (s["sequences"] * s["length"])).backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    tokens = s["sequences"] * s["length"]
    print(json.dumps({"at_once": micro, "seconds": seconds, "tokens": tokens, "loss": total / tokens}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--venv", type=Path, required=True)
    p.add_argument("--engine", type=Path, required=True, help="the example `train_speed`")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--readings", type=int, default=6)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--at-once", type=int, nargs="+", default=[2, 4, 8, 32])
    o = p.parse_args()
    rates = {}
    for number in range(o.rounds):
        sides = [("veval", n) for n in o.at_once] + [("torch", n) for n in o.at_once]
        for side, at_once in sides if number % 2 == 0 else sides[::-1]:
            if side == "veval":
                command = [o.engine.resolve(), *SHAPE.values(), o.threads, o.readings, at_once]
            else:
                call = f"import train; train.torch_side({o.threads}, {o.readings}, {at_once})"
                command = [o.venv.absolute() / "bin/python", "-c", call]
            out = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True,
                                 cwd=Path(__file__).parent).stdout
            line = json.loads(out.splitlines()[-1])
            rate = line["tokens"] / median(line["seconds"][1:])
            rates.setdefault((side, at_once), []).append(rate)
            print(f"  {side}, {at_once} sequences at once: {rate:.0f} tokens/s, loss {line['loss']:.3f}", flush=True)
    best = {side: max(median(r) for (s, _), r in rates.items() if s == side) for side in ("veval", "torch")}
    print(f"best: veval {best['veval']:.0f}, torch {best['torch']:.0f} tokens/s; ratio {best['veval'] / best['torch']:.2f}")


if __name__ == "__main__":
    sys.exit(main())
