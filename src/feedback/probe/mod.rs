//! Does a step do what its gradients say? Predicted and realised changes of a target's loss, over batches and step sizes.

mod relation;

#[cfg(test)]
mod tests_relation;

pub use relation::{Interval, LinearRange, RESAMPLES, Relation, break_point, linear_range};
