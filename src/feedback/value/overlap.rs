//! What plain word overlap says of a document: the cosine of its TF-IDF vector with that of the feedback items. Values that
//! are no better were not worth their gradients.
//!
//! ```text
//! weight(word, text) = (1 + ln count) ln((N + 1) / (documents with the word + 1))
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::feedback::split::words;
use crate::util::hash::seed_from;

/// Of fewer items, words in common may be what they are about.
const FEWEST_ITEMS: usize = 8;

/// First pass: in how many documents each word is. A word is kept as 64 bits of its hash.
#[derive(Debug, Default)]
pub struct WordCounts {
    documents: u64,
    counts: BTreeMap<u64, u32>,
}

/// Second pass: how much a document has in common with the items.
#[derive(Debug)]
pub struct WordOverlap<'c> {
    counts: &'c WordCounts,
    items: BTreeMap<u64, f64>,
}

impl WordCounts {
    /// Counts a document of the stream.
    pub fn add(&mut self, text: &str) {
        self.documents += 1;
        for word in frequencies(text).into_keys() {
            *self.counts.entry(word).or_default() += 1;
        }
    }

    /// `targets`: texts of the feedback items of each target. Each item counts the same, whatever its length. Words of more
    /// than half of a target's items are its template, which is no reason to take a document for a good one.
    pub fn against<'a>(&self, targets: impl IntoIterator<Item = Vec<&'a str>>) -> WordOverlap<'_> {
        let mut centre: BTreeMap<u64, f64> = BTreeMap::new();
        for items in targets {
            let template = template(&items);
            for (word, weight) in items.into_iter().flat_map(|item| self.unit(item, &template)) {
                *centre.entry(word).or_default() += weight;
            }
        }
        let norm = centre.values().map(|weight| weight * weight).sum::<f64>().sqrt();
        if norm > 0.0 {
            for weight in centre.values_mut() {
                *weight /= norm;
            }
        }
        WordOverlap { counts: self, items: centre }
    }

    /// Of length one, or empty.
    fn unit(&self, text: &str, without: &BTreeSet<u64>) -> BTreeMap<u64, f64> {
        let mut weights = frequencies(text);
        weights.retain(|word, _| !without.contains(word));
        for (word, weight) in &mut weights {
            let documents = self.counts.get(word).copied().unwrap_or(0);
            let rarity = ((self.documents as f64 + 1.0) / (f64::from(documents) + 1.0)).ln();
            *weight = (1.0 + weight.ln()) * rarity;
        }
        let norm = weights.values().map(|weight| weight * weight).sum::<f64>().sqrt();
        if norm > 0.0 {
            for weight in weights.values_mut() {
                *weight /= norm;
            }
        } else {
            weights.clear();
        }
        weights
    }
}

impl WordOverlap<'_> {
    /// Between 0 and 1.
    pub fn score(&self, text: &str) -> f64 {
        let document = self.counts.unit(text, &BTreeSet::new());
        document.iter().filter_map(|(word, weight)| Some(weight * self.items.get(word)?)).sum::<f64>().clamp(0.0, 1.0)
    }
}

fn template(items: &[&str]) -> BTreeSet<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    if items.len() >= FEWEST_ITEMS {
        for word in items.iter().flat_map(|item| frequencies(item).into_keys()) {
            *counts.entry(word).or_default() += 1;
        }
    }
    counts.into_iter().filter(|(_, count)| 2 * count > items.len()).map(|(word, _)| word).collect()
}

fn frequencies(text: &str) -> BTreeMap<u64, f64> {
    let mut counts = BTreeMap::new();
    for word in words(text) {
        *counts.entry(seed_from(&[&word])).or_default() += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_in_common_count_and_common_ones_do_not() {
        let documents = ["the whale swam", "the dog ran", "the dog the dog", "the", "a b c the"];
        let mut counts = WordCounts::default();
        for document in documents {
            counts.add(document);
        }
        let overlap = counts.against([vec!["The whale!", "the whale?"]]);
        let scores = documents.map(|document| overlap.score(document));
        assert!(scores[0] > 0.5 && scores[0] < 1.0, "{scores:?}");
        assert_eq!(scores[1..], [0.0; 4]);
        assert!((overlap.score("whale") - 1.0).abs() < 1e-12);
        assert_eq!(overlap.score(""), 0.0);
        assert_eq!(WordCounts::default().against([]).score("a"), 0.0);
    }

    #[test]
    fn the_template_of_a_target_is_no_overlap_with_it() {
        let animals = ["whale", "dog", "cat", "owl", "fox", "bee", "ant", "cow"];
        let items = animals.map(|animal| format!("Question: what is the {animal}? Answer:"));
        let documents = ["a question and an answer", "an owl and a fox", "nothing of it"];
        let mut counts = WordCounts::default();
        for document in documents {
            counts.add(document);
        }
        let of = |count: usize| counts.against([items[..count].iter().map(String::as_str).collect()]);
        let score = |count: usize| documents.map(|document| of(count).score(document));
        let [template, subject, nothing] = score(8);
        assert!(template == 0.0 && subject > 0.2 && nothing == 0.0, "{template} {subject} {nothing}");
        assert!(score(5)[0] > 0.2, "of a handful of items nobody knows what is template");
    }
}
