//! Sums: word problems of one or two steps with worked answers that end in `#### n`, and bare ones.
//!
//! The `sums` task seals some facts. A sealed fact is in no document, neither bare nor in a worked answer, and an
//! addition not with its numbers changed round either; the subtractions that undo it are told. So its answer must come
//! from the others. Word problems are sealed by their question; the facts that they need are all told.

mod fact;
mod problem;

use std::collections::BTreeSet;

use serde_json::json;

use super::draw::{by_turns, distinct_items, row};
use super::press::Press;
use crate::lab::item::{Item, LabTask, Split};
use crate::lab::random::Stream;
use fact::{Fact, Sign};
use problem::draw_problem;

/// Bare sums have numbers and results from 1 to here.
const MOST_BARE: usize = 39;
/// Word problems have numbers and results from 1 to here.
const MOST_TOLD: usize = 19;

const SUM_ITEMS: usize = 200;
const PROBLEM_ITEMS: usize = 200;
const ONE_STEP_DOCUMENTS: usize = 1_500;
const TWO_STEP_DOCUMENTS: usize = 1_100;
const SUM_DOCUMENTS: usize = 800;
const SUMS_A_DOCUMENT: usize = 9;

const PROBLEMS_TOML: &str = r#"schema = "veval.task/1"
name = "arithmetic"
version = "2"
kind = "generation"
about = "Word problems of one or two steps, worked out; the answer follows ####."
prompt = "Question: {{ question }}\nAnswer:"
target = "worked[1:] ~ '\n#### ' ~ answer"
match = { delete = ['(?s).*#### '] }
stop = ["\n\n", "Question:"]
max_tokens = 48
filters = [{ name = "after_hashes", steps = [{ op = "regex", pattern = '#### (-?[0-9]+)' }, { op = "take_first" }] }]
slices = { steps = "steps" }
"#;

const SUMS_TOML: &str = r#"schema = "veval.task/1"
name = "sums"
version = "1"
kind = "cloze"
about = "Bare sums with results below 40."
prompt = "Sums: {{ left }} {{ sign }} {{ right }} ="
target = "{{ result }};"
metrics = ["acc", "bits_per_byte"]
slices = { sign = "sign", carry = "carry" }
"#;

pub(super) fn tasks(seed: u64) -> Vec<LabTask> {
    let sums = sum_items(seed);
    let told = told_facts(&sums, MOST_TOLD);
    let mut stream = Stream::new(seed, &["arithmetic", "items"]);
    let problems = distinct_items("arithmetic", PROBLEM_ITEMS, &mut stream, |stream, turn| {
        let problem = draw_problem(stream, &told, by_turns([1, 2], turn));
        let row = row([
            ("question", json!(problem.question)),
            ("answer", json!(problem.result().to_string())),
            ("worked", json!(problem.worked())),
            ("steps", json!(problem.steps.len())),
        ]);
        (problem.question, row)
    });
    let task = |name: &str, toml: &str, items| LabTask {
        name: name.into(),
        toml: toml.into(),
        items,
        chance: 0.0,
        taught_by: vec!["arithmetic"],
        made_of: Vec::new(),
    };
    vec![task("arithmetic", PROBLEMS_TOML, problems), task("sums", SUMS_TOML, sums)]
}

fn sum_items(seed: u64) -> Vec<Item> {
    let facts = Fact::up_to(MOST_BARE);
    let mut stream = Stream::new(seed, &["arithmetic", "sums"]);
    distinct_items("sums", SUM_ITEMS, &mut stream, |stream, _| {
        let fact = *stream.pick(&facts);
        let row = row([
            ("left", json!(fact.left)),
            ("sign", json!(fact.sign())),
            ("right", json!(fact.right)),
            ("result", json!(fact.result())),
            ("carry", json!(if fact.carries() { "yes" } else { "no" })),
        ]);
        (fact.tell(), row)
    })
}

/// The facts that documents may state.
fn told_facts(sums: &[Item], most: usize) -> Vec<Fact> {
    let sealed: BTreeSet<&str> =
        sums.iter().filter(|item| item.split == Split::Sealed).map(|item| item.own_text.as_str()).collect();
    let kept_back = |fact: &Fact| {
        let changed_round = Fact { left: fact.right, right: fact.left, ..*fact };
        sealed.contains(fact.tell().as_str())
            || (fact.sign == Sign::Plus && sealed.contains(changed_round.tell().as_str()))
    };
    Fact::up_to(most).into_iter().filter(|fact| !kept_back(fact)).collect()
}

pub(super) fn documents(press: &mut Press<'_>) {
    let sums = sum_items(press.seed);
    let told = told_facts(&sums, MOST_TOLD);
    for (steps, count) in [(1, ONE_STEP_DOCUMENTS), (2, TWO_STEP_DOCUMENTS)] {
        press.print(count, |stream| {
            let problem = draw_problem(stream, &told, steps);
            format!("Question: {}\nAnswer:{}\n#### {}", problem.question, problem.worked(), problem.result())
        });
    }
    let bare = told_facts(&sums, MOST_BARE);
    press.print(SUM_DOCUMENTS, |stream| {
        let facts: Vec<String> = stream.sample(&bare, SUMS_A_DOCUMENT).into_iter().map(Fact::tell).collect();
        format!("Sums:{};", facts.join(";"))
    });
}
