//! What is asked and what is right: `doc_to_text`, `doc_to_target`, `doc_to_choice` and the texts around them.
//!
//! A field of the harness is the name of a column, a Jinja template, or a constant. A template's text is looked at once
//! it is rendered: where there are choices, digits are an index; what looks like a Python list is one. Here the places
//! that take a text have templates and the others have expressions, so the translation says the same in advance.

use super::code::{Shape, operand, shape};
use super::reader::Reader;
use super::template::{expression, is_name, is_plain, list_of_texts, quote, quote_list};
use super::yaml::{Node, Value};

/// Kinds of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    MultipleChoice,
    Loglikelihood,
    Rolling,
    Generate,
}

impl Output {
    /// The harness's name and ours.
    const NAMES: &'static [(&'static str, Self, &'static str)] = &[
        ("multiple_choice", Self::MultipleChoice, "multiple_choice"),
        ("loglikelihood", Self::Loglikelihood, "cloze"),
        ("loglikelihood_rolling", Self::Rolling, "perplexity"),
        ("generate_until", Self::Generate, "generation"),
    ];

    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let Some(node) = reader.config.get("output_type") else { return Some(Self::Generate) };
        let name = reader.text_of(node, "output_type")?;
        let found = Self::NAMES.iter().find(|(known, ..)| *known == name).map(|(_, output, _)| *output);
        if found.is_none() {
            let known: Vec<&str> = Self::NAMES.iter().map(|(known, ..)| *known).collect();
            let message = format!("`output_type`: expected one of {}, found {name:?}", known.join(", "));
            reader.refuse(node, message, "the task asks for something else than text");
        }
        found
    }

    pub fn kind(self) -> &'static str {
        Self::NAMES.iter().find(|(_, output, _)| *output == self).map_or("", |(_, _, kind)| kind)
    }
}

/// What stands behind a `doc_to_*` key.
enum Field {
    Column(String),
    Template(String),
    Integer(i64),
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

impl Field {
    /// Reads a key; a missing one is a problem where it is needed.
    fn read(reader: &mut Reader<'_>, key: &str, needed: bool) -> Option<Self> {
        let Some(node) = reader.config.get(key) else {
            if needed {
                let problem = reader.config.problem(format!("expected the key `{key}`, found none"));
                reader.problems.push(problem);
            }
            return None;
        };
        match &node.value {
            Value::Text(text) if is_name(text) => Some(Self::Column(text.clone())),
            Value::Text(text) => Some(Self::Template(text.clone())),
            Value::Integer(integer) => Some(Self::Integer(*integer)),
            Value::Flag(flag) => Some(Self::Integer(i64::from(*flag))),
            Value::List(_) => Self::constants(reader, node, key, &node.items()),
            Value::Map(entries) => {
                let values: Vec<&Node> = entries.iter().map(|entry| entry.value.as_ref()).collect();
                Self::constants(reader, node, key, &values)
            }
            Value::Function(_) => None,
            Value::Null | Value::Float(_) | Value::Other(_) => {
                let message = format!("`{key}`: expected a text, found {}", node.type_name());
                reader.refuse(node, message, "put it in quotes if it is meant as a text");
                None
            }
        }
    }

    fn constants(reader: &mut Reader<'_>, node: &Node, key: &str, items: &[&Node]) -> Option<Self> {
        let integers = items.iter().map(|item| match item.value {
            Value::Integer(integer) => Some(integer),
            _ => None,
        });
        if key == "doc_to_target"
            && let Some(integers) = integers.collect::<Option<Vec<i64>>>()
        {
            return Some(Self::Integers(integers));
        }
        let texts: Option<Vec<String>> = items.iter().map(|item| item.text().map(str::to_owned)).collect();
        if texts.is_none() && node.function().is_none() {
            let odd = items.iter().find(|item| item.text().is_none()).map_or("none", |item| item.type_name());
            let message = format!("`{key}`: expected texts, found {odd} among them");
            reader.refuse(node, message, "put it in quotes: YAML takes a bare yes or no for a truth value");
        }
        texts.map(Self::Texts)
    }

    /// As a template that prints a text.
    fn template(&self, reader: &mut Reader<'_>, key: &str) -> Option<String> {
        match self {
            Self::Column(name) => Some(format!("{{{{ {name} }}}}")),
            Self::Integer(integer) => Some(integer.to_string()),
            Self::Template(source) => {
                let node = reader.config.get(key)?;
                if is_plain(source) && source.contains(' ') && source.chars().all(|c| c.is_alphanumeric() || c == ' ') {
                    let help = "if it is the name of a column, give the column a name without spaces";
                    reader.note(node, format!("`{key}`: {source:?} is taken as the text itself"), help);
                }
                reader.template(node, source)
            }
            Self::Integers(_) | Self::Texts(_) => {
                let node = reader.config.get(key)?;
                reader.refuse(node, format!("`{key}`: expected a text, found a list"), "choose one of its items");
                None
            }
        }
    }

