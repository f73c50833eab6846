//! `veval run`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::{DeviceName, RunArguments};
use super::data;
use super::progress::Progress;
use super::run_feedback::FeedbackWork;
use super::{print, printable, report, table};
use crate::ckpt::CheckpointRef;
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::candle::Candle;
use crate::lm::{LanguageModel, Local, LocalOptions, cpu, room_beside};
use crate::model::check;
use crate::report::View;
use crate::request::{Plan, Sharing};
use crate::run::{Opener, Prepared, RunOptions, Selection, encode, hub_files, prepare, run_series};
use crate::store::{Manifest, MetricRow};
use crate::suite::{DefinitionFile, Suite, read_suite};
use crate::util::files;

const MAX_DEFINITION_BYTES: u64 = 16 << 20;

pub(super) fn run(arguments: &RunArguments) -> Result<()> {
    let threads = arguments.cost.threads.count();
    let (suite, checkpoints) = both(read(&arguments.suite), all_checkpoints(arguments))?;
    let headers = checkpoints.iter().filter_map(|(checkpoint, _)| check(&checkpoint.address).err());
    let headers: Vec<Diagnostic> = headers.flat_map(Error::into_diagnostics).collect();
    let selection =
        Selection { tasks: arguments.tasks.clone(), limit: arguments.limit, data_dir: arguments.data_dir.clone() };
    data::fetch_files(&hub_files(&suite, &selection)?, arguments.quiet)?;
    let (prepared, ()) = both(prepare(&suite, &selection, threads), Error::check(headers))?;
    let last = checkpoints.last().map(|(checkpoint, _)| checkpoint);
    let feedback = last.map(|checkpoint| FeedbackWork::of(arguments, &suite, checkpoint)).transpose()?.flatten();
    let work = Work { arguments, prepared: &prepared, checkpoints: &checkpoints, feedback: feedback.as_ref(), threads };
    match arguments.device {
        DeviceName::Cpu => {
            let kernels = cpu(threads)?;
            let name = format!("{} kernels on {threads} thread{}", kernels.isa().name(), plural(threads));
            work.on(&kernels, &name)
        }
        DeviceName::Candle => work.on(&Candle::cpu(), "candle on the CPU"),
        DeviceName::Cuda => work.on(&Candle::cuda()?, "candle on CUDA"),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What is to be done, once arguments and data are in order.
struct Work<'a> {
    arguments: &'a RunArguments,
    prepared: &'a Prepared,
    checkpoints: &'a [(CheckpointRef, String)],
    feedback: Option<&'a FeedbackWork<'a>>,
    threads: usize,
}

impl Work<'_> {
    fn on<K: Kernels + Clone>(&self, kernels: &K, name: &str) -> Result<()> {
        let &Self { arguments, prepared, checkpoints, feedback, threads } = self;
        if arguments.dry_run {
            return self.dry_run(kernels, name);
        }
        let options = RunOptions {
            again: arguments.again,
            sharing: sharing(arguments),
            shard: arguments.shard,
            ..RunOptions::new(&arguments.out, threads)
        };
        stop_when_interrupted()?;
        let local = local_options(arguments);
        let opener = Opener {
            open: &|checkpoint: &CheckpointRef| Local::open(&checkpoint.address, kernels.clone(), &local),
            ahead: &|checkpoint| room_beside::<K>(&checkpoint.address, &local),
        };
        let mut progress = Progress::new(arguments.quiet);
        progress.kernels(name);
        let mut runs: Vec<(Manifest, Vec<MetricRow>)> = Vec::new();
        run_series(prepared, checkpoints, &opener, &options, &mut progress, |outcomes| {
            runs.push((outcomes.manifest, outcomes.rows));
        })?;
        if let Some(shard) = arguments.shard {
            let out = arguments.out.display();
            return print(&format!("part {shard} is done; `veval merge {out}` puts the parts together\n"));
        }
        let folder = arguments.out.join(&prepared.suite);
        report::write_page(&folder)?;
        let view = View::new(&prepared.suite, &runs);
        let last = runs.last().map(|(manifest, _)| manifest.clone());
        let rows: Vec<MetricRow> = runs.into_iter().flat_map(|(_, rows)| rows).collect();
        print(&table::format(arguments.format, &view, &rows)?)?;
        // Scores come first: they are there even if there is no feedback to be had.
        if let (Some(feedback), Some((checkpoint, name)), Some(manifest)) = (feedback, checkpoints.last(), last) {
            let made = feedback.make(checkpoint, &folder.join(name), &manifest);
            report::write_page(&folder)?;
            made?;
        }
        Ok(())
    }

    /// What each task would cost, by the first checkpoint and a short calibration on this machine.
    fn dry_run<K: Kernels + Clone>(&self, kernels: &K, name: &str) -> Result<()> {
        let &Self { arguments, prepared, checkpoints, threads, .. } = self;
        let local = LocalOptions { allow_nonfinite: true, ..local_options(arguments) };
        let model = Local::open(&checkpoints[0].0.address, kernels.clone(), &local)?;
        let encoded = encode(prepared, model.tokenizer(), model.info().max_length, threads)?;
        let speed = model.calibrate()?;
        let row = |name: &str, items: usize, plan: &Plan| {
            let cost = model.cost(plan, speed);
            let (requested, forwarded, generated) =
                (plan.tokens_requested(), plan.tokens_forwarded(), plan.tokens_generated());
            let (time, memory) = (duration(cost.seconds), cost.memory.div_ceil(1_000_000));
            format!("{name:<32} {items:>8} {requested:>14} {forwarded:>14} {generated:>12} {memory:>8} {time:>10}\n")
        };
        let mut text = format!(
            "{:<32} {:>8} {:>14} {:>14} {:>12} {:>8} {:>10}\n",
            "task", "items", "tokens asked", "forwarded", "generated <=", "MB", "time ~"
        );
        let items = |task: Option<usize>| -> Vec<usize> {
            (0..encoded.items.len())
                .filter(|&index| task.is_none_or(|task| encoded.items[index].task == task))
                .collect()
        };
        let plan = |items: &[usize]| {
            let places = items.iter().flat_map(|&item| encoded.places(item..item + 1));
            encoded.plan(&encoded.groups(places), BTreeMap::new(), sharing(arguments))
        };
        for (index, task) in prepared.tasks.iter().enumerate() {
            let own = items(Some(index));
            text += &row(&printable(&task.task.name), own.len(), &plan(&own));
        }
        let all = items(None);
        text += &row("all", all.len(), &plan(&all));
        text += &format!(
            "for each of {} checkpoint{} like the first, by {name}\n",
            checkpoints.len(),
            plural(checkpoints.len())
        );
        print(&text)
    }
}

