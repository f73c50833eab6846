//! What cannot be a value's input: every problem of a document at once.

use super::signals::{Document, DocumentAt, Measure, Setup, Target};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Names that `value_<target>` must not make, as the table has them already.
const TAKEN: [&str; 1] = ["se"];

/// # Errors
/// No targets, no checkpoints; names twice; parts that are fewer than two or weigh nothing; a target whose gradient is
/// zero; numbers that are none.
pub(super) fn check_setup(setup: &Setup) -> Result<()> {
    let mut problems = Vec::new();
    let mut problem = |place: String, message: String| problems.push(Diagnostic::new(message).at(place));
    if setup.targets.is_empty() || setup.checkpoints.is_empty() {
        let found = format!("{} and {}", setup.targets.len(), setup.checkpoints.len());
        return Err(Error::bad(format!("expected at least one target and one checkpoint, found {found}")));
    }
    for (number, target) in setup.targets.iter().enumerate() {
        let place = || format!("target {}", target.name);
        let twice = setup.targets[..number].iter().any(|other| other.name == target.name);
        if twice || TAKEN.contains(&target.name.as_str()) || target.name.is_empty() || target.name.starts_with("se_") {
            problem(place(), "expected a name of its own that no other column has, found one that is taken".to_owned());
        }
        let parts = target.parts.len();
        if parts < 2 || !target.parts.iter().all(|part| part.is_finite() && *part > 0.0) {
            let message =
                format!("expected at least two parts of the feedback items that weigh something, found {parts}");
            problem(place(), message);
            continue;
        }
        if target.grams.len() != setup.checkpoints.len() {
            let (wanted, found) = (setup.checkpoints.len(), target.grams.len());
            problem(place(), format!("expected products of the parts at {wanted} checkpoints, found {found}"));
        }
        for (checkpoint, gram) in setup.checkpoints.iter().zip(&target.grams) {
            let place = || format!("target {}, checkpoint {}", target.name, checkpoint.step);
            if gram.len() != parts * parts || !gram.iter().all(|product| product.is_finite()) {
                let found = gram.len();
                problem(place(), format!("expected {parts} x {parts} finite products of its parts, found {found}"));
            } else if target.squared_norm(gram) <= 0.0 {
                let message = "expected a gradient that is not zero, found one of norm 0".to_owned();
                problem(place(), message);
            }
        }
    }
    for checkpoint in &setup.checkpoints {
        if !(checkpoint.weight.is_finite() && checkpoint.weight > 0.0) {
            let message = format!("expected a weight above 0, found {}", checkpoint.weight);
            problem(format!("checkpoint {}", checkpoint.step), message);
        }
    }
    Error::check(problems)
}

/// # Errors
/// Products of another number of checkpoints, targets or parts; numbers that are none; a gradient of zero; a missing
/// optimizer's step where it is the measure; no tokens.
pub(super) fn check_document(setup: &Setup, document: &Document) -> Result<()> {
    let mut problems = Vec::new();
    let mut problem = |detail: &str, message: String| {
        let place = if detail.is_empty() { String::new() } else { format!(", {detail}") };
        problems.push(Diagnostic::new(message).at(format!("document {}{place}", document.id)));
    };
    if document.loss_tokens == 0 || document.loss_tokens > document.tokens {
        let (loss_tokens, tokens) = (document.loss_tokens, document.tokens);
        problem("", format!("expected between 1 and {tokens} tokens with a loss, found {loss_tokens}"));
    }
    for (name, loss) in [("loss", Some(document.loss)), ("loss_ref", document.loss_ref)] {
        if let Some(loss) = loss.filter(|loss| !loss.is_finite()) {
            problem(name, format!("expected a finite loss, found {loss}"));
        }
    }
    if document.at.len() != setup.checkpoints.len() {
        let (wanted, found) = (setup.checkpoints.len(), document.at.len());
        problem("", format!("expected numbers at {wanted} checkpoints, found {found}"));
    }
    for (checkpoint, at) in setup.checkpoints.iter().zip(&document.at) {
        let place = format!("checkpoint {}", checkpoint.step);
        if let Some(message) = at_checkpoint(setup, at) {
            problem(&place, message);
        }
    }
    Error::check(problems)
}

fn at_checkpoint(setup: &Setup, at: &DocumentAt) -> Option<String> {
    let shaped = |products: &[Vec<f64>]| {
        products.len() == setup.targets.len()
            && products.iter().zip(&setup.targets).all(|(products, target)| products.len() == target.parts.len())
    };
    let numbers = at.products.iter().flatten().chain([&at.squared_norm]);
    let of_step = at.step.iter().flat_map(|step| step.products.iter().flatten().chain([&step.squared_norm, &step.own]));
    if !shaped(&at.products) || at.step.as_ref().is_some_and(|step| !shaped(&step.products)) {
        return Some("expected a product for each part of each target, found others".to_owned());
    }
    // As they are kept in single precision.
    if let Some(number) = numbers.chain(of_step).find(|number| !(**number as f32).is_finite()) {
        return Some(format!("expected finite numbers, found {number}"));
    }
    if at.squared_norm <= 0.0 || at.step.as_ref().is_some_and(|step| step.squared_norm <= 0.0) {
        return Some("expected a gradient that is not zero, found one of norm 0".to_owned());
    }
    if setup.measure == Measure::Step && at.step.is_none() {
        return Some("expected the optimizer's step, which is what is measured, found none".to_owned());
    }
    None
}

impl Target {
    /// Of the mean gradient of all parts.
    pub(super) fn squared_norm(&self, gram: &[f64]) -> f64 {
        let total: f64 = self.parts.iter().sum();
        let rows = gram.chunks(self.parts.len()).zip(&self.parts);
        rows.map(|(row, one)| row.iter().zip(&self.parts).map(|(g, other)| g * one * other).sum::<f64>()).sum::<f64>()
            / (total * total)
    }
}
