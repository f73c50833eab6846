//! [`Kernels`] of our own for the CPU: packed weights, one micro-kernel, every reduction in a fixed order.
//!
//! **The bits of a row depend on that row alone**: not on how many rows a pass has, how a sequence was cut into
//! passes, which instruction set runs, or what other threads do. Why: products are chains of fused multiply-adds over
//! fixed chunks of the inner dimension, added in ascending order (`tile.rs`); sums over a row use sixteen lanes by
//! absolute position (`math.rs`); attention touches only positions that a row may see, in ascending order
//! (`attention.rs`). Threads share out rows, panels and heads (`pool.rs`); no sum is ever split between two of them.

mod array;
mod attention;
mod attention_reverse;
mod blocks;
mod isa;
mod kv;
mod lines;
mod math;
mod matmul;
mod packed;
mod pool;
mod products;
mod reverse;
mod slope;
mod tile;
pub mod vectors;

pub use array::Array;
pub use isa::Isa;
pub use kv::Kv;
pub use matmul::{Product, Rows, matmul};
pub use packed::{Packed, Stored};
pub use pool::Pool;

use std::ops::Range;
use std::sync::Arc;

use pool::Output;

use super::{Activation, Branch, Kernels, LogitRow, RawTensor, RotaryRows, Scoring, View};
use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::request::SiteValues;

/// Values below which an operation is not worth sharing out.
const SHARED_FROM: usize = 1 << 14;

/// The CPU backend for one instruction set and some threads. Clones share the threads.
#[derive(Debug, Clone)]
pub struct Cpu {
    isa: Isa,
    pool: Arc<Pool>,
}

impl Default for Cpu {
    /// The best instruction set, on one thread.
    fn default() -> Self {
        Self::new(Isa::best(), 1)
    }
}

impl Cpu {
    /// `isa` must be one of [`Isa::available`].
    ///
    /// # Panics
    /// When it is not.
    pub fn new(isa: Isa, threads: usize) -> Self {
        assert!(Isa::available().contains(&isa), "this machine has no {isa:?}");
        Self { isa, pool: Arc::new(Pool::new(threads)) }
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// `f(index, row)` for every row of `width` values, shared out among the threads.
    fn each_row(&self, values: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
        let rows = values.len() / width.max(1);
        let tasks = if values.len() < SHARED_FROM { 1 } else { rows.min(4 * self.pool.threads()) };
        let out = Output::new(values);
        self.pool.run(tasks, |task| {
            let (from, to) = (task * rows / tasks, (task + 1) * rows / tasks);
            // SAFETY: tasks have different rows.
            let part = unsafe { out.part(from * width, (to - from) * width) };
            part.chunks_exact_mut(width.max(1)).enumerate().for_each(|(index, row)| f(from + index, row));
        });
    }

    /// Fills `values` by `f(index)`, which takes as long as `cost` values do, shared out among the threads.
    fn each_value(&self, values: &mut [f32], cost: usize, f: impl Fn(usize) -> f32 + Sync) {
        let count = values.len();
        let tasks = if count * cost < SHARED_FROM { 1 } else { count.min(4 * self.pool.threads()) };
        let out = Output::new(values);
        self.pool.run(tasks, |task| {
            let (from, to) = (task * count / tasks, (task + 1) * count / tasks);
            // SAFETY: tasks have different values.
            let part = unsafe { out.part(from, to - from) };
            part.iter_mut().zip(from..).for_each(|(value, index)| *value = f(index));
        });
    }

    /// A changed copy, or `x` itself changed where nobody else holds it.
    fn map_rows(&self, x: Array, f: impl Fn(usize, &mut [f32]) + Sync) -> Array {
        let width = x.width();
        match x.unshared() {
            Ok(mut own) => {
                if let Some(values) = own.values_mut() {
                    self.each_row(values, width, f);
                }
                own
            }
            // Copied row by row, by whoever changes the row.
            Err(shared) => Array::build(shared.shape.clone(), |out| {
                self.each_row(out, width, |index, row| {
                    row.copy_from_slice(&shared.values()[index * width..][..width]);
                    f(index, row);
                });
            }),
        }
    }

    /// `f` of two rows at a time.
    fn zip_rows(&self, a: Array, b: &Array, f: impl Fn(&mut [f32], &[f32]) + Sync) -> Result<Array> {
        if a.shape != b.shape {
            return Err(shapes(&a, b));
        }
        let width = b.width();
        Ok(self.map_rows(a, |index, row| f(row, &b.values()[index * width..][..width])))
    }
}

fn shapes(a: &Array, b: &Array) -> Error {
    Error::internal(format!("arrays of shapes {:?} and {:?} do not go together", a.shape, b.shape))
}

impl Kernels for Cpu {
    type Array = Array;
    type Raw = RawTensor;
    type Matrix = Packed;
    type Vector = Vec<f32>;
    type Kv = Kv;

