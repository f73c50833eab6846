//! Gradients from outside, whatever made them: one matrix `[items, numbers]` in a file of numpy or safetensors.

use std::path::Path;

use super::npy::NpyFile;
use crate::ckpt::TensorFile;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Bytes of a tensor of safetensors, which is read whole.
const MOST_BYTES: usize = 8 << 30;

/// An open matrix.
#[derive(Debug)]
pub enum GradientArray {
    Npy(NpyFile),
    Safetensors { file: TensorFile, name: String, rows: usize, width: usize },
}

impl GradientArray {
    /// `.npy` by its beginning, anything else as safetensors. `tensor`: needed where a file has more than one matrix.
    ///
    /// # Errors
    /// Other files; no such tensor, or more than one to choose from; shapes that are no matrix.
    pub fn open(path: &Path, tensor: Option<&str>) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
            return Ok(Self::Npy(NpyFile::open(path)?));
        }
        let file = TensorFile::open(path)?;
        let matrices: Vec<&str> = file
            .tensors()
            .iter()
            .filter(|(_, tensor)| tensor.shape.len() == 2)
            .map(|(name, _)| name.as_str())
            .collect();
        let name = match (tensor, &matrices[..]) {
            (Some(name), matrices) if matrices.contains(&name) => name.to_owned(),
            (None, [only]) => (*only).to_owned(),
            (wanted, matrices) => {
                let wanted = wanted.map_or("one matrix".to_owned(), |name| format!("a matrix {name}"));
                let problem = Diagnostic::new(format!("expected {wanted}, found {}", listed(matrices))).in_file(path);
                return Err(Error::all(vec![problem.help("name the tensor that holds a row for each item")]));
            }
        };
        let &[rows, width] = &file.tensors()[&name].shape[..] else {
            return Err(Error::internal("a matrix of no shape"));
        };
        // Widened to single precision.
        if width == 0 || rows.saturating_mul(width).saturating_mul(4) > MOST_BYTES {
            let message = format!("expected a matrix of at most {MOST_BYTES} bytes, found {rows} x {width} numbers");
            return Err(Error::bad(message).in_file(path).help("save it as .npy, which is read row by row"));
        }
        Ok(Self::Safetensors { file, name, rows, width })
    }

    pub fn rows(&self) -> usize {
        match self {
            Self::Npy(file) => file.rows(),
            Self::Safetensors { rows, .. } => *rows,
        }
    }

    pub fn width(&self) -> usize {
        match self {
            Self::Npy(file) => file.width(),
            Self::Safetensors { width, .. } => *width,
        }
    }

    /// Hands on one row after the other.
    ///
    /// # Errors
    /// Elements that are no floats; what the disk says, and what `row` says.
    pub fn for_each_row(&self, mut row: impl FnMut(usize, &[f64]) -> Result<()>) -> Result<()> {
        match self {
            Self::Npy(file) => file.for_each_row(row),
            Self::Safetensors { file, name, width, .. } => {
                let values = file.read_floats(name)?;
                let mut wide = Vec::with_capacity(*width);
                for (number, values) in values.chunks_exact(*width).enumerate() {
                    wide.clear();
                    wide.extend(values.iter().copied().map(f64::from));
                    row(number, &wide)?;
                }
                Ok(())
            }
        }
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() > 8 => format!("{} matrices", names.len()),
        names => names.join(", "),
    }
}
