//! Lists as Python prints them: `['it\'s', "b", 3]`. lm-evaluation-harness turns targets into such texts.

/// The elements of a printed list or tuple of texts and numbers; none where the text is something else.
pub(super) fn parse(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let mut rest = inner.or_else(|| text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')))?.trim_start();
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (element, after) = match rest.chars().next()? {
            mark @ ('\'' | '"') => quoted(&rest[1..], mark)?,
            _ => bare(rest)?,
        };
        elements.push(element);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(elements)
}

/// A number, as it is written.
fn bare(text: &str) -> Option<(String, &str)> {
    let end = text.find([',', ' ']).unwrap_or(text.len());
    text[..end].parse::<f64>().ok()?;
    Some((text[..end].to_owned(), &text[end..]))
}

/// A text up to its closing mark, and what follows.
fn quoted(text: &str, mark: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            c if c == mark => return Some((out, &text[index + 1..])),
            '\\' => {
                let (_, escaped) = chars.next()?;
                let digits = match escaped {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                out.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '\'' | '"' => escaped,
                    'x' | 'u' | 'U' => {
                        let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        char::from_u32(u32::from_str_radix(&code, 16).ok().filter(|_| code.len() == digits)?)?
                    }
                    _ => return None,
                });
            }
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_python_prints() {
        let list = |text: &str| parse(text).map(|list| list.join("|"));
        assert_eq!(list(r#"['were', 'it\'s "fun"', "it's"]"#).as_deref(), Some(r#"were|it's "fun"|it's"#));
        assert_eq!(list("[0, 2, -1.5]").as_deref(), Some("0|2|-1.5"));
        assert_eq!(list(r"['a\n\xe9\u200b\\']").as_deref(), Some("a\né\u{200b}\\"));
        assert_eq!(list("('a',)").as_deref(), Some("a"));
        assert_eq!(parse("[]"), Some(vec![]));
        for text in ["", "a", "[a]", "['a' 'b']", "['a", "[", "['\\", "['\\x4']", "[['a']]", "['\\ud800']", "[é]"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
