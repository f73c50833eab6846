"""Compare task YAMLs as lm-evaluation-harness renders them with what `veval` makes of them.

Every YAML that the installed harness ships is translated; the numbers of translated and refused ones are printed by
reason. Of those that translate, one for each distinct set of templates is given rows made up for the columns that its
templates name (texts with quotes, line ends, digits, letters beyond ASCII; numbers, lists and mappings where the
template needs them), and `ConfigurableTask` over these rows in memory gives contexts, continuations and golds, without
shots and with some. All must be the same to the byte. Rows on which the harness itself fails are made anew, and a task
for which none can be found is counted as `no rows`.

    cargo build --release --example task_yaml_oracle
    python task_yaml.py [--program FILE] [--tasks DIR] [--only TEXT] [--rows 6] [--show 20] [--out FILE]

Needs lm-eval 0.4.13 (and what it imports). Nothing of the harness's files is written anywhere but to --out, which gets
one JSON object for each YAML.
"""

import argparse
import ast
import collections
import json
import logging
import os
import random
import re
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.disable(logging.WARNING)

import datasets  # noqa: E402
import jinja2  # noqa: E402
import lm_eval  # noqa: E402
from jinja2 import meta, nodes  # noqa: E402
from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.tasks._yaml_loader import load_yaml  # noqa: E402
from lm_eval.utils import env  # noqa: E402

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parents[1] / "target/release/examples/task_yaml_oracle"
TASKS = Path(lm_eval.__file__).resolve().parent / "tasks"

# ---------------------------------------------------------------- rows

TEXTS = ["plain", "Two words", " leads", "ends ", "it's", 'say "so"', "back\\slash", "line\nend", "tab\tstop", "ünïcode 漢字",
         "42", "007", "A", "B", "[1]", "{x}", "100% _", "a. b, c; d", "<b>&amp;</b>", "Q: no? A: yes.", "x" * 40]
VALUES = [7, 0.5, -3, 1.0]  # what may stand in a column that is only printed
TEXT_TO_TEXT = {"strip", "lstrip", "rstrip", "lower", "upper", "capitalize"}
NOT_RENDERED = {"task_list", "metric_list", "filter_list", "doc_to_decontamination_query", "recipe", "group_alias"}
METHODS_OF_TEXTS = {"strip", "lstrip", "rstrip", "split", "replace", "lower", "upper", "capitalize", "title",
                    "startswith", "endswith", "find", "format", "splitlines", "rsplit", "isdigit"}


def text(rng):
    return rng.choice(TEXTS) + rng.choice(["", "", " ", "."]) + str(rng.randrange(1000))


class Need:
    """What a template asks of one column: learned from its syntax tree."""

    def __init__(self):
        self.fields = collections.defaultdict(Need)  # keys of a mapping
        self.items = None  # a list, and what its items are
        self.length = 0
        self.options = None  # one of these values
        self.kind = None  # "text", "number"
        self.longer = 0  # characters that a slice leaves out

    def item(self):
        self.items = self.items or Need()
        return self.items

    def value(self, rng, depth=0):
        if self.options:
            return rng.choice(self.options)
        if self.fields:
            return {name: need.value(rng, depth + 1) for name, need in self.fields.items()}
        if self.items is not None and self.items.options:
            return list(self.items.options)  # labels, all of them in order
        if self.items is not None:
            return [self.items.value(rng, depth + 1) for _ in range(max(self.length, 4))]
        if self.kind == "number":
            return rng.choice([1, 1, 2])
        if self.kind is None and not self.longer and rng.random() < 0.1:
            return rng.choice(VALUES)
        return text(rng) + "~" * self.longer


