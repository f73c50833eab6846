//! One checkpoint: from encoded items to a complete run folder.

use std::path::{Path, PathBuf};

use super::encode::{Encoded, EncodedItem};
use super::event::{Event, Events};
use super::prepare::Prepared;
use super::score::{sample_metrics, score};
use crate::ckpt::CheckpointRef;
use crate::ctx;
use crate::error::{Error, Result};
use crate::lm::LanguageModel;
use crate::request::{Plan, Request, Response, Sharing};
use crate::store::{
    Manifest, MetricRow, RUN_SCHEMA, RunFolder, Sample, SampleWriter, Status, TaskRecord, write_metrics,
};
use crate::util::hash;

/// Settings of a run that do not change its numbers.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub out: PathBuf,
    pub threads: usize,
    /// Score again although a complete record of the same work is there.
    pub again: bool,
    pub sharing: Sharing,
}

/// What a checkpoint scored.
pub struct Outcomes {
    pub folder: RunFolder,
    pub manifest: Manifest,
    pub rows: Vec<MetricRow>,
}

/// Runs a prepared and encoded suite on a loaded model and writes `<out>/<suite>/<name>/`.
pub fn run_checkpoint(
    prepared: &Prepared,
    encoded: &Encoded,
    model: &dyn LanguageModel,
    (checkpoint, name): (&CheckpointRef, &str),
    options: &RunOptions,
    events: &mut dyn Events,
) -> Result<Outcomes> {
    let folder = RunFolder::at(options.out.join(&prepared.suite).join(name));
    let manifest = manifest(prepared, model, checkpoint, options.threads);
    if !options.again
        && let Some(known) =
            folder.manifest()?.filter(|known| known.status == Status::Complete && known.key == manifest.key)
    {
        let samples =
            folder.complete_samples(&known).map_err(|e| e.help("the record is damaged; `--again` makes it anew"))?;
        let rows = score(&known, &samples, options.threads)?;
        events.event(&Event::AlreadyScored { checkpoint: name });
        return Ok(Outcomes { folder, manifest: known, rows });
    }
    let (mut writer, mut samples) = folder.begin(&manifest, !options.again)?;
    let id = |item: &EncodedItem| &prepared.tasks[item.task].items[item.item].id;
    let agreeing = samples.iter().zip(&encoded.items).take_while(|(sample, item)| sample.item == *id(item)).count();
    if agreeing < samples.len() {
        // Not the record that its key promised: begin again.
        (writer, samples) = folder.begin(&manifest, false)?;
    }
    let done = samples.len();
    let (plan, owners) = plan(encoded, done, options.sharing);
    events.event(&Event::Planned {
        checkpoint: name,
        items: encoded.items.len(),
        done,
        tokens_requested: plan.tokens_requested(),
        tokens_forwarded: plan.tokens_forwarded(),
    });
    let mut recorder = Recorder {
        prepared,
        encoded,
        records: &manifest.tasks,
        writer,
        answers: answers(encoded),
        next: done,
        samples,
    };
    model.execute(&plan, &mut |request, response| {
        let (item, position) = owners[request];
        recorder.answers[item][position] = Some(response);
        if recorder.write_finished()? > 0 {
            events.event(&Event::Items { done: recorder.next });
        }
        Ok(())
    })?;
    if recorder.next != encoded.items.len() {
        return Err(Error::internal(format!("{} of {} items were answered", recorder.next, encoded.items.len())));
    }
    let Recorder { writer, samples, .. } = recorder;
    let rows = score(&manifest, &samples, options.threads)?;
    write_metrics(&folder.metrics_path(), &rows)?;
    let manifest = Manifest { finished: Some(ctx::now()), ..manifest };
    folder.finish(writer, &manifest)?;
    events.event(&Event::Finished { checkpoint: name, folder: folder.path() });
    Ok(Outcomes { folder, manifest, rows })
}

/// The requests of the items from `done` on, and the item and position that each belongs to.
fn plan(encoded: &Encoded, done: usize, sharing: Sharing) -> (Plan, Vec<(usize, usize)>) {
    let left = encoded.items.iter().enumerate().skip(done);
    let owned = left.clone().flat_map(|(item, e)| (0..e.requests.len()).map(move |position| (item, position)));
    let requests: Vec<Request> = left.flat_map(|(_, item)| item.requests.iter().cloned()).collect();
    (Plan::new(requests, sharing), owned.collect())
}

fn answers(encoded: &Encoded) -> Vec<Vec<Option<Response>>> {
    encoded.items.iter().map(|item| vec![None; item.requests.len()]).collect()
}

/// Turns answers into samples and writes them in the order of the items, whatever order the answers come in.
struct Recorder<'a> {
    prepared: &'a Prepared,
    encoded: &'a Encoded,
    records: &'a [TaskRecord],
    writer: SampleWriter,
    answers: Vec<Vec<Option<Response>>>,
    /// The first item that is not written yet.
    next: usize,
    samples: Vec<Sample>,
}

impl Recorder<'_> {
    /// Writes the items at the head of the line that have all their answers; returns how many.
    fn write_finished(&mut self) -> Result<usize> {
        let before = self.next;
        while self.answers.get(self.next).is_some_and(|answers| answers.iter().all(Option::is_some)) {
            let responses = std::mem::take(&mut self.answers[self.next]).into_iter().flatten().collect();
            let sample = self.sample(self.next, responses)?;
            self.writer.write(&sample)?;
            self.samples.push(sample);
            self.next += 1;
        }
        if self.next > before {
            self.writer.flush()?;
        }
        Ok(self.next - before)
    }

    fn sample(&self, index: usize, responses: Vec<Response>) -> Result<Sample> {
        let encoded = &self.encoded.items[index];
        let item = &self.prepared.tasks[encoded.task].items[encoded.item];
        let record = &self.records[encoded.task];
        let outcome = encoded.outcome(item, responses)?;
        Ok(Sample {
            task: record.name.clone(),
            item: item.id.clone(),
            row: item.row,
            slices: item.slices.iter().cloned().collect(),
            shots: item.shots.clone(),
            prompt_hash: encoded.prompt_hash.clone(),
            truncated: encoded.truncated,
            metrics: sample_metrics(record, &outcome)?,
            outcome,
        })
    }
}

fn manifest(prepared: &Prepared, model: &dyn LanguageModel, checkpoint: &CheckpointRef, threads: usize) -> Manifest {
    let mut manifest = Manifest {
        schema: RUN_SCHEMA.to_owned(),
        status: Status::Running,
        key: String::new(),
        suite: prepared.suite.clone(),
        suite_fingerprint: prepared.suite_fingerprint.clone(),
        series: checkpoint.run.clone(),
        checkpoint: checkpoint.name.clone(),
        path: absolute(&checkpoint.path),
        step: checkpoint.step,
        tokens: checkpoint.tokens,
        model: model.info().clone(),
        tokenizer: model.tokenizer().fingerprint().to_owned(),
        tasks: prepared.tasks.iter().map(super::PreparedTask::record).collect(),
        veval: ctx::VERSION.to_owned(),
        threads,
        started: ctx::now(),
        finished: None,
    };
    manifest.key = key(&manifest);
    manifest
}

fn absolute(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
}

/// Suite, tasks with their data, model and tokenizer; neither clock nor threads nor where the folder lies.
fn key(manifest: &Manifest) -> String {
    let parts = serde_json::json!({
        "suite": manifest.suite_fingerprint,
        "model": manifest.model,
        "tokenizer": manifest.tokenizer,
        "tasks": manifest.tasks,
    });
    hash::fingerprint(parts.to_string().as_bytes())
}
