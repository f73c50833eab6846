//! What goes back to the trainer: gradients of items, whole and as projections that keep their inner products.
//!
//! ```text
//! right answers ─► collect ─► one reverse pass a batch ─► Projector ─► store: a row of numbers for each item
//!                                     └─► whole gradients ─► gradset: means, Fisher, low rank, by parameter name
//! documents ─► one reverse pass a batch ─► Directions: inner products of their gradients with those of targets
//!     └─► value: what each document is worth to each target ─► mix: new shares and copies ─► trainers: their files
//! suite ─► bundle: feedback items and their gradients on disk ─► pass: documents along them ─► value
//!     └─► sealed items ─► probe: does one step do what was foretold?  check: does the new mixture?
//! items ─► split: feedback or sealed, for ever;  geometry: whose gradients agree;  targets: soft targets of tokens
//! a run's last checkpoint ─► fresh: set, values and next mixture beside its scores
//! optimizer state ─► moments ─► precondition
//! ```

mod autocorrelation;
pub mod bundle;
pub mod check;
mod collect;
mod directions;
mod fresh;
pub mod geometry;
pub mod gradset;
mod gram;
pub mod mix;
pub mod moments;
mod parameters;
mod pass;
mod precondition;
pub mod probe;
mod project;
mod rademacher;
pub mod split;
pub mod store;
pub mod targets;
pub mod trainers;
pub mod value;

pub use autocorrelation::{Autocorrelation, Damping, Power, Whitening};
pub use collect::{Collect, Gathered, Target, collect};
pub use directions::{Direction, Directions, ItemProducts, ScaledProducts};
pub use fresh::{Change, ChangedSource, Fresh, FreshFeedback, Origin};
pub use gram::{Eigen, Gram, Symmetric};
pub use parameters::Parameters;
pub use pass::{Compared, scaling};
pub use precondition::{RankOne, Rule, precondition, scale_vectors};
pub use project::{Beside, Projected, ProjectedModule, Projection, ProjectionTarget, Projector, RowOf, module_of};
pub use rademacher::{Scale, Side, SignColumns, Signs, rademacher};
