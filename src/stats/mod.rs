//! Numbers in, numbers out: means, ratios and differences with their uncertainty, rankings. No I/O, no domain.

mod correlation;
mod estimate;
mod hits;
mod python_bootstrap;
mod rank;

pub use correlation::{pearson, ranks, spearman};
pub use estimate::{
    Estimate, jackknife, mean, normal_quantile, pooled_mean, proportion, ratio, standard_error, t_quantile,
};
pub use hits::Hits;
pub use python_bootstrap::python_bootstrap_stderr;
pub use rank::kendall_tau;
