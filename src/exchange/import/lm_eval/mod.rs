//! `results_*.json` and `samples_*.jsonl` of lm-evaluation-harness.
//!
//! A result file says whose scores they are; a file of samples belongs to the result file beside it, by the time in
//! both names. Files of one checkpoint become one run.

mod asked;
mod assemble;
mod definition;
mod files;
mod identity;
mod line;
mod recompute;
mod results;
mod samples;

use std::path::PathBuf;

use serde_json::Value;

use super::run::{Imported, check_suite};
use crate::error::{Error, Result};
use crate::util::parallel;
use assemble::{Part, assemble};
use files::{Found, SampleFile};
use results::Results;
use samples::TaskSamples;

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct LmEvalImport {
    /// Result files, sample files, and folders of them.
    pub paths: Vec<PathBuf>,
    /// The suite that the runs are filed under.
    pub suite: String,
    /// The series of all checkpoints, in place of the model's name.
    pub series: Option<String>,
    pub threads: usize,
}

/// Reads files of any age, from 2021 on.
///
/// # Errors
/// Every problem of every file: what is not JSON or no results, samples without results to which they belong, a score
/// that two files have, samples that do not give the results beside them.
pub fn import_lm_eval(request: &LmEvalImport) -> Result<Imported> {
    check_suite(&request.suite)?;
    let Found { results, samples } = files::find(&request.paths)?;
    let mut problems = Vec::new();
    let read = parallel::map(&results, request.threads, |path| Results::read(path));
    let mut known = Vec::new();
    for result in read {
        match result {
            Ok(results) => known.push(results),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    // Which result file a file of samples belongs to is not known while some could not be read.
    Error::check(std::mem::take(&mut problems))?;
    let read = parallel::map(&samples, request.threads, |path| read_samples(path, &known));
    let mut parts: Vec<Part> = known.into_iter().map(Part::of_results).collect();
    for result in read {
        match result {
            Ok((Some(owner), samples)) => parts[owner].samples.push(samples),
            Ok((None, samples)) => parts.push(Part::of_samples(samples)),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    Error::check(problems)?;
    assemble(parts, request)
}

/// The samples of a file, and the index of the result file that they belong to.
fn read_samples(path: &std::path::Path, known: &[Results]) -> Result<(Option<usize>, TaskSamples)> {
    let file = SampleFile::of(path);
    let owner = file.owner(known)?;
    let task = file.task(owner.map(|index| &known[index]))?;
    let config = owner.and_then(|index| known[index].facts.get(&task)).map_or(&Value::Null, |facts| &facts.config);
    Ok((owner, TaskSamples::read(path, &task, config)?))
}
