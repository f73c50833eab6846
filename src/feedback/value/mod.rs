//! What each document, batch and source is worth to some targets: inner products of gradients, with their uncertainty.
//!
//! ```text
//! reverse passes ─► Document (numbers) ─► ValueTable ─► Values ─┬─ rows: values.jsonl, values.parquet
//!                                                               ├─ by_source, batch: means by tokens, intervals
//!                                                               └─ split_halves, recall, lds: can they be trusted?
//! ```
//! **Sign.** Positive lowers the target's loss: `<g_down, g>` of two gradients of losses, `-<g_down, d>` of an optimizer's
//! step `d` ([`Measure`]). The unit is nats of the target's loss per unit of learning rate.
//!
//! **Over checkpoints** values are means by the checkpoints' weights, as in TracIn and LESS; so are cosines and norms.
//!
//! **Combined value.** Each target's values are divided by the root of their mean square over all documents, which leaves
//! zero where it is; the mean is taken over the targets of a domain, and then over domains, so that a domain of many tasks
//! does not drown one of few. Pooling all targets into one gradient is a known failure (V-Pretraining, arXiv 2601.22108).
//!
//! **Standard error of a document's value.** Feedback items come in K random parts (two halves or more), whose spread says
//! what other items would have said (`parts.rs`). Of one document that is K - 1 degrees of freedom; so it is joined, with
//! the weight of four more, to the mean over the source's documents of the same variance per squared gradient norm. The
//! spread over checkpoints is added. Items of different targets are different; checkpoints are the same.
//!
//! **Means** over documents are by tokens with a loss; `groups.rs` says how sure they are.

mod check;
mod groups;
mod lines;
mod overlap;
#[cfg(feature = "parquet")]
mod parquet;
mod parts;
mod reliability;
mod report;
mod row;
mod signals;
mod table;
mod values;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_planted;
#[cfg(test)]
mod tests_reliability;
#[cfg(test)]
mod tests_report;

pub use groups::GroupValue;
pub use lines::{read_lines, write_lines};
pub use overlap::{WordCounts, WordOverlap};
#[cfg(feature = "parquet")]
pub use parquet::write_parquet;
pub use reliability::{
    Agreement, Among, Comparison, FEWEST_TWINS, RESAMPLES, SplitHalf, Twin, agreement, lds, recall, spearman_brown,
};
pub use report::{Planted, SourceReport, TargetReport, ValueReport, Words, Worth};
pub use row::ValueRow;
pub use signals::{Checkpoint, Document, DocumentAt, Measure, Place, Setup, StepAt, Target};
pub use table::ValueTable;
pub use values::Values;
