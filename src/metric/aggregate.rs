//! From item values to a score.

use super::registry::{Aggregation, Metric};
use crate::stats::{Estimate, mean, proportion, python_bootstrap_stderr, ratio};

/// Value and weight of one item. The weight is 1 except for ratios.
pub type ItemValue = (f64, f64);

/// Aggregates one metric over items. With `python_bootstrap` (a number of threads) the standard errors are those of
/// lm-evaluation-harness: 100,000 bootstrap draws for `perplexity`, none for corpus ratios.
pub fn summarise(metric: &Metric, items: &[ItemValue], python_bootstrap: Option<usize>) -> Estimate {
    let values: Vec<f64> = items.iter().map(|(value, _)| *value).collect();
    let exp = |estimate: Estimate| estimate.transformed(f64::exp, f64::exp);
    let mut estimate = match metric.aggregation {
        Aggregation::Proportion => proportion(&values),
        Aggregation::Mean => mean(&values),
        Aggregation::ExpNegMean => mean(&values).transformed(|x| (-x).exp(), |x| -(-x).exp()),
        Aggregation::Ratio => ratio(items),
        Aggregation::ExpRatio => exp(ratio(items)),
    };
    if let Some(threads) = python_bootstrap {
        match metric.aggregation {
            Aggregation::ExpNegMean => estimate.stderr = python_bootstrap_stderr(&values, |x| (-x).exp(), threads),
            Aggregation::Ratio | Aggregation::ExpRatio => estimate.stderr = None,
            Aggregation::Proportion | Aggregation::Mean => {}
        }
    }
    estimate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Metric, OutcomeKind};

    #[test]
    fn each_aggregation_by_hand() {
        let perplexity = Metric::find(OutcomeKind::Cloze, "perplexity").unwrap();
        let score = summarise(perplexity, &[(-1.0, 1.0), (-3.0, 1.0)], None);
        assert!((score.value - 2f64.exp()).abs() < 1e-12 && score.stderr.unwrap() > 0.0);
        let (lo, hi) = score.interval.unwrap();
        assert!(lo < score.value && score.value < hi);
        let word = Metric::find(OutcomeKind::Rolling, "word_perplexity").unwrap();
        let score = summarise(word, &[(10.0, 4.0), (2.0, 2.0)], None);
        assert!((score.value - 2f64.exp()).abs() < 1e-12);
        assert_eq!(summarise(word, &[(10.0, 4.0), (2.0, 2.0)], Some(1)).stderr, None);
    }
}
