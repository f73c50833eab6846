//! Adam with decoupled weight decay (Loshchilov and Hutter 2019), as `torch.optim.AdamW` computes it on a CPU.
//!
//! ```text
//! p <- p (1 - rate decay)                       where the parameter decays
//! m <- m + (1 - beta1) (g - m)
//! v <- beta2 v + (1 - beta2) g g
//! p <- p - rate / (1 - beta1^n) * m / (sqrt(v) / sqrt(1 - beta2^n) + eps)
//! ```
//! Factors are computed in f64 and rounded once; state and arithmetic are f32, and sums of a product are rounded once, as
//! torch's vector code has them: moments are torch's to the bit, values to the last one or two. No element depends on
//! another: the number of threads changes no bit.

use serde::{Deserialize, Serialize};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// Settings of the optimizer. Their defaults are torch's, but for `beta2`, which language models have lower.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Of the parameters that decay.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// What the optimizer keeps of one parameter: running means of its gradients and of their squares.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    pub exp_avg: Vec<f32>,
    pub exp_avg_sq: Vec<f32>,
}

impl Moments {
    /// Before the first update.
    pub fn zero(elements: usize) -> Self {
        Self { exp_avg: vec![0.0; elements], exp_avg_sq: vec![0.0; elements] }
    }
}

/// A parameter that is updated.
#[derive(Debug)]
pub struct Updated<'a> {
    /// For errors.
    pub name: &'a str,
    pub values: &'a mut [f32],
    pub gradient: &'a [f32],
    pub moments: &'a mut Moments,
    /// Whether weight decay applies ([`decays`]).
    pub decays: bool,
}

/// Whether a parameter of this shape decays: matrices do, vectors (norms and biases) do not.
pub fn decays(shape: &[usize]) -> bool {
    shape.len() > 1
}

impl AdamW {
    /// Refuses settings that no update can have: every one of them.
    pub fn check(&self) -> Result<()> {
        let rules = [
            ("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "at least 0 and below 1"),
            ("beta2", self.beta2, (0.0..1.0).contains(&self.beta2), "at least 0 and below 1"),
            ("eps", self.eps, self.eps.is_finite() && self.eps > 0.0, "above 0"),
            (
                "weight_decay",
                self.weight_decay,
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
                "of at least 0",
            ),
        ];
        let broken = rules.into_iter().filter(|(_, _, holds, _)| !holds);
        let problem = |(name, value, _, wanted): (&str, f64, bool, &str)| {
            Diagnostic::new(format!("expected a number {wanted}, found {value}")).at(name)
        };
        Error::check(broken.map(problem).collect())
    }

    /// Update number `step`, counted from 1, of all parameters with this learning rate.
    ///
    /// # Errors
    /// Parameters whose values, gradient and moments differ in length; nothing is updated then.
    pub fn update(&self, step: u64, rate: f64, parameters: &mut [Updated<'_>], threads: usize) -> Result<()> {
        let uneven = parameters
            .iter()
            .filter(|p| [p.gradient.len(), p.moments.exp_avg.len(), p.moments.exp_avg_sq.len()] != [p.values.len(); 3]);
        let problem = |p: &Updated<'_>| {
            let (values, gradient, moments) = (p.values.len(), p.gradient.len(), p.moments.exp_avg.len());
            let message = format!("{values} values, {gradient} elements of a gradient and {moments} moments");
            Diagnostic::new(format!("expected as many of each, found {message}")).at(format!("parameter {}", p.name))
        };
        Error::check(uneven.map(problem).collect())?;

        let [decaying, steady] = [self.weight_decay, 0.0].map(|decay| Factors::new(self, decay, step, rate));
        let mut pieces: Vec<Piece<'_>> = Vec::new();
        for parameter in parameters {
            let factors = if parameter.decays { decaying } else { steady };
            let moments = &mut *parameter.moments;
            let means = moments.exp_avg.chunks_mut(PIECE).zip(moments.exp_avg_sq.chunks_mut(PIECE));
            let chunks = parameter.values.chunks_mut(PIECE).zip(parameter.gradient.chunks(PIECE)).zip(means);
            pieces.extend(chunks.map(|((values, gradient), (mean, square))| Piece {
                factors,
                values,
                gradient,
                mean,
                square,
            }));
        }
        let share = pieces.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let mut shares = pieces.chunks_mut(share);
            let own = shares.next();
            for others in shares {
                scope.spawn(|| others.iter_mut().for_each(Piece::update));
            }
            own.into_iter().flatten().for_each(Piece::update);
        });
        Ok(())
    }
}

/// What all elements of one update share, as torch rounds it.
#[derive(Debug, Clone, Copy)]
struct Factors {
    /// What decay leaves of a value.
    left: f32,
    new_mean: f32,
    old_square: f32,
    new_square: f32,
    root: f32,
    eps: f32,
    /// Negative.
    size: f32,
}

impl Factors {
    fn new(settings: &AdamW, decay: f64, step: u64, rate: f64) -> Self {
        // `powi` may round differently on other machines; this one is the same everywhere.
        let bias = |beta: f64| 1.0 - libm::pow(beta, step as f64);
        Self {
            left: (1.0 - rate * decay) as f32,
            new_mean: (1.0 - settings.beta1) as f32,
            old_square: settings.beta2 as f32,
            new_square: (1.0 - settings.beta2) as f32,
            root: bias(settings.beta2).sqrt() as f32,
            eps: settings.eps as f32,
            size: -(rate / bias(settings.beta1)) as f32,
        }
    }
}

/// `a b + c`, rounded as one operation but where f64, in which the product is exact, lies just between two f32. Unlike
/// `mul_add` it needs no instruction that some processors do not have.
fn fused(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// Some elements of one parameter.
struct Piece<'a> {
    factors: Factors,
    values: &'a mut [f32],
    gradient: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl Piece<'_> {
    fn update(&mut self) {
        let f = self.factors;
        let moments = self.mean.iter_mut().zip(self.square.iter_mut());
        for ((value, &g), (mean, square)) in self.values.iter_mut().zip(self.gradient).zip(moments) {
            // Torch's `lerp` counts from the nearer end.
            *mean = if f.new_mean < 0.5 {
                fused(f.new_mean, g - *mean, *mean)
            } else {
                fused(f.new_mean - 1.0, g - *mean, g)
            };
            *square = fused(f.new_square * g, g, *square * f.old_square);
            let spread = square.sqrt() / f.root + f.eps;
            *value = fused(f.size, *mean / spread, *value * f.left);
        }
    }
}

#[cfg(test)]
#[path = "tests_adamw.rs"]
mod tests;
