//! One line of `samples_<task>_<time>.jsonl`: an item under one filter.

use std::collections::BTreeMap;

use serde_json::Value;

use super::asked::{Asked, Request};
use crate::exchange::import::python_json::{number, parse};
use crate::exchange::import::python_list;
use crate::metric::{AnswerOutcome, ChoiceOutcome, ChoiceScore, ClozeOutcome, Outcome, RollingOutcome};
use crate::util::{hash, python};

/// What an item was asked, answered and given.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub doc_id: usize,
    pub doc_hash: String,
    pub prompt_hash: String,
    /// None before 0.4.3, where an item's lines stand in the order of the task's filters.
    pub filter: Option<String>,
    pub outcome: Outcome,
    /// Whether the right choice and the lengths of all texts could be told.
    pub complete: bool,
    /// The answer that the filter left, of items that were answered in writing.
    pub filtered: Option<String>,
    pub logged: BTreeMap<String, Logged>,
}

/// A metric's value of one item, as the harness logged it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Logged {
    Number(f64),
    /// Log-likelihood, and the words or bytes that it is spread over.
    Pair(f64, f64),
}

impl Line {
    /// Reads a line. `delimiter` stands between contexts and continuations; where it is unknown, a leading space is
    /// taken for it.
    pub fn read(line: &str, delimiter: Option<&str>) -> Result<Self, String> {
        let found = parse(line).map_err(|e| format!("expected a JSON object: {e}"))?;
        let Asked { requests, texts_known } = Asked::read(&found["arguments"])?;
        let doc_id = found["doc_id"].as_u64().ok_or("expected a `doc_id`, a whole number from 0")?;
        let answers = found["resps"].as_array().filter(|list| list.len() == requests.len());
        let answers = answers.ok_or_else(|| format!("expected `resps` for {} requests", requests.len()))?;
        let first: Vec<&Value> = answers.iter().map(|repeats| repeats.get(0).unwrap_or(&Value::Null)).collect();
        let logged = logged(&found);
        let target = &found["target"];
        let (outcome, gold_known) = match requests[..] {
            [] => return Err("expected at least one request in `arguments`".to_owned()),
            [Request::Continuation { continuation, .. }] => (cloze(first[0], without(continuation, delimiter))?, true),
            [Request::Continuation { .. }, ..] => choices(&requests, &first, delimiter, target, &logged)?,
            [Request::Text(text), ..] => (rolling(&first, text, &logged)?, true),
            [Request::Answer { .. }, ..] => (answer(first[0], target)?, true),
        };
        let context = match &requests[0] {
            Request::Continuation { context, .. } | Request::Answer { context } | Request::Text(context) => context,
        };
        let known = |key: &str| found[key].as_str().map(str::to_owned);
        Ok(Self {
            doc_id: usize::try_from(doc_id).map_err(|e| e.to_string())?,
            doc_hash: known("doc_hash").unwrap_or_else(|| hash::sha256_hex(found["doc"].to_string().as_bytes())),
            prompt_hash: known("prompt_hash").unwrap_or_else(|| hash::sha256_hex(context.as_bytes())),
            filter: known("filter"),
            outcome,
            complete: gold_known && texts_known,
            filtered: found["filtered_resps"].get(0).and_then(Value::as_str).map(str::to_owned),
            logged,
        })
    }
}

/// A number in a response: every leaf is a text since 0.4.3.
fn leaf(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(list) => leaf(list.first()?),
        other => number(other),
    }
}

/// Log-likelihood, and whether every token was the model's first choice.
fn scored(value: &Value) -> Result<(f64, bool), String> {
    let greedy = match value.get(1) {
        Some(Value::Bool(greedy)) => Some(*greedy),
        Some(Value::String(text)) => Some(text == "True"),
        Some(Value::Null) => Some(false),
        _ => None,
    };
    let pair = leaf(value).zip(greedy);
    pair.ok_or_else(|| format!("expected a log-likelihood and a truth value in `resps`, found {}", short(value)))
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let cut = text.char_indices().nth(60).map_or(text.len(), |(index, _)| index);
    text[..cut].to_owned()
}

