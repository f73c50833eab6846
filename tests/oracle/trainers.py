"""Reads the golden files of tests/fixtures/trainers with the trainers' own code, and draws with their own samplers.

    VENV/bin/python tests/oracle/trainers.py [TRAINER ..]

A package that is not installed is said, and its files are then not read. Of readers that import much more than they
use, only the modules that read are run. Paths on s3:// are read as local ones. Token shares are compared with those of
the mixture; the bound is what the trainer's own rounding, or chance, allows.

What was run (Python 3.11, PyYAML 6.0.4, omegaconf), each without a failure, and the largest gap of a share:

    olmo-core      ai2-olmo-core 3.0.0: SourceMixtureDatasetConfig.from_yaml and build            9.8e-07
                   over sparse files of the right sizes; the composable mix
    torchtitan     grain 0.2.18: MapDataset.mix, 50,000 draws. torchtitan.components.data is not  8.0e-05
                   in torchtitan 0.3.0; a stand-in with its fields is over Grain's own mix
    nanotron       yaml.safe_load and names of fields: nanotron 0.4 on PyPI has older ones        0
    megatron       megatron-core 0.16.1: get_blend_from_list and build_blending_indices,          0
                   a million draws
    llm-foundry    mosaicml-streaming 0.13.0: Stream, validate_weights, apply_weights             0
    hf             datasets 5.2.0: interleave_datasets, 4,000 documents of each source            2.7e-03
    llamafactory   llamafactory 0.9.5: DataArguments, get_dataset_list                            4.5e-11
    levanter       marin-levanter 0.2.20.dev202606180959: counts of a block                       2.9e-04
    energon        megatron-energon 7.4.1: load_config to MetadatasetV2                           4.5e-11

By hand, with sources that are on no registry: nanotron 2411b02's DatasetStageArgs by dacite, strictly; torchtitan
b5bcd76's own DatasetMixConfig of ConcatThenSplitPackingConfig, 5,880 rows of which 1,000, 3,410 and 1,470 came: the
weights exactly.
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import re
import sys
import tempfile
import types
import typing
from importlib.metadata import PackageNotFoundError, version
from unittest.mock import MagicMock

import yaml

os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "trainers")
SEQUENCE, BATCH, TOTAL = 4096, 4096 * 512, 4096 * 1_024_000
# Of the mixture: mean tokens of a document, available tokens, and shares of both stages.
MEANS = {"math": 1409.0, "web": 812.5, 'q&a: "forum" #1': 95.0, "old": 500.0}
AVAILABLE = {"math": 3.1e8, "web": 4e10, 'q&a: "forum" #1': 6e8, "old": 1e9}
ANNEAL = {"math": 0.17, "web": 0.58, 'q&a: "forum" #1': 0.25}
WARM = {"math": 0.1, "web": 0.6, 'q&a: "forum" #1': 0.1, "old": 0.2}
SOURCE_OF_PATH = {"data/math": "math", "s3://corpus/web-0": "web", "s3://corpus/web-1": "web",
                  "data/q&a's": 'q&a: "forum" #1', "data/old": "old"}
CASES = [("one", "", ANNEAL), ("stages", "-1", WARM), ("stages", "-2", ANNEAL)]


def bare(package):
    """Makes modules of a package importable without running its `__init__`, which imports much more."""
    found = importlib.util.find_spec(package)
    if found is None:
        raise ModuleNotFoundError(f"no module {package}")
    module = types.ModuleType(package)
    module.__path__ = list(found.submodule_search_locations)
    sys.modules[package] = module
    return module


class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages whose functions are not called."""

    def __init__(self, *names):
        self.names = names

    def __enter__(self):
        sys.meta_path.append(self)

    def __exit__(self, *_):
        sys.meta_path.remove(self)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module):
        pass


def path(trainer, case, name):
    return os.path.join(ROOT, trainer, case, name)


def text(trainer, case, name):
    with open(path(trainer, case, name)) as file:
        return file.read()


def near(found, wanted, bound, what):
    """Shares by source, from counts of tokens."""
    total = sum(found.values())
    gap = max(abs(found.get(name, 0) / total - wanted.get(name, 0)) for name in set(found) | set(wanted))
    assert gap <= bound, f"{what}: {found} are not {wanted}: {gap}"
    return gap


def by_source(pairs):
    found = {}
    for name, amount in pairs:
        found[name] = found.get(name, 0) + amount
    return found


