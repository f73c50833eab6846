//! `veval feedback check`: is the new mixture better? Training goes on with each, and sealed items are the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::sealed::{Measured, items_of};
use crate::ckpt::{CheckpointRef, discover_one};
use crate::cli::args::{ArmFile, FeedbackCheckArguments};
use crate::cli::run::stop_when_interrupted;
use crate::cli::{print, printable};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::bundle::Bundle;
use crate::feedback::check::{Arm, Difference, Family, Foretold, KnownValues, Reached, Task, compare_family, foretold};
use crate::feedback::value::FEWEST_TWINS;
use crate::kernels::cpu::Cpu;
use crate::lab::train::{Plan, Trainer, Training};
use crate::lm::{LanguageModel, Local, LocalOptions, cpu};
use crate::metric::{Aggregation, Metric};
use crate::model::Predicted;
use crate::run::{Prepared, RunOptions, Silent, encode, run_checkpoint};
use crate::util::{files, hash};

/// Tokens of a pass that measures losses.
const MEASURED_AT_ONCE: usize = 2048;

pub(super) fn check(arguments: &FeedbackCheckArguments) -> Result<()> {
    let bundle = Bundle::open(&arguments.bundle)?;
    let threads = arguments.threads.count();
    let kernels = cpu(threads)?;
    let base = Plan::read(&arguments.plan)?;
    names_differ(&arguments.arms)?;
    shares_are_named(arguments, &base)?;
    // Whatever can be wrong is found before the first step.
    let values = arguments.values.as_deref().map(|path| values(path, &bundle, arguments)).transpose()?;
    let measured = measured_on(arguments, &bundle, &base, &kernels)?;
    if arguments.command.is_none() {
        arguments.arms.iter().try_for_each(|arm| opened(&base, arm, 1).map(drop))?;
    }
    stop_when_interrupted()?;
    files::create_folder(&arguments.out)?;
    let mut found = Scores::default();
    for arm in &arguments.arms {
        for seed in 1..=arguments.seeds {
            let folder = run_folder(arguments, arm, seed);
            let trained = match &arguments.command {
                Some(command) => trained_by(command, arm, &base, seed, &folder)?,
                None => trained(&base, arm, seed, &folder, &kernels)?,
            };
            if !arguments.quiet {
                eprintln!("{}, seed {seed}: trained ({:.0} s)", arm.name, ctx::seconds());
            }
            found.measure(arguments, &bundle, &measured, (arm, seed), &trained, &kernels)?;
        }
    }
    let foretold = values.map(|values| found.foretold(&values, &bundle, arguments)).transpose();
    // What was trained is judged, whatever there is to be said of values.
    let known = foretold.as_ref().ok().cloned().flatten();
    let judged = Judged { parts: found.judged(&bundle, &arguments.arms)?, foretold: known };
    let text = serde_json::to_string_pretty(&judged.json(arguments));
    let text = text.map_err(|e| Error::internal(format!("check: {e}")))?;
    files::write_atomic(&arguments.out.join("check.json"), format!("{text}\n").as_bytes())?;
    print(&printable(&judged.text(&arguments.arms[0].name)))?;
    foretold.map(drop)
}

fn values(path: &Path, bundle: &Bundle, arguments: &FeedbackCheckArguments) -> Result<KnownValues> {
    // What is compared are runs of one arm with each other.
    let runs = arguments.arms.iter().filter(|arm| arm.targets.is_none()).count() as u64 * (arguments.seeds - 1);
    if runs < FEWEST_TWINS as u64 {
        let message =
            format!("expected at least {FEWEST_TWINS} runs to compare with another of their arm, found {runs}");
        return Err(Error::bad(message).at("--values").help("take more --seeds"));
    }
    let values = KnownValues::read(path)?;
    values.have(&target_names(bundle), path)?;
    Ok(values)
}

fn target_names(bundle: &Bundle) -> Vec<String> {
    bundle.manifest.targets.iter().map(|target| target.name.clone()).collect()
}

fn names_differ(arms: &[ArmFile]) -> Result<()> {
    let names: BTreeSet<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    if arms.len() < 2 || names.len() < arms.len() {
        let message = format!("expected two arms or more with names of their own, found {} names", names.len());
        return Err(Error::bad(message).at("--arm").help("such as --arm old= --arm new=next.json"));
    }
    Ok(())
}

