"""Times veval and lm-evaluation-harness on the same work, one after the other, and prints seconds and the ratio.

    speed.py --veval target/release/veval --data ../shared/data --work ../peers-work

The work: MMLU 5-shot, two subjects x 100 items, on random weights in the shape of SmolLM2-135M (30 layers, width 576,
9 query and 3 key/value heads; the vocabulary is that of the GPT-NeoX tokenizer), float32, two threads. DIR must hold
the rendered tasks that `lm_eval/record.py` leaves there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SUITE = """schema = "veval.suite/1"
name = "mmlu5"
[[task]]
use = "mmlu"
shots = 5
limit = 100
subsets = ["anatomy", "high_school_us_history"]
subset_groups = {}
"""

PEER = """
import sys, time
start = time.time()
import torch, lm_eval
from lm_eval.tasks import TaskManager
torch.set_num_threads(2)
ready = time.time()
lm_eval.simple_evaluate(
    model="hf", model_args=f"pretrained={sys.argv[1]},dtype=float32", device="cpu", batch_size=int(sys.argv[3]),
    tasks=["mmlu_anatomy_local", "mmlu_high_school_us_history_local"], num_fewshot=5, limit=100, bootstrap_iters=0,
    task_manager=TaskManager(include_path=sys.argv[2]))
print("import", round(ready - start, 1), "evaluate", round(time.time() - ready, 1))
"""


def checkpoint(folder, tokenizer):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=50304, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                         num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
                         tie_word_embeddings=True, bos_token_id=0, eos_token_id=0)
    LlamaForCausalLM(config).save_pretrained(folder)
    shutil.copy(tokenizer, folder / "tokenizer.json")
    end = "<|endoftext|>"
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": end, "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def timed(command):
    env = dict(os.environ, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    start = time.time()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.time() - start


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--veval", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--batch", default="8")
    a = p.parse_args()
    model, suite, out = a.work / "smollm2-135m-random", a.work / "mmlu5.toml", a.work / "speed-runs"
    if not (model / "tokenizer_config.json").exists():
        checkpoint(model, a.data / "tokenizers/gpt-neox-20b/tokenizer.json")
    suite.write_text(SUITE)
    shutil.rmtree(out, ignore_errors=True)
    ours = timed([a.veval, "run", suite, model, "--data-dir", a.data, "--out", out, "--threads", "2"])
    print(f"veval {ours:.1f} s", flush=True)
    peer = timed([sys.executable, "-c", PEER, model, a.work / "tasks", a.batch])
    print(f"lm-eval, batch {a.batch} {peer:.1f} s\nratio {peer / ours:.1f}")


if __name__ == "__main__":
    main()
