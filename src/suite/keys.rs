//! Which keys a suite and a task may have: one table for checking, for "did you mean", for the JSON Schema and for
//! the documentation.

use super::document::{Located, Node, Table};
use super::feedback::FEEDBACK_KEYS;
use super::protocol::PROTOCOLS;
use crate::diag::Diagnostic;
use crate::util::suggest::nearest;

/// One key.
pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub doc: &'static str,
}

/// What may stand behind a key.
pub(super) enum Shape {
    Text,
    /// A whole number of at least 0.
    Count,
    /// A number in this range.
    Number(f64, f64),
    Flag,
    /// One text, or a list of texts.
    Texts,
    OneOf(&'static [&'static str]),
    Table(&'static [Key]),
    Tables(&'static [Key]),
    /// Free keys, texts behind them.
    TextMap,
    /// A text, or free keys with texts behind them.
    TextOrMap,
    /// One of these texts, or a list of some.
    SomeOf(&'static [&'static str]),
}

pub(super) const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, required: false, doc }
}

pub(super) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, required: true, doc }
}

pub(super) const KINDS: &[&str] = &["multiple_choice", "cloze", "perplexity", "generation"];

const SOURCE_KEYS: &[Key] = &[
    key(
        "file",
        Shape::Text,
        "Rows to score: .jsonl, .jsonl.gz, .json, .csv, .tsv, .parquet or .txt, or a folder of .txt files; relative to this file, or to --data-dir in [data.local]; or a file on the Hugging Face hub, hf://dataset/OWNER/NAME@REVISION/PATH. {subset} stands for the subset.",
    ),
    key(
        "shots_file",
        Shape::Text,
        "Rows that few-shot examples are drawn from; without it they come from `file`, never the scored item itself.",
    ),
    key("blake3", Shape::Text, "Expected fingerprint of `file`, as `veval show` prints it; another one stops the run."),
    key("shots_blake3", Shape::Text, "Expected fingerprint of `shots_file`."),
    key(
        "record_start",
        Shape::Text,
        "For .txt: a regular expression; every line that matches begins a record. Columns: `text`.",
    ),
    key("texts", Shape::TextMap, "Column = a text file whose whole content every row gets (a long primer, say)."),
    key(
        "fields",
        Shape::TextMap,
        "New column = Jinja expression over the row's columns. Without it the columns are taken as they are.",
    ),
    key("deviation", Shape::Text, "How scores on this source differ from the public task; shown with the results."),
];

const DATA_KEYS: &[Key] = &[
    key("file", Shape::Text, SOURCE_KEYS[0].doc),
    key("shots_file", Shape::Text, SOURCE_KEYS[1].doc),
    key("blake3", Shape::Text, SOURCE_KEYS[2].doc),
    key("shots_blake3", Shape::Text, SOURCE_KEYS[3].doc),
    key("record_start", Shape::Text, SOURCE_KEYS[4].doc),
    key("texts", Shape::TextMap, SOURCE_KEYS[5].doc),
    key("fields", Shape::TextMap, SOURCE_KEYS[6].doc),
    key("deviation", Shape::Text, SOURCE_KEYS[7].doc),
    key("hub", Shape::Text, "Public data set, `owner/name` on the Hugging Face hub."),
    key("config", Shape::Text, "Configuration of the public data set; {subset} stands for the subset."),
    key("split", Shape::Text, "Split of the public data set to score."),
    key("shots_split", Shape::Text, "Split of the public data set that few-shot examples come from."),
    key("verified", Shape::Flag, "Whether somebody has fetched the public data and seen these columns."),
    key("local", Shape::Table(SOURCE_KEYS), "Where the same data lies under --data-dir, and how its columns map."),
];

const STEP_KEYS: &[Key] = &[
    required("op", Shape::OneOf(&["regex", "lowercase", "uppercase", "strip", "take_first"]), "The operation."),
    key("pattern", Shape::Text, "regex: what to find, in Python's syntax."),
    key("pick", Shape::Text, "regex: which match, `first` (default) or `last`."),
    key("fallback", Shape::Text, "regex: the text when nothing is found; `[invalid]` by default."),
];

const FILTER_KEYS: &[Key] = &[
    required("name", Shape::Text, "Name of the pipeline; every filter gives a score of its own."),
    required("steps", Shape::Tables(STEP_KEYS), "Operations on the generated text, in order."),
];

const MATCH_KEYS: &[Key] = &[
    key("ignore_case", Shape::Flag, "Compare in lower case."),
    key("ignore_punctuation", Shape::Flag, "Delete ASCII punctuation before comparing."),
    key("ignore_numbers", Shape::Flag, "Delete digits before comparing."),
    key("delete", Shape::Texts, "Regular expressions whose matches are deleted from both sides first, in order."),
];

const SAMPLING_KEYS: &[Key] = &[
    required("temperature", Shape::Number(0.0, 100.0), "Divides the logits; 0 is the same as no sampling."),
    key("top_k", Shape::Count, "Only this many of the most likely tokens; 0, the default, for all."),
    key("top_p", Shape::Number(0.0, 1.0), "Then only the smallest set that holds this probability; 1 by default."),
];

