//! The axes of a task: the same items asked under several protocols, prefixes and system prompts.

use fancy_regex::Regex;

use super::document::{Located, Node, Table};
use super::expression::Template;
use super::protocol::{List, PROTOCOLS, Protocol};
use super::task::{Kind, Task, Writing};
use crate::diag::Diagnostic;
use crate::metric::{Filter, MatchRules, Metric, OutcomeKind, Pick, Step};

/// Longest written answer to a listed question, when the task does not say.
const LISTED_MAX_TOKENS: usize = 32;

/// The values of each axis, as they are read. An axis without labels is a plain setting.
pub(super) struct Axes {
    protocols: Vec<Protocol>,
    prefixes: Vec<(Option<String>, String)>,
    systems: Vec<(Option<String>, String)>,
}

impl Axes {
    /// Reads the axes of a task. `system` is the setting in force, which the table or its suite has.
    pub fn read(table: &Table, kind: &Kind, system: Option<&Located>, problems: &mut Vec<Diagnostic>) -> Self {
        Self {
            protocols: protocols(table, kind, problems),
            prefixes: texts(table.get("prefix"), problems),
            systems: texts(system, problems),
        }
    }

    /// One task for each combination; the labels of the axes that have some stand behind its name and its groups'.
    pub fn expand(&self, task: &Task) -> Vec<Task> {
        let mut variants = Vec::new();
        for protocol in self.protocols.iter().map(Some).chain(self.protocols.is_empty().then_some(None)) {
            for (prefix_label, prefix) in &self.prefixes {
                for (system_label, system) in &self.systems {
                    let mut variant = Task { prefix: prefix.clone(), system: system.clone(), ..task.clone() };
                    if let Some(protocol) = protocol {
                        apply(protocol, &mut variant);
                    }
                    let labels = [protocol.map(Protocol::name), prefix_label.as_deref(), system_label.as_deref()];
                    variant.variant = labels.into_iter().flatten().collect::<Vec<_>>().join(":");
                    if !variant.variant.is_empty() {
                        for name in std::iter::once(&mut variant.name).chain(&mut variant.groups) {
                            *name = format!("{name}:{}", variant.variant);
                        }
                    }
                    variants.push(variant);
                }
            }
        }
        variants
    }
}

/// Puts a question the protocol's way.
fn apply(chosen: &Protocol, task: &mut Task) {
    if let Kind::MultipleChoice { protocol, .. } = &mut task.kind {
        *protocol = chosen.clone();
    }
    match chosen {
        Protocol::Continuation => {}
        // All letters are as long: accuracy per character is accuracy.
        Protocol::Letter { .. } => {
            task.metrics.retain(|metric| !["acc_norm", "acc_bytes"].contains(&metric.name));
            if task.metrics.is_empty() {
                task.metrics.extend(Metric::find(OutcomeKind::Choices, "acc"));
            }
        }
        Protocol::Generative { .. } => {
            task.metrics = Metric::of(OutcomeKind::Answer).filter(|metric| metric.default).collect();
            task.filters = answer_filters();
            task.rules = MatchRules { ignore_case: true, ignore_punctuation: true, ..MatchRules::default() };
        }
    }
}

/// What a written answer to a listed question may be: the letter it begins with, or the text of the choice.
fn answer_filters() -> Vec<Filter> {
    let letter = Regex::new(r"^\s*\(?([A-Z])(?![A-Za-z])").expect("the expression is valid");
    let regex = Step::Regex { regex: letter, pick: Pick::First, fallback: "[no letter]".to_owned() };
    vec![
        Filter { name: "letter".to_owned(), steps: vec![regex] },
        Filter { name: "text".to_owned(), steps: vec![Step::Strip] },
    ]
}

fn protocols(table: &Table, kind: &Kind, problems: &mut Vec<Diagnostic>) -> Vec<Protocol> {
    let list = match table.get("letter_prompt") {
        Some(at @ Located { node: Node::Text(text), .. }) => match Template::new(text) {
            Ok(template) => List::Template(template),
            Err(error) => {
                problems.extend(error.into_diagnostics().into_iter().map(|d| at.problem(d.message)));
                List::InPrompt
            }
        },
        _ => List::InPrompt,
    };
    let mut found: Vec<Protocol> = Vec::new();
    for at in table.list("protocols") {
        let Node::Text(name) = &at.node else { continue };
        if !matches!(kind, Kind::MultipleChoice { .. }) {
            problems.push(
                at.problem("`protocols`: expected a multiple_choice task with `prompt` and `choices`, found another"),
            );
            break;
        }
        let protocol = match name.as_str() {
            "continuation" => Protocol::Continuation,
            "letter" => Protocol::Letter { list: list.clone() },
            "generative" => Protocol::Generative { list: list.clone(), writing: writing(table) },
            _ => {
                let known = PROTOCOLS.join(", ");
                problems.push(at.problem(format!("`protocols`: expected one of {known}, found {name:?}")));
                continue;
            }
        };
        if found.iter().any(|known| known.name() == protocol.name()) {
            problems.push(at.problem(format!("`protocols`: expected each protocol once, found {name:?} twice")));
        }
        found.push(protocol);
    }
    found
}

fn writing(table: &Table) -> Writing {
    let stop = if table.get("stop").is_some() { table.texts("stop") } else { vec!["\n".to_owned()] };
    Writing {
        stop,
        max_tokens: table.count("max_tokens").unwrap_or(LISTED_MAX_TOKENS),
        sampling: table.table("sampling").and_then(super::build::sampling),
    }
}

/// A text, or texts by label.
fn texts(at: Option<&Located>, problems: &mut Vec<Diagnostic>) -> Vec<(Option<String>, String)> {
    match at.map(|at| &at.node) {
        Some(Node::Text(text)) => vec![(None, text.clone())],
        Some(Node::Table(table)) if !table.entries.is_empty() => {
            let mut found = Vec::new();
            for entry in &table.entries {
                let plain = entry.key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
                if entry.key.is_empty() || !plain {
                    let message =
                        format!("expected a label of letters, digits, `-`, `_` or `.`, found {:?}", entry.key);
                    problems.push(entry.problem(message));
                }
                if let Node::Text(text) = &entry.value.node {
                    found.push((Some(entry.key.clone()), text.clone()));
                }
            }
            found
        }
        _ => vec![(None, String::new())],
    }
}
