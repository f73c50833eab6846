//! Slopes of logits along the feedback's gradient, of all tokens of the vocabulary at once.
//!
//! `u_v = <g, dz_v/dtheta>` is how fast the logit of `v` grows when the weights move along `g`. So two forward passes say it
//! of every token, `(z(theta + eps g) - z(theta - eps g)) / 2 eps`, where reverse passes would be one for each of them.

use super::aim::Aim;
use super::design::{Candidate, TokenSlopes, candidates};
use crate::error::Result;
use crate::feedback::Direction;
use crate::kernels::Kernels;
use crate::kernels::cpu::Cpu;
use crate::lab::train::Parameters;
use crate::model::{Blueprint, Cache, Decoder, Sequence, Taps};

/// How far weights are moved, as a part of their own norm, over the parameters that the direction has. Rounding of logits
/// counts for less with a longer step, curvature for more with its square. Over the 59 smooth ones of the checkpoints in
/// `tests/fixtures/parity` the worst error of a slope, in units of their root mean square, was 0.003 with 2e-5, 0.017 with
/// 5e-5 and 0.07 with 1e-4, all curvature, and 0.007 with 1e-5, rounding.
const STEP: f64 = 2e-5;
/// How much of what logits change may differ between the two ways of a step. More of it is no curvature: another expert was
/// chosen, a value was clipped, or nothing but rounding is there, and the difference is no slope.
const MOST_BEND: f64 = 0.3;

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
    /// Tokens whose logits do not change evenly: the true token is their only candidate.
    pub unsteady: usize,
}

impl<'a> Slopes<'a> {
    /// `weights`: those of the decoder, by name.
    pub fn new(decoder: &'a Decoder<Cpu>, blueprint: &'a Blueprint, weights: &'a Parameters, aim: &'a Aim) -> Self {
        let steps = aim.directions().map(|direction| step(direction, weights));
        Self { decoder, blueprint, weights, aim, steps }
    }

    /// Bytes that are held besides the decoder, its weights and the aim: moved weights, and what a decoder is made of and
    /// becomes.
    pub fn bytes(parameters: usize) -> usize {
        3 * parameters * size_of::<f32>()
    }

    /// Slopes of the true token and the `kept - 1` likeliest others at every predicted token. About `rows` tokens go through
    /// the model together, and no number depends on that.
    ///
    /// # Errors
    /// Tokens outside the vocabulary, logits that are no numbers.
    pub fn of(&self, windows: &[Window], kept: usize, rows: usize) -> Result<Found> {
        let kernels = self.decoder.kernels();
        let (mut tokens, base) = self.candidates(windows, kept, rows)?;
        let mut steady = vec![true; tokens.len()];
        let mut value = 0.0;
        for (number, (direction, step)) in self.aim.directions().into_iter().zip(self.steps).enumerate() {
            let Some(step) = step else { continue };
            let moved = |sign: f64| {
                let decoder = self.blueprint.decoder(kernels.clone(), &moved(self.weights, direction, sign * step))?;
                picked(&decoder, windows, rows, &tokens)
            };
            let ((ahead, loss_ahead), (behind, loss_behind)) = (moved(1.0)?, moved(-1.0)?);
            if number == 0 {
                value = (loss_ahead - loss_behind) / (2.0 * step);
            }
            let mut logits = ahead.into_iter().zip(behind).zip(&base);
            for (token, steady) in tokens.iter_mut().zip(&mut steady) {
                let (mut even, mut odd) = (0.0, 0.0);
                for (candidate, ((ahead, behind), base)) in token.candidates.iter_mut().zip(logits.by_ref()) {
                    let [ahead, behind, base] = [ahead, behind, *base].map(f64::from);
                    let slope = (ahead - behind) / (2.0 * step);
                    match number {
                        0 => candidate.slope = slope,
                        half => candidate.halves.iter_mut().for_each(|halves| halves[half - 1] = slope),
                    }
                    even += (ahead + behind - 2.0 * base).powi(2);
                    odd += (ahead - behind).powi(2);
                }
                *steady &= even <= MOST_BEND * MOST_BEND * odd;
            }
        }
        let unsteady = steady.iter().filter(|steady| !**steady).count();
        for token in tokens.iter_mut().zip(steady).filter(|(_, steady)| !steady).map(|(token, _)| token) {
            token.candidates = vec![unknown(token.truth)];
        }
        Ok(Found { tokens, value, unsteady })
    }

    /// Candidates of every predicted token, without slopes, and their logits.
    fn candidates(&self, windows: &[Window], kept: usize, rows: usize) -> Result<(Vec<TokenSlopes>, Vec<f32>)> {
        let truths: Vec<u32> = windows.iter().flat_map(|window| &window.tokens[1..]).copied().collect();
        let (mut tokens, mut chosen) = (Vec::with_capacity(truths.len()), Vec::new());
        each_run(self.decoder, windows, rows, &mut |first, logits| {
            let logits = self.decoder.kernels().host(logits)?;
            for (row, &truth) in logits.values.chunks(logits.shape[1]).zip(&truths[first..]) {
                let ids = candidates(row, truth, kept)?;
                chosen.extend(ids.iter().map(|id| row[*id as usize]));
                tokens.push(TokenSlopes { truth, candidates: ids.into_iter().map(unknown).collect() });
            }
            Ok(())
        })?;
        Ok((tokens, chosen))
    }
}

/// A candidate of which nothing is known.
fn unknown(id: u32) -> Candidate {
    Candidate { id, slope: 0.0, halves: Some([0.0; 2]) }
}

/// Logits of all candidates, and the sum of the true tokens' losses.
fn picked(decoder: &Decoder<Cpu>, windows: &[Window], rows: usize, tokens: &[TokenSlopes]) -> Result<(Vec<f32>, f64)> {
    let kernels = decoder.kernels();
    let (mut all, mut losses) = (Vec::new(), 0.0);
    each_run(decoder, windows, rows, &mut |first, logits| {
        let sums = kernels.logit_rows(logits)?;
        let here = &tokens[first..first + sums.len()];
        let of_row = |(row, token): (usize, &TokenSlopes)| -> Vec<(usize, usize)> {
            token.candidates.iter().map(|candidate| (row, candidate.id as usize)).collect()
        };
        let places: Vec<(usize, usize)> = here.iter().enumerate().flat_map(of_row).collect();
        let picked = kernels.pick(logits, &places)?;
        let mut own = &picked[..];
        for (token, sum) in here.iter().zip(&sums) {
            // The true token stands first.
            losses += f64::from(sum.max) + sum.log_sum - f64::from(own[0]);
            own = &own[token.candidates.len()..];
        }
        all.extend(picked);
        Ok(())
    })?;
    Ok((all, losses))
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
        for chunk in all.chunks(decoder.logits_at_once()) {
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