macro_rules! task_keys {
    ($($extra:expr),*) => {
        &[
            $($extra,)*
            key("name", Shape::Text, "The task's name in results."),
            key("kind", Shape::OneOf(KINDS), "How items are scored."),
            key("version", Shape::Text, "Changes when scores change."),
            key("about", Shape::Text, "One line for people."),
            key("data", Shape::Table(DATA_KEYS), "Where the rows are."),
            key("description", Shape::Text, "Template of the text before everything else, with its own line ends."),
            key("prefix", Shape::TextOrMap, "Text before everything else, not scored. A table, label = text, makes a variant of the task for each."),
            key("system", Shape::TextOrMap, "System prompt. A table, label = text, makes a variant of the task for each."),
            key("chat", Shape::Flag, "Put the prompt through the model's chat template, shots as turns."),
            key("answer_prefix", Shape::Text, "Template of a text that the answer begins with; not scored."),
            key("prompt", Shape::Text, "Template of the question."),
            key("choices", Shape::Text, "multiple_choice: expression, the list of answers."),
            key("contexts", Shape::Text, "multiple_choice: expression, one question per choice; every choice is then followed by `continuation`."),
            key("continuation", Shape::Text, "multiple_choice with `contexts`: template of the common text that is scored."),
            key("gold", Shape::Text, "multiple_choice: expression, the right choice's index, a list of indices, or a choice's text."),
            key("labels", Shape::Text, "multiple_choice in place of `gold`: expression, 1 for each right choice and 0 for the others."),
            key("protocols", Shape::SomeOf(PROTOCOLS), "multiple_choice: how the items are asked, one variant of the task for each: `continuation` scores the answers' texts (raw, per character, byte and token, and against no context, by `metrics`), `letter` lists the answers and scores their letters, `generative` lists them and lets the model write."),
            key("letter_prompt", Shape::Text, "letter and generative: template of the question, in which `listing` stands for the list of answers; without it the list stands before the prompt's last line if that ends with a colon, else after the prompt with `Answer:` behind it."),
            key("unconditional", Shape::Text, "What stands before an answer that acc_mutual_info scores without its context; the profile's by default."),
            key("target", Shape::Text, "cloze: template of the scored text. generation: expression, the right answer or a list of right answers."),
            key("shot_answer", Shape::Text, "Template of a shot's answer, where it is not the right answer as scored."),
            key("text", Shape::Text, "perplexity: template of the scored text."),
            key("original", Shape::Text, "perplexity: template of the text whose words and bytes are counted, when it differs."),
            key("delimiter", Shape::Text, "Between question and answer; one space by default."),
            key("shot_delimiter", Shape::Text, "After each shot; an empty line by default."),
            key("shots", Shape::Count, "Number of few-shot examples."),
            key("shot_order", Shape::OneOf(&["random", "first"]), "`random` draws by the profile's rule, `first` takes the head of the pool."),
            key("shot_rule", Shape::OneOf(&["per-task", "per-item"]), "Profile veval-1: one draw for all items (default), or one for each."),
            key("shots_may_repeat_item", Shape::Flag, "Whether the scored item may be among its own shots: by default no when shots come from the scored rows, and not looked at when they come from others."),
            key("stop", Shape::Texts, "generation: texts that end the answer."),
            key("max_tokens", Shape::Count, "generation: longest answer; 256 by default."),
            key("sampling", Shape::Table(SAMPLING_KEYS), "generation: draw the answer by chance instead of taking the likeliest token. The draws depend on `seed` and the prompt alone."),
            key("filters", Shape::Tables(FILTER_KEYS), "generation: what is taken from the answer before it is compared."),
            key("match", Shape::Table(MATCH_KEYS), "generation: what exact_match ignores."),
            key("metrics", Shape::Texts, "Which metrics; all of the kind by default."),
            key("profile", Shape::Text, "Scoring rules: `veval-1`, `lm-eval@0.4.13` or `olmes`."),
            key("slices", Shape::TextMap, "Slice name = expression; scores are also given for each of its values."),
            key("subsets", Shape::Texts, "One task for each subset, `{name}_{subset}`, and a group of all."),
            key("subset_groups", Shape::TextMap, "Subset = group within the task."),
            key("limit", Shape::Count, "Score only the first rows."),
            key("seed", Shape::Count, "Seed of the draws of shots and of sampled answers.")
        ]
    };
}

/// A task file.
pub(super) const TASK_KEYS: &[Key] =
    task_keys![required("schema", Shape::OneOf(&["veval.task/1"]), "The file's format.")];

/// An entry of a suite: a whole task, or another file's task with some keys changed.
pub(super) const ENTRY_KEYS: &[Key] = task_keys![
    key("use", Shape::Text, "Name of a shipped task (`veval list tasks`)."),
    key("file", Shape::Text, "A task file, relative to the suite.")
];

