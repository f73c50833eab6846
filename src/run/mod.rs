//! A suite on checkpoints: prepare once, then for each checkpoint encode, plan, execute, record, score.
//!
//! ```text
//! Suite + data ──► Prepared (items; the same for every checkpoint)
//!                    │ tokenizer, longest input
//!                    ▼
//!                  Encoded (requests and how answers fold back into items) ──► Plan ──► LanguageModel
//!                                                                                          │
//!                  samples.jsonl ◄── Outcome, metrics ◄── responses, item by item ◄────────┘
//! ```

mod answers;
mod encode;
mod event;
mod execute;
mod merge;
mod prepare;
mod protocols;
mod recorder;
mod score;
mod series;

pub use answers::{RightAnswer, right_answers};
pub use encode::{Encoded, EncodedItem, context, encode};
pub use event::{Event, Events, Silent};
pub use execute::{Outcomes, RunOptions, run_checkpoint};
pub use merge::merge;
pub use prepare::{Prepared, PreparedTask, Selection, hub_files, prepare, prepare_task};
pub use protocols::{Agreement, CheckpointHits, Collector, Protocols, Reversal};
pub use score::{rescore, score};
pub use series::{Opener, run_series};
