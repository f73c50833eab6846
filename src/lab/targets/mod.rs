//! Soft targets: what a learner is taught at single positions of its documents in place of the token that stands there.
//!
//! Whoever designs them stands above this module ([`crate::feedback::targets`]); a learner knows the file and nothing else.
//! It holds ids and probabilities of tokens, and whose documents they belong to.

mod file;
mod soft_target;

#[cfg(test)]
mod tests;

pub use file::{TargetFile, TargetOrigin};
pub use soft_target::SoftTarget;
