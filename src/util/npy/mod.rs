//! Files of numpy: a line of text about an array, then its elements.

mod growing;
mod head;
mod matrix;
mod write;

pub use growing::{Element, GrowingArray, read};
pub use head::head;
pub use matrix::{NpyElement, NpyFile, read_integers};
pub use write::{write, write_file};
