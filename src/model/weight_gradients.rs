//! Gradients of weights, whole: summed over some rows of a pass.

use std::collections::BTreeMap;
use std::ops::Range;

use super::decoder::Decoder;
use super::leaves::{Leaves, add_to_stored};
use crate::error::Result;
use crate::kernels::Reverse;
use crate::kernels::tape::{Receiver, RowsOf, Tape};
use crate::request::SiteValues;

/// Whose rows are summed.
#[derive(Debug, Clone)]
pub enum Summed {
    /// All rows of a pass at once: faster, and its rounding depends on which items went through the model together.
    Pass,
    /// The rows of each item, items in order: depends on the items alone. Ranges are those of [`super::row_ranges`].
    Items(Vec<Range<usize>>),
}

/// A [`Receiver`] that forms the gradient of each wanted weight.
pub struct WeightGradients<'a, K: Reverse> {
    kernels: &'a K,
    leaves: &'a Leaves,
    wanted: Vec<bool>,
    summed: Summed,
    sums: BTreeMap<usize, K::Array>,
}

impl<'a, K: Reverse> WeightGradients<'a, K> {
    /// For the weights that are cut from parameters of which `wanted` says so, by name.
    pub fn new(decoder: &'a Decoder<Tape<K>>, wanted: impl Fn(&str) -> bool, summed: Summed) -> Self {
        let leaves = decoder.leaves();
        let wanted = leaves.sources().iter().map(|source| wanted(&source.name)).collect();
        Self { kernels: decoder.kernels().inner(), leaves, wanted, summed, sums: BTreeMap::new() }
    }

    /// Gradients by parameter name, of the shapes that are stored; zero where the loss does not depend on one.
    pub fn into_parameters(self) -> Result<BTreeMap<String, SiteValues>> {
        let mut parameters = BTreeMap::new();
        for (number, source) in self.leaves.sources().iter().enumerate() {
            if !self.wanted[number] {
                continue;
            }
            let stored = parameters.entry(source.name.clone()).or_insert_with(|| SiteValues {
                shape: source.shape.clone(),
                values: vec![0.0; source.shape.iter().product()],
            });
            if let Some(sum) = self.sums.get(&number) {
                add_to_stored(source, &self.kernels.host(sum)?.values, stored);
            }
        }
        Ok(parameters)
    }

    fn add(&mut self, weight: usize, gradient: K::Array) -> Result<()> {
        let sum = match self.sums.remove(&weight) {
            Some(sum) => self.kernels.add(sum, &gradient)?,
            None => gradient,
        };
        self.sums.insert(weight, sum);
        Ok(())
    }

    /// The ranges among the rows that are there.
    fn here(&self, rows: &RowsOf<'_, K>) -> Vec<Range<usize>> {
        match &self.summed {
            Summed::Pass => std::iter::once(0..self.kernels.shape(rows.gradient)[0]).collect(),
            Summed::Items(ranges) => {
                ranges.iter().map(|range| rows.among(range)).filter(|range| !range.is_empty()).collect()
            }
        }
    }
}

impl<K: Reverse> Receiver<K> for WeightGradients<'_, K> {
    fn wants(&self, weight: usize) -> bool {
        self.wanted[weight]
    }

    fn linear(&mut self, weight: usize, input: &K::Array, rows: &RowsOf<'_, K>) -> Result<()> {
        for range in self.here(rows) {
            let gradient = self.kernels.outer(rows.gradient, input, range)?;
            self.add(weight, gradient)?;
        }
        Ok(())
    }

    fn vector(&mut self, weight: usize, rows: &RowsOf<'_, K>) -> Result<()> {
        for range in self.here(rows) {
            let gradient = self.kernels.column_sums(rows.gradient, range)?;
            self.add(weight, gradient)?;
        }
        Ok(())
    }

    fn table(&mut self, weight: usize, ids: &[u32], rows: &RowsOf<'_, K>) -> Result<()> {
        // A head that is tied to the table was met before.
        let mut table = if let Some(sum) = self.sums.remove(&weight) {
            sum
        } else {
            let shape = self.leaves.sources()[weight].shape.clone();
            self.kernels.array(SiteValues { values: vec![0.0; shape.iter().product()], shape })?
        };
        for range in self.here(rows) {
            table = self.kernels.add_to_rows(table, rows.gradient, range, ids)?;
        }
        self.sums.insert(weight, table);
        Ok(())
    }
}
