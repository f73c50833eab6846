//! What plain word overlap says of a document: the cosine of its TF-IDF vector with that of the feedback items. Values that
//! are no better were not worth their gradients.
//!
//! ```text
//! weight(word, text) = (1 + ln count) ln((N + 1) / (documents with the word + 1))
//! ```

use std::collections::BTreeMap;

use crate::feedback::split::words;
use crate::util::hash::seed_from;

/// First pass: in how many documents each word is. A word is kept as 64 bits of its hash.
#[derive(Debug, Default, Clone)]
pub struct WordCounts {
    documents: u64,
    counts: BTreeMap<u64, u32>,
}

/// Second pass: how much a document has in common with the items.
#[derive(Debug)]
pub struct WordOverlap {
    counts: WordCounts,
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

    /// `items`: own fields of the feedback items, joined. Each item counts the same, whatever its length.
    pub fn against<'a>(self, items: impl IntoIterator<Item = &'a str>) -> WordOverlap {
        let mut centre: BTreeMap<u64, f64> = BTreeMap::new();
        for item in items {
            for (word, weight) in self.unit(item) {
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
    fn unit(&self, text: &str) -> BTreeMap<u64, f64> {
        let mut weights = frequencies(text);
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

impl WordOverlap {
    /// Between 0 and 1.
    pub fn score(&self, text: &str) -> f64 {
        let document = self.counts.unit(text);
        document.iter().filter_map(|(word, weight)| Some(weight * self.items.get(word)?)).sum::<f64>().clamp(0.0, 1.0)
    }
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
        let overlap = counts.against(["The whale!", "the whale?"]);
        let scores = documents.map(|document| overlap.score(document));
        assert!(scores[0] > 0.5 && scores[0] < 1.0, "{scores:?}");
        assert_eq!(scores[1..], [0.0; 4]);
        assert!((overlap.score("whale") - 1.0).abs() < 1e-12);
        assert_eq!(overlap.score(""), 0.0);
        assert_eq!(WordCounts::default().against([]).score("a"), 0.0);
    }
}
