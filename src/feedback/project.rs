//! Projected gradients of items: one reverse pass for a whole batch, no gradient is ever built.
//!
//! ```text
//! G = sum over tokens of outer(g_t, a_t)      P_L G P_R^T = sum over tokens of outer(P_L g_t, P_R a_t)
//! ```
//! `g_t` is the gradient of a linear map's output, `a_t` its input. So each token leaves two vectors of `dim` numbers for
//! each map, and an item one `dim x dim` matrix.
//!
//! With an optimizer's moments, what is projected is what it would make of the gradient (`precondition.rs`). Adafactor's
//! scaling is rank one and goes into the matrices; Adam's is not, and one matrix of each item is built at a time.

use std::collections::BTreeMap;
use std::ops::Range;

use super::moments::{ParameterMoments, SecondMoment};
use super::precondition::{RankOne, Rule, precondition, scale_vectors};
use super::rademacher::{Scale, Side, Signs, rademacher};
use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::kernels::tape::{Receiver, RowsOf, Tape};
use crate::kernels::{Kernels, RawTensor, Reverse, View};
use crate::model::{Decoder, Objective, Place, Reach, Source, row_ranges};
use crate::request::SiteValues;

/// How gradients are projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Of each side: a module takes `dim * dim` numbers.
    pub dim: usize,
    pub scale: Scale,
    pub signs: Signs,
}

/// A linear map with a stored weight of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectedModule {
    /// The parameter's name without `.weight`, relative to the base model (`layers.3.mlp.down_proj`).
    pub name: String,
    /// Of its output, and of its input.
    pub out: usize,
    pub input: usize,
}

/// The module that a parameter belongs to, relative to the base model, whose name (`model`, `transformer`, `gpt_neox`) is
/// the first part of every name.
pub fn module_of(parameter: &str) -> &str {
    let module = parameter.strip_suffix(".weight").unwrap_or(parameter);
    module.split_once('.').map_or(module, |(_, relative)| relative)
}

/// Projected gradients of some items.
#[derive(Debug, Clone)]
pub struct Projected {
    /// Numbers of an item.
    pub width: usize,
    /// `[items, modules, dim, dim]`
    pub values: Vec<f32>,
    /// One for each item.
    pub losses: Vec<f64>,
}

impl Projected {
    pub fn item(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }
}

/// A decoder with the projections of its linear maps.
pub struct Projector<'a, K: Reverse> {
    decoder: &'a Decoder<Tape<K>>,
    projection: Projection,
    modules: Vec<ProjectedModule>,
    /// By the weight's number.
    parts: Vec<Option<Part<K>>>,
}

impl<'a, K: Reverse> Projector<'a, K> {
    /// For the wanted parameters that are weights of linear maps inside the blocks.
    ///
    /// # Errors
    /// No such parameter.
    pub fn new(decoder: &'a Decoder<Tape<K>>, wanted: impl Fn(&str) -> bool, projection: Projection) -> Result<Self> {
        Self::preconditioned(decoder, wanted, projection, &|_| Ok(None))
    }

    /// The same, of what the optimizer makes of the gradients by its second moments, which stay as they are. `moments` of
    /// a parameter, by name; none leaves its gradient alone.
    ///
    /// # Errors
    /// No such parameter; moments that cannot be read or have another shape.
    pub fn preconditioned(
        decoder: &'a Decoder<Tape<K>>,
        wanted: impl Fn(&str) -> bool,
        projection: Projection,
        moments: &dyn Fn(&str) -> Result<Option<ParameterMoments>>,
    ) -> Result<Self> {
        let kernels = decoder.kernels().inner();
        let leaves = decoder.leaves();
        let mut modules = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut parts = Vec::new();
        for (number, source) in leaves.sources().iter().enumerate() {
            let in_block = matches!(leaves.place(number), Place::Block(_));
            if !in_block || !source.is_linear_map() || !wanted(&source.name) {
                parts.push(None);
                continue;
            }
            let module = *places.entry(&source.name).or_insert_with(|| {
                let [out, input] = source.stored_map();
                modules.push(ProjectedModule { name: module_of(&source.name).to_owned(), out, input });
                modules.len() - 1
            });
            let moments = moments(&source.name)?;
            parts.push(Some(Part::new(kernels, module, &modules[module], (source, moments.as_ref()), projection)?));
        }
        if modules.is_empty() {
            return Err(Error::bad(
                "parameters: expected at least one weight of a linear map inside a block, found none",
            )
            .help("embeddings, norms, biases and the head are not projected; `*.mlp.*` names maps that are"));
        }
        Ok(Self { decoder, projection, modules, parts })
    }

    /// In the order of their numbers in a projected gradient.
    pub fn modules(&self) -> &[ProjectedModule] {
        &self.modules
    }

    /// Numbers of a projected gradient.
    pub fn width(&self) -> usize {
        self.modules.len() * self.projection.dim * self.projection.dim
    }

