//! The gradient of a batch: the mean negative log-likelihood of all its predictions.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::kernels::cpu::Cpu;
use crate::kernels::tape::Tape;
use crate::model::{Blueprint, Loss, Objective, Reach, Summed, WeightGradients};
use crate::request::GradSpan;

/// Values by parameter name, row-major.
pub type Parameters = BTreeMap<String, Vec<f32>>;

/// What a batch says.
#[derive(Debug, Clone)]
pub struct BatchGradient {
    /// Of each sequence: the sum over its predictions, in nats.
    pub losses: Vec<f64>,
    /// Of the mean over all predictions.
    pub gradient: Parameters,
}

/// The gradient at these weights. Every token of a sequence but its first is predicted. Sequences go through the model
/// `at_once` at a time and sums are carried on from part to part, so that the bits depend on `at_once`, which is
/// therefore part of a training plan, and not on threads.
///
/// # Errors
/// A sequence of fewer than two tokens, tokens outside the vocabulary, a loss that is not finite.
pub fn batch_gradient(
    blueprint: &Blueprint,
    kernels: &Cpu,
    weights: &Parameters,
    sequences: &[&[u32]],
    at_once: usize,
) -> Result<BatchGradient> {
    let decoder = blueprint.decoder(Tape::new(kernels.clone()), weights)?;
    let mut sums = WeightGradients::new(&decoder, |_| true, Summed::Pass);
    let mut losses = Vec::with_capacity(sequences.len());
    for part in sequences.chunks(at_once.max(1)) {
        let objective = |tokens: &&'_ [u32]| -> Loss<'static> {
            Loss::Nll { span: GradSpan { start: 1, end: tokens.len() }, mean: false }
        };
        let items: Vec<Objective<'_>> =
            part.iter().map(|tokens| Objective { tokens, loss: objective(tokens) }).collect();
        let everything = Reach { memory: usize::MAX, ..Reach::default() };
        losses.extend(decoder.reverse(&items, everything, &mut sums)?.losses);
    }
    let predictions: usize = sequences.iter().map(|tokens| tokens.len().saturating_sub(1)).sum();
    let factor = 1.0 / predictions.max(1) as f32;
    let mut gradient = Parameters::new();
    for (name, mut sum) in sums.into_parameters()? {
        sum.values.iter_mut().for_each(|value| *value *= factor);
        gradient.insert(name, sum.values);
    }
    Ok(BatchGradient { losses, gradient })
}
