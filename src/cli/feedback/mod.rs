//! `veval feedback`: from the items that a benchmark scores to files that a trainer reads.

mod build;
mod check;
mod export;
mod mix;
mod probe;
mod sealed;
mod value;

use std::path::PathBuf;

use super::args::{FeedbackArguments, Feedbacks};
use super::data::checkpoints;
use crate::ckpt::CheckpointRef;
use crate::error::Result;

pub(super) fn feedback(arguments: &FeedbackArguments) -> Result<()> {
    match &arguments.what {
        Feedbacks::Build(arguments) => build::build(arguments),
        Feedbacks::Value(arguments) => value::value(arguments),
        Feedbacks::Probe(arguments) => probe::probe(arguments),
        Feedbacks::Check(arguments) => check::check(arguments),
        Feedbacks::Mix(arguments) => mix::mix(arguments),
        Feedbacks::Export(arguments) => export::export_to(arguments),
    }
}

/// All checkpoints that some arguments stand for.
fn all_checkpoints(paths: &[PathBuf], quiet: bool) -> Result<Vec<CheckpointRef>> {
    let series: Vec<Vec<CheckpointRef>> = paths.iter().map(|path| checkpoints(path, quiet)).collect::<Result<_>>()?;
    Ok(series.into_iter().flatten().collect())
}
