//! `samples_<task>_<time>.jsonl`: one line for every filter and item.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::arguments::{Arguments, Asked, numbered};
use super::names::{ExportedMetric, ExportedTask, log_likelihood};
use super::python::{Python, float};
use super::rebuild::Rebuilt;
use super::target::{Target, listed};
use crate::error::{Error, Result};
use crate::metric::{ChoiceScore, Filter, Outcome};
use crate::store::{Sample, TaskRecord};
use crate::text::Tokenizer;
use crate::util::hash;

/// How deep `json.dumps` indents the document whose hash is taken.
const DOCUMENT_INDENT: usize = 2;

/// One task of a run, ready to be written.
pub(super) struct TaskSamples<'a> {
    pub task: &'a ExportedTask<'a>,
    pub samples: &'a [&'a Sample],
    /// Documents and prompts, where the suite was given.
    pub rebuilt: Option<&'a Rebuilt>,
    /// Where a chat template makes the prompts.
    pub tokenizer: Option<&'a Tokenizer>,
}

impl TaskSamples<'_> {
    /// Writes the file and returns the hash over its lines' hashes.
    pub fn write(&self, path: &Path) -> Result<String> {
        let failed = |e: &std::io::Error| Error::io("write", path, e);
        let mut file = BufWriter::new(File::create(path).map_err(|e| failed(&e))?);
        let mut hashes = String::new();
        let listed = listed(self.samples);
        for filter in &self.task.record.filters {
            for index in 0..self.samples.len() {
                let line = self.line(index, filter, listed)?;
                hashes.push_str(&line.hashes.concat());
                writeln!(file, "{}", line.sample.json(None)).map_err(|e| failed(&e))?;
            }
        }
        let file = file.into_inner().map_err(|e| failed(e.error()))?;
        file.sync_all().map_err(|e| failed(&e))?;
        Ok(hash::sha256_hex(hashes.as_bytes()))
    }

    fn line(&self, index: usize, filter: &Filter, listed: bool) -> Result<Line> {
        let (sample, record) = (self.samples[index], self.task.record);
        let outcome = &sample.outcome;
        let document = match self.rebuilt {
            Some(rebuilt) => rebuilt.document(index).into(),
            None => Python::dict([("item", Python::text(&sample.item))]),
        };
        let asked = self.rebuilt.map(|rebuilt| rebuilt.asked(index, self.tokenizer)).transpose()?;
        let target = Target::of(outcome, asked.as_ref().and_then(|asked| asked.target.as_ref()), listed);
        let answers = answers(outcome);
        let mut requests = asked.map_or_else(|| unknown(outcome, record), requests_of);
        requests.truncate(answers.len());
        let filtered = filtered(outcome, &answers, filter);
        let item = |metric: &ExportedMetric| Some((metric.name.clone(), metric.of_item(outcome, filter, record)?));
        let values: Vec<(String, Python)> = self.task.metrics.iter().filter_map(item).collect();
        let first_text = requests.first().and_then(Arguments::first_text);
        let hashes = [
            hash::sha256_hex(document.json(Some(DOCUMENT_INDENT)).as_bytes()),
            first_text.map_or_else(|| sample.prompt_hash.clone(), |text| hash::sha256_hex(text.as_bytes())),
            hash::sha256_hex(target.text().as_bytes()),
        ];
        let [doc_hash, prompt_hash, target_hash] = &hashes;
        let entries = [
            ("doc_id", Python::count(sample.row)),
            ("doc", document),
            ("target", target.text().into()),
            ("arguments", numbered(&requests)),
            ("resps", Python::List(answers.into_iter().map(|answer| Python::List(vec![answer])).collect())),
            ("filtered_resps", Python::List(filtered)),
            ("filter", filter.name.as_str().into()),
            ("metrics", Python::list(values.iter().map(|(name, _)| name))),
            ("doc_hash", doc_hash.into()),
            ("prompt_hash", prompt_hash.into()),
            ("target_hash", target_hash.into()),
        ];
        let entries = entries.map(|(name, value)| (name.to_owned(), value));
        let sample = Python::dict(entries.into_iter().chain(values));
        Ok(Line { sample, hashes })
    }
}

struct Line {
    sample: Python,
    /// Of document, prompt and target.
    hashes: [String; 3],
}

fn requests_of(asked: Asked) -> Vec<Arguments> {
    [asked.requests, asked.unconditional].concat()
}

/// Requests as far as the record knows them.
fn unknown(outcome: &Outcome, record: &TaskRecord) -> Vec<Arguments> {
    match outcome {
        Outcome::Choices(item) => vec![Arguments::unknown(2); 2 * item.choices.len()],
        Outcome::Cloze(_) => vec![Arguments::unknown(2)],
        Outcome::Rolling(_) => vec![Arguments::unknown(1)],
        Outcome::Answer(_) => vec![Arguments::unknown_context(record.writing.as_ref())],
    }
}

/// What the model said to each request, as texts. With mutual information the choices without context come after those
/// with it; whether they were the model's first choice is not recorded.
fn answers(outcome: &Outcome) -> Vec<Python> {
    let pair = |sum: f64, greedy: &str| Python::list([float(sum), greedy.to_owned()]);
    let flag = |greedy: bool| if greedy { "True" } else { "False" };
    match outcome {
        Outcome::Choices(item) => {
            let with = item.choices.iter().map(|choice| pair(choice.log_likelihood(), flag(choice.greedy)));
            let without = item.choices.iter().filter_map(|choice: &ChoiceScore| choice.unconditional);
            with.chain(without.map(|sum| pair(sum, "None"))).collect()
        }
        Outcome::Cloze(item) => log_likelihood(outcome).map(|sum| pair(sum, flag(item.greedy))).into_iter().collect(),
        Outcome::Rolling(_) => log_likelihood(outcome).map(|sum| float(sum).into()).into_iter().collect(),
        Outcome::Answer(item) => vec![item.text.as_str().into()],
    }
}

/// Filters act on texts; scores stay as they are.
fn filtered(outcome: &Outcome, answers: &[Python], filter: &Filter) -> Vec<Python> {
    match outcome {
        Outcome::Answer(item) => vec![filter.apply(&item.text).into()],
        _ => answers.to_vec(),
    }
}
