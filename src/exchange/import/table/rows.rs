//! Rows become scores, and scores become runs.

use std::collections::BTreeMap;

use super::layout::{Layout, Measure};
use super::role::Role;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::exchange::import::run::{Imported, ImportedRun, Origin, unknown_model};
use crate::store::{DataFile, MetricRow};
use crate::util::step_name::Progress;

/// More scores than this do not fit a machine's memory.
const MAX_SCORES: usize = 2_000_000;
/// Problems of one file that are reported; more of them have one cause.
const MOST_PROBLEMS: usize = 20;
const UNKNOWN_PROFILE: &str = "imported";
/// Between the columns of one role.
const JOINT: &str = ":";

/// A file and a line.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    line: u64,
}

/// What was read of all files.
pub(super) struct Collector {
    suite: String,
    files: Vec<DataFile>,
    /// By series and checkpoint.
    runs: BTreeMap<(String, String), Gathered>,
    scores: usize,
    pub problems: Vec<Diagnostic>,
}

/// The scores of one checkpoint.
struct Gathered {
    step: Option<u64>,
    tokens: Option<u64>,
    first: Place,
    rows: Vec<MetricRow>,
    /// Where each score stands, by a hash of all that tells it from others.
    places: BTreeMap<[u8; 16], Place>,
    files: Vec<usize>,
}

/// One file.
pub(super) struct Sheet<'a> {
    collector: &'a mut Collector,
    layout: &'a Layout,
    stem: String,
    /// Problems that the file may still have.
    left: usize,
}

impl Collector {
    pub fn new(suite: String) -> Self {
        Self { suite, files: Vec::new(), runs: BTreeMap::new(), scores: 0, problems: Vec::new() }
    }

    pub fn sheet<'a>(&'a mut self, file: DataFile, stem: String, layout: &'a Layout) -> Sheet<'a> {
        self.files.push(file);
        Sheet { collector: self, layout, stem, left: MOST_PROBLEMS }
    }

    /// The runs, if there was no problem.
    pub fn finish(mut self) -> Result<Imported> {
        if self.runs.is_empty() && self.problems.is_empty() {
            let names: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
            self.problems.push(Diagnostic::new("expected at least one score, found none").in_file(names.join(", ")));
        }
        Error::check(self.problems)?;
        let run = |((series, checkpoint), gathered): ((String, String), Gathered)| {
            let origin = Origin {
                suite: self.suite.clone(),
                model: checkpoint.clone(),
                series,
                checkpoint,
                step: gathered.step,
                tokens: gathered.tokens,
                info: unknown_model(),
            };
            let files = gathered.files.iter().map(|&file| self.files[file].clone()).collect();
            ImportedRun { manifest: origin.manifest(files, Vec::new()), rows: gathered.rows, samples: Vec::new() }
        };
        Imported::new(self.runs.into_iter().map(run).collect(), Vec::new())
    }
}

/// What a row says about all of its scores.
struct About {
    row: MetricRow,
    place: Place,
}

