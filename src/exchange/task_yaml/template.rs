//! Jinja templates seen from outside: their parts, and the expression that has the value that a template would print.
//!
//! The harness renders a template to a text and then looks whether the text is a number or a Python list. Task files here
//! have expressions in those places, so `{{ label }}` becomes `label`, `#{{ n }}` becomes `'#' ~ n`, and
//! `{% if a %}x{% else %}{{ b }}{% endif %}` becomes `'x' if a else b`.

use super::code::{Token, operand, tokens};

/// A part of a template. Whitespace that `-` takes away is gone already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// `{{ code }}`
    Print(String),
    /// `{% code %}`
    Statement(String),
}

/// Whether a text has anything for Jinja to do.
pub(super) fn is_plain(text: &str) -> bool {
    !["{{", "{%", "{#"].iter().any(|open| text.contains(open))
}

/// A name that can stand in an expression: the name of a column.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A text as a Jinja literal.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\\' => out += "\\\\",
            '\'' => out += "\\'",
            '\n' => out += "\\n",
            '\t' => out += "\\t",
            '\r' => out += "\\r",
            other => out.push(other),
        }
    }
    out + "'"
}

/// Texts as a Jinja list.
pub(super) fn quote_list<T: AsRef<str>>(texts: &[T]) -> String {
    format!("[{}]", texts.iter().map(|text| quote(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// Cuts a template; `None` where an end is missing.
pub(super) fn parts(template: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = template;
    let mut trim_next = false;
    loop {
        let open = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min();
        let text = &rest[..open.unwrap_or(rest.len())];
        let text = if trim_next { text.trim_start() } else { text };
        let Some(at) = open else {
            push_text(&mut parts, text);
            return Some(parts);
        };
        let inner = &rest[at + 2..];
        let trim = inner.starts_with('-');
        push_text(&mut parts, if trim { text.trim_end() } else { text });
        let close = match &rest[at..at + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = if close == "#}" { inner.find(close)? } else { end_of_code(inner, close)? };
        let code = &inner[..end];
        trim_next = code.ends_with('-') && code.len() > usize::from(trim);
        let code = code.strip_prefix(['-', '+']).unwrap_or(code);
        let code = if trim_next { &code[..code.len() - 1] } else { code.strip_suffix('+').unwrap_or(code) }.trim();
        match close {
            "}}" => parts.push(Part::Print(code.to_owned())),
            "%}" => parts.push(Part::Statement(code.to_owned())),
            _ => {}
        }
        rest = &inner[end + 2..];
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// Where code ends: at the mark that is in no text and no brackets.
fn end_of_code(code: &str, close: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in code.char_indices() {
        match (quote, c) {
            (Some(open), _) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
            }
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if depth == 0 && code[at..].starts_with(close) => return Some(at),
            (None, '{' | '[' | '(') => depth += 1,
            (None, '}' | ']' | ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// The expression whose value is what the template prints, before it becomes a text.
///
/// # Errors
/// What stands in the way, in words.
pub(super) fn expression(template: &str) -> Result<String, String> {
    let parts = parts(template).ok_or("a `{{` or `{%` without its end")?;
    let mut rest = parts.as_slice();
    let found = sequence(&mut rest)?;
    match rest.first() {
        None => Ok(found),
        Some(Part::Statement(code)) => Err(format!("`{{% {code} %}}` without its beginning")),
        Some(_) => Err("parts that do not fit".to_owned()),
    }
}

/// Parts up to a statement that ends or divides a block.
fn sequence(rest: &mut &[Part]) -> Result<String, String> {
    let mut terms = Vec::new();
    while let Some((part, after)) = rest.split_first() {
        match part {
            Part::Text(text) => terms.push(quote(text)),
            Part::Print(code) => terms.push(code.clone()),
            Part::Statement(code) => match code.split_once(char::is_whitespace) {
                Some(("if", condition)) => {
                    *rest = after;
                    terms.push(choice(condition.trim(), rest)?);
                    continue;
                }
                _ if ["else", "endif"].contains(&code.as_str()) || code.starts_with("elif") => break,
                _ => return Err(format!("`{{% {code} %}}`, which no expression has")),
            },
        }
        *rest = after;
    }
    Ok(match terms.as_slice() {
        [] => "''".to_owned(),
        [single] => single.clone(),
        many => many.iter().map(|term| operand(term)).collect::<Vec<_>>().join(" ~ "),
    })
}

/// What stands between `{% if condition %}` and its `{% endif %}`.
fn choice(condition: &str, rest: &mut &[Part]) -> Result<String, String> {
    let yes = sequence(rest)?;
    let Some((Part::Statement(code), after)) = rest.split_first() else {
        return Err("`{% if %}` without `{% endif %}`".to_owned());
    };
    *rest = after;
    let no = match code.split_once(char::is_whitespace) {
        Some(("elif", next)) => choice(next.trim(), rest)?,
        _ if code == "else" => {
            let no = sequence(rest)?;
            match rest.split_first() {
                Some((Part::Statement(code), after)) if code == "endif" => *rest = after,
                _ => return Err("`{% else %}` without `{% endif %}`".to_owned()),
            }
            no
        }
        _ => "''".to_owned(),
    };
    Ok(format!("{} if {} else {}", operand(&yes), operand(condition), operand(&no)))
}

/// A text such as `["{{ a }}", 'b']` that prints a Python list of texts, as a list of expressions. Where a column
/// itself holds the quote, the harness fails to read the list; here it is one text.
pub(super) fn list_of_texts(template: &str) -> Option<String> {
    let parts = parts(template)?;
    let mut list = ListReader { items: Vec::new(), state: State::Outside, opened: false, separated: true };
    for part in &parts {
        match part {
            Part::Text(text) => list.text(text)?,
            Part::Print(code) => list.print(code)?,
            Part::Statement(_) => return None,
        }
    }
    matches!(list.state, State::Closed).then(|| format!("[{}]", list.items.join(", ")))
}

enum State {
    Outside,
    /// In a text that this mark ends: its terms so far.
    Inside(String, Vec<String>, String),
    Closed,
}

struct ListReader {
    items: Vec<String>,
    state: State,
    opened: bool,
    separated: bool,
}

impl ListReader {
    fn print(&mut self, code: &str) -> Option<()> {
        let State::Inside(_, terms, literal) = &mut self.state else { return None };
        if !literal.is_empty() {
            terms.push(quote(literal));
            literal.clear();
        }
        terms.push(operand(code));
        Some(())
    }

    fn text(&mut self, mut text: &str) -> Option<()> {
        while let Some(c) = text.chars().next() {
            match &mut self.state {
                State::Inside(mark, terms, literal) => {
                    if let Some(rest) = text.strip_prefix(mark.as_str()) {
                        if !literal.is_empty() || terms.is_empty() {
                            terms.push(quote(literal));
                        }
                        self.items.push(terms.join(" ~ "));
                        (self.state, self.separated) = (State::Outside, false);
                        text = rest;
                        continue;
                    }
                    if c == '\\' {
                        let escaped = text[1..].chars().next()?;
                        literal.push_str(&unescape(escaped));
                        text = &text[1 + escaped.len_utf8()..];
                        continue;
                    }
                    literal.push(c);
                }
                State::Outside => match c {
                    '[' if !self.opened => self.opened = true,
                    ']' if self.opened => self.state = State::Closed,
                    ',' if self.opened && !self.separated => self.separated = true,
                    '\'' | '"' if self.opened && self.separated => {
                        let long = c.to_string().repeat(3);
                        let mark = if text.starts_with(&long) { long } else { c.to_string() };
                        text = &text[mark.len()..];
                        self.state = State::Inside(mark, Vec::new(), String::new());
                        continue;
                    }
                    _ if c.is_whitespace() => {}
                    _ => return None,
                },
                State::Closed if c.is_whitespace() => {}
                State::Closed => return None,
            }
            text = &text[c.len_utf8()..];
        }
        Some(())
    }
}

fn unescape(escaped: char) -> String {
    match escaped {
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        'r' => "\r".to_owned(),
        '\\' | '\'' | '"' => escaped.to_string(),
        other => format!("\\{other}"),
    }
}

/// All code of a template.
pub(super) fn code(template: &str) -> Vec<String> {
    let parts = parts(template).unwrap_or_default();
    parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Print(code) | Part::Statement(code) => Some(code),
            Part::Text(_) => None,
        })
        .collect()
}

/// Names of filters and methods that code calls: `x|filter`, `x.method(...)`.
pub(super) fn calls(code: &str) -> (Vec<String>, Vec<String>) {
    let all = tokens(code);
    let (mut filters, mut methods) = (Vec::new(), Vec::new());
    for (index, (_, token)) in all.iter().enumerate() {
        let Token::Name(name) = token else { continue };
        let before = |back: usize| index.checked_sub(back).map(|at| &all[at].1);
        let called = matches!(all.get(index + 1), Some((_, Token::Mark('('))));
        match before(1) {
            Some(Token::Mark('|')) => filters.push(name.clone()),
            // What `loop` can do is Jinja's own.
            Some(Token::Mark('.')) if called && !matches!(before(2), Some(Token::Name(name)) if name == "loop") => {
                methods.push(name.clone());
            }
            _ => {}
        }
    }
    (filters, methods)
}
