//! What the passes over a stream bring: a few numbers for each document, at each checkpoint, for each target.

use serde::{Deserialize, Serialize};

/// One ability that the stream is to serve: a task, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Names the columns `value_<name>` and the like.
    pub name: String,
    /// Targets of one domain are averaged before domains are.
    pub domain: String,
    /// How much of the target's gradient each part of its feedback items makes, in items or in tokens, whichever the
    /// target's loss is a mean over. At least two parts, of different items, split at random.
    pub parts: Vec<f64>,
    /// At each checkpoint `<g_k, g_l>` of the parts' mean gradients, `[parts, parts]`.
    pub grams: Vec<Vec<f64>>,
}

/// A checkpoint that values are taken at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoint {
    pub step: u64,
    /// In the mean over checkpoints: as a rule the learning rate of the steps that it stands for (TracIn, LESS).
    pub weight: f64,
}

/// Whose products are *the* value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// `<g_down, g>`: what a step of plain gradient descent on the document does, per unit of learning rate.
    Gradient,
    /// `-<g_down, d>`: what the optimizer's own step `d` does, per unit of learning rate.
    Step,
}

/// What values are made with.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    pub targets: Vec<Target>,
    pub checkpoints: Vec<Checkpoint>,
    pub measure: Measure,
}

/// Where a document lies, as far as it is known: enough to read it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_start: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_end: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_start: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_end: Option<i64>,
}

/// A document and what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub id: String,
    pub source: String,
    pub place: Place,
    pub tokens: u32,
    /// Tokens that the loss is a mean over: the weight in means over documents.
    pub loss_tokens: u32,
    /// Mean negative log-likelihood in nats, at the last checkpoint.
    pub loss: f64,
    /// The same of a reference: a larger model, or another checkpoint.
    pub loss_ref: Option<f64>,
    pub at: Vec<DocumentAt>,
}

/// At one checkpoint. `g`: the gradient of the *mean* loss over the document's loss tokens, so that a batch's gradient is
/// the mean of its documents' by tokens. A caller that has sums divides by the tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentAt {
    /// `<g, g>`
    pub squared_norm: f64,
    /// For each target `<g_k, g>` with the mean gradient of each of its parts.
    pub products: Vec<Vec<f64>>,
    /// Where the optimizer's state is known.
    pub step: Option<StepAt>,
}

/// What the optimizer would do after this document alone, with a learning rate of one: `d = theta_after - theta_before`.
#[derive(Debug, Clone, PartialEq)]
pub struct StepAt {
    /// `<d, d>`
    pub squared_norm: f64,
    /// `<g, d>`: negative for a step that lowers the document's own loss.
    pub own: f64,
    /// For each target `<g_k, d>`.
    pub products: Vec<Vec<f64>>,
}
