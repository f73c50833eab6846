//! Inner products of gradients by parameter name, in f64.

use super::Gradients;

/// Over the parameters that both have.
pub fn dot(one: &Gradients, other: &Gradients) -> f64 {
    let both = one.iter().filter_map(|(name, own)| Some((own, other.get(name)?)));
    both.map(|(a, b)| dot_values(&a.values, &b.values)).sum()
}

/// Of the values of one parameter.
pub fn dot_values(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Between two gradients; none where one is zero.
pub fn cosine(one: &Gradients, other: &Gradients) -> Option<f64> {
    cosine_of([dot(one, other), dot(one, one), dot(other, other)])
}

/// Of a product and two squared norms.
pub(super) fn cosine_of([product, one, other]: [f64; 3]) -> Option<f64> {
    let norms = one.sqrt() * other.sqrt();
    (norms > 0.0).then(|| (product / norms).clamp(-1.0, 1.0))
}
