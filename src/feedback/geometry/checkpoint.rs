//! Groups of items at one checkpoint: inner products between the mean gradients of all their parts, layer by layer.
//!
//! ```text
//! for as many layers as fit:  every group's items ─► reverse, item by item ─► part means ─► products ─► dropped
//! ```
//! A sweep over the items holds the part means of some layers, in f32; where memory is short there are more sweeps over fewer
//! layers, down to one layer each. No number depends on how many.
//!
//! Where items have a context, the gradient of each answer is compared with that of the same answer without it: whether the
//! marginal likelihood `log P(y)` stands in for the conditional `log P(y | x)` ([`PairedAgreement`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::agreement::PairedAgreement;
use super::part_gram::{LayerGrams, too_few};
use crate::error::{Error, Result};
use crate::feedback::bundle::{item_gradient, part_gradients};
use crate::feedback::gradset::dot_values;
use crate::feedback::{Direction, Target};
use crate::kernels::Reverse;
use crate::kernels::tape::Tape;
use crate::lm::shown_bytes;
use crate::model::{Decoder, Leaves, Place};

/// Beside the parts of all groups: an item's gradient as it is made and as it is read, the same of its marginal.
const GRADIENTS_BESIDE: usize = 4;

/// Items whose mean gradient is compared with that of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// In random order: they go to parts in turn.
    pub items: Vec<Target>,
    /// Of each item the same answer without context ([`without_context`]); none where there is nothing to compare.
    pub marginals: Vec<Target>,
}

/// The answer of an item behind the token that begins texts, and nothing else.
pub fn without_context(item: &Target, prefix: u32) -> Target {
    let answer = item.tokens.get(item.start..).unwrap_or_default();
    Target { id: item.id.clone(), tokens: std::iter::once(prefix).chain(answer.iter().copied()).collect(), start: 1 }
}

/// What was found.
#[derive(Debug)]
pub struct AtCheckpoint {
    pub grams: LayerGrams,
    /// Of the groups with marginals, by name.
    pub agreement: PairedAgreement,
    /// How often the items went through the model.
    pub sweeps: usize,
}

/// Parameters of one layer.
struct Own {
    name: String,
    parameters: Vec<String>,
    /// All their numbers.
    size: usize,
}

