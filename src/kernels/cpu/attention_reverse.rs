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
use super::reverse::outer;
use super::slope;
use crate::kernels::Scoring;

/// Rows of a block.
const BLOCK: usize = 128;

/// Gradients of q, k and v. `q, dz [S, H, h]`, `k, v [S, G, h]`; branches are ranges of rows.
pub(super) fn attention(
    pool: &Pool,
    isa: Isa,
    [q, k, v, dz]: [&Array; 4],
    branches: &[Range<usize>],
    scoring: Scoring,
) -> [Array; 3] {
    let (heads, kv_heads, width) = (q.shape[1], k.shape[1], q.shape[2]);
    let mut gradients = [q, k, v].map(|x| Array::build(x.shape.clone(), |out| out.fill(0.0)));
    {
        let [dq, dk, dv] =
            gradients.each_mut().map(|x| x.values_mut().map_or_else(|| Output::new(&mut []), Output::new));
        let tasks: Vec<(usize, usize)> =
            (0..branches.len()).flat_map(|branch| (0..kv_heads).map(move |group| (branch, group))).collect();
        pool.run(tasks.len(), |task| {
            let (branch, group) = (branches[tasks[task].0].clone(), tasks[task].1);
            let rows = branch.len();
            let from = |x: &Array, head: usize| gather(x, &branch, head);
            let (key, value) = (from(k, group), from(v, group));
            let (mut dkey, mut dvalue) = (vec![0f32; rows * width], vec![0f32; rows * width]);
            for head in group * (heads / kv_heads)..(group + 1) * (heads / kv_heads) {
                let one = Head { pool, isa, width, scoring, key: &key, value: &value };
                let mut dquery = vec![0f32; rows * width];
                one.reverse(&from(q, head), &from(dz, head), &mut dquery, &mut dkey, &mut dvalue);
                scatter(&dq, &dquery, &branch, (head, heads), width);
            }
            scatter(&dk, &dkey, &branch, (group, kv_heads), width);
            scatter(&dv, &dvalue, &branch, (group, kv_heads), width);
        });
    }
    gradients
}

/// Rows `[rows, width]` of one head.
fn gather(x: &Array, rows: &Range<usize>, head: usize) -> Vec<f32> {
    let (heads, width) = (x.shape[1], x.shape[2]);
    rows.clone().flat_map(|row| &x.values()[(row * heads + head) * width..][..width]).copied().collect()
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
    /// Writes `dq`, adds to `dk` and `dv`: `[rows, width]` each.
    fn reverse(&self, q: &[f32], dz: &[f32], dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
        let (width, rows) = (self.width, q.len() / self.width);
        for from in (0..rows).step_by(BLOCK) {
            let to = rows.min(from + BLOCK);
            let (block, seen) = (from * width..to * width, to * width);
            let (q, dz) = (&q[block.clone()], &dz[block.clone()]);
            let (probabilities, capped) = self.probabilities(q, from, to);
            self.add_outer(&probabilities, dz, &mut dv[..seen]);
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
            self.add_outer(&dscores, q, &mut dk[..seen]);
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

    /// Adds `a^T b`, where `b` has `width` columns and `a` one for each row of `to`.
    fn add_outer(&self, a: &[f32], b: &[f32], to: &mut [f32]) {
        let mut sum = Scratch::take(to.len());
        outer(self.pool, self.isa, (a, to.len() / self.width), (b, self.width), &mut sum);
        math::add(self.isa, to, &sum);
    }
}
