//! Opening, filling and reading run folders.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, RUN_SCHEMA, Shard, Status};
use super::sample::Sample;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

const MAX_MANIFEST_BYTES: u64 = 256 << 20;
const MAX_LINE_BYTES: usize = 256 << 20;

/// The folder of one checkpoint under one suite.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

/// A folder that this process alone writes.
pub struct FolderLock {
    _file: File,
}

/// Appends samples.
pub struct SampleWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl RunFolder {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    fn manifest_path(&self) -> PathBuf {
        self.path.join("run.json")
    }

    fn samples_path(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// The manifest, if there is a run here.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let path = self.manifest_path();
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path, MAX_MANIFEST_BYTES)?;
        let schema = serde_json::from_str::<serde_json::Value>(&text).ok();
        let schema = schema.as_ref().and_then(|value| value.get("schema")?.as_str()).unwrap_or("none");
        if schema != RUN_SCHEMA {
            return Err(Error::bad(format!("expected a run of format {RUN_SCHEMA}, found {schema}"))
                .in_file(&path)
                .help("a newer veval wrote it, or it is no run folder"));
        }
        let manifest = serde_json::from_str(&text)
            .map_err(|e| Error::bad(format!("expected a run manifest: {e}")).in_file(&path))?;
        Ok(Some(manifest))
    }

    /// The folder of one part of this run.
    #[must_use]
    pub fn shard(&self, shard: Shard) -> Self {
        Self::at(self.shards_path().join(format!("{}-of-{}", shard.index, shard.count)))
    }

    fn shards_path(&self) -> PathBuf {
        self.path.join("shards")
    }

    /// The parts that are there, in order.
    pub fn shards(&self) -> Result<Vec<(Self, Manifest)>> {
        let path = self.shards_path();
        if !path.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(|e| Error::io("list", &path, &e))? {
            let folder = Self::at(entry.map_err(|e| Error::io("list", &path, &e))?.path());
            found.extend(folder.manifest()?.map(|manifest| (folder, manifest)));
        }
        found.sort_by_key(|(_, manifest)| manifest.shard.map_or((0, 0), |shard| (shard.count, shard.index)));
        Ok(found)
    }

    /// Removes the parts, once they are merged: all at once, since a run of which some are left would look as if it lacked the
    /// others.
    pub fn remove_shards(&self) -> Result<()> {
        let (path, merged) = (self.shards_path(), self.path.join(".merged"));
        if merged.exists() {
            std::fs::remove_dir_all(&merged).map_err(|e| Error::io("remove", &merged, &e))?;
        }
        std::fs::rename(&path, &merged).map_err(|e| Error::io("remove", &path, &e))?;
        std::fs::remove_dir_all(&merged).map_err(|e| Error::io("remove", &merged, &e))
    }

    /// Takes the folder for this process, until the lock is dropped or the process ends.
    ///
    /// # Errors
    /// When another process has it.
    pub fn lock(&self) -> Result<FolderLock> {
        files::create_folder(&self.path)?;
        let path = self.path.join(".lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::bad("expected a run folder that nobody works on, found another veval at work")
                    .in_file(&self.path)
                    .help("wait for it, or use another --out; parts of one run go side by side with --shard"))
            }
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, &e)),
        }
    }

    /// Starts a record. What a former run left is removed. The manifest says `running` until [`Self::finish`].
    pub fn begin(&self, manifest: &Manifest) -> Result<SampleWriter> {
        files::create_folder(&self.path)?;
        let metrics = self.metrics_path();
        if metrics.exists() {
            std::fs::remove_file(&metrics).map_err(|e| Error::io("remove", &metrics, &e))?;
        }
        self.write_manifest(manifest)?;
        let path = self.samples_path();
        let file = File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(SampleWriter { path, file: BufWriter::new(file) })
    }

    /// Marks the run complete, once all samples are on disk.
    pub fn finish(&self, writer: SampleWriter, manifest: &Manifest) -> Result<()> {
        writer.close()?;
        self.write_manifest(&Manifest { status: Status::Complete, ..manifest.clone() })
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let mut text = serde_json::to_string_pretty(manifest).map_err(|e| Error::internal(format!("run.json: {e}")))?;
        text.push('\n');
        files::write_atomic(&self.manifest_path(), text.as_bytes())
    }

    /// All samples of a complete run, in the order of the file.
    ///
    /// # Errors
    /// Lines that are no samples, and fewer or more samples of a task than the manifest says.
    pub fn complete_samples(&self, manifest: &Manifest) -> Result<Vec<Sample>> {
        let samples = self.samples()?;
        let wrong = manifest.tasks.iter().filter_map(|task| {
            let found = samples.iter().filter(|sample| sample.task == task.name).count();
            let message = format!("expected {} samples of task {}, found {found}", task.items, task.name);
            (found != task.items).then(|| Diagnostic::new(message).in_file(self.samples_path()))
        });
        Error::check(wrong.collect())?;
        Ok(samples)
    }

    /// All samples, in the order of the file.
    pub fn samples(&self) -> Result<Vec<Sample>> {
        let path = self.samples_path();
        let file = File::open(&path).map_err(|e| Error::io("open", &path, &e))?;
        let mut samples = Vec::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| Error::io("read", &path, &e))?;
            let bad = |message: String| Error::bad(message).in_file(&path).at(format!("line {}", number + 1));
            if line.len() > MAX_LINE_BYTES {
                return Err(bad("expected a shorter line".to_owned()));
            }
            samples.push(serde_json::from_str(&line).map_err(|e| bad(format!("expected a sample: {e}")))?);
        }
        Ok(samples)
    }
}

impl SampleWriter {
    pub fn write(&mut self, sample: &Sample) -> Result<()> {
        let mut line = serde_json::to_vec(sample).map_err(|e| Error::internal(format!("samples.jsonl: {e}")))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| Error::io("append to", &self.path, &e))
    }

    /// Hands everything to the system, so that a killed process loses nothing that was written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::io("append to", &self.path, &e))
    }

    fn close(self) -> Result<()> {
        let path = self.path;
        let file = self.file.into_inner().map_err(|e| Error::io("write", &path, e.error()))?;
        file.sync_all().map_err(|e| Error::io("write", &path, &e))
    }
}

/// The run folders under `<out>/<suite>`, by name.
pub fn list_folders(suite: &Path) -> Result<Vec<RunFolder>> {
    let entries = std::fs::read_dir(suite).map_err(|e| Error::io("list", suite, &e))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", suite, &e))?.path();
        if path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.into_iter().map(RunFolder::at).collect())
}

/// The complete runs under `<out>/<suite>`, by step and name.
pub fn list_runs(suite: &Path) -> Result<Vec<(RunFolder, Manifest)>> {
    let mut runs = Vec::new();
    for run in list_folders(suite)? {
        if let Some(manifest) = run.manifest()?.filter(|manifest| manifest.status == Status::Complete) {
            runs.push((run, manifest));
        }
    }
    runs.sort_by(|(_, a), (_, b)| {
        a.series.cmp(&b.series).then(a.step.cmp(&b.step)).then_with(|| files::natural_cmp(&a.checkpoint, &b.checkpoint))
    });
    Ok(runs)
}
