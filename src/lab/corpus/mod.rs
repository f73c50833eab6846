//! The corpus: documents of named sources, who is mentioned in them, and that no sealed item leaks into them.

mod entities;
mod leaks;
mod read;
mod write;

pub use entities::entities;
pub use leaks::Needles;
pub use read::{CorpusDocument, read_corpus};
pub use write::{Source, write_corpus};
