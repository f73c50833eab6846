//! What the gradients of items are worth along directions in the space of weights, for a whole batch in one pass.
//!
//! ```text
//! batch ─► reverse ─► of each weight, every item's own gradient G_i ─► <G_i, D_j>, <G_i, G_i>, sum s G_i G_i ─► dropped
//! ```
//! An item's gradient of a weight of a block is there only while the walk is at that weight. Those of embedding and head
//! come in several parts and wait for the end of the pass, as do those of a weight that stands in two places. So a pass costs what whole gradients cost, and two operations
//! more for each value, direction and item; it holds the directions, and the items' gradients of one weight.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::kernels::Reverse;
use crate::kernels::tape::{Receiver, RowsOf, Tape};
use crate::model::{Decoder, Objective, Place, Reach, Source, row_ranges};
use crate::request::SiteValues;

/// A direction: values by parameter name, of the stored shapes. Parameters that it does not name count as zero.
pub type Direction = BTreeMap<String, SiteValues>;

/// A decoder with directions that its gradients are compared with. Norms are over all parameters that some direction has.
pub struct Directions<'a, K: Reverse> {
    decoder: &'a Decoder<Tape<K>>,
    count: usize,
    is_scaled: bool,
    /// By the weight's number; none where no direction has a part.
    weights: Vec<Option<Along<K>>>,
    /// By the weight's number, where its gradient is gathered.
    gathered: Vec<Gathered>,
}

/// Where an item's gradient of a weight becomes whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathered {
    /// At its only place in the walk.
    Here,
    /// At the end of the pass, with this weight's: an embedding may be the head, too, logits are made in runs of rows, and
    /// two norms may be one.
    Later(usize),
}

/// What of the directions belongs to one weight.
struct Along<K: Reverse> {
    /// Which directions have a part, and their parts.
    numbers: Vec<usize>,
    parts: Vec<K::Array>,
    /// The scaling, and its square.
    scales: Option<[K::Array; 2]>,
}

/// Of one item with the gradient `g`.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemProducts {
    pub loss: f64,
    /// `<g, g>`
    pub squared_norm: f64,
    /// `<g, d>` for each direction.
    pub products: Vec<f64>,
    /// Where there is a scaling `s`.
    pub scaled: Option<ScaledProducts>,
}

/// Of `s g`, which is what an optimizer with fixed second moments makes of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ScaledProducts {
    /// `<g, s g>`
    pub along: f64,
    /// `<s g, s g>`
    pub squared_norm: f64,
}

impl<'a, K: Reverse> Directions<'a, K> {
    /// `scaling`: a number for each value of the parameters, none for a parameter where it is zero.
    ///
    /// # Errors
    /// Parameters that the model does not have or has in other shapes, all of them.
    pub fn new(decoder: &'a Decoder<Tape<K>>, directions: &[&Direction], scaling: Option<&Direction>) -> Result<Self> {
        let stored = decoder.leaves().parameters();
        let problem = |(name, values): (&String, &SiteValues)| {
            let expected = match stored.get(name.as_str()) {
                Some((shape, _)) if **shape == values.shape => return None,
                Some((shape, _)) => format!("expected shape {shape:?} as the model has, found {:?}", values.shape),
                None => "expected parameters of the model, found another name".to_owned(),
            };
            Some(Diagnostic::new(expected).at(format!("parameter {name}")))
        };
        let all = directions.iter().copied().chain(scaling);
        Error::check(all.flat_map(|direction| direction.iter()).filter_map(problem).collect())?;
        let wanted: BTreeSet<&str> = directions.iter().flat_map(|own| own.keys()).map(String::as_str).collect();
        let k = decoder.kernels().inner();
        let along = |source: &Source| -> Result<Option<Along<K>>> {
            if !wanted.contains(source.name.as_str()) {
                return Ok(None);
            }
            let array = |values: Vec<f32>| k.array(SiteValues { shape: vec![values.len()], values });
            let (mut numbers, mut parts) = (Vec::new(), Vec::new());
            for (number, direction) in directions.iter().enumerate() {
                if let Some(values) = direction.get(&source.name) {
                    numbers.push(number);
                    parts.push(array(source.cut(&values.values))?);
                }
            }
            let scales = scaling.and_then(|scaling| scaling.get(&source.name)).map(|values| {
                let own = source.cut(&values.values);
                let squares = own.iter().map(|scale| scale * scale).collect();
                Ok::<_, Error>([array(own)?, array(squares)?])
            });
            Ok(Some(Along { numbers, parts, scales: scales.transpose()? }))
        };
        let weights = decoder.leaves().sources().iter().map(along).collect::<Result<_>>()?;
        let gathered = gathered(decoder);
        Ok(Self { decoder, count: directions.len(), is_scaled: scaling.is_some(), weights, gathered })
    }

