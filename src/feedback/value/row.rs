//! A line of `values.jsonl`, a row of `values.parquet`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::signals::Place;

/// One document. Columns that are not known are left out of JSON lines and null in parquet. What later stages decide
/// (`copies`, `loss_weight`, `stage`) and other passes find (`span_hits`, `near_dup`, `seen_steps`, `exclude`) has room
/// here and is filled by them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ValueRow {
    pub doc_id: String,
    pub source: String,
    #[serde(flatten)]
    pub place: Place,
    pub n_tokens: i32,
    pub n_loss_tokens: i32,
    /// Mean negative log-likelihood, nats.
    pub loss: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_ref: Option<f32>,
    /// `loss - loss_ref`: with a better model as the reference, what is left to learn (RHO-loss, JEST); with an earlier
    /// checkpoint, minus what was learned since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excess: Option<f32>,
    /// `max(excess, 0) / loss`: the share of the loss that the reference shows to be learnable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnability: Option<f32>,
    /// Combined over targets, in standard units. Positive lowers the targets' losses.
    pub value: f32,
    pub value_se: f32,
    /// Percentile of `value` within the source, 0 to 100; of equal values the middle.
    pub pct: f32,
    /// `<g, g>`, or `-<g, d>` where the optimizer's step is measured.
    pub self_influence: f32,
    pub grad_norm: f32,
    /// Cosine of its words with those of the feedback items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_hits: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_dup: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_steps: Option<Vec<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies_int: Option<i16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_weight: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<i16>,
    /// `value_<target>`, `value_se_<target>` as measured; `dot_<target>` = `<g_down, g>`, `cosine_<target>` of the two, and
    /// `step_<target>` = `-<g_down, d>` where the optimizer's step is known.
    #[serde(flatten)]
    pub targets: BTreeMap<String, f32>,
}
