//! Metrics of multiple choice (lm-evaluation-harness's rules E1 to E5).

use super::outcome::ChoiceOutcome;

/// Index of the largest value; the first of equal ones; the first NaN beats everything, as in NumPy.
pub(super) fn first_maximum(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if values[best].is_nan() {
            break;
        }
        if value.is_nan() || *value > values[best] {
            best = index;
        }
    }
    best
}

impl ChoiceOutcome {
    fn sums(&self) -> Vec<f64> {
        self.choices.iter().map(super::ChoiceScore::log_likelihood).collect()
    }

    /// 1 if the choice with the largest value, after `adjust(sum, choice)`, is right.
    fn accuracy(&self, adjust: impl Fn(f64, &super::ChoiceScore) -> f64) -> f64 {
        let values: Vec<f64> = self.choices.iter().map(|choice| adjust(choice.log_likelihood(), choice)).collect();
        f64::from(u8::from(self.gold.contains(&first_maximum(&values))))
    }

    pub(super) fn acc(&self) -> f64 {
        self.accuracy(|sum, _| sum)
    }

    pub(super) fn acc_norm(&self) -> f64 {
        self.accuracy(|sum, choice| sum / choice.chars as f64)
    }

    pub(super) fn acc_bytes(&self) -> f64 {
        self.accuracy(|sum, choice| sum / choice.bytes as f64)
    }

    pub(super) fn acc_per_token(&self) -> f64 {
        self.accuracy(|sum, choice| sum / choice.log_probs.len() as f64)
    }

    pub(super) fn acc_mutual_info(&self) -> Option<f64> {
        self.choices
            .iter()
            .all(|choice| choice.unconditional.is_some())
            .then(|| self.accuracy(|sum, choice| sum - choice.unconditional.unwrap_or(0.0)))
    }

    /// 1 if every token of a right choice was the model's first choice.
    pub(super) fn exact_match(&self) -> f64 {
        f64::from(u8::from(self.gold.iter().any(|&gold| self.choices[gold].greedy)))
    }

    /// Softmax of the sums.
    fn probabilities(&self) -> Vec<f64> {
        let sums = self.sums();
        let max = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = sums.iter().map(|sum| (sum - max).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    /// Squared distance of the softmax to the one-hot gold; `None` with several right choices.
    pub(super) fn brier_score(&self) -> Option<f64> {
        let [gold] = self.gold[..] else { return None };
        let terms =
            self.probabilities().into_iter().enumerate().map(|(i, p)| (p - f64::from(u8::from(i == gold))).powi(2));
        Some(terms.sum())
    }

    /// Share of the probability mass over the choices that lies on right ones (TruthfulQA MC2).
    pub(super) fn right_mass(&self) -> f64 {
        let probabilities = self.probabilities();
        self.gold.iter().map(|&gold| probabilities[gold]).sum()
    }

    /// Bits per byte of the right choice; `None` with several right choices.
    pub(super) fn bits_per_byte(&self) -> Option<f64> {
        let [gold] = self.gold[..] else { return None };
        let choice = &self.choices[gold];
        Some(-choice.log_likelihood() / std::f64::consts::LN_2 / choice.bytes as f64)
    }

    /// 1 if the largest sum is shared.
    pub(super) fn tie(&self) -> f64 {
        let sums = self.sums();
        let best = sums[first_maximum(&sums)];
        f64::from(u8::from(sums.iter().filter(|sum| **sum == best).count() > 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::ChoiceScore;

    fn outcome(sums: &[f32], lengths: &[usize], gold: &[usize]) -> ChoiceOutcome {
        let choices = sums.iter().zip(lengths).map(|(&sum, &length)| ChoiceScore {
            log_probs: vec![sum / 2.0, sum / 2.0],
            greedy: false,
            chars: length,
            bytes: 2 * length,
            unconditional: Some(-1.0),
        });
        ChoiceOutcome { choices: choices.collect(), gold: gold.to_vec() }
    }

    #[test]
    fn first_maximum_is_numpys() {
        assert_eq!(first_maximum(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(first_maximum(&[1.0, f64::NAN, 9.0]), 1);
        assert_eq!(first_maximum(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), 0);
    }

    #[test]
    fn normalisers_choose_differently() {
        let item = outcome(&[-10.0, -12.0], &[5, 12], &[1]);
        assert_eq!((item.acc(), item.acc_norm(), item.acc_bytes(), item.acc_per_token()), (0.0, 1.0, 1.0, 0.0));
        assert_eq!(item.acc_mutual_info(), Some(0.0));
        let tied = outcome(&[-4.0, -4.0], &[3, 3], &[0]);
        assert_eq!((tied.tie(), tied.acc(), tied.brier_score()), (1.0, 1.0, Some(0.5)));
        assert_eq!(outcome(&[-4.0, -4.0, -90.0], &[1, 1, 1], &[0, 1]).right_mass(), 1.0);
        let bits = outcome(&[-8.0, -4.0], &[4, 2], &[0]).bits_per_byte().unwrap();
        assert!((bits - 1.0 / std::f64::consts::LN_2).abs() < 1e-12);
    }
}
