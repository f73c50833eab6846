//! The decoder against numbers that `transformers` computed (`tests/oracle/parity.py`), and against itself.

#![expect(clippy::needless_pass_by_value, reason = "generic tests take their backend")]

mod gguf;
mod invariance;
mod parity;
mod projections;
mod requests;
mod reverse;
mod rounding;
mod sites;
mod support;
