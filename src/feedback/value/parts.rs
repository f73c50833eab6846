//! A mean of parts, and how sure it is.
//!
//! Of feedback items split into K parts at random, with shares `w_k` that add up to one and products `h_k`:
//!
//! ```text
//! value = sum w_k h_k        variance = sum w_k (h_k - value)^2 / (K - 1)        with K - 1 degrees of freedom
//! ```
//! With two halves of equal size the standard error is half their difference. Of C checkpoints with shares `u_c`:
//! `variance = C / (C - 1) sum u_c^2 (v_c - value)^2`.

use crate::stats::t_quantile;

/// Shares that add up to one.
pub(super) fn shares(weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

pub(super) fn weighted_mean(shares: &[f64], values: &[f64]) -> f64 {
    shares.iter().zip(values).map(|(share, value)| share * value).sum()
}

/// Of the mean over feedback items.
pub(super) fn variance_of_parts(shares: &[f64], parts: &[f64]) -> f64 {
    let mean = weighted_mean(shares, parts);
    let squares: f64 = shares.iter().zip(parts).map(|(share, part)| share * (part - mean).powi(2)).sum();
    squares / (parts.len() as f64 - 1.0)
}

/// Of the mean over checkpoints; zero for a single one, which says nothing about others.
pub(super) fn variance_of_checkpoints(shares: &[f64], values: &[f64]) -> f64 {
    let count = values.len() as f64;
    if values.len() < 2 {
        return 0.0;
    }
    let mean = weighted_mean(shares, values);
    let squares: f64 = shares.iter().zip(values).map(|(share, value)| (share * (value - mean)).powi(2)).sum();
    squares * count / (count - 1.0)
}

/// A variance and its degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Variance {
    pub value: f64,
    pub freedom: f64,
}

/// Standard error and half the width of the 95 % interval of a sum of independent errors: each variance by the square of
/// its own quantile of Student's. Where one dominates it is that one's interval, between them somewhat wider than 95 %;
/// Welch's and Satterthwaite's pooled freedom is too sure when a variance of one degree of freedom is small by chance.
pub(super) fn summed(variances: &[Variance]) -> (f64, f64) {
    let present = || variances.iter().filter(|variance| variance.value > 0.0);
    let square: f64 = present().map(|variance| variance.value * t_quantile(variance.freedom.max(1.0)).powi(2)).sum();
    (present().map(|variance| variance.value).sum::<f64>().sqrt(), square.sqrt())
}
