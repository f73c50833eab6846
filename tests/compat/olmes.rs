//! Profile `olmes`: the rendered requests of allenai/OLMo-in-loop-evals, byte for byte, from the data and shots that are
//! taken out of one request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use veval::run::{PreparedTask, prepare_task};
use veval::suite::{DefinitionFile, Question, read_suite};

use crate::shared::shared_data;

/// Each task as a user writes it: the shipped definition, the profile, and where rows and shots are.
const SUITE: &str = r#"
schema = "veval.suite/1"
name = "olmes"
defaults = { profile = "olmes", shots = 5 }

[[task]]
use = "arc_challenge"
profile = "olmes"
metrics = ["acc", "acc_norm", "acc_mutual_info"]
gold = "gold"
choices = "choices"
data.file = "shared/arc/olmes_ARC-Challenge-test_docs.jsonl"
data.shots_file = "arc_challenge.jsonl"
data.fields = { question = "query[10:-8]", choices = "choices", gold = "gold" }

[[task]]
use = "openbookqa"
profile = "olmes"
metrics = ["acc", "acc_norm", "acc_mutual_info"]
protocols = ["continuation", "letter"]
prompt = "Question: {{ query }}\nAnswer:"
gold = "gold"
choices = "choices"
data.file = "shared/openbookqa/llm_foundry_openbook_qa.jsonl"
data.shots_file = "openbookqa.jsonl"

[[task]]
use = "winogrande"
profile = "olmes"
data.file = "shared/winogrande/validation_xl.jsonl"
data.shots_file = "winogrande.jsonl"

[[task]]
name = "naturalqs_open"
kind = "cloze"
profile = "olmes"
prompt = "Question: {{ question }}\nAnswer:"
target = "{{ answer[0] }}"
limit = 1000
data.file = "shared/nq_open/NQ-open.dev.jsonl"
data.shots_file = "naturalqs_open.jsonl"
"#;

#[test]
fn every_rendered_request_is_reproduced() {
    let Some(shared) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(shared.canonicalize().unwrap(), folder.path().join("shared")).unwrap();
    let requests = |name: &str| read_requests(&shared.join("olmes_requests").join(name));
    let (arc, letter) = (requests("arc_challenge/test_rc_5shot"), requests("openbookqa/test_mc_5shot"));
    let (book, winogrande) = (requests("openbookqa/test_rc_5shot"), requests("winogrande/val_rc_5shot"));
    let questions = requests("naturalqs_open/bpb_5shot");
    let write = |name: &str, rows: Vec<Value>| {
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(folder.path().join(name), lines).unwrap();
    };
    write(
        "arc_challenge.jsonl",
        shots_of(&arc[0], |text| {
            let (question, answer) = question_and_answer(text);
            // The request shows the right answer only.
            json!({ "query": format!("Question: {question}\nAnswer:"), "choices": [answer, "-"], "gold": 0 })
        }),
    );
    write(
        "openbookqa.jsonl",
        shots_of(&letter[0], |text| {
            let (question, answer) = question_and_answer(text);
            let mut lines = question.lines();
            let query = lines.next().unwrap();
            let choices: Vec<&str> = lines.map(|line| line.split_once(". ").unwrap().1).collect();
            json!({ "query": query, "choices": choices, "gold": answer.as_bytes()[0] - b'A' })
        }),
    );
    write(
        "winogrande.jsonl",
        shots_of(&winogrande[0], |text| {
            let (option, rest) = text.split_once(' ').unwrap();
            json!({ "sentence": format!("_ {rest}"), "option1": option, "option2": "-", "answer": "1" })
        }),
    );
    write(
        "naturalqs_open.jsonl",
        shots_of(&questions[0], |text| {
            let (question, answer) = question_and_answer(text);
            json!({ "question": question, "answer": [answer] })
        }),
    );

    let file = DefinitionFile { path: folder.path().join("olmes.toml"), text: SUITE.to_owned() };
    let suite = read_suite(&file, &mut |_| unreachable!("no task file is named")).unwrap();
    let names: Vec<&str> = suite.tasks.iter().map(|task| task.name.as_str()).collect();
    let expected = [&arc, &book, &letter, &winogrande, &questions];
    assert_eq!(
        names,
        ["arc_challenge", "openbookqa:continuation", "openbookqa:letter", "winogrande", "naturalqs_open"]
    );
    let mut compared = 0;
    for (task, requests) in suite.tasks.iter().zip(expected) {
        let prepared = prepare_task(task, None).unwrap();
        compared += compare(&prepared, requests);
    }
    assert_eq!(compared, 9374 + 4000 + 2000 + 2534 + 1000);
}

fn read_requests(folder: &Path) -> Vec<Value> {
    let file = std::fs::File::open(folder.join("requests.jsonl.gz")).unwrap();
    BufReader::new(GzDecoder::new(file)).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// The five worked examples that a request begins with.
fn shots_of(request: &Value, row: impl Fn(&str) -> Value) -> Vec<Value> {
    let context = request["request"]["context"].as_str().unwrap();
    let blocks: Vec<&str> = context.split("\n\n").collect();
    blocks[..5].iter().map(|text| row(text)).collect()
}

fn question_and_answer(text: &str) -> (&str, &str) {
    text.strip_prefix("Question: ").unwrap().split_once("\nAnswer: ").unwrap()
}

/// Number of requests, all of which the task makes: no other, and none twice.
fn compare(prepared: &PreparedTask, requests: &[Value]) -> usize {
    let task = &prepared.task;
    let unconditional = requests.iter().any(|request| request["doc_id"].as_u64().unwrap() >= 1_000_000);
    let mut made: BTreeMap<(u64, u64), (String, String)> = BTreeMap::new();
    for (document, item) in (0u64..).zip(&prepared.items) {
        let request = requests.iter().find(|request| request["doc_id"] == document && request["idx"] == 0).unwrap();
        match &item.question {
            Question::Choices { prompts, choices, gold } => {
                assert_eq!(json!(gold[0]), request["label"], "{}: item {document}", task.name);
                for (index, choice) in (0u64..).zip(choices) {
                    let prompt = &prompts[(index as usize).min(prompts.len() - 1)];
                    let continuation = [prompt.continuation_delimiter(false), choice].concat();
                    if unconditional {
                        let context = task.unconditional.clone();
                        made.insert((1_000_000 + document, index), (context, continuation.clone()));
                    }
                    made.insert((document, index), (prompt.text(), continuation));
                }
            }
            Question::Cloze { prompt, target } => {
                assert_eq!(json!(item.row), request["native_id"], "{}: item {document}", task.name);
                made.insert((document, 0), (prompt.text(), [prompt.continuation_delimiter(false), target].concat()));
            }
            _ => panic!("{}: another kind of question", task.name),
        }
    }
    for request in requests {
        let place = (request["doc_id"].as_u64().unwrap(), request["idx"].as_u64().unwrap());
        let (context, continuation) =
            made.remove(&place).unwrap_or_else(|| panic!("{}: {place:?} is missing", task.name));
        assert_eq!(json!(context), request["request"]["context"], "{}: {place:?}", task.name);
        assert_eq!(json!(continuation), request["request"]["continuation"], "{}: {place:?}", task.name);
    }
    assert!(made.is_empty(), "{}: {} requests more than recorded", task.name, made.len());
    requests.len()
}