    /// As an expression, before anything is made of its text.
    fn expression(&self, reader: &mut Reader<'_>, key: &str) -> Option<String> {
        let node = reader.config.get(key)?;
        match self {
            Self::Column(name) => Some(name.clone()),
            Self::Integer(integer) => Some(integer.to_string()),
            Self::Integers(integers) => Some(format!("{integers:?}")),
            Self::Texts(texts) => Some(quote_list(texts)),
            Self::Template(source) => match expression(source) {
                Ok(found) => reader.expression(node, found),
                Err(reason) => {
                    let message = format!("`{key}`: expected a template that is one expression, found {reason}");
                    reader.refuse(node, message, "write it with `{{ }}` and `{% if %}` alone");
                    None
                }
            },
        }
    }

    /// The list of choices.
    fn choices(&self, reader: &mut Reader<'_>) -> Option<String> {
        const KEY: &str = "doc_to_choice";
        let node = reader.config.get(KEY)?;
        let Self::Template(source) = self else { return self.expression(reader, KEY) };
        if let Some(list) = list_of_texts(source) {
            return reader.expression(node, list);
        }
        let one_value = source.trim_start().starts_with("{{") && expression(source).is_ok_and(|e| !e.contains(" ~ '"));
        if one_value || source.contains("{%") {
            return self.expression(reader, KEY);
        }
        let message = format!("`{KEY}`: expected a template that prints a list of texts, found {source:?}");
        reader.refuse(node, message, "write `{{ [a, b] }}` with the columns of the choices");
        None
    }

    /// The index of the right choice, its text, or a list of indices.
    fn gold(&self, reader: &mut Reader<'_>, key: &str) -> Option<String> {
        let found = self.expression(reader, key)?;
        let Self::Template(_) = self else { return Some(found) };
        let constant = found.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
        if let Some(digits) = constant.filter(|text| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())) {
            return Some(digits.to_owned());
        }
        if shape(&found) != Shape::Unknown {
            return Some(found);
        }
        // Digits are an index, also where a column has them as a text.
        let value = operand(&found);
        Some(format!("{value}|string|int if ({value}|string).isdigit() else {value}"))
    }

    /// Whether the harness will take the rendered text for a number: then there is one question for each choice.
    fn is_index(&self) -> bool {
        match self {
            Self::Integer(_) => true,
            Self::Template(source) => {
                !is_plain(source) && expression(source).is_ok_and(|code| shape(&code) == Shape::Integer)
            }
            Self::Column(_) | Self::Integers(_) | Self::Texts(_) => false,
        }
    }
}

/// Puts everything that a prompt is made of.
pub(super) fn put(reader: &mut Reader<'_>, output: Output) {
    if let Some(text) = reader.text("description").filter(|text| !text.is_empty())
        && let Some(node) = reader.config.get("description")
        && let Some(template) = reader.template(node, &column_or_text(text))
        && output != Output::Rolling
    {
        reader.task.put_text("description", template);
    }
    match output {
        Output::MultipleChoice => multiple_choice(reader),
        Output::Loglikelihood => cloze(reader),
        Output::Rolling => rolling(reader),
        Output::Generate => generation(reader),
    }
    if output == Output::Rolling {
        return;
    }
    if output != Output::Loglikelihood
        && let Some(delimiter) = reader.text("target_delimiter").filter(|delimiter| *delimiter != " ")
    {
        reader.task.put_text("delimiter", delimiter);
    }
    if let Some(delimiter) = reader.text("fewshot_delimiter").filter(|delimiter| *delimiter != "\n\n") {
        reader.task.put_text("shot_delimiter", delimiter);
    }
}

/// A template for a text that is the name of a column where there is such a column.
fn column_or_text(text: &str) -> String {
    if is_name(text) { format!("{{{{ {text} if {text} is defined else {} }}}}", quote(text)) } else { text.to_owned() }
}

