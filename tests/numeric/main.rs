//! The decoder against numbers that `transformers` computed (`tests/oracle/parity.py`), and against itself.

#![expect(clippy::needless_pass_by_value, reason = "generic tests take their backend")]

mod adapters;
mod convert;
mod feedback;
mod geometry;
mod gguf;
mod invariance;
mod llama2c;
mod parity;
mod projected_rows;
mod projections;
mod requests;
mod reverse;
mod rounding;
#[path = "../shared/mod.rs"]
mod shared;
mod sites;
mod soft_targets;
mod support;
