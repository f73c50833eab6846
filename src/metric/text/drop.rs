//! DROP's exact match and F1 (Dua and others 2019, section 5), as lm-evaluation-harness computes them.

use std::collections::BTreeSet;

use super::assignment::best_assignment;
use super::{harmonic_mean, normalise, python_float, words};

/// Both scores of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    pub exact_match: f64,
    /// Rounded to two digits, as the script does.
    pub f1: f64,
}

/// Scores of predicted spans against the best of several answers, each a list of spans. Answers whose first span is
/// blank count for nothing; without others both scores are 0.
pub fn scores<P: AsRef<str>, G: AsRef<str>>(predicted: &[P], answers: &[Vec<G>]) -> Scores {
    let predicted: Vec<String> = predicted.iter().map(|span| normalise::drop(span.as_ref())).collect();
    let mut best = Scores { exact_match: 0.0, f1: 0.0 };
    for answer in answers {
        if answer.first().is_none_or(|span| span.as_ref().trim().is_empty()) {
            continue;
        }
        let gold: Vec<String> = answer.iter().map(|span| normalise::drop(span.as_ref())).collect();
        best.exact_match = best.exact_match.max(exact_match(&predicted, &gold));
        best.f1 = best.f1.max(f1(&predicted, &gold));
    }
    best
}

/// As many spans, and as a set the same ones.
fn exact_match(predicted: &[String], gold: &[String]) -> f64 {
    let set = |spans: &[String]| spans.iter().cloned().collect::<BTreeSet<String>>();
    f64::from(u8::from(predicted.len() == gold.len() && set(predicted) == set(gold)))
}

/// Spans are paired so that their F1 is largest; spans without a partner score 0.
fn f1(predicted: &[String], gold: &[String]) -> f64 {
    let bags = |spans: &[String]| -> Vec<BTreeSet<String>> {
        spans.iter().map(|span| words(span).map(str::to_owned).collect()).collect()
    };
    let (predicted, gold) = (bags(predicted), bags(gold));
    let table: Vec<Vec<f64>> =
        gold.iter().map(|gold| predicted.iter().map(|predicted| span_f1(predicted, gold)).collect()).collect();
    let pairs = best_assignment(&table, predicted.len());
    let sum: f64 = pairs.iter().zip(&table).filter_map(|(column, row)| Some(row[(*column)?])).sum();
    let mean = sum / gold.len().max(predicted.len()) as f64;
    (mean * 100.0).round_ties_even() / 100.0
}

/// F1 of two sets of words; 0 if the gold has numbers and the prediction none of them.
fn span_f1(predicted: &BTreeSet<String>, gold: &BTreeSet<String>) -> f64 {
    let mut numbers = gold.iter().filter(|word| python_float::parse(word).is_some()).peekable();
    if numbers.peek().is_some() && !numbers.any(|number| predicted.contains(number)) {
        return 0.0;
    }
    let shared = predicted.intersection(gold).count() as f64;
    let share = |bag: &BTreeSet<String>| if bag.is_empty() { 1.0 } else { shared / bag.len() as f64 };
    harmonic_mean(share(predicted), share(gold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_decide_and_spans_are_paired() {
        let gold = |spans: &[&str]| vec![spans.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()];
        assert_eq!(scores(&["4 yards"], &gold(&["4"])), Scores { exact_match: 0.0, f1: 0.67 });
        assert_eq!(scores(&["5 yards"], &gold(&["4 yards"])), Scores { exact_match: 0.0, f1: 0.0 });
        assert_eq!(scores(&["4.0"], &gold(&["4"])), Scores { exact_match: 1.0, f1: 1.0 });
        assert_eq!(scores(&["b", "x"], &gold(&["x", "c b"])), Scores { exact_match: 0.0, f1: 0.83 });
        assert_eq!(scores(&["dogs", "cats"], &gold(&["cats", "dogs"])), Scores { exact_match: 1.0, f1: 1.0 });
        assert_eq!(scores(&["x"], &gold(&[" "])), Scores { exact_match: 0.0, f1: 0.0 });
    }
}
