//! Which way logits are asked to move: the mean gradient of the feedback's loss, and those of two halves of its items.

use std::collections::BTreeMap;

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::Direction;
use crate::feedback::bundle::{TargetNote, half_mean, mean};
use crate::feedback::gradset::dot;
use crate::request::SiteValues;

/// `g_down`. Of one target it is its gradient. Of several it is the mean over domains of the mean over a domain's targets of
/// gradients in standard units, each divided by its norm: targets with long gradients do not drown the others. Halves are
/// divided by the norms of the whole, so that their slopes are in the same unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Aim {
    pub whole: Direction,
    /// Of the parts of even number and of those of odd number.
    pub halves: [Direction; 2],
    /// Whether slopes are in standard units; otherwise they are in nats.
    pub is_standard: bool,
}

impl Aim {
    /// `parts` reads the mean gradients of the parts of the target of a number; they are not kept.
    ///
    /// # Errors
    /// Targets without a gradient, by name; whatever `parts` says.
    pub fn of(targets: &[TargetNote], parts: &mut dyn FnMut(usize) -> Result<Vec<Direction>>) -> Result<Self> {
        let mut domains: BTreeMap<&str, f64> = BTreeMap::new();
        for target in targets {
            *domains.entry(&target.domain).or_default() += 1.0;
        }
        let is_standard = targets.len() > 1;
        let mut sums = [Direction::new(), Direction::new(), Direction::new()];
        let mut problems = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            let parts = parts(number)?;
            let whole = mean(&parts, &target.parts);
            let norm = dot(&whole, &whole).sqrt();
            if !norm.is_normal() {
                let message = format!("expected a gradient of a norm above 0, found one of {norm}");
                problems.push(Diagnostic::new(message).at(format!("target {}", target.name)));
            }
            let share = 1.0 / (domains.len() as f64 * domains[target.domain.as_str()]);
            let factor = if is_standard { share / norm } else { 1.0 };
            let [even, odd] = [0, 1].map(|half| half_mean(&parts, &target.parts, half));
            for (sum, own) in sums.iter_mut().zip([whole, even, odd]) {
                add(sum, own, factor);
            }
        }
        Error::check(problems)?;
        let [whole, even, odd] = sums;
        Ok(Self { whole, halves: [even, odd], is_standard })
    }

    /// The whole and its halves.
    pub(super) fn directions(&self) -> [&Direction; 3] {
        [&self.whole, &self.halves[0], &self.halves[1]]
    }
}

fn add(sum: &mut Direction, own: Direction, factor: f64) {
    for (name, SiteValues { shape, values }) in own {
        let to = sum.entry(name).or_insert_with(|| SiteValues { values: vec![0.0; values.len()], shape });
        for (to, value) in to.values.iter_mut().zip(values) {
            *to += (factor * f64::from(value)) as f32;
        }
    }
}
