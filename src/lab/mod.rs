//! A small controlled world with its own checkpoints: every instrument can be checked against the truth.

pub mod corpus;
pub mod document;
pub mod item;
mod made;
pub mod random;
mod sealed;
mod size;
pub mod skill;
pub mod targets;
pub mod train;
pub mod world;

pub use made::Lab;
pub use size::Size;
