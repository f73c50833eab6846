//! Takes what a reverse pass says of each weight, and adds it to the rows.

use std::ops::Range;

use super::part::{Factors, Global, Part, Way};
use super::{Projector, RowOf};
use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::kernels::cpu::Isa;
use crate::kernels::cpu::vectors::dot;
use crate::kernels::tape::{Receiver, RowsOf};
use crate::kernels::{Kernels, RawTensor, Reverse, View};
use crate::request::SiteValues;

/// Bytes of whole gradients that are held at once where they are flattened, and of signs. Neither moves a bit of a row:
/// rows do not depend on each other, and signs are cut by the weight's shape.
const BUILT_BYTES: usize = 128 << 20;
const SIGN_BYTES: usize = 32 << 20;

/// Makes the whole gradient of a weight from some rows.
type Build<'a, K> = dyn Fn(&K, Range<usize>) -> Result<<K as Kernels>::Array> + 'a;

/// The rows of one pass.
pub(super) struct Rows<'a, K: Reverse> {
    projector: &'a Projector<'a, K>,
    /// Which rows of the pass each of ours is the sum of.
    ranges: Vec<Range<usize>>,
    width: usize,
    /// `[ranges, width]`
    values: Vec<f32>,
}

impl<'a, K: Reverse> Rows<'a, K> {
    pub fn new(projector: &'a Projector<'a, K>, ranges: Vec<Range<usize>>) -> Self {
        let width = projector.width();
        Self { projector, values: vec![0.0; ranges.len() * width], ranges, width }
    }

    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    fn part(&self, weight: usize) -> Option<&'a Part<K>> {
        self.projector.parts[weight].as_ref()
    }

    /// Our rows that have some of the rows that are there, and which.
    fn here(&self, rows: &RowsOf<'_, K>) -> Vec<(usize, Range<usize>)> {
        let among = self.ranges.iter().map(|range| rows.among(range)).enumerate();
        among.filter(|(_, range)| !range.is_empty()).collect()
    }

    fn add(&mut self, row: usize, first: usize, values: &[f32]) {
        let own = &mut self.values[row * self.width + first..][..values.len()];
        own.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }

    /// Adds the products of both sides, `[S, dim]` each, over the rows of each range.
    fn add_products(&mut self, first: usize, rows: &RowsOf<'_, K>, left: &K::Array, right: &K::Array) -> Result<()> {
        let k = self.projector.kernels();
        match self.projector.row_of {
            RowOf::Item => {
                for (row, range) in self.here(rows) {
                    let product = k.host(&k.outer(left, right, range)?)?.values;
                    self.add(row, first, &product);
                }
            }
            RowOf::Token => {
                let dim = self.projector.projection.dim;
                let (left, right) = (k.host(left)?.values, k.host(right)?.values);
                for (row, range) in self.here(rows) {
                    for at in range {
                        let (left, right) = (&left[at * dim..][..dim], &right[at * dim..][..dim]);
                        let product: Vec<f32> = left.iter().flat_map(|l| right.iter().map(move |r| l * r)).collect();
                        self.add(row, first, &product);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds gradients that `build` makes whole, one range at a time.
    fn add_built(&mut self, part: &Part<K>, rows: &RowsOf<'_, K>, build: &Build<'_, K>) -> Result<()> {
        let k = self.projector.kernels();
        match &part.way {
            Way::Factors(_) => Err(Error::internal("a gradient that need not be built")),
            Way::Built { left, right, scaling } => {
                for (row, range) in self.here(rows) {
                    let right = k.linear(&k.multiply(build(k, range)?, scaling)?, right, None)?;
                    let outputs = 0..k.shape(left)[0];
                    let product = k.host(&k.outer(left, &right, outputs)?)?.values;
                    self.add(row, part.first, &product);
                }
                Ok(())
            }
            Way::Vector { signs, scaling } => {
                for (row, range) in self.here(rows) {
                    let mut gradient = k.host(&build(k, range)?)?.values;
                    if let Some(scaling) = scaling {
                        gradient.iter_mut().zip(scaling).for_each(|(value, scale)| *value *= scale);
                    }
                    let projected: Vec<f32> =
                        signs.chunks(gradient.len()).map(|signs| dot(Isa::best(), signs, &gradient)).collect();
                    self.add(row, part.first, &projected);
                }
                Ok(())
            }
            Way::Global(global) => {
                let together = (BUILT_BYTES / (4 * global.outputs.len() * global.input)).max(1);
                for group in self.here(rows).chunks(together) {
                    let built =
                        group.iter().map(|(_, range)| Ok(scaled(k.host(&build(k, range.clone())?)?.values, global)));
                    let built = built.collect::<Result<Vec<_>>>()?;
                    let products = global.times(k, &built)?;
                    for ((row, _), product) in group.iter().zip(products.chunks(self.width)) {
                        self.add(*row, 0, product);
                    }
                }
                Ok(())
            }
        }
    }
}

fn scaled(mut gradient: Vec<f32>, global: &Global) -> Vec<f32> {
    if let Some(scaling) = &global.scaling {
        gradient.iter_mut().zip(scaling).for_each(|(value, scale)| *value *= scale);
    }
    gradient
}

impl Global {
    /// Whole gradients `[out, in]` to `[gradients, dim]`.
    fn times<K: Kernels>(&self, k: &K, gradients: &[Vec<f32>]) -> Result<Vec<f32>> {
        let dim = self.signs.rows();
        let mut sums = vec![0f32; gradients.len() * dim];
        let step = (SIGN_BYTES / (2 * dim * self.input)).max(1);
        for (number, outputs) in self.outputs.chunks(step).enumerate() {
            let run = number * step * self.input..(number * step + outputs.len()) * self.input;
            // Of a table most rows have no gradient.
            if gradients.iter().all(|gradient| gradient[run.clone()].iter().all(|value| *value == 0.0)) {
                continue;
            }
            let values: Vec<f32> =
                gradients.iter().flat_map(|gradient| gradient[run.clone()].iter().copied()).collect();
            let x = k.array(SiteValues { shape: vec![gradients.len(), run.len()], values })?;
            // Of a wide row not all signs are held at once.
            let rows = (SIGN_BYTES / (2 * run.len())).clamp(1, dim);
            for first in (0..dim).step_by(rows) {
                let rows = first..dim.min(first + rows);
                let shape = vec![rows.len(), run.len()];
                let raw = RawTensor { dtype: Dtype::Bf16, shape, bytes: self.bytes(rows.clone(), outputs) };
                let product = k.host(&k.linear(&x, &k.matrix(&k.raw(raw)?, View::Whole)?, None)?)?.values;
                for (sums, product) in sums.chunks_mut(dim).zip(product.chunks(rows.len())) {
                    sums[rows.clone()].iter_mut().zip(product).for_each(|(sum, value)| *sum += value * self.entry);
                }
            }
        }
        Ok(sums)
    }

    /// `[rows, outputs * in]`: plus and minus one, as bfloat16.
    fn bytes(&self, rows: Range<usize>, outputs: &[usize]) -> Vec<u8> {
        let width = outputs.len() * self.input;
        let mut bytes = vec![0u8; 2 * rows.len() * width];
        for (row, bytes) in rows.zip(bytes.chunks_exact_mut(2 * width)) {
            let mut cells = bytes.as_chunks_mut::<2>().0.iter_mut();
            // Outputs that follow each other are one run of columns.
            for run in outputs.chunk_by(|a, b| a + 1 == *b) {
                let columns = run[0] * self.input..(run[0] + run.len()) * self.input;
                self.signs.each(row, columns, |is_positive| {
                    if let Some(cell) = cells.next() {
                        *cell = if is_positive { [0x80, 0x3f] } else { [0x80, 0xbf] };
                    }
                });
            }
        }
        bytes
    }
}

impl<K: Reverse> Receiver<K> for Rows<'_, K> {
    fn wants(&self, weight: usize) -> bool {
        self.projector.parts[weight].is_some()
    }

    fn linear(&mut self, weight: usize, input: &K::Array, rows: &RowsOf<'_, K>) -> Result<()> {
        let Some(part) = self.part(weight) else { return Ok(()) };
        let k = self.projector.kernels();
        if let Way::Factors(Factors { left, right, .. }) = &part.way {
            // Both sides of all rows at once.
            let (left, right) = (k.linear(rows.gradient, left, None)?, k.linear(input, right, None)?);
            return self.add_products(part.first, rows, &left, &right);
        }
        self.add_built(part, rows, &|k, range| k.outer(rows.gradient, input, range))
    }

    fn vector(&mut self, weight: usize, rows: &RowsOf<'_, K>) -> Result<()> {
        let Some(part) = self.part(weight) else { return Ok(()) };
        self.add_built(part, rows, &|k, range| k.column_sums(rows.gradient, range))
    }

    fn table(&mut self, weight: usize, ids: &[u32], rows: &RowsOf<'_, K>) -> Result<()> {
        let Some(part) = self.part(weight) else { return Ok(()) };
        let k = self.projector.kernels();
        if let Way::Factors(Factors { right, picked: Some(picked), .. }) = &part.way {
            let dim = self.projector.projection.dim;
            let values = ids.iter().flat_map(|&id| picked[id as usize * dim..][..dim].iter().copied()).collect();
            let left = k.array(SiteValues { shape: vec![ids.len(), dim], values })?;
            let right = k.linear(rows.gradient, right, None)?;
            return self.add_products(part.first, rows, &left, &right);
        }
        let shape = self.projector.decoder.leaves().sources()[weight].shape.clone();
        self.add_built(part, rows, &|k, range| {
            let zeros = k.array(SiteValues { values: vec![0.0; shape.iter().product()], shape: shape.clone() })?;
            k.add_to_rows(zeros, rows.gradient, range, ids)
        })
    }
}
