//! Generated answers against right ones: exact match under rules (lm-evaluation-harness's rule E8), and the text metrics
//! with the best of several right answers.

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::pattern;
use super::text::equality::{Part, matches, stripped};
use super::text::rouge::{Kind as Rouge, Stemming};
use super::text::{bag, bleu, chrf, normalise};
use crate::util::python;

/// An answer, filtered, and what it is compared with.
pub(super) struct Given<'a> {
    pub text: &'a str,
    pub golds: &'a [String],
    pub rules: &'a MatchRules,
}

/// What is ignored when an answer is compared.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MatchRules {
    /// Matches are deleted from both sides first, in order.
    #[serde(with = "pattern::many")]
    pub delete: Vec<Regex>,
    pub ignore_case: bool,
    pub ignore_punctuation: bool,
    pub ignore_numbers: bool,
}

/// 1 if the answer equals one of the golds under the rules.
pub fn exact_match(rules: &MatchRules, answer: &str, golds: &[String]) -> f64 {
    let answer = rules.normalise(answer);
    f64::from(u8::from(golds.iter().any(|gold| rules.normalise(gold) == answer)))
}

impl Given<'_> {
    fn best(&self, score: impl Fn(&str) -> f64) -> f64 {
        self.golds.iter().map(|gold| score(gold)).fold(0.0, f64::max)
    }

    pub fn exact_match(&self) -> f64 {
        exact_match(self.rules, self.text, self.golds)
    }

    /// Match of the stripped texts.
    pub fn plain_match(&self, part: Part) -> f64 {
        self.best(|gold| f64::from(u8::from(matches(part, self.text, gold, stripped))))
    }

    /// Match under SQuAD's normaliser, which is HELM's too.
    pub fn quasi_match(&self, part: Part) -> f64 {
        self.best(|gold| f64::from(u8::from(matches(part, self.text, gold, normalise::squad))))
    }

    pub fn token_f1(&self) -> f64 {
        self.best(|gold| bag::token_f1(self.text, gold))
    }

    pub fn rouge(&self, kind: Rouge) -> f64 {
        self.best(|gold| kind.score(self.text, gold, Stemming::None).f)
    }

    pub fn bleu(&self) -> bleu::Counts {
        bleu::Counts::of(self.text, self.golds)
    }

    pub fn chrf(&self, kind: chrf::Kind) -> chrf::Counts {
        chrf::Counts::of(kind, self.text, self.golds)
    }
}

impl MatchRules {
    fn normalise(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for regex in &self.delete {
            // An expression that runs away deletes nothing.
            text = python::regex_sub(regex, "", &text).unwrap_or(text);
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        if self.ignore_punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        if self.ignore_numbers {
            text.retain(|c| !c.is_ascii_digit());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gsm8k_rules() {
        let delete = [",", r"\$", r"(?s).*#### ", r"\.$"].map(|pattern| Regex::new(pattern).unwrap()).to_vec();
        let rules = MatchRules { delete, ignore_case: true, ..MatchRules::default() };
        let gold = vec!["A sum.\nMore.\n#### 1,234".to_owned()];
        assert_eq!(exact_match(&rules, "$1,234.", &gold), 1.0);
        assert_eq!(exact_match(&rules, "1234.00", &gold), 0.0);
        let rules = MatchRules { ignore_punctuation: true, ignore_numbers: true, ..MatchRules::default() };
        assert_eq!(exact_match(&rules, "a-b 12!", &["ab 3".to_owned()]), 1.0);
    }
}
