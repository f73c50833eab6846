//! Inner products of mean gradients of parts: all that similarity needs to know, whatever the number of parameters.

use std::ops::Range;

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::stats::{Estimate, jackknife};

/// The jackknife of fewer has too little freedom to say anything.
const FEWEST_PARTS: usize = 4;

/// How far two parts' inner products in either order may be apart, of the product of their norms: as passes in single
/// precision round, and no more.
const ASYMMETRY: f64 = 1e-4;

/// Of every part of every group with every other. Those of layers add up to those of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PartGram {
    groups: Vec<String>,
    parts: usize,
    /// `[groups * parts, groups * parts]`, symmetric.
    products: Vec<f64>,
}

impl PartGram {
    /// `products`: between the mean gradients, parts of a group side by side.
    ///
    /// # Errors
    /// Fewer than four parts; another number of products; products that are no numbers, or that differ between (i, j) and
    /// (j, i) by more than rounding; groups whose gradient is zero.
    pub fn new(groups: Vec<String>, parts: usize, products: Vec<f64>) -> Result<Self> {
        let gram = Self::unchecked(groups, parts, products)?;
        Error::check(gram.zero_groups())?;
        Ok(gram)
    }

    /// Of a layer, which may have no gradient.
    fn unchecked(groups: Vec<String>, parts: usize, mut products: Vec<f64>) -> Result<Self> {
        let side = groups.len() * parts;
        if parts < FEWEST_PARTS || groups.is_empty() {
            let found = format!("{} groups of {parts}", groups.len());
            return Err(Error::bad(format!("expected at least one group and {FEWEST_PARTS} parts, found {found}")));
        }
        if products.len() != side * side {
            return Err(Error::bad(format!("expected {side} x {side} inner products, found {}", products.len())));
        }
        if let Some(at) = products.iter().position(|product| !product.is_finite()) {
            let (group, part) = (&groups[at / side / parts], at / side % parts);
            let message = format!("expected finite inner products, found {}", products[at]);
            return Err(Error::bad(message).at(format!("group {group}, part {part}")));
        }
        for (i, j) in (0..side).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let (one, other) = (products[i * side + j], products[j * side + i]);
            let scale = (products[i * side + i] * products[j * side + j]).abs().sqrt();
            if (one - other).abs() > ASYMMETRY * scale {
                let message = format!("expected the same inner product in either order, found {one} and {other}");
                let place = [i, j].map(|at| format!("part {} of {}", at % parts, groups[at / parts])).join(" and ");
                return Err(Error::bad(message).at(place));
            }
            let mean = f64::midpoint(one, other);
            (products[i * side + j], products[j * side + i]) = (mean, mean);
        }
        Ok(Self { groups, parts, products })
    }

    fn zero_groups(&self) -> Vec<Diagnostic> {
        let zero = |&group: &usize| (0..self.parts).all(|part| self.product(group, part, group, part) == 0.0);
        let message = "expected a gradient that is not zero, found one of norm 0";
        let problem = |group: usize| Diagnostic::new(message).at(format!("group {}", self.groups[group]));
        (0..self.groups.len()).filter(zero).map(problem).collect()
    }

    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Between two parts: groups and parts by number.
    ///
    /// # Panics
    /// For groups and parts that are not there.
    pub fn product(&self, a: usize, part_a: usize, b: usize, part_b: usize) -> f64 {
        let side = self.groups.len() * self.parts;
        self.products[(a * self.parts + part_a) * side + b * self.parts + part_b]
    }

    /// Of the means of all parts: with the noise.
    pub(super) fn raw(&self, a: usize, b: usize) -> f64 {
        let sum: f64 = (0..self.parts).map(|k| (0..self.parts).map(|l| self.product(a, k, b, l)).sum::<f64>()).sum();
        sum / (self.parts * self.parts) as f64
    }

    /// Unbiased: the mean over pairs of different parts.
    pub(super) fn unbiased(&self, a: usize, b: usize) -> LeaveOneOut {
        let parts = self.parts;
        // Products of a part with the others, in both orders.
        let of_part = |k: usize| -> f64 {
            (0..parts).filter(|&l| l != k).map(|l| self.product(a, k, b, l) + self.product(a, l, b, k)).sum()
        };
        let of_parts: Vec<f64> = (0..parts).map(of_part).collect();
        let sum = of_parts.iter().sum::<f64>() / 2.0;
        let mean = |sum: f64, parts: usize| sum / (parts * (parts - 1)) as f64;
        LeaveOneOut {
            all: mean(sum, parts),
            without: of_parts.iter().map(|of_part| mean(sum - of_part, parts - 1)).collect(),
        }
    }
}

/// A statistic of all parts, and of all but each one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeaveOneOut {
    pub all: f64,
    pub without: Vec<f64>,
}

impl LeaveOneOut {
    /// The jackknife's. Of products of parts it is up to twice the variance where noise is all there is, so that intervals
    /// hold the truth in 95 to 99 % of cases.
    pub fn estimate(&self) -> Estimate {
        jackknife(self.all, &self.without)
    }
}

/// A piece of the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    pub name: String,
    pub gram: PartGram,
}

/// Layers of the same groups and parts, and their sum.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerGrams {
    layers: Vec<Layer>,
    whole: PartGram,
}