/// A sum as log-probabilities that add up to it to the bit. How many tokens there were is not known.
fn parts(sum: f64) -> Vec<f32> {
    let mut parts = vec![sum as f32];
    let mut rest = sum - f64::from(parts[0]);
    // Three times 24 bits hold the 53 of a double.
    while rest != 0.0 && rest.is_finite() && parts.len() < 3 {
        parts.push(rest as f32);
        rest -= f64::from(rest as f32);
    }
    parts
}

fn without<'a>(continuation: &'a str, delimiter: Option<&str>) -> &'a str {
    continuation.strip_prefix(delimiter.unwrap_or(" ")).unwrap_or(continuation)
}

fn cloze(answer: &Value, target: &str) -> Result<Outcome, String> {
    let (sum, greedy) = scored(answer)?;
    Ok(Outcome::Cloze(ClozeOutcome { log_probs: parts(sum), greedy, bytes: target.len() }))
}

fn choices(
    requests: &[Request<'_>],
    answers: &[&Value],
    delimiter: Option<&str>,
    target: &Value,
    logged: &BTreeMap<String, Logged>,
) -> Result<(Outcome, bool), String> {
    let pair = |request: &Request<'_>| match request {
        Request::Continuation { context, continuation } => Ok(((*context).to_owned(), (*continuation).to_owned())),
        _ => Err("expected requests of one kind in `arguments`, found several".to_owned()),
    };
    let pairs: Vec<(String, String)> = requests.iter().map(pair).collect::<Result<_, _>>()?;
    let scores: Vec<(f64, bool)> = answers.iter().map(|answer| scored(answer)).collect::<Result<_, _>>()?;
    // For `acc_mutual_info` every continuation is scored again without a context.
    let half = pairs.len() / 2;
    let (conditional, again) = pairs.split_at(half);
    let doubled = pairs.len().is_multiple_of(2)
        && logged.contains_key("acc_mutual_info")
        && conditional.iter().zip(again).all(|(a, b)| a.1 == b.1 && b.0.is_empty());
    let count = if doubled { half } else { pairs.len() };
    let texts: Vec<&str> = pairs[..count].iter().map(|(_, continuation)| without(continuation, delimiter)).collect();
    let choice = |index: usize| ChoiceScore {
        log_probs: parts(scores[index].0),
        greedy: scores[index].1,
        chars: texts[index].chars().count(),
        bytes: texts[index].len(),
        unconditional: doubled.then(|| scores[half + index].0),
    };
    let gold = gold(target, &texts).or_else(|| gold_by_result(&scores[..count], logged.get("acc")));
    let known = gold.is_some();
    let outcome = ChoiceOutcome { choices: (0..count).map(choice).collect(), gold: gold.unwrap_or_default() };
    Ok((Outcome::Choices(outcome), known))
}

/// Right choices from the target: an index, a list of indices, or the text of one choice alone.
fn gold(target: &Value, texts: &[&str]) -> Option<Vec<usize>> {
    let plain = plain(target);
    let index = |text: &str| text.parse::<usize>().ok().filter(|index| *index < texts.len());
    if let Some(index) = index(&plain) {
        return Some(vec![index]);
    }
    if let Some(list) = list(target) {
        return list.iter().map(|text| index(text)).collect::<Option<Vec<_>>>().filter(|list| !list.is_empty());
    }
    let mut equal = (0..texts.len()).filter(|&index| texts[index] == plain);
    equal.next().filter(|_| equal.next().is_none()).map(|index| vec![index])
}

/// Tasks of several contexts and one continuation log the continuation as target. Of two choices the right one is
/// still told by whether the likelier was.
fn gold_by_result(scores: &[(f64, bool)], right: Option<&Logged>) -> Option<Vec<usize>> {
    let [(first, _), (second, _)] = scores else { return None };
    let likelier = usize::from(second > first);
    match right? {
        Logged::Number(1.0) => Some(vec![likelier]),
        Logged::Number(0.0) => Some(vec![1 - likelier]),
        _ => None,
    }
}

