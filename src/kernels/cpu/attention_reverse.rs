//! The reverse of causal attention, branch by branch, head by head, some rows at a time.
//!
//! ```text
//! forward    S = scale q k^T    P = softmax(S)    z = P v
//! reverse    dv += P^T dz       dP = dz v^T       dS = P (dP - rowsum(P dP))       dq = scale dS k    dk += scale dS^T q
//! ```
//! P is computed anew from q and k. Blocks of rows begin at the branch's first row and go upwards, and each sees only the
//! positions up to its own last row, so the sums over rows have an order that depends on the branch alone.

use std::ops::Range;

use super::array::{Array, Scratch};
use super::isa::Isa;
use super::math;
use super::matmul::{Product, Rows, matmul};
use super::packed::Packed;
use super::pool::{Output, Pool};
use super::reverse::{outer, transposed};
use super::slope;
use crate::kernels::Scoring;

/// Rows of a block.
const BLOCK: usize = 128;

/// Gradients of q, k and v. `q, dz [S, H, h]`, `k, v [S, G, h]`; branches are ranges of rows.
///
/// Heads go side by side; those that share keys and values leave their parts, which are added in ascending order.
pub(super) fn attention(
    pool: &Pool,
    isa: Isa,
    [q, k, v, dz]: [&Array; 4],
    branches: &[Range<usize>],
    scoring: Scoring,
) -> [Array; 3] {
    let (heads, kv_heads, width) = (q.shape[1], k.shape[1], q.shape[2]);
    assert!(heads.is_multiple_of(kv_heads), "each key/value head has as many query heads");
    assert!(branches.windows(2).all(|pair| pair[0].end <= pair[1].start), "branches have rows of their own");
    // Branches write all their rows; others have no gradient.
    let all = branches.iter().map(Range::len).sum::<usize>() == q.shape[0];
    let empty = || {
        Array::build(q.shape.clone(), |out| {
            if !all {
                out.fill(0.0);
            }
        })
    };
    // The last two: of keys and of values, as if every head had its own.
    let (mut dq, mut key_parts, mut value_parts) = (empty(), empty(), empty());
    {
        let output = |x: &mut Array| x.values_mut().map_or_else(|| Output::new(&mut []), Output::new);
        let (dq, key_parts, value_parts) = (output(&mut dq), output(&mut key_parts), output(&mut value_parts));
        pool.run(branches.len() * heads, |task| {
            let (branch, head) = (&branches[task / heads], task % heads);
            let group = head * kv_heads / heads;
            let (key, value) = (gather(k, branch, group), gather(v, branch, group));
            let one = Head { pool, isa, width, scoring, key: &key, value: &value };
            let [mut dquery, mut dkey, mut dvalue] = [(); 3].map(|()| vec![0f32; branch.len() * width]);
            one.reverse(&gather(q, branch, head), &gather(dz, branch, head), &mut dquery, &mut dkey, &mut dvalue);
            let [dkey, dvalue] = [dkey, dvalue].map(|columns| transposed(pool, &columns, branch.len()));
            for (out, rows) in [(&dq, &*dquery), (&key_parts, &*dkey), (&value_parts, &*dvalue)] {
                scatter(out, rows, branch, (head, heads), width);
            }
        });
    }
    [dq, sum_groups(pool, isa, &key_parts, kv_heads), sum_groups(pool, isa, &value_parts, kv_heads)]
}

/// `[S, H, h]` to `[S, G, h]`: the sum over the heads of each group, in ascending order.
fn sum_groups(pool: &Pool, isa: Isa, parts: &Array, groups: usize) -> Array {
    let (rows, heads, width) = (parts.shape[0], parts.shape[1], parts.shape[2]);
    Array::build(vec![rows, groups, width], |sums| {
        let sums = Output::new(sums);
        pool.run(rows, |row| {
            // SAFETY: each row is one task's.
            let own = unsafe { sums.part(row * groups * width, groups * width) };
            let parts = parts.values()[row * heads * width..].chunks_exact(heads / groups * width);
            for (sum, parts) in own.chunks_exact_mut(width).zip(parts) {
                sum.fill(0.0);
                parts.chunks_exact(width).for_each(|part| math::add(isa, sum, part));
            }
        });
    })
}

/// Rows `[rows, width]` of one head.
fn gather(x: &Array, rows: &Range<usize>, head: usize) -> Vec<f32> {
    let (heads, width) = (x.shape[1], x.shape[2]);
    let mut own = Vec::with_capacity(rows.len() * width);
    for row in rows.clone() {
        own.extend_from_slice(&x.values()[(row * heads + head) * width..][..width]);
    }
    own
}

