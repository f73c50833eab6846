//! What does not depend on the checkpoint: data read, shots chosen, prompts rendered.

use std::path::{Path, PathBuf};

use crate::data;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::hub::Address;
use crate::metric::{Metric, OutcomeKind};
use crate::store::{DataFile, TaskRecord};
use crate::suite::{Item, Kind, Suite, Task, build_items};
use crate::util::parallel;
use crate::util::suggest::nearest;

/// What of a suite is to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these tasks, groups or subsets, each with all its variants or one of them; all when empty.
    pub tasks: Vec<String>,
    /// Only the first items of each task.
    pub limit: Option<usize>,
    pub data_dir: Option<PathBuf>,
}

/// A suite with its items.
#[derive(Clone)]
pub struct Prepared {
    pub suite: String,
    pub suite_fingerprint: String,
    pub tasks: Vec<PreparedTask>,
}

#[derive(Clone)]
pub struct PreparedTask {
    pub task: Task,
    pub items: Vec<Item>,
    pub files: Vec<DataFile>,
    /// Rows of the data, before any limit.
    pub rows: usize,
    pub deviation: Option<String>,
}

/// Reads the data of every selected task and builds its items. All problems of all tasks are reported together.
pub fn prepare(suite: &Suite, selection: &Selection, threads: usize) -> Result<Prepared> {
    let tasks = select(suite, selection)?;
    let results = parallel::map(&tasks, threads, |task| prepare_task(task, selection.data_dir.as_deref()));
    let mut prepared = Vec::with_capacity(results.len());
    let mut problems = Vec::new();
    for result in results {
        match result {
            Ok(task) => prepared.push(task),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    Error::check(problems)?;
    Ok(Prepared { suite: suite.name.clone(), suite_fingerprint: suite.fingerprint.clone(), tasks: prepared })
}

fn select(suite: &Suite, selection: &Selection) -> Result<Vec<Task>> {
    let chosen = |task: &Task, name: &String| {
        std::iter::once(&task.name).chain(&task.groups).any(|known| known == name || task.base_of(known) == name)
    };
    let unknown = selection.tasks.iter().filter(|name| !suite.tasks.iter().any(|task| chosen(task, name)));
    let problems = unknown.map(|name| {
        let names = suite.tasks.iter().flat_map(|task| std::iter::once(&task.name).chain(&task.groups));
        let problem = Diagnostic::new(format!("expected a task of the suite {}, found {name:?}", suite.name));
        match nearest(name, names.map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        }
    });
    Error::check(problems.collect())?;
    let wanted = |task: &&Task| selection.tasks.is_empty() || selection.tasks.iter().any(|name| chosen(task, name));
    let limited = |task: &Task| Task {
        limit: match (task.limit, selection.limit) {
            (Some(own), Some(asked)) => Some(own.min(asked)),
            (own, asked) => own.or(asked),
        },
        ..task.clone()
    };
    Ok(suite.tasks.iter().filter(wanted).map(limited).collect())
}

/// The files of the hub that the selected tasks read. Tasks whose data is nowhere are told when it is read.
pub fn hub_files(suite: &Suite, selection: &Selection) -> Result<Vec<Address>> {
    let tasks = select(suite, selection)?;
    let addresses = |task| data::addresses(task, selection.data_dir.as_deref()).unwrap_or_default();
    Ok(tasks.iter().flat_map(addresses).collect())
}

/// One task with its data.
pub fn prepare_task(task: &Task, data_dir: Option<&Path>) -> Result<PreparedTask> {
    let loaded = data::load(task, data_dir)?;
    let rows = loaded.data.rows.len();
    let items = build_items(task, &loaded.source, &loaded.data)?;
    let name = |path: &Path| {
        data_dir.and_then(|dir| path.strip_prefix(dir).ok()).unwrap_or(path).to_string_lossy().into_owned()
    };
    let files =
        loaded.files.into_iter().map(|(path, fingerprint)| DataFile { path: name(&path), fingerprint }).collect();
    Ok(PreparedTask { task: task.clone(), items, files, rows, deviation: loaded.source.deviation })
}

impl PreparedTask {
    /// What the record keeps of the task.
    pub fn record(&self) -> TaskRecord {
        let task = &self.task;
        TaskRecord {
            name: task.name.clone(),
            version: task.version.clone(),
            kind: task.kind.outcome(),
            profile: task.profile.id.to_owned(),
            shots: task.shots,
            seed: task.seed,
            limit: task.limit,
            items: self.items.len(),
            metrics: task.metrics.iter().map(|metric| metric.name.to_owned()).collect(),
            filters: task.filters.clone(),
            rules: task.rules.clone(),
            groups: task.groups.clone(),
            variant: task.variant.clone(),
            data: self.files.clone(),
            rows: Some(self.rows),
            delimiter: Some(task.delimiter.clone()),
            writing: task.kind.writing().cloned(),
            deviation: self.deviation.clone(),
        }
    }

    /// Whether choices are also scored without their context.
    pub(super) fn needs_unconditional(&self) -> bool {
        let mutual = Metric::find(OutcomeKind::Choices, "acc_mutual_info");
        matches!(self.task.kind, Kind::MultipleChoice { .. } | Kind::Contexts { .. })
            && self.task.metrics.iter().any(|metric| mutual.is_some_and(|mutual| std::ptr::eq(*metric, mutual)))
    }
}
