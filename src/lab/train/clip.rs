//! Clipping gradients by their common norm, as `torch.nn.utils.clip_grad_norm_`.

use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};

/// Partial sums of a parameter's squares, by position: their order is fixed, and a processor may add several at once.
const LANES: usize = 16;

/// A bound of the norm of all gradients together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    max_norm: f64,
}

/// A gradient by its parameter's name.
pub type NamedGradient<'a> = (&'a str, &'a mut [f32]);

impl Clip {
    /// A bound above 0. Infinity measures and clips nothing.
    pub fn new(max_norm: f64) -> Result<Self> {
        if max_norm > 0.0 {
            return Ok(Self { max_norm });
        }
        Err(Error::bad(format!("expected a largest norm of the gradients above 0, found {max_norm}")))
    }

    /// Scales gradients by `min(1, max_norm / (norm + 1e-6))` and returns the norm that they had. It is summed in f64
    /// in the order of the list.
    ///
    /// # Errors
    /// Gradients that are not finite, by name; they are left as they were.
    pub fn apply(self, gradients: &mut [NamedGradient<'_>]) -> Result<f64> {
        let squares: Vec<f64> = gradients.iter().map(|(_, gradient)| square(gradient)).collect();
        let broken = gradients.iter().zip(&squares).filter(|(_, square)| !square.is_finite());
        let problem = |((name, _), square): (&NamedGradient<'_>, &f64)| {
            let found = if square.is_nan() { "NaN" } else { "infinity" };
            Diagnostic::new(format!("expected finite gradients, found {found}")).at(format!("parameter {name}"))
        };
        let problems: Vec<Diagnostic> = broken.map(problem).collect();
        if !problems.is_empty() {
            return Err(Error::collected(ErrorKind::BadInput, problems)
                .help("the training diverged: lower the learning rate, warm up for longer or clip harder"));
        }
        let norm = squares.iter().sum::<f64>().sqrt();
        let factor = (self.max_norm / (norm + 1e-6)) as f32;
        if factor < 1.0 {
            for value in gradients.iter_mut().flat_map(|(_, gradient)| gradient.iter_mut()) {
                *value *= factor;
            }
        }
        Ok(norm)
    }
}

/// Sum of squares.
fn square(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    for row in values.chunks(LANES) {
        for (lane, &value) in lanes.iter_mut().zip(row) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
#[path = "tests_clip.rs"]
mod tests;