    fn numerics_id(&self) -> &'static str {
        "cpu/2"
    }

    fn raw(&self, tensor: RawTensor) -> Result<RawTensor> {
        Ok(tensor)
    }

    fn matrix(&self, raw: &RawTensor, view: View) -> Result<Packed> {
        let [rows, columns] = raw.shape[..] else {
            return Err(Error::internal(format!("a matrix of shape {:?}", raw.shape)));
        };
        let pool = &self.pool;
        let by_rows = Stored { bytes: &raw.bytes, dtype: raw.dtype, row_step: columns, k_step: 1 };
        let by_columns = Stored { row_step: 1, k_step: columns, ..by_rows };
        Ok(match view {
            View::Whole => Packed::pack(pool, rows, columns, |row| row, by_rows),
            View::PlusOne => return Err(Error::internal("a matrix less one")),
            View::Columns { start, len } => Packed::pack(pool, len, rows, |row| start + row, by_columns),
            View::Entries { start, len } => Packed::pack(pool, len, columns, |row| start + row, by_rows),
            View::HeadPart { part, parts, heads, width } => {
                Packed::pack(pool, heads * width, columns, |row| head_part(row, part, parts, width), by_rows)
            }
        })
    }

    fn vector(&self, raw: &RawTensor, view: View) -> Result<Vec<f32>> {
        let values = crate::ckpt::widen(raw.dtype, &raw.bytes);
        Ok(match view {
            View::Whole => values,
            View::PlusOne => values.into_iter().map(|value| value + 1.0).collect(),
            View::Columns { start, len } | View::Entries { start, len } => values[start..start + len].to_vec(),
            View::HeadPart { part, parts, heads, width } => {
                (0..heads * width).map(|row| values[head_part(row, part, parts, width)]).collect()
            }
        })
    }

    fn matrix_bytes(out: usize, inner: usize, dtype: Dtype) -> usize {
        out.div_ceil(packed::PANEL) * packed::panel_bytes(dtype, inner)
    }

    fn array(&self, values: SiteValues) -> Result<Array> {
        Ok(Array::from_values(values.shape, &values.values))
    }

    fn host(&self, x: &Array) -> Result<SiteValues> {
        Ok(SiteValues { shape: x.shape.clone(), values: x.values().to_vec() })
    }

    fn shape(&self, x: &Array) -> Vec<usize> {
        x.shape.clone()
    }

    fn embed(&self, table: &Packed, ids: &[u32]) -> Result<Array> {
        let width = table.k;
        Ok(Array::build(vec![ids.len(), width], |out| {
            self.each_row(out, width, |index, row| table.row(ids[index] as usize, row));
        }))
    }

    fn linears(&self, x: &Array, weights: &[(&Packed, Option<&Vec<f32>>)]) -> Result<Vec<Array>> {
        let (rows, width) = (x.shape[0], x.width());
        if let Some((weight, _)) = weights.iter().find(|(weight, _)| weight.k != width) {
            return Err(Error::internal(format!("a row of {width} meets a matrix of {}", weight.k)));
        }
        let mut outputs: Vec<Array> =
            weights.iter().map(|(weight, _)| Array::build(vec![rows, weight.n], |_| ())).collect();
        let mut products: Vec<Product<'_>> = outputs
            .iter_mut()
            .zip(weights)
            .filter_map(|(output, (w, _))| Some(Product { w, y: output.values_mut()? }))
            .collect();
        matmul(&self.pool, self.isa, Rows { values: x.values(), ld: width, count: rows }, &mut products);
        let with_bias = |(output, (_, bias)): (Array, &(&Packed, Option<&Vec<f32>>))| match bias {
            Some(bias) => self.map_rows(output, |_, row| math::add(self.isa, row, bias)),
            None => output,
        };
        Ok(outputs.into_iter().zip(weights).map(with_bias).collect())
    }

    fn centre(&self, x: &Array) -> Result<Array> {
        Ok(self.map_rows(x.clone(), |_, row| {
            let mean = math::sum(self.isa, row) / row.len() as f32;
            math::shift(self.isa, row, mean);
        }))
    }

