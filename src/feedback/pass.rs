//! Documents at one checkpoint: what each says about each target, from one reverse pass a batch.

use std::collections::BTreeSet;

use super::collect::{Collect, Target, each_batch};
use super::directions::{Direction, Directions, ItemProducts};
use super::moments::Moments;
use super::precondition::{Rule, precondition};
use super::value::{DocumentAt, StepAt};
use crate::error::Result;
use crate::kernels::Reverse;
use crate::kernels::tape::Tape;
use crate::model::Decoder;
use crate::request::SiteValues;

/// Targets that documents are compared with.
pub struct Compared<'a, K: Reverse> {
    directions: Directions<'a, K>,
    /// Parts of each target.
    parts: Vec<usize>,
    has_steps: bool,
}

/// What an optimizer whose second moments stay as they are divides by, turned round: a number for each value of the
/// parameters. It is linear, so that the steps of documents add up; momentum and weight decay, which are the same whatever
/// the document, are left out.
pub fn scaling(moments: &Moments, names: &BTreeSet<String>) -> Result<Direction> {
    let of = |name: &String| -> Result<(String, SiteValues)> {
        let own = moments.read(name)?;
        let mut values = vec![1.0; own.elements()];
        precondition(&mut values, &own, Rule::Optimizer)?;
        Ok((name.clone(), SiteValues { shape: own.shape, values }))
    };
    names.iter().map(of).collect()
}

impl<'a, K: Reverse> Compared<'a, K> {
    /// `targets`: mean gradients of the parts of each. With a `scaling` documents have an optimizer's step besides.
    ///
    /// # Errors
    /// Parameters that the model does not have.
    pub fn new(decoder: &'a Decoder<Tape<K>>, targets: &[Vec<Direction>], scaling: Option<&Direction>) -> Result<Self> {
        // <g_k, s g> is <s g_k, g>: the scaling is diagonal.
        let scaled: Vec<Direction> =
            scaling.iter().flat_map(|scaling| targets.iter().flatten().map(|part| times(part, scaling))).collect();
        let all: Vec<&Direction> = targets.iter().flatten().chain(&scaled).collect();
        let parts = targets.iter().map(Vec::len).collect();
        Ok(Self { directions: Directions::new(decoder, &all, scaling)?, parts, has_steps: scaling.is_some() })
    }

    /// Mean loss and numbers of each document, batch after batch and in order. What a document has does not depend on the
    /// others.
    ///
    /// # Errors
    /// Documents without gradient and losses that are not finite, by id; an interrupt.
    pub fn documents(
        &self,
        documents: &[Target],
        how: Collect,
        sink: &mut dyn FnMut(Vec<(f64, DocumentAt)>) -> Result<()>,
    ) -> Result<()> {
        let _keeping = self.directions.kernels().keeping(how.memory);
        let own = self.directions.bytes_of_an_item();
        // Half of the memory at most is for the items' gradients.
        let together = (how.memory / 2).checked_div(own).unwrap_or(usize::MAX).max(1);
        each_batch(
            documents,
            0,
            how,
            &mut |_, items| {
                let mut found = Vec::with_capacity(items.len());
                for part in items.chunks(together) {
                    let left = how.memory.saturating_sub(part.len() * own);
                    found.extend(self.directions.products(part, left)?.into_iter().map(|item| self.numbers(item)));
                }
                Ok(found)
            },
            sink,
        )
    }

    fn numbers(&self, item: ItemProducts) -> (f64, DocumentAt) {
        let mut all = item.products.into_iter();
        let mut by_target = |sign: f64| -> Vec<Vec<f64>> {
            self.parts.iter().map(|&parts| all.by_ref().take(parts).map(|product| sign * product).collect()).collect()
        };
        let products = by_target(1.0);
        // A step goes against the gradient.
        let step = item.scaled.filter(|_| self.has_steps).map(|scaled| StepAt {
            squared_norm: scaled.squared_norm,
            own: -scaled.along,
            products: by_target(-1.0),
        });
        (item.loss, DocumentAt { squared_norm: item.squared_norm, products, step })
    }
}

fn times(direction: &Direction, scaling: &Direction) -> Direction {
    let product = |(name, values): (&String, &SiteValues)| {
        let scales = &scaling.get(name)?.values;
        let values = SiteValues {
            shape: values.shape.clone(),
            values: values.values.iter().zip(scales).map(|(value, scale)| value * scale).collect(),
        };
        Some((name.clone(), values))
    };
    direction.iter().filter_map(product).collect()
}
