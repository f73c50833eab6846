//! What a token should be taught, so that a step on it lowers the loss of the feedback items most: soft targets over the
//! true token and the likeliest others.
//!
//! ```text
//! C = {y} and the top K - 1 of p        q = (1 - alpha) [v = y] + alpha r,  r on C,  0 <= alpha <= alpha_max
//! g_pre = sum over v of (p_v - q_v) dz_v/dtheta
//! V(alpha, r) = <g_down, g_pre> = V(y) - alpha sum over v of (r_v - [v = y]) u_v,      u_v = <g_down, dz_v/dtheta>
//! ```
//! `u_v`, the *slope*, says how fast the logit of `v` grows along the gradient of the feedback's loss; of a softmax over
//! `W h` it is `(G h)_v`. V is linear in q, so the best target puts all of `alpha_max` on the candidate of the lowest
//! slope, unless that is the true token, and gains `alpha_max (u_y - min u)`. No designer within the same bounds can gain
//! more to first order: this is what a trained one is measured against. Source: Ke and Fanti, "Value-Based Pre-Training
//! with Downstream Feedback" (arXiv 2601.22108).
//!
//! **The best of noisy numbers looks better than it is.** Where the slopes of two halves of the feedback items are given,
//! the gain is also told with the choice of one half measured by the other ([`Gain::crossed`]): of feedback that says
//! nothing it is zero in the mean, while the plain one is not.
//!
//! ```text
//! feedback set ─► Aim: g_down of all items, of two halves ─┐
//! documents ─► windows ─► logits at theta, theta ± eps g ──┴─► TokenSlopes ─► design ─► TargetFile ─► the learner
//! ```
//!
//! **Firewall.** A learner sees [`SoftTarget`]s, which hold ids and probabilities of tokens of its own stream. Nothing of
//! the feedback items, not even a slope, is in them or in their file; and it stands on a lower floor ([`crate::lab`]), from
//! where it cannot open a feedback set.

mod aim;
mod design;
mod one_step;
mod slopes;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_aim;
#[cfg(test)]
mod tests_worlds;

pub use crate::lab::targets::{SoftTarget, TargetFile, TargetOrigin};
pub use aim::Aim;
pub use design::{Candidate, Design, Gain, TokenSlopes, candidates, design};
pub use one_step::OneStep;
pub use slopes::{Found, Slopes, Window, windows};
