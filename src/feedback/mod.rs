//! What goes back to the trainer: gradients of items, as projections that keep their inner products.
//!
//! ```text
//! right answers ─► collect ─► one reverse pass a batch ─► Projector ─► a row of numbers for each item
//! ```

mod collect;
mod parameters;
mod project;
mod rademacher;
pub mod store;

pub use collect::{Collect, Gathered, Target, collect};
pub use parameters::Parameters;
pub use project::{Projected, ProjectedModule, Projection, Projector, module_of};
pub use rademacher::{Scale, Side, rademacher};
