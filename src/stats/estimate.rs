//! Point estimates with standard errors and 95 % intervals.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

const LEVEL: f64 = 0.95;

/// A value and how sure it is. Bounds and error are `None` where n is too small to tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub stderr: Option<f64>,
    /// Bounds of the 95 % interval.
    pub interval: Option<(f64, f64)>,
    pub n: usize,
}

/// Sample standard deviation over n - 1, divided by sqrt(n). `None` for fewer than two values.
pub fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    Some((squares / (n - 1.0)).sqrt() / n.sqrt())
}

/// Mean with Student's t interval. The value of no values is NaN.
pub fn mean(values: &[f64]) -> Estimate {
    let value = values.iter().sum::<f64>() / values.len() as f64;
    let stderr = standard_error(values);
    let interval = stderr.map(|stderr| symmetric(value, stderr, t_quantile((values.len() - 1) as f64)));
    Estimate { value, stderr, interval, n: values.len() }
}

/// [`mean`] of values of which only the sum and the sum of squares are known.
pub(super) fn mean_of_moments(sum: f64, squares: f64, n: usize) -> Estimate {
    let count = n as f64;
    let value = sum / count;
    let stderr = (n >= 2).then(|| ((squares - sum * value).max(0.0) / (count - 1.0)).sqrt() / count.sqrt());
    let interval = stderr.map(|stderr| symmetric(value, stderr, t_quantile((n - 1) as f64)));
    Estimate { value, stderr, interval, n }
}

/// Mean of zeros and ones with Wilson's score interval (Wilson 1927), which stays within 0 and 1 and has width even
/// when all are right. The standard error is that of [`standard_error`].
pub fn proportion(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let interval = (!values.is_empty()).then(|| {
        let z = normal_quantile();
        let centre = (value + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (value * (1.0 - value) / n + z * z / (4.0 * n * n)).sqrt();
        (centre - half, centre + half)
    });
    Estimate { value, stderr: standard_error(values), interval, n: values.len() }.within((0.0, 1.0))
}

/// `sum(numerators) / sum(denominators)` with the linearised standard error of a ratio (Cochran 1977, 2.46).
pub fn ratio(pairs: &[(f64, f64)]) -> Estimate {
    let n = pairs.len() as f64;
    let (top, bottom) = pairs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let value = top / bottom;
    let stderr = (pairs.len() >= 2).then(|| {
        let residuals: f64 = pairs.iter().map(|(x, y)| (x - value * y).powi(2)).sum();
        (residuals * n / (n - 1.0)).sqrt() / bottom.abs()
    });
    let interval = stderr.map(|stderr| symmetric(value, stderr, t_quantile((pairs.len() - 1) as f64)));
    Estimate { value, stderr, interval, n: pairs.len() }
}

/// A statistic of all items and of all but each one, with the jackknife's standard error (Efron and Stein 1981) and a
/// t interval around the value.
pub fn jackknife(value: f64, without: &[f64]) -> Estimate {
    let n = without.len() as f64;
    let centre = without.iter().sum::<f64>() / n;
    let squares: f64 = without.iter().map(|x| (x - centre).powi(2)).sum();
    let stderr = (without.len() >= 2).then(|| ((n - 1.0) / n * squares).sqrt());
    let interval = stderr.map(|stderr| symmetric(value, stderr, t_quantile((without.len() - 1) as f64)));
    Estimate { value, stderr, interval, n: without.len() }
}

/// The mean over all items of several tasks, from each task's own estimate. The standard error pools the variances
/// within tasks, as lm-evaluation-harness does: `sqrt(sum((n_i - 1) n_i se_i^2) / (N - k) / N)`.
pub fn pooled_mean(parts: &[Estimate]) -> Estimate {
    let n: usize = parts.iter().map(|part| part.n).sum();
    let total = n as f64;
    let value = parts.iter().map(|part| part.value * part.n as f64).sum::<f64>() / total;
    let within: Option<f64> =
        parts.iter().map(|part| Some((part.n as f64 - 1.0) * part.n as f64 * part.stderr?.powi(2))).sum();
    let stderr = within.filter(|_| n > parts.len()).map(|sum| (sum / (total - parts.len() as f64) / total).sqrt());
    let interval = stderr.map(|stderr| symmetric(value, stderr, t_quantile((n - parts.len()) as f64)));
    Estimate { value, stderr, interval, n }
}

impl Estimate {
    /// Cuts the interval where the value cannot lie. Bounds never exclude the value itself.
    #[must_use]
    pub fn within(self, (least, most): (f64, f64)) -> Self {
        let cut = |(lo, hi): (f64, f64)| (lo.max(least).min(self.value), hi.min(most).max(self.value));
        Self { interval: self.interval.map(cut), ..self }
    }

    /// Passes value and bounds through a monotone function; the standard error by the delta method, given the
    /// function's derivative.
    #[must_use]
    pub fn transformed(self, f: impl Fn(f64) -> f64, derivative: impl Fn(f64) -> f64) -> Self {
        let ordered = |(a, b): (f64, f64)| if a <= b { (a, b) } else { (b, a) };
        Self {
            value: f(self.value),
            stderr: self.stderr.map(|stderr| stderr * derivative(self.value).abs()),
            interval: self.interval.map(|(lo, hi)| ordered((f(lo), f(hi)))),
            n: self.n,
        }
    }
}

fn symmetric(value: f64, stderr: f64, quantile: f64) -> (f64, f64) {
    (value - quantile * stderr, value + quantile * stderr)
}

/// Student's quantile of 97.5 %: how many standard errors a 95 % interval reaches to each side. Infinite without freedom.
pub fn t_quantile(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.5 + LEVEL / 2.0))
}

