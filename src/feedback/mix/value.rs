//! What a source is worth: the mean of its documents' values, each by its tokens.

use std::collections::BTreeMap;

/// A value and its standard error, of any unit that all sources share. Positive lowers the target's loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SourceValue {
    pub value: f64,
    pub error: f64,
}

impl SourceValue {
    /// The value as far as its error lets it be believed: `v * v^2 / (v^2 + se^2)`.
    pub fn shrunk(self) -> f64 {
        // By the ratio, which neither over- nor underflows.
        if self.value == 0.0 {
            return 0.0;
        }
        let ratio = self.error / self.value;
        self.value / (1.0 + ratio * ratio)
    }

    /// Values by source, from documents: source, tokens and value of each.
    ///
    /// The value is the mean weighted by tokens; its error that of a ratio of means over documents drawn at random,
    /// `sqrt(n / (n - 1) * sum (t (x - mean))^2) / sum t`. A source with a single document has an infinite error.
    pub fn by_source<'a>(documents: impl IntoIterator<Item = (&'a str, u64, f64)>) -> BTreeMap<String, Self> {
        let mut sources: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for (source, tokens, value) in documents {
            sources.entry(source).or_default().push((tokens as f64, value));
        }
        sources.into_iter().map(|(source, documents)| (source.to_owned(), Self::of(&documents))).collect()
    }

    fn of(documents: &[(f64, f64)]) -> Self {
        let tokens: f64 = documents.iter().map(|(tokens, _)| tokens).sum();
        if tokens == 0.0 {
            return Self { value: 0.0, error: f64::INFINITY };
        }
        let value = documents.iter().map(|(tokens, value)| tokens * value).sum::<f64>() / tokens;
        let squares: f64 = documents.iter().map(|(tokens, x)| (tokens * (x - value)).powi(2)).sum();
        let count = documents.len() as f64;
        let error = if count < 2.0 { f64::INFINITY } else { (count / (count - 1.0) * squares).sqrt() / tokens };
        Self { value, error }
    }
}
