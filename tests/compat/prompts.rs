//! The very same prompts, continuations and shots as the peer builds from the same local files.

use serde_json::Value;
use veval::data;
use veval::suite::{Question, build_items};

use crate::shared::shared_data;
use crate::support::{data_of, member, recorded, recordings, sha, task};

fn hashes(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
        Value::String(text) => vec![text.clone()],
        other => panic!("{other}"),
    }
}

#[test]
fn prompts_continuations_and_shots_equal_lm_eval() {
    let Some(shared) = shared_data() else { return };
    let mut items_compared = 0;
    let mut tasks_compared = 0;
    for (name, shots, path) in recordings("stories260k") {
        let rows = recorded(&path);
        let task = task(&name, shots, rows.len());
        let loaded = data::load(&task, Some(&data_of(&name, &shared))).unwrap_or_else(|e| panic!("{e}"));
        let items = build_items(&task, &loaded.source, &loaded.data).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(items.len(), rows.len(), "{name}");
        for (item, row) in items.iter().zip(&rows) {
            let place = format!("{name}, {shots} shots, item {}", item.row);
            if shots > 0 {
                let wanted: Vec<usize> =
                    row["shots"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
                assert_eq!(item.shots, wanted, "{place}: shots");
            }
            let delimited = |text: &str| sha(&format!("{}{text}", task.delimiter));
            match &item.question {
                Question::Choices { prompts, choices, gold } => {
                    let ours: Vec<String> = prompts.iter().map(|prompt| sha(&prompt.text())).collect();
                    assert_eq!(ours, hashes(&row["prompt_sha"]), "{place}: prompt {}", prompts[0].text());
                    let ours: Vec<String> = choices.iter().map(|choice| delimited(choice)).collect();
                    assert_eq!(ours, hashes(&row["cont_sha"]), "{place}: {choices:?}");
                    if let Some(wanted) = row["gold"].as_u64().filter(|_| name != "truthfulqa_mc2") {
                        assert_eq!(gold, &[wanted as usize], "{place}");
                    }
                }
                Question::Cloze { prompt, target } => {
                    assert_eq!(vec![sha(&prompt.text())], hashes(&row["prompt_sha"]), "{place}");
                    assert_eq!(vec![delimited(target)], hashes(&row["cont_sha"]), "{place}");
                }
                Question::Text { text, words, bytes, .. } => {
                    assert_eq!(vec![sha(text)], hashes(&row["prompt_sha"]), "{place}");
                    assert_eq!(
                        (Some(*words as u64), Some(*bytes as u64)),
                        (row["words"].as_u64(), row["bytes"].as_u64()),
                        "{place}"
                    );
                }
                Question::Generate { prompt, .. } => {
                    assert_eq!(vec![sha(&prompt.text())], hashes(&row["prompt_sha"]), "{place}: {}", prompt.text());
                }
            }
            items_compared += 1;
        }
        tasks_compared += 1;
    }
    // A recording that went missing must not pass for one that agrees.
    for shipped in veval::suite::shipped::TASKS {
        let name = |recorded: &str| {
            recorded == shipped.name || member(recorded).is_some_and(|(group, _)| group == shipped.name)
        };
        for checkpoint in ["stories260k", "random_gpt2", "random_neox"] {
            let found = recordings(checkpoint).iter().any(|(recorded, _, _)| name(recorded));
            assert!(found, "{checkpoint} has no recording of {}", shipped.name);
        }
    }
    assert!(tasks_compared >= 57 && items_compared >= 5200, "{tasks_compared} recordings, {items_compared} items");
    println!("{items_compared} items of {tasks_compared} recordings have the peer's prompts");
}
