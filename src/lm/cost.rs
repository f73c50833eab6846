//! What a plan will cost, before it runs: from its shape and a short calibration on this machine.

use super::local::Local;
use crate::ctx;
use crate::error::Result;
use crate::kernels::Kernels;
use crate::model::{DecoderSpec, Sequence, Taps};
use crate::request::{Ask, Plan};

/// Rows of the calibration's long pass, and sequences of its short one.
const LONG: usize = 256;
const SHORT: usize = 16;

/// How fast this machine runs a decoder.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Floating-point operations a second in long passes.
    operations: f64,
    /// Seconds for one generated token, many sequences going on together.
    generated: f64,
}

/// An estimate.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub seconds: f64,
    /// Bytes of memory at the peak.
    pub memory: usize,
}

impl<K: Kernels> Local<K> {
    /// Times a long pass and a step of generation. The numbers that come out are thrown away.
    pub fn calibrate(&self) -> Result<Speed> {
        let decoder = self.decoder();
        let spec = decoder.spec();
        let rows = LONG.min(spec.context.unwrap_or(LONG)).max(1);
        let tokens: Vec<u32> = (0..rows).map(|row| (row * 7919 % spec.vocab) as u32).collect();
        let mut seconds = [0.0; 2];
        for _warm in 0..2 {
            let mut cache = decoder.empty_cache();
            let mut sequence = [Sequence { tokens: &tokens, cache: &mut cache, keep: false }];
            seconds[0] = timed(|| decoder.forward_all(&mut sequence, &mut Taps::none(decoder.kernels())))?;
            let mut caches: Vec<_> = (0..SHORT).map(|_| decoder.empty_cache()).collect();
            let mut steps: Vec<Sequence<'_, K>> =
                caches.iter_mut().map(|cache| Sequence { tokens: &tokens[..1], cache, keep: false }).collect();
            seconds[1] = timed(|| {
                let hidden = decoder.forward_all(&mut steps, &mut Taps::none(decoder.kernels()))?;
                let rows: Vec<(usize, u32)> = (0..SHORT).map(|row| (row, 0)).collect();
                decoder.score(&hidden, &rows)
            })?;
        }
        let done = rows as f64 * per_row(spec) + attention(spec, 0, rows);
        Ok(Speed { operations: done / seconds[0].max(1e-9), generated: seconds[1] / SHORT as f64 })
    }

    /// Time and memory of a plan. Generations count with the most tokens that they may take.
    pub fn cost(&self, plan: &Plan, speed: Speed) -> Cost {
        let decoder = self.decoder();
        let spec = decoder.spec();
        let mut operations = 0.0;
        for (node, before) in plan.nodes().iter().zip(depths(plan)) {
            let rows = node.range.len();
            operations += rows as f64 * per_row(spec) + attention(spec, before, rows);
        }
        operations += plan.rows_scored() as f64 * 2.0 * (spec.vocab * spec.width) as f64;
        for &request in plan.alone() {
            let rows = plan.requests()[request].tokens.len();
            operations += rows as f64 * per_row(spec) + attention(spec, 0, rows);
        }
        // A generated token reads its whole past, at the speed at which the step of the calibration read the weights.
        let weights = 2.0 * per_row(spec) + 4.0 * (spec.vocab * spec.width) as f64;
        let past = decoder.segment_bytes(longest(plan)) as f64 / weights * SHORT as f64;
        Cost {
            seconds: operations / speed.operations + plan.tokens_generated() as f64 * speed.generated * (1.0 + past),
            memory: ctx::memory_used().unwrap_or(0)
                + decoder.footprint().pass(self.rows())
                + self.kept(plan).min(self.room(plan, 0).bytes),
        }
    }

    /// Bytes of keys and values that a plan keeps at once where nothing limits it: of as many generations as a pass has rows,
    /// or of one path, and of the rows that passes leave for those that go on from them.
    pub(super) fn kept(&self, plan: &Plan) -> usize {
        let together = longest(plan) * generations(plan).clamp(1, self.rows()) + 2 * self.rows();
        self.decoder().segment_bytes(together)
    }
}

fn generations(plan: &Plan) -> usize {
    plan.requests().iter().filter(|request| matches!(request.ask, Ask::Generate { .. })).count()
}

/// Positions of the longest path, with what is generated behind it, on average.
fn longest(plan: &Plan) -> usize {
    let deepest = plan.nodes().iter().zip(depths(plan)).map(|(node, before)| before + node.range.len()).max();
    deepest.unwrap_or(0) + plan.tokens_generated().div_ceil(generations(plan).max(1))
}

/// Positions before each node.
fn depths(plan: &Plan) -> Vec<usize> {
    let mut depths = vec![0; plan.nodes().len()];
    for (index, node) in plan.nodes().iter().enumerate() {
        for &child in &node.children {
            depths[child] = depths[index] + node.range.len();
        }
    }
    depths
}

/// Operations of one row in all products of all blocks.
fn per_row(spec: &DecoderSpec) -> f64 {
    let attention = spec.width * spec.head_width * (2 * spec.heads + 2 * spec.kv_heads);
    let width = |layer: usize| match &spec.mlp.mixture {
        Some(mixture) if mixture.layers[layer] => mixture.chosen * mixture.width,
        _ => spec.mlp.width,
    };
    let mlp = spec.width * if spec.mlp.gated { 3 } else { 2 } * (0..spec.layers).map(width).sum::<usize>();
    2.0 * (spec.layers * attention + mlp) as f64
}

/// Operations of scores and weighted values of `rows` rows after `before` positions.
fn attention(spec: &DecoderSpec, before: usize, rows: usize) -> f64 {
    let seen = rows as f64 * (before as f64 + f64::midpoint(rows as f64, 1.0));
    4.0 * (spec.layers * spec.heads * spec.head_width) as f64 * seen
}

fn timed<T>(f: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = ctx::seconds();
    f()?;
    Ok(ctx::seconds() - start)
}
