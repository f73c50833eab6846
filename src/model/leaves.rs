//! The weights of a decoder one by one: which stored tensor each is cut from, and which block it belongs to.

use std::collections::BTreeMap;

use super::weights::{Convert, Source, Weights};
use crate::error::Result;
use crate::kernels::View;
use crate::request::SiteValues;

/// The weights in the order of loading, which numbers them.
#[derive(Debug, Clone)]
pub struct Leaves {
    sources: Vec<Source>,
    /// Number of the first weight of each block, and of the first after them.
    blocks: Vec<usize>,
}

/// Where in the model a weight is used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Embedding,
    Block(usize),
    /// The final norm and the head.
    End,
}

/// Lists sources in order.
struct Lister(Vec<Source>);

impl Convert<Source, Source, (), ()> for Lister {
    fn matrix(&mut self, source: &Source) -> Result<()> {
        self.0.push(source.clone());
        Ok(())
    }

    fn vector(&mut self, source: &Source) -> Result<()> {
        self.matrix(source)
    }
}

impl Leaves {
    pub(super) fn of(weights: &Weights<Source, Source>) -> Result<Self> {
        let mut lister = Lister(Vec::new());
        weights.convert(&mut lister)?;
        let mut blocks = vec![1 + usize::from(weights.positions.is_some())];
        for block in &weights.blocks {
            let mut own = Lister(Vec::new());
            block.convert(&mut own)?;
            blocks.push(blocks[blocks.len() - 1] + own.0.len());
        }
        Ok(Self { sources: lister.0, blocks })
    }

    /// Sources, by number.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.blocks.len() - 1
    }

    pub fn place(&self, number: usize) -> Place {
        match self.blocks.iter().rposition(|&first| first <= number) {
            None => Place::Embedding,
            Some(block) if block + 1 < self.blocks.len() => Place::Block(block),
            Some(_) => Place::End,
        }
    }

    /// Stored parameters: name, shape, and the weights that are cut from each.
    pub fn parameters(&self) -> BTreeMap<&str, (&[usize], Vec<usize>)> {
        let mut parameters: BTreeMap<&str, (&[usize], Vec<usize>)> = BTreeMap::new();
        for (number, source) in self.sources.iter().enumerate() {
            parameters.entry(&source.name).or_insert_with(|| (&source.shape, Vec::new())).1.push(number);
        }
        parameters
    }
}

/// Adds the gradient of a weight where the weight is cut from.
pub(super) fn add_to_stored(source: &Source, gradient: &[f32], stored: &mut SiteValues) {
    let columns = stored.shape.get(1).copied().unwrap_or(1);
    let mut add = |at: usize, values: &[f32]| {
        stored.values[at..at + values.len()].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    };
    match source.view {
        View::Whole | View::PlusOne => add(0, gradient),
        View::Entries { start, .. } => add(start * columns, gradient),
        View::Columns { start, len } => {
            let inner = gradient.len() / len;
            for (index, value) in gradient.iter().enumerate() {
                add(index % inner * columns + start + index / inner, &[*value]);
            }
        }
        View::HeadPart { part, parts, heads, width } => {
            let row = gradient.len() / (heads * width);
            for (index, values) in gradient.chunks(width * row).enumerate() {
                add((index * parts + part) * width * row, values);
            }
        }
    }
}
