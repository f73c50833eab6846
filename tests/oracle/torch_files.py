"""Writes the fixtures of the torchbin reader: files of torch.save with what torch reads in them, and hostile files.

    torch_files.py [FOLDER]

Beside each good NAME lies NAME.expected, one line a value, tab-separated, in the order of the names:
    path  dtype  sizes  strides  storage offset  bytes of the contiguous tensor in hexadecimal
    path  none | bool 0/1 | int N | float <bits of the double, hexadecimal> | text <UTF-8, hexadecimal>
    path  opaque  name
Hostile files end in `.bad`; hostile.tsv names each with a part of the message that the reader must give, or with
nothing where the file must be read and yield no tensor but `ok`. `checkpoints/` has weights of `parity.py`'s cases as
PyTorch's own files. `torch-1.6.0.bin` was written with that version (Python 3.8) and is kept: its archives have no
`byteorder` and name storages by their address.
"""

import argparse
import collections
import io
import json
import os
import pickle
import struct
import sys
import zipfile

import torch

torch.set_num_threads(1)
torch.manual_seed(7)
FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "torchbin")
DTYPES = {
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
}


def raw(tensor):
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.detach().reshape(-1))
    return flat.view(torch.uint8).numpy().tobytes().hex()


def lines(value, path, opaque):
    """Every leaf of a loaded value, as the reader lists them."""
    name = ".".join(map(str, path))
    if name in opaque:
        yield f"{name}\topaque\t{opaque[name]}"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from lines(item, (*path, key), opaque)
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from lines(item, (*path, key), opaque)
    elif isinstance(value, torch.Tensor):
        numbers = (",".join(map(str, x)) for x in (value.shape, value.stride()))
        yield "\t".join([name, str(value.dtype).split(".")[1], *numbers, str(value.storage_offset()), raw(value)])
    elif value is None:
        yield f"{name}\tnone"
    elif isinstance(value, bool):
        yield f"{name}\tbool\t{int(value)}"
    elif isinstance(value, int):
        yield f"{name}\tint\t{value}"
    elif isinstance(value, float):
        yield f"{name}\tfloat\t{struct.pack('>d', value).hex()}"
    elif isinstance(value, str):
        yield f"{name}\ttext\t{value.encode().hex()}"
    else:
        raise ValueError(f"{name} is a {type(value)}")


def good(name, value, opaque=None, **options):
    path = os.path.join(FOLDER, name)
    torch.save(value, path, **options)
    loaded = torch.load(path, map_location="cpu", weights_only=False)
    with open(path + ".expected", "w") as file:
        file.writelines(line + "\n" for line in sorted(lines(loaded, (), opaque or {})))


def bytes_of_type(dtype, shape):
    """Random bits, so that every exponent, NaN and sign occurs."""
    count = torch.Size(shape).numel() * torch.empty((), dtype=dtype).element_size()
    bits = torch.randint(0, 256, (count,), dtype=torch.uint8)
    return (bits % 2).view(dtype).reshape(shape) if dtype == torch.bool else bits.view(dtype).reshape(shape)


def state_dict():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 3
    cube = torch.arange(24, dtype=torch.int16).reshape(2, 3, 4)
    tied = torch.nn.Parameter(torch.randn(3, 2))
    state = collections.OrderedDict()
    state["model.embed.weight"] = tied
    state["lm_head.weight"] = tied
    state["base"] = base
    state["transposed"] = base.t()
    state["rows"] = base[1:3]
    state["columns"] = base[:, 1:5:2]
    state["cell"] = base[2, 3]
    state["permuted"] = cube.permute(2, 0, 1)
    state["permuted_slice"] = cube.permute(2, 0, 1)[1::2, :, 1:]
    state["windows"] = torch.arange(6, dtype=torch.int32).as_strided((4, 3), (1, 1))
    state["expanded"] = torch.tensor([[1.5], [-2.5]]).expand(2, 3)
    state["expanded_all"] = torch.tensor(7, dtype=torch.uint8).expand(2, 2)
    state["one_by_n"] = torch.arange(5, dtype=torch.float64).reshape(5, 1)[::2]
    state["scalar"] = torch.tensor(-0.0)
    state["empty"] = torch.empty(0)
    state["empty_wide"] = torch.empty(3, 0, 2, dtype=torch.float16)
    for dtype in sorted(DTYPES, key=str):
        state[f"types.{str(dtype)[6:]}"] = bytes_of_type(dtype, (3,))
    return state


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(3, 2)
        self.norm = torch.nn.LayerNorm(2)
        self.register_buffer("mask", torch.tril(torch.ones(2, 2, dtype=torch.bool)))

    def forward(self, ids):
        return self.norm(self.embed(ids)) @ self.embed.weight.t()