fn rolling(answers: &[&Value], text: &str, logged: &BTreeMap<String, Logged>) -> Result<Outcome, String> {
    let [answer] = answers else { return Err("expected one text in `arguments`, found several".to_owned()) };
    let sum = leaf(answer).ok_or_else(|| format!("expected a log-likelihood in `resps`, found {}", short(answer)))?;
    // A page that was prepared for the model is counted as it was before; only the log has that.
    let weight = |names: &[&str]| {
        names.iter().find_map(|name| match logged.get(*name) {
            Some(Logged::Pair(_, weight)) if *weight >= 0.0 && *weight <= 9e15 => Some(*weight as usize),
            _ => None,
        })
    };
    Ok(Outcome::Rolling(RollingOutcome {
        log_probs: parts(sum),
        words: weight(&["word_perplexity"]).unwrap_or_else(|| python::split_pieces(text)),
        bytes: weight(&["byte_perplexity", "bits_per_byte"]).unwrap_or(text.len()),
    }))
}

fn answer(answer: &Value, target: &Value) -> Result<Outcome, String> {
    let text = answer.as_str().ok_or_else(|| format!("expected a text in `resps`, found {}", short(answer)))?;
    let golds = list(target).filter(|list| !list.is_empty()).unwrap_or_else(|| vec![plain(target)]);
    Ok(Outcome::Answer(AnswerOutcome { text: text.to_owned(), tokens: 0, golds }))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A list, also one that Python printed.
fn list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => Some(list.iter().map(plain).collect()),
        other => python_list::parse(other.as_str()?),
    }
}

/// What stands in a line beside its metrics.
const NO_METRICS: [&str; 11] = [
    "doc_id",
    "doc",
    "target",
    "arguments",
    "resps",
    "filtered_resps",
    "filter",
    "metrics",
    "doc_hash",
    "prompt_hash",
    "target_hash",
];

