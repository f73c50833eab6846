"""What `per_item.py` starts in processes of their own: projected gradients of items by torch and by Bergson.

    per_item_peers.py FUNCTION ARGUMENTS      # as speed_peers.py

Both draw Bergson 2's random signs for modules' own names, as the engine does, so that the rows of all are the same
numbers. Nothing of a model's loading or of the signs' drawing is timed.
"""

import json
import tempfile
from pathlib import Path

import speed_peers
from speed_peers import run_readings, token


def texts(items, tokens):
    return [[token(position, item) for position in range(tokens)] for item in range(items)]


def opened(path, threads):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.requires_grad_(False)
    return model


def say(items, tokens, modules, seconds, loss, squares):
    print(json.dumps({"what": "per-item", "items": items, "tokens": tokens, "modules": modules, "seconds": seconds,
                      "check": loss, "squares": squares}), flush=True)


def torch_one_at_a_time(model, threads, items, tokens, dim, readings):
    """An item forward and backward, then P_L G P_R^T of the gradient of each linear map inside the blocks."""
    import torch
    from bergson.collector.collector import create_module_projection_matrix

    model = opened(model, threads)
    maps = {name: m for name, m in model.base_model.named_modules() if isinstance(m, torch.nn.Linear)}
    place = (torch.float32, torch.device("cpu"), "rademacher", "jl", None)
    sides = {}
    for name, linear in maps.items():
        linear.weight.requires_grad_(True)
        sides[name] = (create_module_projection_matrix(name, "left", dim, linear.out_features, *place),
                       create_module_projection_matrix(name, "right", dim, linear.in_features, *place).T)
    batch, loss, squares = [torch.tensor([text]) for text in texts(items, tokens)], 0.0, 0.0

    def step():
        nonlocal loss, squares
        loss, squares = 0.0, 0.0
        for ids in batch:
            logits = model(ids, use_cache=False).logits[0, :-1]
            own = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
            own.backward()
            parts = []
            for name, linear in maps.items():
                left, right = sides[name]
                parts.append((left @ linear.weight.grad @ right).flatten())
                linear.weight.grad = None
            loss, squares = loss + own.item(), squares + torch.cat(parts).double().square().sum().item()

    seconds = run_readings(step, readings)
    say(items, tokens, len(maps), seconds, loss, squares)


def bergson_batches(model, threads, items, tokens, dim, readings, batch):
    """Bergson's own collector, in memory, over a model that is prepared as its `worker_utils.py` does."""
    from bergson.collector.collector import CollectorComputer
    from bergson.collector.in_memory_collector import InMemoryCollector
    from bergson.config import IndexConfig
    from bergson.gradients import GradientProcessor
    from datasets import Dataset

    model = opened(model, threads)
    model.get_input_embeddings().requires_grad_(True)
    data = Dataset.from_dict({"input_ids": texts(items, tokens)})
    batches = [list(range(start, min(start + batch, items))) for start in range(0, items, batch)]
    processor = GradientProcessor(projection_dim=dim, projection_scale="jl")  # keeps the signs that it drew
    with tempfile.TemporaryDirectory() as folder:
        config = IndexConfig(run_path=str(Path(folder) / "run"), loss_reduction="sum", projection_dim=dim)
        Path(config.partial_run_path).mkdir(parents=True)
        collector = computer = None

        def fresh():
            nonlocal collector, computer
            collector = InMemoryCollector(model=model.base_model, data=data, cfg=config, processor=processor)
            computer = CollectorComputer(model=model, data=data, collector=collector, batches=batches, cfg=config)

        seconds = run_readings(lambda: computer.run_with_collector_hooks(), readings, reset=fresh)
    squares = sum(grads.double().square().sum().item() for grads in collector.gradients.values())
    say(items, tokens, len(collector.gradients), seconds, collector.per_doc_losses.double().sum().item(), squares)


speed_peers.CHILDREN |= {f.__name__: f for f in (torch_one_at_a_time, bergson_batches)}

if __name__ == "__main__":
    speed_peers.main()
