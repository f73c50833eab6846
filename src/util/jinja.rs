//! One Jinja environment for every template: prompts of tasks, chat templates, field expressions.
//!
//! Templates come from task files and model folders, so they are untrusted: they run on limited fuel, see only the
//! values they are given, and have no access to files, clock or network. As in Python's Jinja2 with `StrictUndefined`,
//! an unknown name is an error; the trailing newline of a template is kept.

use std::sync::Arc;

use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};

use super::python;

/// Instructions that one rendering may take. A long chat history takes some ten thousand.
const FUEL: u64 = 5_000_000;

/// A JSON-like value for templates.
pub fn value(json: impl serde::Serialize) -> Value {
    Value::from(Serde(json))
}

/// What went wrong, with its causes and without a dump of the values at hand.
pub fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}

/// An environment with Python's string methods and the filters that task files use.
pub fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    env.set_syntax(syntax.expect("the standard delimiters do not clash"));
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_unknown_method_callback(unknown_method);
    env.add_filter("regex_replace", regex_replace);
    env.add_filter("strip", |text: &str| python::strip(text).to_owned());
    env.add_filter("lstrip", |text: &str| text.trim_start_matches(python::is_space).to_owned());
    env.add_filter("capitalize", |text: &str| python::capitalize(text));
    env.add_filter("split_last_word", split_last_word);
    env.add_filter("tojson", to_json);
    env
}

/// `str.capitalize` and `str.strip` by Python's rules; everything else from the compatibility library.
fn unknown_method(state: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), method, args) {
        (Some(text), "strip", []) => Ok(Value::from(python::strip(text))),
        (Some(text), "rstrip", []) => Ok(Value::from(python::rstrip(text))),
        (Some(text), "lstrip", []) => Ok(Value::from(text.trim_start_matches(python::is_space))),
        (Some(text), "capitalize", []) => Ok(Value::from(python::capitalize(text))),
        (None, "index", [wanted]) => match value.try_iter()?.position(|item| item == *wanted) {
            Some(position) => Ok(Value::from(position)),
            None => Err(Error::new(ErrorKind::InvalidOperation, format!("{wanted:?} is not in the list"))),
        },
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// Python's `re.sub(pattern, replacement, text)`, the one filter that lm-evaluation-harness adds to Jinja2.
fn regex_replace(text: &str, pattern: &str, replacement: Option<&str>, _rest: Rest<Value>) -> Result<String, Error> {
    let bad =
        |e: fancy_regex::Error| Error::new(ErrorKind::InvalidOperation, format!("regular expression {pattern:?}: {e}"));
    let regex = cached_regex(pattern).map_err(bad)?;
    python::regex_sub(&regex, replacement.unwrap_or(""), text).map_err(bad)
}

/// `[everything before the last space, the rest]`
fn split_last_word(text: &str) -> Vec<String> {
    let (head, tail) = text.rsplit_once(' ').unwrap_or(("", text));
    vec![head.to_owned(), tail.to_owned()]
}

/// Python's `json.dumps(value, ensure_ascii=False)`, which chat templates of `transformers` get: `", "` and `": "`
/// between parts, nothing escaped for HTML; with `indent`, one part a line.
#[expect(clippy::needless_pass_by_value, reason = "the signature that minijinja calls")]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let json = serde_json::to_value(value).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    let mut out = String::new();
    write_python_json(&json, indent, 1, &mut out);
    Ok(Value::from_safe_string(out))
}

fn write_python_json(value: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value as Json;
    let line = |depth: usize| indent.map(|indent| format!("\n{}", " ".repeat(indent * depth)));
    let between = |index: usize| match (line(depth), index) {
        (Some(line), 0) => line,
        (Some(line), _) => format!(",{line}"),
        (None, 0) => String::new(),
        (None, _) => ", ".to_owned(),
    };
    let end = line(depth - 1).unwrap_or_default();
    match value {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(&between(index));
                write_python_json(item, indent, depth + 1, out);
            }
            out.push_str(&end);
            out.push(']');
        }
        Json::Object(map) if !map.is_empty() => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                out.push_str(&between(index));
                out.push_str(&Json::String(key.clone()).to_string());
                out.push_str(": ");
                write_python_json(item, indent, depth + 1, out);
            }
            out.push_str(&end);
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// Compiled expressions are kept, since a task applies few of them to many items.
fn cached_regex(pattern: &str) -> Result<Arc<Regex>, fancy_regex::Error> {
    thread_local! {
        static CACHE: std::cell::RefCell<std::collections::BTreeMap<String, Arc<Regex>>> = const { std::cell::RefCell::new(std::collections::BTreeMap::new()) };
    }
    if let Some(regex) = CACHE.with_borrow(|cache| cache.get(pattern).cloned()) {
        return Ok(regex);
    }
    let regex = Arc::new(Regex::new(pattern)?);
    CACHE.with_borrow_mut(|cache| cache.insert(pattern.to_owned(), Arc::clone(&regex)));
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn render(template: &str) -> String {
        let env = environment();
        env.render_str(template, context! { text => " [step] Hello  [x] <b> ", row => context! { b => 1, a => "ü<" } })
            .unwrap_or_else(|e| format!("{e:#}"))
    }

    #[test]
    fn filters_follow_python() {
        assert_eq!(render(r"{{ text|strip|replace(' [x]', '. ')|regex_replace('\\[.*?\\]', '') }}"), " Hello .  <b>");
        assert_eq!(render("{{ text.strip().capitalize() }}"), "[step] hello  [x] <b>");
        assert_eq!(render("{{ row|tojson }}"), r#"{"b": 1, "a": "ü<"}"#);
        assert_eq!(render("{{ 'a b c'|split_last_word|join('|') }}\n"), "a b|c\n");
    }

    #[test]
    fn unknown_names_and_endless_loops_are_errors() {
        assert!(render("{{ missing }}").contains("undefined"));
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(render(endless).contains("fuel"), "{}", render(endless).len());
    }
}