    fn norm_scale(&self, x: &Array, eps: f64) -> Result<Array> {
        let width = x.width();
        let mut shape = x.shape.clone();
        *shape.last_mut().unwrap_or(&mut 0) = 1;
        Ok(Array::build(shape, |out| {
            self.each_value(out, width, |index| {
                let row = &x.values()[index * width..][..width];
                (math::sum_of_squares(self.isa, row) / width as f32 + eps as f32).sqrt()
            });
        }))
    }

    fn norm_apply(&self, x: &Array, scale: &Array, gain: Option<&Vec<f32>>, bias: Option<&Vec<f32>>) -> Result<Array> {
        let (width, scales) = (x.width(), scale.values());
        let (gain, bias) = (gain.map(Vec::as_slice), bias.map(Vec::as_slice));
        Ok(Array::build(x.shape.clone(), |out| {
            self.each_row(out, width, |index, row| {
                row.copy_from_slice(&x.values()[index * width..][..width]);
                math::norm(self.isa, row, scales[index], gain, bias);
            });
        }))
    }

    fn split_heads(&self, x: Array, heads: usize) -> Result<Array> {
        let shape = vec![x.shape[0], heads, x.width() / heads];
        Ok(x.reshaped(shape))
    }

    fn merge_heads(&self, x: Array) -> Result<Array> {
        let shape = vec![x.shape[0], x.shape[1] * x.shape[2]];
        Ok(x.reshaped(shape))
    }

    fn rotate(&self, x: Array, rows: &RotaryRows) -> Result<Array> {
        let (heads, half) = (x.shape[1], rows.columns);
        Ok(self.map_rows(x, |index, head| {
            let at = index / heads * half;
            math::rotate(self.isa, &mut head[..2 * half], &rows.cos[at..at + half], &rows.sin[at..at + half]);
        }))
    }

    fn kv(&self, heads: usize, width: usize, capacity: usize) -> Result<Kv> {
        Ok(Kv::new(heads, width, capacity))
    }

    fn kv_bytes(heads: usize, width: usize, capacity: usize) -> usize {
        Kv::bytes(heads, width, capacity)
    }

    fn kv_append(&self, kv: &mut Kv, k: &Array, v: &Array, rows: Range<usize>) -> Result<()> {
        let row = k.shape[1] * k.shape[2];
        let range = rows.start * row..rows.end * row;
        kv.append(&k.values()[range.clone()], &v.values()[range]);
        Ok(())
    }

    fn kv_arrays(&self, segments: &[&Kv]) -> Result<(Array, Array)> {
        let (heads, width) = segments.first().map_or((1, 1), |kv| (kv.heads(), kv.width()));
        let shape = vec![segments.iter().map(|kv| kv.length()).sum(), heads, width];
        let mut values = vec![0f32; shape.iter().product()];
        let keys = Array::build(shape.clone(), |keys| {
            let mut at = 0;
            for kv in segments {
                let end = at + kv.length() * heads * width;
                kv.unpack(&mut keys[at..end], &mut values[at..end]);
                at = end;
            }
        });
        Ok((keys, Array::from_values(shape, &values)))
    }

