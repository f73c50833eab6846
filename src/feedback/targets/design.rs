//! The best targets of a batch, in closed form.

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::lab::targets::SoftTarget;

/// Problems told of one batch.
const MOST_PROBLEMS: usize = 20;

/// A token that may be taught.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub id: u32,
    /// `<g_down, dz_v/dtheta>` with the mean gradient of all feedback items.
    pub slope: f64,
    /// The same with the mean gradients of two halves of them.
    pub halves: Option<[f64; 2]>,
}

/// One position of the learner's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSlopes {
    /// The true token.
    pub truth: u32,
    /// Different tokens, the true one among them.
    pub candidates: Vec<Candidate>,
}

/// What the targets of a batch gain over one-hot ones: the decrease of the feedback's loss per unit of learning rate, as
/// the learner's loss is the mean over the batch's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// Never negative. The upper bound for any designer within `alpha_max`, if the slopes are exact.
    pub best: f64,
    /// Each half's choice measured by the other half's slopes, mean of both: unbiased for a design of half the items.
    /// `None` where halves are missing.
    pub crossed: Option<f64>,
    /// Positions whose target is not one-hot.
    pub shifted: usize,
    pub tokens: usize,
}

impl Gain {
    /// Of two batches together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let tokens = self.tokens + other.tokens;
        let [own, others] = [self.tokens, other.tokens].map(|count| count as f64 / tokens as f64);
        Self {
            best: own * self.best + others * other.best,
            crossed: self.crossed.zip(other.crossed).map(|(a, b)| own * a + others * b),
            shifted: self.shifted + other.shifted,
            tokens,
        }
    }
}

/// Targets of a batch, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    pub targets: Vec<SoftTarget>,
    pub gain: Gain,
}

/// The true token and the `k - 1` others of the highest logits; of equal ones the lower id first.
///
/// # Errors
/// A true token that the logits do not have; logits that are no numbers; `k` of zero.
pub fn candidates(logits: &[f32], truth: u32, k: usize) -> Result<Vec<u32>> {
    if truth as usize >= logits.len() || k == 0 || logits.iter().any(|logit| logit.is_nan()) {
        let message = format!(
            "expected logits that are numbers, the true token among them and room for it, found {} logits, token \
             {truth} and room for {k}",
            logits.len()
        );
        return Err(Error::bad(message));
    }
    let mut others: Vec<u32> = (0..logits.len() as u32).filter(|&id| id != truth).collect();
    let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let wanted = (k - 1).min(others.len());
    if wanted < others.len() {
        others.select_nth_unstable_by(wanted, better);
        others.truncate(wanted);
    }
    others.sort_unstable_by(better);
    others.insert(0, truth);
    Ok(others)
}

/// For each token all of `alpha_max` on the candidate of the lowest slope; one-hot where that is the true token.
///
/// # Errors
/// `alpha_max` outside `0..=1`; no tokens; tokens whose candidates lack the true one, repeat, or have slopes that are no
/// numbers.
pub fn design(tokens: &[TokenSlopes], alpha_max: f64) -> Result<Design> {
    if !(0.0..=1.0).contains(&alpha_max) {
        return Err(Error::bad(format!("expected an alpha_max between 0 and 1, found {alpha_max}")));
    }
    if tokens.is_empty() {
        return Err(Error::bad("expected a batch of at least one token, found none"));
    }
    let problems: Vec<Diagnostic> = tokens
        .iter()
        .enumerate()
        .filter_map(|(position, token)| Some(Diagnostic::new(problem(token)?).at(format!("token {position}"))))
        .take(MOST_PROBLEMS)
        .collect();
    Error::check(problems)?;
    let mut best = 0.0;
    let mut crossed = Some(0.0);
    let mut shifted = 0;
    let mut targets = Vec::with_capacity(tokens.len());
    for token in tokens {
        let (choice, gain) = token.best(|candidate| candidate.slope);
        best += alpha_max * gain;
        crossed = crossed.zip(token.crossed()).map(|(sum, gain)| sum + alpha_max * gain);
        let moved = alpha_max > 0.0 && gain > 0.0;
        shifted += usize::from(moved);
        targets.push(if moved {
            SoftTarget::mixed(token.truth, alpha_max, &[(choice.id, 1.0)])?
        } else {
            SoftTarget::one_hot(token.truth)
        });
    }
    let count = tokens.len() as f64;
    let gain = Gain { best: best / count, crossed: crossed.map(|sum| sum / count), shifted, tokens: tokens.len() };
    Ok(Design { targets, gain })
}

fn problem(token: &TokenSlopes) -> Option<String> {
    let numbers = token.candidates.iter().flat_map(|c| std::iter::once(c.slope).chain(c.halves.into_iter().flatten()));
    if let Some(number) = { numbers }.find(|number| !number.is_finite()) {
        return Some(format!("expected finite slopes, found {number}"));
    }
    let mut ids: Vec<u32> = token.candidates.iter().map(|candidate| candidate.id).collect();
    ids.sort_unstable();
    if let Some([id, _]) = ids.array_windows().find(|[one, other]| one == other) {
        return Some(format!("expected different candidates, found token {id} twice"));
    }
    let truth = token.truth;
    ids.binary_search(&truth)
        .is_err()
        .then(|| format!("expected the true token {truth} among the candidates, found none"))
}

impl TokenSlopes {
    /// The candidate of the lowest slope, and by how much it is below the true one: of equal ones the true token, then
    /// the lower id.
    fn best(&self, slope: impl Fn(&Candidate) -> f64) -> (&Candidate, f64) {
        let mut best = self.of_truth();
        let of_truth = slope(best);
        for candidate in &self.candidates {
            let order = slope(candidate).total_cmp(&slope(best));
            let lower_id = best.id != self.truth && candidate.id < best.id;
            if order.is_lt() || (order.is_eq() && lower_id) {
                best = candidate;
            }
        }
        (best, of_truth - slope(best))
    }

    /// Per unit of alpha.
    fn crossed(&self) -> Option<f64> {
        let halves = |candidate: &Candidate| candidate.halves;
        self.candidates.iter().all(|candidate| candidate.halves.is_some()).then_some(())?;
        let mut sum = 0.0;
        for (choosing, measuring) in [(0, 1), (1, 0)] {
            let (choice, _) = self.best(|candidate| halves(candidate).map_or(0.0, |halves| halves[choosing]));
            sum += halves(self.of_truth())?[measuring] - halves(choice)?[measuring];
        }
        Some(sum / 2.0)
    }

    /// [`design`] has checked that there is one.
    fn of_truth(&self) -> &Candidate {
        self.candidates.iter().find(|candidate| candidate.id == self.truth).unwrap_or(&self.candidates[0])
    }
}
