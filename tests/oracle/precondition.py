"""Writes states of real optimizers and what they make of gradients, and reads our gradient sets as a trainer would.

Writes tests/fixtures/moments/, but for `target_tiny.safetensors`: that is a gradient set that veval wrote for the tiny
model here (`cargo test the_set_that_torch_loads` says where), which this script loads by the names of its parameters.

For each NAME in adamw (in the Trainer's two groups), adamw_named (the same with names), amsgrad (in one group) and
adafactor (in two):
    NAME.pt                   `torch.save(optimizer.state_dict())` after some steps
    NAME.expected.safetensors `update.P` for each parameter P: what the optimizer makes of `gradients.safetensors` with
                              its second moments held fixed; for adamw `less.P` by LESS's rule
parameters.tsv has the parameters in the order of `named_parameters()`: name, sizes.

src/feedback/moments/module_orders.tsv: for each family of parity.py the order in which transformers names parameters,
merged over its cases; orders.tsv: for each case the first 64 bits of the SHA-256 of its
names in that order, one a line. Mixtures of experts
have none, since transformers keeps their experts in other tensors than checkpoints do.
"""

import hashlib
import os

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.optimization import Adafactor

torch.set_num_threads(1)
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "moments")


class Norm(nn.Module):
    """A norm that only its parameter's name gives away, as the RMS norms of decoders are."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.up_proj = nn.Linear(width, 11, bias=False)
        self.down_proj = nn.Linear(11, width, bias=False)
        self.input_layernorm = Norm(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x):
        x = x + self.o_proj(torch.tanh(self.q_proj(self.input_layernorm(x))))
        return x + self.down_proj(torch.relu(self.up_proj(self.ln_2(x))))


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(13, 6)
        self.layers = nn.ModuleList([Block(6)])
        self.norm = Norm(6)

    def forward(self, tokens):
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.embed_tokens.weight.T


def model():
    torch.manual_seed(11)
    return Tiny()


def loss(network, seed):
    tokens = torch.randint(0, 13, (4, 9), generator=torch.Generator().manual_seed(seed))
    logits = network(tokens[:, :-1])
    return nn.functional.cross_entropy(logits.reshape(-1, 13), tokens[:, 1:].reshape(-1))


def groups(network, keep_names):
    """As `Trainer.create_optimizer`, with its own rule."""
    from transformers import Trainer

    decay = set(Trainer.get_decay_parameter_names(None, network))
    pick = (lambda n, p: (n, p)) if keep_names else (lambda n, p: p)
    return [
        {"params": [pick(n, p) for n, p in network.named_parameters() if n in decay], "weight_decay": 0.1},
        {"params": [pick(n, p) for n, p in network.named_parameters() if n not in decay], "weight_decay": 0.0},
    ]


def optimizer(name, network):
    if name == "adafactor":
        return Adafactor(groups(network, False), lr=1e-2, scale_parameter=False, relative_step=False)
    if name == "amsgrad":
        return torch.optim.AdamW(network.parameters(), lr=1e-2, betas=(0.8, 0.9), eps=1e-3, amsgrad=True)
    return torch.optim.AdamW(groups(network, name == "adamw_named"), lr=1e-2, betas=(0.9, 0.95), eps=1e-8)


def update(optimizer, group, state, gradient):
    """The formula of the optimizer's own code, with the moments as they are."""
    if isinstance(optimizer, Adafactor):
        if "exp_avg_sq_row" in state:
            return Adafactor._approx_sq_grad(state["exp_avg_sq_row"], state["exp_avg_sq_col"]) * gradient
        return state["exp_avg_sq"].rsqrt() * gradient
    second = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
    correction = (1 - group["betas"][1] ** state["step"].item()) ** 0.5
    return gradient / (second.sqrt() / correction + group["eps"])


def check_against_a_step(name, network, optimizer):
    """The formula is the optimizer's: of a step without momentum, decay and change of moments."""
    if name == "adafactor":
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            before = {key: value.clone() for key, value in state.items()}
            held = parameter.detach().clone()
            # The moment after the step is the one that divided.
            gradient = torch.randn_like(parameter)
            parameter.grad = gradient
            for other in (p for g in optimizer.param_groups for p in g["params"] if p is not parameter):
                other.grad = None
            optimizer.step()
            moved = (held * (1 - group["lr"] * group["weight_decay"]) - parameter.detach()) / group["lr"]
            made = update(optimizer, group, state, state["exp_avg"]) / (1 - group["betas"][0] ** state["step"].item())
            assert torch.allclose(moved, made, rtol=1e-3, atol=1e-4), name
            with torch.no_grad():
                parameter.copy_(held)
            for key, value in before.items():
                state[key].copy_(value)


def store(tensors, file):
    path = os.path.join(FOLDER, file)
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, path)
    os.chmod(path, 0o644)


