//! A checkpoint folder as it lies on disk: `config.json`, safetensors shards, its fingerprint, its place in a series.
//!
//! Nothing here knows what the tensors mean; `model` does. Files are hostile until checked: sizes are bounded before
//! they are allocated, shard names may not leave the folder, nothing is executed.

mod config;
mod series;
mod weights;

pub use config::{Config, ConfigReader};
pub use series::{CheckpointRef, discover};
pub(crate) use weights::widen;
pub use weights::{Dtype, TensorInfo, WeightFiles};
