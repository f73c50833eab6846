//! [`Kernels`] of our own for the CPU: packed weights, one micro-kernel, every reduction in a fixed order.
//!
//! **The bits of a row depend on that row alone**: not on how many rows a pass has, how a sequence was cut into
//! passes, which instruction set runs, or what other threads do. Why: products are one ascending chain of fused
//! multiply-adds over the whole inner dimension (`tile.rs`); sums over a row use sixteen lanes by absolute position
//! (`math.rs`); attention touches only positions that a row may see, in ascending order (`attention.rs`). A pass runs on
//! one thread; several passes run side by side.

mod array;
mod attention;
mod isa;
mod math;
mod matmul;
mod packed;
mod tile;

pub use array::Array;
pub use isa::Isa;
pub use matmul::matmul;
pub use packed::Packed;

use super::{Activation, Kernels, RotaryRows, View};
use crate::error::{Error, Result};
use crate::request::SiteValues;

/// The CPU backend for one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    isa: Isa,
}

impl Default for Cpu {
    fn default() -> Self {
        Self { isa: Isa::best() }
    }
}

impl Cpu {
    /// `isa` must be one of [`Isa::available`].
    ///
    /// # Panics
    /// When it is not.
    pub fn new(isa: Isa) -> Self {
        assert!(Isa::available().contains(&isa), "this machine has no {isa:?}");
        Self { isa }
    }

    pub fn isa(self) -> Isa {
        self.isa
    }

    /// `f` of every row along the last axis.
    fn each_row(x: Array, f: impl Fn(&mut [f32])) -> Array {
        let width = x.width();
        x.map(|values| values.chunks_exact_mut(width.max(1)).for_each(f))
    }
}

fn shapes(a: &Array, b: &Array) -> Error {
    Error::internal(format!("arrays of shapes {:?} and {:?} do not go together", a.shape, b.shape))
}

impl Kernels for Cpu {
    type Array = Array;
    type Raw = SiteValues;
    type Matrix = Packed;
    type Vector = Vec<f32>;

