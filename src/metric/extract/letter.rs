//! The letter of a choice: `B`, `(B)`, `**B**`, best after the word "answer".

use fancy_regex::Captures;

use super::search::{Finding, Pattern, Reading};

/// Python's `$`: the end, or before a last line feed.
pub(super) const END: &str = r"(?=\n?\z)";

pub(super) fn patterns(choices: usize, anywhere: bool) -> Vec<Pattern> {
    let letters: Vec<String> = ('A'..='Z').take(choices).map(|letter| format!(r"{letter}|\({letter}\)")).collect();
    // Without choices nothing can match.
    let letter =
        if letters.is_empty() { "(?P<letter>(?!))".to_owned() } else { format!("(?P<letter>{})", letters.join("|")) };
    let after = format!(r"(?:\*\*)?(?:[.]|,|\s?:| |{END})");
    let bounded = format!(r"(?:^| )(?:\*\*)?{letter}{after}");
    let mut patterns = vec![
        Pattern::new(0, &format!(r"(?i:final answer is):?\s*{letter}\.?\s?I hope")),
        Pattern::new(50, &format!(r"(?i:final answer.{{0,100}}?)\s+is:?\s*{letter}")),
        Pattern::new(100, &format!(r"(?i:answer)\s?:.{{0,50}}?{bounded}")),
        Pattern::new(150, &format!(r"(?i:answer).{{0,50}}?{bounded}")),
        Pattern::new(200, &format!(r"^(?:\*\*)?{letter}{after}")),
        Pattern::new(210, &format!(r"\n(?:\*\*)?{letter}{after}")),
    ];
    if anywhere {
        patterns.push(Pattern::new(250, &bounded));
        patterns.push(Pattern::new(300, &letter));
    }
    patterns
}

pub(super) fn read(captures: &Captures<'_>) -> Reading {
    let letter = captures.name("letter").map_or("", |found| found.as_str()).trim_matches(['(', ')']).to_owned();
    (Some(Finding::Text(letter.clone())), letter)
}
