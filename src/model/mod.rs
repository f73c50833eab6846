//! The instrumented decoder: one parametric forward pass for every family.
//!
//! ```text
//! config.json ──► families (data) ──► DecoderSpec + Weights<Source>
//! safetensors ──► load ─────────────► Decoder<K: Kernels> ──► forward (sites, edits, cache) ──► log-probabilities
//! ```
//!
//! A family is a file that reads its configuration into a [`DecoderSpec`] and names its weights; there is no
//! family-specific forward code.

mod blueprint;
mod cache;
mod convert;
mod decoder;
pub mod families;
mod footprint;
mod gradient;
mod laying;
mod leaves;
mod load;
mod losses;
mod mlp;
mod objective;
mod reverse;
mod spec;
mod taps;
mod weight_gradients;
mod weights;

pub use blueprint::Blueprint;
pub use cache::{Cache, Sequence};
pub use convert::{FloatType, GgufType, to_folder, to_gguf};
pub use decoder::Decoder;
pub use footprint::Footprint;
pub use leaves::{Leaves, Place};
pub use load::{LoadOptions, Loaded, check, load};
pub use losses::Predicted;
pub use objective::{LogitTerm, Loss, Objective, SoftPlace};
pub use reverse::{Reach, Reversed, row_ranges};
pub use spec::{
    AttentionSpec, BlockOrder, DecoderSpec, MixtureSpec, MlpSpec, Multipliers, NormSpec, Positions, QueryKeyNorm,
};
pub use taps::Taps;
pub use weight_gradients::{Summed, WeightGradients};
pub use weights::{AttentionWeights, BlockWeights, DenseWeights, Linear, MlpWeights, NormWeights, Source, Weights};
