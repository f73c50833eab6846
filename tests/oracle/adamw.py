"""Writes tests/fixtures/adamw.json: updates of torch.optim.AdamW and gradients clipped by torch.nn.utils.clip_grad_norm_.

    settings     beta1, beta2, eps, weight_decay of the matrices; the vector does not decay
    parameters   name, shape, values before
    steps        rate, gradient of each parameter; every fifth step and the first also values and moments after it
    clip         max_norm, gradients before, the norm that torch returned, gradients after
Numbers are float32, written with as few digits as give the same number back.
"""

import json
import os

import numpy as np
import torch

torch.set_num_threads(1)
torch.manual_seed(20)
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "adamw.json")
SHAPES = {"embed.weight": (5, 7), "norm.weight": (6,), "proj.weight": (4, 3)}
SETTINGS = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}


def numbers(tensor):
    found = []
    for value in tensor.detach().numpy().reshape(-1):
        number = float(str(value))
        assert np.float32(number) == value
        found.append(number)
    return found


def rate(step):
    return 3e-3 * step / 5 if step <= 5 else 3e-3 * (21 - step) / 16


parameters = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in SHAPES.items()}
matrices = [p for p in parameters.values() if p.dim() > 1]
vectors = [p for p in parameters.values() if p.dim() <= 1]
optimizer = torch.optim.AdamW(
    [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
    lr=1.0,
    betas=(SETTINGS["beta1"], SETTINGS["beta2"]),
    eps=SETTINGS["eps"],
    weight_decay=SETTINGS["weight_decay"],
)
record = {"settings": SETTINGS, "parameters": [], "steps": [], "clip": []}
for name, parameter in parameters.items():
    record["parameters"].append({"name": name, "shape": list(parameter.shape), "values": numbers(parameter)})
for step in range(1, 21):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    # Some gradients are tiny, so that eps matters, and some are zero.
    scale = 1e-8 if step in (3, 4) else 0.3
    for parameter in parameters.values():
        parameter.grad = torch.randn_like(parameter) * scale * (torch.rand_like(parameter) > 0.1)
    entry = {"rate": rate(step), "gradients": {name: numbers(p.grad) for name, p in parameters.items()}}
    optimizer.step()
    if step == 1 or step % 5 == 0:
        entry["after"] = {
            name: {
                "values": numbers(p),
                "exp_avg": numbers(optimizer.state[p]["exp_avg"]),
                "exp_avg_sq": numbers(optimizer.state[p]["exp_avg_sq"]),
            }
            for name, p in parameters.items()
        }
    record["steps"].append(entry)
for max_norm, scale in [(1.0, 1.0), (1.0, 1e-3), (0.25, 30.0), (1e6, 1.0)]:
    for parameter in parameters.values():
        parameter.grad = torch.randn_like(parameter) * scale
    before = {name: numbers(p.grad) for name, p in parameters.items()}
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm)
    after = {name: numbers(p.grad) for name, p in parameters.items()}
    record["clip"].append({"max_norm": max_norm, "before": before, "norm": float(norm), "after": after})
with open(OUT, "w") as file:
    json.dump(record, file, separators=(",", ":"))
    file.write("\n")