def olmo_core():
    import numpy as np
    from olmo_core.data.composable import MixingInstanceSource
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig

    gaps = []
    for case, suffix, wanted in CASES:
        with tempfile.TemporaryDirectory() as folder:
            # Empty files of the right sizes: only sizes are looked at.
            moved = re.sub(r's3://|(?<=")data/', folder + "/", text("olmo-core", case, f"source_mixture{suffix}.yaml"))
            file = os.path.join(folder, "m.yaml")
            with open(file, "w") as out:
                out.write(moved)
            config = SourceMixtureDatasetConfig.from_yaml(file)
            config.render_tables, config.quiet = False, True
            for source in config.source_list.sources:
                for place in source.paths:
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    with open(place, "wb") as out:
                        out.truncate(2 * int(AVAILABLE[source.source_name] / len(source.paths)))
            built = config.build(npdtype=np.uint16, sequence_length=SEQUENCE)
            found = {s.name: sum(p.tokens for p in s.path_tokens) for s in built.sources}
            assert sum(found.values()) == config.requested_tokens
            gaps.append(near(found, wanted, 1e-5, "olmo-core"))
        space = {}
        exec(text("olmo-core", case, f"composable{suffix}.py"), space)
        mixture = space["mixture"](lambda name, paths: ("instances", name, tuple(paths)))
        assert isinstance(mixture, MixingInstanceSource.Config)
        assert {s.label: s.ratio for s in mixture.source_specs} == wanted
    return f"ai2-olmo-core {version('ai2-olmo-core')}: from_yaml, build over files of the right sizes; composable", gaps


def torchtitan():
    import grain.python as grain

    # Its components.data is newer than the release on PyPI: a stand-in with the same fields, over Grain's own mix.
    data = types.ModuleType("torchtitan.components.data")
    data.WeightedDataset = lambda dataset, weight: (dataset, weight)
    data.ConcatThenSplitPackingConfig = lambda dataset: dataset
    mix = grain.MapDataset.mix
    data.DatasetMixConfig = lambda datasets: mix([d for d, _ in datasets], weights=[w for _, w in datasets])
    sys.modules.update({"torchtitan.components.data": data})
    gaps = []
    for case, suffix, wanted in CASES:
        space = {}
        exec(text("torchtitan", case, f"mix{suffix}.py"), space)
        mixed = space["mixture"](lambda name, paths: grain.MapDataset.source([name]).repeat(10**6))
        assert {SOURCE_OF_PATH[p] for _, paths, _ in space["SOURCES"] for p in paths} == set(wanted)
        gaps.append(near(by_source((mixed[i], 1) for i in range(50_000)), wanted, 2e-3, "torchtitan"))
    return f"grain {version('grain')}: MapDataset.mix drawn 50,000 times, under a stand-in for components.data", gaps


def nanotron():
    gaps = []
    for case, stages in [("one", [(1, ANNEAL)]), ("stages", [(1, WARM), (1001, ANNEAL)])]:
        read = yaml.safe_load(text("nanotron", case, "data_stages.yaml"))["data_stages"]
        assert [stage["start_training_step"] for stage in read] == [start for start, _ in stages]
        assert len({stage["name"] for stage in read}) == len(read)
        for stage, (_, wanted) in zip(read, stages):
            assert set(stage) == {"name", "start_training_step", "data"}
            assert set(stage["data"]) == {"dataset", "num_loading_workers", "seed"}
            dataset = stage["data"]["dataset"]
            assert set(dataset) == {"dataset_folder", "dataset_weights"}
            pairs = zip(dataset["dataset_folder"], dataset["dataset_weights"], strict=True)
            found = by_source((SOURCE_OF_PATH[p], w) for p, w in pairs)
            gaps.append(near(found, wanted, 1e-9, "nanotron"))
    return "yaml.safe_load and the fields of DatasetStageArgs and what it holds (0.4 on PyPI is older)", gaps


def megatron():
    try:
        from megatron.core.datasets.utils import get_blend_from_list, normalize
    except ImportError:
        return None, []
    how = f"megatron-core {version('megatron-core')}: get_blend_from_list"
    try:
        import numpy as np
        from megatron.core.datasets import helpers_cpp

        how += ", build_blending_indices drawn a million times"
    except ImportError:
        helpers_cpp = None
    gaps = []
    for case, suffix, wanted in CASES:
        split = json.loads(text("megatron", case, f"per_split{suffix}.json"))
        assert set(split) == {"train", "valid", "test"}
        assert get_blend_from_list(split["valid"]) is None
        blend = get_blend_from_list(text("megatron", case, f"data_args{suffix}.txt").split())
        assert blend == get_blend_from_list(split["train"])
        prefixes, weights = blend
        found = weights
        if helpers_cpp:
            index, sample = np.zeros(10**6, dtype=np.int16), np.zeros(10**6, dtype=np.int64)
            helpers_cpp.build_blending_indices(index, sample, np.array(normalize(weights)), len(weights), 10**6, False)
            found = np.bincount(index).tolist()
        found = by_source((SOURCE_OF_PATH[p], w) for p, w in zip(prefixes, found))
        gaps.append(near(found, wanted, 1e-5, "megatron"))
    return how, gaps


