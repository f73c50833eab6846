//! The tokenizer `13a` of mteval-v13a.pl, sacrebleu's default for BLEU.

use std::sync::LazyLock;

use fancy_regex::Regex;

use super::words;
use crate::util::python::{regex_sub, rstrip};

/// What is found, and what it becomes, in order.
static STEPS: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    let regex = |pattern| Regex::new(pattern).expect("a valid expression");
    [
        // ASCII punctuation other than apostrophe, comma, hyphen and full stop.
        (regex(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
        // Full stop and comma not after a digit.
        (regex(r"([^0-9])([\.,])"), r"\1 \2 "),
        // Full stop and comma not before a digit.
        (regex(r"([\.,])([^0-9])"), r" \1 \2"),
        // Hyphen after a digit.
        (regex(r"([0-9])(-)"), r"\1 \2 "),
    ]
});

/// Tokens of one segment by sacrebleu's default tokenizer, `13a`.
pub fn tokens(segment: &str) -> Vec<String> {
    let mut line = rstrip(segment).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        line = line.replace(entity, character);
    }
    line = format!(" {line} ");
    for (regex, replacement) in STEPS.iter() {
        // No look-around: these expressions cannot fail.
        line = regex_sub(regex, replacement, &line).unwrap_or(line);
    }
    words(&line).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_stands_apart() {
        assert_eq!(tokens("Hello, world!").join("|"), "Hello|,|world|!");
        assert_eq!(tokens("3.14, 1,000-2 and 10%.").join("|"), "3.14|,|1,000|-|2|and|10|%|.");
        assert_eq!(tokens("don't &quot;stop&quot;").join("|"), "don't|\"|stop|\"");
        assert_eq!(tokens("hy-\nphen a\nb").join("|"), "hyphen|a|b");
        assert!(tokens(" \n").is_empty());
    }
}
