//! Slopes of logits along the feedback's gradient, of all tokens of the vocabulary at once.
//!
//! `u_v = <g, dz_v/dtheta>` is how fast the logit of `v` grows when the weights move along `g`. So two forward passes say it
//! of every token, `(z(theta + eps g) - z(theta - eps g)) / 2 eps`, where reverse passes would be one for each of them.

use super::aim::Aim;
use super::design::{Candidate, TokenSlopes, candidates};
use crate::error::{Error, Result};
use crate::feedback::Direction;
use crate::kernels::Kernels;
use crate::kernels::cpu::Cpu;
use crate::lab::train::Parameters;
use crate::model::{Blueprint, Cache, Decoder, LOGIT_ROWS, Sequence, Taps};

/// How far weights are moved, as a part of their own norm, over the parameters that the direction has.
const STEP: f64 = 5e-5;

/// Tokens of a document that go through the model together: all but the first are predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub document: usize,
    /// Position in the document of the first token that is predicted.
    pub first: usize,
    pub tokens: Vec<u32>,
}

impl Window {
    pub fn predicted(&self) -> usize {
        self.tokens.len() - 1
    }
}

/// A document as a trainer cuts it: `longest` predictions at a time, without a gap. The first token is predicted behind
/// `before`; without it, it is given only.
pub fn windows(document: usize, tokens: &[u32], before: Option<u32>, longest: usize) -> Vec<Window> {
    let all: Vec<u32> = before.iter().chain(tokens).copied().collect();
    let offset = usize::from(before.is_none());
    let starts = (0..all.len().saturating_sub(1)).step_by(longest.max(1));
    let window = |start: usize| Window {
        document,
        first: start + offset,
        tokens: all[start..all.len().min(start + longest.max(1) + 1)].to_vec(),
    };
    starts.map(window).collect()
}

/// What slopes are taken of.
pub struct Slopes<'a> {
    /// At the weights themselves.
    decoder: &'a Decoder<Cpu>,
    blueprint: &'a Blueprint,
    weights: &'a Parameters,
    aim: &'a Aim,
    /// For each of the aim's directions; none where it is zero.
    steps: [Option<f64>; 3],
}

/// Slopes of some windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Of every predicted token, window after window.
    pub tokens: Vec<TokenSlopes>,
    /// `<g, d(loss)/dtheta>` of the sum of their losses when the true tokens are taught.
    pub value: f64,
}

impl<'a> Slopes<'a> {
    /// `weights`: those of the decoder, by name.
    pub fn new(decoder: &'a Decoder<Cpu>, blueprint: &'a Blueprint, weights: &'a Parameters, aim: &'a Aim) -> Self {
        let steps = aim.directions().map(|direction| step(direction, weights));
        Self { decoder, blueprint, weights, aim, steps }
    }

    /// Bytes that are held besides the decoder, its weights and the aim: moved weights, and a decoder of them.
    pub fn bytes(parameters: usize) -> usize {
        2 * parameters * size_of::<f32>()
    }

    /// Slopes of the true token and the `kept - 1` likeliest others at every predicted token. About `rows` tokens go through
    /// the model together, and no number depends on that.
    ///
    /// # Errors
    /// Tokens outside the vocabulary, logits that are no numbers.
    pub fn of(&self, windows: &[Window], kept: usize, rows: usize) -> Result<Found> {
        let truths: Vec<u32> = windows.iter().flat_map(|window| &window.tokens[1..]).copied().collect();
        let mut tokens: Vec<TokenSlopes> = Vec::with_capacity(truths.len());
        let kernels = self.decoder.kernels();
        each_run(self.decoder, windows, rows, &mut |first, logits| {
            let logits = kernels.host(logits)?;
            for (row, &truth) in logits.values.chunks(logits.shape[1]).zip(&truths[first..]) {
                let candidate = |id: u32| Candidate { id, slope: 0.0, halves: Some([0.0; 2]) };
                let ids = candidates(row, truth, kept)?;
                tokens.push(TokenSlopes { truth, candidates: ids.into_iter().map(candidate).collect() });
            }
            Ok(())
        })?;
        let mut value = 0.0;
        for (number, (direction, step)) in self.aim.directions().into_iter().zip(self.steps).enumerate() {
            let Some(step) = step else { continue };
            for sign in [1.0, -1.0] {
                let decoder = self.blueprint.decoder(kernels.clone(), &moved(self.weights, direction, sign * step))?;
                let losses = add_logits(&decoder, windows, rows, &mut tokens, number, sign / (2.0 * step))?;
                if number == 0 {
                    value += sign * losses / (2.0 * step);
                }
            }
        }
        Ok(Found { tokens, value })
    }
}

