//! Mean gradients of parts of the feedback items: what other items would have said is their spread.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::feedback::collect::{named, objective};
use crate::feedback::gradset::Evidence;
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
    /// Mean loss over all items, nats.
    pub loss: f64,
    /// Norms of the items' gradients.
    norms: Vec<f64>,
}

/// Which part the item of this number is in. Items stand in the order of hashes, so parts are random, and even.
pub fn part_of(item: usize, parts: usize) -> usize {
    item % parts
}

/// Gradients of the mean loss of each item's answer, summed item by item in their order. `each` is called after every item.
///
/// # Errors
/// Items without gradient and losses that are not finite, by id; whatever `each` says.
pub fn part_gradients<K: Reverse>(
    decoder: &Decoder<Tape<K>>,
    names: &BTreeSet<String>,
    items: &[Target],
    parts: usize,
    memory: usize,
    each: &mut dyn FnMut() -> Result<()>,
) -> Result<PartGradients> {
    let parts = parts.min(items.len());
    let mut sums: Vec<Direction> = vec![Direction::new(); parts];
    let mut counts = vec![0; parts];
    let (mut loss, mut norms) = (0.0, Vec::with_capacity(items.len()));
    for (number, item) in items.iter().enumerate() {
        let mut weights = WeightGradients::new(decoder, |name| names.contains(name), Summed::Pass);
        let reach = Reach { memory, ..Reach::default() };
        let reversed = decoder
            .reverse(&[objective(item, true)], reach, &mut weights)
            .map_err(|error| named(error, std::slice::from_ref(item)))?;
        let gradient = weights.into_parameters()?;
        loss += reversed.losses[0];
        norms.push(dot(&gradient, &gradient).sqrt());
        let part = part_of(number, parts);
        counts[part] += 1;
        if sums[part].is_empty() {
            sums[part] = gradient;
        } else {
            for (sum, own) in sums[part].values_mut().zip(gradient.values()) {
                sum.values.iter_mut().zip(&own.values).for_each(|(sum, value)| *sum += value);
            }
        }
        each()?;
    }
    for (sum, count) in sums.iter_mut().zip(&counts) {
        let factor = 1.0 / *count as f32;
        for values in sum.values_mut() {
            values.values.iter_mut().for_each(|value| *value *= factor);
        }
    }
    Ok(PartGradients { parts: sums, items: counts, loss: loss / items.len() as f64, norms })
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
        let mut norms = self.norms.clone();
        norms.sort_by(f64::total_cmp);
        let middle = norms.len() / 2;
        let norm_median =
            if norms.len() % 2 == 1 { norms[middle] } else { f64::midpoint(norms[middle - 1], norms[middle]) };
        Evidence {
            items: norms.len() as u64,
            norm_mean: norms.iter().sum::<f64>() / norms.len() as f64,
            norm_median,
            split_half_cosine: half_cosine(&self.parts, &self.items),
        }
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
    let [one, other] = [0, 1].map(|half| half_mean(parts, items, half));
    let norms = (dot(&one, &one) * dot(&other, &other)).sqrt();
    (norms > 0.0).then(|| (dot(&one, &other) / norms).clamp(-1.0, 1.0))
}

/// Over the parameters that both have.
pub fn dot(one: &Direction, other: &Direction) -> f64 {
    let both = one.iter().filter_map(|(name, own)| Some((own, other.get(name)?)));
    both.flat_map(|(a, b)| a.values.iter().zip(&b.values)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
