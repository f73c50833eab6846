//! How much of each source the next stretch of training sees, from what its documents are worth.
//!
//! ```text
//! values of documents ─► value and error of each source ─┐
//! mixture.json, with its stages ─► what was seen, caps ──┼─► update ─► mixture.json, what binds and why
//! rule: trust limit, floor, repeats ─────────────────────┘
//! values of documents ─► copies ─► keep.txt, repeats.bin
//! ```
//! A stage's shares `q` are those that gain most by the values and stay near the shares before, `p`:
//!
//! 1. a value `v` with the standard error `se` counts as `s = v * v^2 / (v^2 + se^2)`;
//! 2. `q` is proportional to `p * exp(eta * s)`, cut at each source's floor and repeat cap and filled up again until
//!    all hold (`tilt.rs` says why that is the best there is);
//! 3. `eta` is the largest with which `KL(q || p)` stays within the trust limit, and no larger than what errors
//!    allow: the errors alone may spend a quarter of the limit. So values that are all zero, equal or lost in their
//!    errors move nothing;
//! 4. shares become whole sequences by largest remainders, within the same floors, caps and limit;
//! 5. intervals come from doing all of it again with values drawn from their errors.

mod binding;
mod bounds;
mod copies;
mod curriculum;
mod interval;
mod round;
mod tilt;
mod update;
mod value;

pub use binding::Binding;
pub use copies::{CopyRule, DocumentCopies, DocumentValue};
pub use curriculum::{Run, StageUpdate};
pub use update::{Mixed, MixedSource, MixedStage, Rule, update};
pub use value::SourceValue;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_property;
#[cfg(test)]
mod tests_update;
