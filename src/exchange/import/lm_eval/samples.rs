//! `samples_<task>_<time>.jsonl`: the items of a task, one line for each and each filter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::definition;
use super::line::{Line, Logged};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::metric::{Outcome, OutcomeKind};
use crate::store::DataFile;
use crate::util::hash;

const MAX_LINE_BYTES: u64 = 64 << 20;
/// Problems of one file that are reported; more of them have one cause.
const MOST_PROBLEMS: usize = 20;

/// The items of one task.
#[derive(Debug)]
pub(super) struct TaskSamples {
    pub file: DataFile,
    pub task: String,
    pub kind: OutcomeKind,
    /// In the order of the file.
    pub filters: Vec<String>,
    pub items: Vec<Item>,
}

/// One item under all filters.
#[derive(Debug)]
pub(super) struct Item {
    pub doc_id: usize,
    pub doc_hash: String,
    pub prompt_hash: String,
    pub outcome: Outcome,
    pub complete: bool,
    /// What each filter left of a written answer.
    pub filtered: BTreeMap<String, String>,
    /// By filter and metric.
    pub logged: BTreeMap<(String, String), Logged>,
    /// Line of each filter.
    lines: BTreeMap<String, usize>,
}

impl TaskSamples {
    /// Reads a file. Only one item is in memory as text at a time.
    /// `config` is the task's definition, null where there is none.
    pub fn read(path: &Path, task: &str, config: &Value) -> Result<Self> {
        let delimiter = definition::delimiter(config);
        let mut reader = Reader {
            task,
            known: definition::filter_names(config),
            renamed: definition::renamed(config),
            items: Vec::new(),
            places: BTreeMap::new(),
            filters: Vec::new(),
        };
        let mut problems = Vec::new();
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let mut input = BufReader::new(file);
        for number in 1.. {
            let mut bytes = Vec::new();
            let mut bounded = (&mut input).take(MAX_LINE_BYTES + 1);
            let length = bounded.read_until(b'\n', &mut bytes).map_err(|e| Error::io("read", path, &e))?;
            if length == 0 || problems.len() >= MOST_PROBLEMS {
                break;
            }
            let problem = |message: String| Diagnostic::new(message).in_file(path).at(format!("line {number}"));
            if length as u64 > MAX_LINE_BYTES {
                problems.push(problem(format!("expected a line of at most {MAX_LINE_BYTES} bytes, found more")));
                break;
            }
            let read = match std::str::from_utf8(&bytes).map(str::trim) {
                Ok("") => continue,
                Ok(text) => Line::read(text, delimiter).and_then(|line| reader.add(line, number)),
                Err(_) => Err("expected UTF-8".to_owned()),
            };
            problems.extend(read.err().map(problem));
        }
        let wanted = reader.filters.len();
        let lacking = reader.items.iter().filter(|item| item.lines.len() < wanted);
        let lacking = lacking.take(MOST_PROBLEMS).map(|item| {
            let message = format!("expected item {} under {wanted} filters, found {}", item.doc_id, item.lines.len());
            Diagnostic::new(message).in_file(path)
        });
        problems.extend(lacking);
        let Some(first) = reader.items.first() else {
            problems.extend(problems.is_empty().then(|| Diagnostic::new("expected samples, found none").in_file(path)));
            return Err(Error::all(problems));
        };
        let kind = kind(&first.outcome);
        Error::check(problems)?;
        Ok(Self {
            file: DataFile { path: path.to_string_lossy().into_owned(), fingerprint: hash::fingerprint_file(path)? },
            task: task.to_owned(),
            kind,
            filters: reader.filters,
            items: reader.items,
        })
    }
}

struct Reader<'a> {
    task: &'a str,
    /// The task's filters.
    known: Vec<&'a str>,
    /// Our names of metrics that an export calls otherwise.
    renamed: BTreeMap<&'a str, &'a str>,
    items: Vec<Item>,
    places: BTreeMap<usize, usize>,
    filters: Vec<String>,
}

impl Reader<'_> {
    fn add(&mut self, line: Line, number: usize) -> Result<(), String> {
        if let Some(first) = self.items.first()
            && kind(&first.outcome) != kind(&line.outcome)
        {
            return Err(format!("expected items of one kind in task {}, found several", self.task));
        }
        let place = *self.places.entry(line.doc_id).or_insert_with(|| {
            self.items.push(Item {
                doc_id: line.doc_id,
                doc_hash: line.doc_hash.clone(),
                prompt_hash: line.prompt_hash.clone(),
                outcome: line.outcome.clone(),
                complete: line.complete,
                filtered: BTreeMap::new(),
                logged: BTreeMap::new(),
                lines: BTreeMap::new(),
            });
            self.items.len() - 1
        });
        let item = &mut self.items[place];
        let filter = line.filter.unwrap_or_else(|| {
            let next = self.known.get(item.lines.len()).or(self.known.first());
            next.map_or_else(|| "none".to_owned(), |name| (*name).to_owned())
        });
        if !self.filters.contains(&filter) {
            self.filters.push(filter.clone());
        }
        if let Some(before) = item.lines.insert(filter.clone(), number) {
            return Err(format!(
                "expected item {} once under the filter {filter:?}, found it in line {before} too",
                line.doc_id
            ));
        }
        if item.doc_hash != line.doc_hash {
            return Err(format!("expected the same document for item {} under every filter", line.doc_id));
        }
        item.filtered.extend(line.filtered.map(|text| (filter.clone(), text)));
        let ours = |metric: String| self.renamed.get(metric.as_str()).map_or(metric.clone(), |ours| (*ours).to_owned());
        let logged = line.logged.into_iter().map(|(metric, value)| ((filter.clone(), ours(metric)), value));
        item.logged.extend(logged);
        Ok(())
    }
}

pub(super) fn kind(outcome: &Outcome) -> OutcomeKind {
    match outcome {
        Outcome::Choices(_) => OutcomeKind::Choices,
        Outcome::Cloze(_) => OutcomeKind::Cloze,
        Outcome::Rolling(_) => OutcomeKind::Rolling,
        Outcome::Answer(_) => OutcomeKind::Answer,
    }
}