    /// The kernels that compute.
    pub(super) fn kernels(&self) -> &K {
        self.decoder.kernels().inner()
    }

    /// Of each item's loss, from one pass. What an item has does not depend on the others. `memory`: bytes of activations
    /// that may be kept.
    ///
    /// # Errors
    /// Losses without gradient, by item.
    pub fn products(&self, items: &[Objective<'_>], memory: usize) -> Result<Vec<ItemProducts>> {
        let empty = ItemProducts {
            loss: 0.0,
            squared_norm: 0.0,
            products: vec![0.0; self.count],
            scaled: self.is_scaled.then(ScaledProducts::default),
        };
        let mut gradients = ItemGradients {
            directions: self,
            ranges: row_ranges(items),
            found: vec![empty; items.len()],
            waiting: BTreeMap::new(),
        };
        let reversed = self.decoder.reverse(items, Reach { memory, ..Reach::default() }, &mut gradients)?;
        gradients.finish()?;
        let mut found = gradients.found;
        found.iter_mut().zip(reversed.losses).for_each(|(item, loss)| item.loss = loss);
        Ok(found)
    }

    /// Bytes that each item of a batch takes besides activations: gradients that wait until the end of a pass, and that of
    /// the largest weight.
    pub fn bytes_of_an_item(&self) -> usize {
        let sources = self.decoder.leaves().sources();
        let waits =
            |number: &usize| self.weights[*number].is_some() && self.gathered[*number] == Gathered::Later(*number);
        let values = |number: usize| sources[number].shape.iter().product::<usize>();
        let wanted = (0..sources.len()).filter(|number| self.weights[*number].is_some());
        let waiting: usize = wanted.clone().filter(waits).map(values).sum();
        (waiting + wanted.map(values).max().unwrap_or(0)) * size_of::<f32>()
    }
}

/// By weight. Weights that are cut from the same place are one.
fn gathered<K: Reverse>(decoder: &Decoder<Tape<K>>) -> Vec<Gathered> {
    let leaves = decoder.leaves();
    let sources = leaves.sources();
    let own = |number: usize| {
        let first = sources.iter().position(|other| *other == sources[number]).unwrap_or(number);
        let is_shared = sources[number + 1..].contains(&sources[number]);
        match leaves.place(number) {
            Place::Block(_) if first == number && !is_shared => Gathered::Here,
            _ => Gathered::Later(first),
        }
    };
    (0..sources.len()).map(own).collect()
}

/// Receives the rows of one pass.
struct ItemGradients<'a, K: Reverse> {
    directions: &'a Directions<'a, K>,
    ranges: Vec<Range<usize>>,
    found: Vec<ItemProducts>,
    /// By weight and item, what there is of gradients that come in parts.
    waiting: BTreeMap<(usize, usize), K::Array>,
}

