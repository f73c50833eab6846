//! Exact match of generated answers (lm-evaluation-harness's rule E8).

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::pattern;
use crate::util::python;

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
