//! From result files and samples to runs: one for each checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use super::LmEvalImport;
use super::definition;
use super::identity::Identity;
use super::line::Logged;
use super::recompute::{Recomputable, key, near};
use super::results::{Facts, ModelFacts, Results, Score};
use super::samples::TaskSamples;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::exchange::import::run::{Imported, ImportedRun, Origin, unknown_model};
use crate::lm::ModelInfo;
use crate::metric::MatchRules;
use crate::run::{rescore, score};
use crate::store::{DataFile, MetricRow, Sample, TaskRecord};

/// A result file with its samples, or samples alone.
#[derive(Debug)]
pub(super) struct Part {
    identity: Identity,
    /// None for samples alone.
    results: Option<Results>,
    pub samples: Vec<TaskSamples>,
}

const DEFAULT_SEED: u64 = 1234;
const UNKNOWN_PROFILE: &str = "lm-eval";

impl Part {
    pub fn of_results(results: Results) -> Self {
        Self { identity: results.identity.clone(), results: Some(results), samples: Vec::new() }
    }

    pub fn of_samples(samples: TaskSamples) -> Self {
        let folder = Path::new(&samples.file.path).parent().unwrap_or(Path::new(""));
        Self { identity: Identity::of_folder(folder), results: None, samples: vec![samples] }
    }

    /// The file that problems are told of.
    fn path(&self) -> &str {
        let results = self.results.as_ref().map(|results| &results.file);
        results.or_else(|| self.samples.first().map(|samples| &samples.file)).map_or("", |file| &file.path)
    }

    fn facts(&self, task: &str) -> Option<&Facts> {
        self.results.as_ref()?.facts.get(task)
    }

    fn profile(&self) -> &str {
        self.results.as_ref().map_or(UNKNOWN_PROFILE, |results| &results.profile)
    }

    fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.results.iter().map(|results| &results.file).chain(self.samples.iter().map(|samples| &samples.file))
    }
}

