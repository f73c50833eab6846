//! `run.json`: everything a number depends on, and a little for people.

use serde::{Deserialize, Serialize};

use crate::lm::ModelInfo;
use crate::metric::{Filter, MatchRules, OutcomeKind};

/// The format of run folders. A reader refuses another major.
pub const RUN_SCHEMA: &str = "veval.run/1";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub status: Status,
    /// Hash of all that the samples depend on; two runs of equal key have equal samples.
    pub key: String,
    pub suite: String,
    pub suite_fingerprint: String,
    pub series: String,
    pub checkpoint: String,
    pub path: String,
    pub step: Option<u64>,
    pub tokens: Option<u64>,
    pub model: ModelInfo,
    pub tokenizer: String,
    pub tasks: Vec<TaskRecord>,
    pub veval: String,
    pub threads: usize,
    pub started: String,
    pub finished: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Complete,
}

/// What is needed to compute a task's metrics again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskRecord {
    pub name: String,
    pub version: String,
    pub kind: OutcomeKind,
    pub profile: String,
    pub shots: usize,
    pub seed: u64,
    pub limit: Option<usize>,
    pub items: usize,
    pub metrics: Vec<String>,
    pub filters: Vec<Filter>,
    pub rules: MatchRules,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    pub data: Vec<DataFile>,
    /// How the data differ from the public task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    pub path: String,
    pub fingerprint: String,
}