/// `names`: the parameters that count. `memory`: bytes for gradients and activations. `each` is called after every item of
/// every sweep, with the number of sweeps.
///
/// # Errors
/// Groups of fewer items than parts; part means of a single layer that do not fit; gradients of zero; items without gradient,
/// by id; whatever `each` says.
pub fn grams_at<K: Reverse>(
    decoder: &Decoder<Tape<K>>,
    names: &BTreeSet<String>,
    groups: &[Group],
    parts: usize,
    memory: usize,
    each: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<AtCheckpoint> {
    let few = groups.iter().filter(|group| group.items.len() < parts);
    let problem = |group: &Group| {
        too_few(&group.name, parts, group.items.len()).help("fewer parts (--parts), four at least, or more items")
    };
    Error::check(few.map(problem).collect())?;
    let layers = layers(decoder.leaves(), names);
    let bytes_each = (groups.len() * parts + GRADIENTS_BESIDE) * size_of::<f32>();
    let sweeps = sweeps(&layers, bytes_each, memory)?;
    let mut agreed: Vec<Vec<[f64; 3]>> = groups.iter().map(|group| vec![[0.0; 3]; group.marginals.len()]).collect();
    let mut products = Vec::with_capacity(layers.len());
    for sweep in &sweeps {
        let layers = &layers[sweep.clone()];
        let names: BTreeSet<String> = layers.iter().flat_map(|layer| layer.parameters.iter().cloned()).collect();
        let held = layers.iter().map(|layer| layer.size).sum::<usize>() * bytes_each;
        let left = memory.saturating_sub(held);
        let mut means: Vec<Direction> = Vec::with_capacity(groups.len() * parts);
        for (group, agreed) in groups.iter().zip(&mut agreed) {
            let found = part_gradients(decoder, &names, &group.items, parts, left, &mut |number, gradient| {
                if let Some(marginal) = group.marginals.get(number) {
                    add_products(
                        &mut agreed[number],
                        gradient,
                        &item_gradient(decoder, &names, marginal, left)?,
                        layers,
                    );
                }
                each(sweeps.len())
            })?;
            means.extend(found.parts);
        }
        for layer in layers {
            products.push((layer.name.clone(), layer_products(decoder.kernels().inner(), &mut means, layer)?));
        }
    }
    let mut agreement = PairedAgreement::default();
    for (group, agreed) in groups.iter().zip(agreed) {
        for products in agreed {
            agreement.add_products(&group.name, products)?;
        }
    }
    let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
    Ok(AtCheckpoint { grams: LayerGrams::new(&names, parts, products)?, agreement, sweeps: sweeps.len() })
}

/// Parameters by where they are used first, from the embedding up.
fn layers(leaves: &Leaves, names: &BTreeSet<String>) -> Vec<Own> {
    let mut layers: BTreeMap<Place, Own> = BTreeMap::new();
    for (name, (shape, numbers)) in leaves.parameters() {
        let Some(&first) = numbers.first().filter(|_| names.contains(name)) else { continue };
        let place = leaves.place(first);
        let own = || Own { name: place_name(place), parameters: Vec::new(), size: 0 };
        let layer = layers.entry(place).or_insert_with(own);
        layer.parameters.push(name.to_owned());
        layer.size += shape.iter().product::<usize>();
    }
    layers.into_values().collect()
}

fn place_name(place: Place) -> String {
    match place {
        Place::Embedding => "embedding".to_owned(),
        Place::Block(block) => format!("block {block}"),
        Place::End => "norm and head".to_owned(),
    }
}

/// As many layers at a time as fit into three quarters of the memory; the rest is for activations.
fn sweeps(layers: &[Own], bytes_each: usize, memory: usize) -> Result<Vec<Range<usize>>> {
    let room = memory - memory / 4;
    let mut sweeps: Vec<Range<usize>> = Vec::new();
    let mut held = 0;
    for (number, layer) in layers.iter().enumerate() {
        let own = layer.size.saturating_mul(bytes_each);
        if own > room {
            let (wanted, found) = (shown_bytes(own), shown_bytes(room));
            let message = format!("expected {wanted} of memory for the mean gradients of all parts, found {found}");
            return Err(Error::bad(message).at(&layer.name).help(
                "raise --max-memory, or take fewer parameters (--params), sources (--source) or parts (--parts)",
            ));
        }
        match sweeps.last_mut() {
            Some(sweep) if held + own <= room => {
                sweep.end = number + 1;
                held += own;
            }
            _ => {
                sweeps.push(number..number + 1);
                held = own;
            }
        }
    }
    Ok(sweeps)
}

/// Adds `<a, a>`, `<a, b>` and `<b, b>`, parameter by parameter in the order of layers.
fn add_products(sums: &mut [f64; 3], one: &Direction, other: &Direction, layers: &[Own]) {
    for name in layers.iter().flat_map(|layer| &layer.parameters) {
        if let (Some(one), Some(other)) = (one.get(name), other.get(name)) {
            let (one, other) = (&one.values, &other.values);
            let products = [dot_values(one, one), dot_values(one, other), dot_values(other, other)];
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
    }
}

/// Inner products of all parts with all over one layer, whose values are taken out of them.
fn layer_products<K: Reverse>(kernels: &K, means: &mut [Direction], layer: &Own) -> Result<Vec<f64>> {
    let mut products = vec![0.0; means.len() * means.len()];
    for name in &layer.parameters {
        let own = means.iter_mut().filter_map(|part| part.remove(name));
        let arrays = own.map(|values| kernels.array(values)).collect::<Result<Vec<_>>>()?;
        let all: Vec<&K::Array> = arrays.iter().collect();
        products.iter_mut().zip(kernels.inner_products(&all, &all)?).for_each(|(sum, product)| *sum += product);
    }
    Ok(products)
}
