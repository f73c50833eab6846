//! The weights of a decoder one by one: which stored tensor each is cut from, and which block it belongs to.

use std::collections::BTreeMap;
use std::ops::Range;

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
    each_run(source, gradient.len(), |own, at| {
        let values = &gradient[own.clone()];
        stored.values[at..at + values.len()].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    });
}

impl Source {
    /// The part of stored values that belongs to the weight, as its gradient has it. (A gain that is stored less one has
    /// the gradient of the gain.)
    pub fn cut(&self, stored: &[f32]) -> Vec<f32> {
        let length = match (self.view, self.shape.len()) {
            (View::Whole | View::PlusOne, _) => stored.len(),
            (_, 0 | 1) => self.outputs().len(),
            _ => self.matrix_shape().iter().product(),
        };
        let mut cut = vec![0.0; length];
        each_run(self, length, |own, at| {
            let count = own.len();
            cut[own].copy_from_slice(&stored[at..at + count]);
        });
        cut
    }
}

/// Calls `f` with each run of a weight's values, and where it begins in the stored tensor.
fn each_run(source: &Source, length: usize, mut f: impl FnMut(Range<usize>, usize)) {
    let columns = source.shape.get(1).copied().unwrap_or(1);
    match source.view {
        View::Whole | View::PlusOne => f(0..length, 0),
        View::Entries { start, .. } => f(0..length, start * columns),
        View::Columns { start, len } => {
            let inner = length / len;
            (0..length).for_each(|index| f(index..index + 1, index % inner * columns + start + index / inner));
        }
        View::HeadPart { part, parts, heads, width } => {
            let run = width * (length / (heads * width));
            (0..length / run).for_each(|index| f(index * run..(index + 1) * run, (index * parts + part) * run));
        }
    }
}
