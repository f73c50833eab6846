//! What an optimizer would make of a gradient: its second moments as a diagonal or rank-one preconditioner.
//!
//! ```text
//! Adam (torch)   g / (sqrt(v / (1 - beta2^step)) + eps)
//! LESS           m' / sqrt(v' + eps),  m' = 0.9 m + 0.1 g,  v' = 0.999 v + 0.001 g^2
//! Adafactor      g / sqrt(v);  of a matrix  v = outer(r, c) / mean(r)
//! ```
//! The learning rate, weight decay and Adafactor's clipping of whole updates are left out: they scale or shift every
//! item's gradient alike. Sources: `torch/optim/adamw.py`, `transformers/optimization.py` (Adafactor), LESS
//! `less/data_selection/collect_grad_reps.py`, Bergson `bergson/normalizer`.

use super::moments::{Optimizer, ParameterMoments, SecondMoment};
use crate::error::{Error, Result};

/// LESS's constants, whatever the optimizer had: epsilon stands inside the root, and no bias is corrected.
const LESS_BETA1: f64 = 0.9;
const LESS_BETA2: f64 = 0.999;
const LESS_EPS: f64 = 1e-8;
/// Adafactor adds it to every squared gradient, so that no moment of its own making is below.
const ADAFACTOR_FLOOR: f64 = 1e-30;

/// Which rule makes an update of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The scaling of the optimizer that the moments are from, with the moments held fixed: linear in the gradient.
    Optimizer,
    /// LESS's for training gradients: moments move with the gradient. Needs first moments.
    Less,
}

/// Replaces a parameter's gradient by what the rule makes of it. Values are rounded to f32 once.
///
/// # Errors
/// Another number of values than the moments have; LESS without first moments or with factored ones.
pub fn precondition(gradient: &mut [f32], moments: &ParameterMoments, rule: Rule) -> Result<()> {
    if gradient.len() != moments.elements() {
        let (found, shape) = (gradient.len(), &moments.shape);
        return Err(Error::bad(format!("expected a gradient of the moments' shape {shape:?}, found {found} values")));
    }
    match (rule, &moments.second) {
        (Rule::Less, SecondMoment::Full(second)) => {
            let first = moments.first.as_ref().ok_or_else(|| {
                Error::bad("expected first moments (exp_avg) for the rule of LESS, found none")
                    .help("use the optimizer's own scaling, or a checkpoint of Adam")
            })?;
            for ((value, &m), &v) in gradient.iter_mut().zip(first).zip(second) {
                let g = f64::from(*value);
                let m = LESS_BETA1 * f64::from(m) + (1.0 - LESS_BETA1) * g;
                let v = LESS_BETA2 * f64::from(v) + (1.0 - LESS_BETA2) * g * g;
                *value = (m / (v + LESS_EPS).sqrt()) as f32;
            }
        }
        (Rule::Less, SecondMoment::Factored { .. }) => {
            return Err(Error::bad("expected whole second moments for the rule of LESS, found those of Adafactor"));
        }
        (Rule::Optimizer, SecondMoment::Full(second)) => {
            let divisor = divisor(moments.optimizer, moments.step);
            for (value, &v) in gradient.iter_mut().zip(second) {
                *value = (f64::from(*value) / divisor(f64::from(v))) as f32;
            }
        }
        (Rule::Optimizer, SecondMoment::Factored { rows, columns }) => {
            RankOne::new(&moments.shape, rows, columns).apply(gradient);
        }
    }
    Ok(())
}

/// What a value is divided by, of its second moment.
fn divisor(optimizer: Optimizer, step: u64) -> impl Fn(f64) -> f64 {
    let (correction, eps, floor) = match optimizer {
        Optimizer::Adam { beta2, eps, .. } => (1.0 - beta2.powf(step as f64), eps, 0.0),
        Optimizer::Adafactor => (1.0, 0.0, ADAFACTOR_FLOOR),
    };
    move |second| (second.max(floor) / correction).sqrt() + eps
}

/// Adafactor's scaling of a matrix, `diag(rows) G diag(columns)`: so `G = outer(g, a)` is scaled by scaling `g` and
/// `a`, and need not be built. Of `[.., rows, columns]` each leading index has factors of its own, side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct RankOne {
    /// `sqrt(mean(r) / r)`. These belong to the outputs of a linear map stored as `[out, in]`, to its inputs where it
    /// is stored as `[in, out]`.
    pub rows: Vec<f32>,
    /// `1 / sqrt(c)`
    pub columns: Vec<f32>,
    /// Of one matrix.
    row_count: usize,
    column_count: usize,
}

impl RankOne {
    /// `None` where the moments are whole.
    pub fn of(moments: &ParameterMoments) -> Option<Self> {
        match &moments.second {
            SecondMoment::Full(_) => None,
            SecondMoment::Factored { rows, columns } => Some(Self::new(&moments.shape, rows, columns)),
        }
    }

    fn new(shape: &[usize], rows: &[f32], columns: &[f32]) -> Self {
        let [.., row_count, column_count] = *shape else { unreachable!("factored moments have two dimensions") };
        let wide = |values: &[f32]| -> Vec<f64> {
            values.iter().map(|&value| f64::from(value).max(ADAFACTOR_FLOOR)).collect()
        };
        let mut scaled = Vec::with_capacity(rows.len());
        for rows in wide(rows).chunks(row_count.max(1)) {
            let mean = rows.iter().sum::<f64>() / rows.len() as f64;
            scaled.extend(rows.iter().map(|row| (mean / row).sqrt() as f32));
        }
        let columns = wide(columns).iter().map(|column| (1.0 / column.sqrt()) as f32).collect();
        Self { rows: scaled, columns, row_count, column_count }
    }