    fn attention(&self, q: &Array, branches: &[Branch<'_, Kv>], scoring: Scoring) -> Result<Array> {
        let shape = (q.shape[1], q.shape[2]);
        Ok(Array::build(q.shape.clone(), |out| {
            attention::attention(&self.pool, self.isa, branches, shape, q.values(), scoring, out);
        }))
    }

    fn attention_scores(&self, q: &Array, k: &Array, scoring: Scoring) -> Result<Array> {
        let (rows, heads, width) = (q.shape[0], q.shape[1], q.shape[2]);
        let (positions, kv_heads) = (k.shape[0], k.shape[1]);
        Ok(Array::build(vec![heads, rows, positions], |out| {
            for (head, out) in out.chunks_exact_mut((rows * positions).max(1)).enumerate() {
                let keys = &k.values()[head * kv_heads / heads * width..];
                for (row, scores) in out.chunks_exact_mut(positions).enumerate() {
                    let q = &q.values()[(row * heads + head) * width..][..width];
                    let position = positions - rows + row;
                    let seen = scoring.first_seen(position)..position + 1;
                    scores.fill(f32::NEG_INFINITY);
                    for (score, key) in scores.iter_mut().zip(keys.chunks(kv_heads * width)).take(seen.end) {
                        *score = q.iter().zip(key).fold(0.0f32, |sum, (q, k)| q.mul_add(*k, sum));
                    }
                    let (seen_scores, scale) = (&mut scores[..seen.end], scoring.scale as f32);
                    match scoring.cap {
                        Some(cap) => math::soft_cap(self.isa, seen_scores, scale, cap as f32),
                        None => math::scale(self.isa, seen_scores, scale),
                    }
                    scores[..seen.start].fill(f32::NEG_INFINITY);
                }
            }
        }))
    }

    fn softmax(&self, scores: Array) -> Result<Array> {
        Ok(self.map_rows(scores, |_, row| math::softmax(self.isa, row)))
    }

    fn attention_mix(&self, pattern: &Array, v: &Array) -> Result<Array> {
        let (heads, rows, positions) = (pattern.shape[0], pattern.shape[1], pattern.shape[2]);
        let (kv_heads, width) = (v.shape[1], v.shape[2]);
        Ok(Array::build(vec![rows, heads, width], |out| {
            for (index, mixed) in out.chunks_exact_mut(width).enumerate() {
                let (row, head) = (index / heads, index % heads);
                let seen = positions - rows + row + 1;
                let pattern = &pattern.values()[(head * rows + row) * positions..][..seen];
                let values = v.values()[head * kv_heads / heads * width..].chunks(kv_heads * width);
                mixed.fill(0.0);
                for (p, value) in pattern.iter().zip(values) {
                    mixed.iter_mut().zip(value).for_each(|(sum, v)| *sum = p.mul_add(*v, *sum));
                }
            }
        }))
    }

    fn head_results(&self, z: &Array, weight: &Packed) -> Result<Array> {
        let (rows, heads, width) = (z.shape[0], z.shape[1], z.shape[2]);
        let mut row_of_weight = vec![0f32; weight.k];
        Ok(Array::build(vec![rows, heads, weight.n], |out| {
            for column in 0..weight.n {
                weight.row(column, &mut row_of_weight);
                for (index, z) in z.values().chunks_exact(width).enumerate() {
                    let w = &row_of_weight[index % heads * width..][..width];
                    out[index * weight.n + column] = z.iter().zip(w).fold(0.0, |sum, (z, w)| z.mul_add(*w, sum));
                }
            }
        }))
    }

    fn activate(&self, x: Array, kind: Activation) -> Result<Array> {
        Ok(self.map_rows(x, |_, row| math::activate(self.isa, row, kind)))
    }

    fn gated(&self, gate: Array, up: &Array, kind: Activation) -> Result<Array> {
        self.zip_rows(gate, up, |gate, up| math::gated(self.isa, gate, up, kind))
    }

    fn scale(&self, x: Array, by: f64) -> Result<Array> {
        Ok(self.map_rows(x, |_, row| math::scale(self.isa, row, by as f32)))
    }

    fn clip(&self, x: Array, limit: f64) -> Result<Array> {
        Ok(self.map_rows(x, |_, row| math::clip(self.isa, row, limit as f32)))
    }

    fn soft_cap(&self, x: Array, cap: f64) -> Result<Array> {
        Ok(self.map_rows(x, |_, row| math::soft_cap(self.isa, row, 1.0, cap as f32)))
    }

    fn share(&self, x: Array) -> Result<Array> {
        Ok(self.map_rows(x, |_, row| {
            let sum = math::sum(self.isa, row);
            math::divide(self.isa, row, sum);
        }))
    }

    fn add_rows(&self, x: Array, rows: &[usize], y: &Array, weights: &Array, column: usize) -> Result<Array> {
        let (width, columns) = (x.width(), weights.width());
        Ok(x.map(|values| {
            for (&row, y) in rows.iter().zip(y.values().chunks_exact(width)) {
                let weight = weights.values()[row * columns + column];
                let own = &mut values[row * width..][..width];
                own.iter_mut().zip(y).for_each(|(x, y)| *x += y * weight);
            }
        }))
    }

    fn add(&self, a: Array, b: &Array) -> Result<Array> {
        self.zip_rows(a, b, |a, b| math::add(self.isa, a, b))
    }

    fn multiply(&self, a: Array, b: &Array) -> Result<Array> {
        self.zip_rows(a, b, |a, b| math::multiply(self.isa, a, b))
    }

    fn subtract(&self, a: Array, b: &Array) -> Result<Array> {
        self.zip_rows(a, b, |a, b| a.iter_mut().zip(b).for_each(|(a, b)| *a -= b))
    }

    fn select(&self, mask: &Array, a: &Array, b: &Array) -> Result<Array> {
        if a.shape != b.shape || mask.shape != a.shape {
            return Err(shapes(a, b));
        }
        Ok(b.clone().map(|values| {
            for ((b, a), mask) in values.iter_mut().zip(a.values()).zip(mask.values()) {
                *b = if *mask == 0.0 { *b } else { *a };
            }
        }))
    }

    fn rows(&self, x: &Array, rows: &[usize]) -> Result<Array> {
        let width = x.width();
        Ok(Array::build(vec![rows.len(), width], |out| {
            for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
                out.copy_from_slice(&x.values()[row * width..][..width]);
            }
        }))
    }

