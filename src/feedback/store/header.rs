//! What the rows of a store are.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::element::Element;
use crate::diag::Diagnostic;
use crate::feedback::{ProjectedModule, Projection, Scale, Signs};

/// Everything that must be equal for rows to belong into one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    #[serde(flatten)]
    pub layout: Layout,
    pub normalizer: Normalizer,
    pub loss_reduction: Reduction,
    pub sign: Sign,
    /// Fingerprint of weights and configuration.
    pub model: String,
    /// Fingerprint of the tokenizer.
    pub tokenizer: String,
    /// The arithmetic that computed the gradients.
    pub numerics: String,
}

/// Where the numbers of a row come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub dtype: Element,
    /// Side by side, without gaps.
    pub modules: Vec<Module>,
    pub projection: ProjectionRecord,
}

/// The columns of one linear map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Relative to the base model (`layers.3.mlp.down_proj`).
    pub name: String,
    pub start: usize,
    pub end: usize,
    /// Of the stored matrix, row by row.
    pub shape: [usize; 2],
    /// Numbers of the whole gradient, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<u64>,
}

/// How gradients were projected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ProjectionRecord {
    /// Whole gradients.
    None,
    /// Each module on both sides, by random signs that anybody can make again.
    Rademacher {
        /// Of each side.
        dim: usize,
        #[serde(with = "ScaleName")]
        scale: Scale,
        signs: Signs,
    },
    /// Another way of Bergson's, by its own settings.
    Bergson { settings: BTreeMap<String, String> },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Scale", rename_all = "snake_case")]
enum ScaleName {
    Jl,
    RowNorm,
}

/// What gradients were divided by before they were projected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Normalizer {
    None,
    Adam { source_sha256: String },
    Adafactor { source_sha256: String },
}

/// How the losses of an item's tokens became its loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    Sum,
    Mean,
}

/// Which way a row points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Up the loss. Items whose rows agree lower each other's loss when they are trained on.
    GradientOfLoss,
    /// Down the loss.
    Descent,
}

impl Module {
    pub fn columns(&self) -> Range<usize> {
        self.start..self.end
    }
}

impl Layout {
    /// Of rows as [`crate::feedback::Projector`] makes them.
    pub fn projected(modules: &[ProjectedModule], projection: Projection, dtype: Element) -> Self {
        let Projection { dim, scale, signs } = projection;
        let width = dim * dim;
        let module = |(number, module): (usize, &ProjectedModule)| Module {
            name: module.name.clone(),
            start: number * width,
            end: (number + 1) * width,
            shape: [dim, dim],
            params: Some(module.out as u64 * module.input as u64),
        };
        let record = ProjectionRecord::Rademacher { dim, scale, signs };
        Self { dtype, modules: modules.iter().enumerate().map(module).collect(), projection: record }
    }

    /// Numbers of a row.
    pub fn dim(&self) -> usize {
        self.modules.last().map_or(0, |module| module.end)
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.dim() * self.dtype.size()
    }

    /// Whether the columns of the modules follow each other without gaps, and hold what their shapes say.
    pub(super) fn problems(&self) -> Vec<Diagnostic> {
        /// A row of 2^32 bytes is somebody's mistake.
        const MAX_DIM: usize = 1 << 30;
        let mut problems = Vec::new();
        let mut end = 0;
        for module in &self.modules {
            let Module { name, start, end: own, shape: [rows, columns], .. } = module;
            let width = rows.checked_mul(*columns).filter(|width| (1..=MAX_DIM).contains(width));
            if *start != end || width.is_none_or(|width| start.checked_add(width) != Some(*own)) || *own > MAX_DIM {
                let found = format!("expected columns from {end} of shape {rows} x {columns}, found {start} to {own}");
                problems.push(Diagnostic::new(found).at(format!("module {name}")));
                break;
            }
            end = *own;
        }
        if self.modules.is_empty() {
            problems.push(Diagnostic::new("expected at least one module, found none").at("modules"));
        }
        problems
    }

    /// What keeps inner products between rows of two layouts from meaning something. Element types do not.
    pub(super) fn differences(&self, other: &Self) -> Vec<Diagnostic> {
        let columns = |layout: &Self| -> Vec<(String, Range<usize>)> {
            layout.modules.iter().map(|module| (module.name.clone(), module.columns())).collect()
        };
        let differs = |what: &str, mine: Value, theirs: Value| {
            (mine != theirs).then(|| Diagnostic::new(format!("expected {what} {mine}, found {theirs}")).at(what))
        };
        let (mine, theirs) = (columns(self), columns(other));
        let first = mine.iter().zip(&theirs).find(|(a, b)| a != b);
        let modules = match first {
            Some((a, b)) => {
                let place = |(name, columns): &(String, Range<usize>)| {
                    format!("{name} in columns {} to {}", columns.start, columns.end)
                };
                Some(Diagnostic::new(format!("expected {}, found {}", place(a), place(b))).at("modules"))
            }
            None => differs("number of modules", mine.len().into(), theirs.len().into()),
        };
        let projection = |layout: &Self| serde_json::to_value(&layout.projection).unwrap_or_default();
        modules.into_iter().chain(differs("projection", projection(self), projection(other))).collect()
    }
}

impl Header {
    /// What differs, field by field.
    pub(super) fn differences(&self, other: &Self) -> Vec<Diagnostic> {
        let fields = |header: &Self| match serde_json::to_value(header) {
            Ok(Value::Object(mut fields)) => {
                // Told apart by name and place.
                fields.remove("modules");
                fields.remove("projection");
                fields
            }
            _ => serde_json::Map::new(),
        };
        let (mine, theirs) = (fields(self), fields(other));
        let scalars = mine.iter().filter_map(|(name, mine)| {
            let theirs = theirs.get(name).unwrap_or(&Value::Null);
            (mine != theirs)
                .then(|| Diagnostic::new(format!("expected {name} {mine}, found {theirs}")).at(name.clone()))
        });
        self.layout.differences(&other.layout).into_iter().chain(scalars).collect()
    }
}
