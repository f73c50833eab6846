//! Learning rate by step. Steps count from 1: [`Schedule::rate`] of `n` is what update number `n` uses.
//!
//! With peak `P`, floor `F`, `W` steps of warm-up, `D` of decay and `N` in all:
//!
//! ```text
//! warm-up (all kinds)   n <= W     P n / W
//! constant              n >  W     P
//! cosine                n >  W     F + (P - F) (1 + cos(pi t)) / 2,   t = (n - W) / (N - W)
//! wsd                   n <= N-D   P
//!                       n >  N-D   F + (P - F) (1 - t)                t = (n - (N - D)) / D,  shape linear
//!                                  F + (P - F) (1 - sqrt(t))                                  shape one_minus_sqrt
//! ```
//! So the peak is reached at step `W` and the floor at step `N`; steps after `N` have the rate of step `N`.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// A schedule as a configuration states it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleSettings {
    Constant {
        peak: f64,
        #[serde(default)]
        warmup: u64,
    },
    Cosine {
        peak: f64,
        #[serde(default)]
        warmup: u64,
        #[serde(default)]
        floor: f64,
    },
    /// Warm-up, stable, decay.
    Wsd {
        peak: f64,
        #[serde(default)]
        warmup: u64,
        decay: u64,
        #[serde(default)]
        floor: f64,
        #[serde(default)]
        shape: DecayShape,
    },
}

/// How a rate comes down in the last phase of `wsd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayShape {
    #[default]
    Linear,
    /// Steep at first (Hägele and others 2024).
    OneMinusSqrt,
}

/// A schedule that fits into its run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    peak: f64,
    warmup: u64,
    total: u64,
    floor: f64,
    descent: Descent,
}

/// The way from peak to floor.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Descent {
    Never,
    Cosine,
    Last { steps: u64, shape: DecayShape },
}

impl Schedule {
    /// The schedule of a run of `total` steps.
    ///
    /// # Errors
    /// All of: rates that are no rates, a floor above the peak, phases that take more steps than there are.
    pub fn new(settings: ScheduleSettings, total: u64) -> Result<Self> {
        let (peak, warmup, floor, descent) = match settings {
            ScheduleSettings::Constant { peak, warmup } => (peak, warmup, peak, Descent::Never),
            ScheduleSettings::Cosine { peak, warmup, floor } => (peak, warmup, floor, Descent::Cosine),
            ScheduleSettings::Wsd { peak, warmup, decay, floor, shape } => {
                (peak, warmup, floor, Descent::Last { steps: decay, shape })
            }
        };
        let mut problems = Vec::new();
        let mut expect = |holds: bool, key: &str, message: String| {
            if !holds {
                problems.push(Diagnostic::new(message).at(key));
            }
        };
        let peak_holds = peak.is_finite() && peak > 0.0;
        expect(peak_holds, "peak", format!("expected a learning rate above 0, found {peak}"));
        let floor_holds = !peak_holds || (0.0..=peak).contains(&floor);
        expect(floor_holds, "floor", format!("expected a learning rate from 0 to the peak ({peak}), found {floor}"));
        expect(total > 0, "steps", "expected at least one step, found none".to_owned());
        let decay = if let Descent::Last { steps, .. } = descent { steps } else { 0 };
        let fits = warmup.checked_add(decay).is_some_and(|phases| phases <= total);
        let message = format!("expected at most the {total} steps of the run, found {warmup} of warm-up");
        expect(fits, "warmup", if decay == 0 { message } else { format!("{message} and {decay} of decay") });
        Error::check(problems)?;
        Ok(Self { peak, warmup, total, floor, descent })
    }

    /// The rate of update number `step`, counted from 1.
    pub fn rate(&self, step: u64) -> f64 {
        let step = step.clamp(1, self.total);
        if step <= self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        // Of the way down, from 0 to 1, if there is one at this step.
        let progress = |steps: u64| {
            let before = self.total - steps;
            (step > before).then(|| (step - before) as f64 / steps as f64)
        };
        let height = match self.descent {
            Descent::Never => None,
            Descent::Cosine => progress(self.total - self.warmup).map(|t| f64::midpoint(1.0, libm::cos(PI * t))),
            Descent::Last { steps, shape: DecayShape::Linear } => progress(steps).map(|t| 1.0 - t),
            Descent::Last { steps, shape: DecayShape::OneMinusSqrt } => progress(steps).map(|t| 1.0 - t.sqrt()),
        };
        height.map_or(self.peak, |height| self.floor + (self.peak - self.floor) * height)
    }
}

#[cfg(test)]
#[path = "tests_schedule.rs"]
mod tests;
