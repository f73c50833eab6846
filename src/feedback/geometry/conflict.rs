//! In which layers groups pull against each other.

use super::part_gram::LayerGrams;
use super::similarity::{Relation, Similarity};

/// Conflict between pairs of groups within one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerConflict {
    pub layer: String,
    pub pairs: usize,
    /// Share of the pairs whose unbiased inner product is below zero: about a half where there is nothing but noise.
    pub negative: f64,
    /// Share of the pairs whose interval is below zero: about 0.025 where there is nothing but noise.
    pub sure: f64,
    /// The layer's part of all negative inner products, over pairs and layers: adds up to one, or is zero everywhere.
    pub mass: f64,
}

/// Of each layer, and last of the whole (`layer` empty, `mass` that of all layers). `pairs`: numbers of groups, such as
/// every source with every task.
pub fn conflicts(grams: &LayerGrams, pairs: &[(usize, usize)]) -> Vec<LayerConflict> {
    let of = |layer: &str, similarity: &Similarity| {
        let share = |count: usize| if pairs.is_empty() { 0.0 } else { count as f64 / pairs.len() as f64 };
        let products = || pairs.iter().map(|&(a, b)| similarity.product(a, b).value);
        let sure = pairs.iter().filter(|&&(a, b)| similarity.relation(a, b) == Relation::Conflict).count();
        LayerConflict {
            layer: layer.to_owned(),
            pairs: pairs.len(),
            negative: share(products().filter(|product| *product < 0.0).count()),
            sure: share(sure),
            mass: products().map(|product| (-product).max(0.0)).sum(),
        }
    };
    let mut layers: Vec<LayerConflict> =
        grams.layers().iter().map(|layer| of(&layer.name, &Similarity::of(&layer.gram))).collect();
    let total: f64 = layers.iter().map(|layer| layer.mass).sum();
    if total > 0.0 {
        for layer in &mut layers {
            layer.mass /= total;
        }
    }
    let whole =
        LayerConflict { mass: layers.iter().map(|layer| layer.mass).sum(), ..of("", &Similarity::of(grams.whole())) };
    layers.push(whole);
    layers
}
