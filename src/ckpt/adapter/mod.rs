//! Weights that are laid on a checkpoint as it is read: PEFT's LoRA adapters, and deltas.
//!
//! An addition says what becomes of some tensors of a base ([`Change`]); [`WeightFiles`](super::WeightFiles) gives out
//! the changed ones in place of its own. So everything that reads a checkpoint, a converter for one, reads the sum.

mod delta;
mod lora;
mod merge;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::address::Addition;
use super::weights::WeightFiles;
use crate::error::{Error, Result};

pub(super) use merge::{Change, Start};

/// What makes a folder a PEFT adapter.
pub(super) const SETTINGS_FILE: &str = "adapter_config.json";

/// The model that something is laid on.
#[derive(Debug)]
pub struct Base<'a> {
    pub files: &'a WeightFiles,
    /// Its parameters, and what the files call them.
    pub stored: &'a BTreeMap<String, String>,
    /// Its matrices, and how each lies in the files.
    pub matrices: &'a BTreeMap<String, MatrixKind>,
    /// The parameter that is the embedding.
    pub embedding: &'a str,
    /// The parameter that is the head, or would be if the embedding were not.
    pub head: &'a str,
    /// Whether the embedding is the head as well.
    pub tied: bool,
    /// Ends of the names of stored buffers that are no parameters.
    pub buffers: &'a [&'a str],
}

/// What a matrix of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixKind {
    /// A linear map, stored `[out, in]`.
    Rows,
    /// A linear map, stored `[in, out]` (GPT-2's Conv1D).
    Columns,
    /// One row for each token or position.
    Table,
}

/// An addition that fits its base.
pub(crate) struct Laid {
    pub(super) files: WeightFiles,
    /// By the names that the base's files use; the head of an untied base is new among them.
    pub(super) changes: BTreeMap<String, Change>,
    /// Whether embedding and head are two from now on.
    pub unties: bool,
}

/// Reads the headers of an addition and compares them with the base.
///
/// # Errors
/// Every tensor that has no place in the base and every place that the addition promises to fill and does not.
pub(crate) fn lay(addition: &Addition, base: &Base<'_>) -> Result<Laid> {
    match addition {
        Addition::Adapter(folder) => lora::read(folder, base),
        Addition::Delta(path) => delta::read(path, base),
    }
}

impl Base<'_> {
    /// The stored name and shape of a parameter.
    fn find(&self, parameter: &str) -> Option<(&String, &[usize])> {
        let stored = self.stored.get(parameter)?;
        Some((stored, &self.files.get(stored)?.shape))
    }

    fn shape(&self, parameter: &str) -> Result<&[usize]> {
        let found = self.find(parameter).map(|(_, shape)| shape);
        found.ok_or_else(|| Error::internal(format!("parameter {parameter} was not checked")))
    }
}
