"""Record what transformers' `apply_chat_template` renders.

Real templates are read from tokenizer_config.json files and are not copied into
the fixture: a case names its folder. The templates written here exercise what
real ones use. Two modes are recorded, the two that an evaluation needs: open the
assistant's turn (`add_generation_prompt`), or continue the last one
(`continue_final_message`).

    python chat.py [--data DIR] [--out FILE]
"""

import argparse
import json
from pathlib import Path

import jinja2
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
SHARED = ["qwen2.5", "qwen3", "phi-3-mini"]

# ---------------------------------------------------------------- templates

TEMPLATES = {
    # Checks the order of turns, slices the system turn off and puts it into the first user turn.
    "folded_system": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}"
        "{% endfor %}"
    ),
    # A `set` inside `if` belongs to the loop's scope; `|` binds tighter than `+`.
    "headers": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|header|>' + message['role'] + '</header>\\n\\n' + message['content'] | trim + '<|eot|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|header|>assistant</header>\\n\\n' }}{% endif %}"
    ),
    "no_system": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
        "{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start>' + role + '\\n' + message['content'] | trim + '<end>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start>model\\n' }}{% endif %}\n"
    ),
    # Indented blocks, each on its own line: trim_blocks and lstrip_blocks decide what is left.
    "lines": (
        "{# a comment on its own line #}\n"
        "{% for message in messages %}\n"
        "    {% if message['role'] == 'user' %}\n"
        "  User: {{ message['content'] }}\n"
        "    {% elif message['role'] == 'system' %}\n"
        "System: {{ message['content'] }}  \n"
        "\t{% else %}\n"
        "\n"
        "Assistant: {{- ' ' ~ message.content -}}\n"
        "\n"
        "  {{ eos_token }}\n"
        "    {% endif %}\n"
        "  {%+ if loop.last %}  (last) {% endif %} |\n"
        "  {%- if not loop.last -%}   \n"
        "    /\n"
        "  {%- endif -%}\n"
        "   ;\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}\n"
        "Assistant:\n"
        "{% endif %}\n"
        "\n"
    ),
    # What training masks. transformers' own tag; its lines are trimmed as those of every other block.
    "generation": (
        "{% for message in messages %}{% if message.role == 'assistant' %}<a>{% generation %}{{ message.content }}"
        "{{ eos_token }}{% endgeneration %}</a>{% else %}<{{ message.role }}>{{ message.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<a>{% endif %}"
    ),
    "generation_lines": (
        "{%- for message in messages %}\n"
        "    {%- if message.role == 'assistant' %}\n"
        "        {{- '<a>' }}\n"
        "        {% generation %}\n"
        "        {{- message.content + eos_token }}\n"
        "        {% endgeneration %}\n"
        "    {%- else %}\n"
        "        {{- '<' + message.role + '>' + message.content }}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n"
        "    {{- '<a>' }}\n"
        "{%- endif %}\n"
    ),
    "generation_dashes": (
        "{% for message in messages %}\n"
        "{%- if message.role == 'assistant' -%}\n"
        " <a> {%- generation -%} \n {{ message.content }} \n{%- endgeneration -%} </a> \n"
        "{%- else -%} <u> {{ message.content }} </u> {%- endif -%}\n"
        "{% endfor %}"
        "{%- if add_generation_prompt %}{%generation%}<a>{%endgeneration%}{% endif %}"
    ),
    # Variables that outlive a loop, reversed and filtered lists, tests, string methods.
    "namespace": (
        "{%- if not date_string is defined %}\n"
        "    {%- set date_string = '26 Jul 2024' %}\n"
        "{%- endif %}\n"
        "{%- if tools is not none and tools is defined %}{{ 'tools!' }}{% endif %}\n"
        "{%- set ns = namespace(system='', seen=0, last=-1, found=false) %}\n"
        "{%- for message in messages if message['role'] == 'system' %}\n"
        "    {%- set ns.system = ns.system ~ (message.content | trim) %}\n"
        "{%- endfor %}\n"
        "{%- for message in messages[::-1] %}\n"
        "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
        "    {%- if message.role == 'user' and not ns.found %}\n"
        "        {%- set ns.found = true %}\n"
        "        {%- set ns.last = index %}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{{- '[' ~ date_string ~ '] ' ~ (ns.system if ns.system else 'no system') ~ ' last=' ~ ns.last ~ '\\n' }}\n"
        "{%- for message in messages %}\n"
        "    {%- if message['role'] != 'system' and message.content is string %}\n"
        "        {%- set ns.seen = ns.seen + 1 %}\n"
        "        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}\n"
        "        {%- if message.content.startswith('<think>') and '</think>' in message.content %}\n"
        "            {{- '(thought ' ~ (message.content.split('</think>')[0] | replace('<think>', '')).strip('\\n') ~ ')' }}\n"
        "        {%- endif %}\n"
        "        {{- ns.seen ~ ('=' if loop.index0 == ns.last else ':') ~ message.role | upper ~ ': ' ~ content }}\n"
        "        {{- eos_token if message.role == 'assistant' else '' }}\n"
        "        {{- '\\n' if not loop.last else '' }}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt is defined and add_generation_prompt %}\n"
        "    {{- '\\nASSISTANT: ' }}\n"
        "{%- endif %}\n"
    ),
    # Macros, blocks as values, dictionaries, the filters and methods that occur now and then.
    "odds": (
        "{%- macro tag(name, closing=false) -%}\n"
        "<{{ '/' if closing else '' }}{{ name }}>\n"
        "{%- endmacro -%}\n"
        "{%- set names = {'user': 'human', 'assistant': 'bot', 'system': 'rules'} -%}\n"
        "{%- set users = messages | selectattr('role', 'equalto', 'user') | list -%}\n"
        "{%- set head -%}\n  {{ users | length }} of {{ messages | length }}  {%- endset -%}\n"
        "{{ head }};{{ (messages | first).role.title() }};{{ messages[-1].get('role', '?') | capitalize }};\n"
        "{{- messages | map(attribute='role') | join(',') }}|\n"
        "{%- for message in messages -%}\n"
        "  {%- if message is not mapping %}{% continue %}{% endif -%}\n"
        "  {%- for key, value in message.items() -%}{{ key[:1] }}{%- endfor -%}\n"
        "  {{ tag(names[message.role]) }}{{ message['content'] }}{{ tag(names[message.role], closing=true) }}\n"
        "  {%- if loop.first %}^{% elif loop.last %}${% else %}{{ loop.index }}/{{ loop.length }}{% endif -%}\n"
        "  {%- if loop.nextitem is defined and loop.nextitem.role == message.role %}={% endif -%}\n"
        "  {%- if message.name %} {{ message.name }}{% endif -%}\n"
        "  {%- if message.content.endswith('?') or message.content.strip().lower() in ['yes', 'no'] %}!{% endif -%}\n"
        "{%- endfor -%}\n"
        "{%- if add_generation_prompt %}{{ tag(names.assistant) }}{% endif -%}"
    ),
    "json": (
        "{{ messages | tojson }}\n\n{% for message in messages %}{{ message.content | tojson }}={{ message.content }};"
        "{{ {'r': message.role, 'n': [1, 2.5, true, none]} | tojson }}{% endfor %}"
    ),
    "json_options": (
        "{% for message in messages %}{{ message | tojson(indent=4) }}\n{{ message.content | tojson(ensure_ascii=false) }}"
        "{% endfor %}"
    ),
    # Neither is what a template should do; both end in an error.
    "shouting": "{% for message in messages %}{{ message.role }}: {{ message.content | upper }}\n{% endfor %}",
    "undefined": "{% for message in messages %}{{ message.meta.name }}{{ message.content }}{% endfor %}",
}

