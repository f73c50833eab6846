//! Judge the checkpoints of a language model in training, and steer the next step.
//!
//! ```text
//! suite.toml ─┐
//! items ──────┼─► requests ─► plan ─► backend ─► responses ─► metrics ─► run folder ─► report
//! checkpoint ─┘
//! ```
//!
//! Left of the backend nothing knows tensors; right of it nothing knows the model; everything right of the run folder
//! works without the checkpoint. `ARCHITECTURE.md` has the map of the modules and the rules between them.

pub mod ckpt;
#[cfg(feature = "cli")]
pub mod cli;
pub mod ctx;
pub mod data;
pub mod diag;
pub mod error;
pub mod kernels;
pub mod lm;
pub mod metric;
pub mod model;
pub mod report;
pub mod request;
pub mod run;
pub mod stats;
pub mod store;
pub mod suite;
pub mod text;
pub mod util;

pub use error::{Error, ErrorKind, Result};
