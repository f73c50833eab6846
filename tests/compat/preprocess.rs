//! What lm-evaluation-harness's own functions make of hand-made rows in the columns of the public data sets: clean-up,
//! prompts, choices, gold, shots, filters, metrics. The local files have these rules applied already, so only this
//! tests them.

use serde_json::{Map, Value};
use veval::metric::{ChoiceOutcome, ChoiceScore, Filter, MatchRules, Metric, Outcome, OutcomeKind, exact_match};
use veval::suite::{Question, Task, TaskData, build_items};

use crate::support::{fixtures, sha, task};

fn fixture() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("lm_eval/preprocess.json")).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().map_or_else(
        || vec![value.as_str().unwrap().to_owned()],
        |list| list.iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
    )
}

/// Rows of the fixture by task, in order.
fn by_task(fixture: &Value) -> Vec<(String, Vec<&Value>)> {
    let mut tasks: Vec<(String, Vec<&Value>)> = Vec::new();
    for row in fixture["rows"].as_array().unwrap() {
        let name = row["task"].as_str().unwrap();
        match tasks.iter_mut().find(|(known, _)| known == name) {
            Some((_, rows)) => rows.push(row),
            None => tasks.push((name.to_owned(), vec![row])),
        }
    }
    tasks
}

/// Rows as the public data set has them, and as the pool that shots come from.
fn data(task: &Task, rows: &[&Value]) -> TaskData {
    let columns: Vec<Map<String, Value>> = rows
        .iter()
        .map(|row| {
            let mut columns = row["row"].as_object().unwrap().clone();
            if task.name.starts_with("truthfulqa") {
                columns.insert("primer".to_owned(), Value::from(""));
            }
            columns
        })
        .collect();
    TaskData { pool: Some(columns.clone()), rows: columns }
}