/// Without named shares, a source's would be that of its tokens, and copies would move them.
fn shares_are_named(arguments: &FeedbackCheckArguments, base: &Plan) -> Result<()> {
    let moved = arguments.arms.iter().filter(|arm| arm.copies.is_some() && arm.mixture.is_none());
    let problem = |arm: &ArmFile| {
        Diagnostic::new("expected the mixture that copies are made in, found none: copies would change it")
            .at(format!("arm {}", arm.name))
            .help("name `mixture` in the plan, or --arm NAME=mixture.json+values.jsonl")
    };
    if base.training.mixture.is_some() || arguments.command.is_some() {
        return Ok(());
    }
    Error::check(moved.map(problem).collect())
}

fn run_folder(arguments: &FeedbackCheckArguments, arm: &ArmFile, seed: u64) -> PathBuf {
    arguments.out.join(&arm.name).join(format!("seed{seed}"))
}

/// The sealed items of all tasks, for the checkpoint that training goes on from.
fn measured_on(arguments: &FeedbackCheckArguments, bundle: &Bundle, base: &Plan, kernels: &Cpu) -> Result<Measured> {
    let Some(from) = &base.training.from else {
        let error = Error::bad("expected a plan that goes on from a checkpoint, found none").in_file(&arguments.plan);
        return Err(error.at("from").help("a new mixture is tried from where the old one has come to"));
    };
    let from = discover_one(&base.path(from))?;
    let model = Local::open(from.address, kernels.clone(), &LocalOptions::default())?;
    bundle.at(model.info(), model.tokenizer())?;
    let encoder = (model.tokenizer(), model.info().max_length);
    items_of(bundle, &arguments.again, encoder, (true, arguments.threads.count()))
}

/// Trains one arm with the lab's trainer, or finds it trained.
fn trained(base: &Plan, arm: &ArmFile, seed: u64, folder: &Path, kernels: &Cpu) -> Result<CheckpointRef> {
    let steps = base.training.steps;
    let trainer = opened(base, arm, seed)?;
    if !trainer.run(folder, kernels, &mut |_| !ctx::interrupted())? {
        let message = format!("interrupted while arm {} was trained", arm.name);
        let error = Error::new(ErrorKind::Incomplete, Diagnostic::new(message));
        return Err(error.help("run the same command again to go on"));
    }
    discover_one(&folder.join(format!("step{steps}")))
}

/// An arm that is ready to be trained.
fn opened(base: &Plan, arm: &ArmFile, seed: u64) -> Result<Trainer> {
    let mut training: Training = base.training.clone();
    training.seed = base.training.seed + seed;
    training.mixture = arm.mixture.as_deref().map(absolute).transpose()?.or(training.mixture);
    training.values = arm.copies.as_deref().map(absolute).transpose()?.or(training.values);
    training.targets = arm.targets.as_deref().map(absolute).transpose()?.or(training.targets);
    let own = Plan::new(training, base.path(Path::new("")))?;
    Trainer::open(own).map_err(|error| error.at(format!("arm {}", arm.name)))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| Error::io("find", path, &e))
}

/// Says of a folder what was trained into it, once it was.
const DONE: &str = ".veval-arm";

/// Has a user's command train one arm, or finds it trained: it leaves a checkpoint in the folder.
fn trained_by(command: &str, arm: &ArmFile, base: &Plan, seed: u64, folder: &Path) -> Result<CheckpointRef> {
    let fingerprint = |file: &Option<PathBuf>| match file {
        Some(file) => hash::fingerprint_file(file),
        None => Ok(String::new()),
    };
    let files = [&arm.mixture, &arm.copies, &arm.targets].map(fingerprint).into_iter().collect::<Result<Vec<_>>>()?;
    let parts = [vec![command.to_owned()], files].concat();
    let plan = serde_json::to_string(&base.training).map_err(|e| Error::internal(format!("plan: {e}")))?;
    let identity = hash::fingerprint(format!("{parts:?} {seed} {plan}").as_bytes());
    let done = folder.join(DONE);
    if done.exists() {
        let found = files::read_text(&done, 1 << 10)?;
        if found.trim() != identity {
            let message = "expected a folder of this arm, found one of another command, plan or files";
            return Err(Error::bad(message).in_file(folder).help("name another folder with --out, or remove this one"));
        }
        return discover_one(folder);
    }
    files::create_folder(folder)?;
    let file = |file: &Option<PathBuf>| file.clone().unwrap_or_default();
    let status = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("VEVAL_ARM", &arm.name)
        .env("VEVAL_MIXTURE", file(&arm.mixture))
        .env("VEVAL_VALUES", file(&arm.copies))
        .env("VEVAL_TARGETS", file(&arm.targets))
        .env("VEVAL_SEED", seed.to_string())
        .env("VEVAL_STEPS", base.training.steps.to_string())
        .env("VEVAL_OUT", folder)
        .status()
        .map_err(|e| Error::io("start", Path::new("sh"), &e))?;
    let place = || format!("arm {}, seed {seed}", arm.name);
    if ctx::interrupted() {
        let error = Error::new(ErrorKind::Incomplete, Diagnostic::new("interrupted while the command trained"));
        return Err(error.at(place()).help("run the same command again"));
    }
    if !status.success() {
        let error = Error::bad(format!("expected the command to end with 0, found {status}"));
        return Err(error.at(place()));
    }
    let trained = discover_one(folder)?;
    files::write_atomic(&done, format!("{identity}\n").as_bytes())?;
    Ok(trained)
}

