//! What projects the gradient of one weight.

use super::{ProjectedModule, Projection, ProjectionTarget, module_of};
use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::feedback::moments::{ParameterMoments, SecondMoment};
use crate::feedback::precondition::{RankOne, Rule, precondition, scale_vectors};
use crate::feedback::rademacher::{Side, SignColumns, rademacher};
use crate::kernels::{Kernels, RawTensor, View};
use crate::model::Source;
use crate::request::SiteValues;

/// A weight's share of its module's columns.
pub(super) struct Part<K: Kernels> {
    /// The number of its module, and the module's first column.
    pub module: usize,
    pub first: usize,
    pub way: Way<K>,
}

/// How a gradient becomes numbers.
pub(super) enum Way<K: Kernels> {
    /// Token by token, each side by itself. Scaling, if any, is in the matrices.
    Factors(Factors<K>),
    /// A matrix is built, scaled entry by entry, and projected on both sides.
    Built {
        /// `[out, dim]`
        left: K::Array,
        /// `[dim, in]`
        right: K::Matrix,
        /// `[out, in]`
        scaling: K::Array,
    },
    /// A vector.
    Vector {
        /// `[dim, n]`
        signs: Vec<f32>,
        /// `[n]`
        scaling: Option<Vec<f32>>,
    },
    /// As one long vector.
    Global(Global),
}

pub(super) struct Factors<K: Kernels> {
    /// `[dim, out]`
    pub left: K::Matrix,
    /// `[dim, in]`
    pub right: K::Matrix,
    /// Of a table, whose outputs are picked rather than multiplied: `[out, dim]`.
    pub picked: Option<Vec<f32>>,
}

/// What a whole gradient, flattened, is multiplied with.
pub(super) struct Global {
    pub signs: SignColumns,
    /// Which rows of the stored map the rows of this weight are.
    pub outputs: Vec<usize>,
    pub input: usize,
    /// `[out, in]`
    pub scaling: Option<Vec<f32>>,
    /// What signs are multiplied with.
    pub entry: f32,
}

/// The module of a stored parameter.
pub(super) fn module(source: &Source, dim: usize) -> ProjectedModule {
    let name = module_of(&source.name).to_owned();
    if source.is_linear_map() {
        let [out, input] = source.stored_map();
        return ProjectedModule { name, out, input, shape: [dim, dim] };
    }
    ProjectedModule { name, out: source.shape.iter().product(), input: 1, shape: [1, dim] }
}

impl<K: Kernels> Way<K> {
    pub fn new(
        kernels: &K,
        module: &ProjectedModule,
        (source, moments): (&Source, Option<&ParameterMoments>),
        projection: Projection,
        is_table: bool,
    ) -> Result<Self> {
        if let Some(moments) = moments
            && moments.shape != source.shape
        {
            let message = format!("expected moments of shape {:?}, found {:?}", source.shape, moments.shape);
            return Err(Error::bad(message).at(format!("parameter {}", source.name)));
        }
        Ok(match projection.target {
            ProjectionTarget::Global => Self::Global(global(module, source, moments, projection)?),
            ProjectionTarget::PerModule if !source.is_linear_map() => vector(module, source, moments, projection)?,
            ProjectionTarget::PerModule => two_sided(kernels, module, (source, moments), projection, is_table)?,
        })
    }
}

fn two_sided<K: Kernels>(
    kernels: &K,
    module: &ProjectedModule,
    (source, moments): (&Source, Option<&ParameterMoments>),
    projection: Projection,
    is_table: bool,
) -> Result<Way<K>> {
    let dim = projection.dim;
    let whole = |side, columns| rademacher(projection.signs, &module.name, side, dim, columns, projection.scale);
    let (mut left, mut right) = (whole(Side::Left, module.out), whole(Side::Right, module.input));
    if let Some(RankOne { rows, columns, .. }) = moments.and_then(RankOne::of) {
        let (outputs, inputs) = if is_inverted(source) { (columns, rows) } else { (rows, columns) };
        scale_vectors(&mut left, &outputs);
        scale_vectors(&mut right, &inputs);
    }
    let outputs = source.outputs();
    let left = columns(&left, module.out, &outputs);
    let right = matrix(kernels, &right, dim)?;
    let turned =
        || -> Vec<f32> { (0..outputs.len() * dim).map(|at| left[at % dim * outputs.len() + at / dim]).collect() };
    Ok(match full(moments) {
        None => {
            let picked = is_table.then(turned);
            Way::Factors(Factors { left: matrix(kernels, &left, dim)?, right, picked })
        }
        Some(moments) => {
            let scaling = of_outputs(&factors(moments)?, &outputs, module, is_inverted(source));
            let array =
                |values: Vec<f32>, shape: [usize; 2]| kernels.array(SiteValues { values, shape: shape.to_vec() });
            let count = outputs.len();
            let left = array(turned(), [count, dim])?;
            Way::Built { left, right, scaling: array(scaling, [count, module.input])? }
        }
    })
}

fn vector<K: Kernels>(
    module: &ProjectedModule,
    source: &Source,
    moments: Option<&ParameterMoments>,
    projection: Projection,
) -> Result<Way<K>> {
    let Projection { dim, scale, signs, .. } = projection;
    let outputs = source.outputs();
    let signs = rademacher(signs, &module.name, Side::Single, dim, module.out, scale);
    let scaling = moments.map(|moments| Ok::<_, Error>(of_outputs(&factors(moments)?, &outputs, module, false)));
    Ok(Way::Vector { signs: columns(&signs, module.out, &outputs), scaling: scaling.transpose()? })
}

fn global(
    module: &ProjectedModule,
    source: &Source,
    moments: Option<&ParameterMoments>,
    projection: Projection,
) -> Result<Global> {
    let outputs = source.outputs();
    let inverted = source.is_linear_map() && is_inverted(source);
    let scaling = moments.map(|moments| Ok::<_, Error>(of_outputs(&factors(moments)?, &outputs, module, inverted)));
    let count = module.out * module.input;
    let signs = SignColumns::global(projection.signs, &module.name, projection.dim, count);
    let entry = projection.scale.entry(projection.dim, count);
    Ok(Global { signs, outputs, input: module.input, scaling: scaling.transpose()?, entry })
}

/// Whether the stored matrix is `[in, out]`.
fn is_inverted(source: &Source) -> bool {
    matches!(source.view, View::Columns { .. })
}

/// Moments that scale entry by entry.
fn full(moments: Option<&ParameterMoments>) -> Option<&ParameterMoments> {
    moments.filter(|moments| matches!(moments.second, SecondMoment::Full(_)))
}

/// Some columns of a matrix with `width` of them.
fn columns(values: &[f32], width: usize, wanted: &[usize]) -> Vec<f32> {
    values.chunks(width).flat_map(|row| wanted.iter().map(|&column| row[column])).collect()
}

fn matrix<K: Kernels>(kernels: &K, values: &[f32], rows: usize) -> Result<K::Matrix> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let raw = RawTensor { dtype: Dtype::F32, shape: vec![rows, values.len() / rows], bytes };
    kernels.matrix(&kernels.raw(raw)?, View::Whole)
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
