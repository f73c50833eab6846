//! What a run may hold in memory, and what it needs.

use super::local::LocalOptions;
use crate::ckpt::Address;
use crate::ctx;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::model::{Decoder, Footprint};

/// Without a limit of the user's: this part of what the machine has free.
const SHARE_OF_FREE: f64 = 0.8;

/// Bytes for program, tokenizer and plan before anything is known about them.
const BASE: usize = 64 << 20;

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

/// Whether a checkpoint can be read while another one runs: it takes at most a quarter of what the limit leaves.
pub fn room_beside<K: Kernels>(checkpoint: &Address, options: &LocalOptions) -> bool {
    let left = limit(options.max_memory).saturating_sub(ctx::memory_used().unwrap_or(0));
    let needed = |footprint: Footprint| footprint.weights + footprint.reading;
    Footprint::of_checkpoint::<K>(checkpoint).is_ok_and(|footprint| needed(footprint) <= left / 4)
}

/// Bytes left for keys and values, now that everything else is in place.
pub(super) fn for_keys_and_values<K: Kernels>(decoder: &Decoder<K>, rows: usize, limit: usize) -> usize {
    let used = ctx::memory_used().unwrap_or(0);
    limit.saturating_sub(used + decoder.footprint().pass(rows))
}

/// The same with weights that have not all their forms yet.
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

/// A path of the plan does not fit.
pub(super) fn too_small(missing: usize) -> Error {
    Error::bad(format!("expected a memory limit that is larger by {}: the longest input does not fit", bytes(missing)))
        .help("raise --max-memory")
}

/// `1.25 GB` and the like, rounded up.
pub fn bytes(count: usize) -> String {
    if count >= 1 << 30 {
        format!("{:.2} GB", (count as f64 / 1e7).ceil() / 100.0)
    } else {
        format!("{} MB", count.div_ceil(1_000_000))
    }
}
