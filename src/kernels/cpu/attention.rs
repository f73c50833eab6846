//! Causal attention for the rows of one forward pass.
//!
//! Scores are chains over the head width, then scaled; each row is soft-maxed over exactly the positions it may see;
//! values are chains over those positions in ascending order. No output touches a position it must not see, so
//! nothing depends on how long the sequence is or into which passes it was cut.
//!
//! ```text
//!          positions 0 .. offset + S          rows of a tile share the columns up to the first row's own position;
//!        ┌──────────────┬───┐                 the rest is a small triangle, row by row
//! rows   │   shared     │◣  │ tile of rows
//!        ├──────────────┴───┤
//! ```

use super::isa::Isa;
use super::math::{scale, softmax};
use super::packed::{PANEL, Packed};
use super::tile::{Tile, most_rows, strip};

/// Rows whose scores are held at once.
const BLOCK: usize = 84;

/// Shapes of one call.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Rows of queries; the first stands at position `positions - rows`.
    pub rows: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub width: usize,
    /// Keys and values so far, this pass's included.
    pub positions: usize,
}

/// `q [rows, heads, width]`, `k` and `v [positions, kv_heads, width]` to `[rows, heads, width]`.
pub(super) fn attention(isa: Isa, shape: Shape, q: &[f32], k: &[f32], v: &[f32], factor: f32, out: &mut [f32]) {
    let Shape { rows, heads, kv_heads, width, positions } = shape;
    let (ld, kv_ld, offset) = (heads * width, kv_heads * width, positions - rows);
    assert!(
        q.len() == rows * ld && out.len() == rows * ld && k.len() == positions * kv_ld && v.len() == positions * kv_ld,
        "shapes agree"
    );
    // Not a power of two apart, or rows would meet in one set of the cache.
    let score_ld = positions.next_multiple_of(PANEL) + 16;
    let mut scores = vec![0f32; BLOCK.min(rows) * score_ld];
    for group in 0..kv_heads {
        let keys = Packed::rows(&k[group * width..], positions, width, kv_ld);
        let values = Packed::columns(&v[group * width..], width, positions, kv_ld);
        for head in group * heads / kv_heads..(group + 1) * heads / kv_heads {
            for from in (0..rows).step_by(BLOCK) {
                let to = rows.min(from + BLOCK);
                block_scores(isa, &q[head * width..], ld, &keys, (from, to), offset, &mut scores, score_ld);
                for row in from..to {
                    let seen = &mut scores[(row - from) * score_ld..][..=(offset + row)];
                    scale(isa, seen, factor);
                    softmax(isa, seen);
                }
                block_values(isa, &scores, score_ld, &values, (from, to), offset, &mut out[head * width..], ld);
            }
        }
    }
}

/// Unscaled scores of rows `from..to` against the positions that they see.
#[expect(clippy::too_many_arguments, reason = "two matrices with their strides, and a range")]
fn block_scores(
    isa: Isa,
    q: &[f32],
    ld: usize,
    keys: &Packed,
    (from, to): (usize, usize),
    offset: usize,
    scores: &mut [f32],
    score_ld: usize,
) {
    for p in 0..(offset + to).div_ceil(PANEL) {
        // Earlier rows see no key of this panel.
        let first = from.max((p * PANEL).saturating_sub(offset));
        let tile = Tile {
            rows: to - first,
            k: keys.k,
            a: q[first * ld..].as_ptr(),
            lda: ld,
            b: keys.panel(p, 0),
            c: scores[(first - from) * score_ld + p * PANEL..].as_mut_ptr(),
            ldc: score_ld,
            cols: PANEL.min(keys.n - p * PANEL),
            resume: false,
            next: keys.panel(p, 0).cast(),
            next_step: 0,
        };
        // SAFETY: rows first..to of q and of the score buffer, whose rows have room for whole panels.
        unsafe { strip(isa, &tile) }
    }
}

/// Weighted values of rows `from..to`.
#[expect(clippy::too_many_arguments, reason = "two matrices with their strides, and a range")]
fn block_values(
    isa: Isa,
    scores: &[f32],
    score_ld: usize,
    values: &Packed,
    (from, to): (usize, usize),
    offset: usize,
    out: &mut [f32],
    ld: usize,
) {
    for top in (from..to).step_by(most_rows(isa)) {
        let rows = most_rows(isa).min(to - top);
        let shared = offset + top + 1;
        for p in 0..values.n.div_ceil(PANEL) {
            let tile = Tile {
                rows,
                k: shared,
                a: scores[(top - from) * score_ld..].as_ptr(),
                lda: score_ld,
                b: values.panel(p, 0),
                c: out[top * ld + p * PANEL..].as_mut_ptr(),
                ldc: ld,
                cols: PANEL.min(values.n - p * PANEL),
                resume: false,
                next: values.panel(p, 0).cast(),
                next_step: 0,
            };
            // SAFETY: rows top..top + rows of scores and out, and this panel's columns.
            unsafe { strip(isa, &tile) }
            for row in 1..rows {
                let triangle = Tile {
                    rows: 1,
                    k: row,
                    a: tile.a.wrapping_add(row * score_ld + shared),
                    b: values.panel(p, shared),
                    c: tile.c.wrapping_add(row * ld),
                    resume: true,
                    ..tile
                };
                // SAFETY: one row of the tile above, and the positions that it sees beyond the shared ones.
                unsafe { strip(isa, &triangle) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{bits, chain, wild};

    #[test]
    fn is_its_definition_and_ignores_the_future_and_the_cut() {
        let (positions, heads, kv_heads, width) = (203, 6, 2, 40);
        let some =
            |seed, heads: usize| wild(positions * heads * width, seed).iter().map(|x| x % 2.0).collect::<Vec<_>>();
        let (q, k, v) = (some(1, heads), some(2, kv_heads), some(3, kv_heads));
        let mut want = vec![];
        for (row, head) in (0..positions * heads).map(|r| (r / heads, r % heads)) {
            let at = |j: usize| (j * kv_heads + head * kv_heads / heads) * width;
            let mut p: Vec<f32> = (0..=row)
                .map(|j| chain(&q[(row * heads + head) * width..][..width], &k[at(j)..][..width]) * 0.15)
                .collect();
            softmax(Isa::Portable, &mut p);
            want.extend((0..width).map(|d| chain(&p, &(0..=row).map(|j| v[at(j) + d]).collect::<Vec<_>>())));
        }
        let ld = heads * width;
        for (first, end) in
            [(0, 1), (0, 2), (0, 15), (0, 84), (0, 85), (0, 203), (1, 2), (84, 203), (202, 203), (50, 61)]
        {
            for isa in Isa::available() {
                let shape = Shape { rows: end - first, heads, kv_heads, width, positions: end };
                let mut out = vec![f32::NAN; (end - first) * ld];
                let kv = end * kv_heads * width;
                attention(isa, shape, &q[first * ld..end * ld], &k[..kv], &v[..kv], 0.15, &mut out);
                assert_eq!(bits(&out), bits(&want[first * ld..end * ld]), "rows {first}..{end}, {isa:?}");
            }
        }
    }
}
