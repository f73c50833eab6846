//! Chat templates against what transformers' `apply_chat_template` rendered (recorded by `tests/oracle/chat.py`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use veval::text::{ChatTemplate, Message, Tokenizer};

use crate::shared::shared_data;
use crate::support::fixtures;

fn record() -> Value {
    let path = fixtures().join("chat.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value}"))
}

/// The cases of one kind (`own` or `shared`), each with the name of its template.
fn cases<'a>(record: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    record["cases"].as_array().unwrap().iter().filter_map(move |case| {
        let (of_kind, name) = text(case, "template").split_once(':').unwrap();
        (of_kind == kind).then_some((name, case))
    })
}

fn standalone(source: &str, case: &Value) -> ChatTemplate {
    let names = ["bos_token", "eos_token"];
    let specials = names.iter().filter_map(|name| Some(((*name).to_owned(), case[*name].as_str()?.to_owned())));
    ChatTemplate::new(source, specials.collect())
}

/// The template of a folder. With a tokenizer beside it, it comes the way it comes from a checkpoint.
fn real(folder: &Path, case: &Value) -> ChatTemplate {
    if folder.join("tokenizer.json").exists() {
        let tokenizer = Tokenizer::open(folder).unwrap_or_else(|e| panic!("{e}"));
        return tokenizer.chat().unwrap_or_else(|| panic!("no template in {}", folder.display())).clone();
    }
    let config = std::fs::read_to_string(folder.join("tokenizer_config.json")).unwrap();
    standalone(text(&serde_json::from_str(&config).unwrap(), "chat_template"), case)
}

/// What is wrong with our rendering of a case, if anything. A recorded refusal must be an error of ours.
fn difference(template: &ChatTemplate, case: &Value) -> Option<String> {
    let messages: Vec<Message> = case["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| Message::new(text(message, "role"), text(message, "content")))
        .collect();
    let open_answer = case["add_generation_prompt"].as_bool().unwrap();
    assert_ne!(case["continue_final"].as_bool(), Some(open_answer), "the API has these two modes");
    let ours = template.render(&messages, open_answer).map_err(|e| e.to_string());
    match (&ours, case["text"].as_str()) {
        (Ok(ours), Some(wanted)) if ours == wanted => None,
        (Err(message), None) if message.contains("chat template") => None,
        (_, wanted) => {
            let mode = if open_answer { "answer opened" } else { "last turn continued" };
            let place = format!("{}, {}, {mode}", text(case, "template"), text(case, "about"));
            Some(format!("{place}\n    ours   {ours:?}\n    wanted {wanted:?}"))
        }
    }
}

fn report(compared: usize, wrong: &[String]) {
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    println!("{compared} conversations rendered as transformers does");
}

#[test]
fn own_templates_render_as_in_transformers() {
    let record = record();
    let mut compared = 0;
    let mut wrong = vec![];
    for (name, case) in cases(&record, "own") {
        wrong.extend(difference(&standalone(text(&record["templates"], name), case), case));
        compared += 1;
    }
    assert!(compared >= 192, "{compared}");
    report(compared, &wrong);
}

#[test]
fn real_templates_render_as_in_transformers() {
    let Some(shared) = shared_data() else { return };
    let record = record();
    let mut templates = BTreeMap::new();
    let mut compared = 0;
    let mut wrong = vec![];
    for (name, case) in cases(&record, "shared") {
        let folder = shared.join("tokenizers").join(name);
        let template = templates.entry(name).or_insert_with(|| real(&folder, case));
        wrong.extend(difference(template, case));
        compared += 1;
    }
    assert!(compared >= 57, "{compared}");
    report(compared, &wrong);
}