def path_need(node, needs):
    """The need that a chain of attributes and indices starting at a column stands for."""
    if isinstance(node, nodes.Name):
        return needs[node.name]
    if isinstance(node, nodes.Getattr):
        base = path_need(node.node, needs)
        return base.fields[node.attr] if base is not None else None
    if isinstance(node, nodes.Getitem):
        base = path_need(node.node, needs)
        if base is None:
            return None
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return base.fields[node.arg.value]
        if isinstance(node.arg, nodes.Slice):
            if isinstance(node.arg.start, nodes.Const) and node.arg.start.value is not None:
                base.longer = max(base.longer, node.arg.start.value + 1)
            return base
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, int):
            base.length = max(base.length, node.arg.value + 1, -node.arg.value)
        return base.item()
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and node.node.attr in TEXT_TO_TEXT:
        return path_need(node.node.node, needs)
    return None


def learn(node, needs):
    """Walks a syntax tree and notes what it asks of columns."""
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        method, base = node.node.attr, node.node.node
        if method == "index" and node.args:
            wanted, options = path_need(node.args[0], needs), path_need(base, needs)
            try:
                literal = [value for value in base.as_const()] if wanted is not None else None
            except (nodes.Impossible, TypeError):
                literal = None
            if literal:
                wanted.options = literal
            elif options is not None and wanted is not None:
                options.item().options = wanted.options = ["A", "B", "C", "D", "E"]
        elif method in METHODS_OF_TEXTS:
            need = path_need(base, needs)
            if need is not None and not need.fields and need.items is None:
                need.kind = need.kind or "text"
        else:
            path_need(base, needs)
        for part in node.args:
            learn(part, needs)
        if not isinstance(base, nodes.Name):
            learn(base, needs)
        return
    if isinstance(node, nodes.Getitem) and not isinstance(node.arg, (nodes.Const, nodes.Slice)):
        index = path_need(node.arg, needs)
        if index is not None:
            index.kind = "number"
    if isinstance(node, nodes.Slice):
        for part in (node.start, node.stop):
            need = path_need(part, needs) if part is not None else None
            if need is not None:
                need.kind = "number"
    if isinstance(node, nodes.Sub):
        for part in (node.left, node.right):
            need = path_need(part, needs)
            if need is not None:
                need.kind = "number"
    if isinstance(node, nodes.Filter):
        need = path_need(node.node, needs) if node.node is not None else None
        if need is not None and node.name == "int":
            need.options = need.options or [1, 2, "1", "2"]
        if need is not None and node.name in ("length", "join", "list", "map", "first", "last"):
            item = need.item() if need.items is not None or need.kind != "text" else None
            attribute = next((k.value for k in node.kwargs if k.key == "attribute"), None)
            if item is not None and attribute is not None:
                item.fields[attribute.value] = item.fields[attribute.value]
    if isinstance(node, nodes.Compare):
        for side in [node.expr] + [operand.expr for operand in node.ops]:
            need = path_need(side, needs)
            consts = [o.expr.value for o in node.ops if isinstance(o.expr, nodes.Const)]
            consts = [value for value in consts if value is not None]
            if need is not None and consts and need.kind != "number" and not need.fields:
                need.options = (need.options or []) + consts
    if isinstance(node, nodes.For):
        need = path_need(node.iter, needs)
        if need is not None and isinstance(node.target, nodes.Name):
            needs = collections.defaultdict(Need, needs)
            needs[node.target.name] = need.item()
    path_need(node, needs)
    for child in node.iter_child_nodes():
        learn(child, needs)


