//! `run.json`: everything a number depends on, and a little for people.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lm::ModelInfo;
use crate::metric::{Filter, MatchRules, OutcomeKind};
use crate::suite::Writing;

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
    /// Which part of the items this is; none for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    pub started: String,
    pub finished: Option<String>,
    /// Seconds in forward passes, storing and recording their answers included; without reading the model and data,
    /// and without reports. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_seconds: Option<f64>,
    /// The files of another tool that these scores were taken from; empty for a run of our own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<DataFile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Complete,
}

/// Part `index` of `count` of a run's items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub index: usize,
    pub count: usize,
}

impl Shard {
    /// The items of this part, of `items` in all. Neighbours stay together, since they share what they begin with.
    pub fn range(self, items: usize) -> Range<usize> {
        self.index * items / self.count..(self.index + 1) * items / self.count
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `0/3`: the first of three.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match numbers {
            Some((index, count)) if index < count && count <= 10_000 => Ok(Self { index, count }),
            _ => Err("expected INDEX/COUNT with an index from 0 to COUNT - 1, such as 0/3".to_owned()),
        }
    }
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
    /// Where the same items are asked in several ways: the labels of this one, which also end its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    pub data: Vec<DataFile>,
    /// Rows of the data, before any limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// What stands between a context and its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// How answers were written, where the model wrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writing: Option<Writing>,
    /// How the data differ from the public task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    pub path: String,
    pub fingerprint: String,
}
