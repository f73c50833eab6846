//! `veval grad`: projected gradients of items.

use std::path::Path;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::args::{GradArguments, GradCollectArguments, Grads};
use super::data::here;
use super::run::{read, stop_when_interrupted};
use super::{grad_store, print, progress};
use crate::ctx;
use crate::error::{Error, Result};
use crate::feedback::store::{GradRow, GradWriter, Header, Layout, Normalizer, Reduction, Sign};
use crate::feedback::{Collect, Projection, Projector, Target, collect as collect_rows};
use crate::kernels::tape::Tape;
use crate::lm::{LanguageModel, Local, LocalOptions, cpu};
use crate::run::{Selection, prepare, right_answers};
use crate::util::{files, hash};

const MAX_ITEMS_BYTES: u64 = 1 << 30;

pub(super) fn grad(arguments: &GradArguments) -> Result<()> {
    match &arguments.what {
        Grads::Collect(arguments) => collect(arguments),
        Grads::Query(arguments) => grad_store::query(arguments),
        Grads::Export(arguments) => grad_store::export(arguments),
    }
}

/// A line of `items.jsonl`, which says what the rows of a store are gradients of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ItemLine {
    id: String,
    /// Of context and answer, and the first token of the answer.
    tokens: usize,
    start: usize,
    /// Hash of the tokens.
    hash: String,
}

fn collect(arguments: &GradCollectArguments) -> Result<()> {
    let threads = arguments.threads.map_or_else(ctx::cores, usize::from);
    let suite = read(&arguments.suite)?;
    let selection =
        Selection { tasks: arguments.tasks.clone(), limit: arguments.limit, data_dir: arguments.data_dir.clone() };
    let prepared = prepare(&suite, &selection, threads)?;
    let options = LocalOptions {
        batch_tokens: arguments.batch_tokens,
        max_memory: arguments.max_memory,
        ..LocalOptions::default()
    };
    let model = Local::open(here(&arguments.checkpoint)?, Tape::new(cpu(threads)?), &options)?;
    let answers = right_answers(&prepared, model.tokenizer(), model.info().max_length)?;
    let target = |answer: crate::run::RightAnswer| Target {
        id: prepared.tasks[answer.task].items[answer.item].id.clone(),
        tokens: answer.tokens,
        start: answer.start,
    };
    let targets: Vec<Target> = answers.into_iter().map(target).collect();
    let names = arguments.parameters.of(model.decoder().leaves())?;
    let projection = Projection { dim: arguments.proj_dim, scale: arguments.scale.into() };
    let projector = Projector::new(model.decoder(), |name| names.contains(name), projection)?;
    let header = Header {
        layout: Layout::projected(projector.modules(), projection, arguments.dtype.into()),
        normalizer: Normalizer::None,
        loss_reduction: if arguments.mean { Reduction::Mean } else { Reduction::Sum },
        sign: Sign::GradientOfLoss,
        model: model.info().fingerprint.clone(),
        tokenizer: model.tokenizer().fingerprint().to_owned(),
        numerics: model.info().numerics.clone(),
    };
    write_items(&arguments.out, &targets)?;
    let mut writer = GradWriter::open(&arguments.out, &header)?;
    let done = usize::try_from(writer.rows()).unwrap_or(usize::MAX);
    stop_when_interrupted()?;
    let bar = progress::items_bar(targets.len(), done, arguments.quiet);
    gather(&projector, &targets, done, arguments, model.memory_left(), &mut writer, &bar)?;
    writer.finish()?;
    bar.finish_and_clear();
    print(&format!("{}\n", arguments.out.display()))
}

fn gather<K: crate::kernels::Reverse>(
    projector: &Projector<'_, K>,
    targets: &[Target],
    done: usize,
    arguments: &GradCollectArguments,
    memory: usize,
    writer: &mut GradWriter,
    bar: &ProgressBar,
) -> Result<()> {
    let how = Collect { mean: arguments.mean, batch_tokens: arguments.batch_tokens, memory };
    let width = projector.width();
    let gathered = collect_rows(projector, targets, done, how, &mut |batch| {
        let rows: Vec<GradRow<'_>> = batch
            .values
            .chunks(width)
            .zip(batch.losses)
            .enumerate()
            .map(|(index, (values, loss))| {
                let target = &targets[batch.first + index];
                GradRow {
                    id: (batch.first + index) as i64,
                    loss: *loss as f32,
                    n_tokens: (target.tokens.len() - target.start) as i32,
                    values,
                }
            })
            .collect();
        writer.append(&rows)?;
        bar.set_position((batch.first + rows.len()) as u64);
        Ok(())
    });
    // What was computed before an interrupt is kept.
    if gathered.is_err() {
        writer.flush()?;
    }
    gathered
}

/// Writes what the rows are, or checks that a store that is there is of the same items.
fn write_items(folder: &Path, targets: &[Target]) -> Result<()> {
    let line = |target: &Target| {
        let bytes: Vec<u8> = target.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        ItemLine {
            id: target.id.clone(),
            tokens: target.tokens.len(),
            start: target.start,
            hash: hash::fingerprint(&bytes),
        }
    };
    let mut text = String::new();
    for target in targets {
        text += &serde_json::to_string(&line(target)).map_err(|e| Error::internal(format!("items.jsonl: {e}")))?;
        text.push('\n');
    }
    let path = folder.join("items.jsonl");
    if path.exists() {
        if files::read_text(&path, MAX_ITEMS_BYTES)? == text {
            return Ok(());
        }
        return Err(Error::bad(format!("expected a store of the same {} items, found other ones", targets.len()))
            .in_file(&path)
            .help("use another folder for these gradients"));
    }
    files::create_folder(folder)?;
    files::write_atomic(&path, text.as_bytes())
}
