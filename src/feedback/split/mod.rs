//! Which items may become feedback, and which are sealed: kept to measure with, and never exported.
//!
//! ```text
//! items ─► side: the column `split` of the row, or else one bit of the hash of the content
//!      ├─ sealed       scores quoted beside feedback are of these
//!      ├─ development  tuned on; neither exported nor quoted
//!      └─ feedback ─► refused if a sealed item has the same content or 13 words in a row of one field
//!                └─► FeedbackItem, the only thing that an export takes
//! ```
//!
//! **The rule.** There is no seed, no share and no switch, so that no second split can open what a first one sealed.
//! The bit depends on an item's words, so neither order, nor ids, nor other items, nor spelling with other punctuation
//! move it, and copies of an item fall on the same side.
//!
//! **The words** of a text are its runs of letters and digits in lower case; marks that combine and characters without
//! width are passed over; a character of a script that is written without spaces is a word of its own (`words.rs`).
//!
//! **The 13 words** are taken within each of an item's own fields: what its row brought. Templates, instructions and
//! shots are not given to this module. A gram that more than 1 % of all items have, and more than ten of them, belongs to
//! the way items are worded and does not count. The content as a whole always counts, however short it is.

mod grams;
mod sides;
mod words;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_property;

pub use grams::{GRAM_WORDS, Overlap, SealedGrams};
pub use sides::{Declared, FeedbackItem, OwnFields, Refused, SealedItem, Side, Split};
pub(super) use words::words;
