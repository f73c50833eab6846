//! Named filters: what is taken from a generated text before it is compared (lm-evaluation-harness's rule E9).

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::pattern;
use crate::util::python;

/// A named pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Filter {
    pub name: String,
    pub steps: Vec<Step>,
}

/// One operation on a text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Step {
    /// Python's `re.findall`, one match of it, or the fallback when there is none.
    Regex {
        #[serde(rename = "pattern", with = "pattern::one")]
        regex: Regex,
        pick: Pick,
        fallback: String,
    },
    Lowercase,
    Uppercase,
    Strip,
    /// The first of several answers; with one answer nothing to do.
    TakeFirst,
}

/// Which match counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    First,
    Last,
}

impl Filter {
    /// The answer as it is.
    pub fn none() -> Self {
        Self { name: "none".to_owned(), steps: Vec::new() }
    }

    pub fn apply(&self, text: &str) -> String {
        self.steps.iter().fold(text.to_owned(), |text, step| step.apply(&text))
    }
}

impl Step {
    fn apply(&self, text: &str) -> String {
        match self {
            Self::Regex { regex, pick, fallback } => find(regex, *pick, text).unwrap_or_else(|| fallback.clone()),
            Self::Lowercase => text.to_lowercase(),
            Self::Uppercase => text.to_uppercase(),
            Self::Strip => python::strip(text).to_owned(),
            Self::TakeFirst => text.to_owned(),
        }
    }
}

/// A match as `findall` gives it: the whole match without groups, the group with one, and with several the first that
/// is not empty. Stripped. A regular expression that runs away on a text finds nothing.
fn find(regex: &Regex, pick: Pick, text: &str) -> Option<String> {
    let matches: Result<Vec<_>, _> = regex.captures_iter(text).collect();
    let matches = matches.ok()?;
    let captures = match pick {
        Pick::First => matches.first()?,
        Pick::Last => matches.last()?,
    };
    let group = |index: usize| captures.get(index).map_or("", |m| m.as_str());
    let found = match captures.len() {
        1 => group(0),
        2 => group(1),
        groups => (1..groups).map(group).find(|text| !text.is_empty())?,
    };
    Some(python::strip(found).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gsm8k_filters() {
        let filter = |pattern: &str, pick| Filter {
            name: "f".into(),
            steps: vec![
                Step::Regex { regex: Regex::new(pattern).unwrap(), pick, fallback: "[invalid]".into() },
                Step::TakeFirst,
            ],
        };
        let strict = filter(r"#### (\-?[0-9\.\,]+)", Pick::First);
        let flexible = filter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", Pick::Last);
        assert_eq!(strict.apply("so #### 1,234. and #### 7"), "1,234.");
        assert_eq!(strict.apply("no answer"), "[invalid]");
        assert_eq!(flexible.apply("it is $29.00 or 5"), "5");
        assert_eq!(flexible.apply("costs $29.00"), "$29.00");
    }
}
