//! How far a run is, and what it needs so that later training goes on in each source where it stopped.
//!
//! `trainer_state.json`:
//! ```json
//! {"global_step": 1713, "num_input_tokens_seen": 14032896, "learning_rate": 0.003,
//!  "order": {"seed": 7, "places": {"math": 1408000, "stories": 12624896}}}
//! ```
//! A run that went on from another with another mixture has `began` in `order` besides: `step`, `tokens` and `places` of
//! that moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Tokens of a run, so that counts stay exact in f64.
pub(super) const MAX_TOKENS: u64 = 1 << 53;

/// How far training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates that were made.
    #[serde(rename = "global_step")]
    pub step: u64,
    /// Tokens that were predicted, over all steps.
    #[serde(rename = "num_input_tokens_seen")]
    pub tokens: u64,
    /// Of the last update; 0 before the first.
    pub learning_rate: f64,
    /// Not there before the first update, and in files of versions that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderProgress>,
}

/// Tokens of its stream that were predicted, by source: of those that were read at all.
pub type Places = BTreeMap<String, u64>;

/// How far the order of documents is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderProgress {
    /// Of the streams that `places` are in.
    pub seed: u64,
    #[serde(default, skip_serializing_if = "Beginning::is_first")]
    pub began: Beginning,
    pub places: Places,
}

/// A moment from which a mixture's shares count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The last step before it.
    pub step: u64,
    /// That were predicted before it, over all sources.
    pub tokens: u64,
    pub places: Places,
}

impl Beginning {
    fn is_first(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn place(&self, source: &str) -> u64 {
        self.places.get(source).copied().unwrap_or(0)
    }
}

impl Progress {
    /// What a file says can be.
    ///
    /// # Errors
    /// All numbers that are too large, by key.
    pub(super) fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut at_most = |most: u64, found: u64, place: String| {
            if found > most {
                problems.push(Diagnostic::new(format!("expected at most {most}, found {found}")).at(place));
            }
        };
        at_most(MAX_TOKENS, self.tokens, "num_input_tokens_seen".to_owned());
        if let Some(OrderProgress { began, places, .. }) = &self.order {
            at_most(self.step, began.step, "order.began.step".to_owned());
            at_most(self.tokens, began.tokens, "order.began.tokens".to_owned());
            for (source, &place) in places {
                at_most(MAX_TOKENS, place, format!("order.places.{source}"));
            }
            for (source, &place) in &began.places {
                let now = places.get(source).copied().unwrap_or(0);
                at_most(now, place, format!("order.began.places.{source}"));
            }
        }
        Error::check(problems)
    }
}

#[cfg(test)]
#[path = "tests_progress.rs"]
mod tests;
