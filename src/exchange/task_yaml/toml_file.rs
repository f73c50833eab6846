//! A task file in the making, and how it is written.

use std::fmt::Write;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Toml {
    Text(String),
    Texts(Vec<String>),
    Count(usize),
    Number(f64),
    Flag(bool),
    /// On one line.
    Table(Vec<(&'static str, Toml)>),
    /// A list of tables on one line.
    Tables(Vec<Vec<(&'static str, Toml)>>),
}

/// Keys in the order in which they were put.
#[derive(Debug, Default)]
pub(super) struct TaskFile {
    /// Lines of the head, without `#`.
    pub head: Vec<String>,
    keys: Vec<(&'static str, Toml)>,
    data: Vec<(&'static str, Toml)>,
    filters: Vec<(String, Toml)>,
}

impl TaskFile {
    pub fn put(&mut self, key: &'static str, value: Toml) {
        self.keys.push((key, value));
    }

    pub fn put_text(&mut self, key: &'static str, value: impl Into<String>) {
        self.put(key, Toml::Text(value.into()));
    }

    pub fn put_data(&mut self, key: &'static str, value: Toml) {
        self.data.push((key, value));
    }

    pub fn put_filter(&mut self, name: impl Into<String>, steps: Toml) {
        self.filters.push((name.into(), steps));
    }

    /// The whole file.
    pub fn write(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            out.push_str(&comment(line));
        }
        let mut table = |title: &str, keys: &[(&str, &Toml)]| {
            if !title.is_empty() {
                let _ = write!(out, "\n{title}\n");
            }
            for (key, value) in keys {
                let _ = writeln!(out, "{key} = {}", value.show());
            }
        };
        table("", &self.keys.iter().map(|(key, value)| (*key, value)).collect::<Vec<_>>());
        table("[data]", &self.data.iter().map(|(key, value)| (*key, value)).collect::<Vec<_>>());
        for (name, steps) in &self.filters {
            table("[[filters]]", &[("name", &Toml::Text(name.clone())), ("steps", steps)]);
        }
        out
    }
}

/// A comment, without characters that TOML does not allow there.
fn comment(line: &str) -> String {
    let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{}\n", format!("# {clean}").trim_end())
}

impl Toml {
    fn show(&self) -> String {
        match self {
            Self::Text(text) => toml::Value::from(text.as_str()).to_string(),
            Self::Texts(texts) => {
                let shown: Vec<String> = texts.iter().map(|text| one_line(text)).collect();
                format!("[{}]", shown.join(", "))
            }
            Self::Count(count) => count.to_string(),
            Self::Number(number) => toml::Value::from(*number).to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Table(entries) => inline(entries),
            Self::Tables(tables) => {
                format!("[{}]", tables.iter().map(|entries| inline(entries)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn inline(entries: &[(&str, Toml)]) -> String {
    let shown: Vec<String> = entries
        .iter()
        .map(|(key, value)| match value {
            Toml::Text(text) => format!("{key} = {}", one_line(text)),
            other => format!("{key} = {}", other.show()),
        })
        .collect();
    format!("{{ {} }}", shown.join(", "))
}

/// A text that stays on its line: a list and a table on one line are easier to read so.
fn one_line(text: &str) -> String {
    if text.contains(['\n', '\r']) {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => out += "\\\"",
                '\\' => out += "\\\\",
                '\n' => out += "\\n",
                '\r' => out += "\\r",
                '\t' => out += "\\t",
                c if c.is_control() => out += &format!("\\u{:04X}", c as u32),
                other => out.push(other),
            }
        }
        return out + "\"";
    }
    toml::Value::from(text).to_string()
}