/// The first interrupt lets the pass in flight finish and its answers be stored; the second ends at once.
pub(super) fn stop_when_interrupted() -> Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let handler = || {
        if ctx::interrupted() {
            std::process::exit(3);
        }
        ctx::interrupt();
    };
    ctrlc::set_handler(handler).map_err(|e| Error::internal(format!("no handler for interrupts: {e}")))
}

fn local_options(arguments: &RunArguments) -> LocalOptions {
    LocalOptions {
        allow_nonfinite: arguments.allow_nonfinite,
        add_bos: arguments.add_bos,
        batch_tokens: arguments.cost.batch_tokens,
        max_memory: arguments.cost.max_memory,
    }
}

fn sharing(arguments: &RunArguments) -> Sharing {
    if arguments.no_prefix_sharing { Sharing::Nothing } else { Sharing::Prefixes }
}

/// Reads a suite and the task files beside it.
pub(super) fn read(path: &Path) -> Result<Suite> {
    let load = |path: &Path| files::read_text(path, MAX_DEFINITION_BYTES);
    let file = DefinitionFile { path: path.to_path_buf(), text: load(path)? };
    read_suite(&file, &mut |path| load(path))
}

/// Both results, or the problems of both.
fn both<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => Err(Error::all([a.into_diagnostics(), b.into_diagnostics()].concat())),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The checkpoints of all arguments, each with the name of its run folder: its own name, with the series before it
/// where a folder of checkpoints was given.
fn all_checkpoints(arguments: &RunArguments) -> Result<Vec<(CheckpointRef, String)>> {
    let mut found: Vec<(CheckpointRef, String)> = Vec::new();
    let mut problems = Vec::new();
    for path in &arguments.checkpoints {
        match data::checkpoints(path, arguments.quiet) {
            Ok(checkpoints) => found.extend(checkpoints.into_iter().map(|checkpoint| {
                let name = if checkpoint.run == checkpoint.name {
                    checkpoint.name.clone()
                } else {
                    format!("{}__{}", checkpoint.run, checkpoint.name)
                };
                (checkpoint, name)
            })),
            Err(error) => problems.extend(error.into_diagnostics()),
        }
    }
    for (index, (checkpoint, name)) in found.iter().enumerate() {
        if found[..index].iter().any(|(_, known)| known == name) {
            let problem = Diagnostic::new(format!("expected checkpoints of different names, found {name:?} twice"))
                .in_file(checkpoint.address.to_string());
            problems.push(problem.help("run them into different --out folders"));
        }
    }
    Error::check(problems)?;
    Ok(found)
}

/// `3.2 s`, `4 min 10 s`, `2 h 5 min`
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}
