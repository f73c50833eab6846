//! `[feedback]`: what a run leaves for the trainer once its scores are there.

use std::path::{Path, PathBuf};

use super::document::Table;
use super::keys::{Key, Shape, key, required};
use super::task::Task;
use crate::diag::Diagnostic;

/// Items of each task, as of `veval feedback build`.
const DEFAULT_ITEMS: usize = 1024;

pub(super) const FEEDBACK_KEYS: &[Key] = &[
    required(
        "stream",
        Shape::Text,
        "Documents that the trainer may learn from, relative to this file: JSON lines with source, id and text, .jsonl or .jsonl.gz.",
    ),
    key("tasks", Shape::Texts, "Tasks whose loss is to fall; all of the suite by default."),
    key("items", Shape::Count, "Feedback items of each task, at most; 1024 by default."),
    key(
        "params",
        Shape::Text,
        "Whose gradients: `all` (default), `last:N` blocks, or names with *, separated by commas.",
    ),
    key("sample", Shape::Count, "Only so many documents of each source, at random; all by default."),
    key(
        "mixture",
        Shape::Text,
        "The mixture so far (`veval.mixture/1`), relative to this file; without it there are values and no next mixture.",
    ),
    key(
        "start_tokens",
        Shape::Count,
        "Tokens that are trained before the next mixture holds; those of the checkpoint by default.",
    ),
    key(
        "total_tokens",
        Shape::Count,
        "Tokens of the whole training run, where the mixture does not say or says too few.",
    ),
];

/// What is to be made after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackTable {
    pub stream: PathBuf,
    pub tasks: Vec<String>,
    pub items: usize,
    /// As it was written.
    pub parameters: String,
    pub sample: Option<usize>,
    pub mixture: Option<PathBuf>,
    /// In place of those that the checkpoint has seen.
    pub start_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
}

impl FeedbackTable {
    /// Of a table whose keys were checked.
    pub(super) fn read(table: &Table, suite: &Path, tasks: &[Task], problems: &mut Vec<Diagnostic>) -> Option<Self> {
        let beside = |path: &str| suite.parent().unwrap_or_else(|| Path::new("")).join(path);
        let names = table.texts("tasks");
        if let Some(at) = table.get("tasks") {
            let unknown = names.iter().filter(|name| !tasks.iter().any(|task| task.name == **name));
            let known: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
            problems.extend(unknown.map(|name| {
                at.problem(format!("`tasks`: expected tasks of the suite ({}), found {name:?}", known.join(", ")))
            }));
        }
        for name in ["items", "sample", "total_tokens"] {
            // Two items have halves that can be compared.
            let least = if name == "items" { 2 } else { 1 };
            if let (Some(at), Some(count)) = (table.get(name), table.count(name))
                && count < least
            {
                problems.push(at.problem(format!("`{name}`: expected at least {least}, found {count}")));
            }
        }
        Some(Self {
            stream: beside(table.text("stream")?),
            tasks: names,
            items: table.count("items").unwrap_or(DEFAULT_ITEMS),
            parameters: table.text("params").unwrap_or("all").to_owned(),
            sample: table.count("sample"),
            mixture: table.text("mixture").map(beside),
            start_tokens: table.count("start_tokens").map(|tokens| tokens as u64),
            total_tokens: table.count("total_tokens").map(|tokens| tokens as u64),
        })
    }
}
