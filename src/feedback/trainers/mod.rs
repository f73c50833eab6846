//! Mixtures in the trainers' own formats: files that their readers take, in their unit, and what they will make of
//! them.
//!
//! ```text
//! mixture.json ─► Blend: stages, shares, facts ─► a trainer ─► files, warnings, README
//!                                                     └─► its sampler, drawn a million times ─► achieved shares
//! ```
//! A share of tokens `q` becomes what the trainer draws: fixed-length sequences, where it is the same number, or
//! documents, where source `i` with a mean of `m_i` tokens gets `(q_i / m_i) / sum_j (q_j / m_j)` of the draws.
//!
//! **To add a trainer**: a file with a `const TRAINER`, a line in [`TRAINERS`], golden files (`BLESS=1 cargo test
//! trainers`).

mod blend;
mod energon;
mod export;
mod hf;
mod levanter;
mod live;
mod llamafactory;
mod llm_foundry;
mod megatron;
mod nanotron;
mod olmo_core;
mod registry;
mod sampler;
mod text;
mod torchtitan;

pub use blend::{Blend, BlendSource, BlendStage, ExportSettings};
pub use export::{Achieved, Export, ExportFile, export};
pub use registry::{TRAINERS, Trainer, Unit, find};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_golden;
