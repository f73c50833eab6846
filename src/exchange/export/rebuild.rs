//! What a record leaves out of its items, made again from the suite and its data, and checked against the record.

use std::path::Path;

use serde_json::{Map, Value};

use super::arguments::{Arguments, Asked};
use crate::data;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::run::context;
use crate::store::{Manifest, Sample, TaskRecord};
use crate::suite::{Item, Prompt, Question, Suite, Task, build_items};
use crate::text::Tokenizer;
use crate::util::{hash, parallel};

/// After this many items of a task that are not the record's the rest is not named.
const MAX_PROBLEMS: usize = 5;

/// Where the texts of a run come from.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    pub suite: &'a Suite,
    /// Folder with local copies of public data sets.
    pub data_dir: Option<&'a Path>,
}

/// The items of one task with their documents.
pub(super) struct Rebuilt {
    pub task: Task,
    /// Rows of the data, before any limit.
    pub rows: usize,
    items: Vec<Item>,
    /// The row of each item.
    documents: Vec<Map<String, Value>>,
}

impl Rebuilt {
    /// The row that an item was made from.
    pub fn document(&self, item: usize) -> &Map<String, Value> {
        &self.documents[item]
    }

    /// What an item asks, and what is right.
    pub fn asked(&self, item: usize, tokenizer: Option<&Tokenizer>) -> Result<Asked> {
        let task = &self.task;
        let text = |prompt: &Prompt| render(prompt, task, tokenizer);
        Ok(match &self.items[item].question {
            Question::Choices { prompts, choices, .. } => {
                let contexts = prompts.iter().map(text).collect::<Result<Vec<_>>>()?;
                let delimiter = |index: usize| prompts[index.min(prompts.len() - 1)].continuation_delimiter(task.chat);
                let continuation = |index: usize| [delimiter(index), &choices[index]].concat();
                let pair =
                    |index: usize| Arguments::scored(&contexts[index.min(contexts.len() - 1)], &continuation(index));
                Asked {
                    requests: (0..choices.len()).map(pair).collect(),
                    unconditional: (0..choices.len())
                        .map(|index| Arguments::scored(&task.unconditional, &continuation(index)))
                        .collect(),
                    // With a context for each choice, the right one is no part of the target.
                    target: (prompts.len() > 1).then(|| choices[0].clone()),
                }
            }
            Question::Cloze { prompt, target } => {
                let continuation = [prompt.continuation_delimiter(task.chat), target].concat();
                Asked::one(Arguments::scored(&text(prompt)?, &continuation), Some(continuation))
            }
            // There, nothing stands before a text: what does here is shown with it.
            Question::Text { prefix, text, .. } => {
                Asked::one(Arguments::text(&[prefix.as_str(), text].concat()), Some(text.clone()))
            }
            Question::Generate { prompt, .. } => {
                Asked::one(Arguments::written(&text(prompt)?, task.kind.writing()), None)
            }
        })
    }

    /// The text of which the record has the hash.
    fn first_context(&self, item: usize, tokenizer: Option<&Tokenizer>) -> Result<String> {
        match &self.items[item].question {
            Question::Choices { prompts, .. } => render(&prompts[0], &self.task, tokenizer),
            Question::Cloze { prompt, .. } | Question::Generate { prompt, .. } => render(prompt, &self.task, tokenizer),
            Question::Text { prefix, text, .. } => Ok(if prefix.is_empty() { text } else { prefix }.clone()),
        }
    }
}

fn render(prompt: &Prompt, task: &Task, tokenizer: Option<&Tokenizer>) -> Result<String> {
    match tokenizer {
        Some(tokenizer) => context(tokenizer, task.chat, prompt),
        None => Ok(prompt.text()),
    }
}

/// The tokenizer whose chat template made the prompts, where any task has one.
pub(super) fn chat_tokenizer(manifest: &Manifest, texts: &Texts<'_>) -> Result<Option<Tokenizer>> {
    let names = |task: &&Task| manifest.tasks.iter().any(|record| record.name == task.name);
    let Some(task) = texts.suite.tasks.iter().filter(names).find(|task| task.chat) else { return Ok(None) };
    let opened = Tokenizer::open(Path::new(&manifest.path));
    opened.map(Some).map_err(|e| {
        e.at(format!("task {}", task.name))
            .help("the checkpoint's chat template made these prompts; bring it back, or leave out --suite")
    })
}

