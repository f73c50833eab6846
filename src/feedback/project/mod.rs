//! Projected gradients of items: one reverse pass for a whole batch.
//!
//! ```text
//! G = sum over tokens of outer(g_t, a_t)      P_L G P_R^T = sum over tokens of outer(P_L g_t, P_R a_t)
//! ```
//! `g_t` is the gradient of a linear map's output, `a_t` its input. So each token leaves two vectors of `dim` numbers for
//! each map, an item one `dim x dim` matrix, and no gradient is ever built. A table of embeddings is a linear map of
//! one-hot inputs, a vector of gains or biases has one side only.
//!
//! With an optimizer's moments, what is projected is what it would make of the gradient (`precondition.rs`). Adafactor's
//! scaling is rank one and goes into the matrices; Adam's is not, and one matrix of each item is built at a time. So it
//! is where everything is projected at once ([`ProjectionTarget::Global`]).

mod part;
mod receive;

use std::collections::BTreeMap;
use std::ops::Range;

use part::{Part, Way};
use receive::Rows;

use super::moments::ParameterMoments;
use super::rademacher::{Scale, Signs};
use crate::error::{Error, Result};
use crate::kernels::Reverse;
use crate::kernels::tape::Tape;
use crate::model::{Decoder, Objective, Place, Reach, Source, row_ranges};

/// How gradients are projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Of each side: a linear map takes `dim * dim` numbers, a vector `dim`. Of a whole row where the target is global.
    pub dim: usize,
    pub scale: Scale,
    pub signs: Signs,
    pub target: ProjectionTarget,
}

impl Projection {
    /// Each module by itself.
    pub fn per_module(dim: usize, scale: Scale, signs: Signs) -> Self {
        Self { dim, scale, signs, target: ProjectionTarget::PerModule }
    }
}

/// What a projection makes numbers of: Bergson's `projection_target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectionTarget {
    /// Each module, on both sides.
    PerModule,
    /// All modules together: each gradient as one long vector by a matrix of its own, and the sum of what comes out.
    Global,
}

/// What a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOf {
    /// An item.
    Item,
    /// An input token of an item: the terms of the item's gradient in which this token's activations stand. They add up
    /// to the item's row. Every token but the last, which predicts nothing, has one, those of a prompt as well.
    Token,
}

/// Which of the wanted parameters have columns, besides linear maps inside the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beside {
    /// Tables of tokens and positions, and the head.
    pub embeddings: bool,
    /// Gains of norms, and biases.
    pub vectors: bool,
}

impl Beside {
    /// Whether this weight of a decoder has columns.
    pub fn takes(self, place: Place, source: &Source) -> bool {
        match (source.is_linear_map(), place) {
            (false, _) => self.vectors,
            (true, Place::Block(_)) => true,
            (true, Place::Embedding | Place::End) => self.embeddings,
        }
    }
}

/// A parameter that is projected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectedModule {
    /// The parameter's name without `.weight`, relative to the base model (`layers.3.mlp.down_proj`).
    pub name: String,
    /// Of a linear map's output, and of its input; a vector is a map of one input.
    pub out: usize,
    pub input: usize,
    /// What its gradient becomes where each module is projected by itself.
    pub shape: [usize; 2],
}

/// The module that a parameter belongs to, relative to the base model, whose name (`model`, `transformer`, `gpt_neox`) is
/// the first part of every name.
pub fn module_of(parameter: &str) -> &str {
    /// Heads stand beside the base model.
    const HEADS: [&str; 2] = ["lm_head", "embed_out"];
    let module = parameter.strip_suffix(".weight").unwrap_or(parameter);
    match module.split_once('.') {
        Some((first, relative)) if !HEADS.contains(&first) => relative,
        _ => module,
    }
}

/// Projected gradients of some items.
#[derive(Debug, Clone)]
pub struct Projected {
    /// Numbers of a row.
    pub width: usize,
    /// `[rows, width]`: modules side by side.
    pub values: Vec<f32>,
    /// Rows of each item: one, or one for each of its tokens but the last.
    pub rows: Vec<Range<usize>>,
    /// One for each item.
    pub losses: Vec<f64>,
}

impl Projected {
    /// The rows of an item.
    pub fn item(&self, index: usize) -> &[f32] {
        let Range { start, end } = self.rows[index];
        &self.values[start * self.width..end * self.width]
    }
}

/// A decoder with the projections of its parameters.
pub struct Projector<'a, K: Reverse> {
    decoder: &'a Decoder<Tape<K>>,
    projection: Projection,
    beside: Beside,
    row_of: RowOf,
    modules: Vec<ProjectedModule>,
    /// By the weight's number.
    parts: Vec<Option<Part<K>>>,
}

impl<'a, K: Reverse> Projector<'a, K> {
    /// Of items, for the wanted parameters that are weights of linear maps inside the blocks.
    ///
    /// # Errors
    /// No such parameter.
    pub fn new(decoder: &'a Decoder<Tape<K>>, wanted: impl Fn(&str) -> bool, projection: Projection) -> Result<Self> {
        Self::of(decoder, wanted, Beside::default(), projection, &|_| Ok(None))
    }

