//! What an import makes: run folders like those of `veval run`, with the files that they were made from on record.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lm::ModelInfo;
use crate::store::{DataFile, Manifest, MetricRow, RUN_SCHEMA, RunFolder, Sample, Status, TaskRecord, write_metrics};
use crate::util::files::natural_cmp;
use crate::util::hash;

/// A folder's name may have 255 bytes; some are left for what is put beside it.
const MAX_NAME: usize = 200;

/// Runs that were read from files of others. Nothing is on disk yet.
#[derive(Debug)]
pub struct Imported {
    /// Of different folder names, by series and step.
    pub runs: Vec<ImportedRun>,
    /// What is worth knowing before a number is quoted.
    pub notes: Vec<String>,
}

/// One checkpoint's scores.
#[derive(Debug)]
pub struct ImportedRun {
    /// Names the files under `imported`.
    pub manifest: Manifest,
    /// The table of scores, in the order of the files.
    pub rows: Vec<MetricRow>,
    /// Items, where the files have them.
    pub samples: Vec<Sample>,
}

/// Whose scores they are.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub suite: String,
    pub series: String,
    pub checkpoint: String,
    pub step: Option<u64>,
    pub tokens: Option<u64>,
    /// What the model was called where it was evaluated.
    pub model: String,
    pub info: ModelInfo,
}

/// What is known of a model that only its scores came from.
pub(super) fn unknown_model() -> ModelInfo {
    ModelInfo {
        fingerprint: String::new(),
        numerics: String::new(),
        family: String::new(),
        parameters: 0,
        dtypes: Vec::new(),
        max_length: 0,
        ends: Vec::new(),
    }
}

impl Origin {
    /// The manifest of a run whose scores were made elsewhere.
    pub fn manifest(&self, imported: Vec<DataFile>, tasks: Vec<TaskRecord>) -> Manifest {
        let fingerprints: Vec<&str> = imported.iter().map(|file| file.fingerprint.as_str()).collect();
        let parts = json!({"imported": fingerprints, "series": self.series, "checkpoint": self.checkpoint});
        let now = ctx::now();
        Manifest {
            schema: RUN_SCHEMA.to_owned(),
            status: Status::Complete,
            key: hash::fingerprint(parts.to_string().as_bytes()),
            suite: self.suite.clone(),
            suite_fingerprint: String::new(),
            series: self.series.clone(),
            checkpoint: self.checkpoint.clone(),
            path: self.model.clone(),
            step: self.step,
            tokens: self.tokens,
            model: self.info.clone(),
            tokenizer: String::new(),
            tasks,
            veval: ctx::VERSION.to_owned(),
            threads: 0,
            shard: None,
            started: now.clone(),
            finished: Some(now),
            model_seconds: None,
            imported,
        }
    }
}

impl ImportedRun {
    /// The name of the run folder: that of the checkpoint, with the series before it.
    pub fn folder_name(&self) -> String {
        let Manifest { series, checkpoint, .. } = &self.manifest;
        let name = if series == checkpoint { checkpoint.clone() } else { format!("{series}__{checkpoint}") };
        let allowed = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
        let name: String = name.chars().map(allowed).collect();
        // A leading dot hides a folder or leaves it.
        if name.starts_with('.') { name.replacen('.', "_", 1) } else { name }
    }
}

impl Imported {
    /// Puts runs together whose folders can stand side by side.
    ///
    /// # Errors
    /// Names that are too long, and two checkpoints of one name.
    pub(super) fn new(mut runs: Vec<ImportedRun>, notes: Vec<String>) -> Result<Self> {
        runs.sort_by(|a, b| {
            let (a, b) = (&a.manifest, &b.manifest);
            a.series.cmp(&b.series).then(a.step.cmp(&b.step)).then_with(|| natural_cmp(&a.checkpoint, &b.checkpoint))
        });
        let mut problems = Vec::new();
        let mut names = std::collections::BTreeMap::new();
        for (index, run) in runs.iter().enumerate() {
            let name = run.folder_name();
            let place = run.manifest.imported.first().map(|file| PathBuf::from(&file.path)).unwrap_or_default();
            if name.len() > MAX_NAME || name.is_empty() {
                let message = format!("expected a checkpoint's name of 1 to {MAX_NAME} bytes, found {}", name.len());
                problems.push(Diagnostic::new(message).in_file(&place));
            }
            if let Some(before) = names.insert(name.clone(), index) {
                let Manifest { series, checkpoint, .. } = &runs[before].manifest;
                let message = format!("expected checkpoints of different folders, found two for {name:?}");
                let problem = Diagnostic::new(message).in_file(&place);
                problems.push(problem.help(format!("the other one is {checkpoint:?} of the series {series:?}")));
            }
        }
        Error::check(problems)?;
        Ok(Self { runs, notes })
    }

    /// Writes `<out>/<suite>/<checkpoint>/` for every run. All folders are looked at before the first is touched; one
    /// that an import of files of the same names made is written again.
    ///
    /// # Errors
    /// Folders that hold other runs.
    pub fn write(&self, out: &Path) -> Result<Vec<RunFolder>> {
        let folder = |run: &ImportedRun| RunFolder::at(out.join(&run.manifest.suite).join(run.folder_name()));
        let mut problems = Vec::new();
        for run in &self.runs {
            let folder = folder(run);
            match folder.manifest() {
                Ok(Some(known)) if !same_files(&known, &run.manifest) => {
                    let problem = Diagnostic::new("expected a free folder, found another run").in_file(folder.path());
                    problems.push(problem.help("use another --out or --suite, or remove the folder"));
                }
                Ok(_) => {}
                Err(error) => problems.extend(error.into_diagnostics()),
            }
        }
        Error::check(problems)?;
        self.runs.iter().map(|run| run.write(folder(run))).collect()
    }
}

fn same_files(known: &Manifest, new: &Manifest) -> bool {
    let paths =
        |manifest: &Manifest| -> Vec<String> { manifest.imported.iter().map(|file| file.path.clone()).collect() };
    known.key == new.key || (!known.imported.is_empty() && paths(known) == paths(new))
}

impl ImportedRun {
    fn write(&self, folder: RunFolder) -> Result<RunFolder> {
        let _lock = folder.lock()?;
        let mut writer = folder.begin(&Manifest { status: Status::Running, ..self.manifest.clone() })?;
        for sample in &self.samples {
            writer.write(sample)?;
        }
        write_metrics(&folder.metrics_path(), &self.rows)?;
        folder.finish(writer, &self.manifest)?;
        Ok(folder)
    }
}

/// A suite's name becomes a folder.
pub(super) fn check_suite(name: &str) -> Result<()> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) || name.len() > MAX_NAME {
        return Err(Error::bad(format!("expected a suite's name without slashes or a leading dot, found {name:?}")));
    }
    Ok(())
}
