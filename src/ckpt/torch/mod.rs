//! PyTorch's own checkpoint files (`pytorch_model.bin`, `optimizer.pt`), as `torch.save` writes them since 1.6.
//!
//! Such a file is a zip archive of stored entries: `data.pkl`, a pickle that describes the objects, and `data/N`, the
//! raw bytes of each storage. The pickle is read by an interpreter that knows tensors, containers and plain values.
//! Whatever else it names becomes an opaque value: nothing is imported, called or executed, whatever the file says.
//!
//! Sources: PyTorch's `torch/serialization.py`, `torch/_utils.py` and `torch/_weights_only_unpickler.py`; CPython's
//! `Lib/pickletools.py` for the opcodes; PKWARE's APPNOTE 6.3.10 for the archive.

mod file;
mod flatten;
mod pickle;
mod rebuild;
mod value;
mod zip;

#[cfg(test)]
mod tests;

use std::fmt;

pub use file::{TorchFile, TorchTensor};
pub use flatten::Scalar;
pub use value::TorchDtype;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchError {
    /// "expected X, found Y".
    pub message: String,
    /// The tensor, the entry of the archive or the byte of the pickle; empty for the file as a whole.
    pub at: String,
}

pub(crate) type Result<T, E = TorchError> = std::result::Result<T, E>;

impl TorchError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: String::new() }
    }

    fn at(mut self, at: impl Into<String>) -> Self {
        self.at = at.into();
        self
    }
}

impl fmt::Display for TorchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.at, self.message) }
    }
}

impl std::error::Error for TorchError {}