    fn numerics_id(&self) -> &'static str {
        "cpu/1"
    }

    fn raw(&self, values: SiteValues) -> Result<SiteValues> {
        Ok(values)
    }

    fn matrix(&self, raw: &SiteValues, view: View) -> Result<Packed> {
        let [rows, columns] = raw.shape[..] else {
            return Err(Error::internal(format!("a matrix of shape {:?}", raw.shape)));
        };
        Ok(match view {
            View::Whole => Packed::rows(&raw.values, rows, columns, columns),
            View::Columns { start, len } => Packed::columns(&raw.values[start..], len, rows, columns),
            View::Entries { start, len } => Packed::rows(&raw.values[start * columns..], len, columns, columns),
            View::HeadPart { part, parts, heads, width } => {
                let rows: Vec<f32> = head_part(part, parts, heads, width)
                    .flat_map(|row| raw.values[row * columns..][..columns].iter().copied())
                    .collect();
                Packed::rows(&rows, heads * width, columns, columns)
            }
        })
    }

    fn vector(&self, raw: &SiteValues, view: View) -> Result<Vec<f32>> {
        Ok(match view {
            View::Whole => raw.values.clone(),
            View::Columns { start, len } | View::Entries { start, len } => raw.values[start..start + len].to_vec(),
            View::HeadPart { part, parts, heads, width } => {
                head_part(part, parts, heads, width).map(|row| raw.values[row]).collect()
            }
        })
    }

    fn array(&self, values: SiteValues) -> Result<Array> {
        Ok(Array::from_vec(values.shape, values.values))
    }

    fn host(&self, x: &Array) -> Result<SiteValues> {
        Ok(SiteValues { shape: x.shape.clone(), values: x.values().to_vec() })
    }

    fn shape(&self, x: &Array) -> Vec<usize> {
        x.shape.clone()
    }

    fn embed(&self, table: &Packed, ids: &[u32]) -> Result<Array> {
        Ok(Array::build(vec![ids.len(), table.k], |out| {
            for (row, &id) in out.chunks_exact_mut(table.k).zip(ids) {
                table.row(id as usize, row);
            }
        }))
    }

    fn linear(&self, x: &Array, weight: &Packed, bias: Option<&Vec<f32>>) -> Result<Array> {
        let (rows, width) = (x.shape[0], x.width());
        if width != weight.k {
            return Err(Error::internal(format!("a row of {width} meets a matrix of {}", weight.k)));
        }
        Ok(Array::build(vec![rows, weight.n], |out| {
            matmul(self.isa, x.values(), width, rows, weight, out);
            if let Some(bias) = bias {
                out.chunks_exact_mut(weight.n).for_each(|row| math::add(self.isa, row, bias));
            }
        }))
    }

    fn centre(&self, x: &Array) -> Result<Array> {
        Ok(Self::each_row(x.clone(), |row| {
            let mean = math::sum(self.isa, row) / row.len() as f32;
            math::shift(self.isa, row, mean);
        }))
    }

    fn norm_scale(&self, x: &Array, eps: f64) -> Result<Array> {
        let width = x.width();
        let mut shape = x.shape.clone();
        *shape.last_mut().unwrap_or(&mut 0) = 1;
        Ok(Array::build(shape, |out| {
            for (scale, row) in out.iter_mut().zip(x.values().chunks_exact(width)) {
                *scale = (math::sum_of_squares(self.isa, row) / width as f32 + eps as f32).sqrt();
            }
        }))
    }

    fn norm_apply(&self, x: &Array, scale: &Array, gain: &Vec<f32>, bias: Option<&Vec<f32>>) -> Result<Array> {
        let width = x.width();
        Ok(x.clone().map(|values| {
            for (row, scale) in values.chunks_exact_mut(width).zip(scale.values()) {
                math::norm(self.isa, row, *scale, gain, bias.map(Vec::as_slice));
            }
        }))
    }

    fn split_heads(&self, x: &Array, heads: usize) -> Result<Array> {
        Ok(x.clone().reshaped(vec![x.shape[0], heads, x.width() / heads]))
    }

    fn merge_heads(&self, x: &Array) -> Result<Array> {
        Ok(x.clone().reshaped(vec![x.shape[0], x.shape[1] * x.shape[2]]))
    }

    fn rotate(&self, x: &Array, rows: &RotaryRows) -> Result<Array> {
        let (heads, width, half) = (x.shape[1], x.shape[2], rows.columns);
        Ok(x.clone().map(|values| {
            for (index, head) in values.chunks_exact_mut(width).enumerate() {
                let at = index / heads * half;
                let (a, b) = head.split_at_mut(half);
                for (((a, b), cos), sin) in
                    a.iter_mut().zip(b).zip(&rows.cos[at..at + half]).zip(&rows.sin[at..at + half])
                {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }))
    }

    fn append(&self, before: Option<&Array>, x: &Array) -> Result<Array> {
        let Some(before) = before else { return Ok(x.clone()) };
        let mut shape = x.shape.clone();
        shape[0] += before.shape[0];
        Ok(Array::build(shape, |out| {
            let (head, tail) = out.split_at_mut(before.values().len());
            head.copy_from_slice(before.values());
            tail.copy_from_slice(x.values());
        }))
    }

    fn attention_scores(&self, q: &Array, k: &Array, scale: f64) -> Result<Array> {
        let (rows, heads, width) = (q.shape[0], q.shape[1], q.shape[2]);
        let (positions, kv_heads) = (k.shape[0], k.shape[1]);
        Ok(Array::build(vec![heads, rows, positions], |out| {
            for (head, out) in out.chunks_exact_mut(rows * positions).enumerate() {
                let keys =
                    Packed::rows(&k.values()[head * kv_heads / heads * width..], positions, width, kv_heads * width);
                matmul(self.isa, &q.values()[head * width..], heads * width, rows, &keys, out);
                for (row, scores) in out.chunks_exact_mut(positions).enumerate() {
                    math::scale(self.isa, scores, scale as f32);
                    scores[positions - rows + row + 1..].fill(f32::NEG_INFINITY);
                }
            }
        }))
    }

    fn softmax(&self, scores: &Array) -> Result<Array> {
        Ok(Self::each_row(scores.clone(), |row| math::softmax(self.isa, row)))
    }

    fn attention_mix(&self, pattern: &Array, v: &Array) -> Result<Array> {
        let (heads, rows, positions) = (pattern.shape[0], pattern.shape[1], pattern.shape[2]);
        let (kv_heads, width) = (v.shape[1], v.shape[2]);
        let mut mixed = vec![0f32; rows * width];
        Ok(Array::build(vec![rows, heads, width], |out| {
            for (head, pattern) in pattern.values().chunks_exact(rows * positions).enumerate() {
                let values =
                    Packed::columns(&v.values()[head * kv_heads / heads * width..], width, positions, kv_heads * width);
                matmul(self.isa, pattern, positions, rows, &values, &mut mixed);
                for (row, mixed) in mixed.chunks_exact(width).enumerate() {
                    out[(row * heads + head) * width..][..width].copy_from_slice(mixed);
                }
            }
        }))
    }

    fn attention(&self, q: &Array, k: &Array, v: &Array, scale: f64) -> Result<Array> {
        let shape = attention::Shape {
            rows: q.shape[0],
            heads: q.shape[1],
            kv_heads: k.shape[1],
            width: q.shape[2],
            positions: k.shape[0],
        };
        Ok(Array::build(q.shape.clone(), |out| {
            attention::attention(self.isa, shape, q.values(), k.values(), v.values(), scale as f32, out);
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

    fn activate(&self, x: &Array, kind: Activation) -> Result<Array> {
        Ok(x.clone().map(|values| math::activate(self.isa, values, kind)))
    }

    fn add(&self, a: &Array, b: &Array) -> Result<Array> {
        if a.shape != b.shape {
            return Err(shapes(a, b));
        }
        Ok(a.clone().map(|values| math::add(self.isa, values, b.values())))
    }

    fn multiply(&self, a: &Array, b: &Array) -> Result<Array> {
        if a.shape != b.shape {
            return Err(shapes(a, b));
        }
        Ok(a.clone().map(|values| math::multiply(self.isa, values, b.values())))
    }

    fn subtract(&self, a: &Array, b: &Array) -> Result<Array> {
        if a.shape != b.shape {
            return Err(shapes(a, b));
        }
        Ok(a.clone().map(|values| values.iter_mut().zip(b.values()).for_each(|(a, b)| *a -= b)))
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
            for (index, head) in x.values().chunks_exact(width).enumerate() {
                math::add(self.isa, &mut out[index / heads * width..][..width], head);
            }
        }))
    }
}

/// Rows of one part of every head in a tensor stored as `[heads, parts, width, ...]`.
fn head_part(part: usize, parts: usize, heads: usize, width: usize) -> impl Iterator<Item = usize> {
    (0..heads).flat_map(move |head| (head * parts + part) * width..(head * parts + part + 1) * width)
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

    /// What every product is: one ascending chain.
    pub fn chain(x: &[f32], w: &[f32]) -> f32 {
        x.iter().zip(w).fold(0.0, |sum, (x, w)| x.mul_add(*w, sum))
    }
}
