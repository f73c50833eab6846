//! Python's string rules, where a score depends on them (lm-evaluation-harness is written in Python).

use fancy_regex::{Captures, Regex};

/// `str.isspace` for one character. Python counts the information separators U+001C..U+001F; Rust does not.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.rstrip()`
pub fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `str.capitalize()`: the first character in title case, **all others in lower case**.
///
pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    // Lower-casing the whole text keeps Rust's rule for a final sigma, which looks at what stands before it.
    let lower = text.to_lowercase();
    let skip = first.to_lowercase().map(char::len_utf8).sum::<usize>();
    let mut upper = match first {
        // The four digraphs that have a title case of their own.
        'Ǆ'..='ǆ' => return format!("ǅ{}", lower.get(skip..).unwrap_or("")),
        'Ǉ'..='ǉ' => return format!("ǈ{}", lower.get(skip..).unwrap_or("")),
        'Ǌ'..='ǌ' => return format!("ǋ{}", lower.get(skip..).unwrap_or("")),
        'Ǳ'..='ǳ' => return format!("ǲ{}", lower.get(skip..).unwrap_or("")),
        other => other.to_uppercase(),
    };
    let title = match (upper.next(), upper.next()) {
        (Some(head), None) => head.to_string(),
        // Characters that expand (`ß` to `SS`) are capitalised as `Ss`.
        (Some(head), Some(second)) => {
            std::iter::once(head).chain(second.to_lowercase()).chain(upper.flat_map(char::to_lowercase)).collect()
        }
        (None, _) => String::new(),
    };
    title + lower.get(skip..).unwrap_or("")
}

/// Number of pieces that `re.split(r"\s+", text)` yields: runs of white space plus one.
pub fn split_pieces(text: &str) -> usize {
    let mut runs = 0;
    let mut inside = false;
    for c in text.chars() {
        let space = is_space(c);
        runs += usize::from(space && !inside);
        inside = space;
    }
    runs + 1
}

/// `re.sub(pattern, replacement, text)` with Python's `\1` and `\g<name>` references in the replacement.
pub fn regex_sub(regex: &Regex, replacement: &str, text: &str) -> Result<String, fancy_regex::Error> {
    let parts = parse_replacement(replacement);
    regex
        .try_replacen(text, 0, |captures: &Captures<'_>| {
            let mut out = String::new();
            for part in &parts {
                match part {
                    Part::Text(text) => out.push_str(text),
                    Part::Group(index) => out.push_str(captures.get(*index).map_or("", |m| m.as_str())),
                    Part::Name(name) => out.push_str(captures.name(name).map_or("", |m| m.as_str())),
                }
            }
            out
        })
        .map(std::borrow::Cow::into_owned)
}

enum Part {
    Text(String),
    Group(usize),
    Name(String),
}

fn parse_replacement(replacement: &str) -> Vec<Part> {
    let mut parts = vec![Part::Text(String::new())];
    let push = |parts: &mut Vec<Part>, c: char| match parts.last_mut() {
        Some(Part::Text(text)) => text.push(c),
        _ => parts.push(Part::Text(c.to_string())),
    };
    let mut rest = replacement;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            push(&mut parts, c);
            continue;
        }
        let digits = rest.find(|d: char| !d.is_ascii_digit()).unwrap_or(rest.len()).min(2);
        if digits > 0 {
            parts.push(Part::Group(rest[..digits].parse().unwrap_or(0)));
            rest = &rest[digits..];
        } else if let Some((name, tail)) = rest.strip_prefix("g<").and_then(|tail| tail.split_once('>')) {
            parts.push(name.parse().map_or_else(|_| Part::Name(name.to_owned()), Part::Group));
            rest = tail;
        } else {
            let escaped = rest.chars().next().unwrap_or('\\');
            rest = rest.strip_prefix(escaped).unwrap_or(rest);
            push(
                &mut parts,
                match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                },
            );
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strip_is_python_s() {
        assert_eq!(strip("\u{a0}\u{2003} a\u{200b} \u{1f}"), "a\u{200b}");
        assert_eq!(rstrip(" a\n"), " a");
    }

    #[test]
    fn capitalize_lowers_the_rest() {
        assert_eq!(capitalize("hELLO World"), "Hello world");
        assert_eq!(capitalize("ßtraSSE"), "Sstrasse");
        assert_eq!(capitalize("ΟΔΟΣ"), "Οδος");
        assert_eq!(capitalize("ǆUP"), "ǅup");
        assert_eq!(capitalize(""), "");
        assert_eq!(capitalize("[Title] X"), "[title] x");
    }

    #[test]
    fn pieces_count_empty_edges() {
        assert_eq!(split_pieces(""), 1);
        assert_eq!(split_pieces("a b\n\nc"), 3);
        assert_eq!(split_pieces(" a "), 3);
    }

    #[test]
    fn sub_knows_groups() {
        let regex = Regex::new(r"(\d+) (?P<unit>kg)").unwrap();
        assert_eq!(regex_sub(&regex, r"\g<unit>=\1\\", "a 12 kg b 3 kg").unwrap(), r"a kg=12\ b kg=3\");
    }
}