def llm_foundry():
    import numpy as np
    from omegaconf import OmegaConf

    bare("streaming")
    bare("streaming.base")
    from streaming.base.stream import Stream

    def streams(section):
        with tempfile.TemporaryDirectory() as folder:
            built = [Stream(**{**s, "local": s.get("local", os.path.join(folder, n.replace("/", "-")))})
                     for n, s in section["streams"].items()]
        drawn = 10**6
        assert Stream.validate_weights(built) == (True, False)
        Stream.apply_weights(built, np.full(len(built), 10**5, dtype=np.int64), drawn, 42)
        assert sum(stream.choose for stream in built) == drawn
        paths = [s.get("local") or s["remote"] for s in section["streams"].values()]
        return by_source((SOURCE_OF_PATH[p], stream.choose) for p, stream in zip(paths, built))

    gaps = []
    for case, first in [("one", ANNEAL), ("stages", WARM)]:
        config = OmegaConf.to_container(OmegaConf.load(path("llm-foundry", case, "streams.yaml")), resolve=True)
        assert config["max_duration"] == f"{TOTAL}tok"
        gaps.append(near(streams(config["train_loader"]["dataset"]), first, 1e-5, "llm-foundry"))
    config = OmegaConf.to_container(OmegaConf.load(path("llm-foundry", "stages", "curriculum.yaml")), resolve=True)
    learning = config["callbacks"]["curriculum_learning"]
    durations = [learning["duration"]] + [stage["duration"] for stage in learning["schedule"]]
    assert sum(int(re.fullmatch(r"(\d+)tok", duration)[1]) for duration in durations) == TOTAL
    gaps.append(near(streams(learning["schedule"][0]["dataset"]), ANNEAL, 1e-5, "llm-foundry"))
    return f"mosaicml-streaming {version('mosaicml-streaming')}: Stream, apply_weights; OmegaConf", gaps


def hf():
    from datasets import Dataset, interleave_datasets

    gaps = []
    for case, suffix, wanted in CASES:
        read = json.loads(text("hf", case, f"mixture{suffix}.json"))
        loaded = [Dataset.from_dict({"source": [name] * 4000}) for name in read["names"]]
        mixed = interleave_datasets(loaded, probabilities=read["probabilities"], seed=read["seed"],
                                    stopping_strategy=read["stopping_strategy"])
        gaps.append(near(by_source((n, MEANS[n]) for n in mixed["source"]), wanted, 0.02, "hf"))
    return f"datasets {version('datasets')}: interleave_datasets over sources of 4,000 documents", gaps


def llamafactory():
    bare("llamafactory.data")
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams.data_args import DataArguments
    from omegaconf import OmegaConf

    gaps = []
    for case, suffix, wanted in CASES:
        read = OmegaConf.to_container(OmegaConf.load(path("llamafactory", case, f"train{suffix}.yaml")), resolve=True)
        assert set(read) == {"stage", "dataset", "mix_strategy", "interleave_probs", "seed"}
        arguments = DataArguments(dataset=read["dataset"], mix_strategy=read["mix_strategy"],
                                  interleave_probs=read["interleave_probs"])
        listed = get_dataset_list(arguments.dataset, os.path.join(ROOT, "llamafactory", case))
        assert all(entry.prompt == "text" for entry in listed)
        assert [entry.load_from for entry in listed if "://" in entry.dataset_name] == ["cloud_file"] * 2
        sources = [SOURCE_OF_PATH[entry.dataset_name] for entry in listed]
        pairs = zip(sources, arguments.interleave_probs, strict=True)
        gaps.append(near(by_source((s, p * MEANS[s]) for s, p in pairs), wanted, 1e-8, "llamafactory"))
    return f"llamafactory {version('llamafactory')}: OmegaConf, DataArguments, get_dataset_list", gaps


