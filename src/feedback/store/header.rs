//! What the rows of a store are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::element::Element;
use crate::diag::Diagnostic;
use crate::feedback::{Beside, ProjectedModule, Projection, ProjectionTarget, Scale, Signs};

/// Everything that must be equal for rows to belong into one store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    #[serde(flatten)]
    pub layout: Layout,
    pub normalizer: Normalizer,
    pub loss_reduction: Reduction,
    /// Whether a row is a token's, and an item has many ([`crate::feedback::RowOf::Token`]).
    #[serde(default)]
    pub per_token: bool,
    pub sign: Sign,
    /// Which parameters have columns besides linear maps inside blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
    /// What directions that items share were taken out by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<WhiteningRecord>,
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
    /// All modules as one long vector, by signs of each module's own. (`projection_target: global`)
    Global {
        /// Of a row.
        dim: usize,
        #[serde(with = "ScaleName")]
        scale: Scale,
        signs: Signs,
        /// The modules, whose sum the row is.
        of: Vec<String>,
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

/// Rows times the damped inverse root of an autocorrelation, module by module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhiteningRecord {
    /// Of the index of the store whose rows they were.
    pub store_sha256: String,
    /// Of the file with the sums.
    pub source_sha256: String,
    /// Share of the mean eigenvalue that was added to each.
    pub damping: f64,
    /// Where the autocorrelation of queries has a share in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<QueryShare>,
}

impl WhiteningRecord {
    /// How rows were whitened, whosever they were.
    fn how(&self) -> Self {
        Self { store_sha256: String::new(), ..self.clone() }
    }
}

/// A kind of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Also {
    Embeddings,
    Vectors,
}

impl Also {
    /// The kinds that a projector takes.
    pub fn of(beside: Beside) -> Vec<Self> {
        let kinds = [(beside.embeddings, Self::Embeddings), (beside.vectors, Self::Vectors)];
        kinds.into_iter().filter_map(|(taken, kind)| taken.then_some(kind)).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryShare {
    pub source_sha256: String,
    pub share: f64,
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

/// The one module of rows that all modules are in; Bergson's name.
const GLOBAL: &str = "gradients";

impl Module {
    pub fn columns(&self) -> Range<usize> {
        self.start..self.end
    }
}

impl Layout {
    /// Of rows as [`crate::feedback::Projector`] makes them.
    pub fn projected(modules: &[ProjectedModule], projection: Projection, dtype: Element) -> Self {
        let Projection { dim, scale, signs, target } = projection;
        let params = |module: &ProjectedModule| module.out as u64 * module.input as u64;
        match target {
            ProjectionTarget::PerModule => {
                let mut end = 0;
                let module = |module: &ProjectedModule| {
                    let start = end;
                    end += module.shape[0] * module.shape[1];
                    let name = module.name.clone();
                    Module { name, start, end, shape: module.shape, params: Some(params(module)) }
                };
                let modules = modules.iter().map(module).collect();
                Self { dtype, modules, projection: ProjectionRecord::Rademacher { dim, scale, signs } }
            }
            ProjectionTarget::Global => {
                let of = modules.iter().map(|module| module.name.clone()).collect();
                let params = Some(modules.iter().map(params).sum());
                let all = Module { name: GLOBAL.to_owned(), start: 0, end: dim, shape: [1, dim], params };
                Self { dtype, modules: vec![all], projection: ProjectionRecord::Global { dim, scale, signs, of } }
            }
        }
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
    /// What keeps inner products between rows of two stores from meaning something. Normalizers and reductions may differ,
    /// as they do in LESS, and a row may be a token's.
    pub fn incomparable(&self, other: &Self) -> Vec<Diagnostic> {
        let text = |whitening: &Option<WhiteningRecord>| match whitening {
            None => "none".to_owned(),
            Some(own) => serde_json::to_string(&own.how()).unwrap_or_default(),
        };
        let pairs = [
            ("model", self.model.clone(), other.model.clone()),
            ("tokenizer", self.tokenizer.clone(), other.tokenizer.clone()),
            ("sign", format!("{:?}", self.sign), format!("{:?}", other.sign)),
            ("whitening", text(&self.whitening), text(&other.whitening)),
        ];
        let differing = pairs.into_iter().filter(|(_, mine, theirs)| mine != theirs);
        let told = differing
            .map(|(name, mine, theirs)| Diagnostic::new(format!("expected {name} {mine}, found {theirs}")).at(name));
        self.layout.differences(&other.layout).into_iter().chain(told).collect()
    }

    /// What keeps rows from having been made in the same way, whatever their element type.
    pub fn made_otherwise(&self, other: &Self) -> Vec<Diagnostic> {
        let layout = Layout { dtype: self.layout.dtype, ..other.layout.clone() };
        self.differences(&Self { layout, ..other.clone() })
    }

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
        // Some say something only where there is something to say.
        let names: BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
        let scalars = names.into_iter().filter_map(|name| {
            let [mine, theirs] = [&mine, &theirs].map(|fields| fields.get(name).unwrap_or(&Value::Null));
            (mine != theirs)
                .then(|| Diagnostic::new(format!("expected {name} {mine}, found {theirs}")).at(name.clone()))
        });
        self.layout.differences(&other.layout).into_iter().chain(scalars).collect()
    }
}
