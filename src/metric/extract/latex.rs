//! LaTeX in running text: between dollars or brackets, and in boxes.

use fancy_regex::Captures;

use super::algebra::Answer;
use super::parse;
use super::search::{Finding, Pattern, Reading};

/// So many expressions may be joined to the first by "and", "or" or a comma.
const MOST_JOINED: usize = 5;

/// Names of the groups that hold the content of an environment.
const CONTENTS: [&str; 6] = ["dollars", "bracket", "dollar", "parenthesis", "square", "fraction"];

/// One environment, its groups named with a prefix; with `boxed` only those that contain a box.
fn environment(prefix: &str, boxed: bool) -> String {
    // What is between the marks: display in dollars and brackets over several lines, inline in one.
    let inner =
        [r"(?:[^$]|\$(?!\$))", r"(?:[^\\]|\\(?!\]))", r"(?:\\[$]|[^\n$])", r"(?:[^\\\n]|\\(?!\)))", r"[^\n\]\[]"];
    let marks = [
        (r"(?<!\\)\$\$", r"(?<!\\)\$\$"),
        (r"(?<!\\)\\\[", r"(?<!\\)\\\]"),
        (r"(?<![\\0-9])\$", r"(?<!\\)\$"),
        (r"(?<!\\)\\\(", r"(?<!\\)\\\)"),
        (r"\s\[", r"\]\s"),
    ];
    let mut kinds: Vec<String> = Vec::new();
    for ((content, (open, close)), name) in inner.iter().zip(marks).zip(CONTENTS) {
        let content =
            if boxed { format!(r"{content}*?\\boxed\{{{content}+?\}}{content}*?") } else { format!("{content}+?") };
        kinds.push(format!("{open}(?P<{prefix}{name}>{content}){close}"));
    }
    if !boxed {
        let number = r"-?[0-9]+(?:[.,][0-9]+)?";
        kinds.push(format!(r"(?P<{prefix}fraction>-?\\frac\{{{number}\}}\{{{number}\}})"));
    }
    format!(r"(?:(?:{})\s*(?P<{prefix}percent>\\?%|[Pp]ercent|[Pp]ercentage|[Pp]ct)?)", kinds.join("|"))
}

fn environments(boxed: bool) -> String {
    let next = |i: usize| format!(r"(?:\s*(?:and|or|,)\s*{})?", environment(&format!("n{i}_"), boxed));
    let joined: Vec<String> = (1..=MOST_JOINED).map(next).collect();
    format!("(?:{}{})", environment("n0_", boxed), joined.concat())
}

pub(super) fn patterns(boxed_first: bool) -> Vec<Pattern> {
    let latex = environments(false);
    let box_priority = if boxed_first { 0 } else { 55 };
    vec![
        Pattern::new(0, &format!(r"(?s)(?i:final answer is):?\s*{latex}\.?\s?I hope")),
        Pattern::new(50, &format!(r"(?s)(?i:final answer.{{0,100}}?)\s+is:?\s*{latex}")),
        Pattern::new(100, &format!(r"(?s)(?i:answer)\s?:.{{0,50}}?{latex}")),
        Pattern::new(200, &format!(r"(?s)(?i:answer).{{0,50}}?{latex}")),
        Pattern::new(300, &format!("(?s){latex}")),
        Pattern::new(box_priority, &format!("(?s){}", environments(true))),
        // A box by itself: where it ends is seen when it is read.
        Pattern::new(box_priority, r"(?s)(?P<box>\\boxed\{.+\})"),
    ]
}

pub(super) fn read(captures: &Captures<'_>) -> Reading {
    let name = |i: usize, name: &str| captures.name(&format!("n{i}_{name}"));
    let mut contents: Vec<(&str, bool)> =
        captures.name("box").map(|found| (found.as_str(), false)).into_iter().collect();
    for i in 0..=MOST_JOINED {
        let content = CONTENTS.iter().find_map(|kind| name(i, kind));
        contents.extend(content.map(|found| (found.as_str(), name(i, "percent").is_some())));
    }
    let texts: Vec<String> = contents.iter().map(|(content, _)| tidy(unboxed(content))).collect();
    let value = |(text, (_, percent)): (&String, &(&str, bool))| {
        let answer = parse::latex(text)?;
        Some(if *percent { answer.percent() } else { answer })
    };
    let mut values: Vec<Option<Answer>> = texts.iter().zip(&contents).map(value).collect();
    if values.iter().any(Option::is_none) {
        // What cannot be read together is the first by itself.
        values.truncate(1);
    }
    let text: String = texts[..values.len()].join(" and ").chars().filter(|c| !c.is_whitespace()).collect();
    let values: Vec<Answer> = values.into_iter().flatten().collect();
    // What cannot be read still was the answer: nothing else in the text is.
    let found = if values.is_empty() { Finding::Text(text.clone()) } else { Finding::Values(values) };
    (Some(found), text)
}

/// What is in the last box, or the text itself where there is none or it does not end.
fn unboxed(text: &str) -> &str {
    let Some(start) = text.rfind(r"\boxed{").map(|at| at + r"\boxed{".len()) else { return text };
    let mut depth = 1;
    for (index, c) in text[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[start..start + index];
        }
    }
    text
}

/// Without white space and without marks that only change the looks.
fn tidy(text: &str) -> String {
    let mut text = text.to_owned();
    for (mark, plain) in [
        (r"\left", ""),
        (r"\right", ""),
        (r"\,", ""),
        (r"\;", ""),
        (r"\:", ""),
        (r"\!", ""),
        (r"\ ", ""),
        (r"\quad", ""),
        (r"\displaystyle", ""),
        (r"\dfrac", r"\frac"),
        (r"\tfrac", r"\frac"),
        (r"\cfrac", r"\frac"),
        (r"\$", ""),
        ("{,}", ""),
        (r"^{\circ}", ""),
        (r"^\circ", ""),
        ("~", ""),
    ] {
        text = text.replace(mark, plain);
    }
    text.trim().trim_end_matches(['.', ',']).to_owned()
}
