//! F1 between the words of an answer and of a reference.

use std::collections::{BTreeMap, BTreeSet};

use super::normalise::squad;
use super::{harmonic_mean, words};

/// Token F1 of SQuAD: over the multisets of words of the normalised texts (`squad`). 0 where nothing is shared, also
/// where both are empty: the first version of SQuAD's script, which everyone copied, knows no empty answers.
pub fn token_f1(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (squad(answer), squad(reference));
    let (answer, reference) = (counts(&answer), counts(&reference));
    let shared: usize = answer.iter().map(|(word, n)| *n.min(reference.get(word).unwrap_or(&0))).sum();
    if shared == 0 {
        return 0.0;
    }
    let share = |bag: &BTreeMap<&str, usize>| shared as f64 / bag.values().sum::<usize>() as f64;
    harmonic_mean(share(&answer), share(&reference))
}

/// F1 over the sets of words as they stand (lighteval's `f1`). 0 where one of them is empty.
pub fn set_f1(answer: &str, reference: &str) -> f64 {
    let (answer, reference): (BTreeSet<&str>, BTreeSet<&str>) = (words(answer).collect(), words(reference).collect());
    if answer.is_empty() || reference.is_empty() {
        return 0.0;
    }
    let shared = answer.intersection(&reference).count() as f64;
    harmonic_mean(shared / answer.len() as f64, shared / reference.len() as f64)
}

fn counts(text: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for word in words(text) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bag_counts_and_a_set_does_not() {
        assert_eq!(token_f1("The cat sat", "a cat sat down"), 0.8);
        assert_eq!(token_f1("no no no", "no"), 0.5);
        assert_eq!(set_f1("no no no", "no"), 1.0);
        assert_eq!(set_f1("No", "no"), 0.0);
        assert_eq!((token_f1("", ""), token_f1("the", "a"), set_f1("", "")), (0.0, 0.0, 0.0));
    }
}
