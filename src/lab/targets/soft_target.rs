//! A distribution over a few tokens, and the loss of learning it.

use crate::error::{Error, Result};

/// How far probabilities may be from a sum of one: a hundred roundings of f32.
const SUM_TOLERANCE: f64 = 1e-5;

/// What a learner is taught at one position: probabilities of a few tokens, the true one first.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftTarget {
    /// Different tokens, the first of which is the true one, whatever its probability; probabilities are not negative and
    /// have a sum of one.
    entries: Box<[(u32, f32)]>,
}

impl SoftTarget {
    /// The ordinary target.
    pub fn one_hot(truth: u32) -> Self {
        Self { entries: Box::new([(truth, 1.0)]) }
    }

    /// `(1 - alpha) [v = truth] + alpha r`. With `alpha` = 0 it is [`Self::one_hot`].
    ///
    /// # Errors
    /// `alpha` outside `0..=1`; a token twice; negative probabilities, or a sum of `r` that is not one.
    pub fn mixed(truth: u32, alpha: f64, r: &[(u32, f64)]) -> Result<Self> {
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::bad(format!("expected a share of the target between 0 and 1, found {alpha}")));
        }
        let sum: f64 = r.iter().map(|&(_, probability)| probability).sum();
        // Also where a probability is no number.
        if r.iter().any(|&(_, probability)| probability < 0.0)
            || (sum - 1.0).abs().partial_cmp(&SUM_TOLERANCE).is_none_or(std::cmp::Ordering::is_gt)
        {
            return Err(Error::bad(format!("expected probabilities with a sum of 1, found a sum of {sum}")));
        }
        if alpha == 0.0 {
            return Ok(Self::one_hot(truth));
        }
        let of_truth: f64 = r.iter().filter(|&&(id, _)| id == truth).map(|&(_, probability)| probability).sum();
        let others = r.iter().filter(|&&(id, probability)| id != truth && probability > 0.0);
        let others = others.map(|&(id, probability)| (id, (alpha * probability) as f32));
        Self::new(std::iter::once((truth, (1.0 - alpha + alpha * of_truth) as f32)).chain(others).collect())
    }

    /// Tokens and their probabilities, the true one first.
    ///
    /// # Errors
    /// No token, a token twice, probabilities that are none.
    pub fn new(entries: Vec<(u32, f32)>) -> Result<Self> {
        let mut sorted: Vec<u32> = entries.iter().map(|(id, _)| *id).collect();
        sorted.sort_unstable();
        if let Some([id, _]) = sorted.array_windows().find(|[one, other]| one == other) {
            return Err(Error::bad(format!("expected different tokens in a target, found {id} twice")));
        }
        let sum: f64 = entries.iter().map(|(_, probability)| f64::from(*probability)).sum();
        let sound = entries.iter().all(|(_, probability)| (0.0..=1.0).contains(probability));
        if !sound || (sum - 1.0).abs() > SUM_TOLERANCE {
            let count = entries.len();
            let message = format!("expected probabilities of {count} tokens with a sum of 1, found a sum of {sum}");
            return Err(Error::bad(message));
        }
        Ok(Self { entries: entries.into_boxed_slice() })
    }

    pub fn truth(&self) -> u32 {
        self.entries[0].0
    }

    /// Whether the true token has everything.
    pub fn is_one_hot(&self) -> bool {
        self.entries[1..].iter().all(|(_, probability)| *probability == 0.0)
    }

    /// Tokens and their probabilities, the true one first.
    pub fn entries(&self) -> &[(u32, f32)] {
        &self.entries
    }

    /// Cross-entropy in nats, `log sum exp z - sum over v of q_v z_v`. Of a one-hot target the same bits as the
    /// ordinary loss: what has no probability takes part in no sum.
    ///
    /// # Errors
    /// A token that the logits do not have.
    pub fn loss(&self, logits: &[f32]) -> Result<f64> {
        self.check(logits)?;
        let mut taught = 0.0;
        for &(id, probability) in self.entries.iter().filter(|(_, probability)| *probability > 0.0) {
            taught += f64::from(probability) * f64::from(logits[id as usize]);
        }
        Ok(log_sum_exp(logits) - taught)
    }

    /// Of [`Self::loss`] by the logits: `p - q`.
    ///
    /// # Errors
    /// A token that the logits do not have.
    pub fn logit_gradient(&self, logits: &[f32]) -> Result<Vec<f64>> {
        self.check(logits)?;
        let normalizer = log_sum_exp(logits);
        let mut gradient: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) - normalizer).exp()).collect();
        for &(id, probability) in &self.entries {
            gradient[id as usize] -= f64::from(probability);
        }
        Ok(gradient)
    }

    fn check(&self, logits: &[f32]) -> Result<()> {
        match self.entries.iter().find(|(id, _)| *id as usize >= logits.len()) {
            None => Ok(()),
            Some((id, _)) => {
                let found = logits.len();
                Err(Error::bad(format!("expected a vocabulary with token {id}, found one of {found} tokens"))
                    .help("the targets are for another tokenizer"))
            }
        }
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let greatest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    greatest + logits.iter().map(|&logit| (f64::from(logit) - greatest).exp()).sum::<f64>().ln()
}
