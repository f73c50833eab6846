//! `manifest.json` and the lines of `items.jsonl`.

use serde::{Deserialize, Serialize};

pub const FORMAT: &str = "veval.feedback/1";
/// What a target's loss is.
pub const LOSS: &str = "mean over items of the mean negative log-likelihood of the answer's tokens, in nats";
pub(super) const SIGN: &str = "positive_lowers_target_loss";

/// What a feedback set is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: String,
    pub veval_version: String,
    pub suite: SuiteNote,
    /// Fingerprint of the tokenizer that the items were encoded with.
    pub tokenizer: String,
    pub loss: String,
    /// Of values that are made with the gradients.
    pub sign: String,
    /// As it was written: `all`, `last:2`, names.
    pub parameters: String,
    pub parameter_names: Vec<String>,
    /// There where the set is no feedback but a control of equal size: each item has another one's answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shuffled_answers: bool,
    pub split: SplitNote,
    /// In the order in which they were named.
    pub checkpoints: Vec<CheckpointNote>,
    pub targets: Vec<TargetNote>,
    /// Every other file, by path.
    pub files: Vec<FileNote>,
}

/// Where the items came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteNote {
    pub name: String,
    pub fingerprint: String,
    /// As it was written; a hint.
    pub path_hint: String,
}

/// Items of the whole suite by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitNote {
    pub feedback: usize,
    pub development: usize,
    pub sealed: usize,
    /// On the side of feedback, and too much like a sealed one.
    pub refused: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointNote {
    /// Names its folders.
    pub name: String,
    /// Of weights, configuration and element types.
    pub fingerprint: String,
    pub numerics: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_seen: Option<u64>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetNote {
    pub name: String,
    pub domain: String,
    /// Items of each part.
    pub parts: Vec<usize>,
    /// Items that are measured on.
    pub sealed_items: usize,
    /// At each checkpoint.
    pub at: Vec<TargetAt>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetAt {
    /// Mean loss of the sealed items: what may be quoted.
    pub sealed_loss: f64,
    /// Between the mean gradients of two halves of the feedback items.
    pub split_half_cosine: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileNote {
    pub path: String,
    pub bytes: u64,
    pub blake3: String,
}

/// An item that a trainer may know of. The loss is over `tokens[start..]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemLine {
    pub task: String,
    pub id: String,
    /// Of the target's parts.
    pub part: usize,
    pub context: String,
    pub answer: String,
    pub tokens: Vec<u32>,
    pub start: usize,
}

impl CheckpointNote {
    pub(super) fn set_path(&self, target: &str) -> String {
        format!("gradsets/{}/target_{}.safetensors", file_name(&self.name), file_name(target))
    }

    pub(super) fn part_path(&self, target: &str, part: usize) -> String {
        format!("gradsets/{}/parts/{}.{part}.safetensors", file_name(&self.name), file_name(target))
    }

    /// Where the items' projected gradients are.
    pub fn store_path(&self) -> String {
        format!("grads/{}", file_name(&self.name))
    }
}

/// A name as a part of a path: nothing of it leads elsewhere.
pub(super) fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.@+".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.trim_matches('.').is_empty() { format!("_{name}") } else { name }
}