impl<K: Reverse> ItemGradients<'_, K> {
    fn kernels(&self) -> &K {
        self.directions.decoder.kernels().inner()
    }

    /// Which of the rows are which item's.
    fn items_here(&self, rows: &RowsOf<'_, K>) -> Vec<(usize, Range<usize>)> {
        let own = self.ranges.iter().map(|range| rows.among(range)).enumerate();
        own.filter(|(_, range)| !range.is_empty()).collect()
    }

    /// Takes the items' gradients of a weight, or a part of them.
    fn take(&mut self, weight: usize, gradients: Vec<(usize, K::Array)>) -> Result<()> {
        let Gathered::Later(weight) = self.directions.gathered[weight] else {
            return self.compare(weight, &gradients);
        };
        for (item, gradient) in gradients {
            let sum = match self.waiting.remove(&(weight, item)) {
                Some(sum) => self.kernels().add(sum, &gradient)?,
                None => gradient,
            };
            self.waiting.insert((weight, item), sum);
        }
        Ok(())
    }

    /// Adds what the whole gradients of a weight bring.
    fn compare(&mut self, weight: usize, gradients: &[(usize, K::Array)]) -> Result<()> {
        let Some(along) = &self.directions.weights[weight] else { return Ok(()) };
        let k = self.directions.decoder.kernels().inner();
        let own: Vec<&K::Array> = gradients.iter().map(|(_, gradient)| gradient).collect();
        let parts: Vec<&K::Array> = along.parts.iter().collect();
        let products = k.inner_products(&own, &parts)?;
        let norms = k.squares(&own, None)?;
        let scaled = along
            .scales
            .as_ref()
            .map(|[scale, square]| Ok::<_, Error>((k.squares(&own, Some(scale))?, k.squares(&own, Some(square))?)));
        let scaled = scaled.transpose()?;
        for (place, (item, _)) in gradients.iter().enumerate() {
            let found = &mut self.found[*item];
            found.squared_norm += norms[place];
            for (number, product) in along.numbers.iter().zip(&products[place * parts.len()..]) {
                found.products[*number] += product;
            }
            if let (Some(sums), Some((along, squares))) = (&mut found.scaled, &scaled) {
                sums.along += along[place];
                sums.squared_norm += squares[place];
            }
        }
        Ok(())
    }

    /// When the pass is over.
    fn finish(&mut self) -> Result<()> {
        let mut by_weight: BTreeMap<usize, Vec<(usize, K::Array)>> = BTreeMap::new();
        for ((weight, item), gradient) in std::mem::take(&mut self.waiting) {
            by_weight.entry(weight).or_default().push((item, gradient));
        }
        by_weight.iter().try_for_each(|(weight, gradients)| self.compare(*weight, gradients))
    }
}

impl<K: Reverse> Receiver<K> for ItemGradients<'_, K> {
    fn wants(&self, weight: usize) -> bool {
        self.directions.weights[weight].is_some()
    }

    fn linear(&mut self, weight: usize, input: &K::Array, rows: &RowsOf<'_, K>) -> Result<()> {
        let outer = |(item, range)| Ok((item, self.kernels().outer(rows.gradient, input, range)?));
        let gradients = self.items_here(rows).into_iter().map(outer).collect::<Result<_>>()?;
        self.take(weight, gradients)
    }

    fn vector(&mut self, weight: usize, rows: &RowsOf<'_, K>) -> Result<()> {
        let sums = |(item, range)| Ok((item, self.kernels().column_sums(rows.gradient, range)?));
        let gradients = self.items_here(rows).into_iter().map(sums).collect::<Result<_>>()?;
        self.take(weight, gradients)
    }

    fn table(&mut self, weight: usize, ids: &[u32], rows: &RowsOf<'_, K>) -> Result<()> {
        let shape = &self.directions.decoder.leaves().sources()[weight].shape;
        let zeros = || SiteValues { values: vec![0.0; shape.iter().product()], shape: shape.clone() };
        let mut tables = Vec::new();
        for (item, range) in self.items_here(rows) {
            // A head that is tied to the table was met before.
            let met = self.waiting.remove(&(weight, item));
            let table = met.map_or_else(|| self.kernels().array(zeros()), Ok)?;
            tables.push((item, self.kernels().add_to_rows(table, rows.gradient, range, ids)?));
        }
        self.take(weight, tables)
    }
}