# ---------------------------------------------------------------- conversations


def turns(text):
    """`[("u", "Hi"), ...]` as messages."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": roles[role], "content": content} for role, content in text]


SYSTEM, QUESTION = ("s", "You are terse."), ("u", "What is 2 + 2?")
MARKS = (
    'Is "a < b && c > d" \'true\' in <b>HTML</b> &amp; JSON? {{ x }} {% y %} {# z #} C:\\n \\\n'
    "\tNaïve 日本語 🙂 e\u0301 \u00a0\u200b\u2028\x7f\x01 <|im_end|> </s> %s {0}"
)
OPENED = {
    "user": [QUESTION],
    "system": [SYSTEM, QUESTION],
    "turns": [SYSTEM, QUESTION, ("a", "Four."), ("u", "And 3 + 3?")],
    "turns without system": [QUESTION, ("a", "Four."), ("u", "Yes"), ("a", "Good"), ("u", "no")],
    "marks": [("s", MARKS), ("u", MARKS), ("a", MARKS), ("u", MARKS)],
    "spaces": [("s", "  Be brief.\n"), ("u", "\n  Two lines:\n\n1\n  "), ("a", " yes \n"), ("u", " ")],
    "thought": [QUESTION, ("a", "<think>\n2 + 2\n</think>\n\nFour."), ("u", "Sure?")],
    "assistant first": [("a", "Hello!"), QUESTION],
    "two users": [QUESTION, ("u", "Please."), ("s", "Be quick.")],
}
CONTINUED = {
    "answer": [SYSTEM, QUESTION, ("a", "The answer is")],
    "second answer": [QUESTION, ("a", "Four."), ("u", "And 3 + 3?"), ("a", "The answer is")],
    "answer as in the question": [("u", "The answer is"), ("a", "The answer is")],
    "marks": [("u", MARKS), ("a", MARKS)],
    "space at the end": [QUESTION, ("a", "Answer: ")],
    "space at the front": [QUESTION, ("a", "\n A")],
    "line ends": [QUESTION, ("a", "Step 1:\n\n")],
    "word of the template": [QUESTION, ("a", "end")],
    "empty": [QUESTION, ("a", "")],
    "thought": [QUESTION, ("a", "<think>\n2 + 2\n</think>\n\nThe answer is")],
}

# Templates for which only some conversations, opened and continued, say something new. Where a template escapes the
# content, or writes it twice, transformers' own mark of the place to cut at stays in the text: not recorded.
ONLY = {
    "own:json": ([*OPENED], []),
    "own:json_options": (["turns", "marks"], []),
    "own:shouting": (["user"], ["answer"]),
    "own:undefined": (["user"], ["answer"]),
}
WITHOUT_SPECIALS = (["headers", "lines", "folded_system"], (["turns"], ["answer"]))

# ---------------------------------------------------------------- recording


def tokenizer(template, specials):
    """A tokenizer that only serves to carry the template, set up as for a real checkpoint."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")),
        chat_template=template,
        **{name: text for name, text in specials.items() if text is not None},
    )


