//! Numbers in, numbers out: means and ratios with their uncertainty. No I/O, no domain.

mod estimate;
mod python_bootstrap;

pub use estimate::{Estimate, mean, pooled_mean, proportion, ratio, standard_error};
pub use python_bootstrap::python_bootstrap_stderr;
