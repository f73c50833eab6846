//! [`Reverse`] on the CPU. Products are those of `matmul.rs`, so every sum has the order that is fixed there.

use std::ops::Range;

use super::array::{Keeping, Scratch};
use super::isa::Isa;
use super::matmul::{Product, Rows, matmul};
use super::packed::{PANEL, Packed};
use super::pool::{Output, Pool};
use super::{Array, Cpu, attention_reverse, math, products, slope};
use crate::error::Result;
use crate::kernels::{Activation, Reverse, Scoring, Taught};

impl Reverse for Cpu {
    type Keeping = Keeping;

    fn keeping(&self, bytes: usize) -> Keeping {
        Keeping::up_to(bytes)
    }

    fn transposed(&self, weight: &Packed) -> Result<Packed> {
        let (n, k) = (weight.n, weight.k);
        let mut wide = Scratch::take(n * k);
        self.each_row(&mut wide, k, |index, row| weight.row(index, row));
        let panels = Scratch::lasting(k.next_multiple_of(PANEL) * n);
        Ok(Packed::floats_in(&self.pool, &wide, (k, n), (1, k), panels))
    }

    fn outer(&self, a: &Array, b: &Array, rows: Range<usize>) -> Result<Array> {
        let (m, n) = (a.values().len() / a.shape[0].max(1), b.values().len() / b.shape[0].max(1));
        let part = |width: usize| rows.start * width..rows.end * width;
        Ok(Array::build(vec![m, n], |out| {
            outer(&self.pool, self.isa, (&a.values()[part(m)], m), (&b.values()[part(n)], n), out);
        }))
    }

    fn column_sums(&self, x: &Array, rows: Range<usize>) -> Result<Array> {
        let (width, per_row) = (x.width(), x.values().len() / x.shape[0].max(1));
        Ok(Array::build(vec![width], |sums| {
            sums.fill(0.0);
            for row in x.values()[rows.start * per_row..rows.end * per_row].chunks_exact(width) {
                math::add(self.isa, sums, row);
            }
        }))
    }

    fn add_to_rows(&self, table: Array, x: &Array, rows: Range<usize>, ids: &[u32]) -> Result<Array> {
        let width = table.width();
        Ok(table.map(|table| {
            for row in rows {
                let own = &mut table[ids[row] as usize * width..][..width];
                math::add(self.isa, own, &x.values()[row * width..][..width]);
            }
        }))
    }

    fn inner_products(&self, a: &[&Array], b: &[&Array]) -> Result<Vec<f64>> {
        Ok(products::inner_products(&self.pool, self.isa, a, b))
    }

    fn squares(&self, xs: &[&Array], weights: Option<&Array>) -> Result<Vec<f64>> {
        Ok(products::squares(&self.pool, self.isa, xs, weights))
    }

    fn norm_apply_reverse(
        &self,
        x: &Array,
        scale: &Array,
        gain: Option<&Vec<f32>>,
        dy: &Array,
    ) -> Result<(Array, Array)> {
        let (width, scales, gain) = (x.width(), scale.values(), gain.map(Vec::as_slice));
        let mut dscale = Array::build(scale.shape.clone(), |_| ());
        let values = dscale.values_mut().map(Output::new);
        let dx = self.map_rows(dy.clone(), |index, row| {
            let along = slope::norm_apply(self.isa, row, &x.values()[index * width..][..width], scales[index], gain);
            if let Some(values) = &values {
                // SAFETY: each row has one scale, and one task.
                let own = unsafe { values.part(index, 1) };
                own[0] = along;
            }
        });
        Ok((dx, dscale))
    }

    fn norm_scale_reverse(&self, x: &Array, scale: &Array, dscale: &Array) -> Result<Array> {
        let width = x.width() as f32;
        Ok(self.map_rows(x.clone(), |index, row| {
            math::scale(self.isa, row, dscale.values()[index] / (width * scale.values()[index]));
        }))
    }

    fn activate_reverse(&self, x: &Array, kind: Activation, dy: Array) -> Result<Array> {
        self.zip_rows(dy, x, |dy, x| slope::activate(self.isa, dy, x, kind))
    }

    fn gated_reverse(&self, gate: &Array, up: &Array, kind: Activation, dy: &Array) -> Result<(Array, Array)> {
        let width = gate.width();
        let mut dup = Array::build(up.shape.clone(), |_| ());
        let ups = dup.values_mut().map(Output::new);
        let dgate = Array::build(gate.shape.clone(), |out| {
            self.each_row(out, width, |index, dgate| {
                let row = |x: &Array| index * width..index * width + x.width();
                let rows = [gate, up, dy].map(|x| &x.values()[row(x)]);
                if let Some(ups) = &ups {
                    // SAFETY: each row is one task's.
                    slope::gated(self.isa, dgate, unsafe { ups.part(index * width, width) }, rows, kind);
                }
            });
        });
        Ok((dgate, dup))
    }

    fn softmax_reverse(&self, p: &Array, dp: Array) -> Result<Array> {
        self.zip_rows(dp, p, |dp, p| slope::softmax(self.isa, dp, p))
    }

    fn attention_reverse(
        &self,
        q: &Array,
        k: &Array,
        v: &Array,
        branches: &[Range<usize>],
        scoring: Scoring,
        dz: &Array,
    ) -> Result<[Array; 3]> {
        Ok(attention_reverse::attention(&self.pool, self.isa, [q, k, v, dz], branches, scoring))
    }

    fn nll_reverse(&self, logits: Array, taught: &[Taught<'_>], weights: &[f32]) -> Result<Array> {
        Ok(self.map_rows(logits, |index, row| {
            math::softmax(self.isa, row);
            math::scale(self.isa, row, weights[index]);
            match taught[index] {
                Taught::Token(token) => row[token as usize] -= weights[index],
                Taught::Shares(shares) => {
                    for &(token, probability) in shares {
                        row[token as usize] -= weights[index] * probability;
                    }
                }
            }
        }))
    }
}

/// `a^T b`: `[k, m]` and `[k, n]`, dense, to `[m, n]`, summed over k in the order of every product.
pub(super) fn outer(pool: &Pool, isa: Isa, (a, m): (&[f32], usize), (b, n): (&[f32], usize), out: &mut [f32]) {
    let k = a.len() / m.max(1);
    let columns = transposed(pool, a, m);
    let w = Packed::floats(pool, b, (n, k), (1, n));
    matmul(pool, isa, Rows { values: &columns, ld: k, count: m }, &mut [Product { w: &w, y: out }]);
}

/// Dense rows of `width`, the other way round.
pub(super) fn transposed(pool: &Pool, values: &[f32], width: usize) -> Scratch {
    /// Columns of a task, and rows that it turns at once: a cache line each way.
    const BLOCK: usize = 16;
    let rows = values.len() / width.max(1);
    let mut columns = Scratch::take(values.len());
    let out = Output::new(&mut columns);
    pool.run(width.div_ceil(BLOCK), |block| {
        let (from, to) = (block * BLOCK, width.min(block * BLOCK + BLOCK));
        // SAFETY: these columns are one task's.
        let part = unsafe { out.part(from * rows, (to - from) * rows) };
        for first in (0..rows).step_by(BLOCK) {
            let last = rows.min(first + BLOCK);
            for column in 0..to - from {
                let target = &mut part[column * rows + first..column * rows + last];
                for (target, row) in target.iter_mut().zip(first..) {
                    *target = values[row * width + from + column];
                }
            }
        }
    });
    columns
}
