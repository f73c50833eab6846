//! Right and wrong on the same items, compared pair by pair.

use super::estimate::{Estimate, mean_of_moments};

/// Which of some items were right, one bit each: a thousand checkpoints are compared pairwise without their records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hits {
    words: Vec<u64>,
    n: usize,
}

impl Extend<bool> for Hits {
    fn extend<I: IntoIterator<Item = bool>>(&mut self, items: I) {
        for right in items {
            if self.n.is_multiple_of(64) {
                self.words.push(0);
            }
            if let Some(word) = self.words.last_mut() {
                *word |= u64::from(right) << (self.n % 64);
            }
            self.n += 1;
        }
    }
}

impl FromIterator<bool> for Hits {
    fn from_iter<I: IntoIterator<Item = bool>>(items: I) -> Self {
        let mut hits = Self::default();
        hits.extend(items);
        hits
    }
}

impl Hits {
    pub fn len(&self) -> usize {
        self.n
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Share of right items.
    pub fn share(&self) -> f64 {
        let right: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        f64::from(right) / self.n as f64
    }

    /// `self - other`: the mean over items of the difference, each 1, 0 or -1, with the standard error of paired
    /// differences and Student's t interval. Items on which both agree cost no width, so this sees far smaller
    /// differences than the two intervals side by side.
    ///
    /// # Panics
    /// When the two are not over as many items.
    pub fn difference(&self, other: &Self) -> Estimate {
        assert_eq!(self.n, other.n, "paired differences are over the same items");
        let count = |f: fn(u64, u64) -> u64| -> u64 {
            self.words.iter().zip(&other.words).map(|(a, b)| u64::from(f(*a, *b).count_ones())).sum()
        };
        let (gained, lost) = (count(|a, b| a & !b), count(|a, b| !a & b));
        // The squares of the differences are 1 wherever the two differ.
        mean_of_moments(gained as f64 - lost as f64, (gained + lost) as f64, self.n).within((-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mean;
    use crate::util::python_random::PythonRandom;

    #[test]
    fn the_difference_is_that_of_the_mean_over_items() {
        let mut rng = PythonRandom::new(3);
        for n in [2, 63, 64, 65, 300] {
            let draw = |rng: &mut PythonRandom| (0..n).map(|_| rng.random() < 0.4).collect::<Vec<_>>();
            let (a, b) = (draw(&mut rng), draw(&mut rng));
            let differences: Vec<f64> =
                a.iter().zip(&b).map(|(a, b)| f64::from(u8::from(*a)) - f64::from(u8::from(*b))).collect();
            let (found, wanted) = (hits(&a).difference(&hits(&b)), mean(&differences));
            assert!((found.value - wanted.value).abs() < 1e-15, "{n}");
            assert!((found.stderr.unwrap() - wanted.stderr.unwrap()).abs() < 1e-12, "{n}");
            assert_eq!(found.n, n);
        }
    }

    /// Null: two protocols of the same accuracy on independent draws differ "significantly" about 5 % of the time.
    #[test]
    fn nothing_is_found_where_nothing_is() {
        let mut rng = PythonRandom::new(11);
        let rounds = 1000;
        let found = (0..rounds).filter(|_| {
            let mut draw = || (0..200).map(|_| rng.random() < 0.3).collect::<Hits>();
            let (lo, hi) = draw().difference(&draw()).interval.unwrap();
            lo > 0.0 || hi < 0.0
        });
        let share = found.count() as f64 / f64::from(rounds);
        assert!((0.03..0.07).contains(&share), "{share}");
    }

    fn hits(items: &[bool]) -> Hits {
        items.iter().copied().collect()
    }
}