pub(super) fn assemble(parts: Vec<Part>, request: &LmEvalImport) -> Result<Imported> {
    let mut by_checkpoint: BTreeMap<(String, String), Vec<Part>> = BTreeMap::new();
    for mut part in parts {
        if let Some(series) = &request.series {
            part.identity.series.clone_from(series);
        }
        let Identity { series, checkpoint, .. } = &part.identity;
        by_checkpoint.entry((series.clone(), checkpoint.clone())).or_default().push(part);
    }
    let (mut runs, mut notes, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for parts in by_checkpoint.values() {
        match run(parts, request, &mut notes) {
            Ok(run) => runs.push(run),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    Error::check(problems)?;
    Imported::new(runs, notes)
}

/// The run of one checkpoint.
fn run(parts: &[Part], request: &LmEvalImport, notes: &mut Vec<String>) -> Result<ImportedRun> {
    let origin = origin(parts, request)?;
    check_unique(parts)?;
    let (mut rows, mut samples, mut records, mut problems) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let mut computed = Vec::new();
        for task in &part.samples {
            let scored = scored(part, task, &origin, request.threads)?;
            if !scored.kept.is_empty() {
                let names = scored.kept.join(", ");
                notes.push(format!("{}: not computed again from the samples: {names}", task.task));
            }
            problems.extend(count_problem(part, task));
            computed.extend(scored.rows);
            samples.extend(scored.samples);
            records.push(scored.record);
        }
        rows.extend(part_rows(part, computed, &origin, &mut problems));
        records.extend(other_records(part));
    }
    Error::check(problems)?;
    // Shots can differ from file to file; the record of a task stands once.
    let mut seen = std::collections::BTreeSet::new();
    records.retain(|record: &TaskRecord| seen.insert(record.name.clone()));
    let files = parts.iter().flat_map(Part::files).cloned().collect();
    Ok(ImportedRun { manifest: origin.manifest(files, records), rows, samples })
}

fn origin(parts: &[Part], request: &LmEvalImport) -> Result<Origin> {
    let first = &parts[0];
    let Identity { series, checkpoint, progress, model } = &first.identity;
    let others = parts.iter().filter(|part| part.identity.progress != *progress).map(|part| {
        let shown = |part: &Part| match (part.identity.progress.step, part.identity.progress.tokens) {
            (None, None) => "no step".to_owned(),
            (Some(step), _) => format!("step {step}"),
            (None, Some(tokens)) => format!("{tokens} tokens"),
        };
        Diagnostic::new(format!("expected {} as in {}, found {}", shown(first), first.path(), shown(part)))
            .in_file(part.path())
            .help(format!("both say that they are about {checkpoint} of {series}"))
    });
    Error::check(others.collect())?;
    let facts = parts.iter().find_map(|part| part.results.as_ref().map(|results| &results.model));
    Ok(Origin {
        suite: request.suite.clone(),
        series: series.clone(),
        checkpoint: checkpoint.clone(),
        step: progress.step,
        tokens: progress.tokens,
        model: model.clone(),
        info: facts.map_or_else(unknown_model, |facts| model_info(facts, first.profile())),
    })
}

fn model_info(facts: &ModelFacts, profile: &str) -> ModelInfo {
    ModelInfo {
        fingerprint: if facts.sha.is_empty() { String::new() } else { format!("hub:{}", facts.sha) },
        numerics: [profile, &facts.backend].join(" ").trim_end().to_owned(),
        parameters: facts.parameters,
        dtypes: Some(facts.dtype.clone()).filter(|dtype| !dtype.is_empty()).into_iter().collect(),
        max_length: facts.max_length,
        ..unknown_model()
    }
}

/// No score and no item may come from two files.
fn check_unique(parts: &[Part]) -> Result<()> {
    let mut problems = Vec::new();
    let mut scores = BTreeMap::new();
    let mut items = BTreeMap::new();
    for part in parts {
        for score in part.results.iter().flat_map(|results| &results.scores) {
            let shots = part.facts(&score.task).and_then(|facts| facts.shots);
            let place = (&score.task, &score.filter, &score.metric, shots);
            if let Some(before) = scores.insert(place, part.path()) {
                let metric = key(&score.metric, &score.filter);
                let message = format!("expected one score {metric} of {}, found it in {before} too", score.task);
                let problem = Diagnostic::new(message).in_file(part.path());
                problems.push(problem.help("leave out one of the files, or import them as different suites"));
            }
        }
        for samples in &part.samples {
            if let Some(before) = items.insert(&samples.task, &samples.file.path) {
                let message = format!("expected one file of samples of {}, found {before} too", samples.task);
                let problem = Diagnostic::new(message).in_file(&samples.file.path);
                problems
                    .push(problem.help("leave out one of them; items asked with other shots go into another --suite"));
            }
        }
    }
    // Two evaluations of the same tasks differ in hundreds of scores for one reason.
    problems.truncate(20);
    Error::check(problems)
}

fn count_problem(part: &Part, samples: &TaskSamples) -> Option<Diagnostic> {
    let wanted = part.facts(&samples.task)?.items.filter(|items| *items != samples.items.len())?;
    let message = format!("expected {wanted} items of {} as in {}", samples.task, part.path());
    Some(Diagnostic::new(format!("{message}, found {}", samples.items.len())).in_file(&samples.file.path))
}

/// A task whose items are known.
struct ScoredTask {
    record: TaskRecord,
    samples: Vec<Sample>,
    rows: Vec<MetricRow>,
    kept: Vec<String>,
}

fn scored(part: &Part, task: &TaskSamples, origin: &Origin, threads: usize) -> Result<ScoredTask> {
    let none = Facts::default();
    let facts = part.facts(&task.task).unwrap_or(&none);
    let found = Recomputable::of(task, &facts.config);
    let mut record = record(part, &task.task, facts, task.kind);
    record.items = task.items.len();
    (record.metrics, record.filters, record.rules) = (found.metrics, found.filters, found.rules);
    let sample = |item: &super::samples::Item| Sample {
        task: task.task.clone(),
        item: format!("{}/{}/{}", task.task, item.doc_id, item.doc_hash.chars().take(16).collect::<String>()),
        row: item.doc_id,
        slices: BTreeMap::new(),
        shots: Vec::new(),
        prompt_hash: item.prompt_hash.clone(),
        truncated: 0,
        outcome: item.outcome.clone(),
        metrics: BTreeMap::new(),
    };
    let mut samples: Vec<Sample> = task.items.iter().map(sample).collect();
    // Groups have scores of their own in the file, by rules of their own; and its standard errors are taken as they are.
    let plain = TaskRecord { groups: Vec::new(), profile: String::new(), ..record.clone() };
    let manifest = origin.manifest(Vec::new(), vec![plain]);
    rescore(&manifest, &mut samples)?;
    for (sample, item) in samples.iter_mut().zip(&task.items) {
        for ((filter, metric), value) in &item.logged {
            if let Logged::Number(value) = value {
                sample.metrics.entry(key(metric, filter)).or_insert(*value);
            }
        }
    }
    let mut rows = score(&manifest, &samples, threads)?;
    for row in &mut rows {
        part.profile().clone_into(&mut row.profile);
        row.shots = facts.shots;
    }
    Ok(ScoredTask { record, samples, rows, kept: found.kept })
}

/// What is on record of a task without items: what the file says, where its kind is known.
fn other_records(part: &Part) -> Vec<TaskRecord> {
    let Some(results) = &part.results else { return Vec::new() };
    let mut metrics: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for score in &results.scores {
        metrics.entry(&score.task).or_default().push(&score.metric);
    }
    let groups: Vec<&String> = results.facts.values().flat_map(|facts| &facts.groups).collect();
    let sampled = |task: &str| part.samples.iter().any(|samples| samples.task == task);
    let tasks = metrics.iter().filter(|(task, _)| !groups.iter().any(|group| group == *task) && !sampled(task));
    let record = |(task, metrics): (&&str, &Vec<&str>)| {
        let facts = results.facts.get(*task).cloned().unwrap_or_default();
        let kind = definition::kind(&facts.config, metrics)?;
        Some(record(part, task, &facts, kind))
    };
    tasks.filter_map(record).collect()
}

fn record(part: &Part, name: &str, facts: &Facts, kind: crate::metric::OutcomeKind) -> TaskRecord {
    let results = part.results.as_ref();
    TaskRecord {
        name: name.to_owned(),
        version: facts.version.clone(),
        kind,
        profile: part.profile().to_owned(),
        shots: facts.shots.unwrap_or(0),
        seed: results.map_or(DEFAULT_SEED, |results| results.seed),
        limit: results.and_then(|results| results.limit),
        items: 0,
        metrics: Vec::new(),
        filters: Vec::new(),
        rules: MatchRules::default(),
        groups: facts.groups.clone(),
        variant: String::new(),
        data: Vec::new(),
        rows: facts.rows,
        delimiter: definition::delimiter(&facts.config).map(str::to_owned),
        writing: None,
        deviation: None,
    }
}

/// The scores of a part, task by task: the file's own values and errors, with intervals from the items where they are
/// known, then what the items say beyond it.
fn part_rows(part: &Part, computed: Vec<MetricRow>, origin: &Origin, problems: &mut Vec<Diagnostic>) -> Vec<MetricRow> {
    let Some(results) = &part.results else { return computed };
    let mut by_task: BTreeMap<String, Vec<MetricRow>> = BTreeMap::new();
    for row in computed {
        by_task.entry(row.task.clone()).or_default().push(row);
    }
    let mut rows = Vec::new();
    for scores in results.scores.chunk_by(|a, b| a.task == b.task) {
        let mut own = by_task.remove(&scores[0].task).unwrap_or_default();
        for score in scores {
            let same = |row: &MetricRow| (&row.filter, &row.metric) == (&score.filter, &score.metric);
            let computed = own.iter().position(same).map(|index| own.remove(index));
            if let Some(row) = computed.as_ref().filter(|row| !near(row.value, score.value)) {
                let metric = key(&score.metric, &score.filter);
                let found = format!("{metric} of {} is {} in the results and {}", score.task, score.value, row.value);
                let problem = Diagnostic::new(format!("expected samples of these results: {found} by the samples"));
                problems.push(problem.in_file(part.path()).help("the files are of different evaluations"));
            }
            rows.push(row(results, score, computed, origin));
        }
        rows.extend(own);
    }
    rows.extend(by_task.into_values().flatten());
    rows
}

/// A score of the file. Where its items are known, they give the interval.
fn row(results: &Results, score: &Score, computed: Option<MetricRow>, origin: &Origin) -> MetricRow {
    let facts = results.facts.get(&score.task);
    let (ci_lo, ci_hi, n) = computed.map_or((None, None, None), |row| (row.ci_lo, row.ci_hi, row.n));
    MetricRow {
        suite: origin.suite.clone(),
        series: origin.series.clone(),
        checkpoint: origin.checkpoint.clone(),
        step: origin.step,
        tokens: origin.tokens,
        task: score.task.clone(),
        slice: String::new(),
        filter: score.filter.clone(),
        shots: facts.and_then(|facts| facts.shots),
        metric: score.metric.clone(),
        value: score.value,
        stderr: score.stderr,
        ci_lo,
        ci_hi,
        n: n.or_else(|| facts?.items),
        profile: results.profile.clone(),
    }
}
