//! One line of `samples.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metric::Outcome;

/// One item of one task, scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub task: String,
    /// Task, row and content hash.
    pub item: String,
    pub row: usize,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slices: BTreeMap<String, String>,
    /// Rows of the pool that were shots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shots: Vec<usize>,
    /// SHA-256 of the first context, as lm-evaluation-harness computes `prompt_hash`.
    pub prompt_hash: String,
    /// Tokens cut from the left, summed over the item's requests.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub truncated: usize,
    pub outcome: Outcome,
    /// `metric` or `metric,filter`; ratios as this item's own ratio.
    #[serde(deserialize_with = "nullable")]
    pub metrics: BTreeMap<String, f64>,
}

/// JSON has no NaN: it is written as null.
fn nullable<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