    /// Gradients of the items' losses, from one pass. `memory`: bytes of activations that may be kept.
    ///
    /// # Errors
    /// Losses without gradient, by item.
    pub fn project(&self, items: &[Objective<'_>], memory: usize) -> Result<Projected> {
        let width = self.width();
        let mut rows =
            Rows { projector: self, ranges: row_ranges(items), values: vec![0f32; items.len() * width], width };
        let reversed = self.decoder.reverse(items, Reach { memory, ..Reach::default() }, &mut rows)?;
        Ok(Projected { width, values: rows.values, losses: reversed.losses })
    }
}

/// The matrices of one weight: of its module's, the columns that belong to its outputs.
struct Part<K: Kernels> {
    module: usize,
    /// `[dim, in]`
    right: K::Matrix,
    left: Left<K>,
}

/// The other side, and how a gradient is scaled before it is projected.
enum Left<K: Kernels> {
    /// `[dim, out]`: not at all, or the scaling is in the matrices.
    Factors(K::Matrix),
    /// Entry by entry.
    Built {
        /// `[out, dim]`
        left: K::Array,
        /// `[out, in]`: what each entry of the gradient is multiplied with.
        scaling: K::Array,
    },
}

impl<K: Kernels> Part<K> {
    fn new(
        kernels: &K,
        place: usize,
        module: &ProjectedModule,
        (source, moments): (&Source, Option<&ParameterMoments>),
        projection: Projection,
    ) -> Result<Self> {
        let dim = projection.dim;
        let whole = |side, columns| rademacher(projection.signs, &module.name, side, dim, columns, projection.scale);
        let (mut left, mut right) = (whole(Side::Left, module.out), whole(Side::Right, module.input));
        if let Some(moments) = moments
            && moments.shape != source.shape
        {
            let message = format!("expected moments of shape {:?}, found {:?}", source.shape, moments.shape);
            return Err(Error::bad(message).at(format!("parameter {}", source.name)));
        }
        let inverted = matches!(source.view, View::Columns { .. });
        if let Some(RankOne { rows, columns, .. }) = moments.and_then(RankOne::of) {
            let (outputs, inputs) = if inverted { (columns, rows) } else { (rows, columns) };
            scale_vectors(&mut left, &outputs);
            scale_vectors(&mut right, &inputs);
        }
        let outputs = source.outputs();
        let left: Vec<f32> =
            left.chunks(module.out).flat_map(|row| outputs.iter().map(|&output| row[output])).collect();
        let matrix = |values: &[f32]| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let raw = RawTensor { dtype: Dtype::F32, shape: vec![dim, values.len() / dim], bytes };
            kernels.matrix(&kernels.raw(raw)?, View::Whole)
        };
        let left = match moments.filter(|moments| matches!(moments.second, SecondMoment::Full(_))) {
            None => Left::Factors(matrix(&left)?),
            Some(moments) => {
                let scaling = of_outputs(&factors(moments)?, &outputs, module, inverted);
                let array =
                    |values: Vec<f32>, shape: [usize; 2]| kernels.array(SiteValues { values, shape: shape.to_vec() });
                let count = outputs.len();
                let turned = (0..count * dim).map(|at| left[at % dim * count + at / dim]).collect();
                let scaling = array(scaling, [count, module.input])?;
                Left::Built { left: array(turned, [count, dim])?, scaling }
            }
        };
        Ok(Self { module: place, right: matrix(&right)?, left })
    }
}

/// What each entry of a gradient is multiplied with, as the parameter is stored.
fn factors(moments: &ParameterMoments) -> Result<Vec<f32>> {
    let mut factors = vec![1.0; moments.elements()];
    precondition(&mut factors, moments, Rule::Optimizer)?;
    Ok(factors)
}

/// `[outputs, in]` of values as they are stored: `[out, in]`, or `[in, out]` where `inverted`.
fn of_outputs(stored: &[f32], outputs: &[usize], module: &ProjectedModule, inverted: bool) -> Vec<f32> {
    let (out, input) = (module.out, module.input);
    let at = |output: usize, entry: usize| if inverted { entry * out + output } else { output * input + entry };
    outputs.iter().flat_map(|&output| (0..input).map(move |entry| stored[at(output, entry)])).collect()
}

/// Receives the rows of one pass.
struct Rows<'a, K: Reverse> {
    projector: &'a Projector<'a, K>,
    ranges: Vec<Range<usize>>,
    values: Vec<f32>,
    width: usize,
}

impl<K: Reverse> Receiver<K> for Rows<'_, K> {
    fn wants(&self, weight: usize) -> bool {
        self.projector.parts[weight].is_some()
    }

    fn linear(&mut self, weight: usize, input: &K::Array, rows: &RowsOf<'_, K>) -> Result<()> {
        let Some(part) = &self.projector.parts[weight] else { return Ok(()) };
        let k = self.projector.decoder.kernels().inner();
        // Where nothing is built, both sides of all items are projected at once.
        let projected = match &part.left {
            Left::Factors(left) => Some((k.linear(rows.gradient, left, None)?, k.linear(input, &part.right, None)?)),
            Left::Built { .. } => None,
        };
        for (item, range) in self.ranges.iter().enumerate() {
            let range = rows.among(range);
            if range.is_empty() {
                continue;
            }
            let product = match (&part.left, &projected) {
                (Left::Built { left, scaling }, _) => {
                    let scaled = k.multiply(k.outer(rows.gradient, input, range)?, scaling)?;
                    let right = k.linear(&scaled, &part.right, None)?;
                    let outputs = 0..k.shape(left)[0];
                    k.outer(left, &right, outputs)?
                }
                (Left::Factors(_), Some((left, right))) => k.outer(left, right, range)?,
                (Left::Factors(_), None) => return Err(Error::internal("rows that were not projected")),
            };
            let product = k.host(&product)?.values;
            let own = &mut self.values[item * self.width + part.module * product.len()..][..product.len()];
            own.iter_mut().zip(product).for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    }

    fn vector(&mut self, _: usize, _: &RowsOf<'_, K>) -> Result<()> {
        Ok(())
    }

    fn table(&mut self, _: usize, _: &[u32], _: &RowsOf<'_, K>) -> Result<()> {
        Ok(())
    }
}
