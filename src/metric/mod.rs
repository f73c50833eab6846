//! From what a model answered to one item, to metric values; and from items to a score with its uncertainty.
//!
//! Pure: an [`Outcome`] is all that a metric sees, and a run folder stores it, so that every metric can be computed
//! again without the model.

mod aggregate;
mod answer;
mod choice;
pub mod classify;
pub mod extract;
mod filter;
mod outcome;
mod pattern;
pub mod ranking;
mod registry;
pub mod repeat;
pub mod text;

pub use aggregate::{ItemValue, summarise};
pub use answer::{MatchRules, exact_match};
pub use filter::{Filter, Pick, Step};
pub use outcome::{AnswerOutcome, ChoiceOutcome, ChoiceScore, ClozeOutcome, Outcome, RollingOutcome};
pub use registry::{Aggregation, METRICS, Metric, OutcomeKind};
