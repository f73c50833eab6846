//! Gradients of several tasks with what conflicts taken out, as PCGrad does, and what that costs.

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
    let squares: Vec<f64> = gradients.iter().map(|gradient| dot(gradient, gradient)).collect();
    let pairs = (0..count).flat_map(|i| (0..i).map(move |j| (j, i)));
    let conflicts = pairs.filter(|&(i, j)| dot(&gradients[i], &gradients[j]) < 0.0).collect();
    let mut stream = Stream::new(seed, &["order of projections"]);
    let mut projected = gradients.to_vec();
    for (i, gradient) in projected.iter_mut().enumerate() {
        let mut others: Vec<usize> = (0..count).filter(|&j| j != i).collect();
        stream.shuffle(&mut others);
        for j in others {
            let product = dot(gradient, &gradients[j]);
            // A gradient of zero has no negative product.
            if product < 0.0 {
                let factor = product / squares[j];
                gradient.iter_mut().zip(&gradients[j]).for_each(|(x, other)| *x -= factor * other);
            }
        }
    }
    let removed = |i: usize| {
        let change: f64 = projected[i].iter().zip(&gradients[i]).map(|(after, before)| (after - before).powi(2)).sum();
        if squares[i] > 0.0 { change / squares[i] } else { 0.0 }
    };
    let (plain, sum) = (summed(gradients, width), summed(&projected, width));
    Ok(Projected {
        conflicts,
        removed: (0..count).map(removed).collect(),
        value_before: gradients.iter().map(|gradient| dot(gradient, &plain)).collect(),
        value_after: gradients.iter().map(|gradient| dot(gradient, &sum)).collect(),
        sum,
        gradients: projected,
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn summed(gradients: &[Vec<f64>], width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    for gradient in gradients {
        sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
    }
    sum
}
