//! Items with exact answers, and the part of each: feedback, development or sealed.

use serde::Serialize;
use serde_json::{Map, Value};

/// What an item may be used for. Decided by the hash of its task and its own text, so no part knows the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// May steer training: 12 % of the items.
    Feedback,
    /// For choosing settings: 18 %.
    Development,
    /// Only ever scored. Its own text is in no document.
    Sealed,
}

impl Split {
    /// Of an item: its task's name and the text that is its own (without templates and shots).
    pub fn of(task: &str, own_text: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(task.len() as u64).to_le_bytes());
        hasher.update(task.as_bytes());
        hasher.update(own_text.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        match u64::from_le_bytes(first) % 100 {
            0..12 => Self::Feedback,
            12..30 => Self::Development,
            _ => Self::Sealed,
        }
    }
}

/// An item of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What is the item's own: no document may contain it if the item is sealed.
    pub own_text: String,
    pub split: Split,
    /// Columns that the task file's templates read.
    pub row: Map<String, Value>,
}

impl Item {
    /// An item of a task.
    pub fn new(task: &str, own_text: impl Into<String>, row: Map<String, Value>) -> Self {
        let own_text = own_text.into();
        let split = Split::of(task, &own_text);
        Self { own_text, split, row }
    }
}

/// A task: its file and its items.
#[derive(Debug, Clone, PartialEq)]
pub struct LabTask {
    /// Also the stem of its files.
    pub name: String,
    /// The task file (`veval.task/1`) without its `[data]` table.
    pub toml: String,
    pub items: Vec<Item>,
    /// Score of an answer at random: 0 for free generation.
    pub chance: f64,
    /// Names of the sources that teach it.
    pub taught_by: Vec<&'static str>,
    /// Names of the tasks that it is made of, for a composite.
    pub made_of: Vec<String>,
}
