//! What is ignored before two texts are compared, as the benchmarks' own scripts have it.

use std::sync::LazyLock;

use fancy_regex::Regex;

use super::{python_float, words};
use crate::util::python::{regex_sub, strip};

/// English articles between what Python calls word boundaries: letters, digits and `_` of any script are words.
static ARTICLES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])").expect("a valid expression"));

static GSM8K_ANSWER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"#### (\-?[0-9\.\,]+)").expect("a valid expression"));

/// SQuAD and HELM: lower case, no ASCII punctuation, no articles, single spaces.
pub fn squad(text: &str) -> String {
    single_spaces(&without_articles(&without_punctuation(&text.to_lowercase())))
}

/// What lighteval calls HELM's normaliser, though HELM's own is [`squad`]: that on every piece between spaces and
/// hyphens, with pieces that read as a number written as Python writes a float, so that `1` and `1.0` become equal.
/// (Punctuation is deleted first, so that `1.5` is 15.)
pub fn lighteval_helm(text: &str) -> String {
    pieces(text, |piece| {
        let piece = without_punctuation(&piece.to_lowercase());
        python_float::parse(&piece).map_or(piece, python_float::show)
    })
}

/// DROP: like [`lighteval_helm`], but pieces that read as a number keep their punctuation.
pub fn drop(text: &str) -> String {
    pieces(text, |piece| {
        let lower = piece.to_lowercase();
        let plain = if python_float::parse(&lower).is_some() { lower } else { without_punctuation(&lower) };
        python_float::parse(&plain).map_or(plain, python_float::show)
    })
}

/// TriviaQA as lm-evaluation-harness has it: lower case, no ASCII punctuation. White space stays.
pub fn triviaqa(text: &str) -> String {
    without_punctuation(&text.to_lowercase())
}

/// BIG-bench: a full stop between spaces ends a line.
pub fn bigbench(text: &str) -> String {
    text.replace(" . ", ".\n")
}

/// Without one opening brace at the start and one closing brace at the end.
pub fn without_braces(text: &str) -> &str {
    let text = text.strip_prefix('{').unwrap_or(text);
    text.strip_suffix('}').unwrap_or(text)
}

/// [`without_braces`] of the stripped text.
pub fn without_braces_stripped(text: &str) -> &str {
    without_braces(strip(text))
}

/// GSM8K: the number after the first `#### `, without commas; `None` without one.
pub fn gsm8k(text: &str) -> Option<String> {
    let captures = GSM8K_ANSWER.captures(text).ok()??;
    Some(captures.get(1)?.as_str().replace(',', ""))
}

/// Every piece between spaces and hyphens is rewritten, freed of articles, and the pieces that are left are joined.
fn pieces(text: &str, rewrite: impl Fn(&str) -> String) -> String {
    let rewritten = text.split([' ', '-']).map(|piece| single_spaces(&without_articles(&rewrite(piece))));
    rewritten.filter(|piece| !piece.is_empty()).collect::<Vec<_>>().join(" ")
}

fn without_punctuation(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

fn without_articles(text: &str) -> String {
    // The expression cannot run away; without it the text is as it was.
    regex_sub(&ARTICLES, " ", text).unwrap_or_else(|_| text.to_owned())
}

fn single_spaces(text: &str) -> String {
    words(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ignores_what_it_says() {
        assert_eq!(squad(" The cat's  pyjamas, an A+!"), "cats pyjamas");
        assert_eq!(squad("aa an-the"), "aa anthe");
        assert_eq!(lighteval_helm("The 1 and 1.0-mile a"), "1.0 and 10.0 mile");
        assert_eq!(drop("The 1 and 1.0-mile a, 1,000 $5"), "1.0 and 1.0 mile 1000.0 5.0");
        assert_eq!(triviaqa("A. B-c  "), "a bc  ");
        assert_eq!(bigbench("One . Two ."), "One.\nTwo .");
        assert_eq!(without_braces("{{a}"), "{a");
        assert_eq!(without_braces_stripped(" {a} "), "a");
        assert_eq!(gsm8k("so #### 1,234.\n#### 5").as_deref(), Some("1234."));
        assert_eq!(gsm8k("####5"), None);
    }

    #[test]
    fn words_are_pythons() {
        // A combining accent is no word character in Python, so the article before it goes; a Cyrillic letter is one.
        assert_eq!(squad("a\u{301} b"), "\u{301} b");
        assert_eq!(squad("aж b"), "aж b");
        assert_eq!(squad("a\u{1f}b\u{a0}c"), "b c");
    }
}
