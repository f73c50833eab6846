//! Exchange with other tools: results in both directions, tables, task files.
//!
//! ```text
//! run folder ──► export_lm_eval ──► results_*.json, samples_*.jsonl      read by lm-evaluation-harness's own loader
//! results of 2021 to 0.4.13 ──► import_lm_eval ─┐
//! tables, long or wide ──► import_csv ──────────┴─► Imported ──► run folders that are reported like any other
//! task.yaml ──► task_yaml ──► task.toml
//! ```
//! Nothing that was read is executed, and an imported run says which files it was made from.

mod export;
mod import;
pub mod task_yaml;

pub use export::{Exported, Texts, export_lm_eval};
pub use import::{Column, Constant, CsvImport, Imported, ImportedRun, LmEvalImport, Role, import_csv, import_lm_eval};
