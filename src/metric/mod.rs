//! From what a model answered to one item, to metric values; and from items to a score with its uncertainty.
//!
//! Pure: an [`Outcome`] is all that a metric sees, and a run folder stores it, so that every metric can be computed
//! again without the model.

mod aggregate;
mod answer;
mod choice;
mod filter;
mod outcome;
mod pattern;
mod registry;

pub use aggregate::{ItemValue, summarise};
pub use answer::{MatchRules, exact_match};
pub use filter::{Filter, Pick, Step};
pub use outcome::{AnswerOutcome, ChoiceOutcome, ChoiceScore, ClozeOutcome, Outcome, RollingOutcome};
pub use registry::{Aggregation, METRICS, Metric, OutcomeKind};
