//! Random streams by name: what one part of the lab draws does not move what another draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of ChaCha8 whose key is the hash of a seed and a name. The same on every machine.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of this name, say `["arithmetic", "documents"]`.
    pub fn new(seed: u64, name: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        for part in name {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// A whole number below `bound`, each with the same probability (Lemire 2019, with rejection). Zero for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound == 0 {
            return 0;
        }
        let reject_below = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(bound);
            if wide as u64 >= reject_below {
                return (wide >> 64) as usize;
            }
        }
    }

    /// A whole number of `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high + 1 - low)
    }

    /// In `[0, 1)`, of 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Puts a list into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }

    /// `count` different ones of a list, in random order; all of a shorter list.
    pub fn sample<T: Clone>(&mut self, list: &[T], count: usize) -> Vec<T> {
        let mut list = list.to_vec();
        let count = count.min(list.len());
        for first in 0..count {
            let other = first + self.below(list.len() - first);
            list.swap(first, other);
        }
        list.truncate(count);
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_other_names_or_seeds_differ_and_each_repeats() {
        let draw = |seed, name: &[&str]| {
            let mut stream = Stream::new(seed, name);
            (0..8).map(|_| stream.below(1 << 40)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, &["a", "b"]), draw(7, &["a", "b"]));
        assert_ne!(draw(7, &["a", "b"]), draw(7, &["ab"]));
        assert_ne!(draw(7, &["a", "b"]), draw(8, &["a", "b"]));
    }

    #[test]
    fn numbers_are_uniform() {
        let mut stream = Stream::new(1, &["uniform"]);
        let mut counts = [0usize; 7];
        for _ in 0..70_000 {
            counts[stream.below(7)] += 1;
        }
        let squared: f64 = counts.iter().map(|&n| (n as f64 - 10_000.0).powi(2) / 10_000.0).sum();
        // Chi-squared with 6 degrees of freedom, 99.99 %.
        assert!(squared < 27.9, "{counts:?}");
    }

    #[test]
    fn a_sample_has_no_one_twice() {
        let mut stream = Stream::new(2, &["sample"]);
        let mut sample = stream.sample(&(0..10).collect::<Vec<_>>(), 10);
        sample.sort_unstable();
        assert_eq!(sample, (0..10).collect::<Vec<_>>());
    }
}