/// Numbers by task, arm, seed and item.
#[derive(Default)]
struct Scores {
    losses: BTreeMap<String, BTreeMap<String, Vec<Vec<f64>>>>,
    scores: BTreeMap<String, BTreeMap<String, Vec<Vec<f64>>>>,
}

impl Scores {
    fn measure(
        &mut self,
        arguments: &FeedbackCheckArguments,
        bundle: &Bundle,
        measured: &Measured,
        (arm, seed): (&ArmFile, u64),
        checkpoint: &CheckpointRef,
        kernels: &Cpu,
    ) -> Result<()> {
        let model = Local::open(checkpoint.address.clone(), kernels.clone(), &LocalOptions::default())?;
        if model.tokenizer().fingerprint() != bundle.manifest.tokenizer {
            let message = "expected an arm with the tokenizer of the feedback set, found another";
            return Err(Error::bad(message).in_file(model.tokenizer().path()));
        }
        for target in &measured.chosen.targets {
            let items: Vec<Predicted<'_>> =
                target.sealed.iter().map(|item| Predicted { tokens: &item.tokens, start: item.start }).collect();
            let losses = model.decoder().mean_losses(&items, MEASURED_AT_ONCE)?;
            let by_arm = self.losses.entry(target.name.clone()).or_default();
            by_arm.entry(arm.name.clone()).or_default().push(losses.iter().map(|loss| -loss).collect());
        }
        self.score(arguments, &measured.prepared, (arm, seed), checkpoint, &model)
    }

    /// Scores of the sealed items by each task's first metric that is a share.
    fn score(
        &mut self,
        arguments: &FeedbackCheckArguments,
        prepared: &Prepared,
        (arm, seed): (&ArmFile, u64),
        checkpoint: &CheckpointRef,
        model: &Local<Cpu>,
    ) -> Result<()> {
        let threads = arguments.threads.count();
        let encoded = encode(prepared, model.tokenizer(), model.info().max_length, threads)?;
        let name = format!("{}-seed{seed}", arm.name);
        let options = RunOptions::new(arguments.out.join("runs"), threads);
        let outcome = run_checkpoint(prepared, &encoded, model, (checkpoint, &name), &options, &mut Silent)?;
        let samples = outcome.folder.complete_samples(&outcome.manifest)?;
        for task in &prepared.tasks {
            // Shares of right answers can be averaged over tasks; bits and perplexities cannot, and losses stand beside.
            let is_share = |metric: &&&Metric| metric.aggregation == Aggregation::Proportion && metric.higher_is_better;
            let Some(metric) = task.task.metrics.iter().find(is_share) else { continue };
            let of = |sample: &crate::store::Sample| {
                let named = sample.metrics.iter().find(|(name, _)| name.split(',').next() == Some(metric.name));
                named.map_or(f64::NAN, |(_, value)| *value)
            };
            let values: Vec<f64> = samples.iter().filter(|sample| sample.task == task.task.name).map(of).collect();
            // A metric that single items do not have is no score of theirs.
            if values.iter().all(|value| value.is_finite()) {
                let by_arm = self.scores.entry(task.task.name.clone()).or_default();
                by_arm.entry(arm.name.clone()).or_default().push(values);
            }
        }
        Ok(())
    }