fn answer_prefix(reader: &mut Reader<'_>) {
    let Some(node) = reader.config.get("gen_prefix") else { return };
    let Some(text) = reader.text("gen_prefix").filter(|text| !text.is_empty()) else { return };
    if let Some(template) = reader.template(node, &column_or_text(text)) {
        if !is_plain(&template) {
            let help = "the harness begins each shot with the shot's own: keep the text free of columns";
            reader.note(node, "`gen_prefix`: shots begin with the prefix of the item", help);
        }
        reader.task.put_text("answer_prefix", template);
    }
}

fn multiple_choice(reader: &mut Reader<'_>) {
    const TARGET: &str = "doc_to_target";
    let text = Field::read(reader, "doc_to_text", true);
    let target = Field::read(reader, TARGET, true);
    let choices = Field::read(reader, "doc_to_choice", true);
    let choices = choices.and_then(|choices| choices.choices(reader));
    let (Some(text), Some(target), Some(choices)) = (text, target, choices) else { return };
    if text.is_index() {
        let gold = text.gold(reader, "doc_to_text");
        let continuation = target.template(reader, TARGET);
        let (Some(gold), Some(continuation)) = (gold, continuation) else { return };
        reader.task.put_text("contexts", choices);
        reader.task.put_text("continuation", continuation);
        reader.task.put_text("gold", gold);
    } else {
        if let (Field::Column(name), Field::Template(source), Some(node)) =
            (&text, &target, reader.config.get("doc_to_text"))
            && expression(source).is_ok_and(|code| shape(&code) == Shape::Unknown && !is_name(&code))
        {
            let message = format!("`doc_to_text`: the column `{name}` is taken as the text of the question");
            let help = "where it holds an index the harness asks one question for each choice: put the choices as `contexts`, the target as `continuation` and the column as `gold`";
            reader.note(node, message, help);
        }
        let prompt = text.template(reader, "doc_to_text");
        let gold = target.gold(reader, TARGET);
        let (Some(prompt), Some(gold)) = (prompt, gold) else { return };
        reader.task.put_text("prompt", prompt);
        reader.task.put_text("choices", choices);
        reader.task.put_text("gold", gold);
    }
    answer_prefix(reader);
}

/// The harness scores the target as it is; the delimiter stands in shots alone.
fn cloze(reader: &mut Reader<'_>) {
    let text = Field::read(reader, "doc_to_text", true).and_then(|text| text.template(reader, "doc_to_text"));
    let target = Field::read(reader, "doc_to_target", true).and_then(|target| target.template(reader, "doc_to_target"));
    if let Some(node) = reader.config.get("gen_prefix") {
        reader.refuse(node, "`gen_prefix` of a loglikelihood task has no counterpart", "end `doc_to_text` with it");
    }
    if let Some(node) = reader.config.get("doc_to_choice") {
        let help = "take `output_type: multiple_choice`, or put the text of the right choice as `doc_to_target`";
        reader.refuse(node, "`doc_to_choice` of a loglikelihood task has no counterpart", help);
    }
    let delimiter = reader.text("target_delimiter").unwrap_or(" ");
    let (Some(text), Some(target)) = (text, target) else { return };
    reader.task.put_text("prompt", text);
    reader.task.put_text("target", target.clone());
    reader.task.put_text("delimiter", "");
    if !delimiter.is_empty() {
        reader.task.put_text("shot_answer", format!("{delimiter}{target}"));
    }
}

/// The target is the text; nothing stands before it.
fn rolling(reader: &mut Reader<'_>) {
    let target = Field::read(reader, "doc_to_target", true);
    if let Some(text) = target.and_then(|target| target.template(reader, "doc_to_target")) {
        reader.task.put_text("text", text);
    }
}

fn generation(reader: &mut Reader<'_>) {
    let text = Field::read(reader, "doc_to_text", true);
    let target = Field::read(reader, "doc_to_target", true);
    let choices = Field::read(reader, "doc_to_choice", false);
    let prompt = text.and_then(|text| text.template(reader, "doc_to_text"));
    let target = match (target, choices) {
        (Some(target), None) => target.expression(reader, "doc_to_target"),
        (Some(target), Some(choices)) => {
            let list = choices.choices(reader);
            let index = target.expression(reader, "doc_to_target");
            list.zip(index).map(|(list, index)| {
                let number = matches!(target, Field::Template(_)) && shape(&index) != Shape::Integer;
                let index = if number { format!("{}|int", operand(&index)) } else { index };
                format!("{}[{index}]", operand(&list))
            })
        }
        (None, _) => None,
    };
    let (Some(prompt), Some(target)) = (prompt, target) else { return };
    reader.task.put_text("prompt", prompt);
    reader.task.put_text("target", target);
    answer_prefix(reader);
}
