//! Reading data sets: rows from local files, with a fingerprint of what was read.

mod folder;
#[cfg(feature = "parquet")]
mod parquet;
mod read;
mod source;

pub use read::{Row, read_columns, read_rows};
pub use source::{LoadedData, addresses, load};
