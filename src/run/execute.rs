//! One checkpoint: from encoded items to a complete run folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::encode::Encoded;
use super::event::{Event, Events};
use super::prepare::Prepared;
use super::recorder::Recorder;
use super::score::score;
use crate::ckpt::CheckpointRef;
use crate::ctx;
use crate::error::Result;
use crate::lm::{Answers, LanguageModel};
use crate::request::Sharing;
use crate::store::{Held, Manifest, MetricRow, RUN_SCHEMA, RunFolder, ScoreStore, Shard, Status, write_metrics};
use crate::util::hash;

/// Settings of a run that do not change its numbers.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub out: PathBuf,
    pub threads: usize,
    /// Score again although the answers are known.
    pub again: bool,
    pub sharing: Sharing,
    /// Only this part of the items.
    pub shard: Option<Shard>,
    /// Bytes that the process will hold as soon as others have what they are about to take; 0 where there are none.
    pub soon: usize,
}

impl RunOptions {
    /// All items, with what the store knows, as fast as it goes.
    pub fn new(out: impl Into<PathBuf>, threads: usize) -> Self {
        Self { out: out.into(), threads, again: false, sharing: Sharing::Prefixes, shard: None, soon: 0 }
    }
}

/// What a checkpoint scored.
pub struct Outcomes {
    pub folder: RunFolder,
    pub manifest: Manifest,
    /// None for a part of a run.
    pub rows: Vec<MetricRow>,
}

/// Runs a prepared and encoded suite on a loaded model and writes `<out>/<suite>/<name>/`.
///
/// Answers that the score store has are taken from there; every other answer goes into it as soon as its forward pass
/// is done, and long generations as far as they are, so a run that was killed loses what was in flight and little more.
pub fn run_checkpoint(
    prepared: &Prepared,
    encoded: &Encoded,
    model: &dyn LanguageModel,
    (checkpoint, name): (&CheckpointRef, &str),
    options: &RunOptions,
    events: &mut dyn Events,
) -> Result<Outcomes> {
    let whole = RunFolder::at(options.out.join(&prepared.suite).join(name));
    let folder = options.shard.map_or_else(|| whole.clone(), |shard| whole.shard(shard));
    let manifest = manifest(prepared, model, checkpoint, options);
    if !options.again
        && let Some(known) = complete(&folder, &manifest.key)?
    {
        events.event(&Event::AlreadyScored { checkpoint: name });
        let rows = if options.shard.is_some() { Vec::new() } else { record_rows(&folder, &known, options.threads)? };
        return Ok(Outcomes { folder, manifest: known, rows });
    }
    let _lock = folder.lock()?;
    let mut store = ScoreStore::open(&options.out, model.info(), model.tokenizer().fingerprint())?;
    let items = options.shard.map_or(0..encoded.items.len(), |shard| shard.range(encoded.items.len()));
    let mut recorder = Recorder::new(prepared, encoded, &manifest.tasks, folder.begin(&manifest)?, items.clone());
    let (mut open, mut begun) = (Vec::new(), BTreeMap::new());
    for place in encoded.places(items.clone()) {
        let held = if options.again { None } else { store.get(encoded.key(place))? };
        match held {
            Some(Held::Whole(response)) => recorder.answer(place, response),
            Some(Held::Begun(so_far)) => {
                begun.insert(*encoded.key(place), so_far);
                open.push(place);
            }
            None => open.push(place),
        }
    }
    recorder.write_finished()?;
    let open = encoded.groups(open);
    let plan = encoded.plan(&open, begun, options.sharing);
    events.event(&Event::Planned {
        checkpoint: name,
        items: items.len(),
        done: recorder.done(),
        tokens_requested: plan.tokens_requested(),
        tokens_forwarded: plan.tokens_forwarded(),
    });
    let start = ctx::seconds();
    model.execute(&plan, options.soon, &mut |answers| {
        let Answers { whole, begun } = answers;
        let key = |request: usize| *encoded.key(open[request][0]);
        let keyed: Vec<_> = whole.iter().map(|(request, response)| (key(*request), response)).collect();
        let so_far: Vec<_> = begun.iter().map(|(request, so_far)| (key(*request), so_far)).collect();
        store.append(&keyed, &so_far)?;
        for (request, response) in whole {
            for &place in &open[request] {
                recorder.answer(place, response.clone());
            }
        }
        recorder.write_finished()?;
        events.event(&Event::Items { done: recorder.done() });
        Ok(())
    })?;
    let model_seconds = Some(ctx::seconds() - start);
    let (writer, samples) = recorder.finish()?;
    let rows = if options.shard.is_some() { Vec::new() } else { score(&manifest, &samples, options.threads)? };
    if options.shard.is_none() {
        write_metrics(&folder.metrics_path(), &rows)?;
    }
    let manifest = Manifest { status: Status::Complete, finished: Some(ctx::now()), model_seconds, ..manifest };
    folder.finish(writer, &manifest)?;
    events.event(&Event::Finished { checkpoint: name, folder: folder.path() });
    Ok(Outcomes { folder, manifest, rows })
}

/// The manifest of a complete record of the same work.
fn complete(folder: &RunFolder, key: &str) -> Result<Option<Manifest>> {
    Ok(folder.manifest()?.filter(|known| known.status == Status::Complete && known.key == key))
}

/// Scores of a complete record, as its samples say; a lost table is written again.
fn record_rows(folder: &RunFolder, manifest: &Manifest, threads: usize) -> Result<Vec<MetricRow>> {
    let samples =
        folder.complete_samples(manifest).map_err(|e| e.help("the record is damaged; `--again` makes it anew"))?;
    let rows = score(manifest, &samples, threads)?;
    if !folder.metrics_path().exists() {
        write_metrics(&folder.metrics_path(), &rows)?;
    }
    Ok(rows)
}

fn manifest(
    prepared: &Prepared,
    model: &dyn LanguageModel,
    checkpoint: &CheckpointRef,
    options: &RunOptions,
) -> Manifest {
    let mut manifest = Manifest {
        schema: RUN_SCHEMA.to_owned(),
        status: Status::Running,
        key: String::new(),
        suite: prepared.suite.clone(),
        suite_fingerprint: prepared.suite_fingerprint.clone(),
        series: checkpoint.run.clone(),
        checkpoint: checkpoint.name.clone(),
        path: checkpoint.address.absolute().to_string(),
        step: checkpoint.step,
        tokens: checkpoint.tokens,
        model: model.info().clone(),
        tokenizer: model.tokenizer().fingerprint().to_owned(),
        tasks: prepared.tasks.iter().map(super::PreparedTask::record).collect(),
        veval: ctx::VERSION.to_owned(),
        threads: options.threads,
        shard: options.shard,
        started: ctx::now(),
        finished: None,
        model_seconds: None,
        imported: Vec::new(),
    };
    manifest.key = key(&manifest, model.tokenizer().add_bos());
    manifest
}

/// Suite, tasks with their data, model, tokenizer and what a flag says of the token before texts; neither clock nor threads
/// nor where the folder lies.
fn key(manifest: &Manifest, add_bos: Option<bool>) -> String {
    let mut parts = serde_json::json!({
        "suite": manifest.suite_fingerprint,
        "model": manifest.model,
        "tokenizer": manifest.tokenizer,
        "tasks": manifest.tasks,
    });
    if let Some(add_bos) = add_bos {
        parts["add_bos"] = add_bos.into();
    }
    hash::fingerprint(parts.to_string().as_bytes())
}
