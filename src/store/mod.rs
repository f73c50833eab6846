//! The run folder: what it holds, how it is written and read again.
//!
//! ```text
//! <out>/<suite>/<checkpoint>/run.json        what ran on what, under which rules; `status` says whether it is whole
//!                            samples.jsonl   one line per item and task, appended while running
//!                            metrics.csv     scores, one per line
//!                            shards/         parts of a run until they are merged, each like a run
//! <out>/<suite>/report.html                  a page for people
//! <out>/.scores/                             every answer that a model gave
//! ```
//! Everything that comes after works from the folder alone.

mod folder;
mod gc;
mod manifest;
mod metrics;
mod record;
mod sample;
mod scores;

pub use folder::{FolderLock, RunFolder, SampleWriter, list_folders, list_runs};
pub use gc::{Swept, sweep};
pub use manifest::{DataFile, Manifest, RUN_SCHEMA, Shard, Status, TaskRecord};
pub use metrics::{MetricRow, guard, read_metrics, to_csv, write_metrics};
pub use record::Held;
pub use sample::Sample;
pub use scores::{SCORES_SCHEMA, ScoreStore};
