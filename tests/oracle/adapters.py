"""Lay tiny random PEFT adapters on the checkpoints of parity.py and record what PEFT computes with them.

Every case is one folder: the adapter as `save_pretrained` writes it, and `expected.safetensors` with the logits of the
base's first tokens after loading base and adapter back as float32. Every parameter of an adapter is random, also those
that PEFT begins with at zero or at the base's value.

    python adapters.py [--out DIR] [CASE ...]

With `--veval PROGRAM` nothing is made: every GGUF file of `gguf/families`, every checkpoint of `parity` and every adapter
on its base is converted by `veval convert` into a folder, which transformers loads and which must give the recorded
logits.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import warnings
import zlib
from pathlib import Path

import peft
import torch
import transformers
from huggingface_hub.errors import StrictDataclassClassValidationError
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

TOKENS = 9  # of the base's own
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"

# name -> (base, settings of LoraConfig, options):
#   bin       saved as adapter_model.bin
CASES = {
    "plain": ("llama_gqa9x3", dict(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"]), {}),
    "rslora_regex": ("llama_head_dim", dict(
        r=4, lora_alpha=3, use_rslora=True, target_modules=r".*\.(self_attn|mlp)\.(k_proj|o_proj|up_proj)"), {}),
    "dora": ("llama_bias", dict(r=2, lora_alpha=3, use_dora=True, target_modules=["q_proj", "o_proj", "gate_proj"]), {}),
    "dora_columns": ("gpt2_odd", dict(
        r=2, lora_alpha=3, use_dora=True, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"]), dict(bin=True)),
    # All in the layer whose input and output have the same width, where a transposed product would fit as well.
    "columns": ("gpt2_untied", dict(
        r=3, lora_alpha=5, fan_in_fan_out=True, bias="lora_only", target_modules=["attn.c_proj", "mlp.c_fc"]), {}),
    "patterns": ("neox_parallel", dict(
        r=2, lora_alpha=4, target_modules=["query_key_value", "dense", "dense_4h_to_h"],
        rank_pattern={"query_key_value": 5, r"1\.attention\.dense": 1},
        alpha_pattern={r"layers\.0\.mlp\.dense_4h_to_h": 9, "dense": 3}), {}),
    "layers": ("qwen3_layer_types", dict(
        r=2, lora_alpha=3, target_modules=["q_proj", "up_proj"], layers_to_transform=[1], layers_pattern="layers",
        exclude_modules=["mlp.up_proj"]), {}),
    "bias_all": ("llama_bias", dict(r=2, lora_alpha=3, bias="all", target_modules=["v_proj"]), {}),
    "bias_of_b": ("gpt2_odd", dict(
        r=2, lora_alpha=3, lora_bias=True, fan_in_fan_out=True, target_modules=["c_fc", "c_attn"]), {}),
    "embedding": ("llama_gqa9x3", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "k_proj"]), {}),
    # The head keeps the embedding as it was.
    "embedding_tied": ("qwen2_tied", dict(r=2, lora_alpha=3, target_modules=["embed_tokens"]), {}),
    # PEFT ties nothing that is not called embed_tokens or lm_head.
    "embedding_positions": ("gpt2_odd", dict(
        r=2, lora_alpha=3, target_modules=["wte", "wpe"], ensure_weight_tying=True), {}),
    "stay_tied": ("qwen2_tied", dict(
        r=2, lora_alpha=3, target_modules=["embed_tokens"], ensure_weight_tying=True), {}),
    "stay_tied_saved": ("qwen2_tied", dict(
        r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True), {}),
    "head": ("neox_serial", dict(r=3, lora_alpha=2, target_modules=["lm_head"]), {}),
    "head_tied": ("qwen2_tied", dict(r=3, lora_alpha=2, target_modules=["lm_head", "o_proj"]), {}),
    "saved": ("llama_gqa9x3", dict(
        r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["lm_head", "norm", "input_layernorm"]), {}),
    "saved_tied": ("qwen2_tied", dict(r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["lm_head"]), {}),
    "bf16": ("llama_bf16", dict(r=2, lora_alpha=3, target_modules=["gate_proj", "q_proj"]), {}),
    "gemma": ("gemma3_linear", dict(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"]), {}),
}  # fmt: skip


@torch.no_grad()
def logits_of(model, tokens):
    return model(tokens[None], use_cache=False).logits[0]


@torch.no_grad()
def randomise(model, generator):
    """What the adapter has of its own; the base's parameters stay."""
    for name, p in model.named_parameters():
        own = ["lora_", "modules_to_save"]
        bias = model.peft_config["default"].bias
        trained_bias = name.endswith("bias") and (bias == "all" or (bias == "lora_only" and "base_layer" in name))
        if not (any(part in name for part in own) or trained_bias):
            continue
        noise = torch.randn(p.shape, generator=generator)
        if "magnitude" in name or "norm" in name:
            p.mul_(1 + 0.3 * noise)
        elif "lora_" in name:
            p.copy_(0.4 * noise)
        else:
            p.add_(0.2 * noise * p.std() if p.numel() > 1 else noise)