    /// Scales a whole gradient.
    pub fn apply(&self, gradient: &mut [f32]) {
        if gradient.is_empty() {
            return;
        }
        for (index, row) in gradient.chunks_mut(self.column_count).enumerate() {
            let columns = &self.columns[index / self.row_count * self.column_count..][..self.column_count];
            let factor = f64::from(self.rows[index]);
            for (value, &column) in row.iter_mut().zip(columns) {
                *value = (f64::from(*value) * factor * f64::from(column)) as f32;
            }
        }
    }
}

/// Multiplies each vector of `[n, factors]` entry by entry. Of output gradients or inputs it scales the gradient that
/// they make; of the rows of a projection matrix `P` it makes `P diag(factors)`, which does the same for nothing:
/// `P (f * g) = (P diag(f)) g`.
pub fn scale_vectors(vectors: &mut [f32], factors: &[f32]) {
    for vector in vectors.chunks_mut(factors.len().max(1)) {
        vector.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAM: Optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.99, eps: 0.5 };

    fn moments(
        optimizer: Optimizer,
        shape: &[usize],
        second: SecondMoment,
        first: Option<Vec<f32>>,
    ) -> ParameterMoments {
        ParameterMoments { optimizer, shape: shape.to_vec(), step: 2, second, first }
    }

    #[test]
    fn known_moments_give_known_updates() {
        let full = SecondMoment::Full(vec![(4.0 * (1.0 - 0.99f64 * 0.99)) as f32, 0.0]);
        let known = moments(ADAM, &[2], full, Some(vec![1.0, 0.0]));
        let mut gradient = [5.0, 1.0];
        precondition(&mut gradient, &known, Rule::Optimizer).unwrap();
        // 5 / (sqrt(4) + 0.5), 1 / (0 + 0.5)
        assert!((gradient[0] - 2.0).abs() < 1e-6 && gradient[1] == 2.0, "{gradient:?}");
        let mut gradient = [5.0, 0.0];
        let wanted = (0.9 + 0.5) / (0.999 * 4.0 * (1.0 - 0.99f64 * 0.99) + 0.001 * 25.0 + 1e-8).sqrt();
        precondition(&mut gradient, &known, Rule::Less).unwrap();
        assert!((f64::from(gradient[0]) - wanted).abs() < 1e-6 * wanted && gradient[1] == 0.0, "{gradient:?}");
        let message = precondition(&mut [0.0; 3], &known, Rule::Less).unwrap_err().to_string();
        assert_eq!(message, "expected a gradient of the moments' shape [2], found 3 values");
    }

    #[test]
    fn rank_one_scaling_of_factors_is_that_of_the_product() {
        // Two matrices of 2 x 3, as fused experts are.
        let (rows, columns) = (vec![1.0, 3.0, 2.0, 8.0], vec![1.0, 4.0, 16.0, 0.25, 1.0, 9.0]);
        let second = SecondMoment::Factored { rows: rows.clone(), columns: columns.clone() };
        let known = moments(Optimizer::Adafactor, &[2, 2, 3], second, None);
        let (g, a) = ([0.5f32, -2.0, 3.0, 1.0], [1.0f32, 2.0, -1.0, 4.0, 0.5, 3.0]);
        let outer =
            |g: &[f32], a: &[f32]| -> Vec<f32> { (0..12).map(|at| g[at / 3] * a[at / 6 * 3 + at % 3]).collect() };
        let mut whole = outer(&g, &a);
        precondition(&mut whole, &known, Rule::Optimizer).unwrap();
        let rank_one = RankOne::of(&known).unwrap();
        let (mut scaled_g, mut scaled_a) = (g, a);
        scale_vectors(&mut scaled_g, &rank_one.rows);
        scale_vectors(&mut scaled_a, &rank_one.columns);
        for (at, (one, two)) in whole.iter().zip(outer(&scaled_g, &scaled_a)).enumerate() {
            let (row, column) = (at / 3, at / 6 * 3 + at % 3);
            let mean = f32::midpoint(rows[row / 2 * 2], rows[row / 2 * 2 + 1]);
            let wanted = g[row] * a[column] / (rows[row] * columns[column] / mean).sqrt();
            assert!((one - wanted).abs() < 1e-5 * wanted.abs(), "entry {at}: {one} for {wanted}");
            assert!((two - wanted).abs() < 1e-5 * wanted.abs(), "entry {at}: {two} for {wanted}");
        }
        assert!(precondition(&mut whole, &known, Rule::Less).unwrap_err().to_string().contains("those of Adafactor"));
        let vector = moments(Optimizer::Adafactor, &[2], SecondMoment::Full(vec![4.0, 0.0]), None);
        let mut gradient = [3.0, 0.0];
        precondition(&mut gradient, &vector, Rule::Optimizer).unwrap();
        assert_eq!(gradient, [1.5, 0.0]);
        assert!(precondition(&mut gradient, &vector, Rule::Less).unwrap_err().to_string().contains("exp_avg"));
    }
}
