//! TOML with places: every value knows the file and the bytes it came from, also after two tables were merged.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diag::Diagnostic;

/// A file's text and name.
#[derive(Debug)]
pub(super) struct SourceText {
    pub path: PathBuf,
    pub text: Arc<str>,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub node: Node,
    pub span: Range<usize>,
    pub source: Arc<SourceText>,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Integer(i64),
    /// Never NaN or infinite.
    Float(f64),
    Flag(bool),
    List(Vec<Located>),
    Table(Table),
    /// What no key takes: dates, integers that do not fit.
    Other(&'static str),
}

/// A table in the order of its file.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
    pub span: Range<usize>,
    pub source: Arc<SourceText>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Located,
}

/// Parses a whole file; every syntax error is reported.
pub(super) fn parse(path: &Path, text: &str) -> Result<Table, Vec<Diagnostic>> {
    let source = Arc::new(SourceText { path: path.to_path_buf(), text: text.into() });
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let span = table.span();
        return Ok(convert_table(table.get_ref(), span, &source));
    }
    let diagnostic = |error: &toml::de::Error| {
        let diagnostic = Diagnostic::new(error.message().to_owned()).in_file(path);
        match error.span() {
            Some(span) => diagnostic.spanning(Arc::clone(&source.text), span),
            None => diagnostic,
        }
    };
    Err(errors.iter().map(diagnostic).collect())
}

fn convert_table(table: &DeTable<'_>, span: Range<usize>, source: &Arc<SourceText>) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            value: convert(value, source),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries, span, source: Arc::clone(source) }
}

fn convert(value: &Spanned<DeValue<'_>>, source: &Arc<SourceText>) -> Located {
    let node = match value.get_ref() {
        DeValue::String(text) => Node::Text(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Node::Other("a too large integer"), Node::Integer),
        DeValue::Float(float) => match float.as_str().replace('_', "").parse::<f64>() {
            Ok(number) if number.is_finite() => Node::Float(number),
            _ => Node::Other("a number that is not finite"),
        },
        DeValue::Boolean(flag) => Node::Flag(*flag),
        DeValue::Datetime(_) => Node::Other("a date"),
        DeValue::Array(items) => Node::List(items.iter().map(|item| convert(item, source)).collect()),
        DeValue::Table(table) => Node::Table(convert_table(table, value.span(), source)),
    };
    Located { node, span: value.span(), source: Arc::clone(source) }
}

impl Located {
    /// A problem that points here.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        point(&self.source, self.span.clone(), message)
    }

    pub fn type_name(&self) -> &'static str {
        match &self.node {
            Node::Text(_) => "a text",
            Node::Integer(_) => "a whole number",
            Node::Float(_) => "a number",
            Node::Flag(_) => "true or false",
            Node::List(_) => "a list",
            Node::Table(_) => "a table",
            Node::Other(name) => name,
        }
    }
}

impl Entry {
    /// A problem that points to the key.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        point(&self.value.source, self.key_span.clone(), message)
    }
}

impl Table {
    /// A problem that points to the table's head.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        point(&self.source, self.span.clone(), message)
    }

    pub fn get(&self, key: &str) -> Option<&Located> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.node {
            Node::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub fn count(&self, key: &str) -> Option<usize> {
        match self.get(key)?.node {
            Node::Integer(count) => usize::try_from(count).ok(),
            _ => None,
        }
    }

    /// A number, with or without a fraction.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)?.node {
            Node::Integer(number) => Some(number as f64),
            Node::Float(number) => Some(number),
            _ => None,
        }
    }

    pub fn table(&self, key: &str) -> Option<&Self> {
        match &self.get(key)?.node {
            Node::Table(table) => Some(table),
            _ => None,
        }
    }

    /// A list, or a single value as a list of one.
    pub fn list(&self, key: &str) -> &[Located] {
        match self.get(key) {
            Some(Located { node: Node::List(items), .. }) => items,
            Some(single) => std::slice::from_ref(single),
            None => &[],
        }
    }

    pub fn texts(&self, key: &str) -> Vec<String> {
        let text = |item: &Located| match &item.node {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.list(key).iter().filter_map(text).collect()
    }

    /// This table with the entries of `over` in place of its own, those in `skip` left out.
    pub fn overlaid(&self, over: &Self, skip: &[&str]) -> Self {
        let mut merged = self.clone();
        for entry in over.entries.iter().filter(|entry| !skip.contains(&entry.key.as_str())) {
            match merged.entries.iter_mut().find(|own| own.key == entry.key) {
                Some(own) => *own = entry.clone(),
                None => merged.entries.push(entry.clone()),
            }
        }
        merged
    }
}

fn point(source: &SourceText, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(message).in_file(&source.path).spanning(Arc::clone(&source.text), span)
}
