//! Lists of pairs `x -> y` of one transformation, with its name above or without: then it must be seen from the pairs.
//!
//! ```text
//! reverse:
//!  b c a -> a c b
//!  d e k -> k e d
//! ```
//!
//! Lines begin with a space, so that every letter and word looks the same at its beginning and within.

mod documents;
mod inventory;
mod items;
mod transformation;
mod vocabulary;

#[cfg(test)]
mod tests;

pub(super) use documents::documents;
pub(super) use inventory::TRANSFORMATIONS;
pub(super) use items::tasks;
