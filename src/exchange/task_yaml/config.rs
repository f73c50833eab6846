//! A task's configuration: its file and those that it includes, as one mapping, each entry with its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::yaml::{Entry, Node, Parsed, SourceFile, Value, parse};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

/// Bound of one file.
const MAX_BYTES: u64 = 1 << 20;
/// Bound of the files that one task includes.
const MAX_FILES: usize = 64;

/// The merged mapping. Entries of the file itself stand in place of those that it includes.
pub(super) struct Config {
    pub entries: Vec<Entry>,
    pub file: Arc<SourceFile>,
}

impl Config {
    /// The value of a key, unless it is null.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| entry.value.as_ref()).filter(|node| !matches!(node.value, Value::Null))
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// A problem with the file as a whole.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(message).in_file(&self.file.path)
    }
}

/// Reads a file and what it includes.
///
/// # Errors
/// Files that cannot be read, are too large or no UTF-8; YAML that does not parse; includes that leave `root`, are there
/// twice or too many.
pub(super) fn read(path: &Path, root: &Path, notes: &mut Vec<Diagnostic>) -> Result<Config> {
    let root = canonical(root)?;
    let mut reader = Reader { root, seen: Vec::new(), notes };
    let path_found = canonical(path)?;
    if !path_found.starts_with(&reader.root) {
        let message = format!("expected a file below {}", reader.root.display());
        return Err(Error::bad(message).in_file(path).help("name a folder that holds it"));
    }
    let file = reader.load(path, path_found)?;
    let entries = reader.merged(&file)?;
    Ok(Config { entries, file })
}

struct Reader<'a> {
    root: PathBuf,
    /// Canonical paths, the file itself first.
    seen: Vec<PathBuf>,
    notes: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn load(&mut self, path: &Path, found: PathBuf) -> Result<Arc<SourceFile>> {
        self.seen.push(found);
        let text = files::read_text(path, MAX_BYTES)?;
        Ok(Arc::new(SourceFile { path: path.to_path_buf(), text: text.into() }))
    }

    fn merged(&mut self, file: &Arc<SourceFile>) -> Result<Vec<Entry>> {
        let Parsed { root, notes } = parse(file)?;
        self.notes.extend(notes);
        if !matches!(root.value, Value::Map(_)) {
            return Err(Error::all(vec![root.problem(format!("expected a mapping, found {}", root.type_name()))]));
        }
        let mut entries: Vec<Entry> = Vec::new();
        for include in root.get("include").map(Node::items).unwrap_or_default() {
            for entry in self.included(file, include)? {
                put(&mut entries, entry);
            }
        }
        // The list of tasks belongs to the included file alone.
        entries.retain(|entry| entry.key != "task_list");
        for entry in root.entries().iter().filter(|entry| entry.key != "include") {
            put(&mut entries, entry.clone());
        }
        Ok(entries)
    }

    fn included(&mut self, from: &SourceFile, include: &Node) -> Result<Vec<Entry>> {
        let refuse = |message: String, help: &str| Error::all(vec![include.problem(message).help(help)]);
        let Some(name) = include.text() else {
            let message = format!("`include`: expected the path of a file, found {}", include.type_name());
            return Err(refuse(message, "name a YAML file, relative to this one"));
        };
        let path = from.path.parent().unwrap_or_else(|| Path::new("")).join(name);
        let found = path.canonicalize().map_err(|e| {
            refuse(format!("`include`: failed to find {name:?}: {e}"), "put the file there, or its keys here")
        })?;
        if !found.starts_with(&self.root) {
            let message = format!("`include`: expected a file below {}, found {name:?}", self.root.display());
            return Err(refuse(message, "name a folder that holds both files as the root of what may be read"));
        }
        if self.seen.contains(&found) {
            let message = format!("`include`: expected each file once, found {name:?} again");
            return Err(refuse(message, "take the second include out; lm-evaluation-harness refuses it too"));
        }
        if self.seen.len() >= MAX_FILES {
            return Err(refuse(format!("`include`: expected at most {MAX_FILES} files, found more"), "join some"));
        }
        let file = self.load(&path, found)?;
        self.merged(&file)
    }
}

fn put(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|known| known.key == entry.key) {
        Some(known) => *known = entry,
        None => entries.push(entry),
    }
}

fn canonical(path: &Path) -> Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.canonicalize().map_err(|e| Error::io("open", path, &e))
}