impl LayerGrams {
    /// `layers`: names and inner products, as of [`PartGram::new`]; a layer may have no gradient.
    ///
    /// # Errors
    /// Those of [`PartGram::new`], with the layer's name; no layers; groups whose gradient is zero in all of them.
    pub fn new(groups: &[String], parts: usize, layers: Vec<(String, Vec<f64>)>) -> Result<Self> {
        if layers.is_empty() {
            return Err(Error::bad("expected at least one layer, found none"));
        }
        let mut whole: Option<Vec<f64>> = None;
        let mut checked = Vec::with_capacity(layers.len());
        for (name, products) in layers {
            let gram = PartGram::unchecked(groups.to_vec(), parts, products)
                .map_err(|error| error.at(format!("layer {name}")))?;
            match &mut whole {
                None => whole = Some(gram.products.clone()),
                Some(sums) => sums.iter_mut().zip(&gram.products).for_each(|(sum, product)| *sum += product),
            }
            checked.push(Layer { name, gram });
        }
        let whole = PartGram::new(groups.to_vec(), parts, whole.unwrap_or_default())?;
        Ok(Self { layers: checked, whole })
    }

    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Over all layers.
    pub fn whole(&self) -> &PartGram {
        &self.whole
    }
}

/// Sums of gradients by group and part, from rows that come one at a time. It keeps `groups * parts * width` numbers.
#[derive(Debug)]
pub struct PartSums {
    groups: Vec<String>,
    parts: usize,
    layers: Vec<(String, Range<usize>)>,
    width: usize,
    /// `[groups, parts]`
    counts: Vec<usize>,
    /// `[groups, parts, width]`
    sums: Vec<f64>,
}

impl PartSums {
    /// `layers`: pieces of a row, side by side from its beginning to its end.
    ///
    /// # Errors
    /// Layers that leave gaps; fewer than four parts.
    pub fn new(groups: Vec<String>, parts: usize, layers: Vec<(String, Range<usize>)>) -> Result<Self> {
        let mut width = 0;
        for (name, range) in &layers {
            if range.start != width || range.is_empty() {
                let message = format!("expected a layer that begins at column {width}, found columns {range:?}");
                return Err(Error::bad(message).at(format!("layer {name}")));
            }
            width = range.end;
        }
        if parts < FEWEST_PARTS {
            return Err(Error::bad(format!("expected at least {FEWEST_PARTS} parts, found {parts}")));
        }
        let sums = vec![0.0; groups.len() * parts * width];
        Ok(Self { counts: vec![0; groups.len() * parts], groups, parts, layers, width, sums })
    }

    /// Adds the gradient of one item. Items go to parts in turn, so items in an order that means something, such as pieces
    /// of one document after the other, must be shuffled first.
    ///
    /// # Errors
    /// Those of [`Self::add_to`].
    ///
    /// # Panics
    /// For a group that is not there.
    pub fn add(&mut self, group: usize, row: &[f64]) -> Result<()> {
        self.add_to(group, self.items(group) % self.parts, row)
    }

    /// Adds the gradient of one item to a part of one's choice.
    ///
    /// # Errors
    /// Rows of another width, or with what is no number.
    ///
    /// # Panics
    /// For a group or part that is not there.
    pub fn add_to(&mut self, group: usize, part: usize, row: &[f64]) -> Result<()> {
        assert!(part < self.parts, "one of the parts");
        let problem = match row.iter().position(|value| !value.is_finite()) {
            _ if row.len() != self.width => format!("{} numbers", row.len()),
            Some(at) => format!("{} in column {at}", row[at]),
            None => {
                let place = group * self.parts + part;
                let sums = &mut self.sums[place * self.width..][..self.width];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                self.counts[place] += 1;
                return Ok(());
            }
        };
        let place = format!("group {}, item {}", self.groups[group], self.items(group));
        Err(Error::bad(format!("expected {} finite numbers, found {problem}", self.width)).at(place))
    }

    /// Items of a group so far.
    fn items(&self, group: usize) -> usize {
        self.counts[group * self.parts..][..self.parts].iter().sum()
    }

    /// # Errors
    /// Parts without items; gradients of zero.
    pub fn finish(mut self) -> Result<LayerGrams> {
        let empty = |group: &usize| self.counts[group * self.parts..][..self.parts].contains(&0);
        let problem = |group: usize| too_few(&self.groups[group], self.parts, self.items(group));
        Error::check((0..self.groups.len()).filter(empty).map(problem).collect())?;
        for (number, sums) in self.sums.chunks_mut(self.width.max(1)).enumerate() {
            let items = self.counts[number] as f64;
            for sum in sums {
                *sum /= items;
            }
        }
        let means: Vec<&[f64]> = self.sums.chunks(self.width.max(1)).collect();
        let gram = |range: &Range<usize>| {
            let mut products = vec![0.0; means.len() * means.len()];
            for (i, a) in means.iter().enumerate() {
                for (j, b) in means.iter().enumerate().take(i + 1) {
                    let product = a[range.clone()].iter().zip(&b[range.clone()]).map(|(a, b)| a * b).sum();
                    products[i * means.len() + j] = product;
                    products[j * means.len() + i] = product;
                }
            }
            products
        };
        let layers = self.layers.iter().map(|(name, range)| (name.clone(), gram(range))).collect();
        LayerGrams::new(&self.groups, self.parts, layers)
    }
}

/// A group of fewer items than parts.
pub(super) fn too_few(group: &str, parts: usize, items: usize) -> Diagnostic {
    Diagnostic::new(format!("expected at least one item for each of {parts} parts, found {items} items"))
        .at(format!("group {group}"))
}
