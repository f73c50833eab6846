//! Projected gradients of items: one reverse pass for a whole batch, no gradient is ever built.
//!
//! ```text
//! G = sum over tokens of outer(g_t, a_t)      P_L G P_R^T = sum over tokens of outer(P_L g_t, P_R a_t)
//! ```
//! `g_t` is the gradient of a linear map's output, `a_t` its input. So each token leaves two vectors of `dim` numbers for
//! each map, and an item one `dim x dim` matrix.

use std::collections::BTreeMap;
use std::ops::Range;

use super::rademacher::{Scale, Side, Signs, rademacher};
use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::kernels::tape::{Receiver, RowsOf, Tape};
use crate::kernels::{Kernels, RawTensor, Reverse, View};
use crate::model::{Decoder, Objective, Place, Reach, Source, row_ranges};

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
            parts.push(Some(Part::new(kernels, module, &modules[module], source, projection)?));
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
    left: K::Matrix,
    right: K::Matrix,
}

impl<K: Kernels> Part<K> {
    fn new(
        kernels: &K,
        place: usize,
        module: &ProjectedModule,
        source: &Source,
        projection: Projection,
    ) -> Result<Self> {
        let dim = projection.dim;
        let whole = |side, columns| rademacher(projection.signs, &module.name, side, dim, columns, projection.scale);
        let (left, outputs) = (whole(Side::Left, module.out), source.outputs());
        let left: Vec<f32> =
            left.chunks(module.out).flat_map(|row| outputs.iter().map(|&output| row[output])).collect();
        let matrix = |values: &[f32]| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let raw = RawTensor { dtype: Dtype::F32, shape: vec![dim, values.len() / dim], bytes };
            kernels.matrix(&kernels.raw(raw)?, View::Whole)
        };
        Ok(Self { module: place, left: matrix(&left)?, right: matrix(&whole(Side::Right, module.input))? })
    }
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
        let (left, right) = (k.linear(rows.gradient, &part.left, None)?, k.linear(input, &part.right, None)?);
        for (item, range) in self.ranges.iter().enumerate() {
            let range = rows.among(range);
            if range.is_empty() {
                continue;
            }
            let product = k.host(&k.outer(&left, &right, range)?)?.values;
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
