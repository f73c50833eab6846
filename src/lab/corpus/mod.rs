//! The corpus: documents of named sources, and who is mentioned in them.

mod entities;
mod read;
mod write;

pub use entities::entities;
pub use read::{CorpusDocument, fingerprint, read_corpus};
pub use write::{Source, write_corpus};