impl Sheet<'_> {
    /// Takes a row in; false when the file has too many problems to go on.
    pub fn row(&mut self, record: &csv::StringRecord, line: u64) -> bool {
        let place = Place { file: self.collector.files.len() - 1, line };
        match self.about(record, place) {
            Ok(about) => {
                let layout = self.layout;
                for measure in &layout.measures {
                    if let Err(error) = self.score(record, measure, &about) {
                        self.report(error, place);
                    }
                }
            }
            Err(error) => self.report(error, place),
        }
        self.left > 0
    }

    fn report(&mut self, error: Error, place: Place) {
        let file = &self.collector.files[place.file].path;
        for problem in error.into_diagnostics() {
            let detail = problem.place.as_ref().and_then(|place| place.detail.as_ref());
            let detail = detail.map_or_else(String::new, |detail| format!(", {detail}"));
            let at = format!("line {}{detail}", place.line);
            self.collector.problems.push(problem.in_file(file).at(at));
        }
        self.left = self.left.saturating_sub(1);
    }

    fn about(&self, record: &csv::StringRecord, place: Place) -> Result<About> {
        let text = |role: Role| self.text(record, role);
        let known = |role: Role| text(role).filter(|text| !text.is_empty());
        let whole = |role: Role| match known(role) {
            Some(text) => count(&text).map(Some).ok_or_else(|| wrong("a whole number from 0", &text).at(role.name())),
            None => Ok(None),
        };
        let series = known(Role::Series).unwrap_or_else(|| self.stem.clone());
        let named = known(Role::Checkpoint);
        let said = Progress { step: whole(Role::Step)?, tokens: whole(Role::Tokens)? };
        let progress = said.or(named.as_deref().map(Progress::from_name).unwrap_or_default());
        let checkpoint = named.unwrap_or_else(|| match (progress.step, progress.tokens) {
            (Some(step), _) => format!("step{step}"),
            (None, Some(tokens)) => format!("tokens{tokens}"),
            (None, None) => series.clone(),
        });
        let row = MetricRow {
            suite: self.collector.suite.clone(),
            series,
            checkpoint,
            step: progress.step,
            tokens: progress.tokens,
            task: text(Role::Task).unwrap_or_default(),
            slice: self.slice(record),
            filter: known(Role::Filter).unwrap_or_else(|| "none".to_owned()),
            shots: whole(Role::Shots)?.map(|shots| shots as usize),
            metric: text(Role::Metric).unwrap_or_default(),
            value: f64::NAN,
            stderr: None,
            ci_lo: None,
            ci_hi: None,
            n: self.layout.constants.get(&Role::N).and_then(|n| count(n)).map(|n| n as usize),
            profile: known(Role::Profile).unwrap_or_else(|| UNKNOWN_PROFILE.to_owned()),
        };
        Ok(About { row, place })
    }

    /// The text of a role: its columns, joined, or its constant.
    fn text(&self, record: &csv::StringRecord, role: Role) -> Option<String> {
        let columns = self.layout.about.get(&role);
        let cells =
            columns.map(|columns| columns.iter().filter_map(|&c| record.get(c)).map(str::trim).collect::<Vec<_>>());
        cells.map(|cells| cells.join(JOINT)).or_else(|| self.layout.constants.get(&role).cloned())
    }

    /// `column=value` of each column of slices; a constant as it is.
    fn slice(&self, record: &csv::StringRecord) -> String {
        let Some(columns) = self.layout.about.get(&Role::Slice) else {
            return self.layout.constants.get(&Role::Slice).cloned().unwrap_or_default();
        };
        let cells =
            columns.iter().map(|&column| (&self.layout.header[column], record.get(column).unwrap_or("").trim()));
        // Tables of our own say `name=value` themselves.
        let named = |(name, cell): (&String, &str)| {
            if name == Role::Slice.name() { cell.to_owned() } else { format!("{name}={cell}") }
        };
        cells.filter(|(_, cell)| !cell.is_empty()).map(named).collect::<Vec<_>>().join(",")
    }

    fn score(&mut self, record: &csv::StringRecord, measure: &Measure, about: &About) -> Result<()> {
        let cell = |column: usize| record.get(column).map(str::trim).filter(|cell| !cell.is_empty());
        let name = |column: usize| format!("column {:?}", self.layout.header[column]);
        let real = |column: Option<usize>| match column.and_then(|column| Some((column, cell(column)?))) {
            Some((column, text)) => match text.parse::<f64>() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(wrong("a number", text).at(name(column))),
            },
            None => Ok(None),
        };
        let Some(value) = real(Some(measure.value))? else { return Ok(()) };
        let n = match measure.n.and_then(|column| Some((column, cell(column)?))) {
            Some((column, text)) => {
                let found = count(text).ok_or_else(|| wrong("a whole number from 0", text).at(name(column)))?;
                Some(found as usize)
            }
            None => about.row.n,
        };
        let known = |column: Option<usize>| Ok::<_, Error>(real(column)?.filter(|x: &f64| !x.is_nan()));
        let stderr = known(measure.stderr)?;
        if let (Some(column), Some(found)) = (measure.stderr, stderr.filter(|stderr| *stderr < 0.0)) {
            return Err(wrong("a standard error from 0", &found.to_string()).at(name(column)));
        }
        let row = MetricRow {
            task: measure.task.clone().unwrap_or_else(|| about.row.task.clone()),
            metric: measure.metric.clone().unwrap_or_else(|| about.row.metric.clone()),
            value,
            stderr,
            ci_lo: known(measure.ci_lo)?,
            ci_hi: known(measure.ci_hi)?,
            n,
            ..about.row.clone()
        };
        if row.task.is_empty() || row.metric.is_empty() {
            let role = if row.task.is_empty() { Role::Task } else { Role::Metric };
            return Err(Error::bad(format!("expected a {}, found an empty cell", role.name())));
        }
        self.collector.add(row, about.place)
    }
}

impl Collector {
    fn add(&mut self, row: MetricRow, place: Place) -> Result<()> {
        if self.scores >= MAX_SCORES {
            return Err(Error::bad(format!("expected at most {MAX_SCORES} scores, found more"))
                .help("import the tables in several calls"));
        }
        self.scores += 1;
        let where_is = |files: &[DataFile], other: Place| {
            if other.file == place.file {
                format!("line {}", other.line)
            } else {
                format!("line {} of {}", other.line, files[other.file].path)
            }
        };
        let run = self.runs.entry((row.series.clone(), row.checkpoint.clone())).or_insert_with(|| Gathered {
            step: row.step,
            tokens: row.tokens,
            first: place,
            rows: Vec::new(),
            places: BTreeMap::new(),
            files: Vec::new(),
        });
        if (run.step, run.tokens) != (row.step, row.tokens) {
            let at = where_is(&self.files, run.first);
            let shown = |step: Option<u64>, tokens: Option<u64>| {
                let count = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
                format!("step {}, tokens {}", count(step), count(tokens))
            };
            let (before, now) = (shown(run.step, run.tokens), shown(row.step, row.tokens));
            let (series, checkpoint) = (&row.series, &row.checkpoint);
            let message = format!("expected {before} for {checkpoint} of {series} as in {at}, found {now}");
            return Err(Error::bad(message));
        }
        let shots = row.shots.map_or_else(String::new, |shots| shots.to_string());
        let parts = [&row.task, &row.slice, &row.filter, &row.metric, &row.profile, &shots];
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        if let Some(before) = run.places.insert(key, place) {
            let at = where_is(&self.files, before);
            let (checkpoint, metric, task) = (&row.checkpoint, &row.metric, &row.task);
            let message = format!("expected one score {metric} of {task} for {checkpoint}, found it in {at} too");
            return Err(Error::bad(message)
                .help("if a column tells them apart, give it a role: --column series=NAME, shots=NAME or slice=NAME"));
        }
        if run.files.last() != Some(&place.file) && !run.files.contains(&place.file) {
            run.files.push(place.file);
        }
        run.rows.push(row);
        Ok(())
    }
}

fn wrong(expected: &str, found: &str) -> Error {
    let short: String = found.chars().take(60).collect();
    Error::bad(format!("expected {expected}, found {short:?}"))
}

/// A whole number, also one that pandas wrote as a float.
fn count(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let value: f64 = text.parse().ok()?;
        (value >= 0.0 && value.fract() == 0.0 && value <= 9e15).then_some(value as u64)
    })
}