def render(tok, messages, continue_final):
    """The text, or None when the template or transformers refuses."""
    try:
        return tok.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not continue_final, continue_final_message=continue_final
        )
    except (jinja2.exceptions.TemplateError, ValueError):
        return None


def special(config, name):
    value = config.get(name)
    return value["content"] if isinstance(value, dict) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared/data/tokenizers")
    parser.add_argument("--out", type=Path, default=HERE.parent / "fixtures/chat.json")
    args = parser.parse_args()

    everything = ([*OPENED], [*CONTINUED])
    todo = []
    for name in SHARED:
        config = json.loads((args.data / name / "tokenizer_config.json").read_text())
        specials = {key: special(config, key) for key in ("bos_token", "eos_token")}
        todo.append((f"shared:{name}", config["chat_template"], specials, everything))
    for name, source in TEMPLATES.items():
        specials = {"bos_token": "<s>", "eos_token": "</s>"}
        todo.append((f"own:{name}", source, specials, ONLY.get(f"own:{name}", everything)))
    for name in WITHOUT_SPECIALS[0]:
        specials = {"bos_token": None, "eos_token": None}
        todo.append((f"own:{name}", TEMPLATES[name], specials, WITHOUT_SPECIALS[1]))

    cases = []
    for name, source, specials, (opened, continued) in todo:
        tok = tokenizer(source, specials)
        conversations = [(about, OPENED[about], False) for about in opened]
        conversations += [(about, CONTINUED[about], True) for about in continued]
        for about, text, continue_final in conversations:
            messages = turns(text)
            rendered = render(tok, messages, continue_final)
            cases.append(
                {
                    "template": name, "about": about, **specials, "messages": messages,
                    "add_generation_prompt": not continue_final, "continue_final": continue_final,
                    **({"error": True} if rendered is None else {"text": rendered}),
                }  # fmt: skip
            )
    record = {"transformers": transformers.__version__, "jinja2": jinja2.__version__, "templates": TEMPLATES}
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    head = json.dumps(record, ensure_ascii=False, indent=1)[:-2]
    args.out.write_text(f'{head},\n "cases": [\n{lines}\n ]\n}}\n')
    json.loads(args.out.read_text())
    errors = sum("error" in case for case in cases)
    print(f"{args.out}: {len(cases)} cases, {errors} of them errors, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
