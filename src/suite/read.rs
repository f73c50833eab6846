//! Reading a suite: entries become tasks, settings are inherited, every problem is reported at once.

use std::path::{Path, PathBuf};

use super::build::{Defaults, build};
use super::document::{Node, Table, parse};
use super::feedback::FeedbackTable;
use super::keys::{ENTRY_KEYS, SUITE_KEYS, TASK_KEYS, check};
use super::shipped;
use super::task::Task;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::hash;
use crate::util::suggest::nearest;

const DEFAULT_SEED: u64 = 1234;

/// A definition and where it was read.
#[derive(Debug, Clone)]
pub struct DefinitionFile {
    pub path: PathBuf,
    pub text: String,
}

/// A validated suite.
#[derive(Debug, Clone)]
pub struct Suite {
    pub name: String,
    pub about: String,
    pub tasks: Vec<Task>,
    /// What a run leaves for the trainer.
    pub feedback: Option<FeedbackTable>,
    /// `blake3:...` of all definition texts that it was read from.
    pub fingerprint: String,
}

/// Reads a suite. `load` fetches the text of the task files that it names.
pub fn read_suite(file: &DefinitionFile, load: &mut dyn FnMut(&Path) -> Result<String>) -> Result<Suite> {
    let table = parse(&file.path, &file.text).map_err(Error::all)?;
    let mut problems = Vec::new();
    check(&table, SUITE_KEYS, &mut problems);
    let mut texts = vec![file.text.clone()];
    let defaults =
        Defaults { table: table.table("defaults"), seed: table.count("seed").map_or(DEFAULT_SEED, |seed| seed as u64) };
    let mut tasks: Vec<Task> = Vec::new();
    if let Some(at) = table.get("task").filter(|_| table.list("task").is_empty()) {
        problems.push(at.problem("expected at least one task, found none"));
    }
    for entry in table.list("task") {
        let Node::Table(entry) = &entry.node else { continue };
        let Some(merged) = resolve(entry, &file.path, load, &mut texts, &mut problems) else { continue };
        for task in build(&merged, &defaults, &mut problems) {
            if tasks.iter().any(|known| known.name == task.name) {
                problems.push(
                    entry
                        .problem(format!("expected one task named `{}`, found two", task.name))
                        .help("give one of them another `name`"),
                );
            }
            tasks.push(task);
        }
    }
    let feedback = table.table("feedback").and_then(|own| FeedbackTable::read(own, &file.path, &tasks, &mut problems));
    // The keys of an entry are checked with the suite and again when it stands alone; say it once.
    problems.dedup();
    Error::check(problems)?;
    let name = table.text("name").unwrap_or("").to_owned();
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        let at = table.get("name").ok_or_else(|| Error::internal("a checked suite has a name"))?;
        return Err(Error::all(vec![at.problem("`name`: expected a folder name without slashes or a leading dot")]));
    }
    let fingerprint = hash::fingerprint(texts.join("\0").as_bytes());
    Ok(Suite { name, about: table.text("about").unwrap_or("").to_owned(), tasks, feedback, fingerprint })
}

/// Reads a task file on its own: one task, or one for each of its subsets.
pub fn read_task(file: &DefinitionFile) -> Result<Vec<Task>> {
    let table = parse(&file.path, &file.text).map_err(Error::all)?;
    let mut problems = Vec::new();
    check(&table, TASK_KEYS, &mut problems);
    let tasks = build(&table, &Defaults { table: None, seed: DEFAULT_SEED }, &mut problems);
    problems.dedup();
    Error::check(problems)?;
    Ok(tasks)
}

/// The entry itself, or the task that it names with its own keys on top.
fn resolve(
    entry: &Table,
    suite: &Path,
    load: &mut dyn FnMut(&Path) -> Result<String>,
    texts: &mut Vec<String>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Table> {
    let file = match (entry.text("use"), entry.text("file")) {
        (None, None) => return Some(entry.clone()),
        (Some(_), Some(_)) => {
            problems.push(entry.problem("expected one of `use` and `file`, found both"));
            return None;
        }
        (Some(name), None) => {
            if let Some(task) = shipped::find(name) {
                DefinitionFile { path: PathBuf::from(task.path), text: task.text.to_owned() }
            } else {
                let problem = entry.get("use")?.problem(format!("expected the name of a shipped task, found {name:?}"));
                problems.push(match nearest(name, shipped::TASKS.iter().map(|task| task.name)) {
                    Some(near) => problem.help(format!("did you mean \"{near}\"?")),
                    None => problem.help("`veval list tasks` names them all"),
                });
                return None;
            }
        }
        (None, Some(path)) => {
            let path = suite.parent().unwrap_or_else(|| Path::new("")).join(path);
            match load(&path) {
                Ok(text) => DefinitionFile { path, text },
                Err(error) => {
                    problems.push(entry.get("file")?.problem(error.to_string()));
                    return None;
                }
            }
        }
    };
    let base = match parse(&file.path, &file.text) {
        Ok(base) => base,
        Err(found) => {
            problems.extend(found);
            return None;
        }
    };
    let before = problems.len();
    check(&base, TASK_KEYS, problems);
    check(entry, ENTRY_KEYS, problems);
    texts.push(file.text);
    (problems.len() == before).then(|| base.overlaid(entry, &["use", "file"]))
}
