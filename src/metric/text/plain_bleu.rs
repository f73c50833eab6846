//! BLEU of one sentence without smoothing, with a weight for every order: NLTK's `sentence_bleu`, from 0 to 1.

use std::collections::BTreeMap;

use super::ngram;

/// BLEU of `answer` against `references`; `weights[n - 1]` belongs to runs of n tokens. Where an order with a weight has
/// no match the score is as good as 0 (NLTK puts the smallest normal number there). Without references it is 0.
pub fn sentence_bleu(answer: &[String], references: &[Vec<String>], weights: &[f64]) -> f64 {
    let nearest = references.iter().map(Vec::len).min_by_key(|&length| (length.abs_diff(answer.len()), length));
    let Some(nearest) = nearest.filter(|_| !answer.is_empty()) else { return 0.0 };
    let precision = |order: usize| {
        let mut known = BTreeMap::new();
        for reference in references {
            ngram::merge_largest(&mut known, ngram::counts(reference, order));
        }
        let matched = ngram::shared(&ngram::counts(answer, order), &known);
        let total = ngram::how_many(answer.len(), order).max(1);
        if matched == 0 { f64::MIN_POSITIVE } else { matched as f64 / total as f64 }
    };
    if precision(1) == f64::MIN_POSITIVE {
        return 0.0;
    }
    let sum: f64 = weights.iter().enumerate().map(|(index, weight)| weight * precision(index + 1).ln()).sum();
    let penalty = if answer.len() > nearest { 1.0 } else { (1.0 - nearest as f64 / answer.len() as f64).exp() };
    penalty * sum.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_order_at_a_time() {
        let tokens = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let reference = [tokens("the cat is on the mat")];
        let score = |answer: &str, weights: &[f64]| sentence_bleu(&tokens(answer), &reference, weights);
        assert!((score("the the the the the the the", &[1.0]) - 2.0 / 7.0).abs() < 1e-15);
        assert!((score("the cat", &[1.0]) - (-2f64).exp()).abs() < 1e-15);
        assert!(score("the cat is on a mat", &[0.0, 0.0, 0.0, 1.0]) > 0.33);
        assert!(score("mat the", &[0.0, 1.0]) < 1e-300);
        assert_eq!(score("dog", &[1.0]), 0.0);
    }
}
