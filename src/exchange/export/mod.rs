//! A run as the files that lm-evaluation-harness 0.4.13 writes, for whoever reads those.
//!
//! ```text
//! <out>/<model's path, with `__` for what no folder may be called>/
//!     samples_<task>_<finished>.jsonl    one line for every filter and item of a task
//!     results_<finished>.json            scores of tasks and groups; written last
//! ```
//! Documents and prompts are no part of a record. Given the suite and its data they are made again, held against the
//! fingerprints and prompt hashes of the record, and written in full; without, a sample names its item as its document
//! and has null for what was asked. Nothing depends on the clock: times are the record's.
//!
//! What differs from files of the harness itself, and cannot but differ:
//! - documents are rows of the data file, where some of its tasks add columns or rename them;
//! - a log-likelihood is an f64 sum of f32 log-probabilities, there an f32 sum;
//! - `target` of a multiple choice is the index of the right answer, or a list of several, where some of its tasks have
//!   the answer's letter or a constant;
//! - `brier_score` of an item is its squared distance, and the score their mean: there an item has an index and a
//!   printed array, which nothing reads back;
//! - a text with a prefix is one argument with it, and hashed so; without the suite the hash is that of the prefix;
//! - metrics that it does not know stand among the others; slices have no place.

mod arguments;
mod configs;
mod names;
mod python;
mod rebuild;
mod results;
mod samples;
mod scores;
mod stamp;
mod target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use rebuild::Texts;

use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::run::score;
use crate::store::{Manifest, RunFolder, Sample, Status};
use crate::util::files;
use names::exported_tasks;
use rebuild::{Rebuilt, chat_tokenizer, rebuild};
use results::{Model, Results};
use samples::TaskSamples;
use stamp::Stamp;

/// The files of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub results: PathBuf,
    /// One for each task of the run.
    pub samples: Vec<PathBuf>,
}

/// Writes a complete run of this program into a folder under `out`, with the texts of its suite where they are given.
///
/// # Errors
/// A run that is not complete, a part of a run, or one that was itself imported; texts that are not those of the run
/// (see [`Texts`]); a result file of that time that is there already. All is checked before anything is written.
pub fn export_lm_eval(run: &RunFolder, out: &Path, texts: Option<&Texts<'_>>, threads: usize) -> Result<Exported> {
    let (manifest, finished) = complete_run(run)?;
    let samples = run.complete_samples(&manifest)?;
    let of_task = |name: &str| samples.iter().filter(|sample| sample.task == name).collect::<Vec<&Sample>>();
    let samples_by_task: Vec<Vec<&Sample>> = manifest.tasks.iter().map(|record| of_task(&record.name)).collect();
    let tasks = exported_tasks(&manifest.tasks)?;
    let tokenizer = texts.map(|texts| chat_tokenizer(&manifest, texts)).transpose()?.flatten();
    let rebuilt =
        texts.map(|texts| rebuild(&manifest, &samples_by_task, texts, tokenizer.as_ref(), threads)).transpose()?;
    let rows = score(&manifest, &samples, threads)?;

    let folder_name = as_folder(&manifest.path);
    let folder = out.join(&folder_name);
    let results = folder.join(format!("results_{}.json", finished.for_file()));
    if results.exists() {
        return Err(Error::bad("expected a name that is free, found a file")
            .in_file(&results)
            .help("the run was exported before; remove that folder, or name another with --out"));
    }
    files::create_folder(&folder)?;
    let (mut paths, mut hashes) = (Vec::new(), Vec::new());
    for (index, task) in tasks.iter().enumerate() {
        let path = folder.join(format!("samples_{}_{}.jsonl", task.name, finished.for_file()));
        let task = TaskSamples {
            task,
            samples: &samples_by_task[index],
            rebuilt: rebuilt.as_deref().map(|all: &[Rebuilt]| &all[index]),
            tokenizer: tokenizer.as_ref(),
        };
        hashes.push(task.write(&path)?);
        paths.push(path);
    }
    let tasks = scores::task_scores(&tasks, &rows);
    let content = Results {
        manifest: &manifest,
        model: Model { name: &manifest.path, folder: &folder_name },
        tasks: &tasks,
        groups: &scores::groups(&tasks, &rows),
        rebuilt: rebuilt.as_deref(),
        tokenizer: tokenizer.as_ref(),
        hashes: &hashes,
    };
    files::write_atomic(&results, content.json()?.as_bytes())?;
    Ok(Exported { results, samples: paths })
}

/// The manifest of a whole run of our own, and when it was finished.
fn complete_run(run: &RunFolder) -> Result<(Manifest, Stamp)> {
    let manifest = run.manifest()?.ok_or_else(|| {
        Error::bad("expected run.json, found none")
            .in_file(run.path())
            .help("name a run folder, `<out>/<suite>/<checkpoint>`")
    })?;
    let wrong = |message: String, help: &str| Diagnostic::new(message).in_file(run.path()).help(help);
    if let Some(file) = manifest.imported.first() {
        let message = format!("expected a run of veval, found one imported from {}", file.path);
        return Err(Error::all(vec![wrong(message, "those files hold its scores already")]));
    }
    if let Some(shard) = manifest.shard {
        let message = format!("expected a whole run, found part {shard}");
        return Err(Error::all(vec![wrong(message, "put the parts together with `veval merge`")]));
    }
    let Some(finished) = manifest.finished.as_ref().filter(|_| manifest.status == Status::Complete) else {
        let problem = wrong("expected a complete run, found one that is not finished".to_owned(), "run it again");
        return Err(Error::new(ErrorKind::Incomplete, problem));
    };
    let finished = Stamp::parse(finished).map_err(|e| e.in_file(run.path()).at("run.json, finished"))?;
    Stamp::parse(&manifest.started).map_err(|e| e.in_file(run.path()).at("run.json, started"))?;
    Ok((manifest, finished))
}

/// A model's name as the harness makes a folder of it: `__` for every run of characters that a path may not have.
fn as_folder(model: &str) -> String {
    let mut name = String::new();
    let mut replaced = false;
    for c in model.chars() {
        let hostile = "\"<>:/|\\?*[]".contains(c);
        if !hostile {
            name.push(c);
        } else if !replaced {
            name.push_str("__");
        }
        replaced = hostile;
    }
    // A record is only a file: what it says may not lead out of the folder.
    if name.chars().all(|c| c == '.') { format!("__{name}") } else { name }
}
