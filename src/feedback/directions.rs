//! Inner products of items' gradients with directions in the space of weights; no gradient is ever built.
//!
//! ```text
//! G = sum over tokens of outer(g_t, a_t)      <D, G> = sum over tokens of <g_t, D a_t>
//! ```
//! `g_t` is the gradient of a linear map's output, `a_t` its input, `D` the direction's part that belongs to the map. So
//! a direction costs as much as the forward pass of the maps that it has a part of, for a whole batch at once.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::ckpt::Dtype;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::tape::{Receiver, RowsOf, Tape};
use crate::kernels::{Kernels, RawTensor, Reverse, View};
use crate::model::{Decoder, Objective, Reach, Source, row_ranges};
use crate::request::SiteValues;

/// A direction: values by parameter name, of the stored shapes. Parameters that it does not name count as zero.
pub type Direction = BTreeMap<String, SiteValues>;

/// A decoder with directions that its gradients are compared with.
pub struct Directions<'a, K: Reverse> {
    decoder: &'a Decoder<Tape<K>>,
    count: usize,
    /// By the weight's number: which direction, and its part.
    parts: Vec<Vec<(usize, Part<K>)>>,
}

/// What of a direction belongs to one weight.
enum Part<K: Kernels> {
    Matrix(K::Matrix),
    Vector(Vec<f32>),
}

/// Inner products of some items.
#[derive(Debug, Clone, PartialEq)]
pub struct InnerProducts {
    pub directions: usize,
    /// `[items, directions]`
    pub values: Vec<f64>,
    /// One for each item.
    pub losses: Vec<f64>,
}

impl InnerProducts {
    pub fn item(&self, index: usize) -> &[f64] {
        &self.values[index * self.directions..][..self.directions]
    }
}

impl<'a, K: Reverse> Directions<'a, K> {
    /// # Errors
    /// Parameters that the model does not have or has in other shapes, all of them.
    pub fn new(decoder: &'a Decoder<Tape<K>>, directions: &[&Direction]) -> Result<Self> {
        let leaves = decoder.leaves();
        let stored = leaves.parameters();
        let problem = |(name, values): (&String, &SiteValues)| {
            let expected = match stored.get(name.as_str()) {
                Some((shape, _)) if **shape == values.shape => return None,
                Some((shape, _)) => format!("expected shape {shape:?} as the model has, found {:?}", values.shape),
                None => "expected parameters of the model, found another name".to_owned(),
            };
            Some(Diagnostic::new(expected).at(format!("parameter {name}")))
        };
        Error::check(directions.iter().flat_map(|direction| direction.iter()).filter_map(problem).collect())?;
        let kernels = decoder.kernels().inner();
        let part = |source: &Source| -> Result<Vec<(usize, Part<K>)>> {
            let own =
                directions.iter().enumerate().filter_map(|(n, direction)| Some((n, direction.get(&source.name)?)));
            own.map(|(number, values)| Ok((number, Part::new(kernels, source, values)?))).collect()
        };
        let parts = leaves.sources().iter().map(part).collect::<Result<_>>()?;
        Ok(Self { decoder, count: directions.len(), parts })
    }

    /// Inner products of the gradients of the items' losses with every direction, from one pass. Those of an item do not
    /// depend on the others. `memory`: bytes of activations that may be kept.
    ///
    /// # Errors
    /// Losses without gradient, by item.
    pub fn products(&self, items: &[Objective<'_>], memory: usize) -> Result<InnerProducts> {
        let values = vec![0f64; items.len() * self.count];
        let mut rows = Rows { directions: self, ranges: row_ranges(items), values };
        let reversed = self.decoder.reverse(items, Reach { memory, ..Reach::default() }, &mut rows)?;
        Ok(InnerProducts { directions: self.count, values: rows.values, losses: reversed.losses })
    }
}

impl<K: Kernels> Part<K> {
    fn new(kernels: &K, source: &Source, values: &SiteValues) -> Result<Self> {
        if values.shape.len() < 2 {
            return Ok(Self::Vector(source.outputs().into_iter().map(|output| values.values[output]).collect()));
        }
        // A gain that is stored less one has the gradient of the gain.
        let view = if source.view == View::PlusOne { View::Whole } else { source.view };
        let bytes = values.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let raw = RawTensor { dtype: Dtype::F32, shape: values.shape.clone(), bytes };
        Ok(Self::Matrix(kernels.matrix(&kernels.raw(raw)?, view)?))
    }
}

/// Receives the rows of one pass.
struct Rows<'a, K: Reverse> {
    directions: &'a Directions<'a, K>,
    ranges: Vec<Range<usize>>,
    values: Vec<f64>,
}

impl<K: Reverse> Rows<'_, K> {
    /// Adds, for each item, the sum of `products` over its rows.
    fn add(&mut self, direction: usize, products: &K::Array, rows: &RowsOf<'_, K>) -> Result<()> {
        let k = self.directions.decoder.kernels().inner();
        for (item, range) in self.ranges.iter().enumerate() {
            let range = rows.among(range);
            if !range.is_empty() {
                let sums = k.host(&k.column_sums(products, range)?)?.values;
                self.values[item * self.directions.count + direction] += sum(sums.into_iter());
            }
        }
        Ok(())
    }
}

fn sum(values: impl Iterator<Item = f32>) -> f64 {
    values.map(f64::from).sum()
}

impl<K: Reverse> Receiver<K> for Rows<'_, K> {
    fn wants(&self, weight: usize) -> bool {
        !self.directions.parts[weight].is_empty()
    }

    fn linear(&mut self, weight: usize, input: &K::Array, rows: &RowsOf<'_, K>) -> Result<()> {
        let Directions { decoder, parts, .. } = self.directions;
        let k = decoder.kernels().inner();
        for (direction, part) in &parts[weight] {
            if let Part::Matrix(matrix) = part {
                let products = k.multiply(k.linear(input, matrix, None)?, rows.gradient)?;
                self.add(*direction, &products, rows)?;
            }
        }
        Ok(())
    }

    fn vector(&mut self, weight: usize, rows: &RowsOf<'_, K>) -> Result<()> {
        let Directions { decoder, parts, count, .. } = self.directions;
        let k = decoder.kernels().inner();
        for (item, range) in self.ranges.iter().enumerate() {
            let range = rows.among(range);
            if range.is_empty() {
                continue;
            }
            let own = k.host(&k.column_sums(rows.gradient, range)?)?.values;
            for (direction, part) in &parts[weight] {
                if let Part::Vector(values) = part {
                    let products = own.iter().zip(values).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    self.values[item * count + direction] += products.sum::<f64>();
                }
            }
        }
        Ok(())
    }

    fn table(&mut self, weight: usize, ids: &[u32], rows: &RowsOf<'_, K>) -> Result<()> {
        let Directions { decoder, parts, .. } = self.directions;
        let k = decoder.kernels().inner();
        for (direction, part) in &parts[weight] {
            if let Part::Matrix(matrix) = part {
                let products = k.multiply(k.embed(matrix, ids)?, rows.gradient)?;
                self.add(*direction, &products, rows)?;
            }
        }
        Ok(())
    }
}