def columns(config):
    """Columns of a task and what it asks of them."""
    needs = collections.defaultdict(Need)
    for key in ["doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix"]:
        source = config.get(key)
        if not isinstance(source, str):
            continue
        if re.fullmatch(r"[^\W\d]\w*", source) and key not in ("description", "gen_prefix"):
            need = needs[source]
            need.kind = "text"
            if key == "doc_to_choice":
                need.item().kind = "text"
            continue
        tree = env.parse(source)
        names = meta.find_undeclared_variables(tree)
        found = collections.defaultdict(Need, needs)
        learn(tree, found)
        printed = [node for output in tree.find_all(nodes.Output) for node in output.nodes]
        if key == "doc_to_choice" and len(printed) == 1:
            # What is printed as a whole is the list of choices.
            need = path_need(printed[0], found)
            if need is not None:
                need.item().kind = "text"
        for name in names:
            needs[name] = found[name]
            if key in ("doc_to_choice", "doc_to_target"):
                needs[name].kind = needs[name].kind or "text"
    choices = config.get("doc_to_choice")
    target = config.get("doc_to_target")
    bare = re.fullmatch(r"(?:\{\{\s*)?([^\W\d]\w*)(?:\s*\}\})?", target) if isinstance(target, str) else None
    if choices is not None and bare and bare[1] in needs and not needs[bare[1]].options:
        wrapped = target.startswith("{{")
        options = [0, 1] + (["0", "1"] if wrapped else [])
        if isinstance(choices, list):
            options = [0, 1] if config.get("output_type") == "generate_until" else options + choices[:2]
            options = [o for o in options if not (isinstance(o, str) and o.isdigit() and not wrapped)]
        needs[bare[1]].options = options
    # One more column that no template names: a row is more than what is rendered.
    needs["unused"].kind = "text"
    return needs


def draw(needs, rng):
    row = {}
    for name, need in needs.items():
        value = need.value(rng)
        row[name] = value
    return json.loads(json.dumps(row))


# ---------------------------------------------------------------- the harness


class Rows(list):
    """A split in memory, with the two things that the harness asks of one."""

    def __init__(self, rows):
        super().__init__(rows)
        self.features = {name: None for name in rows[0]}


class Task(ConfigurableTask):
    """The harness's own task over rows in memory."""

    def __init__(self, config, splits):
        self.in_memory = splits
        super().__init__(config=config)

    def download(self, *args, **kwargs):
        self.dataset = self.in_memory


def render(config, rows, pool, shots):
    """Contexts, continuations and golds of each row."""
    scored = config.get("test_split") or config.get("validation_split")
    named = [config.get(k) for k in ("training_split", "validation_split", "test_split", "fewshot_split")]
    named.append((config.get("fewshot_config") or {}).get("split"))
    splits = {split: Rows(pool) for split in named if split}
    splits[scored] = Rows(rows)
    task = Task(json.loads(json.dumps(config)), splits)
    task.set_fewshot_seed(1234)
    found = []
    for doc in task.eval_docs:
        context = task.fewshot_context(doc, num_fewshot=shots, gen_prefix=task.doc_to_prefix(doc))
        requests = task.construct_requests(doc, context)
        if task.OUTPUT_TYPE == "multiple_choice":
            asked = [request.args for request in requests]
            asked = asked[: len(task.doc_to_choice(doc))]
            gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
            choices = task.doc_to_choice(doc)
            if isinstance(gold, str):
                gold = choices.index(gold)  # the harness counts other texts as wrong; veval refuses them
            golds = gold if isinstance(gold, list) else [int(gold)]
            assert all(0 <= g < len(choices) for g in golds), "no such choice"
            contexts = [context for context, _ in asked]
            item = {"continuations": [continuation for _, continuation in asked], "golds": golds}
            item["contexts"] = contexts if task.multiple_input else contexts[:1]
        elif task.OUTPUT_TYPE == "loglikelihood":
            context, target = requests.args
            item = {"contexts": [context], "continuations": [target]}
        elif task.OUTPUT_TYPE == "loglikelihood_rolling":
            item = {"continuations": [requests.args[0]]}
        else:
            gold = task.doc_to_target(doc)
            if config.get("doc_to_choice") is not None:
                gold = task.doc_to_choice(doc)[gold]
            golds = [str(g) for g in gold] if isinstance(gold, list) else [str(gold)]
            item = {"contexts": [requests.args[0]], "golds": golds}
            # An empty answer is none to the harness: such a shot has no delimiters. Made-up rows can do without.
            assert all(task.doc_to_target(shot) != "" for shot in pool), "an empty answer"
        found.append(item)
    return found


# ---------------------------------------------------------------- the comparison


