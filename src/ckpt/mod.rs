//! A checkpoint as it lies on disk: a folder with `config.json` and weights (safetensors or PyTorch's own files), or a
//! GGUF file; its place in a series.
//!
//! Nothing here knows what the tensors mean; `model` does. Files are hostile until checked: sizes are bounded before
//! they are allocated, shard names may not leave the folder, nothing is executed.

mod config;
mod gguf;
mod series;
mod torch;
mod weights;

pub use config::{Config, ConfigReader};
pub(crate) use gguf::{Export, GgufFile, Quant, Vocabulary, four_bit_scales, is_gguf};
pub use series::{CheckpointRef, discover, fetch};
pub use torch::{Scalar as TorchScalar, TorchDtype, TorchError, TorchFile, TorchTensor};
pub(crate) use weights::widen;
pub use weights::{Dtype, TensorInfo, WeightFiles};
