//! The least and the largest share that each source may have in a stage.

use super::curriculum::Supply;
use super::tilt::Region;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// A stage as its bounds see it.
pub(super) struct Stretch<'a> {
    pub supplies: &'a [Supply],
    pub before: Vec<f64>,
    /// Tokens of each source that earlier stages see.
    pub seen: Vec<f64>,
    /// Tokens from its start to the end of the run.
    pub tokens_left: f64,
    pub floor: f64,
}

impl Stretch<'_> {
    /// The bounds: a floor for each source that had a share, and a cap such that the source's tokens are seen at most
    /// `max_repeat` times if the stage lasted to the end of the run. So a stage that ends earlier leaves enough of
    /// every source for later ones to keep its shares, and no cap drives them away from it. A source without a share
    /// before stays without.
    ///
    /// # Errors
    /// All of: a floor above the cap, floors that sum to more than 1, caps that sum to less.
    pub fn region(self) -> Result<Region> {
        let present = |source: usize| self.before[source] > 0.0;
        let sources = 0..self.supplies.len();
        let low: Vec<f64> = sources.clone().map(|source| if present(source) { self.floor } else { 0.0 }).collect();
        let cap = |source: usize| if present(source) { self.cap(source) } else { 0.0 };
        let high: Vec<f64> = sources.clone().map(cap).collect();

        let mut problems = Vec::new();
        for source in sources.filter(|&source| low[source] > high[source]) {
            problems.push(self.floor_above_cap(source, low[source], high[source]));
        }
        let (floors, caps) = (low.iter().sum::<f64>(), high.iter().sum::<f64>());
        if floors > 1.0 {
            let count = low.iter().filter(|low| **low > 0.0).count();
            let message = format!(
                "expected floors that sum to at most 1, found {count} sources with a floor of {}, together {floors:.4}",
                self.floor
            );
            problems.push(Diagnostic::new(message).at("floor").help("lower the floor, or join sources"));
        }
        if caps < 1.0 {
            let usable: f64 = high.iter().map(|cap| cap * self.tokens_left).sum();
            let message = format!(
                "expected sources with {:.0} tokens for the rest of the run, found {usable:.0} (available tokens times \
                 max_repeat, less what earlier stages see): caps sum to {caps:.4}, not 1",
                self.tokens_left
            );
            problems
                .push(Diagnostic::new(message).at("max_repeat").help("allow more repeats, or train on fewer tokens"));
        }
        Error::check(problems)?;
        Ok(Region { before: self.before, low, high })
    }

    fn cap(&self, source: usize) -> f64 {
        let supply = &self.supplies[source];
        let Some(available) = supply.available_tokens else { return 1.0 };
        let left = available * supply.max_repeat - self.seen[source];
        (left / self.tokens_left).clamp(0.0, 1.0)
    }

    fn floor_above_cap(&self, source: usize, floor: f64, cap: f64) -> Diagnostic {
        let Supply { name, available_tokens, max_repeat } = &self.supplies[source];
        let available = available_tokens.unwrap_or(0.0);
        let message = format!(
            "expected a floor within the repeat cap, found a floor of {floor} and a cap of {cap:.3e}: {available:.0} \
             tokens may be seen {max_repeat} times, and {:.0} tokens are seen before",
            self.seen[source]
        );
        let help = "lower the floor, raise max_repeat, or give the source a share of 0";
        Diagnostic::new(message).at(format!("source {name}")).help(help)
    }
}