/// Adds `factor` times their logits to the slopes of all candidates, and returns the sum of the true tokens' losses.
fn add_logits(
    decoder: &Decoder<Cpu>,
    windows: &[Window],
    rows: usize,
    tokens: &mut [TokenSlopes],
    direction: usize,
    factor: f64,
) -> Result<f64> {
    let kernels = decoder.kernels();
    let mut losses = 0.0;
    each_run(decoder, windows, rows, &mut |first, logits| {
        let sums = kernels.logit_rows(logits)?;
        let here = &mut tokens[first..first + sums.len()];
        let of_row = |(row, token): (usize, &TokenSlopes)| -> Vec<(usize, usize)> {
            token.candidates.iter().map(|candidate| (row, candidate.id as usize)).collect()
        };
        let places: Vec<(usize, usize)> = here.iter().enumerate().flat_map(of_row).collect();
        let mut picked = kernels.pick(logits, &places)?.into_iter().map(f64::from);
        for (token, sum) in here.iter_mut().zip(&sums) {
            for (place, (candidate, logit)) in token.candidates.iter_mut().zip(picked.by_ref()).enumerate() {
                // The true token stands first.
                if place == 0 {
                    losses += f64::from(sum.max) + sum.log_sum - logit;
                }
                let slope = match (direction, &mut candidate.halves) {
                    (0, _) => &mut candidate.slope,
                    (half, Some(halves)) => &mut halves[half - 1],
                    (_, None) => return Err(Error::internal("a candidate without halves")),
                };
                *slope += factor * logit;
            }
        }
        Ok(())
    })?;
    Ok(losses)
}

/// Logits of all predicted tokens, a few rows at a time: the number of the first token, and `[rows, vocabulary]`.
fn each_run(
    decoder: &Decoder<Cpu>,
    windows: &[Window],
    rows: usize,
    take: &mut dyn FnMut(usize, &<Cpu as Kernels>::Array) -> Result<()>,
) -> Result<()> {
    let (mut first, mut done) = (0, 0);
    while first < windows.len() {
        let mut count = 0;
        let fitting = windows[first..].iter().take_while(|window| {
            count += window.predicted();
            count <= rows
        });
        let batch = &windows[first..first + fitting.count().max(1)];
        let mut caches: Vec<Cache<Cpu>> = batch.iter().map(|_| decoder.empty_cache()).collect();
        let mut sequences: Vec<Sequence<'_, Cpu>> = batch
            .iter()
            .zip(&mut caches)
            .map(|(window, cache)| Sequence { tokens: &window.tokens[..window.predicted()], cache, keep: false })
            .collect();
        let hidden = decoder.forward_all(&mut sequences, &mut Taps::none(decoder.kernels()))?;
        let all: Vec<usize> = (0..batch.iter().map(Window::predicted).sum()).collect();
        for chunk in all.chunks(LOGIT_ROWS) {
            take(done + chunk[0], &decoder.logits(&hidden, chunk)?)?;
        }
        done += all.len();
        first += batch.len();
    }
    Ok(())
}

/// What a direction is multiplied by; none where it is zero. Weights that are all zero have no scale of their own, and count as
/// one.
fn step(direction: &Direction, weights: &Parameters) -> Option<f64> {
    let squares = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    let of_direction: f64 = direction.values().map(|own| squares(&own.values)).sum();
    let of_weights: f64 = direction.keys().filter_map(|name| weights.get(name)).map(|own| squares(own)).sum();
    let of_weights = if of_weights > 0.0 { of_weights } else { 1.0 };
    (of_direction > 0.0).then(|| STEP * (of_weights / of_direction).sqrt())
}

/// `weights + step direction`
fn moved(weights: &Parameters, direction: &Direction, step: f64) -> Parameters {
    let mut moved = weights.clone();
    for (name, own) in direction {
        for (value, along) in moved.get_mut(name).into_iter().flatten().zip(&own.values) {
            *value = (f64::from(*value) + step * f64::from(*along)) as f32;
        }
    }
    moved
}
