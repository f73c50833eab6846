//! The run folder: what it holds, how it is written and read again.
//!
//! ```text
//! <out>/<suite>/<checkpoint>/run.json        what ran on what, under which rules; `status` says whether it is whole
//!                            samples.jsonl   one line per item and task, appended while running
//!                            metrics.csv     scores, one per line
//! <out>/<suite>/report.html                  a page for people
//! ```
//! Everything that comes after works from the folder alone.

mod folder;
mod manifest;
mod metrics;
mod sample;

pub use folder::{RunFolder, SampleWriter, list_runs};
pub use manifest::{DataFile, Manifest, RUN_SCHEMA, Status, TaskRecord};
pub use metrics::{MetricRow, read_metrics, to_csv, write_metrics};
pub use sample::Sample;
