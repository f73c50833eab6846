//! What every part of a translation leans on: typed access to keys, checks of Jinja code, and the collected remarks.

use serde_json::Map;

use super::config::Config;
use super::keys::{self, Fate};
use super::template;
use super::toml_file::TaskFile;
use super::yaml::{Node, Value};
use crate::diag::Diagnostic;
use crate::suite::{Expression, Jinja, Template};
use crate::util::suggest::nearest;

/// A configuration that is being translated.
pub(super) struct Reader<'a> {
    pub config: &'a Config,
    /// What is not carried over, though the task is.
    pub notes: Vec<Diagnostic>,
    /// Why the task cannot be carried over.
    pub problems: Vec<Diagnostic>,
    pub task: TaskFile,
    /// Texts that stand beside the task file: name and content.
    pub files: Vec<(String, String)>,
    jinja: Jinja,
}

impl<'a> Reader<'a> {
    pub fn new(config: &'a Config) -> Self {
        Self {
            config,
            notes: Vec::new(),
            problems: Vec::new(),
            task: TaskFile::default(),
            files: Vec::new(),
            jinja: Jinja::new(),
        }
    }

    /// Says of each key that is not read what becomes of it, and refuses Python functions.
    pub fn check_keys(&mut self) {
        for entry in &self.config.entries {
            if matches!(entry.value.value, Value::Null) {
                continue;
            }
            let name = entry.key.as_str();
            let Some(key) = keys::find(name) else {
                let problem =
                    entry.key_place.problem(format!("unknown key `{name}`, which the harness does not know either"));
                self.notes.push(match nearest(name, keys::KEYS.iter().map(|key| key.name)) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help("it is left out"),
                });
                continue;
            };
            match (&key.fate, entry.value.function()) {
                (Fate::Left(why), _) => {
                    if !matches!(entry.value.value, Value::Flag(false)) {
                        self.notes.push(entry.key_place.problem(format!("`{name}` is left out")).help(*why));
                    }
                }
                (Fate::Silent | Fate::ReadInParts, _) | (Fate::Read, None) => {}
                (Fate::Read | Fate::Refused(_), Some((at, function))) => {
                    let message = format!("`{name}`: needs the Python function `{function}`, and nothing is run here");
                    self.problems.push(at.problem(message).help(key.function));
                }
                (Fate::Refused(help), None) => {
                    self.problems.push(entry.key_place.problem(format!("`{name}` has no counterpart")).help(*help));
                }
            }
        }
    }

    /// A text behind a key.
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let node = self.config.get(key)?;
        self.text_of(node, key)
    }

    /// A text, or a problem; functions are reported already.
    pub fn text_of(&mut self, node: &'a Node, key: &str) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Function(_) => None,
            _ => {
                let message = format!("`{key}`: expected a text, found {}", node.type_name());
                self.problems.push(node.problem(message).help("put it in quotes if it is meant as a text"));
                None
            }
        }
    }

    /// A whole number of at least 0 behind a key.
    pub fn count(&mut self, key: &str) -> Option<usize> {
        let node = self.config.get(key)?;
        self.count_of(node, key)
    }

    pub fn count_of(&mut self, node: &Node, key: &str) -> Option<usize> {
        let count = match &node.value {
            Value::Integer(count) => usize::try_from(*count).ok(),
            _ => None,
        };
        if count.is_none() {
            let message = format!("`{key}`: expected a whole number of at least 0, found {}", node.type_name());
            self.problems.push(node.problem(message));
        }
        count
    }

    /// Says that something is left out.
    pub fn note(&mut self, node: &Node, message: impl Into<String>, help: impl Into<String>) {
        self.notes.push(node.problem(message).help(help));
    }

    /// Says why the task cannot be carried over.
    pub fn refuse(&mut self, node: &Node, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(node.problem(message).help(help));
    }

    /// A template that works here, or a problem.
    pub fn template(&mut self, node: &Node, source: &str) -> Option<String> {
        if let Err(error) = Template::new(source) {
            return self.bad_jinja(node, error);
        }
        let code = template::code(source);
        self.calls_are_known(node, &code).then(|| source.to_owned())
    }

    /// An expression that works here, or a problem.
    pub fn expression(&mut self, node: &Node, source: String) -> Option<String> {
        if let Err(error) = Expression::new(&source) {
            return self.bad_jinja(node, error);
        }
        self.calls_are_known(node, std::slice::from_ref(&source)).then_some(source)
    }

    fn bad_jinja<T>(&mut self, node: &Node, error: crate::Error) -> Option<T> {
        for diagnostic in error.into_diagnostics() {
            let help = "write it with the operations of Jinja that are here (minijinja)";
            self.problems.push(node.problem(diagnostic.message).help(help));
        }
        None
    }

    /// Filters and methods are looked up when a template is rendered; better to know now.
    fn calls_are_known(&mut self, node: &Node, code: &[String]) -> bool {
        let before = self.problems.len();
        for code in code {
            let (filters, methods) = template::calls(code);
            for name in filters {
                if !self.is_filter(&name) {
                    self.refuse(
                        node,
                        format!("the filter `{name}` of Jinja is not here"),
                        "write it with other filters",
                    );
                }
            }
            for name in methods {
                if !self.is_method(&name) {
                    self.refuse(node, format!("the method `.{name}()` is not here"), "write it with Jinja's filters");
                }
            }
        }
        self.problems.len() == before
    }

    fn is_filter(&self, name: &str) -> bool {
        let asked = Expression::new(&format!("{} is filter", template::quote(name)));
        asked.and_then(|asked| self.jinja.evaluate(&asked, &Map::new())).is_ok_and(|found| found == true)
    }

    /// Whether texts, lists or mappings have such a method: a call with odd arguments fails, but not for its name.
    fn is_method(&self, name: &str) -> bool {
        ["''.{}()", "[].{}()", "{}.{}()", "[].{}('')"].iter().any(|call| {
            let called = Expression::new(&call.replacen(".{}", &format!(".{name}"), 1));
            match called.and_then(|called| self.jinja.evaluate(&called, &Map::new())) {
                Ok(_) => true,
                Err(error) => !error.to_string().contains("unknown method"),
            }
        })
    }
}