class Program:
    """The example program, one line in and one out."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the program ended at {question.get('yaml')}")
        return json.loads(line)


def reason(diagnostic):
    """A diagnostic without its place, its help and the names in it."""
    message = diagnostic.split("\n")[0].split(": ", 1)[-1]
    return re.sub(r'"[^"]*"|`[\w/]*\.[\w.]*`|: .*$', "..", message)[:90]


def signature(config):
    keys = ["doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix", "target_delimiter",
            "fewshot_delimiter", "output_type", "test_split", "validation_split", "training_split", "fewshot_split"]
    shots = (config.get("fewshot_config") or {}).get("sampler")
    return json.dumps([config.get(key) for key in keys] + [shots], default=str)


def compare(program, path, root, config, count, rng):
    """`equal`, `no rows: ...`, or a text that says what differs."""
    needs = columns(config)
    for attempt in range(40):
        rows, pool = [draw(needs, rng) for _ in range(count)], [draw(needs, rng) for _ in range(count + 4)]
        samples = (config.get("fewshot_config") or {}).get("samples")
        shots = min(2, len(samples)) if samples else 3
        shots = 0 if config.get("output_type") == "loglikelihood_rolling" else shots
        try:
            wanted = {n: render(config, rows, pool, n) for n in (0, shots)}
        except Exception as error:  # noqa: BLE001, whatever the harness stumbles over
            stumbled = f"no rows: {type(error).__name__}: {error}"[:300]
            continue
        for n, items in wanted.items():
            got = program.ask(yaml=str(path), root=str(root), rows=rows, pool=pool, shots=n)["items"]
            if isinstance(got, dict):
                return f"{n} shots: {got['failed'][:600]}"
            for row, ours, theirs in zip(rows, got, items, strict=True):
                if ours != theirs:
                    odd = next(key for key in theirs if ours.get(key) != theirs[key])
                    return f"{n} shots, {odd}:\n  harness {theirs[odd]!r}\n  veval   {ours.get(odd)!r}\n  row {row!r}"[:3000]
        return "equal"
    return stumbled


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--tasks", type=Path, default=TASKS)
    parser.add_argument("--only", default="", help="paths that contain this text")
    parser.add_argument("--flags", action="store_true", help="also truth values and nothing in columns that are printed")
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    if options.flags:
        VALUES.extend([True, False, None])
    program = Program(options.program.resolve())
    rng = random.Random(0)
    outcomes, refused, records = collections.Counter(), collections.Counter(), []
    seen, families, differing = set(), set(), []
    for path in sorted(options.tasks.rglob("*.yaml")):
        if options.only not in str(path.relative_to(options.tasks)):
            continue
        answer = program.ask(yaml=str(path), root=str(options.tasks))
        record = {"yaml": str(path.relative_to(options.tasks)), "error": answer.get("error"), "notes": answer.get("notes")}
        records.append(record)
        if "error" in answer:
            outcomes["refused"] += 1
            refused.update({reason(diagnostic) for diagnostic in answer["error"]})
            continue
        outcomes["translated"] += 1
        # What is scored plays no part in what is rendered, and some of it is Python.
        config = {key: value for key, value in load_yaml(path, resolve_func=False).items() if key not in NOT_RENDERED}
        mark = signature(config)
        if mark in seen:
            continue
        seen.add(mark)
        result = compare(program, path, options.tasks, config, options.rows, rng)
        record["result"] = result
        kind = result.split(":")[0] if result == "equal" or result.startswith("no rows") else "different"
        outcomes[kind] += 1
        if kind == "equal":
            families.add(record["yaml"].split("/")[0])
        elif kind == "different":
            differing.append((record["yaml"], result))
    for yaml, result in differing[: options.show]:
        print(f"{yaml}: {result}")
    print("\nrefused, by reason (a task may have several):")
    for name, number in refused.most_common(40):
        print(f"{number:6} {name}")
    print(dict(outcomes), "families with equal ones:", len(families))
    if options.out:
        options.out.write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    main()
