//! What a task's definition, as a result file repeats it under `configs`, says about scoring.

use std::collections::BTreeMap;

use fancy_regex::Regex;
use serde_json::Value;

use crate::metric::{Filter, MatchRules, OutcomeKind, Pick, Step};

/// The harness's names of the kinds of tasks.
const KINDS: [(&str, OutcomeKind); 4] = [
    ("multiple_choice", OutcomeKind::Choices),
    ("loglikelihood", OutcomeKind::Cloze),
    ("loglikelihood_rolling", OutcomeKind::Rolling),
    ("generate_until", OutcomeKind::Answer),
];

/// Which kind the metrics of an old file belong to, where it has no definitions; the first that is there decides.
const METRIC_KINDS: [(&str, OutcomeKind); 9] = [
    ("word_perplexity", OutcomeKind::Rolling),
    ("byte_perplexity", OutcomeKind::Rolling),
    ("ppl", OutcomeKind::Cloze),
    ("perplexity", OutcomeKind::Cloze),
    ("acc_norm", OutcomeKind::Choices),
    ("mc1", OutcomeKind::Choices),
    ("acc", OutcomeKind::Choices),
    ("exact_match", OutcomeKind::Answer),
    ("em", OutcomeKind::Answer),
];

/// The kind that a definition names, else the one that has such metrics.
pub(super) fn kind(config: &Value, metrics: &[&str]) -> Option<OutcomeKind> {
    let named = config["output_type"].as_str();
    let named = named.and_then(|name| KINDS.iter().find(|(known, _)| *known == name));
    let by_metric = || METRIC_KINDS.iter().find(|(known, _)| metrics.contains(known));
    named.or_else(by_metric).map(|(_, kind)| *kind)
}

/// What stands between a context and a continuation. With a chat template that may be nothing, which the definition
/// does not say.
pub(super) fn delimiter(config: &Value) -> Option<&str> {
    config["target_delimiter"].as_str()
}

/// The filters that can be applied here, by their operations.
pub(super) fn filters(config: &Value) -> Vec<Filter> {
    let filter = |entry: &Value| {
        let steps = entry["filter"].as_array()?.iter().map(step).collect::<Option<Vec<Step>>>()?;
        Some(Filter { name: entry["name"].as_str()?.to_owned(), steps })
    };
    match config["filter_list"].as_array() {
        Some(list) => list.iter().filter_map(filter).collect(),
        None => vec![Filter::none()],
    }
}

/// The names of all filters, in their order.
pub(super) fn filter_names(config: &Value) -> Vec<&str> {
    let list = config["filter_list"].as_array();
    list.map_or_else(|| vec!["none"], |list| list.iter().filter_map(|entry| entry["name"].as_str()).collect())
}

fn step(entry: &Value) -> Option<Step> {
    match entry["function"].as_str()? {
        "take_first" => Some(Step::TakeFirst),
        "lowercase" => Some(Step::Lowercase),
        "uppercase" => Some(Step::Uppercase),
        // Early versions took white space off the left side only; where that matters, the filtered texts differ from
        // the logged ones, and the filter is not used.
        "remove_whitespace" => Some(Step::Strip),
        "regex" => {
            let pick = match entry["group_select"].as_i64().unwrap_or(0) {
                0 => Pick::First,
                -1 => Pick::Last,
                _ => return None,
            };
            Some(Step::Regex {
                regex: Regex::new(entry["regex_pattern"].as_str().unwrap_or(r"#### (\-?[0-9\.\,]+)")).ok()?,
                pick,
                fallback: entry["fallback"].as_str().unwrap_or("[invalid]").to_owned(),
            })
        }
        _ => None,
    }
}

/// Metrics that an export of our own calls otherwise: the file's name and ours, which stands beside it as `veval`.
pub(super) fn renamed(config: &Value) -> BTreeMap<&str, &str> {
    let metrics = config["metric_list"].as_array().into_iter().flatten();
    metrics.filter_map(|entry| Some((entry["metric"].as_str()?, entry["veval"].as_str()?))).collect()
}

/// How answers are compared: the options of the metric `exact_match`. None where an expression does not compile.
pub(super) fn rules(config: &Value) -> Option<MatchRules> {
    let metrics = config["metric_list"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(options) = metrics.iter().find(|entry| entry["metric"] == "exact_match") else {
        return Some(MatchRules::default());
    };
    let patterns = options["regexes_to_ignore"].as_array().map_or(&[][..], Vec::as_slice);
    let on = |key: &str| options[key].as_bool().unwrap_or(false);
    Some(MatchRules {
        delete: patterns.iter().map(|pattern| Regex::new(pattern.as_str()?).ok()).collect::<Option<_>>()?,
        ignore_case: on("ignore_case"),
        ignore_punctuation: on("ignore_punctuation"),
        ignore_numbers: on("ignore_numbers"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_by_name_and_by_metric() {
        let kind = |config: Value, metrics: &[&str]| kind(&config, metrics);
        assert_eq!(kind(json!({"output_type": "loglikelihood_rolling"}), &["acc"]), Some(OutcomeKind::Rolling));
        assert_eq!(kind(json!(null), &["acc", "ppl"]), Some(OutcomeKind::Cloze));
        assert_eq!(kind(json!(null), &["acc"]), Some(OutcomeKind::Choices));
        assert_eq!(kind(json!({"output_type": "new"}), &["f1"]), None);
    }

    #[test]
    fn filters_that_are_known() {
        let config = json!({"filter_list": [
            {"name": "last", "filter": [{"function": "regex", "regex_pattern": "(\\d+)", "group_select": -1}, {"function": "take_first"}]},
            {"name": "vote", "filter": [{"function": "majority_vote"}]},
            {"name": "second", "filter": [{"function": "regex", "group_select": 1}]},
        ]});
        let known = filters(&config);
        assert_eq!(known.iter().map(|filter| filter.name.as_str()).collect::<Vec<_>>(), ["last"]);
        assert_eq!(known[0].apply("a 12 b 3"), "3");
        assert_eq!(filter_names(&config), ["last", "vote", "second"]);
        assert_eq!(filters(&json!({}))[0].name, "none");
    }

    #[test]
    fn rules_of_exact_match() {
        let config =
            json!({"metric_list": [{"metric": "exact_match", "ignore_case": true, "regexes_to_ignore": [",", "\\$"]}]});
        let rules = rules(&config).unwrap();
        assert!(rules.ignore_case && !rules.ignore_numbers && rules.delete.len() == 2);
        let broken = json!({"metric_list": [{"metric": "exact_match", "regexes_to_ignore": ["("]}]});
        assert!(super::rules(&broken).is_none());
    }
}
