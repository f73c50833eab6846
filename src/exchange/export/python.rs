//! Values as Python writes them: `json.dumps` and `repr`, of which lm-evaluation-harness takes hashes.

use std::fmt::Write;

use serde_json::Value;

/// What a Python program has in hand when it writes JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Python {
    None,
    Bool(bool),
    Int(i128),
    /// Unlike JSON's numbers also NaN and the infinities.
    Float(f64),
    Text(String),
    List(Vec<Self>),
    /// In the order of insertion.
    Dict(Vec<(String, Self)>),
}

impl Python {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn count(count: usize) -> Self {
        Self::Int(count as i128)
    }

    pub fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    pub fn dict<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Dict(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// `json.dumps(value, ensure_ascii=False)`, with `indent` spaces a level or on one line.
    pub fn json(&self, indent: Option<usize>) -> String {
        let mut out = String::new();
        self.write(&mut out, indent, 1);
        out
    }

    fn write(&self, out: &mut String, indent: Option<usize>, depth: usize) {
        match self {
            Self::None => out.push_str("null"),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Int(number) => out.push_str(&number.to_string()),
            Self::Float(number) if number.is_nan() => out.push_str("NaN"),
            Self::Float(number) if number.is_infinite() => {
                out.push_str(if *number > 0.0 { "Infinity" } else { "-Infinity" });
            }
            Self::Float(number) => out.push_str(&float(*number)),
            Self::Text(text) => quote(text, out),
            Self::List(items) => nested(out, ['[', ']'], items, indent, depth, |item, out| {
                item.write(out, indent, depth + 1);
            }),
            Self::Dict(entries) => nested(out, ['{', '}'], entries, indent, depth, |(key, item), out| {
                quote(key, out);
                out.push_str(": ");
                item.write(out, indent, depth + 1);
            }),
        }
    }
}

/// Brackets with what is between them, one part a line where there is an indent.
fn nested<T>(
    out: &mut String,
    [open, close]: [char; 2],
    parts: &[T],
    indent: Option<usize>,
    depth: usize,
    write: impl Fn(&T, &mut String),
) {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
    };
    out.push(open);
    for (index, part) in parts.iter().enumerate() {
        match (index, indent) {
            (0, _) => {}
            (_, Some(_)) => out.push(','),
            (_, None) => out.push_str(", "),
        }
        line(out, depth);
        write(part, out);
    }
    if !parts.is_empty() {
        line(out, depth - 1);
    }
    out.push(close);
}

/// A JSON string. Python escapes the same characters in the same way.
fn quote(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

/// `repr` of a float: the shortest digits that come back, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "nan".to_owned() } else { format!("{number}") };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// `repr` of a text.
pub(super) fn repr(text: &str) -> String {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            _ if c == mark => out.extend(['\\', c]),
            _ if printable(c) => out.push(c),
            _ => {
                let code = u32::from(c);
                let _ = match code {
                    0..0x100 => write!(out, r"\x{code:02x}"),
                    0x100..0x1_0000 => write!(out, r"\u{code:04x}"),
                    _ => write!(out, r"\U{code:08x}"),
                };
            }
        }
    }
    out.push(mark);
    out
}

/// `str.isprintable`: no control, format, private, unassigned or separating character but the space. Rust's
/// `escape_debug` goes by the same categories, and besides escapes a combining mark that begins a text.
fn printable(c: char) -> bool {
    matches!(c, '"' | '\'') || format!("a{c}").escape_debug().nth(1) == Some(c)
}

impl From<f64> for Python {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<String> for Python {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Python {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<&String> for Python {
    fn from(text: &String) -> Self {
        Self::text(text)
    }
}

impl From<Option<&str>> for Python {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::None, Self::text)
    }
}

impl From<Option<usize>> for Python {
    fn from(count: Option<usize>) -> Self {
        count.map_or(Self::None, Self::count)
    }
}

impl From<&Value> for Python {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number.into()),
                (None, Some(number)) => Self::Int(number.into()),
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::list(items),
            Value::Object(entries) => entries.into(),
        }
    }
}

impl From<&serde_json::Map<String, Value>> for Python {
    fn from(entries: &serde_json::Map<String, Value>) -> Self {
        Self::dict(entries.iter().map(|(key, value)| (key, value.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts are Python 3.11's own.
    #[test]
    fn floats_are_pythons() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(number), expected);
        }
    }

    #[test]
    fn texts_are_quoted_as_python_does() {
        for (text, expected) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("it's \"so\"", "'it\\'s \"so\"'"),
            ("a\\b\n\t\r", r"'a\\b\n\t\r'"),
            ("\u{0}\u{7f}\u{a0}\u{ad}", r"'\x00\x7f\xa0\xad'"),
            ("\u{200b}\u{2028}\u{e000}", r"'\u200b\u2028\ue000'"),
            ("\u{e0001}", r"'\U000e0001'"),
            ("é 中 \u{1f600} e\u{301}", "'é 中 \u{1f600} e\u{301}'"),
            ("\u{301}", "'\u{301}'"),
        ] {
            assert_eq!(repr(text), expected);
        }
    }

    #[test]
    fn json_on_one_line_and_indented() {
        let value = Python::dict([
            ("a\"ü\u{1}\u{7f}", Python::list([1.0, f64::NAN, f64::NEG_INFINITY])),
            ("none", Python::List(Vec::new())),
            ("map", Python::dict([("k", Python::Int(3)), ("flag", Python::Bool(true))])),
            ("empty", Python::dict::<String>([])),
        ]);
        let line = "{\"a\\\"ü\\u0001\u{7f}\": [1.0, NaN, -Infinity], \"none\": [], \"map\": {\"k\": 3, \"flag\": true}, \"empty\": {}}";
        assert_eq!(value.json(None), line);
        let lines = "{\n  \"a\\\"ü\\u0001\u{7f}\": [\n    1.0,\n    NaN,\n    -Infinity\n  ],\n  \"none\": [],\n  \"map\": {\n    \"k\": 3,\n    \"flag\": true\n  },\n  \"empty\": {}\n}";
        assert_eq!(value.json(Some(2)), lines);
    }
}