def levanter():
    # MixtureDataset counts with numpy; the rest of the package is JAX, which is large.
    with StandIn("jax", "haliax"):
        bare("levanter")
        bare("levanter.utils")
        package = bare("levanter.data")
        package.AsyncDataset = types.new_class("AsyncDataset", (typing.Generic[typing.TypeVar("T")],))
        sys.modules["jaxtyping"] = MagicMock()
        unused = ["utils.jax_utils", "schedule", "utils.thread_utils"]
        sys.modules.update({f"levanter.{name}": MagicMock() for name in unused})
        from levanter.data.mixture import MixtureDataset

    gaps = []
    for case, stages in [("one", [(0, ANNEAL)]), ("stages", [(0, WARM), (1000, ANNEAL)])]:
        read = yaml.safe_load(text("levanter", case, "train_weights.yaml"))
        assert set(read) == {"mixture_block_size", "stop_strategy", "train_weights"}
        weights = read["train_weights"] if isinstance(read["train_weights"], list) else [[0, read["train_weights"]]]
        block = read["mixture_block_size"]
        assert [start for start, _ in weights] == [start for start, _ in stages]
        assert all(start * (BATCH // SEQUENCE) % block == 0 for start, _ in weights)
        for (_, weights), (_, wanted) in zip(weights, stages):
            dataset = types.SimpleNamespace(datasets=list(weights), dataset_index=list(weights))
            weights = MixtureDataset._normalize_weights(weights)
            counts = MixtureDataset._compute_expected_counts_per_block(dataset, weights, block)
            assert counts.sum() == block
            gaps.append(near(dict(zip(dataset.datasets, counts.tolist())), wanted, 1 / block, "levanter"))
    return f"marin-levanter {version('marin-levanter')}: MixtureDataset's counts of a block (JAX stood in for)", gaps


def energon():
    from megatron.energon.dataset_config import load_config
    from megatron.energon.epathlib import EPath
    from megatron.energon.metadataset import Metadataset, MetadatasetV2

    gaps = []
    for case, suffix, wanted in CASES:
        place = EPath(path("energon", case, f"metadataset{suffix}.yaml"))
        read = load_config(place, default_type=Metadataset, default_kwargs=dict(path=place))
        assert isinstance(read, MetadatasetV2)
        blend = read.splits["train"].blend
        sources = [SOURCE_OF_PATH[str(entry.path)] for entry in blend]
        pairs = by_source((s, entry.weight * MEANS[s]) for s, entry in zip(sources, blend))
        gaps.append(near(pairs, wanted, 1e-8, "energon"))
    return f"megatron-energon {version('megatron-energon')}: load_config to MetadatasetV2", gaps


def live():
    gaps = []
    for number, (case, suffix, wanted) in enumerate(CASES):
        read = json.loads(text("live", case, f"weights{suffix}.json"))
        assert (read["version"], read["step"]) == [(1, 0), (1, 0), (2, 1000)][number]
        assert set(read["weights"]) == set(read["loss_weights"]) == set(MEANS)
        gaps.append(near(read["weights"], wanted, 1e-9, "live"))
    return "json", gaps


def strings():
    """How names are written: `strings.yaml` holds those that readers of YAML or JSON would take for something else."""
    with open(os.path.join(ROOT, "strings.yaml"), encoding="utf-8", newline="") as file:
        written = file.read()
    wanted = ["", "null", "yes", "1e3", "0x10", " a ", "- a", "a: b", "${a}", "<<", "日本"]
    wanted += [f"{sign}x{sign} {sign}" for sign in ": #{}[],&*!|>'\"%@`-?~\\"]
    wanted += [f"a{chr(c)}b" for c in [*range(0xa1), 0x2028, 0x2029, 0xfeff, 0xfffe, 0xffff, 0x1f600]]
    assert yaml.safe_load(written) == wanted
    assert [json.loads(line[2:]) for line in written.split("\n")[:-1]] == wanted
    assert [ast.literal_eval(line[2:]) for line in written.split("\n")[:-1]] == wanted
    return f"{len(wanted)} strings by PyYAML {version('PyYAML')}, json and Python itself", [0.0]


CHECKS = [strings, olmo_core, torchtitan, nanotron, megatron, llm_foundry, hf, llamafactory, levanter, energon, live]

if __name__ == "__main__":
    asked = sys.argv[1:]
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", "-")
        if asked and name not in asked:
            continue
        try:
            how, gaps = check()
            gap = f"gap {max(gaps):.1e}" if gaps else "not read"
            print(f"{name:13} {gap:12} {how or 'its package is not installed'}")
        except (ImportError, PackageNotFoundError) as error:
            print(f"{name:13} not read     {error}")
        except Exception as error:
            failed += 1
            print(f"{name:13} FAILED       {type(error).__name__}: {error}")
    sys.exit(failed > 0)
