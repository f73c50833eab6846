//! What goes back to the trainer: gradients of items, as projections that keep their inner products.

mod project;
mod rademacher;

pub use project::{Projected, ProjectedModule, Projection, project};
pub use rademacher::{Scale, Side, rademacher};
