//! Projected gradients of many items, batch after batch.

use std::ops::Range;

use super::project::{Projected, Projector};
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Reverse;
use crate::model::{Loss, Objective};
use crate::request::GradSpan;

/// What a gradient is taken of: the negative log-likelihood of `tokens[start..]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Item id of the suite, or document id.
    pub id: String,
    pub tokens: Vec<u32>,
    pub start: usize,
}

/// How it is done; no number depends on the last two.
#[derive(Debug, Clone, Copy)]
pub struct Collect {
    /// The mean over an item's tokens in place of their sum.
    pub mean: bool,
    /// Tokens of a batch, more or less: an item is never cut.
    pub batch_tokens: usize,
    /// Bytes of activations that may be kept.
    pub memory: usize,
}

/// A batch of results: items `first..` of the targets.
pub struct Gathered<'a> {
    pub first: usize,
    /// `[rows, width]`
    pub values: &'a [f32],
    /// Rows of each item.
    pub rows: &'a [Range<usize>],
    pub losses: &'a [f64],
}

/// Projects the gradients of the targets from `done` on and hands on batch after batch, in order.
///
/// # Errors
/// Targets without gradient and losses that are not finite, by id; an interrupt, between two batches.
pub fn collect<K: Reverse>(
    projector: &Projector<'_, K>,
    targets: &[Target],
    done: usize,
    how: Collect,
    sink: &mut dyn FnMut(&Gathered<'_>) -> Result<()>,
) -> Result<()> {
    let _keeping = projector.kernels().keeping(how.memory);
    each_batch(
        targets,
        done,
        how,
        &mut |first, items| {
            let projected = projector.project(items, how.memory)?;
            Ok((first, projected))
        },
        &mut |(first, projected)| {
            let Projected { values, rows, losses, .. } = &projected;
            sink(&Gathered { first, values, rows, losses })
        },
    )
}

/// Works through the targets from `done` on, batch after batch: what a batch gives is handed on at once.
pub(super) fn each_batch<T>(
    targets: &[Target],
    done: usize,
    how: Collect,
    work: &mut dyn FnMut(usize, &[Objective<'_>]) -> Result<T>,
    sink: &mut dyn FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut first = done;
    while first < targets.len() {
        if ctx::interrupted() {
            let message = format!("interrupted after {first} of {} items", targets.len());
            return Err(Error::new(ErrorKind::Incomplete, Diagnostic::new(message)));
        }
        let end = batch_end(targets, first, how.batch_tokens);
        let items: Vec<Objective<'_>> = targets[first..end].iter().map(|target| objective(target, how.mean)).collect();
        sink(work(first, &items).map_err(|error| named(error, &targets[first..end]))?)?;
        first = end;
    }
    Ok(())
}

/// The loss of a target.
pub(super) fn objective(target: &Target, mean: bool) -> Objective<'_> {
    let span = GradSpan { start: target.start, end: target.tokens.len() };
    Objective { tokens: &target.tokens, loss: Loss::Nll { span, mean } }
}

/// The end of the batch that begins at `first`: at least one item.
fn batch_end(targets: &[Target], first: usize, batch_tokens: usize) -> usize {
    let mut tokens = targets[first].tokens.len();
    let more = targets[first + 1..].iter().take_while(|target| {
        tokens += target.tokens.len();
        tokens <= batch_tokens
    });
    first + 1 + more.count()
}

/// Puts ids in the place of numbers within a batch.
pub(super) fn named(error: Error, targets: &[Target]) -> Error {
    let kind = error.kind();
    let named = |problem: Diagnostic| {
        let detail = problem.place.as_ref().and_then(|place| place.detail.as_deref());
        let number = detail.and_then(|detail| detail.strip_prefix("item ")?.parse::<usize>().ok());
        match number.and_then(|number| targets.get(number)) {
            Some(target) => problem.at(target.id.clone()),
            None => problem,
        }
    };
    Error::collected(kind, error.into_diagnostics().into_iter().map(named).collect())
}