/// The items of every task of a run, whose samples are given task by task.
///
/// # Errors
/// Another suite than the run's; data of other fingerprints; items and prompts that are not the record's. The problems
/// of all tasks are reported together.
pub(super) fn rebuild(
    manifest: &Manifest,
    samples: &[Vec<&Sample>],
    texts: &Texts<'_>,
    tokenizer: Option<&Tokenizer>,
    threads: usize,
) -> Result<Vec<Rebuilt>> {
    if texts.suite.fingerprint != manifest.suite_fingerprint {
        let (expected, found) = (&manifest.suite_fingerprint, &texts.suite.fingerprint);
        return Err(Error::bad(format!("expected the suite that was run, {expected}, found {found}"))
            .at(format!("suite {}", texts.suite.name))
            .help("name the suite file as it was, run it again, or leave out --suite"));
    }
    let tasks: Vec<_> = manifest.tasks.iter().zip(samples).collect();
    let results = parallel::map(&tasks, threads, |(record, samples)| one(record, samples, texts, tokenizer));
    let mut rebuilt = Vec::with_capacity(results.len());
    let mut problems = Vec::new();
    for (result, record) in results.into_iter().zip(&manifest.tasks) {
        match result {
            Ok(task) => rebuilt.push(task),
            Err(error) => problems.extend(error.at(format!("task {}", record.name)).into_diagnostics()),
        }
    }
    Error::check(problems)?;
    Ok(rebuilt)
}

fn one(record: &TaskRecord, samples: &[&Sample], texts: &Texts<'_>, tokenizer: Option<&Tokenizer>) -> Result<Rebuilt> {
    let same = |task: &&Task| task.name == record.name && task.kind.outcome() == record.kind;
    let task = texts.suite.tasks.iter().find(same);
    let task = task.ok_or_else(|| Error::bad("expected the task in the suite, found none of that name and kind"))?;
    let task = Task { limit: record.limit, ..task.clone() };
    let loaded = data::load(&task, texts.data_dir)?;
    check_files(record, &loaded.files)?;
    let items = build_items(&task, &loaded.source, &loaded.data)?;
    let rows = loaded.data.rows.len();
    let documents = items.iter().map(|item| loaded.data.rows[item.row].clone()).collect();
    let rebuilt = Rebuilt { task, rows, items, documents };
    check_items(&rebuilt, samples, tokenizer)?;
    Ok(rebuilt)
}

fn check_files(record: &TaskRecord, found: &[(std::path::PathBuf, String)]) -> Result<()> {
    let problem = |path: &Path, expected: &str, found: &str| {
        Diagnostic::new(format!("expected the data that were run, {expected}, found {found}"))
            .in_file(path)
            .help("restore the file, run the suite again, or leave out --suite")
    };
    let nothing = || "nothing".to_owned();
    let longest = record.data.len().max(found.len());
    let problems = (0..longest).filter_map(|index| {
        let expected = record.data.get(index).map_or_else(nothing, |file| file.fingerprint.clone());
        let (path, fingerprint) =
            found.get(index).map_or_else(|| (Path::new(""), nothing()), |(path, print)| (path, print.clone()));
        (expected != fingerprint).then(|| problem(path, &expected, &fingerprint))
    });
    Error::check(problems.collect())
}

/// Rules that the suite does not hold, such as a chat template or the program's own, may have changed as well.
fn check_items(rebuilt: &Rebuilt, samples: &[&Sample], tokenizer: Option<&Tokenizer>) -> Result<()> {
    if rebuilt.items.len() != samples.len() {
        return Err(Error::bad(format!("expected {} items, found {}", samples.len(), rebuilt.items.len())));
    }
    let mut problems = Vec::new();
    for (index, (item, sample)) in rebuilt.items.iter().zip(samples).enumerate() {
        let prompt = hash::sha256_hex(rebuilt.first_context(index, tokenizer)?.as_bytes());
        let found = match () {
            () if item.id != sample.item => format!("the item {}, found {}", sample.item, item.id),
            () if prompt != sample.prompt_hash => {
                format!("the prompt of SHA-256 {}, found one of {prompt}", sample.prompt_hash)
            }
            () => continue,
        };
        if problems.len() == MAX_PROBLEMS {
            problems.push(Diagnostic::new("more items may differ; the rest was not looked at"));
            break;
        }
        let problem = Diagnostic::new(format!("expected {found}")).at(format!("{}, row {}", sample.task, sample.row));
        problems.push(problem.help("run the suite again with this version, or leave out --suite"));
    }
    Error::check(problems)
}
