//! Shares that follow values as far as bounds and a trust region allow.
//!
//! For shares `p` before, values `s`, bounds `low <= q <= high` and `eta >= 0`, the shares
//!
//! ```text
//! q(eta) = argmax  eta <q, s> - KL(q || p)    over low <= q <= high, sum q = 1
//! ```
//! are `q_i = clamp(c p_i exp(eta s_i), low_i, high_i)` with the one `c` that makes them sum to 1: the stationary
//! point of the Lagrangian, whose multipliers of bounds have the right sign by the clamp (water-filling). Three facts
//! follow:
//!
//! - `KL(q(eta) || p)` never falls in `eta`. Let `V` be `<q, s>` and `K` the divergence at `a < b`; each is best at
//!   its own eta, so `a V_a - K_a >= a V_b - K_b` and the same with `b`. Their sum gives `V_b >= V_a`, and the first
//!   then `K_b - K_a >= a (V_b - V_a) >= 0`. So bisection finds the largest eta within a limit, and `q` there is the
//!   best mixture of the whole region: no clamp afterwards can break the limit.
//! - `q(0)` is nearest to `p` of all that the bounds allow: if it is beyond the limit, nothing is within.
//! - Raising one `s_i` never lowers `q_i`, whatever binds. With `KL <= limit` and `eta <= ceiling`, `q` is where the
//!   maximum of `<q, s> - KL / ceiling` over a convex set is taken; that maximum is a convex function of `s` and `q`
//!   its gradient.

/// Beyond this difference of exponents a share is zero in f64 in any case.
const LARGEST_EXPONENT: f64 = 1000.0;
/// Halvings of the interval of eta: its last width is `1000 / 2^80` of the inverse range of values, below rounding.
const HALVINGS: usize = 80;

/// Shares before, and what the next ones may be. A source without a share before has the bounds 0 and 0.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub before: Vec<f64>,
    pub low: Vec<f64>,
    pub high: Vec<f64>,
}

/// The best shares of a region.
#[derive(Debug, Clone)]
pub(super) struct Solved {
    pub shares: Vec<f64>,
    pub eta: f64,
    /// `KL(shares || before)`.
    pub divergence: f64,
    pub stop: Stop,
}

/// Why eta is not larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The divergence is at its limit.
    Limit,
    /// At its ceiling.
    Ceiling,
    /// All values are the same: no eta changes anything.
    Level,
    /// The shares are as far as bounds let them go.
    Corner,
}

impl Region {
    /// The shares for one eta. The bounds must leave room: sums of `low` at most 1, of `high` at least 1.
    pub fn at(&self, values: &[f64], eta: f64) -> Vec<f64> {
        let exponents: Vec<f64> =
            self.before.iter().zip(values).map(|(before, value)| before.ln() + eta * value).collect();
        let mut shares = self.low.clone();
        let open = |&source: &usize| self.high[source] > self.low[source];
        let mut free: Vec<usize> = (0..shares.len()).filter(open).collect();
        let mut rest =
            1.0 - (0..shares.len()).filter(|source| !open(source)).map(|source| self.low[source]).sum::<f64>();
        // Each round fixes a source or is the last. Of the sources beyond a bound only those of the side that is
        // beyond by more are fixed: filling up moves the others towards their bound or past it again, never away from
        // this one.
        while !free.is_empty() {
            let largest = free.iter().map(|&source| exponents[source]).fold(f64::NEG_INFINITY, f64::max);
            let weight = |source: usize| (exponents[source] - largest).exp();
            let scale = rest / free.iter().map(|&source| weight(source)).sum::<f64>();
            let (mut over, mut under) = (0.0, 0.0);
            for &source in &free {
                shares[source] = scale * weight(source);
                over += (shares[source] - self.high[source]).max(0.0);
                under += (self.low[source] - shares[source]).max(0.0);
            }
            if over == 0.0 && under == 0.0 {
                break;
            }
            let cut_over = over >= under;
            free.retain(|&source| {
                let bound = if cut_over { self.high[source] } else { self.low[source] };
                let beyond = if cut_over { shares[source] > bound } else { shares[source] < bound };
                if beyond {
                    shares[source] = bound;
                    rest -= bound;
                }
                !beyond
            });
        }
        shares
    }

    /// The best shares with a divergence of at most `limit` and an eta of at most `ceiling`, or those nearest to the
    /// shares before when even they are beyond the limit.
    pub fn solve(&self, values: &[f64], limit: f64, ceiling: f64) -> Solved {
        let solved = |eta: f64, stop: Stop| {
            let shares = self.at(values, eta);
            let divergence = divergence(&shares, &self.before);
            Solved { shares, eta, divergence, stop }
        };
        let present = || self.before.iter().zip(values).filter(|(before, _)| **before > 0.0).map(|(_, value)| *value);
        let range = present().fold(f64::NEG_INFINITY, f64::max) - present().fold(f64::INFINITY, f64::min);
        if range <= 0.0 || ceiling <= 0.0 {
            return solved(0.0, if range <= 0.0 { Stop::Level } else { Stop::Ceiling });
        }
        let farthest = LARGEST_EXPONENT / range;
        let (top, stop) = if ceiling < farthest { (ceiling, Stop::Ceiling) } else { (farthest, Stop::Corner) };
        let last = solved(top, stop);
        if last.divergence <= limit {
            return last;
        }
        let (mut within, mut beyond) = (0.0, top);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(within, beyond);
            if divergence(&self.at(values, middle), &self.before) <= limit {
                within = middle;
            } else {
                beyond = middle;
            }
        }
        solved(within, Stop::Limit)
    }
}

/// `KL(shares || before)` in nats; infinite where a share was zero before. As a sum of terms of one sign, so that
/// small changes keep their digits: with `r = q / p`, the terms `p (r ln r - r + 1)` add up to it when both sum to 1.
pub(super) fn divergence(shares: &[f64], before: &[f64]) -> f64 {
    let term = |(&share, &before): (&f64, &f64)| {
        if share == 0.0 {
            return before;
        }
        if before == 0.0 {
            return f64::INFINITY;
        }
        let change = (share - before) / before;
        if change.abs() < 1e-4 {
            // The series of (1 + x) ln (1 + x) - x.
            before * change * change * (0.5 - change / 6.0 + change * change / 12.0)
        } else if change > -0.5 {
            before * ((1.0 + change) * change.ln_1p() - change)
        } else {
            // A share may be too small for `change` to differ from -1.
            share * (share / before).ln() - share + before
        }
    };
    shares.iter().zip(before).map(term).sum()
}
