//! Delta weights: for every tensor of the base one of the same name and shape, which is added to it.
//!
//! FastChat publishes models so: what is added to Llama's weights to get Vicuna's.

use std::collections::BTreeMap;
use std::path::Path;

use super::merge::{Change, Plus, Start};
use super::{Base, Laid};
use crate::ckpt::weights::WeightFiles;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Compares the headers of a delta with those of its base.
pub(super) fn read(path: &Path, base: &Base<'_>) -> Result<Laid> {
    let files = WeightFiles::open(path)?;
    let mut changes = BTreeMap::new();
    let mut problems = Vec::new();
    let mut used = Vec::new();
    for (parameter, stored) in base.stored {
        // Either may leave the same prefix out.
        let Some(name) = [parameter, stored].into_iter().find(|name| files.get(name).is_some()) else {
            let problem =
                Diagnostic::new("expected a difference for every tensor of the base, found none for this one");
            problems.push(problem.in_file(path).at(format!("tensor {parameter}")));
            continue;
        };
        used.push(name);
        let Some(info) = files.get(name) else { continue };
        let problem =
            |message: String| Diagnostic::new(message).in_file(files.file_of(info)).at(format!("tensor {name}"));
        let shape = base.shape(parameter)?;
        if info.shape != shape {
            problems.push(problem(format!("expected the base's shape {shape:?}, found {:?}", info.shape)));
        }
        if info.dtype.is_none() {
            problems.push(problem(format!("expected F32, F16 or BF16, found {}", info.dtype_name)));
        }
        let plus = Plus::Tensor { name: name.clone(), scale: 1.0 };
        changes.insert(stored.clone(), Change { start: Start::Base(stored.clone()), plus: Some(plus) });
    }
    for (name, info) in files.tensors() {
        let known = base.buffers.iter().any(|end| name.ends_with(end)) || (base.tied && name == base.head);
        if !known && !used.contains(&name) {
            let problem = Diagnostic::new("expected only tensors that the base has, found this one besides");
            problems.push(problem.in_file(files.file_of(info)).at(format!("tensor {name}")));
        }
    }
    Error::check(problems).map_err(|error| {
        error.help("a delta has the tensors of its base and no others; an adapter has an adapter_config.json")
    })?;
    Ok(Laid { files, changes, unties: false })
}