    /// For the wanted parameters. `moments` of a parameter, by name: what is projected is what the optimizer makes of the
    /// gradient by its second moments, which stay as they are; none leaves a gradient alone.
    ///
    /// # Errors
    /// No such parameter; moments that cannot be read or have another shape.
    pub fn of(
        decoder: &'a Decoder<Tape<K>>,
        wanted: impl Fn(&str) -> bool,
        beside: Beside,
        projection: Projection,
        moments: &dyn Fn(&str) -> Result<Option<ParameterMoments>>,
    ) -> Result<Self> {
        let kernels = decoder.kernels().inner();
        let leaves = decoder.leaves();
        let mut modules: Vec<ProjectedModule> = Vec::new();
        let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let (mut parts, mut width, mut found) = (Vec::new(), 0, Beside::default());
        for (number, source) in leaves.sources().iter().enumerate() {
            let place = leaves.place(number);
            if !beside.takes(place, source) || !wanted(&source.name) {
                parts.push(None);
                continue;
            }
            let (module, first) = *places.entry(&source.name).or_insert_with(|| {
                let module = part::module(source, projection.dim);
                let first = width;
                width += module.shape.iter().product::<usize>();
                modules.push(module);
                (modules.len() - 1, first)
            });
            let moments = moments(&source.name)?;
            let is_table = place == Place::Embedding;
            found.embeddings |= source.is_linear_map() && !matches!(place, Place::Block(_));
            found.vectors |= !source.is_linear_map();
            let way = Way::new(kernels, &modules[module], (source, moments.as_ref()), projection, is_table)?;
            let first = if projection.target == ProjectionTarget::Global { 0 } else { first };
            parts.push(Some(Part { module, first, way }));
        }
        if modules.is_empty() {
            return Err(Error::bad(
                "parameters: expected at least one weight of a linear map inside a block, found none",
            )
            .help(
                "embeddings, the head, norms and biases are projected where they are asked for \
                 (--also embeddings,vectors); `*.mlp.*` names maps that always are",
            ));
        }
        for (asked, found, what) in [
            (beside.embeddings, found.embeddings, "a table of embeddings or a head"),
            (beside.vectors, found.vectors, "a norm's gain or a bias"),
        ] {
            if asked && !found {
                return Err(Error::bad(format!("parameters: expected {what} among them, found none"))
                    .help("it is asked for besides linear maps, and the chosen parameters leave it out"));
            }
        }
        Ok(Self { decoder, projection, beside, row_of: RowOf::Item, modules, parts })
    }

    /// The same with rows of tokens, or of items.
    #[must_use]
    pub fn with_rows_of(self, row_of: RowOf) -> Self {
        Self { row_of, ..self }
    }

    /// The kernels that compute.
    pub(super) fn kernels(&self) -> &K {
        self.decoder.kernels().inner()
    }

    /// In the order of their columns.
    pub fn modules(&self) -> &[ProjectedModule] {
        &self.modules
    }

    pub fn projection(&self) -> Projection {
        self.projection
    }

    /// What it takes besides linear maps inside blocks.
    pub fn beside(&self) -> Beside {
        self.beside
    }

    pub fn row_of(&self) -> RowOf {
        self.row_of
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        match self.projection.target {
            ProjectionTarget::PerModule => self.modules.iter().map(|module| module.shape[0] * module.shape[1]).sum(),
            ProjectionTarget::Global => self.projection.dim,
        }
    }

    /// Bytes that rows of some input tokens take, while they are made and written, and what a gradient takes that has to be
    /// built whole.
    pub fn bytes(&self, tokens: usize) -> usize {
        let rows = if self.row_of == RowOf::Token { tokens } else { 1 };
        let built = |part: &Part<K>| match &part.way {
            Way::Factors(_) | Way::Vector { .. } => None,
            Way::Built { .. } | Way::Global(_) => Some(part.module),
        };
        let whole = self.parts.iter().flatten().filter_map(built);
        let largest = whole.map(|module| self.modules[module].out * self.modules[module].input).max().unwrap_or(0);
        // Rows as numbers, as they are encoded, as a file; a gradient as it grows, and its copy.
        3 * 4 * rows.saturating_mul(self.width()) + 3 * 4 * largest
    }

    /// Gradients of the items' losses, from one pass. `memory`: bytes of activations that may be kept.
    ///
    /// # Errors
    /// Losses without gradient, by item.
    pub fn project(&self, items: &[Objective<'_>], memory: usize) -> Result<Projected> {
        let inputs = row_ranges(items);
        let (ranges, own): (Vec<Range<usize>>, Vec<Range<usize>>) = match self.row_of {
            RowOf::Item => (inputs, (0..items.len()).map(|index| index..index + 1).collect()),
            RowOf::Token => {
                let count = inputs.last().map_or(0, |range| range.end);
                ((0..count).map(|row| row..row + 1).collect(), inputs)
            }
        };
        let memory = memory.saturating_sub(4 * ranges.len() * self.width());
        let mut rows = Rows::new(self, ranges);
        let reversed = self.decoder.reverse(items, Reach { memory, ..Reach::default() }, &mut rows)?;
        Ok(Projected { width: self.width(), values: rows.into_values(), rows: own, losses: reversed.losses })
    }
}

#[cfg(test)]
mod tests {
    use super::module_of;

    #[test]
    fn modules_are_named_relative_to_the_base_model() {
        for (parameter, module) in [
            ("model.layers.3.mlp.down_proj.weight", "layers.3.mlp.down_proj"),
            ("model.layers.3.self_attn.q_proj.bias", "layers.3.self_attn.q_proj.bias"),
            ("transformer.h.0.attn.c_attn.weight", "h.0.attn.c_attn"),
            ("gpt_neox.embed_in.weight", "embed_in"),
            ("model.norm.weight", "norm"),
            ("lm_head.weight", "lm_head"),
            ("lm_head.bias", "lm_head.bias"),
            ("embed_out.weight", "embed_out"),
        ] {
            assert_eq!(module_of(parameter), module);
        }
    }
}
