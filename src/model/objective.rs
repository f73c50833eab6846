//! What is differentiated: losses of one item each.

use crate::error::{Error, Result};
use crate::kernels::Taught;
use crate::request::{GradSpan, Site, SiteValues};

/// A loss of one sequence of tokens.
#[derive(Debug, Clone)]
pub struct Objective<'a> {
    pub tokens: &'a [u32],
    pub loss: Loss<'a>,
}

/// Token `t` of a sequence is predicted by the logits at position `t - 1`.
#[derive(Debug, Clone)]
pub enum Loss<'a> {
    /// Negative log-likelihood of the tokens of a span, in nats: their sum, or their mean.
    Nll { span: GradSpan, mean: bool },
    /// The same, with the cross entropy against other targets in place of some tokens.
    Taught { span: GradSpan, mean: bool, soft: &'a [SoftPlace<'a>] },
    /// A linear functional of logits: the sum of `weight * logit[position, token]`. A margin is two terms.
    Logits(&'a [LogitTerm]),
    /// `sum KL(reference || model)` over positions: log-probabilities `[vocab]` of each position.
    Kl(&'a [(usize, Vec<f32>)]),
    /// The inner product of a site's activation with these values, of the site's shape.
    Site { site: Site, values: &'a SiteValues },
}

/// Probabilities of tokens that a place is taught, whatever stands there. Places ascend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftPlace<'a> {
    /// Of the token in its sequence, not of the logits that predict it.
    pub place: usize,
    /// Different tokens.
    pub shares: &'a [(u32, f32)],
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitTerm {
    pub position: usize,
    pub token: u32,
    pub weight: f32,
}

impl Loss<'_> {
    /// `logit[right] - logit[wrong]` at a position.
    pub fn margin(position: usize, right: u32, wrong: u32) -> [LogitTerm; 2] {
        [LogitTerm { position, token: right, weight: 1.0 }, LogitTerm { position, token: wrong, weight: -1.0 }]
    }
}

impl Objective<'_> {
    /// Refuses what has no gradient, before any work.
    ///
    /// # Errors
    /// An empty span, a span at position 0, which nothing predicts, and positions and tokens that are not there.
    pub(super) fn check(&self, vocab: usize) -> Result<()> {
        let length = self.tokens.len();
        if let Some(token) = self.tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(Error::bad(format!("expected token ids below {vocab}, found {token}")));
        }
        let inside = |position: usize| {
            if position < length {
                Ok(())
            } else {
                Err(Error::bad(format!("expected a position below {length}, found {position}")))
            }
        };
        match &self.loss {
            Loss::Nll { span, .. } | Loss::Taught { span, .. } if span.start >= span.end => {
                Err(Error::bad(format!("expected a span of at least one token, found {}..{}", span.start, span.end)))
            }
            Loss::Nll { span, .. } | Loss::Taught { span, .. } if span.start == 0 => Err(Error::bad(format!(
                "expected a span that begins at position 1 or later, found {}..{}: nothing predicts the first token",
                span.start, span.end
            ))),
            Loss::Nll { span, .. } | Loss::Taught { span, .. } if span.end > length => {
                Err(Error::bad(format!("expected a span within 1..{length}, found {}..{}", span.start, span.end)))
            }
            Loss::Taught { span, soft, .. } => check_soft(*span, soft, vocab),
            Loss::Logits(terms) => terms.iter().try_for_each(|term| {
                inside(term.position)?;
                if (term.token as usize) < vocab {
                    return Ok(());
                }
                Err(Error::bad(format!("expected token ids below {vocab}, found {}", term.token)))
            }),
            Loss::Kl(reference) => reference.iter().try_for_each(|(position, log_probs)| {
                inside(*position)?;
                if log_probs.len() == vocab {
                    return Ok(());
                }
                Err(Error::bad(format!("expected {vocab} log-probabilities, found {}", log_probs.len())))
            }),
            Loss::Site { .. } if length == 0 => Err(Error::bad("expected at least one token, found none")),
            Loss::Site { values, .. } if values.values.len() != values.shape.iter().product::<usize>() => {
                let (shape, count) = (&values.shape, values.values.len());
                Err(Error::bad(format!("expected as many values as the shape {shape:?} has, found {count}")))
            }
            Loss::Nll { .. } | Loss::Site { .. } => Ok(()),
        }
    }

    /// Positions whose logits enter, ascending, each once.
    pub(super) fn positions(&self) -> Vec<usize> {
        let mut positions: Vec<usize> = match &self.loss {
            Loss::Nll { span, .. } | Loss::Taught { span, .. } => (span.start - 1..span.end - 1).collect(),
            Loss::Logits(terms) => terms.iter().map(|term| term.position).collect(),
            Loss::Kl(reference) => reference.iter().map(|(position, _)| *position).collect(),
            Loss::Site { .. } => Vec::new(),
        };
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// Tokens that have to go through the model.
    pub(super) fn input(&self) -> &[u32] {
        match &self.loss {
            Loss::Nll { span, .. } | Loss::Taught { span, .. } => &self.tokens[..span.end - 1],
            _ => self.tokens,
        }
    }

    /// Of a likelihood: what the logits at a position of its span are taught, and how much it counts.
    pub(super) fn taught(&self, position: usize) -> Option<(Taught<'_>, f32)> {
        let (span, mean, soft) = match self.loss {
            Loss::Nll { span, mean } => (span, mean, &[][..]),
            Loss::Taught { span, mean, soft } => (span, mean, soft),
            _ => return None,
        };
        let place = position + 1;
        let taught = match soft.binary_search_by_key(&place, |own| own.place) {
            Ok(own) => Taught::Shares(soft[own].shares),
            Err(_) => Taught::Token(self.tokens[place]),
        };
        Some((taught, if mean { 1.0 / (span.end - span.start) as f32 } else { 1.0 }))
    }
}

fn check_soft(span: GradSpan, soft: &[SoftPlace<'_>], vocab: usize) -> Result<()> {
    if let Some([one, other]) = soft.array_windows().find(|[one, other]| one.place >= other.place) {
        return Err(Error::bad(format!("expected ascending places, found {} before {}", one.place, other.place)));
    }
    soft.iter().try_for_each(|own| {
        if !(span.start..span.end).contains(&own.place) {
            let (start, end) = (span.start, span.end);
            return Err(Error::bad(format!("expected places within {start}..{end}, found {}", own.place)));
        }
        match own.shares.iter().find(|(token, _)| *token as usize >= vocab) {
            Some((token, _)) => Err(Error::bad(format!("expected token ids below {vocab}, found {token}"))),
            None => Ok(()),
        }
    })
}
