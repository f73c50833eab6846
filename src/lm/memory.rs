//! What a run may hold in memory, and what it needs.

use super::local::LocalOptions;
use crate::ckpt::Address;
use crate::ctx;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::model::{Decoder, Footprint};
use crate::request::Plan;

/// Without a limit of the user's: this part of what the machine has free.
const SHARE_OF_FREE: f64 = 0.8;

/// Bytes for program, tokenizer and plan before anything is known about them.
const BASE: usize = 64 << 20;

/// What a process holds is not the same every time: a limit that is recommended has so much to spare.
const SLACK: usize = 16 << 20;

/// The limit of this process in bytes: the one asked for, else what it has and most of what is free now.
pub fn limit(asked: Option<usize>) -> usize {
    let free = || Some((ctx::memory_available()? as f64 * SHARE_OF_FREE) as usize + ctx::memory_used().unwrap_or(0));
    asked.or_else(free).unwrap_or(usize::MAX)
}

/// Refuses a limit that the weights do not fit into, before they are read.
pub(super) fn check_weights(footprint: &Footprint, rows: usize, limit: usize) -> Result<()> {
    let needed = BASE + footprint.weights + footprint.reading.max(footprint.pass(rows));
    if needed <= limit {
        return Ok(());
    }
    Err(Error::bad(format!("expected a memory limit of at least {}, found {}", bytes(needed), bytes(limit))).help(
        format!(
            "the weights take {} and a pass of {rows} tokens {}; raise --max-memory or lower --batch-tokens",
            bytes(footprint.weights),
            bytes(footprint.pass(rows))
        ),
    ))
}

/// Bytes that it takes to read a checkpoint while another one runs; none if that is more than a quarter of what the limit
/// leaves.
pub fn room_beside<K: Kernels>(checkpoint: &Address, options: &LocalOptions) -> Option<usize> {
    let left = limit(options.max_memory).saturating_sub(ctx::memory_used().unwrap_or(0));
    let Footprint { weights, reading, .. } = Footprint::of_checkpoint::<K>(checkpoint).ok()?;
    Some(weights + reading).filter(|needed| *needed <= left / 4)
}

/// What the limit leaves for keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// To be kept at once, where there is a choice.
    pub bytes: usize,
    pub limit: usize,
    /// What everything that is there takes of the limit, without estimates of what is still to come.
    pub taken: usize,
}

impl Room {
    /// Beside a pass of `rows`, the answers to a plan, and what the process holds: now, or as soon as others have what they
    /// are about to take (`soon`).
    pub fn of<K: Kernels>(decoder: &Decoder<K>, rows: usize, plan: &Plan, (limit, soon): (usize, usize)) -> Self {
        let (now, pass) = (ctx::memory_used().unwrap_or(0), decoder.footprint().pass(rows));
        Self { bytes: limit.saturating_sub(now.max(soon) + pass + answers(plan)), limit, taken: now + pass }
    }

    /// Refuses what does not fit even by itself, with the limit that it would fit into.
    pub fn check(&self, needed: usize) -> Result<()> {
        if self.taken + needed <= self.limit {
            return Ok(());
        }
        let (enough, limit) = (bytes(self.taken + needed + SLACK), bytes(self.limit));
        let [taken, needed] = [self.taken, needed].map(bytes);
        Err(Error::bad(format!("expected a memory limit of at least {enough}, found {limit}")).help(format!(
            "weights, tokens and a pass take {taken}, the longest input {needed} of keys and values; raise --max-memory"
        )))
    }
}

/// Bytes that the answers to a plan take until they are scored, more or less.
fn answers(plan: &Plan) -> usize {
    const REQUEST: usize = 256;
    const TOKEN: usize = 8;
    plan.requests().len() * REQUEST + (plan.rows_scored() + plan.tokens_generated()) * TOKEN
}

/// Bytes left beside a pass, where weights have not all their forms yet.
pub(super) fn left<K: Kernels>(decoder: &Decoder<K>, rows: usize, limit: usize, weights: usize) -> usize {
    let used = ctx::memory_used().unwrap_or(0).max(BASE + weights);
    limit.saturating_sub(used + decoder.footprint().pass(rows))
}

/// What is left beside bytes for `what`, or a refusal that says how many are missing.
pub fn beside(left: usize, needed: usize, what: &str) -> Result<usize> {
    left.checked_sub(needed).ok_or_else(|| {
        let (needed, left) = (bytes(needed), bytes(left));
        Error::bad(format!("expected {needed} of memory for {what}, found {left}"))
    })
}

/// `1.25 GB` and the like, rounded up.
pub fn bytes(count: usize) -> String {
    if count >= 1 << 30 {
        format!("{:.2} GB", (count as f64 / 1e7).ceil() / 100.0)
    } else {
        format!("{} MB", count.div_ceil(1_000_000))
    }
}
