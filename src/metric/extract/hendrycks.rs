//! The answers of MATH (Hendrycks and others 2021): where they stand, and when two are the same as texts. The rules are
//! those of lm-evaluation-harness's `hendrycks_math`, slips included: what makes the script fail is compared as it is.

/// What is replaced first, in order.
const REPLACED: [(&str, &str); 10] = [
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
];

/// What the last `\boxed{...}` of a solution holds. With `\boxed ` anywhere it is the text behind the last of those, up
/// to a dollar.
pub fn last_boxed(solution: &str) -> Option<&str> {
    if let Some((_, rest)) = solution.rsplit_once("\\boxed ") {
        return rest.split('$').next();
    }
    let rest = solution[solution.rfind("\\boxed")?..].strip_prefix("\\boxed{")?;
    let mut depth = 1;
    for (index, c) in rest.char_indices() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return Some(&rest[..index]);
        }
    }
    None
}

/// What a model answered: the text between its first and its last dollar, or all of it.
pub fn between_dollars(answer: &str) -> &str {
    match (answer.find('$'), answer.rfind('$')) {
        (Some(first), Some(last)) if first < last => &answer[first + 1..last],
        _ => answer,
    }
}

/// Whether both are the same when units, spaces and ways to write fractions do not count.
pub fn equivalent(a: &str, b: &str) -> bool {
    match (normalise(a), normalise(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// `None` where the script raises an error.
fn normalise(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for (from, to) in REPLACED {
        text = text.replace(from, to);
    }
    let mut text = without_unit(&text)?.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    // `x = 5` is 5, but only with so short a left side.
    let side = match text.split('=').collect::<Vec<_>>()[..] {
        [left, right] if left.chars().count() <= 2 => right,
        _ => &text,
    };
    let text = with_braces_after_roots(side)?.replace(' ', "");
    let text = with_braces_in_fractions(&text)?;
    simple_fraction(if text == "0.5" { "\\frac{1}{2}" } else { &text })
}

/// What stands before `\text{ `; twice is an error.
fn without_unit(text: &str) -> Option<&str> {
    match text.split("\\text{ ").collect::<Vec<_>>()[..] {
        [number] | [number, _] => Some(number),
        _ => None,
    }
}

/// `\sqrt3` as `\sqrt{3}`.
fn with_braces_after_roots(text: &str) -> Option<String> {
    let mut parts = text.split("\\sqrt");
    let mut fixed = parts.next()?.to_owned();
    for part in parts {
        match part.chars().next()? {
            '{' => fixed += &format!("\\sqrt{part}"),
            c => fixed += &format!("\\sqrt{{{c}}}{}", &part[c.len_utf8()..]),
        }
    }
    Some(fixed)
}

/// `\frac12` and `\frac1{2}` as `\frac{1}{2}`; unchanged where one of them has a single character behind it.
fn with_braces_in_fractions(text: &str) -> Option<String> {
    let mut parts = text.split("\\frac");
    let mut fixed = parts.next()?.to_owned();
    for part in parts {
        let mut chars = part.chars();
        let top = chars.next()?;
        if top == '{' {
            fixed += &format!("\\frac{part}");
            continue;
        }
        let Some(bottom) = chars.next() else { return Some(text.to_owned()) };
        let rest = chars.as_str();
        fixed += &if bottom == '{' {
            format!("\\frac{{{top}}}{{{rest}")
        } else {
            format!("\\frac{{{top}}}{{{bottom}}}{rest}")
        };
    }
    Some(fixed)
}

/// `3/4` as `\frac{3}{4}`. A single slash between anything but whole numbers is an error.
fn simple_fraction(text: &str) -> Option<String> {
    let [top, bottom] = text.split('/').collect::<Vec<_>>()[..] else { return Some(text.to_owned()) };
    let canonical = whole_number(top)? && whole_number(bottom)?;
    Some(if canonical { format!("\\frac{{{top}}}{{{bottom}}}") } else { text.to_owned() })
}

/// Whether a whole number is written as Python writes it; `None` where it is none (digits are ASCII).
fn whole_number(text: &str) -> Option<bool> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let groups_are_digits =
        digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    let plain = !text.starts_with('+') && !digits.contains('_') && (text == "0" || !digits.starts_with('0'));
    groups_are_digits.then_some(plain)
}
