//! Causal attention for the rows of one forward pass, which may be several branches of a tree.
//!
//! Scores are chains over the head width, then scaled; each row is soft-maxed over exactly the positions it may see;
//! values are chains over those positions in ascending order, carried from segment to segment. No output touches a
//! position it must not see, so nothing depends on how long the sequence is, into which passes it was cut, or who
//! else holds its beginning.
//!
//! ```text
//!          segments before          own segment
//!        ┌──────────┬──────────┬────────┬───┐     rows of a tile share all columns up to the first row's own
//! rows   │  header  │ question │ shared │◣  │     position; the rest is a small triangle, row by row
//!        └──────────┴──────────┴────────┴───┘
//! ```
//! With a window a row's first columns are not seen either. Their probabilities are set to zero, and a tile begins where
//! its first row does: adding zero times a finite value changes no bit.

use super::array::Scratch;
use super::isa::Isa;
use super::kv::Kv;
use super::math::{scaled_softmax, soft_cap};
use super::packed::PANEL;
use super::pool::{Output, Pool};
use super::tile::{Start, Tile, kernels, most_rows, strip, tiles};
use crate::kernels::{Branch, Scoring};

/// Rows whose scores are held at once, and the bytes of these scores.
const BLOCK: usize = 84;
const SCORE_BYTES: usize = 1 << 20;
/// Positions whose values are taken at once: a panel of 256 x 32 is two thirds of the nearest cache, or all of a small one.
const NEAR: usize = 256;

/// Positions up to the last row of a branch.
fn positions(branch: &Branch<'_, Kv>) -> usize {
    branch.segments.iter().map(|kv| kv.length()).sum()
}

/// A block of rows of one branch and one key/value head: what one task takes.
struct Task {
    branch: usize,
    group: usize,
    from: usize,
    to: usize,
}

/// `q [rows, heads, width]` and the branches' keys and values to `[rows, heads, width]`.
pub(super) fn attention(
    pool: &Pool,
    isa: Isa,
    branches: &[Branch<'_, Kv>],
    (heads, width): (usize, usize),
    q: &[f32],
    scoring: Scoring,
    out: &mut [f32],
) {
    let Some(kv_heads) = branches.first().and_then(|branch| branch.segments.first()).map(|kv| kv.heads()) else {
        return out.fill(0.0);
    };
    let rows: usize = branches.iter().map(|branch| branch.rows).sum();
    assert!(q.len() == rows * heads * width && out.len() == q.len(), "shapes agree");
    let whole = |branch: &Branch<'_, Kv>| {
        let own = branch.segments.last().map_or(0, |kv| kv.length());
        let same = branch.segments.iter().all(|kv| kv.heads() == kv_heads && kv.width() == width);
        same && own >= branch.rows && branch.first + branch.rows <= rows
    };
    assert!(branches.iter().all(whole), "a branch's own keys are there");
    let mut end = 0;
    let in_turn = branches.iter().all(|branch| std::mem::replace(&mut end, branch.first + branch.rows) == branch.first);
    assert!(in_turn && heads % kv_heads == 0, "every row is one branch's, every head one group's");
    let mut tasks = Vec::new();
    for (index, branch) in branches.iter().enumerate() {
        let fit = SCORE_BYTES / (4 * positions(branch).max(1));
        let block = BLOCK.min(fit.next_multiple_of(most_rows(isa))).max(most_rows(isa));
        for from in (0..branch.rows).step_by(block) {
            let to = branch.rows.min(from + block);
            tasks.extend((0..kv_heads).map(|group| Task { branch: index, group, from, to }));
        }
    }
    // Those that see most first, so that none of them is left for the end.
    tasks.sort_by_key(|task| std::cmp::Reverse((task.to - task.from) * (positions(&branches[task.branch]) + task.to)));
    let out = Output::new(out);
    let per_group = heads / kv_heads;
    pool.run(tasks.len(), |index| {
        let task = &tasks[index];
        let work = Work { isa, branch: &branches[task.branch], group: task.group, ld: heads * width, scoring };
        let mut scores = Scratch::take(work.scores_needed((task.to - task.from).max(per_group)));
        let at = |row: usize, head: usize| ((work.branch.first + row) * heads + head) * width;
        let heads_of_group = task.group * per_group..(task.group + 1) * per_group;
        if task.to - task.from == 1 {
            // The heads of a group read the same keys: they are the rows of one tile.
            let first = at(task.from, heads_of_group.start);
            let shape = Block { from: task.from, to: task.from + 1, copies: per_group, ld: width };
            work.run(&shape, &q[first..], out.pointer(first), &mut scores);
        } else {
            for head in heads_of_group {
                let first = at(task.from, head);
                let shape = Block { from: task.from, to: task.to, copies: 1, ld: work.ld };
                work.run(&shape, &q[first..], out.pointer(first), &mut scores);
            }
        }
    });
}

