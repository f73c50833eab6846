//! What kept the shares from going further.

use std::fmt;

/// A constraint that binds in one stage.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// The divergence from the shares before is at its limit.
    Trust { divergence: f64, limit: f64 },
    /// The values' errors hold eta down; most of it is due to one source.
    Errors { eta: f64, source: String, error: f64 },
    /// All values are the same after shrinkage.
    Level,
    /// A source has the least share that it may have.
    Floor { source: String, share: f64 },
    /// A source's tokens would be seen too often.
    Repeats { source: String, share: f64, max_repeat: f64, available_tokens: f64, seen_tokens: f64 },
    /// A source had no share, and a factor of nothing is nothing.
    Absent { source: String },
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust { divergence, limit } => {
                write!(f, "the trust limit holds the mixture back: its divergence is {divergence:.4} of {limit} nats")
            }
            Self::Errors { eta, source, error } => write!(
                f,
                "the values' errors hold the mixture back (eta {eta:.4e}), most of all that of {source:?} \
                 ({error:.3e}): more of its documents would help"
            ),
            Self::Level => f.write_str("the values of all sources are the same within their errors: nothing moves"),
            Self::Floor { source, share } => write!(f, "{source:?} is held up by its floor, a share of {share:.6}"),
            Self::Repeats { source, share, max_repeat, available_tokens, seen_tokens } => write!(
                f,
                "{source:?} is held down at a share of {share:.6}: its {available_tokens:.0} tokens may be seen \
                 {max_repeat} times, and earlier stages see {seen_tokens:.0} tokens"
            ),
            Self::Absent { source } => write!(f, "{source:?} had no share before and gets none"),
        }
    }
}
