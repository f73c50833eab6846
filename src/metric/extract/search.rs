//! Looking for answers: patterns in order of priority; within one priority the match that ends last.

use fancy_regex::{Captures, Regex};

use super::algebra::Answer;
use super::{latex, letter, plain};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The letter of one of so many choices, from `A`; `anywhere` also without the word "answer" before it.
    Letter { choices: usize, anywhere: bool },
    /// LaTeX between `$`, `\(`, `\[` or in `\boxed`. With `boxed_first` a box comes before everything else, otherwise
    /// after "final answer is".
    Latex { boxed_first: bool },
    /// Numbers and arithmetic without letters.
    Plain,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// What could be read: several where they are joined by "and", "or" or a comma.
    Values(Vec<Answer>),
    /// The text as it is: a letter, and what could not be read.
    Text(String),
}

/// One expression and how early it is tried; 0 is first.
pub(super) struct Pattern {
    pub priority: u16,
    pub regex: Regex,
}

impl Pattern {
    pub fn new(priority: u16, pattern: &str) -> Self {
        Self { priority, regex: Regex::new(pattern).expect("a valid expression") }
    }
}

/// What is made of a match: the value, if it can be read, and the text that stands for it.
pub(super) type Reading = (Option<Finding>, String);

/// How the matches of a target are read.
type Read = fn(&Captures<'_>) -> Reading;

/// The patterns of some targets, ready for use.
pub struct Extractor {
    /// By priority; of equal ones letters, then LaTeX, then plain numbers.
    patterns: Vec<(Pattern, Read)>,
}

impl Extractor {
    /// Compiles the patterns, which takes some milliseconds: one extractor serves many texts.
    pub fn new(targets: &[Target]) -> Self {
        let mut patterns: Vec<(u8, Pattern, Read)> = Vec::new();
        for target in targets {
            let (kind, own, read): (_, _, Read) = match *target {
                Target::Letter { choices, anywhere } => (0, letter::patterns(choices, anywhere), letter::read),
                Target::Latex { boxed_first } => (1, latex::patterns(boxed_first), latex::read),
                Target::Plain => (2, plain::patterns(), plain::read),
            };
            patterns.extend(own.into_iter().map(|pattern| (kind, pattern, read)));
        }
        patterns.sort_by_key(|(kind, pattern, _)| (pattern.priority, *kind));
        Self { patterns: patterns.into_iter().map(|(_, pattern, read)| (pattern, read)).collect() }
    }

    /// What the text says: at most one value, from the first priority that has one, and the first text that was tried.
    /// An expression that runs away on a text finds nothing in it.
    pub fn find(&self, text: &str) -> Vec<Finding> {
        let mut first_text = None;
        let mut found = Vec::new();
        for group in self.patterns.chunk_by(|(a, _), (b, _)| a.priority == b.priority) {
            let mut matches: Vec<(usize, usize, Reading)> = Vec::new();
            for (pattern, read) in group {
                for captures in pattern.regex.captures_iter(text).map_while(Result::ok) {
                    if let Some(whole) = captures.get(0) {
                        matches.push((whole.end(), whole.start(), read(&captures)));
                    }
                }
            }
            matches.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            for (_, _, (value, text)) in matches {
                if first_text.is_none() && !text.is_empty() {
                    first_text = Some(text);
                }
                if let Some(value) = value {
                    found.push(value);
                    break;
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        found.extend(first_text.map(Finding::Text));
        found
    }
}

impl Finding {
    /// Whether two findings mean the same. A value and a text never do.
    pub fn same(&self, other: &Self, precision: u32) -> bool {
        match (self, other) {
            (Self::Values(gold), Self::Values(answer)) => {
                let mut left: Vec<&Answer> = answer.iter().collect();
                gold.len() == answer.len()
                    && gold.iter().all(|gold| {
                        let place = left.iter().position(|answer| gold.same(answer, precision));
                        place.map(|place| left.swap_remove(place)).is_some()
                    })
            }
            (Self::Text(gold), Self::Text(answer)) => !gold.trim().is_empty() && gold.trim() == answer.trim(),
            _ => false,
        }
    }
}
