//! Translates task YAMLs and renders rows, for `task_yaml.py`: one JSON object a line in, one out.
//!
//! In: `yaml` and `root` (paths), and where items are wanted `rows`, `pool` (lists of rows) and `shots` (a number).
//! Out: `error` (a list of diagnostics), or `toml`, `notes` (diagnostics), `files` and, where wanted, `items`: for each
//! row `contexts`, `continuations`, `golds` (indices or texts), or `failed` with a message. A diagnostic is a text of
//! place, message and help.

use std::io::{BufRead, Write};

use serde_json::{Map, Value, json};
use veval::diag::Diagnostic;
use veval::exchange::task_yaml::{Translation, translate_within};
use veval::suite::{DefinitionFile, Item, Prompt, Question, TaskData, build_items, read_task};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        writeln!(out, "{}", answer(&asked)?)?;
    }
    Ok(())
}

fn answer(asked: &Value) -> Result<Value, Box<dyn std::error::Error>> {
    let path = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
    Ok(match translate_within(path("yaml").as_ref(), path("root").as_ref()) {
        Err(error) => json!({"error": texts(error.diagnostics())}),
        Ok(translation) => {
            let mut answer = json!({
                "toml": translation.toml, "notes": texts(&translation.notes), "files": translation.files,
            });
            if asked["rows"].is_array() {
                answer["items"] = items(&translation, asked)?;
            }
            answer
        }
    })
}

fn texts(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

fn items(translation: &Translation, asked: &Value) -> Result<Value, Box<dyn std::error::Error>> {
    let file = DefinitionFile { path: "task.toml".into(), text: translation.toml.clone() };
    let mut task = read_task(&file)?.remove(0);
    task.shots = asked["shots"].as_u64().unwrap_or(0) as usize;
    let rows = |key: &str| serde_json::from_value::<Vec<Map<String, Value>>>(asked[key].clone());
    let source = task.data.public.clone();
    let samples = translation
        .files
        .first()
        .map(|(_, lines)| lines.lines().map(serde_json::from_str).collect::<Result<Vec<Map<String, Value>>, _>>());
    let of_others = source.shots_file.is_some() || task.data.hub.as_ref().is_some_and(|hub| hub.shots_split.is_some());
    let pool = match samples {
        Some(samples) => Some(samples?),
        None => of_others.then(|| rows("pool")).transpose()?,
    };
    Ok(match build_items(&task, &source, &TaskData { rows: rows("rows")?, pool }) {
        Err(error) => json!({"failed": error.to_string()}),
        Ok(items) => items.iter().map(item).collect(),
    })
}

fn item(item: &Item) -> Value {
    let scored = |prompt: &Prompt, text: &str| [prompt.continuation_delimiter(false), text].concat();
    match &item.question {
        Question::Choices { prompts, choices, gold } => {
            let contexts: Vec<String> = prompts.iter().map(Prompt::text).collect();
            let continuations: Vec<String> = choices.iter().map(|choice| scored(&prompts[0], choice)).collect();
            json!({"contexts": contexts, "continuations": continuations, "golds": gold})
        }
        Question::Cloze { prompt, target } => {
            json!({"contexts": [prompt.text()], "continuations": [scored(prompt, target)]})
        }
        Question::Text { text, .. } => json!({"continuations": [text]}),
        Question::Generate { prompt, golds } => json!({"contexts": [prompt.text()], "golds": golds}),
    }
}