/// The normal distribution's quantile of 97.5 %.
pub fn normal_quantile() -> f64 {
    Normal::standard().inverse_cdf(0.5 + LEVEL / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} is not {b}");
    }

    #[test]
    fn textbook_values() {
        let estimate = mean(&[1.0, 2.0, 3.0, 4.0]);
        near(estimate.value, 2.5, 0.0);
        near(estimate.stderr.unwrap(), 0.645_497_224_367_902_8, 1e-15);
        near(estimate.interval.unwrap().1, 2.5 + 3.182_446_305_284_263 * 0.645_497_224_367_902_8, 1e-8);
        // Wilson's interval for 8 of 10 is 0.4901625 to 0.9433178 (Newcombe 1998 gives the method's values).
        let values: Vec<f64> = (0..10).map(|i| f64::from(u8::from(i < 8))).collect();
        let (lo, hi) = proportion(&values).interval.unwrap();
        near(lo, 0.490_162_5, 1e-6);
        near(hi, 0.943_317_8, 1e-6);
        assert_eq!(mean(&[1.0]).stderr, None);
        assert!(mean(&[]).value.is_nan());
    }

    #[test]
    fn a_ratio_of_equal_denominators_is_a_mean() {
        let values = [1.0, 5.0, 2.0, 7.0];
        let pairs: Vec<(f64, f64)> = values.iter().map(|v| (*v, 1.0)).collect();
        near(ratio(&pairs).stderr.unwrap(), mean(&values).stderr.unwrap(), 1e-12);
        assert_eq!(ratio(&pairs).value, mean(&values).value);
    }

    /// Planted truth: intervals cover the true value about as often as they say.
    #[test]
    fn intervals_cover() {
        let mut rng = crate::util::python_random::PythonRandom::new(7);
        let (mut hits_mean, mut hits_ratio, rounds) = (0u32, 0u32, 2000u32);
        for _ in 0..rounds {
            let pairs: Vec<(f64, f64)> = (0..40)
                .map(|_| {
                    let weight = 1.0 + 9.0 * rng.random();
                    (weight * (2.0 + rng.random() - 0.5), weight)
                })
                .collect();
            let covers = |e: Estimate, truth: f64| e.interval.is_some_and(|(lo, hi)| lo <= truth && truth <= hi);
            hits_ratio += u32::from(covers(ratio(&pairs), 2.0));
            let ones: Vec<f64> = (0..40).map(|_| f64::from(u8::from(rng.random() < 0.3))).collect();
            hits_mean += u32::from(covers(proportion(&ones), 0.3));
        }
        for hits in [hits_mean, hits_ratio] {
            let share = f64::from(hits) / f64::from(rounds);
            assert!((0.93..0.97).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_jackknife_of_a_mean_is_the_mean() {
        let values = [1.0, 5.0, 2.0, 7.0];
        let without: Vec<f64> = values.iter().map(|left_out| (15.0 - left_out) / 3.0).collect();
        near(jackknife(3.75, &without).stderr.unwrap(), mean(&values).stderr.unwrap(), 1e-12);
        assert_eq!((jackknife(1.0, &[0.0]).stderr, jackknife(0.0, &[]).n), (None, 0));
    }

    #[test]
    fn pooling_one_task_changes_nothing() {
        let one = mean(&[0.0, 1.0, 1.0, 0.0, 1.0]);
        let pooled = pooled_mean(&[one]);
        near(pooled.stderr.unwrap(), one.stderr.unwrap(), 1e-15);
        near(pooled.value, one.value, 0.0);
    }
}