    fn repeat_for_heads(&self, x: &Array, heads: usize) -> Result<Array> {
        let (rows, width) = (x.shape[0], x.shape[1]);
        Ok(Array::build(vec![rows, heads, width], |out| {
            for (index, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&x.values()[index / heads * width..][..width]);
            }
        }))
    }

    fn head(&self, x: &Array, head: usize) -> Result<Array> {
        let (rows, heads, width) = (x.shape[0], x.shape[1], x.shape[2]);
        Ok(Array::build(vec![rows, width], |out| {
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&x.values()[(row * heads + head) * width..][..width]);
            }
        }))
    }

    fn stack_heads(&self, heads: &[Array]) -> Result<Array> {
        let (rows, width) = (heads[0].shape[0], heads[0].shape[1]);
        Ok(Array::build(vec![rows, heads.len(), width], |out| {
            for (index, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&heads[index % heads.len()].values()[index / heads.len() * width..][..width]);
            }
        }))
    }

    fn sum_heads(&self, x: &Array) -> Result<Array> {
        let (rows, heads, width) = (x.shape[0], x.shape[1], x.shape[2]);
        Ok(Array::build(vec![rows, width], |out| {
            out.fill(0.0);
            for (index, head) in x.values().chunks_exact(width).enumerate() {
                math::add(self.isa, &mut out[index / heads * width..][..width], head);
            }
        }))
    }

    fn logit_rows(&self, logits: &Array) -> Result<Vec<LogitRow>> {
        let width = logits.width();
        let mut rows = vec![LogitRow { best: 0, max: 0.0, log_sum: 0.0 }; logits.shape[0]];
        let count = rows.len();
        let out = Output::new(&mut rows);
        self.pool.run(count, |index| {
            let row = &logits.values()[index * width..][..width];
            let (max, sum) = math::max_and_exp_sum(self.isa, row);
            let best = row.iter().position(|value| *value == max).unwrap_or(0);
            // SAFETY: each row is one task's.
            let own = unsafe { out.part(index, 1) };
            own[0] = LogitRow { best, max, log_sum: libm::log(sum) };
        });
        Ok(rows)
    }

    fn pick(&self, x: &Array, places: &[(usize, usize)]) -> Result<Vec<f32>> {
        let width = x.width();
        Ok(places.iter().map(|(row, column)| x.values()[row * width + column]).collect())
    }
}

/// Which stored row is row `row` of one part of every head, in a tensor stored as `[heads, parts, width, ...]`.
fn head_part(row: usize, part: usize, parts: usize, width: usize) -> usize {
    (row / width * parts + part) * width + row % width
}

#[cfg(test)]
mod testing {
    //! Values and definitions that the kernels are tested with.

    /// Signs and magnitudes over 2^-20 .. 2^20, so that any other order of summation shows.
    pub fn wild(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed.wrapping_mul(2_654_435_761).max(1);
        let mut draw = || {
            s ^= s << 13;
            s ^= s >> 17;
            s ^= s << 5;
            s
        };
        (0..n).map(|_| (draw() as i32 as f32) * 2f32.powi((draw() >> 8) as i32 % 41 - 51)).collect()
    }

    pub fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    /// What every product with weights is: chains over chunks, added in ascending order.
    pub fn chunked(x: &[f32], w: &[f32], chunk: usize) -> f32 {
        let mut sums = x.chunks(chunk).zip(w.chunks(chunk)).map(|(x, w)| chain(x, w));
        let first = sums.next().unwrap_or(0.0);
        sums.fold(first, |total, sum| total + sum)
    }

    /// What scores and weighted values are: one ascending chain.
    pub fn chain(x: &[f32], w: &[f32]) -> f32 {
        x.iter().zip(w).fold(0.0, |sum, (x, w)| x.mul_add(*w, sum))
    }
}
