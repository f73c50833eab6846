//! The gradient of a batch: the mean negative log-likelihood of all its predictions, or cross entropy where they are taught
//! otherwise than by their tokens.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::kernels::cpu::Cpu;
use crate::kernels::tape::Tape;
use crate::model::{Blueprint, Loss, Objective, Reach, SoftPlace, Summed, WeightGradients};
use crate::request::GradSpan;

/// Values by parameter name, row-major.
pub type Parameters = BTreeMap<String, Vec<f32>>;

/// What is learned from a sequence: every token but the first, or what stands in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson<'a> {
    pub tokens: &'a [u32],
    /// By ascending place in the sequence, none at its first token.
    pub soft: Vec<SoftPlace<'a>>,
}

impl<'a> Lesson<'a> {
    /// The tokens as they are.
    pub fn plain(tokens: &'a [u32]) -> Self {
        Self { tokens, soft: Vec::new() }
    }

    fn objective(&self) -> Objective<'_> {
        let (span, mean) = (GradSpan { start: 1, end: self.tokens.len() }, false);
        let loss = match &*self.soft {
            [] => Loss::Nll { span, mean },
            soft => Loss::Taught { span, mean, soft },
        };
        Objective { tokens: self.tokens, loss }
    }
}

/// What a batch says.
#[derive(Debug, Clone)]
pub struct BatchGradient {
    /// Of each sequence: the sum over its predictions, in nats.
    pub losses: Vec<f64>,
    /// Of the mean over all predictions.
    pub gradient: Parameters,
}

/// The gradient at these weights. Sequences go through the model
/// `at_once` at a time and sums are carried on from part to part, so that the bits depend on `at_once`, which is
/// therefore part of a training plan, and not on threads.
///
/// # Errors
/// A sequence of fewer than two tokens, tokens outside the vocabulary, places that do not ascend, a loss that is not finite.
pub fn batch_gradient(
    blueprint: &Blueprint,
    kernels: &Cpu,
    weights: &Parameters,
    lessons: &[Lesson<'_>],
    at_once: usize,
) -> Result<BatchGradient> {
    let decoder = blueprint.decoder(Tape::new(kernels.clone()), weights)?;
    let mut sums = WeightGradients::new(&decoder, |_| true, Summed::Pass);
    let mut losses = Vec::with_capacity(lessons.len());
    for part in lessons.chunks(at_once.max(1)) {
        let items: Vec<Objective<'_>> = part.iter().map(Lesson::objective).collect();
        let everything = Reach { memory: usize::MAX, ..Reach::default() };
        losses.extend(decoder.reverse(&items, everything, &mut sums)?.losses);
    }
    let predictions: usize = lessons.iter().map(|lesson| lesson.tokens.len().saturating_sub(1)).sum();
    let factor = 1.0 / predictions.max(1) as f32;
    let mut gradient = Parameters::new();
    for (name, mut sum) in sums.into_parameters()? {
        sum.values.iter_mut().for_each(|value| *value *= factor);
        gradient.insert(name, sum.values);
    }
    Ok(BatchGradient { losses, gradient })
}