def trained(make):
    """As the Trainer of transformers groups parameters and saves `optimizer.pt`: the optimizer's state_dict."""
    model = Tiny()
    decay = [p for n, p in model.named_parameters() if "norm" not in n]
    plain = [p for n, p in model.named_parameters() if "norm" in n]
    optimizer = make([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}])
    for step in range(2):
        loss = torch.nn.functional.cross_entropy(model(torch.tensor([0, 1, 2])), torch.tensor([1, 2, step]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer.state_dict()


def good_files():
    good("state.bin", state_dict())
    good("module.bin", Tiny().state_dict())
    good("protocol4.bin", Tiny().state_dict(), pickle_protocol=4)
    good("protocol5.bin", {"a": torch.ones(2), "nested": [{"b": torch.zeros(1), "t": (1, "x")}]}, pickle_protocol=5)
    arguments = argparse.Namespace(lr=0.1, names=["a", "b"], inner=argparse.Namespace(x=torch.ones(1)))
    good("checkpoint.bin", {"model": Tiny().state_dict(), "args": arguments, "step": 7},
         {"args": "argparse.Namespace"})
    good("root_tensor.bin", torch.arange(3).t())
    mixed = mixed_values()
    opaque = {
        "big": "an integer of more than 64 bits", "bytes": "_codecs.encode", "set": "__builtin__.set",
        "numpy": numpy_name(), "dtype": "torch.float16", "device": "torch.device",
        "complex": "torch.ComplexFloatStorage", "negated": "a tensor with metadata, such as a negated view",
        "sparse": "torch._utils._rebuild_sparse_tensor", "float8": "torch.float8_e4m3fn", "uint16": "torch.uint16",
        "storage": "torch.storage.UntypedStorage", "meta": "torch._utils._rebuild_meta_tensor_no_storage",
        "layer": "torch.nn.modules.linear.Linear", "function": "posix.system",
        "subclass": "__main__.Subclass", "bytearray": "__builtin__.bytearray",
    }
    good("mixed.bin", mixed, opaque)
    adamw = trained(lambda groups: torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8))
    good("adamw.optimizer.pt", adamw)
    from transformers import Adafactor
    good("adafactor.optimizer.pt", trained(
        lambda groups: Adafactor(groups, lr=1e-3, scale_parameter=False, relative_step=False, beta1=0.9)))


class Subclass(torch.Tensor):
    pass


def numpy_name():
    import numpy
    return numpy.float32(1).__reduce__()[0].__module__ + ".scalar"


def mixed_values():
    import numpy
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    parameter.tag = "attribute"
    tagged = torch.tensor([3, 4])
    tagged.tag = {"x": 1}
    counter = collections.Counter("aab")
    default = collections.defaultdict(list, {"d": torch.tensor(1.0)})
    negated = torch.tensor([1 + 2j]).conj().imag
    assert negated.is_neg()
    return {
        "none": None, "true": True, "false": False, "ints": [0, 255, 256, 65536, -1, 2**31, -(2**40), 2**63 - 1, -(2**63)],
        "floats": [0.0, -0.0, 1e-3, float("inf"), 5e-324], "text": "Gewicht \u00e4\U0001f600", "long_text": "x" * 300,
        "nested": {0: {"y": (1, (2.5, []))}, "-1": {}}, "counter": counter, "default": default,
        "ordered": collections.OrderedDict(b=1, a=2), "size": torch.Size([2, 3]),
        "parameter_tagged": parameter, "tagged": tagged, "buffer": torch.nn.Buffer(torch.zeros(1)),
        "big": 2**70, "bytes": b"\x00\xff", "bytearray": bytearray(b"ab"), "set": {1},
        "numpy": numpy.float32(1), "dtype": torch.float16, "device": torch.device("cpu"),
        "complex": torch.tensor([1 + 2j]), "negated": negated, "sparse": torch.eye(2).to_sparse(),
        "float8": torch.ones(2).to(torch.float8_e4m3fn), "uint16": torch.ones(2, dtype=torch.uint16),
        "storage": torch.ones(2).untyped_storage(), "meta": torch.ones(2, device="meta"),
        "layer": torch.nn.Linear(1, 1), "function": os.system, "subclass": torch.ones(2).as_subclass(Subclass),
    }


# ---- hostile files: pickles by hand ----

STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
HOOKS = b"ccollections\nOrderedDict\n)R"


def integer(number):
    return b"\x8a\x08" + struct.pack("<q", number)


def numbers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(offset, sizes, strides, storage=STORAGE, function=b"ctorch._utils\n_rebuild_tensor_v2\n"):
    """A tensor of four f32 in `data/0`."""
    return function + b"(" + storage + integer(offset) + numbers(sizes) + numbers(strides) + b"\x89" + HOOKS + b"tR"


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def entry(key, value):
    return text(key) + value + b"s"


def archive(pickled, extra=(), order=b"little", method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("x/data.pkl", pickled)
        if order is not None:
            file.writestr("x/byteorder", order)
        file.writestr("x/data/0", struct.pack("<4f", 1, 2, 3, 4))
        for name, data in extra:
            file.writestr(name, data)
    return buffer.getvalue()


def bad(name, content, message=""):
    with open(os.path.join(FOLDER, name + ".bad"), "wb") as file:
        file.write(content)
    with open(os.path.join(FOLDER, "hostile.tsv"), "a") as file:
        file.write(f"{name}.bad\t{message}\n")


def hostile(name, value, message="", **options):
    """A dict with a good tensor `ok` and one value."""
    pickled = b"\x80\x02}" + entry("ok", tensor(0, [2, 2], [2, 1])) + entry("bad", value) + b"."
    bad(name, archive(pickled, **options), message)


def hostile_pickles():
    hostile("system", b"cos\nsystem\n" + text("touch /tmp/torchbin_was_executed") + b"\x85R")
    hostile("eval", b"cbuiltins\neval\n" + text("open('/tmp/torchbin_was_executed', 'w')") + b"\x85R")
    hostile("getattr_chain", b"cbuiltins\ngetattr\n(cos\nsystem\n" + text("__call__") + b"tR" + text("id") + b"\x85R}b")
    hostile("newobj", b"csubprocess\nPopen\n" + text("id") + b"\x85\x81}b")
    hostile("build_setitems", b"cos\nsystem\n)R(K\x01K\x02u(K\x01eK\x01a}b")
    hostile("stack_global", text("os") + text("system") + b"\x93" + text("id") + b"\x85R")
    hostile("load_from_bytes", b"ctorch.storage\n_load_from_bytes\n" + text("x") + b"\x85R")
    hostile("call_tensor", tensor(0, [1], [1]) + b")R", "expected a function to call, found a tensor")
    hostile("call_text", text("os") + b")R", 'expected a function to call, found "os"')
    hostile("rebuild_system", tensor(0, [1], [1], function=b"cos\nsystem\n"))
    hostile("from_type_nested", b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\n"
            b"ctorch\nTensor\n(tNtR")
    hostile("from_type_class", b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\ncos\nsystem\n(tNtR")
    hostile("storage_kind", STORAGE.replace(b"storage", b"modules"), "expected a persistent id")
    hostile("storage_short", b"(tQ", "expected a persistent id")
    hostile("storage_negative", STORAGE.replace(b"K\x04t", integer(-1) + b"t"), "expected a persistent id")
    hostile("storage_huge", tensor(0, [1], [1], STORAGE.replace(b"K\x04t", integer(2**62) + b"t")),
            "expected a storage of less than 2^64 bytes")
    hostile("storage_count", tensor(0, [1], [1], STORAGE.replace(b"K\x04t", b"K\x05t")),
            "expected a storage of 20 bytes, found 16")
    hostile("storage_missing", tensor(0, [1], [1], STORAGE.replace(b"\x000X", b"\x007X")),
            'expected the entry x/data/"7", found none')
    hostile("storage_path", tensor(0, [1], [1], STORAGE.replace(b"X\x01\x00\x00\x000", text("../../../etc/passwd"))),
            'expected the entry x/data/"../../../etc/passwd", found none')
    hostile("offset_past_end", tensor(4, [1], [1]), "expected a tensor within its storage of 4 elements")
    hostile("offset_huge", tensor(2**63 - 1, [1], [1]), "expected a tensor within its storage of 4 elements")
    hostile("offset_negative", tensor(-1, [1], [1]), "expected a storage offset of at least 0, found -1")
    hostile("sizes_past_end", tensor(1, [2, 2], [2, 1]), "expected a tensor within its storage of 4 elements")
    hostile("size_negative", tensor(0, [-1], [1]), "expected a size of at least 0, found -1")
    hostile("stride_negative", tensor(3, [4], [-1]), "expected a stride of at least 0, found -1")
    hostile("stride_huge", tensor(0, [2], [2**63 - 1]), "expected a tensor within its storage of 4 elements")
    hostile("strides_overflow", tensor(0, [2**62, 4], [2**62, 0]), "expected a tensor within its storage of 4 elements")
    hostile("sizes_overflow", tensor(0, [2**32, 2**32], [0, 0]), "expected a tensor within its storage of 4 elements")
    hostile("expanded_huge", tensor(0, [2**40], [0]), "expected an expanded tensor of at most 33554432 bytes")
    hostile("dimensions_differ", tensor(0, [1], [1, 1]), "expected 1 strides, one a size, found 2")
    hostile("dimensions_many", tensor(0, [1] * 65, [1] * 65), "expected a tuple of at most 64 dimensions")
    hostile("size_text", tensor(0, [1], [1]).replace(numbers([1]), text("a") + b"\x85", 1),
            'expected a size of at least 0, found "a"')
    hostile("few_arguments", b"ctorch._utils\n_rebuild_tensor_v2\n)R", "expected a tensor of 6 to 7 arguments, found 0")
    hostile("deep_tuple", b"N" + b"\x85" * 3000, "expected at most 64 containers within each other")
    hostile("deep_list", b"]" * 3000 + b"a" * 2999, "expected at most 64 containers within each other")
    hostile("deep_marks", b"(" * 11_000, "expected at most 10000 open containers")
    hostile("cycle", b"]q\x00h\x00a")
    hostile("cycle_wide", b"]q\x00(]q\x01(h\x00h\x01h\x00ee")
    laughs = b"]" + b"".join(b"q%c0(h%ch%ch%ch%ch%ch%ch%ch%cl" % ((n,) * 9) for n in range(30))
    hostile("laughs", laughs, "expected names and texts in proportion to the pickle")
    hostile("text_huge", b"X\xff\xff\xff\xff", "expected 4294967295 more bytes")
    hostile("text8_huge", b"\x8d" + b"\xff" * 8, "expected 18446744073709551615 more bytes")
    hostile("bytes_huge", b"\x8e" + b"\xff" * 7 + b"\x7f", "expected 9223372036854775807 more bytes")
    hostile("long_huge", b"\x8b\xff\xff\xff\xff", "expected 4294967295 more bytes")
    hostile("frame_huge", b"\x95" + b"\xff" * 8, "expected a frame of at most")
    hostile("memo_missing", b"j\xff\xff\xff\xff", "expected a value under 4294967295 in the memo")
    hostile("memo_far", b"Nr\xff\xff\xff\xff")
    hostile("extension", b"\x82\x01", "expected an opcode of a tensor file, found 0x82")
    hostile("inst", b"(ios\nsystem\n", "expected an opcode of a tensor file, found 0x69")
    hostile("next_buffer", b"\x97", "expected an opcode of a tensor file, found 0x97")
    hostile("pop_below_mark", b"(\x85", "expected 1 values on the stack, found 0")
    hostile("odd_items", b"}(K\x01u", "expected as many values as keys, found 1")
    hostile("append_to_int", b"K\x01K\x02a", "expected a list to append to, found 1")
    hostile("name_twice", b"}" + entry("a.b", b"N") + entry("a", b"}" + entry("b", b"N")), "expected one value of this name")
    for name, pickled, message in [
        ("empty_pickle", b"", "expected 1 more bytes, found 0"),
        ("no_protocol", b"N.", "expected a pickle that begins with its protocol"),
        ("protocol_0", b"\x80\x00N.", "expected pickle protocol 2 to 5, found 0"),
        ("protocol_9", b"\x80\x09N.", "expected pickle protocol 2 to 5, found 9"),
        ("no_stop", b"\x80\x02N", "expected 1 more bytes, found 0"),
        ("empty_stop", b"\x80\x02.", "expected one value at the end, found 0"),
        ("two_values", b"\x80\x02NN.", "expected one value at the end, found 2"),
        ("after_stop", b"\x80\x02N.N", "expected one value at the end, found 1 with 0 open containers and 1 more bytes"),
    ]:
        bad(name, archive(pickled), message)


def hostile_archives():
    pickled = b"\x80\x02}" + entry("ok", tensor(0, [2, 2], [2, 1])) + b"."
    plain = archive(pickled)
    bad("big_endian", archive(pickled, order=b"big"), 'expected the byte order little, found "big"')
    bad("no_byteorder", archive(pickled, order=None))
    bad("compressed", archive(pickled, method=zipfile.ZIP_DEFLATED), "expected a stored entry (method 0)")
    bad("encrypted", plain.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "expected an entry without encryption")
    bad("torchscript", archive(pickled, [("x/constants.pkl", b"")]), "expected a file of torch.save, found a TorchScript")
    bad("two_pickles", archive(pickled, [("y/data.pkl", pickled)]), "expected one entry <name>/data.pkl")
    bad("traversal", archive(pickled, [("../../../tmp/torchbin_was_executed", b"x"), ("/etc/passwd", b"")]))
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bad("duplicate", archive(pickled, [("x/data/0", b"other bytes 1234")]), "expected one entry of this name")
    bad("comment", plain[:-2] + b"\x01\x00c", "expected the end record of a zip archive in the last 22 bytes")
    bad("trailing", plain + b"\0", "expected the end record of a zip archive in the last 22 bytes")
    bad("leading", b"\0" + plain, "expected a central directory that ends at byte")
    end = len(plain) - 22
    count, size, offset = struct.unpack("<HII", plain[end + 10:end + 20])
    bad("many_entries", plain[:end + 8] + b"\xfe\xff\xfe\xff" + plain[end + 12:], "expected at most 1000000 entries")
    bad("few_entries", plain[:end + 8] + struct.pack("<HH", count - 1, count - 1) + plain[end + 12:], "expected 2 entries")
    # The second entry's record names the first one's header, so that the data overlap: names differ.
    second = plain.index(b"PK\x01\x02", offset + 4)
    overlap = bytearray(plain)
    overlap[second + 42:second + 46] = bytes(4)
    bad("overlap_name", bytes(overlap), "expected the same name in the local header")
    # A long first entry that swallows the header of the second.
    swallow = bytearray(plain)
    for at in (18, 22, offset + 20, offset + 24):
        swallow[at:at + 4] = struct.pack("<I", len(pickled) + 40)
    bad("overlap", bytes(swallow), "expected entries side by side, found two that overlap")
    past = bytearray(plain)
    for at in (offset + 20, offset + 24):
        past[at:at + 4] = struct.pack("<I", 2**31)
    past[18:26] = bytes(past[offset + 20:offset + 28])
    bad("entry_past_end", bytes(past), "expected data that end before the central directory")
    buffer = io.BytesIO()
    torch.save({"ok": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    bad("legacy", buffer.getvalue(), "expected the zip format that torch.save writes since PyTorch 1.6")
    buffer = io.BytesIO()
    torch.save({"ok": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False, pickle_protocol=4)
    bad("legacy4", buffer.getvalue(), "expected the zip format that torch.save writes since PyTorch 1.6")
    bad("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "expected a file of torch.save, found a pointer")
    bad("nothing", b"", "expected a zip archive of at least 22 bytes, found 0")
    bad("plain_pickle", pickle.dumps({"a": "b" * 30}, 2), "expected the end record of a zip archive")


def checkpoints():
    """Two cases of parity.py, one with its tied head stored twice, one in two shards."""
    from safetensors.torch import load_file

    parity = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "parity")
    for name, shards in [("llama_tied", 1), ("gpt2_odd", 2)]:
        tensors = load_file(os.path.join(parity, name, "model.safetensors"))
        out = os.path.join(FOLDER, "checkpoints", name)
        os.makedirs(out, exist_ok=True)
        if shards == 1:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
            torch.save(tensors, os.path.join(out, "pytorch_model.bin"))
            continue
        names, listed = sorted(tensors), {}
        for i in range(shards):
            file = f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin"
            part = {key: tensors[key] for key in names[i::shards]}
            torch.save(part, os.path.join(out, file))
            listed |= dict.fromkeys(part, file)
        with open(os.path.join(out, "pytorch_model.bin.index.json"), "w") as file:
            json.dump({"metadata": {}, "weight_map": listed}, file)


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for name in os.listdir(FOLDER):
        if not name.startswith("torch-") and os.path.isfile(os.path.join(FOLDER, name)):
            os.remove(os.path.join(FOLDER, name))
    checkpoints()
    good_files()
    hostile_pickles()
    hostile_archives()