/// Values under the names that `metrics` lists; before 0.4.3 under all names that are nothing else.
fn logged(found: &Value) -> BTreeMap<String, Logged> {
    let listed = found["metrics"].as_array();
    let keys = found.as_object().filter(|_| listed.is_none()).into_iter().flat_map(serde_json::Map::keys);
    let names = listed.into_iter().flatten().filter_map(Value::as_str).chain(keys.map(String::as_str));
    let value = |name: &str| match &found[name] {
        Value::Bool(yes) => Some(Logged::Number(f64::from(u8::from(*yes)))),
        Value::Array(pair) => match &pair[..] {
            [a, b] => Some(Logged::Pair(number(a)?, number(b)?)),
            _ => None,
        },
        other => number(other).map(Logged::Number),
    };
    let metrics = names.filter(|name| !NO_METRICS.contains(name));
    metrics.filter_map(|name| Some((name.to_owned(), value(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(value: &Value, delimiter: Option<&str>) -> Result<Line, String> {
        Line::read(&value.to_string(), delimiter)
    }

    #[test]
    fn sums_are_kept_to_the_bit() {
        for sum in [-12.25, -0.1, -1e-300, -1e30 / 7.0, -123_456.789_012_345_67, f64::MIN_POSITIVE, 0.0] {
            let total: f64 = parts(sum).iter().map(|&part| f64::from(part)).sum();
            let least = f64::from(f32::from_bits(1));
            assert!((total - sum).abs() < least, "{sum}");
        }
        assert_eq!(parts(-12.25), [-12.25]);
        assert_eq!(parts(f64::NEG_INFINITY), [f32::NEG_INFINITY]);
        assert!(parts(f64::NAN)[0].is_nan());
    }

    #[test]
    fn early_and_late_shapes_say_the_same() {
        let late = json!({
            "doc_id": 3, "doc": {}, "target": "1", "filter": "none", "metrics": ["acc"], "acc": 1.0,
            "arguments": {"gen_args_0": {"arg_0": "q", "arg_1": " é"}, "gen_args_1": {"arg_0": "q", "arg_1": " bb"}},
            "resps": [[["-2.5", "False"]], [["-0.1", "True"]]], "prompt_hash": "p", "doc_hash": "d",
        });
        let early = json!({
            "doc_id": 3, "doc": {}, "target": 1, "acc": true,
            "arguments": [["q", " é"], ["q", " bb"]], "resps": [[[-2.5, false]], [[-0.1, true]]],
        });
        let (late, early) = (line(&late, None).unwrap(), line(&early, Some(" ")).unwrap());
        assert_eq!((&late.outcome, &late.logged), (&early.outcome, &early.logged));
        assert_eq!((late.filter.as_deref(), early.filter.as_deref()), (Some("none"), None));
        assert_eq!(early.prompt_hash, hash::sha256_hex(b"q"));
        let Outcome::Choices(item) = &late.outcome else { panic!("{late:?}") };
        assert_eq!((item.gold.as_slice(), item.choices[0].chars, item.choices[0].bytes), (&[1][..], 1, 2));
        assert!(item.choices[1].greedy && item.choices[1].log_likelihood() == -0.1);
    }

    #[test]
    fn turns_of_a_chat_are_one_context() {
        let found = json!({
            "doc_id": 0, "target": "4", "resps": [["four"]], "filtered_resps": ["4"], "exact_match": 1.0,
            "arguments": {"gen_args_0": {"arg_0": ["[{\"role\": \"user\"}]"], "arg_1": {"until": []}}},
        });
        let line = line(&found, None).unwrap();
        assert_eq!((line.filtered.as_deref(), line.logged["exact_match"]), (Some("4"), Logged::Number(1.0)));
        assert!(matches!(&line.outcome, Outcome::Answer(answer) if answer.text == "four" && answer.golds == ["4"]));
    }

    #[test]
    fn exports_without_texts_have_no_lengths() {
        let found = json!({
            "doc_id": 0, "doc": {"item": "t/0/x"}, "target": "1", "metrics": ["acc"], "acc": 1.0,
            "arguments": {"gen_args_0": {"arg_0": null, "arg_1": null}, "gen_args_1": {"arg_0": null, "arg_1": null}},
            "resps": [[["-2.5", "False"]], [["-0.5", "None"]]], "prompt_hash": "p", "doc_hash": "d",
        });
        let line = line(&found, None).unwrap();
        assert!(!line.complete && matches!(&line.outcome, Outcome::Choices(item) if item.gold == [1]));
    }

    #[test]
    fn the_right_choice_is_found_however_it_is_named() {
        let texts = ["yes", "no", "no"];
        assert_eq!(gold(&json!("2"), &texts), Some(vec![2]));
        assert_eq!(gold(&json!(0), &texts), Some(vec![0]));
        assert_eq!(gold(&json!("yes"), &texts), Some(vec![0]));
        assert_eq!(gold(&json!("[0, 2]"), &texts), Some(vec![0, 2]));
        assert_eq!(gold(&json!([1]), &texts), Some(vec![1]));
        for unknown in [json!("no"), json!("3"), json!("maybe"), json!("[0, 9]"), json!("[]"), json!(null)] {
            assert_eq!(gold(&unknown, &texts), None, "{unknown}");
        }
        let scores = [(-3.0, false), (-2.0, false)];
        assert_eq!(gold_by_result(&scores, Some(&Logged::Number(1.0))), Some(vec![1]));
        assert_eq!(gold_by_result(&scores, Some(&Logged::Number(0.0))), Some(vec![0]));
        assert_eq!(gold_by_result(&scores, None), None);
    }

    #[test]
    fn broken_lines_say_what_was_expected() {
        let choice = |resps: Value| json!({"doc_id": 0, "arguments": [["a", "b"], ["a", "c"]], "resps": resps});
        for (found, wanted) in [
            (json!([]), "expected `arguments`"),
            (json!({"doc_id": 0, "arguments": []}), "expected `resps` for 0"),
            (json!({"doc_id": 0, "arguments": [], "resps": []}), "at least one request"),
            (json!({"doc_id": -1, "arguments": [["a"]], "resps": [["-1"]]}), "expected a `doc_id`"),
            (json!({"doc_id": 0, "arguments": {"x": 1}}), "expected `gen_args_0`"),
            (json!({"doc_id": 0, "arguments": [[1, 2]]}), "expected a text first in request 0"),
            (choice(json!([[["-1", "True"]]])), "expected `resps` for 2"),
            (choice(json!([[["-1", "True"]], [["x", "True"]]])), "expected a log-likelihood"),
            (choice(json!([[["-1", "True"]], [["-1"]]])), "expected a log-likelihood"),
            (choice(json!([[], []])), "expected a log-likelihood"),
            (json!({"doc_id": 0, "arguments": [["a", {}]], "resps": [[3]]}), "expected a text in `resps`"),
        ] {
            let error = line(&found, None).unwrap_err();
            assert!(error.contains(wanted), "{found}: {error}");
        }
        assert!(Line::read("{", None).unwrap_err().contains("JSON"));
    }
}
