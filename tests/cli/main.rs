//! The program as people run it: results, errors, exit codes, bytes.

#![expect(clippy::format_collect, reason = "rows of small files")]

mod adapters;
mod bad_input;
mod exchange;
mod feedback;
mod feedback_loop;
mod feedback_targets;
mod geometry;
mod grad;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "hub")]
#[expect(dead_code, reason = "other tests need more of the hub")]
#[path = "../hub_server/mod.rs"]
mod hub_server;
mod invariance;
mod lab;
mod protocols;
#[path = "../compat/random_checkpoint.rs"]
mod random_checkpoint;
mod run;
mod run_feedback;
mod series;
#[path = "../shared/mod.rs"]
mod shared;
mod show;
mod support;
mod wide_checkpoint;