def write(name):
    network = model()
    chosen = optimizer(name, network)
    for seed in range(5):
        chosen.zero_grad()
        loss(network, seed).backward()
        chosen.step()
    check_against_a_step(name, network, chosen)
    torch.save(chosen.state_dict(), os.path.join(FOLDER, f"{name}.pt"))
    expected = {}
    for group in chosen.param_groups:
        members = {id(p) for p in group["params"]}
        for parameter_name, parameter in network.named_parameters():
            if id(parameter) not in members:
                continue
            state, gradient = chosen.state[parameter], gradients()[parameter_name]
            expected[f"update.{parameter_name}"] = update(chosen, group, state, gradient)
            if name == "adamw":
                first = 0.9 * state["exp_avg"] + 0.1 * gradient
                second = 0.999 * state["exp_avg_sq"] + 0.001 * gradient**2
                expected[f"less.{parameter_name}"] = first / torch.sqrt(second + 1e-8)
    return expected


def gradients():
    network = model()
    loss(network, 99).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def read_set(path):
    """What a trainer does with a set: adds, dots and projects by the names of its parameters."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = file.metadata()
    gradients, parameters = load_file(path), dict(model().named_parameters())
    assert header["schema"] == "veval.gradset/1", header
    assert gradients.keys() == parameters.keys(), gradients.keys() ^ parameters.keys()
    network = model()
    loss(network, 99).backward()
    recorded = load_file(os.path.join(FOLDER, "gradients.safetensors"))
    dot = norm = 0.0
    for name, parameter in network.named_parameters():
        # Its items are multiples of the recorded gradients, which are their mean.
        assert torch.equal(gradients[name], recorded[name].to(torch.bfloat16)), name
        dot += (parameter.grad * gradients[name].float()).sum().item()
        norm += (parameter.grad**2).sum().item()
        parameter.grad.add_(gradients[name])
    print({key: header[key] for key in sorted(header)})
    print(f"{len(gradients)} tensors in bfloat16 load by name; dot {dot:.6f}, squared norm {norm:.6f}")


def merge(sequences):
    """One order that has every sequence's."""
    import graphlib

    before = {}
    for sequence in sequences:
        for index, name in enumerate(sequence):
            before.setdefault(name, set()).update(sequence[:index])
    return list(graphlib.TopologicalSorter(before).static_order())


def children(names):
    """Of each path the names below it, in order; numbers are stars."""
    below = {}
    for name in names:
        parts = ["*" if part.isdigit() else part for part in name.split(".")]
        for depth, part in enumerate(parts):
            own = below.setdefault(".".join(parts[:depth]), [])
            if part not in own:
                own.append(part)
    return below


def patterns(cases, path=""):
    """All paths to parameters, depth first, in the merged order."""
    own = merge([case[path] for case in cases if path in case])
    paths = [f"{path}.{name}".lstrip(".") for name in own]
    inner = {path for case in cases for path in case}
    return [leaf for path in paths for leaf in (patterns(cases, path) if path in inner else [path])]


def orders():
    from transformers import AutoConfig, AutoModelForCausalLM

    parity = os.path.join(FOLDER, "..", "parity")
    families, hashes = {}, []
    for case in sorted(os.listdir(parity)):
        config = AutoConfig.from_pretrained(os.path.join(parity, case))
        with torch.device("meta"):
            names = [name for name, _ in AutoModelForCausalLM.from_config(config).named_parameters()]
        if any("experts" in name for name in names):
            continue
        if config.model_type == "gpt_neox":
            # As its checkpoints call it.
            names = [name.replace("lm_head", "embed_out") for name in names]
        families.setdefault(config.model_type, []).append(children(names))
        hashes.append(f"{case}\t{hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:16]}\n")
    with open(os.path.join(FOLDER, "orders.tsv"), "w") as file:
        file.writelines(hashes)
    table = os.path.join(FOLDER, "..", "..", "..", "src", "feedback", "moments", "module_orders.tsv")
    with open(table, "w") as file:
        for family in sorted(families):
            file.write(f"{family}\t{' '.join(patterns(families[family]))}\n")


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    store(gradients(), "gradients.safetensors")
    expected = {case: write(case) for case in ["adamw", "adamw_named", "amsgrad", "adafactor"]}
    for key, value in expected["adamw_named"].items():
        assert torch.equal(value, expected["adamw"][key]), key
    for case in ["adamw", "amsgrad", "adafactor"]:
        store(expected[case], f"{case}.expected.safetensors")
    with open(os.path.join(FOLDER, "parameters.tsv"), "w") as file:
        for name, parameter in model().named_parameters():
            file.write(f"{name}\t{','.join(map(str, parameter.shape))}\n")
    orders()
    if os.path.exists(os.path.join(FOLDER, "target_tiny.safetensors")):
        read_set(os.path.join(FOLDER, "target_tiny.safetensors"))
