//! Scores that others measured, as runs: result and sample files of lm-evaluation-harness, and tables.
//!
//! ```text
//! results_*.json, samples_*.jsonl ─► import_lm_eval ─┐
//! table.csv + roles of its columns ─► import_csv ────┴─► Imported ─► write ─► run.json, metrics.csv, samples.jsonl
//! ```
//! All files are read and checked before anything is written, and all their problems are reported together.

mod lm_eval;
mod python_json;
mod python_list;
mod run;
mod table;

pub use lm_eval::{LmEvalImport, import_lm_eval};
pub use run::{Imported, ImportedRun};
pub use table::{Column, Constant, CsvImport, Role, import_csv};
