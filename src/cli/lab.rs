//! `veval lab`: a small controlled world, and a trainer.

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{LabArguments, LabNewArguments, LabTrainArguments, Labs};
use super::run::stop_when_interrupted;
use super::{print, progress};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::lab::Lab;
use crate::lab::train::{Curve, Plan, Step, StepAxis, Trainer, draw_curve};
use crate::lm::cpu;
use crate::util::files;

pub(super) fn lab(arguments: &LabArguments) -> Result<()> {
    match &arguments.what {
        Labs::New(arguments) => new(arguments),
        Labs::Train(arguments) => train(arguments),
    }
}

fn new(arguments: &LabNewArguments) -> Result<()> {
    files::check_free(&arguments.out)?;
    Lab::new(arguments.seed, arguments.size.into())?.write(&arguments.out)?;
    print(&format!("{}\n", arguments.out.display()))
}

fn train(arguments: &LabTrainArguments) -> Result<()> {
    let trainer = Trainer::open(Plan::read(&arguments.plan)?)?;
    if arguments.dry_run {
        return print(&describe(&trainer));
    }
    let kernels = cpu(arguments.threads.count())?;
    stop_when_interrupted()?;
    let bar = bar(&trainer, arguments.quiet);
    let started = ctx::seconds();
    let mut trained = 0;
    let step_tokens = trainer.plan().tokens_of_a_step();
    let mut each = |step: &Step| {
        if trained == 0 {
            bar.set_position(step.tokens - step_tokens);
            bar.reset_eta();
        }
        trained += step_tokens;
        bar.set_position(step.tokens);
        bar.set_message(format!("step {}, loss {:.3}", step.step, step.loss));
        !ctx::interrupted()
    };
    let complete = trainer.run(&arguments.out, &kernels, &mut each)?;
    bar.finish_and_clear();
    progress::peak_memory(arguments.quiet);
    let curve = Curve::read(&arguments.out.join("curve.csv"))?;
    let title = format!("Loss, {}", arguments.out.display());
    files::write_atomic(
        &arguments.out.join("curve.svg"),
        draw_curve(&curve, &title, StepAxis::Logarithmic).as_bytes(),
    )?;
    if !complete {
        let done = curve.points.last().map_or(0, |point| point.step);
        let message = format!("interrupted after step {done} of {}", trainer.plan().training.steps);
        return Err(
            Error::new(ErrorKind::Incomplete, Diagnostic::new(message)).help("run the same command again to go on")
        );
    }
    let mut text = format!("{}\n", arguments.out.display());
    if trained > 0 && !arguments.quiet {
        let _ = writeln!(text, "{trained} tokens, {:.0} tokens/s", trained as f64 / (ctx::seconds() - started));
    }
    print(&text)
}

fn bar(trainer: &Trainer, quiet: bool) -> ProgressBar {
    let plan = trainer.plan();
    let tokens = plan.training.steps * plan.tokens_of_a_step();
    let bar = progress::items_bar(usize::try_from(tokens).unwrap_or(usize::MAX), 0, quiet);
    let style = ProgressStyle::with_template("{wide_bar} {msg}, {per_sec:.0} tokens, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn describe(trainer: &Trainer) -> String {
    let plan = trainer.plan();
    let tokens = plan.training.steps * plan.tokens_of_a_step();
    let mut text = format!(
        "{} parameters, {} steps of {} tokens: {tokens} tokens\ncheckpoints at {:?}\n",
        trainer.parameters(),
        plan.training.steps,
        plan.tokens_of_a_step(),
        plan.checkpoint_steps,
    );
    let by_source = trainer.tokens_by_source();
    let all: u64 = by_source.values().sum();
    let _ = writeln!(text, "{all} tokens of corpus, {:.1} passes", tokens as f64 / all.max(1) as f64);
    for (source, tokens) in by_source {
        let _ = writeln!(text, "  {source:<16} {tokens:>10}");
    }
    text
}
