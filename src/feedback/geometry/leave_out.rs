//! A statistic of parts, of all but one and of all but two: how sure it is.

use crate::stats::{Estimate, jackknife};

/// Values of one statistic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeaveOut {
    pub all: f64,
    /// Without each part.
    pub one: Vec<f64>,
    /// Without parts k and l, k < l, in the order (0, 1), (0, 2), .., (1, 2), ..
    pub two: Vec<f64>,
}

impl LeaveOut {
    /// The jackknife's standard error, corrected for what it has too much (Efron and Stein 1981, section 4): of products of
    /// two parts it counts the noise of both twice.
    ///
    /// ```text
    /// Q_kl = n all - (n - 1) (one_k + one_l) + (n - 2) two_kl
    /// variance = jackknife - sum over k < l of (Q_kl - mean Q)^2 / (n (n - 1))
    /// ```
    /// As that is at most twice, no less than half is left.
    pub fn estimate(&self) -> Estimate {
        let plain = jackknife(self.all, &self.one);
        let n = self.one.len() as f64;
        let pairs = (0..self.one.len()).flat_map(|k| (k + 1..self.one.len()).map(move |l| (k, l)));
        let interaction = |((k, l), two): ((usize, usize), &f64)| {
            n * self.all - (n - 1.0) * (self.one[k] + self.one[l]) + (n - 2.0) * two
        };
        let interactions: Vec<f64> = pairs.zip(&self.two).map(interaction).collect();
        let mean = interactions.iter().sum::<f64>() / interactions.len() as f64;
        let excess = interactions.iter().map(|q| (q - mean).powi(2)).sum::<f64>() / (n * (n - 1.0));
        let scale = plain.stderr.map_or(1.0, |stderr| {
            let variance = stderr * stderr;
            if variance > 0.0 { ((variance - excess) / variance).max(0.5).sqrt() } else { 1.0 }
        });
        let bound = |bound: f64| self.all + scale * (bound - self.all);
        Estimate {
            stderr: plain.stderr.map(|stderr| scale * stderr),
            interval: plain.interval.map(|(low, high)| (bound(low), bound(high))),
            ..plain
        }
    }

    /// A function of three statistics of the same parts; none where it is not defined for one of them.
    pub fn map3(a: &Self, b: &Self, c: &Self, f: impl Fn(f64, f64, f64) -> Option<f64>) -> Option<Self> {
        let each = |a: &[f64], b: &[f64], c: &[f64]| -> Option<Vec<f64>> {
            a.iter().zip(b).zip(c).map(|((&a, &b), &c)| f(a, b, c)).collect()
        };
        Some(Self {
            all: f(a.all, b.all, c.all)?,
            one: each(&a.one, &b.one, &c.one)?,
            two: each(&a.two, &b.two, &c.two)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::LeaveOut;

    /// Of a mean nothing is too much: the interactions are zero.
    #[test]
    fn of_a_mean_it_is_the_standard_error() {
        let values = [1.0, 5.0, 2.0, 7.0, 3.0];
        let without = |out: &[usize]| {
            let kept: Vec<f64> = (0..5).filter(|at| !out.contains(at)).map(|at| values[at]).collect();
            kept.iter().sum::<f64>() / kept.len() as f64
        };
        let two = (0..5).flat_map(|k| (k + 1..5).map(move |l| (k, l))).map(|(k, l)| without(&[k, l])).collect();
        let leave_out = LeaveOut { all: without(&[]), one: (0..5).map(|k| without(&[k])).collect(), two };
        let (found, wanted) = (leave_out.estimate(), crate::stats::mean(&values));
        assert!((found.stderr.unwrap() - wanted.stderr.unwrap()).abs() < 1e-12);
        assert!((found.interval.unwrap().1 - wanted.interval.unwrap().1).abs() < 1e-9);
    }
}
