//! `veval feedback build`: the items of a suite that a trainer may know of, and their gradients at checkpoints.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::all_checkpoints;
use crate::ckpt::CheckpointRef;
use crate::cli::args::FeedbackBuildArguments;
use crate::cli::run::{read, stop_when_interrupted};
use crate::cli::{grad, print, printable, progress};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::feedback::bundle::{
    AtCheckpoint, CheckpointNote, Chosen, Manifest, SuiteNote, Wish, choose, part_gradients, write,
};
use crate::feedback::gradset::LEAST_COSINE;
use crate::feedback::store::{Element, GradRow, GradWriter, Header, Normalizer};
use crate::feedback::{Beside, Collect, Parameters, Projection, Projector, Scale, Signs, Target, collect};
use crate::kernels::cpu::Cpu;
use crate::kernels::tape::Tape;
use crate::lm::{LanguageModel, Local};
use crate::model::{Predicted, Source};
use crate::run::{Selection, prepare};
use crate::text::Tokenizer;
use crate::util::files;

/// Tokens of a pass in which sealed items are measured.
const MEASURED_AT_ONCE: usize = 2048;

/// Projected gradients of all items at one checkpoint.
struct Projected {
    note: CheckpointNote,
    header: Header,
    /// `[items, width]`
    values: Vec<f32>,
    losses: Vec<f64>,
}

pub(super) fn build(arguments: &FeedbackBuildArguments) -> Result<()> {
    let named = all_checkpoints(&arguments.checkpoints, arguments.quiet)?;
    let manifest = make(arguments, &named)?;
    progress::peak_memory(arguments.quiet);
    print(&printable(&summary(&arguments.out, &manifest)))
}

/// A feedback set of some checkpoints, written to the folder `out`.
pub(in crate::cli) fn make(arguments: &FeedbackBuildArguments, named: &[CheckpointRef]) -> Result<Manifest> {
    files::check_free(&arguments.out)?;
    let threads = arguments.cost.threads.count();
    let suite = read(&arguments.suite)?;
    let mut work = Work { arguments, chosen: None, tokenizer: None, names: Vec::new() };
    let (mut found, mut projected) = (Vec::new(), Vec::new());
    stop_when_interrupted()?;
    for checkpoint in named {
        let selection = Selection { tasks: Vec::new(), limit: None, data_dir: arguments.data_dir.clone() };
        let prepared = || prepare(&suite, &selection, threads);
        let model = grad::open_model(checkpoint.address.clone(), &arguments.cost)?;
        work.choose(&model, prepared)?;
        let (at, store) = work.at(checkpoint, &model)?;
        found.push(at);
        projected.extend(store);
    }
    let (Some(chosen), Some(tokenizer)) = (&work.chosen, &work.tokenizer) else {
        return Err(Error::internal("a feedback set of no checkpoint"));
    };
    let note = SuiteNote {
        name: suite.name.clone(),
        fingerprint: suite.fingerprint.clone(),
        path_hint: arguments.suite.to_string_lossy().into_owned(),
    };
    let items: Vec<&Target> = chosen.targets.iter().flat_map(|target| &target.feedback).collect();
    write(
        &arguments.out,
        (note, tokenizer, (arguments.parameters.to_string(), work.names.clone())),
        chosen,
        arguments.shuffle_answers,
        &found,
        &mut |partial| projected.iter().try_for_each(|own| write_store(partial, own, &items)),
    )
}

/// What is the same at every checkpoint, once the first is there.
struct Work<'a> {
    arguments: &'a FeedbackBuildArguments,
    chosen: Option<Chosen>,
    tokenizer: Option<Tokenizer>,
    names: Vec<String>,
}

