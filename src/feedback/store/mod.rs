//! The store of projected gradients: a row of numbers for each item, kept so that training loops, notebooks and other
//! tools can read them.
//!
//! ```text
//! grads/index.json                    what the rows are, of which checkpoint, and the shards
//! grads/grads-00000.safetensors       grads [rows, dim], row_id, loss, norm, n_tokens; of tokens' rows offsets, position
//! grads/grads-00001.safetensors       ...
//! ```
//! A shard is written whole, and the index after it, so a killed process loses at most the rows that it held in memory
//! and the next one goes on behind them. A row is the gradient of the item's loss, or a token's part of it, module by
//! module, in the order of the index. Rows of Bergson's indexes are read as well, and the store can be written as one.

mod bergson;
mod element;
mod export;
mod header;
mod index;
mod query;
mod reader;
mod shard;
mod whiten;
mod writer;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_oracle;
#[cfg(test)]
mod tests_query;
#[cfg(test)]
mod tests_tokens;
#[cfg(test)]
mod tests_whiten;

pub use element::Element;
pub use export::{ExportTo, Exported, export};
pub use header::{
    Also, Header, Layout, Module, Normalizer, ProjectionRecord, QueryShare, Reduction, Sign, WhiteningRecord,
};
pub use query::{Hit, Measure};
pub use reader::{GradStore, ItemInfo, RowInfo};
pub use whiten::whiten;
pub use writer::{GradRow, GradWriter};
