//! Gradients of several tasks with what conflicts taken out, as PCGrad does, and what that costs.

use std::collections::BTreeSet;

use super::part_gram::PartGram;
use super::similarity::{Relation, Similarity};
use crate::error::{Error, Result};
use crate::lab::random::Stream;

/// A sum of projected gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct Projected {
    /// Of each task, after projection.
    pub gradients: Vec<Vec<f64>>,
    pub sum: Vec<f64>,
    /// Pairs (i, j) with a negative inner product of the gradients as they came.
    pub conflicts: Vec<(usize, usize)>,
    /// Of each task the share of its squared norm that was taken out; zero for a gradient of zero.
    pub removed: Vec<f64>,
    /// `<g_j, plain sum>` of each task: what a step on the plain sum does for it.
    pub value_before: Vec<f64>,
    /// `<g_j, sum>`
    pub value_after: Vec<f64>,
}

/// What projections take out of one group's mean gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Removal {
    pub group: usize,
    /// Share of its squared norm, noise and all, that a projection against all the others takes out, whatever of their
    /// conflict is noise: mean over orders.
    pub removed: f64,
    /// The same against those only that are in conflict with it for certain.
    pub removed_for_certain: f64,
    /// Which those are.
    pub conflicts: Vec<usize>,
}

/// Orders in which projections are tried: where several conflict, the order matters.
const ORDERS: u64 = 32;

/// What PCGrad would do to the mean gradients of some groups. `pairs`: which group is projected against which, such as every
/// source against every task. A group of no pair is not there.
pub fn removals(gram: &PartGram, pairs: &[(usize, usize)]) -> Vec<Removal> {
    let count = gram.groups().len();
    let similarity = Similarity::of(gram);
    let products: Vec<f64> = (0..count * count).map(|at| gram.raw(at / count, at % count)).collect();
    let removal = |group: usize| {
        let others: Vec<usize> = pairs.iter().filter(|pair| pair.0 == group).map(|pair| pair.1).collect();
        let conflicts: Vec<usize> =
            others.iter().copied().filter(|&other| similarity.relation(group, other) == Relation::Conflict).collect();
        let share = |others: &[usize]| {
            let of_order = |seed: u64| {
                let mut order = others.to_vec();
                Stream::new(seed, &["order of projections", &gram.groups()[group]]).shuffle(&mut order);
                removed(&products, group, &coefficients(&products, group, &order))
            };
            (0..ORDERS).map(of_order).sum::<f64>() / ORDERS as f64
        };
        Removal { group, removed: share(&others), removed_for_certain: share(&conflicts), conflicts }
    };
    let groups: BTreeSet<usize> = pairs.iter().map(|pair| pair.0).collect();
    groups.into_iter().map(removal).collect()
}

/// Goes through the other tasks in random order for each task: where the task's gradient, as it is by then, has a negative
/// inner product with the other's *original* one, its part along that is taken out. For two tasks that is symmetric and
/// without chance.
///
/// # Errors
/// No gradients; other lengths; what is no number.
pub fn project(gradients: &[Vec<f64>], seed: u64) -> Result<Projected> {
    let width = gradients.first().map(Vec::len).ok_or_else(|| Error::bad("expected gradients of tasks, found none"))?;
    for (number, gradient) in gradients.iter().enumerate() {
        let found = match gradient.iter().find(|value| !value.is_finite()) {
            _ if gradient.len() != width => format!("{} numbers", gradient.len()),
            Some(value) => value.to_string(),
            None => continue,
        };
        let message = format!("expected {width} finite numbers, found {found}");
        return Err(Error::bad(message).at(format!("gradient {number}")));
    }
    let count = gradients.len();
    let products: Vec<f64> =
        gradients.iter().flat_map(|one| gradients.iter().map(move |other| dot(one, other))).collect();
    let mut stream = Stream::new(seed, &["order of projections"]);
    let all: Vec<Vec<f64>> = (0..count)
        .map(|which| {
            let mut others: Vec<usize> = (0..count).filter(|&other| other != which).collect();
            stream.shuffle(&mut others);
            coefficients(&products, which, &others)
        })
        .collect();
    let projected: Vec<Vec<f64>> = all.iter().map(|own| combined(gradients, own, width)).collect();
    let (plain, sum) = (combined(gradients, &vec![1.0; count], width), combined(&projected, &vec![1.0; count], width));
    let pairs = (0..count).flat_map(|i| (0..i).map(move |j| (j, i)));
    Ok(Projected {
        conflicts: pairs.filter(|&(i, j)| products[i * count + j] < 0.0).collect(),
        removed: all.iter().enumerate().map(|(which, own)| removed(&products, which, own)).collect(),
        value_before: gradients.iter().map(|gradient| dot(gradient, &plain)).collect(),
        value_after: gradients.iter().map(|gradient| dot(gradient, &sum)).collect(),
        sum,
        gradients: projected,
    })
}

/// What a gradient becomes by projections, as a sum of the gradients as they came: all that is needed of those are their
/// inner products, `[count, count]`.
fn coefficients(products: &[f64], which: usize, others: &[usize]) -> Vec<f64> {
    let count = products.len().isqrt();
    let mut own = vec![0.0; count];
    own[which] = 1.0;
    for &other in others {
        let product: f64 = own.iter().zip(&products[other * count..]).map(|(own, product)| own * product).sum();
        // A gradient of zero has no negative product.
        if product < 0.0 {
            own[other] -= product / products[other * count + other];
        }
    }
    own
}

/// The share of a gradient's squared norm that went; zero for a gradient of zero.
fn removed(products: &[f64], which: usize, coefficients: &[f64]) -> f64 {
    let count = coefficients.len();
    let change = |at: usize| if at == which { coefficients[at] - 1.0 } else { coefficients[at] };
    let square: f64 = (0..count * count).map(|at| change(at / count) * change(at % count) * products[at]).sum();
    let norm = products[which * count + which];
    if norm > 0.0 { square.max(0.0) / norm } else { 0.0 }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn combined(gradients: &[Vec<f64>], coefficients: &[f64], width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    for (gradient, factor) in gradients.iter().zip(coefficients) {
        sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += factor * value);
    }
    sum
}