/// Puts the rows of one head where [`gather`] takes them from; each head of a branch is one task's.
fn scatter(out: &Output<f32>, rows: &[f32], range: &Range<usize>, (head, heads): (usize, usize), width: usize) {
    for (row, values) in range.clone().zip(rows.chunks_exact(width)) {
        // SAFETY: this head of these rows is one task's.
        unsafe { out.part((row * heads + head) * width, width) }.copy_from_slice(values);
    }
}

/// Keys and values of one branch and group, and how a query scores them.
struct Head<'a> {
    pool: &'a Pool,
    isa: Isa,
    width: usize,
    scoring: Scoring,
    key: &'a [f32],
    value: &'a [f32],
}

impl Head<'_> {
    /// Writes `dq [rows, width]`, adds to `dk` and `dv`, which are `[width, rows]`.
    fn reverse(&self, q: &[f32], dz: &[f32], dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
        let (width, rows) = (self.width, q.len() / self.width);
        for from in (0..rows).step_by(BLOCK) {
            let to = rows.min(from + BLOCK);
            let (block, seen) = (from * width..to * width, to * width);
            let (q, dz) = (&q[block.clone()], &dz[block.clone()]);
            let (probabilities, capped) = self.probabilities(q, from, to);
            self.add_outer(dz, &probabilities, dv, rows);
            let mut dscores = self.against(dz, &self.value[..seen]);
            for (index, (ds, p)) in dscores.chunks_exact_mut(to).zip(probabilities.chunks_exact(to)).enumerate() {
                slope::softmax(self.isa, ds, p);
                if let (Some(cap), Some(capped)) = (self.scoring.cap, &capped) {
                    slope::soft_cap(self.isa, ds, &capped[index * to..][..to], cap as f32);
                }
                math::scale(self.isa, ds, self.scoring.scale as f32);
            }
            let keys = Packed::floats(self.pool, &self.key[..seen], (width, to), (1, width));
            self.times(&dscores, to, &keys, &mut dq[block]);
            self.add_outer(q, &dscores, dk, rows);
        }
    }

    /// Probabilities of rows `from..to` over positions `0..to`, and, where there is a cap, their capped scores.
    fn probabilities(&self, q: &[f32], from: usize, to: usize) -> (Scratch, Option<Vec<f32>>) {
        let mut scores = self.against(q, &self.key[..to * self.width]);
        let mut factor = self.scoring.scale as f32;
        let mut capped = None;
        if let Some(cap) = self.scoring.cap {
            math::soft_cap(self.isa, &mut scores, factor, cap as f32);
            (factor, capped) = (1.0, Some(scores.to_vec()));
        }
        for (row, scores) in (from..to).zip(scores.chunks_exact_mut(to)) {
            let seen = self.scoring.first_seen(row)..row + 1;
            scores[..seen.start].fill(f32::NEG_INFINITY);
            math::scaled_softmax(self.isa, &mut scores[..seen.end], factor);
            scores[seen.end..].fill(0.0);
        }
        (scores, capped)
    }

    /// `rows x^T`: products of rows with rows, both `[.., width]`.
    fn against(&self, rows: &[f32], x: &[f32]) -> Scratch {
        let (m, n) = (rows.len() / self.width, x.len() / self.width);
        let w = Packed::floats(self.pool, x, (n, self.width), (self.width, 1));
        let mut out = Scratch::take(m * n);
        self.times(rows, self.width, &w, &mut out);
        out
    }

    fn times(&self, rows: &[f32], ld: usize, w: &Packed, out: &mut [f32]) {
        let rows = Rows { values: rows, ld, count: rows.len() / ld };
        matmul(self.pool, self.isa, rows, &mut [Product { w, y: out }]);
    }

    /// Adds `a^T b` to `to`, whose rows are `ld` apart: `a` has `width` columns and `b` as many as are seen.
    fn add_outer(&self, a: &[f32], b: &[f32], to: &mut [f32], ld: usize) {
        let seen = b.len() / (a.len() / self.width);
        let mut sum = Scratch::take(self.width * seen);
        outer(self.pool, self.isa, (a, self.width), (b, seen), &mut sum);
        for (to, sum) in to.chunks_mut(ld).zip(sum.chunks_exact(seen)) {
            math::add(self.isa, &mut to[..seen], sum);
        }
    }
}
