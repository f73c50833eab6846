//! BLEU (Papineni and others 2002) as sacrebleu 2.6 computes it: tokenizer `13a`, case kept, orders 1 to 4, exponential
//! smoothing.

use std::iter::Sum;
use std::ops::{Add, Sub};

use super::ngram;

pub use super::mteval::tokens;

const ORDERS: usize = 4;

/// All that BLEU needs to know of an answer and its references; what a corpus needs is the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens of the answer.
    pub answer: u64,
    /// Tokens of the reference whose length is nearest; of two the shorter.
    pub reference: u64,
    /// Runs of 1 to 4 tokens of the answer that a reference has as well, none counted more often than there.
    pub matched: [u64; ORDERS],
    /// Runs of 1 to 4 tokens of the answer.
    pub total: [u64; ORDERS],
}

impl Counts {
    /// Counts of one answer. Without references nothing matches and their length is 0.
    pub fn of(answer: &str, references: &[impl AsRef<str>]) -> Self {
        let answer = tokens(answer);
        let references: Vec<Vec<String>> = references.iter().map(|text| tokens(text.as_ref())).collect();
        let distance = |length: usize| (length.abs_diff(answer.len()), length);
        let nearest = references.iter().map(Vec::len).min_by_key(|&length| distance(length));
        let mut counts =
            Self { answer: answer.len() as u64, reference: nearest.unwrap_or(0) as u64, ..Self::default() };
        for order in 1..=ORDERS {
            let mut known = std::collections::BTreeMap::new();
            for reference in &references {
                ngram::merge_largest(&mut known, ngram::counts(reference, order));
            }
            counts.matched[order - 1] = ngram::shared(&ngram::counts(&answer, order), &known);
            counts.total[order - 1] = ngram::how_many(answer.len(), order);
        }
        counts
    }

    /// BLEU of a corpus, from 0 to 100 (`sacrebleu.corpus_bleu`).
    pub fn corpus_bleu(&self) -> f64 {
        self.score(ORDERS)
    }

    /// BLEU of a sentence, from 0 to 100: orders longer than the answer are left out (`sacrebleu.sentence_bleu`).
    pub fn sentence_bleu(&self) -> f64 {
        self.score(self.total.iter().take_while(|total| **total > 0).count())
    }

    /// Geometric mean of the precisions of the first `orders` orders, times the penalty for short answers.
    fn score(&self, orders: usize) -> f64 {
        if self.matched == [0; ORDERS] {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let mut sum = 0.0;
        for (&matched, &total) in self.matched.iter().zip(&self.total).take(orders) {
            let precision = match (matched, total) {
                // Only in a corpus of very short answers; sacrebleu takes the logarithm of 0 for -9,999,999,999.
                (_, 0) => return 0.0,
                (0, total) => {
                    smoothing *= 2.0;
                    100.0 / (smoothing * total as f64)
                }
                (matched, total) => 100.0 * matched as f64 / total as f64,
            };
            sum += precision.ln();
        }
        let penalty =
            if self.answer < self.reference { (1.0 - self.reference as f64 / self.answer as f64).exp() } else { 1.0 };
        penalty * (sum / orders as f64).exp()
    }
}

impl Counts {
    fn each(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let all = |a: [u64; ORDERS], b: [u64; ORDERS]| std::array::from_fn(|i| f(a[i], b[i]));
        Self {
            answer: f(self.answer, other.answer),
            reference: f(self.reference, other.reference),
            matched: all(self.matched, other.matched),
            total: all(self.total, other.total),
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }
}

/// Takes an item out of a corpus.
impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.each(other, |a, b| a - b)
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let counts = Counts::of("the cat the cat", &["the cat sat", "a cat, the dog and the cat"]);
        assert_eq!((counts.answer, counts.reference), (4, 3));
        assert_eq!(counts.matched, [4, 1, 0, 0]);
        assert_eq!(counts.total, [4, 3, 2, 1]);
        assert!((Counts::of("a b c d", &["a b c d"]).corpus_bleu() - 100.0).abs() < 1e-9);
        assert_eq!(Counts::of("a b", &["a b"]).corpus_bleu(), 0.0);
        assert!((Counts::of("a b", &["a b"]).sentence_bleu() - 100.0).abs() < 1e-9);
        assert_eq!(Counts::of("", &["a"]).sentence_bleu(), 0.0);
        assert_eq!(Counts::of("a", &[""; 0]).sentence_bleu(), 0.0);
    }
}