/// Rows `from..to` of a branch, or `copies` heads of one row, `ld` elements apart.
struct Block {
    from: usize,
    to: usize,
    copies: usize,
    ld: usize,
}

struct Work<'a> {
    isa: Isa,
    branch: &'a Branch<'a, Kv>,
    group: usize,
    ld: usize,
    scoring: Scoring,
}

impl Work<'_> {
    /// Not a power of two apart, or rows would meet in one set of the cache.
    fn score_ld(&self) -> usize {
        positions(self.branch).next_multiple_of(PANEL) + 16
    }

    fn scores_needed(&self, rows: usize) -> usize {
        rows * self.score_ld()
    }

    /// Scores, probabilities, weighted values of one block.
    fn run(&self, block: &Block, q: &[f32], out: *mut f32, scores: &mut [f32]) {
        let (ld, before) = (self.score_ld(), positions(self.branch) - self.branch.rows);
        self.scores(block, q, scores);
        for index in 0..(block.to - block.from) * block.copies {
            let row = block.from + index / block.copies;
            let (first, mut factor) = (self.first_seen(row), self.scoring.scale as f32);
            // Sums have sixteen lanes by absolute position, also where the first of them see nothing.
            let (hidden, seen) = scores[index * ld..][..=(before + row)].split_at_mut(first / 16 * 16);
            hidden[self.first_seen(block.from).min(first / 16 * 16)..].fill(0.0);
            if let Some(cap) = self.scoring.cap {
                soft_cap(self.isa, seen, factor, cap as f32);
                factor = 1.0;
            }
            seen[..first % 16].fill(f32::NEG_INFINITY);
            scaled_softmax(self.isa, seen, factor);
        }
        self.values(block, scores, out);
    }

    /// The first position that a row of the branch sees.
    fn first_seen(&self, row: usize) -> usize {
        self.scoring.first_seen(positions(self.branch) - self.branch.rows + row)
    }

    /// Unscaled scores against the positions that the rows see.
    fn scores(&self, block: &Block, q: &[f32], scores: &mut [f32]) {
        let (ld, rows) = (self.score_ld(), block.to - block.from);
        let (last, first_seen) = (self.branch.segments.len() - 1, self.first_seen(block.from));
        let mut column = 0;
        for (index, kv) in self.branch.segments.iter().enumerate() {
            // Positions of the own segment that stand before this pass.
            let earlier = if index == last { kv.length() - self.branch.rows } else { kv.length() };
            let seen = if index == last { earlier + block.to } else { kv.length() };
            for p in first_seen.saturating_sub(column) / PANEL..seen.div_ceil(PANEL) {
                // Earlier rows see no key of this panel.
                let skipped =
                    if block.copies > 1 { 0 } else { (p * PANEL).saturating_sub(earlier + block.from).min(rows) };
                let tile = Tile {
                    rows: rows * block.copies - skipped,
                    k: kv.width(),
                    chunk: usize::MAX,
                    a: q[skipped * block.ld..].as_ptr(),
                    lda: block.ld,
                    b: kv.key_panel(self.group, p),
                    row_bytes: 4 * PANEL,
                    c: scores[skipped * ld + column + p * PANEL..].as_mut_ptr(),
                    ldc: ld,
                    cols: PANEL.min(kv.length() - p * PANEL),
                    start: Start::Zero,
                    next: kv.key_panel(self.group, p + 1),
                    next_step: (4 * PANEL).div_ceil(tiles(kernels(self.isa), rows * block.copies - skipped, block.ld)),
                };
                // SAFETY: rows of q from `skipped` on, and of the score buffer, which has room for all positions.
                unsafe { strip(self.isa, &tile) }
            }
            column += kv.length();
        }
    }

    /// Weighted values, segment by segment and, within one, a few positions at a time for all rows, so that these
    /// positions stay in the nearest cache.
    fn values(&self, block: &Block, scores: &[f32], out: *mut f32) {
        let (ld, all, tall) = (self.score_ld(), (block.to - block.from) * block.copies, most_rows(self.isa));
        let last = self.branch.segments.len() - 1;
        let mut column = 0;
        for (index, kv) in self.branch.segments.iter().enumerate() {
            let own = index == last;
            let earlier = if own { kv.length() - self.branch.rows } else { kv.length() };
            // Positions that every row of the tile from `top` on sees.
            let shared = |top: usize| if own { earlier + block.from + top / block.copies + 1 } else { kv.length() };
            let tiles = (0..all).step_by(tall).map(|top| (top, tall.min(all - top)));
            // Of those, the first.
            let begin = |top: usize| self.first_seen(block.from + top / block.copies).saturating_sub(column);
            let (panels, most, least) = (kv.width().div_ceil(PANEL), shared(all - 1), begin(0) / NEAR * NEAR);
            let step = (4 * PANEL).div_ceil(all.div_ceil(tall));
            for (p, near) in (0..panels).flat_map(|p| (least..most).step_by(NEAR).map(move |at| (p, at))) {
                for (top, rows) in tiles.clone() {
                    let seen = shared(top);
                    let (position, end) = (near.max(begin(top)), seen.min(near + NEAR));
                    if position >= end {
                        continue;
                    }
                    let first = column + position == self.first_seen(block.from + top / block.copies);
                    let tile = Tile {
                        rows,
                        k: end - position,
                        chunk: usize::MAX,
                        a: scores[top * ld + column + position..].as_ptr(),
                        lda: ld,
                        b: kv.value_panel(self.group, p, position),
                        row_bytes: 4 * PANEL,
                        c: out.wrapping_add(top * block.ld + p * PANEL),
                        ldc: block.ld,
                        cols: PANEL.min(kv.width() - p * PANEL),
                        start: if first { Start::Zero } else { Start::Carry },
                        // Each tile fetches its part of what comes next.
                        next: kv.value_panel(self.group, p, position + NEAR).wrapping_add(top / tall * NEAR * step),
                        next_step: step,
                    };
                    // SAFETY: rows top..top + rows of scores and out, and this panel's columns.
                    unsafe { strip(self.isa, &tile) }
                    let ends_here = own && block.copies == 1 && end == seen;
                    for row in (1..rows).filter(|_| ends_here) {
                        let triangle = Tile {
                            rows: 1,
                            k: row,
                            a: tile.a.wrapping_add(row * ld + tile.k),
                            b: kv.value_panel(self.group, p, seen),
                            c: tile.c.wrapping_add(row * block.ld),
                            start: Start::Carry,
                            ..tile
                        };
                        // SAFETY: one row of the tile above, and the positions that it sees beyond the shared ones.
                        unsafe { strip(self.isa, &triangle) }
                    }
                }
            }
            column += kv.length();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::math;
    use crate::kernels::cpu::testing::{bits, chain, wild};

    #[test]
    fn is_its_definition_and_ignores_the_future_the_cut_and_the_neighbours() {
        for (window, cap) in [(None, None), (Some(1), None), (Some(7), Some(0.5)), (Some(100), None), (None, Some(2.0))]
        {
            check((203, 6, 2, 40), Scoring { scale: 0.15, window, cap });
        }
        // Values in several runs, a window behind the first of them, more heads on one key than a tile has rows, and rows
        // that meet in one set of the cache.
        for window in [None, Some(300)] {
            check((600, 2, 1, 8), Scoring { scale: 0.15, window, cap: None });
            check((85, 17, 1, 8), Scoring { scale: 0.15, window: window.map(|_| 30), cap: None });
            check((61, 16, 4, 64), Scoring { scale: 0.15, window: None, cap: None });
        }
    }

    /// Positions, heads, key/value heads, width.
    fn check((positions, heads, kv_heads, width): (usize, usize, usize, usize), scoring: Scoring) {
        let some =
            |seed, heads: usize| wild(positions * heads * width, seed).iter().map(|x| x % 2.0).collect::<Vec<_>>();
        let (q, k, v) = (some(1, heads), some(2, kv_heads), some(3, kv_heads));
        let mut want = vec![];
        for (row, head) in (0..positions * heads).map(|r| (r / heads, r % heads)) {
            let at = |j: usize| (j * kv_heads + head * kv_heads / heads) * width;
            let mut p: Vec<f32> = (0..=row)
                .map(|j| chain(&q[(row * heads + head) * width..][..width], &k[at(j)..][..width]) * 0.15)
                .collect();
            if let Some(cap) = scoring.cap {
                soft_cap(Isa::PORTABLE, &mut p, 1.0, cap as f32);
            }
            p[..scoring.window.map_or(0, |window| (row + 1).saturating_sub(window))].fill(f32::NEG_INFINITY);
            math::softmax(Isa::PORTABLE, &mut p);
            want.extend((0..width).map(|d| chain(&p, &(0..=row).map(|j| v[at(j) + d]).collect::<Vec<_>>())));
        }
        let (ld, kv_ld) = (heads * width, kv_heads * width);
        let segment = |from: usize, to: usize, capacity: usize| {
            let mut kv = Kv::new(kv_heads, width, capacity);
            let middle = from.midpoint(to);
            kv.append(&k[from * kv_ld..middle * kv_ld], &v[from * kv_ld..middle * kv_ld]);
            kv.append(&k[middle * kv_ld..to * kv_ld], &v[middle * kv_ld..to * kv_ld]);
            kv
        };
        // Borders of the segments, and the first row of the pass.
        let cuts: [(&[usize], usize); 13] = [
            (&[0, 1], 0),
            (&[0, 15], 0),
            (&[0, 84], 0),
            (&[0, 85], 0),
            (&[0, 203], 0),
            (&[0, 1, 2], 1),
            (&[0, 40, 80, 203], 84),
            (&[0, 190, 203], 202),
            (&[0, 33, 50, 61], 50),
            (&[0, 99, 203], 180),
            (&[0, 600], 0),
            (&[0, 270, 600], 515),
            (&[0, 599, 600], 599),
        ];
        let cuts: Vec<(&[usize], usize)> =
            cuts.into_iter().filter(|(cut, _)| cut[cut.len() - 1] <= positions).collect();
        let pools = [Pool::new(1), Pool::new(3)];
        let kvs: Vec<Vec<Kv>> = cuts
            .iter()
            .map(|(cut, _)| cut.windows(2).map(|c| segment(c[0], c[1], c[1] - c[0] + 7)).collect())
            .collect();
        for isa in Isa::available() {
            let (mut branches, mut rows, mut queries, mut wanted) = (Vec::new(), 0, Vec::new(), Vec::new());
            for ((cut, first), kvs) in cuts.iter().zip(&kvs) {
                let end = cut[cut.len() - 1];
                branches.push(Branch { first: rows, rows: end - first, segments: kvs.iter().collect() });
                rows += end - first;
                queries.extend_from_slice(&q[first * ld..end * ld]);
                wanted.extend(bits(&want[first * ld..end * ld]));
            }
            for pool in &pools {
                let mut out = vec![f32::NAN; rows * ld];
                attention(pool, isa, &branches, (heads, width), &queries, scoring, &mut out);
                assert_eq!(bits(&out), wanted, "all at once, {isa:?}");
            }
            for branch in &branches {
                let alone = [Branch { first: 0, rows: branch.rows, segments: branch.segments.clone() }];
                let range = branch.first * ld..(branch.first + branch.rows) * ld;
                let mut out = vec![f32::NAN; branch.rows * ld];
                attention(&pools[1], isa, &alone, (heads, width), &queries[range.clone()], scoring, &mut out);
                assert_eq!(bits(&out), wanted[range], "{} rows alone, {isa:?}", branch.rows);
            }
        }
    }
}
