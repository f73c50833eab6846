//! Opinions of authors of two invented parties, along two axes.
//!
//! Every author has a direction: two coordinates in `[-1, 1]`. In pieces an author takes the side of a coordinate's sign
//! with probability `(1 + |coordinate|) / 2`, so the coordinate is what is said on average; when asked, always. The sign
//! of the first coordinate is the party's, that of the second one mostly.

mod authors;
mod documents;
mod items;
mod statements;

#[cfg(test)]
mod tests;

pub(super) use authors::{Author, Party, authors, party_direction};
pub(super) use documents::documents;
pub(super) use items::tasks;
pub(super) use statements::{AXES, Statement, statements};
