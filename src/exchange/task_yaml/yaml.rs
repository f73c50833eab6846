//! YAML as a bounded tree whose nodes know their place.
//!
//! The parser only yields events; the tree is made here, so that depth, size and aliases are bounded while it grows and
//! no tag does anything. Scalars are read as PyYAML reads them ([`super::scalar`]), since that is what task files are
//! written for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Collections inside each other.
const MAX_DEPTH: usize = 64;
/// Nodes of a file, those that aliases repeat counted each time.
const MAX_NODES: usize = 20_000;
/// Oddities of a file that are told.
const MAX_NOTES: usize = 20;

/// A file's text and name.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub path: PathBuf,
    pub text: Arc<str>,
}

/// Where something begins and ends, in characters.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub file: Arc<SourceFile>,
    start: usize,
    end: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
    /// Nodes below this one and itself.
    weight: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// `!function module.name`: a Python function.
    Function(String),
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
    /// What no key takes: dates, integers that do not fit.
    Other(&'static str),
}

/// A key and its value, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Arc<Node>,
}

/// A file's tree, and what was odd about it.
pub(super) struct Parsed {
    pub root: Arc<Node>,
    pub notes: Vec<Diagnostic>,
}

impl Place {
    /// A problem that points here, to the end of the line at most.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        let text = &self.file.text;
        let start = text.char_indices().nth(self.start).map_or(text.len(), |(byte, _)| byte);
        let wide = text[start..].chars().take(self.end.saturating_sub(self.start)).map(char::len_utf8).sum::<usize>();
        let line = text[start..].find('\n').unwrap_or(text.len() - start);
        Diagnostic::new(message).in_file(&self.file.path).spanning(Arc::clone(text), start..start + wide.min(line))
    }
}

impl Node {
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        self.place.problem(message)
    }

    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Flag(_) => "true or false",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::Function(_) => "a Python function",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Other(name) => name,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; a single value is a list of one, nothing is an empty one.
    pub fn items(&self) -> Vec<&Self> {
        match &self.value {
            Value::List(items) => items.iter().map(Arc::as_ref).collect(),
            Value::Null => Vec::new(),
            _ => vec![self],
        }
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// What stands behind a key of a mapping, unless it is null.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        Some(entry.value.as_ref()).filter(|node| !matches!(node.value, Value::Null))
    }

    /// A Python function in this value or below, the first in the order of the file.
    pub fn function(&self) -> Option<(&Self, &str)> {
        match &self.value {
            Value::Function(name) => Some((self, name)),
            Value::List(items) => items.iter().find_map(|item| item.function()),
            Value::Map(entries) => entries.iter().find_map(|entry| entry.value.function()),
            _ => None,
        }
    }

    /// The value as JSON; `None` for what JSON does not have.
    pub fn json(&self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match &self.value {
            Value::Null => Json::Null,
            Value::Flag(flag) => Json::Bool(*flag),
            Value::Integer(integer) => Json::from(*integer),
            Value::Float(float) => Json::Number(serde_json::Number::from_f64(*float)?),
            Value::Text(text) => Json::from(text.as_str()),
            Value::List(items) => Json::Array(items.iter().map(|item| item.json()).collect::<Option<_>>()?),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|entry| Some((entry.key.clone(), entry.value.json()?)));
                Json::Object(pairs.collect::<Option<_>>()?)
            }
            Value::Function(_) | Value::Other(_) => return None,
        })
    }
}

/// A collection that is still being read.
struct Open {
    place: Place,
    anchor: usize,
    weight: usize,
    content: Content,
}

enum Content {
    List(Vec<Arc<Node>>),
    Map { entries: Vec<Entry>, key: Option<(Arc<Node>, bool)>, merged: Vec<Entry> },
}

