//! `veval feedback`: from the items that a benchmark scores to files that a trainer reads.

pub(in crate::cli) mod build;
mod check;
mod export;
mod geometry;
mod geometry_report;
pub(in crate::cli) mod mix;
mod passes;
mod probe;
mod sealed;
mod stream;
mod targets;
pub(in crate::cli) mod value;
mod value_report;

use std::path::{Path, PathBuf};

use super::args::{FeedbackArguments, Feedbacks};
use super::data::checkpoints;
use crate::ckpt::CheckpointRef;
use crate::error::{Error, Result};
use crate::lab::corpus::CorpusDocument;
use crate::text::Tokenizer;

pub(super) fn feedback(arguments: &FeedbackArguments) -> Result<()> {
    match &arguments.what {
        Feedbacks::Build(arguments) => build::build(arguments),
        Feedbacks::Value(arguments) => value::value(arguments),
        Feedbacks::Probe(arguments) => probe::probe(arguments),
        Feedbacks::Geometry(arguments) => geometry::geometry(arguments),
        Feedbacks::Targets(arguments) => targets::targets(arguments),
        Feedbacks::Check(arguments) => check::check(arguments),
        Feedbacks::Mix(arguments) => mix::mix(arguments),
        Feedbacks::Export(arguments) => export::export_to(arguments),
    }
}

/// The only checkpoint that an argument stands for.
fn one_checkpoint(path: &Path, quiet: bool) -> Result<CheckpointRef> {
    let mut found = checkpoints(path, quiet)?;
    if found.len() != 1 {
        let error = Error::bad(format!("expected one checkpoint, found a series of {}", found.len())).in_file(path);
        return Err(error.help("name one of them"));
    }
    Ok(found.swap_remove(0))
}

/// All checkpoints that some arguments stand for.
fn all_checkpoints(paths: &[PathBuf], quiet: bool) -> Result<Vec<CheckpointRef>> {
    let series: Vec<Vec<CheckpointRef>> = paths.iter().map(|path| checkpoints(path, quiet)).collect::<Result<_>>()?;
    Ok(series.into_iter().flatten().collect())
}

/// A document's tokens as a trainer packs them, an end behind them.
fn packed(document: &CorpusDocument, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let mut tokens = tokenizer.encode_plain(&document.text)?;
    tokens.extend(tokenizer.eos());
    Ok(tokens)
}
