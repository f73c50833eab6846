//! Mean gradients of parts of the feedback items: what other items would have said is their spread.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::feedback::collect::{named, objective};
use crate::feedback::gradset::{Evidence, cosine, dot};
use crate::feedback::{Direction, Target};
use crate::kernels::Reverse;
use crate::kernels::tape::Tape;
use crate::model::{Decoder, Reach, Summed, WeightGradients};
use crate::request::SiteValues;

/// Gradients of one target at one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct PartGradients {
    /// Mean over the items of each part.
    pub parts: Vec<Direction>,
    /// Items of each part.
    pub items: Vec<usize>,
    /// Norms of the items' gradients.
    norms: Vec<f64>,
}

/// Which part the item of this number is in. Items stand in the order of hashes, so parts are random, and even.
pub fn part_of(item: usize, parts: usize) -> usize {
    item % parts
}

/// Gradient of the mean loss of an item's answer, in a pass of its own.
///
/// # Errors
/// An item without gradient or with a loss that is not finite, by id.
pub fn item_gradient<K: Reverse>(
    decoder: &Decoder<Tape<K>>,
    names: &BTreeSet<String>,
    item: &Target,
    memory: usize,
) -> Result<Direction> {
    let mut weights = WeightGradients::new(decoder, |name| names.contains(name), Summed::Pass);
    let reach = Reach { memory, ..Reach::default() };
    decoder
        .reverse(&[objective(item, true)], reach, &mut weights)
        .map_err(|error| named(error, std::slice::from_ref(item)))?;
    weights.into_parameters()
}

/// Mean gradients of the parts, summed item by item in their order. `each` is called with every item's number and gradient.
///
/// # Errors
/// Those of [`item_gradient`]; whatever `each` says.
pub fn part_gradients<K: Reverse>(
    decoder: &Decoder<Tape<K>>,
    names: &BTreeSet<String>,
    items: &[Target],
    parts: usize,
    memory: usize,
    each: &mut dyn FnMut(usize, &Direction) -> Result<()>,
) -> Result<PartGradients> {
    let _keeping = decoder.kernels().inner().keeping(memory);
    let parts = parts.min(items.len());
    let mut sums: Vec<Direction> = vec![Direction::new(); parts];
    let mut counts = vec![0; parts];
    let mut norms = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let gradient = item_gradient(decoder, names, item, memory)?;
        norms.push(dot(&gradient, &gradient).sqrt());
        each(number, &gradient)?;
        let part = part_of(number, parts);
        counts[part] += 1;
        if sums[part].is_empty() {
            sums[part] = gradient;
        } else {
            for (sum, own) in sums[part].values_mut().zip(gradient.values()) {
                sum.values.iter_mut().zip(&own.values).for_each(|(sum, value)| *sum += value);
            }
        }
    }
    for (sum, count) in sums.iter_mut().zip(&counts) {
        let factor = 1.0 / *count as f32;
        for values in sum.values_mut() {
            values.values.iter_mut().for_each(|value| *value *= factor);
        }
    }
    Ok(PartGradients { parts: sums, items: counts, norms })
}

impl PartGradients {
    /// Mean over all items.
    pub fn mean(&self) -> Direction {
        mean(&self.parts, &self.items)
    }

    /// `<g_k, g_l>`, `[parts, parts]`.
    pub fn gram(&self) -> Vec<f64> {
        gram(&self.parts)
    }

    /// What a gradient set says of itself.
    pub fn evidence(&self) -> Evidence {
        Evidence::of(&self.norms, half_cosine(&self.parts, &self.items))
    }
}

/// Mean of parts by their items.
pub fn mean(parts: &[Direction], items: &[usize]) -> Direction {
    let total: usize = items.iter().sum();
    let mut sum = Direction::new();
    for (part, count) in parts.iter().zip(items) {
        let share = (*count as f64 / total as f64) as f32;
        for (name, values) in part {
            let to = sum
                .entry(name.clone())
                .or_insert_with(|| SiteValues { shape: values.shape.clone(), values: vec![0.0; values.values.len()] });
            to.values.iter_mut().zip(&values.values).for_each(|(sum, value)| *sum += share * value);
        }
    }
    sum
}

/// Mean of the parts of even number (half 0) or of odd number (half 1) by their items.
pub fn half_mean(parts: &[Direction], items: &[usize], half: usize) -> Direction {
    let own = parts.iter().skip(half).step_by(2).cloned().collect::<Vec<_>>();
    mean(&own, &items.iter().skip(half).step_by(2).copied().collect::<Vec<_>>())
}

/// `<g_k, g_l>` of parts, `[parts, parts]`.
pub fn gram(parts: &[Direction]) -> Vec<f64> {
    parts.iter().flat_map(|one| parts.iter().map(move |other| dot(one, other))).collect()
}

/// Between the means of the parts of even number and of those of odd number.
fn half_cosine(parts: &[Direction], items: &[usize]) -> Option<f64> {
    cosine(&half_mean(parts, items, 0), &half_mean(parts, items, 1))
}