#[test]
fn rows_become_the_peers_prompts() {
    let fixture = fixture();
    let mut compared = 0;
    for (name, rows) in by_task(&fixture) {
        for shots in [0, 2] {
            if shots > 0 && rows.iter().all(|row| row.get("fewshot").is_none_or(Value::is_null)) {
                continue;
            }
            let task = task(&name, shots, rows.len());
            // An empty page cannot be scored; the peer would divide by its zero bytes.
            let rows: Vec<&Value> =
                rows.iter().copied().filter(|row| name != "wikitext" || row["row"]["page"] != "").collect();
            let items = build_items(&task, &task.data.public, &data(&task, &rows)).unwrap_or_else(|e| panic!("{e}"));
            for (item, row) in items.iter().zip(&rows) {
                let place = format!("{name}, {shots} shots, row {}", item.row);
                let context = if shots > 0 { &row["fewshot"]["context"] } else { &row["context"] };
                match &item.question {
                    Question::Choices { prompts, choices, gold } => {
                        assert_eq!(
                            prompts.iter().map(veval::suite::Prompt::text).collect::<Vec<_>>(),
                            texts(context),
                            "{place}"
                        );
                        let continuations: Vec<String> =
                            choices.iter().map(|choice| format!("{}{choice}", task.delimiter)).collect();
                        assert_eq!(continuations, texts(&row["continuations"]), "{place}");
                        let right = if name == "truthfulqa_mc2" { gold[..1].to_vec() } else { gold.clone() };
                        assert_eq!(right, [row["gold"].as_u64().unwrap() as usize], "{place}");
                    }
                    Question::Cloze { prompt, target } => {
                        assert_eq!(prompt.text(), context.as_str().unwrap(), "{place}");
                        assert_eq!(
                            vec![format!("{}{target}", task.delimiter)],
                            texts(&row["continuations"]),
                            "{place}"
                        );
                    }
                    Question::Text { text, words, bytes, .. } => {
                        assert_eq!(vec![text.clone()], texts(&row["continuations"]), "{place}");
                        assert_eq!(
                            (*words as u64, *bytes as u64),
                            (row["words"].as_u64().unwrap(), row["bytes"].as_u64().unwrap()),
                            "{place}"
                        );
                    }
                    Question::Generate { prompt, golds } => {
                        assert_eq!(prompt.text(), context.as_str().unwrap(), "{place}");
                        assert_eq!(golds, &texts(&row["gold"]), "{place}");
                    }
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 90, "{compared} comparisons");
}

#[test]
fn gsm8k_filters_and_match_rules() {
    let fixture = fixture();
    let gsm8k = task("gsm8k", 0, 1);
    let (filters, rules): (&[Filter], &MatchRules) = (&gsm8k.filters, &gsm8k.rules);
    let cases = fixture["filters"].as_array().unwrap();
    assert!(cases.len() >= 15);
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        for (filter, key) in filters.iter().zip(["strict", "flexible"]) {
            let found = filter.apply(text("response"));
            assert_eq!(found, text(key), "{:?}", text("response"));
            let score = exact_match(rules, &found, &[text("gold").to_owned()]);
            assert_eq!(
                Some(score),
                case["exact_match"][&filter.name].as_f64(),
                "{:?} by {}",
                text("response"),
                filter.name
            );
        }
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| match value.as_str() {
        Some("-Infinity") => f64::NEG_INFINITY,
        Some("NaN") => f64::NAN,
        other => panic!("{other:?}"),
    })
}

fn score(outcome: &Outcome, metric: &str) -> f64 {
    let metric = Metric::find(OutcomeKind::Choices, metric).unwrap();
    metric.item(outcome, &Filter::none(), &MatchRules::default()).unwrap().own(metric)
}

#[test]
fn multiple_choice_metrics() {
    let fixture = fixture();
    for case in fixture["multiple_choice"].as_array().unwrap() {
        let names = texts(&case["choices"]);
        let choices = names.iter().enumerate().map(|(index, name)| ChoiceScore {
            log_probs: vec![number(&case["lls"][index]) as f32],
            greedy: case["greedy"][index].as_bool().unwrap(),
            chars: name.chars().count(),
            bytes: name.len(),
            unconditional: None,
        });
        let outcome = Outcome::Choices(ChoiceOutcome {
            choices: choices.collect(),
            gold: vec![case["gold"].as_u64().unwrap() as usize],
        });
        for (metric, value) in case["metrics"].as_object().unwrap() {
            let ours = score(&outcome, metric);
            assert!((ours - value.as_f64().unwrap()).abs() < 1e-6, "{case}: {metric} is {ours}");
        }
    }
}

/// The peer's sum of plain exponentials underflows to NaN below -745; ours keeps the ratio, and agrees elsewhere.
#[test]
fn truthfulqa_mass_on_true_answers() {
    for case in fixture()["mc2"].as_array().unwrap() {
        let lls: Vec<f64> = case["lls"].as_array().unwrap().iter().map(number).collect();
        let gold = (0..lls.len()).filter(|&i| case["labels"][i] == 1).collect();
        let choice = |&ll: &f64| ChoiceScore {
            log_probs: vec![ll as f32],
            greedy: false,
            chars: 1,
            bytes: 1,
            unconditional: None,
        };
        let ours = score(&Outcome::Choices(ChoiceOutcome { choices: lls.iter().map(choice).collect(), gold }), "mc2");
        let theirs = number(&case["value"]);
        // Near the underflow the peer's exponentials are subnormal and have a few bits only.
        let tolerance = if lls[0] < -700.0 { 1.0 } else { 1e-6 };
        assert!(ours.is_finite() && (theirs.is_nan() || (ours - theirs).abs() <= tolerance), "{case}: {ours}");
    }
}

#[test]
fn the_sampler_draws_the_same_rows() {
    use veval::suite::{ShotOrder, ShotRule, choose_shots};
    for case in fixture()["sampler"].as_array().unwrap() {
        let count = |key: &str| case[key].as_u64().unwrap() as usize;
        let (pool, copies, n) = (count("pool"), count("copies"), count("n"));
        let wanted: Vec<Vec<usize>> = serde_json::from_value(case["shots"].clone()).unwrap();
        let exclude = case["item_is_in_pool"].as_bool().unwrap();
        // `copies` equal rows stand next to one another.
        let same = |item: usize, row: usize| item / copies == row / copies;
        let ours = choose_shots(
            ShotRule::PythonPerItem,
            ShotOrder::Random,
            false,
            ("t", 1234),
            (wanted.len(), pool, n),
            exclude,
            &same,
        )
        .unwrap();
        assert_eq!(ours, wanted, "{case}");
    }
}

#[test]
fn the_primer_is_named_by_its_hash_only() {
    let fixture = fixture();
    let row = fixture["rows"].as_array().unwrap().iter().find(|row| row["task"] == "truthfulqa_mc1").unwrap();
    assert_eq!(row["primer_sha"].as_str().map(str::len), Some(64));
    assert_ne!(row["primer_sha"].as_str().unwrap()[..16], sha(""));
}
