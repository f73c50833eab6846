//! The decoder against numbers that `transformers` computed (`tests/oracle/parity.py`), and against itself.

mod invariance;
mod parity;
mod sites;
mod support;
