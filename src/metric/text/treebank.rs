//! Words and punctuation in the manner of the Penn Treebank, as NLTK's two tokenizers cut them. Both take the text as
//! one sentence: only a full stop at its end stands apart. (NLTK's `word_tokenize` first looks for sentences with a
//! trained model, Punkt, which is not here.)

use std::sync::LazyLock;

use fancy_regex::Regex;

use super::words;
use crate::util::python::regex_sub;

/// What is found, and what it becomes, in order.
type Steps = Vec<(Regex, &'static str)>;

fn steps(patterns: &[(&str, &'static str)]) -> Steps {
    let compile = |pattern: &str| Regex::new(pattern).expect("a valid expression");
    patterns.iter().map(|(pattern, replacement)| (compile(pattern), *replacement)).collect()
}

/// NLTK compiles contractions with Python's `re`, whose words have numbers of every kind, such as `²`, and the others
/// (from 3.10 on) with an engine that has our words.
fn contractions() -> Steps {
    let compile = |pattern: &str| {
        let pattern = pattern.replace(r"\b(", r"(?<![\p{L}\p{N}_])(").replace(r"\b", r"(?![\p{L}\p{N}_])");
        Regex::new(&pattern).expect("a valid expression")
    };
    CONTRACTIONS.iter().map(|pattern| (compile(pattern), r" \1 \2 ")).collect()
}

/// Rules for before and after the text gets a space at both ends.
struct Rules {
    before: Steps,
    after: Steps,
}

const CONTRACTIONS: [&str; 10] = [
    r"(?i)\b(can)(not)\b",
    r"(?i)\b(d)('ye)\b",
    r"(?i)\b(gim)(me)\b",
    r"(?i)\b(gon)(na)\b",
    r"(?i)\b(got)(ta)\b",
    r"(?i)\b(lem)(me)\b",
    r"(?i)\b(more)('n)\b",
    r"(?i)\b(wan)(na)(?=\s)",
    r"(?i) ('t)(is)\b",
    r"(?i) ('t)(was)\b",
];

const CLITICS: [(&str, &str); 2] =
    [(r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "), (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 ")];

const BRACKETS: [(&str, &str); 2] = [(r"[\]\[\(\)\{\}\<\>]", r" \g<0> "), (r"--", r" -- ")];

/// `nltk.tokenize.TreebankWordTokenizer`
static TREEBANK: LazyLock<Rules> = LazyLock::new(|| {
    let mut before = steps(&[
        (r#"^""#, r"``"),
        (r"(``)", r" \1 "),
        (r#"([ \(\[{<])("|'{2})"#, r"\1 `` "),
        (r"([:,])([^\d])", r" \1 \2"),
        (r"([:,])$", r" \1 "),
        (r"\.\.\.", r" ... "),
        (r"[;@#$%&]", r" \g<0> "),
        (r#"([^\.])(\.)([\]\)}>"']*)\s*$"#, r"\1 \2\3 "),
        (r"[?!]", r" \g<0> "),
        (r"([^'])' ", r"\1 ' "),
    ]);
    before.extend(steps(&BRACKETS));
    let mut after = steps(&[(r"''", r" '' "), (r#"""#, r" '' ")]);
    after.extend(steps(&CLITICS));
    after.extend(contractions());
    Rules { before, after }
});

/// `nltk.tokenize.NLTKWordTokenizer`
static NLTK: LazyLock<Rules> = LazyLock::new(|| {
    let mut before = steps(&[
        (r"([«“‘„]|[`]+)", r" \1 "),
        (r#"^""#, r"``"),
        (r"(``)", r" \1 "),
        (r#"([ \(\[{<])("|'{2})"#, r"\1 `` "),
        (r"(?i)(?<!\w)(')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", r"\1 "),
        (r#"([^\.])(\.)([\]\)}>"'»”’ ]*)\s*$"#, r"\1 \2 \3 "),
        (r"([:,])([^\d])", r" \1 \2"),
        (r"([:,])$", r" \1 "),
        (r"\.{2,}", r" \g<0> "),
        (r"[;@#$%&]", r" \g<0> "),
        (r"[\u2012-\u2015]", r" \g<0> "),
        (r#"([^\.])(\.)([\]\)}>"']*)\s*$"#, r"\1 \2\3 "),
        (r"[?!]", r" \g<0> "),
        (r"([^'])' ", r"\1 ' "),
        (r"[*]", r" \g<0> "),
    ]);
    before.extend(steps(&BRACKETS));
    let mut after = steps(&[(r"([»”’])", r" \1 "), (r"''", r" '' "), (r#"""#, r" '' "), (r"\s+", r" ")]);
    after.extend(steps(&CLITICS));
    after.extend(contractions());
    Rules { before, after }
});

/// Tokens of one sentence by `nltk.tokenize.TreebankWordTokenizer`.
pub fn treebank(sentence: &str) -> Vec<String> {
    TREEBANK.tokens(sentence)
}

/// Tokens of one sentence by `nltk.tokenize.NLTKWordTokenizer`, the second half of `word_tokenize`.
pub fn nltk(sentence: &str) -> Vec<String> {
    NLTK.tokens(sentence)
}

impl Rules {
    fn tokens(&self, sentence: &str) -> Vec<String> {
        let text = format!(" {} ", apply(&self.before, sentence.to_owned()));
        words(&apply(&self.after, text)).map(str::to_owned).collect()
    }
}

fn apply(steps: &Steps, text: String) -> String {
    // An expression that gives up on a text changes nothing in it.
    steps.iter().fold(text, |text, (regex, replacement)| regex_sub(regex, replacement, &text).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nltks_own_examples() {
        let text = "Good muffins cost $3.88 (roughly 3,36 euros)\nin New York.  Please buy me\ntwo of them.\nThanks.";
        let expected =
            "Good muffins cost $ 3.88 ( roughly 3,36 euros ) in New York. Please buy me two of them. Thanks .";
        assert_eq!(treebank(text).join(" "), expected);
        assert_eq!(nltk(text).join(" "), expected);
        assert_eq!(treebank("They'll save and invest more.").join("|"), "They|'ll|save|and|invest|more|.");
        assert_eq!(treebank("hi, my name can't hello,").join("|"), "hi|,|my|name|ca|n't|hello|,");
        assert_eq!(nltk("“I cannot,” she said…").join("|"), "“|I|can|not|,|”|she|said…");
        assert_eq!(nltk("cannot² ²cannot").join("|"), "cannot²|²cannot");
    }
}
