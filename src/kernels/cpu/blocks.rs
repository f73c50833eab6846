//! Panels of quantised weights. Scales are made f32 once; numbers stay as narrow as they are stored.
//!
//! ```text
//! 32 steps of k:  scale of each column | (minimum of each column) | the numbers, step by step
//! Q8_0            32 x f32                                          32 x 32 bytes
//! Q4_K            32 x f32               32 x f32                   32 x 16 bytes, columns j and j + 16 in one
//! ```
//! A weight is `scale * q` or `scale * q - minimum`, each operation rounded, as ggml has it: the bits of products are
//! those of the same weights as f32.

use super::isa::versions;
use super::packed::PANEL;
use crate::ckpt::{Dtype, four_bit_scales};

/// Steps of k that share their scales.
pub(super) const RUN: usize = 32;
const FLOATS: usize = 4 * PANEL;

/// Bytes of a run of a panel; `None` for plain elements.
pub(super) fn run_bytes(element: Dtype) -> Option<usize> {
    match element {
        Dtype::Q8_0 => Some(FLOATS + RUN * PANEL),
        Dtype::Q4K => Some(2 * FLOATS + RUN * PANEL / 2),
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => None,
    }
}

/// Writes a panel of some rows, each of `k` elements in whole blocks. Columns beyond the rows stay zero.
pub(super) fn pack(element: Dtype, rows: &[&[u8]], k: usize, out: &mut [u8]) {
    let Some(size) = run_bytes(element) else { return };
    for (column, row) in rows.iter().enumerate() {
        for (run, out) in out.chunks_exact_mut(size).take(k / RUN).enumerate() {
            match element {
                Dtype::Q8_0 => eight_bits(&row[run * 34..][..34], column, out),
                _ => four_bits(&row[run / 8 * 144..][..144], run % 8, column, out),
            }
        }
    }
}

fn put(out: &mut [u8], column: usize, value: f32) {
    out[4 * column..][..4].copy_from_slice(&value.to_le_bytes());
}

fn eight_bits(block: &[u8], column: usize, out: &mut [u8]) {
    put(out, column, half::f16::from_le_bytes([block[0], block[1]]).to_f32());
    for (step, q) in block[2..].iter().enumerate() {
        out[FLOATS + step * PANEL + column] = *q;
    }
}

fn four_bits(block: &[u8], run: usize, column: usize, out: &mut [u8]) {
    let (scale, minimum) = four_bit_scales(block)[run];
    put(out, column, scale);
    put(&mut out[FLOATS..], column, minimum);
    // Two runs lie in the low and high halves of 32 bytes.
    let numbers = &block[16 + run / 2 * 32..][..32];
    for (step, byte) in numbers.iter().enumerate() {
        let q = (byte >> (run % 2 * 4)) & 15;
        out[2 * FLOATS + step * (PANEL / 2) + column % 16] |= q << (column / 16 * 4);
    }
}

/// One column of a panel.
pub(super) fn column(element: Dtype, panel: &[u8], column: usize, out: &mut [f32]) {
    let Some(size) = run_bytes(element) else { return };
    let float = |bytes: &[u8]| f32::from_le_bytes(std::array::from_fn(|i| bytes[4 * column + i]));
    for (run, out) in panel.chunks_exact(size).zip(out.chunks_mut(RUN)) {
        for (step, out) in out.iter_mut().enumerate() {
            *out = if element == Dtype::Q8_0 {
                float(run) * f32::from(run[FLOATS + step * PANEL + column].cast_signed())
            } else {
                let byte = run[2 * FLOATS + step * (PANEL / 2) + column % 16];
                float(run) * f32::from((byte >> (column / 16 * 4)) & 15) - float(&run[FLOATS..])
            };
        }
    }
}

#[inline(always)]
fn floats(bytes: &[u8]) -> [f32; PANEL] {
    let mut floats = [0f32; PANEL];
    for (float, bytes) in floats.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *float = f32::from_le_bytes(*bytes);
    }
    floats
}

#[inline(always)]
fn widen_eight_body(runs: &[u8], out: &mut [f32]) {
    let (runs, places) = (runs.chunks_exact(FLOATS + RUN * PANEL), out.chunks_exact_mut(RUN * PANEL));
    for (run, place) in runs.zip(places) {
        let scales = floats(run);
        let steps = run[FLOATS..].as_chunks::<PANEL>().0;
        for (place, numbers) in place.as_chunks_mut::<PANEL>().0.iter_mut().zip(steps) {
            for j in 0..PANEL {
                place[j] = scales[j] * f32::from(numbers[j].cast_signed());
            }
        }
    }
}

#[inline(always)]
fn widen_four_body(runs: &[u8], out: &mut [f32]) {
    let (runs, places) = (runs.chunks_exact(2 * FLOATS + RUN * PANEL / 2), out.chunks_exact_mut(RUN * PANEL));
    for (run, place) in runs.zip(places) {
        let (scales, minima) = (floats(run), floats(&run[FLOATS..]));
        let steps = run[2 * FLOATS..].as_chunks::<16>().0;
        for (place, numbers) in place.as_chunks_mut::<PANEL>().0.iter_mut().zip(steps) {
            for j in 0..16 {
                place[j] = scales[j] * f32::from(numbers[j] & 15) - minima[j];
                place[j + 16] = scales[j + 16] * f32::from(numbers[j] >> 4) - minima[j + 16];
            }
        }
    }
}

versions! {
    /// Whole runs of a panel of Q8_0 to f32.
    pub(super) fn widen_eight = widen_eight_body(runs: &[u8], out: &mut [f32]);
    /// Whole runs of a panel of Q4_K to f32.
    pub(super) fn widen_four = widen_four_body(runs: &[u8], out: &mut [f32]);
}
