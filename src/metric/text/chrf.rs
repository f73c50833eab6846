//! chrF (Popović 2015) and chrF++ (Popović 2017) as sacrebleu 2.6 computes them: characters without white space in runs
//! of 1 to 6, for chrF++ also words in runs of 1 and 2; recall weighs four times; case kept.

use std::iter::Sum;
use std::ops::{Add, Sub};

use super::{ngram, words};

const CHAR_ORDERS: usize = 6;
const MOST_WORD_ORDERS: usize = 2;
const ORDERS: usize = CHAR_ORDERS + MOST_WORD_ORDERS;
/// Square of beta.
const RECALL_WEIGHT: f64 = 4.0;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Chrf,
    ChrfPlusPlus,
}

/// All that the score needs to know of an answer and its reference; what a corpus needs is the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    orders: [Order; ORDERS],
}

/// Runs of one length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Order {
    answer: u64,
    reference: u64,
    matched: u64,
}

impl Counts {
    /// Counts against the reference that gives the best score by itself; of equal ones the first. Without references
    /// everything is 0.
    pub fn of(kind: Kind, answer: &str, references: &[impl AsRef<str>]) -> Self {
        let answer = Pieces::of(kind, answer);
        let mut best: Option<(f64, Self)> = None;
        for reference in references {
            let counts = answer.against(&Pieces::of(kind, reference.as_ref()));
            let score = counts.score();
            if best.as_ref().is_none_or(|(known, _)| score > *known) {
                best = Some((score, counts));
            }
        }
        best.map(|(_, counts)| counts).unwrap_or_default()
    }

    /// The score, from 0 to 100. Precision and recall are averaged over the orders that both sides have.
    pub fn score(&self) -> f64 {
        let present = self.orders.iter().filter(|order| order.answer > 0 && order.reference > 0);
        let (mut precision, mut recall, mut n) = (0.0, 0.0, 0.0);
        for order in present {
            precision += order.matched as f64 / order.answer as f64;
            recall += order.matched as f64 / order.reference as f64;
            n += 1.0;
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / n, recall / n);
        100.0 * (1.0 + RECALL_WEIGHT) * precision * recall / (RECALL_WEIGHT * precision + recall)
    }
}

/// A text as the metric sees it.
struct Pieces {
    characters: Vec<char>,
    words: Vec<String>,
    word_orders: usize,
}

impl Pieces {
    fn of(kind: Kind, text: &str) -> Self {
        let word_orders = if kind == Kind::Chrf { 0 } else { MOST_WORD_ORDERS };
        let characters = words(text).flat_map(str::chars).collect();
        let words = if word_orders == 0 { Vec::new() } else { words(text).flat_map(without_edge).collect() };
        Self { characters, words, word_orders }
    }

    fn against(&self, reference: &Self) -> Counts {
        let mut counts = Counts::default();
        for order in 1..=CHAR_ORDERS {
            counts.orders[order - 1] = Order::of(&self.characters, &reference.characters, order);
        }
        for order in 1..=self.word_orders {
            counts.orders[CHAR_ORDERS + order - 1] = Order::of(&self.words, &reference.words, order);
        }
        counts
    }
}

impl Order {
    fn of<T: Ord>(answer: &[T], reference: &[T], n: usize) -> Self {
        let (runs, known) = (ngram::how_many(answer.len(), n), ngram::how_many(reference.len(), n));
        let matched = ngram::shared(&ngram::counts(answer, n), &ngram::counts(reference, n));
        // An answer is not blamed for runs that the reference is too short for.
        Self { answer: if known > 0 { runs } else { 0 }, reference: known, matched }
    }
}

/// A word and the ASCII punctuation mark at its end, or else at its beginning, apart.
fn without_edge(word: &str) -> Vec<String> {
    let edge = |c: char| c.is_ascii_punctuation();
    if word.chars().count() > 1 {
        if let Some(rest) = word.strip_suffix(edge) {
            return vec![rest.to_owned(), word[rest.len()..].to_owned()];
        }
        if let Some(rest) = word.strip_prefix(edge) {
            return vec![word[..word.len() - rest.len()].to_owned(), rest.to_owned()];
        }
    }
    vec![word.to_owned()]
}

impl Counts {
    fn each(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let order = |a: Order, b: Order| Order {
            answer: f(a.answer, b.answer),
            reference: f(a.reference, b.reference),
            matched: f(a.matched, b.matched),
        };
        Self { orders: std::array::from_fn(|i| order(self.orders[i], other.orders[i])) }
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
    fn by_hand() {
        let score = |kind, answer, references: &[&str]| Counts::of(kind, answer, references).score();
        assert_eq!(score(Kind::Chrf, "a b", &["ab"]), 100.0);
        // Orders 1 and 2: precision 1 and 1, recall 2/3 and 1/2.
        let recall = 7.0 / 12.0;
        let expected = 100.0 * 5.0 * recall / (4.0 + recall);
        assert!((score(Kind::Chrf, "ab", &["abc"]) - expected).abs() < 1e-12);
        assert_eq!(score(Kind::ChrfPlusPlus, "x", &["y", "x"]), 100.0);
        assert_eq!(score(Kind::Chrf, "", &["a"]), 0.0);
        assert_eq!(without_edge("(a)"), ["(a", ")"]);
        assert_eq!(without_edge("(a"), ["(", "a"]);
        assert_eq!(without_edge("!"), ["!"]);
    }
}
