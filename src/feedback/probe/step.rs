//! One step of training, taken at the weights of a checkpoint and measured on items that the gradient never saw.
//!
//! ```text
//! plain gradient descent   d = -rate g                       predicted  -<g_down, d>    realised  L(theta) - L(theta + d)
//! AdamW                    d = what the optimizer does       g_down: feedback items      L: sealed items
//!                          with its moments, clip and decay
//! ```
//! Positive lowers the target's loss. `<g_down, d>` is over the parameters that the feedback set has; the step is of all.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::feedback::Direction;
use crate::feedback::moments::{Moments as MomentsFile, Optimizer, SecondMoment};
use crate::kernels::cpu::Cpu;
use crate::lab::train::{AdamW, Clip, Lesson, Moments, NamedGradient, Parameters, Updated, batch_gradient, decays};
use crate::model::{Blueprint, Predicted};

/// What steps are taken from and measured on.
pub struct Probe<'a> {
    pub blueprint: &'a Blueprint,
    pub kernels: &'a Cpu,
    pub weights: &'a Parameters,
    /// The gradient of the feedback items' loss.
    pub direction: &'a Direction,
    /// Sealed items of each target; their loss is the mean over targets of the mean over items.
    pub sealed: &'a [Vec<Predicted<'a>>],
    pub adam: Option<&'a AdamState>,
    /// Sequences that go through the model together.
    pub at_once: usize,
}

/// An optimizer in the middle of a run.
#[derive(Debug, Clone)]
pub struct AdamState {
    pub optimizer: AdamW,
    /// Updates that were made.
    pub step: u64,
    pub moments: BTreeMap<String, Moments>,
    /// Largest norm of a gradient.
    pub clip: Option<f64>,
}

/// A step that was foretold and taken: decreases of the target's loss, nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub predicted: f64,
    pub realised: f64,
}

/// Both kinds of step with one batch and one rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    pub sgd: Change,
    pub adam: Option<Change>,
}

/// Tokens of a pass that measures.
const MEASURED_AT_ONCE: usize = 2048;

impl AdamState {
    /// From a trainer's file.
    ///
    /// # Errors
    /// Another optimizer than Adam, moments that are missing.
    pub fn read(file: &MomentsFile, weight_decay: f64, clip: Option<f64>) -> Result<Self> {
        let (mut moments, mut found) = (BTreeMap::new(), None);
        for name in file.names() {
            let own = file.read(name)?;
            let (Optimizer::Adam { beta1, beta2, eps }, SecondMoment::Full(exp_avg_sq), Some(exp_avg)) =
                (own.optimizer, own.second, own.first)
            else {
                let error = Error::bad("expected both moments of Adam, found others").at(format!("parameter {name}"));
                return Err(error.help("a step of AdamW can be tried from exp_avg and exp_avg_sq only"));
            };
            found = Some((AdamW { beta1, beta2, eps, weight_decay }, own.step));
            moments.insert(name.to_owned(), Moments { exp_avg, exp_avg_sq });
        }
        let (optimizer, step) = found.ok_or_else(|| Error::bad("expected moments of parameters, found none"))?;
        optimizer.check()?;
        Ok(Self { optimizer, step, moments, clip })
    }
}

impl Probe<'_> {
    /// Loss of the sealed items at some weights.
    pub fn loss(&self, weights: &Parameters) -> Result<f64> {
        let decoder = self.blueprint.decoder(self.kernels.clone(), weights)?;
        let mut sum = 0.0;
        for items in self.sealed {
            let losses = decoder.mean_losses(items, MEASURED_AT_ONCE)?;
            sum += losses.iter().sum::<f64>() / losses.len() as f64;
        }
        Ok(sum / self.sealed.len() as f64)
    }

    /// Takes a step on a batch with each rate. `before`: the loss where the steps begin.
    ///
    /// # Errors
    /// Sequences without predictions, losses that are not finite before the step.
    pub fn steps(&self, sequences: &[Vec<u32>], rates: &[f64], before: f64) -> Result<Vec<Steps>> {
        let lessons: Vec<Lesson<'_>> = sequences.iter().map(|tokens| Lesson::plain(tokens)).collect();
        let gradient = batch_gradient(self.blueprint, self.kernels, self.weights, &lessons, self.at_once)?.gradient;
        let clipped = self.clipped(&gradient)?;
        let steps = |rate: &f64| -> Result<Steps> {
            let mut after = self.weights.clone();
            for (values, own) in after.values_mut().zip(gradient.values()) {
                values.iter_mut().zip(own).for_each(|(value, g)| *value -= *rate as f32 * g);
            }
            let sgd = self.change(&after, before)?;
            let adam = self.adam.map(|state| self.change(&self.adam_step(state, &clipped, *rate)?, before));
            Ok(Steps { sgd, adam: adam.transpose()? })
        };
        rates.iter().map(steps).collect()
    }

    fn clipped(&self, gradient: &Parameters) -> Result<Parameters> {
        let mut clipped = gradient.clone();
        if let Some(limit) = self.adam.and_then(|state| state.clip) {
            let mut named: Vec<NamedGradient<'_>> =
                clipped.iter_mut().map(|(name, values)| (name.as_str(), values.as_mut_slice())).collect();
            Clip::new(limit)?.apply(&mut named)?;
        }
        Ok(clipped)
    }

    fn adam_step(&self, state: &AdamState, gradient: &Parameters, rate: f64) -> Result<Parameters> {
        let (mut after, mut moments) = (self.weights.clone(), state.moments.clone());
        let shapes = self.blueprint.parameters();
        let mut updated = Vec::with_capacity(after.len());
        for (((name, values), moments), gradient) in after.iter_mut().zip(moments.values_mut()).zip(gradient.values()) {
            updated.push(Updated { name, values, gradient, moments, decays: decays(&shapes[name]) });
        }
        state.optimizer.update(state.step + 1, rate, &mut updated, self.kernels.threads())?;
        Ok(after)
    }

    fn change(&self, after: &Parameters, before: f64) -> Result<Change> {
        let along = self.direction.iter().map(|(name, own)| {
            let (from, to) = (&self.weights[name], &after[name]);
            let steps = from.iter().zip(to).map(|(from, to)| f64::from(*to) - f64::from(*from));
            own.values.iter().zip(steps).map(|(g, d)| f64::from(*g) * d).sum::<f64>()
        });
        let along: f64 = along.sum();
        Ok(Change { predicted: -along, realised: before - self.loss(after)? })
    }
}
