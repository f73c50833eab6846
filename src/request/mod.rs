//! What can be asked of a model: six requests, and interventions that any of them may carry.
//!
//! Pure data. A backend (`lm`) answers requests; who asks (benchmarks, probes, feedback) knows no tensors of it.

mod ask;
mod edit;
mod key;
mod plan;
pub mod site;

pub use ask::{Ask, Begun, GradAt, GradSpan, Request, Response, Sampling, ScoredToken, SiteValues, TopLogits, Window};
pub use edit::{Edit, EditOp, Positions};
pub use key::Key;
pub use plan::{Node, Plan, Sharing, Want};
pub use site::Site;
