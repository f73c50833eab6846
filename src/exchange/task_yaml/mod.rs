//! Task files of lm-evaluation-harness (YAML) as task files of ours.
//!
//! ```text
//! X.yaml ──► events ──► tree (bounded) ──► + includes = configuration ──► keys by name ──► TOML + what is left out
//! ```
//!
//! Only what a task says in its YAML can be carried over. Where a Python function makes the columns, the prompt or the
//! score, the translation is refused, and every such place is named with what to do. What changes no score, or can be
//! done without, is left out and named as well. The result scores as the harness does (profile `lm-eval@0.4.13`);
//! `tests/oracle/task_yaml.py` compares contexts and answers with the harness's own.

mod code;
mod config;
mod data;
mod keys;
mod question;
mod reader;
mod scalar;
mod scoring;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_scoring;
#[cfg(test)]
mod tests_template;
#[cfg(test)]
mod tests_yaml;
mod toml_file;
mod yaml;

use std::path::Path;

use self::config::Config;
use self::question::Output;
use self::reader::Reader;
use self::yaml::{Node, Value};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::suite::{DefinitionFile, read_task};

/// Rules under which the result is scored.
const PROFILE: &str = "lm-eval@0.4.13";

/// A translated task.
#[derive(Debug, Clone)]
pub struct Translation {
    /// The task file; [`read_task`] takes it.
    pub toml: String,
    /// What was left out, with its place in the YAML and what to do.
    pub notes: Vec<Diagnostic>,
    /// Files that belong beside the task file: name and content.
    pub files: Vec<(String, String)>,
}

/// Translates a YAML file. It may include files of its own folder and of folders below.
///
/// # Errors
/// See [`translate_within`].
pub fn translate(path: &Path) -> Result<Translation> {
    translate_within(path, path.parent().unwrap_or_else(|| Path::new("")))
}

/// Translates a YAML file that may include files below `root`.
///
/// # Errors
/// Files that cannot be read or are no YAML; includes that leave `root` or go in circles; every part of the task that
/// needs a Python function or has no counterpart here, with its place.
pub fn translate_within(path: &Path, root: &Path) -> Result<Translation> {
    let mut notes = Vec::new();
    let config = config::read(path, root, &mut notes)?;
    is_one_task(&config)?;
    let mut reader = Reader::new(&config);
    reader.check_keys();
    let output = head(&mut reader);
    if let Some(output) = output {
        question::put(&mut reader, output);
        scoring::put(&mut reader, output);
        data::put(&mut reader, output != Output::Rolling);
    }
    Error::check(reader.problems)?;
    notes.extend(reader.notes);
    reader.task.head = remarks(&config, &notes);
    let toml = reader.task.write();
    // What is written here is read here; what a task file does not allow (a temperature of 1000) ends here.
    read_task(&DefinitionFile { path: path.with_extension("toml"), text: toml.clone() })
        .map_err(|e| Error::bad(format!("expected a task that a task file can say: {e}")).in_file(path))?;
    Ok(Translation { toml, notes, files: reader.files })
}

/// Refuses what stands for several tasks, or for a program.
fn is_one_task(config: &Config) -> Result<()> {
    if let Some(class) = config.entry("class") {
        let problem = class.key_place.problem("`class`: the task is a Python class, and nothing is run here");
        return Err(Error::all(vec![problem.help("describe its prompts and answers in a task file of your own")]));
    }
    let several = config.get("task").filter(|task| matches!(task.value, Value::List(_) | Value::Map(_)));
    if let Some(at) = several.or_else(|| config.get("group")) {
        let names = several.map(members).unwrap_or_default();
        let problem = at.problem("expected one task, found a group of tasks");
        return Err(Error::all(vec![problem.help(format!(
            "import each of its tasks{}, and name the files in a suite: `[[task]]` with `file = \"...\"`",
            if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
        ))]));
    }
    if config.get("task").is_none() {
        let problem = config.problem("expected the key `task`, which names the task, found none");
        return Err(Error::all(vec![problem.help("a file that others include is no task: import one of those")]));
    }
    Ok(())
}

/// The first names in a group's list.
fn members(list: &Node) -> Vec<String> {
    const SHOWN: usize = 8;
    let named = |item: &Node| ["task", "group"].iter().find_map(|key| Some(item.get(key)?.text()?.to_owned()));
    let name = |item: &Node| item.text().map(str::to_owned).or_else(|| named(item));
    let mut names: Vec<String> = list.items().into_iter().filter_map(name).collect();
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        names.push("...".to_owned());
    }
    names
}

/// Puts what the task is.
fn head(reader: &mut Reader<'_>) -> Option<Output> {
    let name = reader.text("task")?.to_owned();
    let about = reader.text("task_alias").map(|alias| format!("{alias} (imported)"));
    let version = reader.config.get("metadata").and_then(|metadata| metadata.get("version")).and_then(version);
    let output = Output::read(reader)?;
    let task = &mut reader.task;
    task.put_text("schema", "veval.task/1");
    task.put_text("name", name.clone());
    if let Some(version) = version {
        task.put_text("version", version);
    }
    task.put_text("kind", output.kind());
    task.put_text("about", about.unwrap_or_else(|| format!("{name} (imported)")));
    task.put_text("profile", PROFILE);
    Some(output)
}

fn version(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(integer) => Some(integer.to_string()),
        Value::Float(float) => Some(format!("{float:?}")),
        _ => None,
    }
}

/// The lines above the first key.
fn remarks(config: &Config, notes: &[Diagnostic]) -> Vec<String> {
    let file = config.file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut lines = vec![format!("Imported from {file} of lm-evaluation-harness.")];
    if !notes.is_empty() {
        lines.push("What is not carried over:".to_owned());
    }
    for note in notes {
        let place = note.place.as_ref();
        let file = place.and_then(|place| place.file.file_name()).map(|name| name.to_string_lossy().into_owned());
        let line = place.and_then(crate::diag::Place::line_column).map(|(line, _)| format!(":{line}"));
        let help = note.help.as_deref().map(|help| format!(": {help}")).unwrap_or_default();
        lines.push(format!("- {}{}, {}{help}", file.unwrap_or_default(), line.unwrap_or_default(), note.message));
    }
    lines
}