const DEFAULT_KEYS: &[Key] = &[
    key("profile", Shape::Text, "Profile of tasks that name none."),
    key("shots", Shape::Count, "Few-shot examples of tasks that name no number."),
    key("limit", Shape::Count, "Score only the first rows of each task."),
    key("system", Shape::TextOrMap, "System prompt of every task."),
    key("chat", Shape::Flag, "Put every prompt through the chat template."),
];

pub(super) const SUITE_KEYS: &[Key] = &[
    required("schema", Shape::OneOf(&["veval.suite/1"]), "The file's format."),
    required("name", Shape::Text, "Name of the suite, also of its folder among the results."),
    key("about", Shape::Text, "One line for people."),
    key("seed", Shape::Count, "Seed of every draw; 1234 by default."),
    key("defaults", Shape::Table(DEFAULT_KEYS), "Settings of tasks that do not set them."),
    required("task", Shape::Tables(ENTRY_KEYS), "The tasks."),
    key("feedback", Shape::Table(FEEDBACK_KEYS), "What a run leaves for the trainer once its scores are there."),
];

/// Reports unknown keys (with the nearest known one), wrong types and missing keys.
pub(super) fn check(table: &Table, keys: &[Key], problems: &mut Vec<Diagnostic>) {
    for entry in &table.entries {
        if let Some(key) = keys.iter().find(|key| key.name == entry.key) {
            check_value(&entry.value, key, problems);
        } else {
            let problem = entry.problem(format!("unknown key `{}`", entry.key));
            problems.push(match nearest(&entry.key, keys.iter().map(|key| key.name)) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem
                    .help(format!("known keys are {}", keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", "))),
            });
        }
    }
    for key in keys.iter().filter(|key| key.required && table.get(key.name).is_none()) {
        problems.push(table.problem(format!("expected the key `{}`, found none", key.name)).help(key.doc));
    }
}

fn check_value(value: &Located, key: &Key, problems: &mut Vec<Diagnostic>) {
    let mut wrong = |expected: &str| {
        problems.push(value.problem(format!("`{}`: expected {expected}, found {}", key.name, value.type_name())));
    };
    match (&key.shape, &value.node) {
        (Shape::Text | Shape::Texts | Shape::TextOrMap | Shape::SomeOf(_), Node::Text(_))
        | (Shape::Flag, Node::Flag(_)) => {}
        (Shape::Count, Node::Integer(count)) => {
            if *count < 0 {
                problems.push(
                    value.problem(format!("`{}`: expected a whole number of at least 0, found {count}", key.name)),
                );
            }
        }
        (Shape::Number(least, most), Node::Integer(_) | Node::Float(_)) => {
            let number = match value.node {
                Node::Integer(number) => number as f64,
                Node::Float(number) => number,
                _ => f64::NAN,
            };
            if !(*least..=*most).contains(&number) {
                let message = format!("`{}`: expected a number from {least} to {most}, found {number}", key.name);
                problems.push(value.problem(message));
            }
        }
        (Shape::Texts | Shape::SomeOf(_), Node::List(items)) => {
            for item in items.iter().filter(|item| !matches!(item.node, Node::Text(_))) {
                problems.push(item.problem(format!("`{}`: expected a text, found {}", key.name, item.type_name())));
            }
        }
        (Shape::OneOf(options), Node::Text(text)) => {
            if !options.contains(&text.as_str()) {
                let problem =
                    value.problem(format!("`{}`: expected one of {}, found {text:?}", key.name, options.join(", ")));
                problems.push(match nearest(text, options.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean \"{near}\"?")),
                    None => problem,
                });
            }
        }
        (Shape::Table(keys), Node::Table(table)) => check(table, keys, problems),
        (Shape::Tables(keys), Node::List(items)) => {
            for item in items {
                match &item.node {
                    Node::Table(table) => check(table, keys, problems),
                    _ => problems.push(item.problem(format!(
                        "`{}`: expected a table, found {}",
                        key.name,
                        item.type_name()
                    ))),
                }
            }
        }
        (Shape::TextMap | Shape::TextOrMap, Node::Table(table)) => {
            for entry in table.entries.iter().filter(|entry| !matches!(entry.value.node, Node::Text(_))) {
                problems.push(entry.value.problem(format!(
                    "`{}`: expected a text, found {}",
                    entry.key,
                    entry.value.type_name()
                )));
            }
        }
        (Shape::Text | Shape::OneOf(_), _) => wrong("a text"),
        (Shape::Count, _) => wrong("a whole number"),
        (Shape::Number(..), _) => wrong("a number"),
        (Shape::Flag, _) => wrong("true or false"),
        (Shape::Texts | Shape::SomeOf(_), _) => wrong("a text or a list of texts"),
        (Shape::TextOrMap, _) => wrong("a text or a table of texts"),
        (Shape::Table(_) | Shape::TextMap, _) => wrong("a table"),
        (Shape::Tables(_), _) => wrong("a list of tables"),
    }
}
