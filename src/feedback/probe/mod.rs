//! Does a step do what its gradients say? Predicted and realised changes of a target's loss, over batches and step sizes.
//!
//! ```text
//! stream ─► batches ─► a step of gradient descent, and one of AdamW ─► change of the sealed items' loss ┐
//! feedback set ─► g_down ─► -<g_down, step> ────────────────────────────────────────────────────────────┴─► Relation
//! ```

mod batches;
mod relation;
mod step;

#[cfg(test)]
mod tests_relation;

pub use batches::{Company, Cut, ProbeBatch, Tokens, batches};
pub use relation::{Interval, LinearRange, RESAMPLES, Relation, break_point, linear_range};
pub use step::{AdamState, Change, Probe, Steps};