def load(base, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(
        base, attn_implementation="eager", experts_implementation="eager", dtype=dtype
    ).eval()


def make(name, folder):
    base_name, settings, options = CASES[name]
    base = FIXTURES / "parity" / base_name
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    tokens = load_file(base / "expected.safetensors")["tokens"][:TOKENS]

    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    randomise(model, generator)
    before = logits_of(model, tokens)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, safe_serialization=not options.get("bin"))
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base_name
    for key in ("target_modules", "modules_to_save", "exclude_modules"):  # PEFT writes its sets in any order
        if isinstance(config[key], list):
            config[key] = sorted(config[key])
    path.write_text(json.dumps(config, indent=2) + "\n")

    model = PeftModel.from_pretrained(load(base), folder).eval()
    logits = logits_of(model, tokens)
    if not torch.equal(logits, before):
        print(f"    loads back with a difference of {(logits - before).abs().max():.2e}")
    changed = (logits - load_file(base / "expected.safetensors")["logits"][:TOKENS]).abs().max()
    assert changed > 0.05, "the adapter does nothing: change the seed"
    merged = logits_of(model.merge_and_unload(), tokens)
    made_by = f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    record = dict(logits=logits.contiguous(), tokens=tokens)
    save_file(record, folder / "expected.safetensors", metadata=dict(made_by=made_by))
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name:20} {size / 1000:6.1f} kB  changes logits by {changed:.2f}  merged differs by {(merged - logits).abs().max():.2e}")


def recordings():
    """What veval converts, and the logits that were recorded for it."""
    for file in sorted((FIXTURES / "gguf/families").glob("*.gguf")):
        own = file.with_suffix(".expected.safetensors")
        yield str(file), own if own.exists() else FIXTURES / "parity" / file.stem / "expected.safetensors"
    for folder in sorted((FIXTURES / "parity").iterdir()):
        yield str(folder), folder / "expected.safetensors"
    for folder in sorted((FIXTURES / "adapters").iterdir()):
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        yield f"{FIXTURES / 'parity' / base}+{folder}", folder / "expected.safetensors"


def compare(veval):
    """Load what veval writes."""
    worst, compared = 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, (address, recording) in enumerate(recordings()):
            out = Path(scratch) / str(number)
            name = address.replace(f"{FIXTURES}/", "")
            ran = subprocess.run([veval, "convert", address, out], capture_output=True, text=True)
            if ran.returncode:
                print(f"{name} is refused: {ran.stderr.splitlines()[0]}")
                continue
            recorded = load_file(recording)
            try:
                model = load(out)
            except StrictDataclassClassValidationError as error:  # odd shapes
                print(f"{name} is refused by transformers: {error.__cause__}")
                continue
            difference = (logits_of(model, recorded["tokens"]) - recorded["logits"]).abs().max().item()
            if (out / "tokenizer.json").exists():
                transformers.AutoTokenizer.from_pretrained(out)
            worst, compared = max(worst, difference), compared + 1
            if difference >= 1e-4:
                print(f"{name} differs by {difference:.2e}")
    print(f"{compared} compared, largest difference {worst:.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases to make (all of them by default)")
    parser.add_argument("--out", type=Path, default=FIXTURES / "adapters")
    parser.add_argument("--veval", metavar="PROGRAM", help="compare checkpoints that this program writes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if args.veval:
        return compare(args.veval)
    for name in args.cases or CASES:
        make(name, args.out / name)


if __name__ == "__main__":
    main()