/// Makes the tree of a file that holds one document.
///
/// # Errors
/// What the parser says; trees too deep or too large; a second document; tags other than `!function` and YAML's own.
pub(super) fn parse(file: &Arc<SourceFile>) -> Result<Parsed> {
    let mut builder =
        Builder { file, open: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None, notes: Vec::new() };
    let mut parser = Parser::new_from_str(&file.text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| builder.syntax(&error))?;
        if matches!(event, Event::StreamEnd) {
            break;
        }
        builder.take(event, span)?;
    }
    let Some(root) = builder.root else {
        return Err(Error::bad("expected a YAML document, found none").in_file(&file.path));
    };
    Ok(Parsed { root, notes: builder.notes })
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Arc<Node>>,
    nodes: usize,
    root: Option<Arc<Node>>,
    notes: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn place(&self, span: Span) -> Place {
        Place { file: Arc::clone(self.file), start: span.start.index(), end: span.end.index() }
    }

    fn syntax(&self, error: &ScanError) -> Error {
        let at = error.marker().index();
        let place = Place { file: Arc::clone(self.file), start: at, end: at + 1 };
        let help =
            "a text in quotes that goes on must be indented further than its key, which the harness does not ask for";
        let problem = place.problem(format!("expected YAML: {}", error.info()));
        Error::all(vec![if error.info().contains("indentation") { problem.help(help) } else { problem }])
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let merge = plain && tag.is_none() && text == "<<";
                let value = tagged_scalar(&text, plain, tag.as_deref()).map_err(|message| refuse(&place, message))?;
                self.count(1, &place)?;
                let node = Arc::new(Node { value, place, weight: 1 });
                self.add(node, anchor, merge)
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(place, anchor, tag.as_deref(), "seq", Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), key: None, merged: Vec::new() };
                self.start(place, anchor, tag.as_deref(), "map", content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.finish(&place),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or_else(|| {
                    refuse(&place, "expected an alias of a value that is complete, found one inside it".to_owned())
                })?;
                self.count(node.weight, &place)?;
                self.add(node, 0, false)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(refuse(&place, "expected one YAML document, found a second one".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, more: usize, place: &Place) -> Result<()> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(refuse(place, format!("expected at most {MAX_NODES} values, aliases counted, found more")));
        }
        Ok(())
    }

    fn start(&mut self, place: Place, anchor: usize, tag: Option<&Tag>, own: &str, content: Content) -> Result<()> {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == own)) {
            return Err(refuse(&place, unknown_tag(tag)));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(refuse(
                &place,
                format!("expected at most {MAX_DEPTH} collections inside each other, found more"),
            ));
        }
        self.count(1, &place)?;
        self.open.push(Open { place, anchor, weight: 1, content });
        Ok(())
    }

    fn finish(&mut self, end: &Place) -> Result<()> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { mut entries, merged, .. } => {
                for entry in merged {
                    if !entries.iter().any(|own| own.key == entry.key) {
                        entries.push(entry);
                    }
                }
                Value::Map(entries)
            }
        };
        let place = Place { end: end.end, ..open.place };
        self.add(Arc::new(Node { value, place, weight: open.weight }), open.anchor, false)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Arc<Node>, anchor: usize, merge: bool) -> Result<()> {
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.weight += node.weight;
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key, merged } => match key.take() {
                None => *key = Some((node, merge)),
                Some((_, true)) => merge_into(merged, &node)?,
                Some((key, false)) => {
                    let entry = Entry { key: key_text(&key)?, key_place: key.place.clone(), value: node };
                    if let Some(known) = entries.iter_mut().find(|known| known.key == entry.key) {
                        if self.notes.len() < MAX_NOTES {
                            let message = format!("the key `{}` is there twice; the last one counts", entry.key);
                            self.notes.push(entry.key_place.problem(message).help("take one of them out"));
                        }
                        *known = entry;
                    } else {
                        entries.push(entry);
                    }
                }
            },
        }
        Ok(())
    }
}

/// `<<: mapping` or `<<: [mapping, ...]`, of which the first that has a key counts.
fn merge_into(merged: &mut Vec<Entry>, node: &Node) -> Result<()> {
    for source in node.items() {
        if !matches!(source.value, Value::Map(_)) {
            let message = format!("`<<`: expected a mapping, found {}", source.type_name());
            return Err(Error::all(vec![source.problem(message)]));
        }
        for entry in source.entries() {
            if !merged.iter().any(|known| known.key == entry.key) {
                merged.push(entry.clone());
            }
        }
    }
    Ok(())
}

fn key_text(key: &Node) -> Result<String> {
    Ok(match &key.value {
        Value::Text(text) => text.clone(),
        Value::Integer(integer) => integer.to_string(),
        Value::Flag(flag) => if *flag { "True" } else { "False" }.to_owned(),
        _ => {
            let message = format!("expected a text as the key, found {}", key.type_name());
            return Err(Error::all(vec![key.problem(message)]));
        }
    })
}

fn refuse(place: &Place, message: String) -> Error {
    Error::all(vec![place.problem(message)])
}

fn tagged_scalar(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    let Some(tag) = tag else {
        return Ok(if plain { scalar::resolve(text) } else { Value::Text(text.to_owned()) });
    };
    if tag.is_yaml_core_schema() {
        return match tag.suffix.as_str() {
            "str" => Ok(Value::Text(text.to_owned())),
            "int" | "float" | "bool" | "null" => Ok(scalar::resolve(text)),
            _ => Err(unknown_tag(tag)),
        };
    }
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "function") => Ok(Value::Function(text.to_owned())),
        // The non-specific tag.
        ("", "!") | ("!", "") => Ok(Value::Text(text.to_owned())),
        _ => Err(unknown_tag(tag)),
    }
}

fn unknown_tag(tag: &Tag) -> String {
    format!("expected no tag but `!function`, found `{}{}`: nothing is made or run from a tag", tag.handle, tag.suffix)
}
