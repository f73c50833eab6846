//! Opening, filling and reading run folders.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, RUN_SCHEMA, Status};
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

    /// Starts a run, or goes on with an interrupted one of the same key: the samples that were written whole are
    /// handed back, a torn last line is cut off. What a run of another key left is removed. The manifest says
    /// `running` until [`Self::finish`].
    pub fn begin(&self, manifest: &Manifest, resume: bool) -> Result<(SampleWriter, Vec<Sample>)> {
        files::create_folder(&self.path)?;
        let same = |known: Manifest| resume && known.status == Status::Running && known.key == manifest.key;
        let known = self.manifest()?.is_some_and(same);
        let path = self.samples_path();
        let (samples, length) = if known && path.exists() { whole_samples(&path)? } else { (Vec::new(), 0) };
        let metrics = self.metrics_path();
        if metrics.exists() {
            std::fs::remove_file(&metrics).map_err(|e| Error::io("remove", &metrics, &e))?;
        }
        let open = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            file.set_len(length)?;
            let mut file = BufWriter::new(file);
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(|e: std::io::Error| Error::io("create", &path, &e))?;
        self.write_manifest(manifest)?;
        Ok((SampleWriter { path, file }, samples))
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

/// The samples at the head of a file that are whole, and the bytes that they take.
fn whole_samples(path: &Path) -> Result<(Vec<Sample>, u64)> {
    let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    let (mut samples, mut length) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|e| Error::io("read", path, &e))?;
        match line.strip_suffix(b"\n").map(serde_json::from_slice::<Sample>) {
            Some(Ok(sample)) => samples.push(sample),
            _ => return Ok((samples, length)),
        }
        length += read as u64;
    }
}

/// The complete runs under `<out>/<suite>`, by step and name.
pub fn list_runs(folder: &Path) -> Result<Vec<(RunFolder, Manifest)>> {
    let mut runs = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, &e))?;
    for entry in entries {
        let run = RunFolder::at(entry.map_err(|e| Error::io("list", folder, &e))?.path());
        if let Some(manifest) = run.manifest()?.filter(|manifest| manifest.status == Status::Complete) {
            runs.push((run, manifest));
        }
    }
    runs.sort_by(|(_, a), (_, b)| {
        a.series.cmp(&b.series).then(a.step.cmp(&b.step)).then_with(|| files::natural_cmp(&a.checkpoint, &b.checkpoint))
    });
    Ok(runs)
}