    /// Whether values foretell the targets' losses that the runs reached.
    fn foretold(&self, values: &KnownValues, bundle: &Bundle, arguments: &FeedbackCheckArguments) -> Result<Foretold> {
        let targets = target_names(bundle);
        let mut runs = Vec::new();
        // Values are of true tokens, and say nothing of what was learned in place of them.
        for (number, arm) in arguments.arms.iter().enumerate().filter(|(_, arm)| arm.targets.is_none()) {
            for seed in 1..=arguments.seeds {
                let loss = |target: &String| {
                    let own = &self.losses[target][&arm.name][seed as usize - 1];
                    -own.iter().sum::<f64>() / own.len() as f64
                };
                let losses = targets.iter().map(loss).collect();
                runs.push(Reached { folder: run_folder(arguments, arm, seed), arm: number, losses });
            }
        }
        foretold(values, &targets, &runs)
    }

    fn judged(self, bundle: &Bundle, arms: &[ArmFile]) -> Result<Vec<Part>> {
        let targets: BTreeSet<&str> = bundle.manifest.targets.iter().map(|target| target.name.as_str()).collect();
        let family = |of: &BTreeMap<String, BTreeMap<String, Vec<Vec<f64>>>>, on_target: bool| {
            let tasks = of.iter().filter(|(name, _)| targets.contains(name.as_str()) == on_target);
            let arm = |by_arm: &BTreeMap<String, Vec<Vec<f64>>>, name: &str| Arm {
                name: name.to_owned(),
                scores: by_arm.get(name).cloned().unwrap_or_default(),
            };
            let task = |(name, by_arm): (&String, &BTreeMap<String, Vec<Vec<f64>>>)| Task {
                name: name.clone(),
                base: arm(by_arm, &arms[0].name),
                arms: arms[1..].iter().map(|own| arm(by_arm, &own.name)).collect(),
            };
            let tasks: Vec<Task> = tasks.map(task).collect();
            if tasks.is_empty() { Ok(None) } else { compare_family(&tasks).map(Some) }
        };
        let mut families = Vec::new();
        for (of, measure) in [(&self.losses, "loss"), (&self.scores, "score")] {
            for (on_target, tasks) in [(true, "targets"), (false, "other tasks")] {
                if let Some(family) = family(of, on_target)? {
                    families.push(Part { measure, tasks, family });
                }
            }
        }
        Ok(families)
    }
}

/// Differences from the first arm, and what values had foretold.
struct Judged {
    parts: Vec<Part>,
    foretold: Option<Foretold>,
}

struct Part {
    measure: &'static str,
    tasks: &'static str,
    family: Family,
}

impl Judged {
    fn json(&self, arguments: &FeedbackCheckArguments) -> Value {
        let difference = |own: &Difference| {
            json!({
                "arm": own.arm, "mean": own.mean, "standard_error": own.standard_error, "low": own.low,
                "high": own.high, "seeds": own.seeds, "items": own.items, "wins": own.wins,
            })
        };
        let part = |own: &Part| {
            let tasks = own.family.tasks.iter().map(|task| {
                json!({ "task": task.task, "differences": task.differences.iter().map(difference).collect::<Vec<_>>() })
            });
            json!({
                "measure": own.measure,
                "tasks_of": own.tasks,
                "mean": own.family.mean.iter().map(difference).collect::<Vec<_>>(),
                "tasks": tasks.collect::<Vec<_>>(),
            })
        };
        json!({
            "schema": "veval.check/1",
            "base": arguments.arms[0].name,
            "sign": "positive: the arm is better than the base; losses are turned round, in nats",
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
            "foretold": self.foretold.as_ref().map(|own| json!({
                "tokens_with_values": own.known,
                "lds": own.lds.iter().map(|(of, lds)| json!({ "of": of, "lds": lds })).collect::<Vec<_>>(),
            })),
        })
    }

    fn text(&self, base: &str) -> String {
        let mut text = format!(
            "sealed items, against {base}; positive is better, losses turned round\n{:<12} {:<8} {:<20} {:>10} {:>23} {:>7} {:>7}\n",
            "tasks", "measure", "arm", "difference", "interval", "items", "seeds won"
        );
        for Part { measure, tasks, family } in &self.parts {
            for own in &family.mean {
                let _ = writeln!(
                    text,
                    "{tasks:<12} {measure:<8} {:<20} {:>+10.4} {:>+10.4} – {:>+10.4} {:>7} {:>4}/{}",
                    own.arm, own.mean, own.low, own.high, own.items, own.wins, own.seeds
                );
            }
        }
        if let Some(own) = &self.foretold {
            let _ = writeln!(
                text,
                "differences between runs of an arm, foretold by values ({:.0} % of their tokens have values of their own):",
                100.0 * own.known
            );
            for (of, lds) in &own.lds {
                let _ = writeln!(text, "{of}: {}", lds.sentence());
            }
        }
        text
    }
}
