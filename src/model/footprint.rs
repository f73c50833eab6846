//! What a decoder takes in memory, from its shapes alone.

use super::decoder::logits_at_once;
use super::load::inspect_sizes;
use super::spec::{DecoderSpec, Positions};
use crate::ckpt::Address;
use crate::error::Result;
use crate::kernels::Kernels;

/// Bytes of a decoder on some kernels.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// Weights as they are kept.
    pub weights: usize,
    /// Stored tensors that are held besides while they are read.
    pub reading: usize,
    /// What one row of a pass takes.
    row: usize,
    /// What one row of one block leaves on a tape.
    recorded_row: usize,
    width: usize,
    vocab: usize,
    /// What a pass takes whatever its rows: logits, scores.
    fixed: usize,
}

impl Footprint {
    /// Of a checkpoint; reads headers only.
    ///
    /// # Errors
    /// As [`super::check`].
    pub fn of_checkpoint<K: Kernels>(checkpoint: &Address) -> Result<Self> {
        let (spec, sizes) = inspect_sizes::<K>(checkpoint)?;
        Ok(Self { weights: sizes.kept, reading: sizes.reading, ..Self::of_pass(&spec) })
    }

    pub(super) fn of_pass(spec: &DecoderSpec) -> Self {
        let heads = spec.heads + 2 * spec.kv_heads;
        let mlp = if spec.mlp.gated { 2 * spec.mlp.width } else { spec.mlp.width };
        // Residual, its normalised copy, the result of a sub-layer and one more in flight; projections and z; the
        // inside of the MLP; angles. Buffers are kept for use again, so both sub-layers count.
        let tables = match &spec.positions {
            Positions::Rotary(tables) => tables.len() * spec.head_width,
            Positions::Learned { .. } => spec.width,
        };
        let row = 5 * spec.width + (heads + spec.heads) * spec.head_width + mlp + tables;
        // What enters and leaves each operation: residuals, norms and their scaled copies; projections before and after
        // they turn, z; the inside of the MLP.
        let experts = spec.mlp.mixture.as_ref().map_or(0, |mixture| {
            mixture.chosen * (2 * spec.width + if spec.mlp.gated { 4 } else { 2 } * mixture.width) + 3 * mixture.experts
        });
        let recorded = 8 * spec.width + 2 * (heads + spec.heads) * spec.head_width + (2 * mlp).max(experts);
        let logits = logits_at_once(spec.vocab) * (spec.vocab + spec.width);
        Self {
            weights: 0,
            reading: 0,
            row: 4 * row,
            recorded_row: 4 * recorded,
            width: spec.width,
            vocab: spec.vocab,
            fixed: 4 * logits + (16 << 20),
        }
    }

    /// Bytes that the activations of some rows of one block take on a tape.
    pub fn recorded(&self, rows: usize) -> usize {
        rows * self.recorded_row
    }

    /// Bytes that a walk backwards holds besides what is recorded: the inputs of the walked blocks, and the logits of a run
    /// of rows with their gradient and one copy.
    pub fn walk(&self, rows: usize, blocks: usize, run: usize) -> usize {
        blocks * rows * 4 * self.width + 3 * 4 * rows.min(run) * self.vocab
    }

    /// Bytes of a pass of some rows, without keys and values.
    pub fn pass(&self, rows: usize) -> usize {
        self.fixed + rows * self.row
    }
}