impl Work<'_> {
    fn choose(
        &mut self,
        model: &Local<Tape<Cpu>>,
        prepared: impl FnOnce() -> Result<crate::run::Prepared>,
    ) -> Result<()> {
        let names: BTreeSet<String> = Parameters::of(&self.arguments.parameters, model.decoder().leaves())?;
        let names: Vec<String> = names.into_iter().collect();
        if let Some(tokenizer) = &self.tokenizer {
            if tokenizer.fingerprint() != model.tokenizer().fingerprint() || names != self.names {
                let message = "expected checkpoints of one run, found another tokenizer or other parameters";
                return Err(Error::bad(message).in_file(model.tokenizer().path()));
            }
            return Ok(());
        }
        let wish = Wish { tasks: self.arguments.tasks.clone(), items: self.arguments.items, others: false };
        let (tokenizer, longest) = (model.tokenizer(), model.info().max_length);
        let mut chosen = choose(prepared()?, self.arguments.data_dir.as_deref(), &wish, tokenizer, longest)?;
        if self.arguments.shuffle_answers {
            chosen.targets.iter_mut().for_each(|target| target.shuffle_answers(longest));
        }
        self.chosen = Some(chosen);
        self.tokenizer = Some(tokenizer.clone());
        self.names = names;
        Ok(())
    }

    fn at(&self, checkpoint: &CheckpointRef, model: &Local<Tape<Cpu>>) -> Result<(AtCheckpoint, Option<Projected>)> {
        let chosen = self.chosen.as_ref().ok_or_else(|| Error::internal("no items were chosen"))?;
        let names: BTreeSet<String> = self.names.iter().cloned().collect();
        let (decoder, memory) = (model.decoder(), model.memory_left());
        let count = chosen.targets.iter().map(|target| target.feedback.len()).sum();
        let bar = progress::items_bar(count, 0, self.arguments.quiet);
        let (mut gradients, mut sealed_losses) = (Vec::new(), Vec::new());
        for target in &chosen.targets {
            let parts = self.arguments.parts;
            gradients.push(part_gradients(decoder, &names, &target.feedback, parts, memory, &mut |_, _| {
                bar.inc(1);
                if ctx::interrupted() {
                    let message = "interrupted; nothing was written";
                    return Err(Error::new(ErrorKind::Incomplete, Diagnostic::new(message)));
                }
                Ok(())
            })?);
            let sealed: Vec<Predicted<'_>> =
                target.sealed.iter().map(|item| Predicted { tokens: &item.tokens, start: item.start }).collect();
            let losses = decoder.mean_losses(&sealed, MEASURED_AT_ONCE)?;
            sealed_losses.push(losses.iter().sum::<f64>() / losses.len() as f64);
        }
        bar.finish_and_clear();
        let info = model.info();
        let note = CheckpointNote {
            name: checkpoint.name.clone(),
            fingerprint: info.fingerprint.clone(),
            numerics: info.numerics.clone(),
            step: checkpoint.step,
            tokens_seen: checkpoint.tokens,
        };
        let projected = self.project(&note, model, chosen, &names)?;
        Ok((AtCheckpoint { note, gradients, sealed_losses }, projected))
    }

    /// Rows of the projected gradients; none where the parameters are no linear maps of blocks.
    fn project(
        &self,
        note: &CheckpointNote,
        model: &Local<Tape<Cpu>>,
        chosen: &Chosen,
        names: &BTreeSet<String>,
    ) -> Result<Option<Projected>> {
        let projection = Projection::per_module(self.arguments.proj_dim, Scale::Jl, Signs::Pcg64);
        let leaves = model.decoder().leaves();
        let is_projected = |(number, source): (usize, &Source)| {
            names.contains(&source.name) && Beside::default().takes(leaves.place(number), source)
        };
        if !leaves.sources().iter().enumerate().any(is_projected) {
            return Ok(None);
        }
        let projector = Projector::new(model.decoder(), |name| names.contains(name), projection)?;
        let items: Vec<Target> = chosen.targets.iter().flat_map(|target| target.feedback.clone()).collect();
        let header = grad::header(&projector, Element::F16, Normalizer::None, true, model);
        let (mut values, mut losses) = (Vec::new(), Vec::new());
        let memory = model.memory_left();
        let how = Collect { mean: true, batch_tokens: self.arguments.cost.batch_tokens, memory };
        collect(&projector, &items, 0, how, &mut |batch| {
            values.extend_from_slice(batch.values);
            losses.extend_from_slice(batch.losses);
            Ok(())
        })
        .map_err(|error| match error.kind() {
            ErrorKind::Incomplete => error.help("nothing was written"),
            _ => error,
        })?;
        Ok(Some(Projected { note: note.clone(), header, values, losses }))
    }
}

fn write_store(partial: &Path, own: &Projected, items: &[&Target]) -> Result<()> {
    let mut writer = GradWriter::open(&partial.join(own.note.store_path()), &own.header)?;
    let width = own.values.len() / items.len().max(1);
    for (number, ((item, values), loss)) in items.iter().zip(own.values.chunks(width)).zip(&own.losses).enumerate() {
        let n_tokens = (item.tokens.len() - item.start) as i32;
        writer.append(&[GradRow { id: number as i64, loss: *loss as f32, n_tokens, position: None, values }])?;
    }
    writer.finish()?;
    Ok(())
}

fn summary(folder: &Path, manifest: &Manifest) -> String {
    let split = &manifest.split;
    let mut text = format!(
        "{}: of all items {} may be feedback, {} are sealed, {} are for development, {} are refused as too like a sealed \
         one\n{:<24} {:<16} {:>6} {:>7} {:>12} {:>7}\n",
        folder.display(),
        split.feedback,
        split.sealed,
        split.development,
        split.refused,
        "target",
        "checkpoint",
        "items",
        "sealed",
        "sealed loss",
        "cosine"
    );
    for target in &manifest.targets {
        for (checkpoint, at) in manifest.checkpoints.iter().zip(&target.at) {
            let cosine = at.split_half_cosine.map_or_else(|| "unknown".to_owned(), |cosine| format!("{cosine:.3}"));
            let _ = writeln!(
                text,
                "{:<24} {:<16} {:>6} {:>7} {:>12.4} {:>7}",
                target.name,
                checkpoint.name,
                target.parts.iter().sum::<usize>(),
                target.sealed_items,
                at.sealed_loss,
                cosine
            );
            if at.split_half_cosine.is_none_or(|cosine| cosine < LEAST_COSINE) {
                let _ = writeln!(text, "warning: two halves of these items hardly agree: use more of them");
            }
        }
    }
    text
}
