//! Against what peers computed: lm-evaluation-harness 0.4.13 (`benches/peers/lm_eval`) and recorded tokenizer ids.
//!
//! What needs the real data sets is skipped, and says so, where `../shared` is absent.

#![expect(
    clippy::format_collect,
    clippy::needless_pass_by_value,
    clippy::type_complexity,
    reason = "tensor names, digests, JSON in parts, tables of cases"
)]

mod chat;
mod configs;
mod export;
mod import_csv;
mod import_lm_eval;
mod olmes;
mod preprocess;
mod prompts;
mod random_checkpoint;
mod scores;
mod seams;
#[path = "../shared/mod.rs"]
mod shared;
mod support;
mod tokenizers;
