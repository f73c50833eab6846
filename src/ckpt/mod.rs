//! A checkpoint as it lies on disk: a folder with `config.json` and weights (safetensors or PyTorch's own files), a GGUF
//! file or a llama2.c file; what is laid on it (adapters, deltas); its place in a series.
//!
//! Nothing here knows what the tensors mean; `model` does. Files are hostile until checked: sizes are bounded before
//! they are allocated, shard names may not leave the folder, nothing is executed.

mod adapter;
mod address;
mod config;
mod gguf;
mod llama2c;
mod pieces;
mod safetensors;
mod series;
mod tensor_file;
mod torch;
mod weights;

pub(crate) use adapter::lay;
pub use adapter::{Base, MatrixKind};
pub use address::{Addition, Address};
pub use config::{Config, ConfigReader};
pub(crate) use gguf::{Export, Quant, four_bit_scales};
pub(crate) use pieces::Vocabulary;
pub(crate) use safetensors::{SafetensorsPlan, write as write_safetensors};
pub use series::{CheckpointRef, discover, discover_one, fetch};
pub use tensor_file::{StoredTensor, TensorElement, TensorFile, TensorPlan, write_tensor_file};
pub use torch::{Scalar as TorchScalar, TorchDtype, TorchError, TorchFile, TorchTensor};
pub(crate) use weights::widen;
pub use weights::{Dtype, TensorInfo, WeightFiles};
