//! Projected gradients of items: one reverse pass for a whole batch, no gradient is ever built.
//!
//! ```text
//! G = sum over tokens of outer(g_t, a_t)      P_L G P_R^T = sum over tokens of outer(P_L g_t, P_R a_t)
//! ```
//! `g_t` is the gradient of a linear map's output, `a_t` its input. So each token leaves two vectors of `dim` numbers for
//! each map, and an item one `dim x dim` matrix.

use std::collections::BTreeMap;
use std::ops::Range;

use super::rademacher::{Scale, Side, rademacher};
use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::kernels::tape::{Receiver, RowsOf, Tape};
use crate::kernels::{Kernels, RawTensor, Reverse, View};
use crate::model::{Decoder, Objective, Reach, Source, row_ranges};

/// How gradients are projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Of each side: a module takes `dim * dim` numbers.
    pub dim: usize,
    pub scale: Scale,
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

/// Projected gradients of some items.
#[derive(Debug, Clone)]
pub struct Projected {
    pub modules: Vec<ProjectedModule>,
    pub projection: Projection,
    /// `[items, modules, dim, dim]`
    pub values: Vec<f32>,
    /// One for each item.
    pub losses: Vec<f64>,
}

impl Projected {
    /// Numbers of an item.
    pub fn width(&self) -> usize {
        self.modules.len() * self.projection.dim * self.projection.dim
    }

    pub fn item(&self, index: usize) -> &[f32] {
        &self.values[index * self.width()..][..self.width()]
    }
}

/// Gradients of the items' losses with respect to the wanted parameters that are weights of linear maps inside the
/// blocks, projected on both sides. `memory`: bytes of activations that may be kept.
///
/// # Errors
/// No such parameter; losses without gradient, by item.
pub fn project<K: Reverse + 'static>(
    decoder: &Decoder<Tape<K>>,
    items: &[Objective<'_>],
    wanted: impl Fn(&str) -> bool,
    projection: Projection,
    memory: usize,
) -> Result<Projected> {
    let kernels = decoder.kernels().inner();
    let mut modules = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut parts = Vec::new();
    for (number, source) in decoder.leaves().sources().iter().enumerate() {
        let in_block = matches!(decoder.leaves().place(number), crate::model::Place::Block(_));
        if !in_block || !source.is_linear_map() || !wanted(&source.name) {
            parts.push(None);
            continue;
        }
        let module = *places.entry(&source.name).or_insert_with(|| {
            let [out, input] = source.stored_map();
            let name = decoder.relative_name(source.name.strip_suffix(".weight").unwrap_or(&source.name));
            modules.push(ProjectedModule { name: name.to_owned(), out, input });
            modules.len() - 1
        });
        parts.push(Some(Part::new(kernels, module, &modules[module], source, projection)?));
    }
    if modules.is_empty() {
        return Err(Error::bad("expected at least one linear map among the parameters, found none"));
    }
    let width = modules.len() * projection.dim * projection.dim;
    let values = vec![0f32; items.len() * width];
    let mut projector = Projector { kernels, parts, ranges: row_ranges(items), dim: projection.dim, width, values };
    let reversed = decoder.reverse(items, Reach { memory, ..Reach::default() }, &mut projector)?;
    Ok(Projected { modules, projection, values: projector.values, losses: reversed.losses })
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
        let whole = |side, columns| rademacher(&module.name, side, dim, columns, projection.scale);
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

struct Projector<'a, K: Reverse> {
    kernels: &'a K,
    /// By the weight's number.
    parts: Vec<Option<Part<K>>>,
    ranges: Vec<Range<usize>>,
    dim: usize,
    width: usize,
    values: Vec<f32>,
}

impl<K: Reverse> Receiver<K> for Projector<'_, K> {
    fn wants(&self, weight: usize) -> bool {
        self.parts[weight].is_some()
    }

    fn linear(&mut self, weight: usize, input: &K::Array, rows: &RowsOf<'_, K>) -> Result<()> {
        let Some(part) = &self.parts[weight] else { return Ok(()) };
        let k = self.kernels;
        let (left, right) = (k.linear(rows.gradient, &part.left, None)?, k.linear(input, &part.right, None)?);
        for (item, range) in self.ranges.iter().enumerate() {
            let range = rows.among(range);
            if range.is_empty() {
                continue;
            }
            let product = k.host(&k.outer(&left, &right, range)?)?.values;
            let own = &mut self.values[item * self.width + part.module * product.len()..][..self.dim * self.dim];
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
