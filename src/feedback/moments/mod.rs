//! Moments of an optimizer by parameter name, from what a trainer saved beside a checkpoint.
//!
//! A file of torch has a state dict of `torch.optim.Adam` or `AdamW`, or of transformers' `Adafactor`, by `torch.save`,
//! as the Hugging Face Trainer leaves in `optimizer.pt`. There parameters have numbers; [`Order`] says how they find
//! names.
//!
//! A file that ends in `.safetensors` has, under the parameters' names and of their shapes:
//!
//! | tensor | what |
//! | --- | --- |
//! | `exp_avg_sq.NAME` | second moments |
//! | `exp_avg_sq_row.NAME`, `exp_avg_sq_col.NAME` | in their place, of `[.., r, c]` the means over `c` and over `r` |
//! | `exp_avg.NAME` | first moments, if any |
//!
//! and in its header, as strings: `schema = "veval.moments/1"`, `optimizer = "adam"` or `"adafactor"`, `step`, and for
//! Adam `beta1`, `beta2` and `eps`.
//!
//! Nothing is executed, and nothing but headers is read before a parameter is asked for.

mod mapping;
mod module_order;
mod named;
mod torch_state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::ckpt::{TensorFile, TorchFile};
use crate::error::{Error, Result};

pub use mapping::Order;
pub use module_order::sort_by_module;

/// A parameter as the model's checkpoint names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub shape: Vec<usize>,
}

/// What the moments are from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    Adam { beta1: f64, beta2: f64, eps: f64 },
    Adafactor,
}

/// Means of squared gradients, in f32 as they are stored.
#[derive(Debug, Clone, PartialEq)]
pub enum SecondMoment {
    /// Of the parameter's shape.
    Full(Vec<f32>),
    /// Of a parameter `[.., r, c]`: means over `c`, `[.., r]`, and means over `r`, `[.., c]`.
    Factored { rows: Vec<f32>, columns: Vec<f32> },
}

/// What an optimizer keeps for one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterMoments {
    pub optimizer: Optimizer,
    /// The parameter's.
    pub shape: Vec<usize>,
    /// Updates that were made; at least 1.
    pub step: u64,
    pub second: SecondMoment,
    pub first: Option<Vec<f32>>,
}

impl ParameterMoments {
    /// Values of the parameter.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An open file of moments, of which every parameter of the model has its own.
#[derive(Debug)]
pub struct Moments {
    path: PathBuf,
    source: Source,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Source {
    Torch(TorchFile),
    Safetensors(TensorFile),
}

/// Where the moments of a parameter lie.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    optimizer: Optimizer,
    shape: Vec<usize>,
    step: u64,
    second: SecondNames,
    first: Option<String>,
}

/// Names of tensors in the file.
#[derive(Debug, Clone, PartialEq)]
enum SecondNames {
    Full(String),
    Factored { rows: String, columns: String },
}

impl Moments {
    /// Opens a file and finds the moments of every parameter. `parameters` are those that were trained, each once (a
    /// tied head is its embedding).
    ///
    /// # Errors
    /// Everything that is wrong with the file, and every parameter whose moments are missing, of another shape, or
    /// cannot be told from another's.
    pub fn open(path: &Path, parameters: &[Parameter], order: Order) -> Result<Self> {
        let opened = if path.extension().is_some_and(|extension| extension == "safetensors") {
            TensorFile::open(path).and_then(|file| {
                let entries = named::entries(&file, parameters)?;
                Ok((Source::Safetensors(file), entries))
            })
        } else {
            let file = TorchFile::open(path).map_err(|e| Error::bad(e.message).at(e.at));
            file.and_then(|file| {
                let entries = torch_state::entries(&file, parameters, order)?;
                Ok((Source::Torch(file), entries))
            })
        };
        let (source, entries) = opened.map_err(|e| e.in_file(path))?;
        Ok(Self { path: path.to_path_buf(), source, entries })
    }

    /// Parameters with moments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Reads the moments of a parameter.
    ///
    /// # Errors
    /// No such parameter; values that no moment has.
    pub fn read(&self, name: &str) -> Result<ParameterMoments> {
        let entry = self.entries.get(name);
        let entry = entry
            .ok_or_else(|| Error::bad("expected moments of the parameter, found none").at(format!("parameter {name}")));
        entry.and_then(|entry| self.read_entry(entry)).map_err(|e| e.in_file(&self.path))
    }

    fn read_entry(&self, entry: &Entry) -> Result<ParameterMoments> {
        let squares = |tensor: &str| self.floats(tensor, "finite squares", |value| value >= 0.0 && value.is_finite());
        let second = match &entry.second {
            SecondNames::Full(all) => SecondMoment::Full(squares(all)?),
            SecondNames::Factored { rows, columns } => {
                SecondMoment::Factored { rows: squares(rows)?, columns: squares(columns)? }
            }
        };
        let first =
            entry.first.as_ref().map(|first| self.floats(first, "finite numbers", f32::is_finite)).transpose()?;
        Ok(ParameterMoments { optimizer: entry.optimizer, shape: entry.shape.clone(), step: entry.step, second, first })
    }

    fn floats(&self, tensor: &str, wanted: &str, good: fn(f32) -> bool) -> Result<Vec<f32>> {
        let values = match &self.source {
            Source::Safetensors(file) => file.read_floats(tensor),
            Source::Torch(file) => torch_state::floats(file, tensor),
        }?;
        match values.iter().position(|&value| !good(value)) {
            None => Ok(values),
            Some(at) => Err(Error::bad(format!("expected {wanted}, found {} at element {at}", values[at]))
                .at(format!("tensor {tensor}"))),
        }
    }
}

impl Optimizer {
    /// Adam with constants that make sense.
    fn adam(beta1: f64, beta2: f64, eps: f64) -> Result<Self, String> {
        let share = 0.0..1.0;
        if share.contains(&beta1) && share.contains(&beta2) && eps >= 0.0 && eps.is_finite() {
            return Ok(Self::Adam { beta1, beta2, eps });
        }
        Err(format!("expected betas from 0 to below 1 and an eps of at least 0, found {beta1}, {beta2} and {eps}"))
    }
}

impl SecondNames {
    /// Adam keeps whole moments.
    fn fit(&self, optimizer: Optimizer) -> Result<(), String> {
        match (optimizer, self) {
            (Optimizer::Adam { .. }, Self::Factored { .. }) => {
                Err("expected exp_avg_sq of Adam, found exp_avg_sq_row and exp_avg_sq_col".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The shape of the parameter whose means over columns and over rows have these shapes.
fn factored_shape(rows: &[usize], columns: &[usize]) -> Option<Vec<usize>> {
    let (&width, leading) = columns.split_last()?;
    let (_, own) = rows.split_last()?;
    (leading == own).then(|| [rows, &[width]].concat())
}
