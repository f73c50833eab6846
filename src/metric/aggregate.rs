//! From item values to a score.

use std::iter::Sum;
use std::ops::Sub;

use super::registry::{Aggregation, Metric};
use super::text::{bleu, chrf};
use crate::stats::{Estimate, jackknife, mean, proportion, python_bootstrap_stderr, ratio};

/// What one item gives to a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ItemValue {
    /// Value and weight. The weight is 1 except for ratios.
    Weighted(f64, f64),
    /// Counts; a score is made of their sum.
    Bleu(bleu::Counts),
    Chrf(chrf::Counts),
}

impl ItemValue {
    pub(super) fn one(value: f64) -> Self {
        Self::Weighted(value, 1.0)
    }

    /// The item's own score, as if it were the only one; exponentials of means are left out.
    pub fn own(&self, metric: &Metric) -> f64 {
        match (self, metric.aggregation) {
            (Self::Weighted(value, weight), Aggregation::Ratio) => value / weight,
            (Self::Weighted(value, weight), Aggregation::ExpRatio) => (value / weight).exp(),
            (Self::Weighted(value, _), _) => *value,
            (Self::Bleu(counts), _) => counts.corpus_bleu(),
            (Self::Chrf(counts), _) => counts.score(),
        }
    }
}

/// Aggregates one metric over items. With `python_bootstrap` (a number of threads) the standard errors are those of
/// lm-evaluation-harness: 100,000 bootstrap draws for `perplexity`, none for corpus ratios and counts.
pub fn summarise(metric: &Metric, items: &[ItemValue], python_bootstrap: Option<usize>) -> Estimate {
    let mut pairs = Vec::new();
    let (mut bleu, mut chrf) = (Vec::new(), Vec::new());
    for item in items {
        match *item {
            ItemValue::Weighted(value, weight) => pairs.push((value, weight)),
            ItemValue::Bleu(counts) => bleu.push(counts),
            ItemValue::Chrf(counts) => chrf.push(counts),
        }
    }
    let values: Vec<f64> = pairs.iter().map(|(value, _)| *value).collect();
    let exp = |estimate: Estimate| estimate.transformed(f64::exp, f64::exp);
    let mut estimate = match metric.aggregation {
        Aggregation::Proportion => proportion(&values),
        Aggregation::Mean => mean(&values),
        Aggregation::ExpNegMean => mean(&values).transformed(|x| (-x).exp(), |x| -(-x).exp()),
        Aggregation::Ratio => ratio(&pairs),
        Aggregation::ExpRatio => exp(ratio(&pairs)),
        Aggregation::Bleu => corpus(&bleu, bleu::Counts::corpus_bleu),
        Aggregation::Chrf => corpus(&chrf, chrf::Counts::score),
    };
    if let Some(threads) = python_bootstrap {
        match metric.aggregation {
            Aggregation::ExpNegMean => estimate.stderr = python_bootstrap_stderr(&values, |x| (-x).exp(), threads),
            Aggregation::Ratio | Aggregation::ExpRatio | Aggregation::Bleu | Aggregation::Chrf => {
                estimate.stderr = None;
            }
            Aggregation::Proportion | Aggregation::Mean => {}
        }
    }
    estimate
}

/// The score of summed counts, its error from the scores of the corpus without each item.
fn corpus<C: Copy + Sum + Sub<Output = C>>(items: &[C], score: fn(&C) -> f64) -> Estimate {
    let all: C = items.iter().copied().sum();
    let without: Vec<f64> = items.iter().map(|item| score(&(all - *item))).collect();
    jackknife(score(&all), &without)
}

#[cfg(test)]
mod tests {
    use super::ItemValue::Weighted;
    use super::*;
    use crate::metric::{Metric, OutcomeKind};

    #[test]
    fn each_aggregation_by_hand() {
        let perplexity = Metric::find(OutcomeKind::Cloze, "perplexity").unwrap();
        let score = summarise(perplexity, &[Weighted(-1.0, 1.0), Weighted(-3.0, 1.0)], None);
        assert!((score.value - 2f64.exp()).abs() < 1e-12 && score.stderr.unwrap() > 0.0);
        let (lo, hi) = score.interval.unwrap();
        assert!(lo < score.value && score.value < hi);
        let word = Metric::find(OutcomeKind::Rolling, "word_perplexity").unwrap();
        let score = summarise(word, &[Weighted(10.0, 4.0), Weighted(2.0, 2.0)], None);
        assert!((score.value - 2f64.exp()).abs() < 1e-12);
        assert_eq!(summarise(word, &[Weighted(10.0, 4.0), Weighted(2.0, 2.0)], Some(1)).stderr, None);
    }

    #[test]
    fn a_corpus_is_no_mean_of_its_items() {
        let bleu = Metric::find(OutcomeKind::Answer, "bleu").unwrap();
        let counts = [("the cat sat on the mat", "the cat sat on a mat"), ("a dog", "a dog ran away today")]
            .map(|(answer, reference)| bleu::Counts::of(answer, &[reference]));
        let items = counts.map(ItemValue::Bleu);
        let score = summarise(bleu, &items, None);
        assert_eq!(score.value, (counts[0] + counts[1]).corpus_bleu());
        assert!((score.value - f64::midpoint(items[0].own(bleu), items[1].own(bleu))).abs() > 1.0);
        assert!(score.stderr.unwrap() > 0.0 && score.n == 2);
        assert_eq!(summarise(bleu, &items, Some(1)).stderr, None);
        // Items that are all the same say the same without one of them.
        let same = summarise(bleu, &[items[0]; 5], None);
        assert!(same.stderr.unwrap() < 1e-9 && (same.value - items[0].own(bleu)).abs() < 1e-9);
    }
}
