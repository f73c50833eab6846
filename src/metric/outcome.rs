//! What came out of one item, as a run folder stores it.

use serde::{Deserialize, Serialize};

/// By kind of task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Choices(ChoiceOutcome),
    Cloze(ClozeOutcome),
    Rolling(RollingOutcome),
    Answer(AnswerOutcome),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceOutcome {
    pub choices: Vec<ChoiceScore>,
    /// Indices of the right choices.
    pub gold: Vec<usize>,
}

/// One scored continuation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScore {
    /// Natural log-probability of every token of the continuation.
    #[serde(deserialize_with = "nullable")]
    pub log_probs: Vec<f32>,
    /// Whether every token was the model's first choice.
    pub greedy: bool,
    /// Length of the choice without the delimiter before it.
    pub chars: usize,
    pub bytes: usize,
    /// Summed log-probability of the same continuation without context, for `acc_mutual_info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconditional: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClozeOutcome {
    #[serde(deserialize_with = "nullable")]
    pub log_probs: Vec<f32>,
    pub greedy: bool,
    /// Bytes of the target without the delimiter before it.
    pub bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollingOutcome {
    #[serde(deserialize_with = "nullable")]
    pub log_probs: Vec<f32>,
    pub words: usize,
    pub bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerOutcome {
    /// What the model wrote, cut at the first stop text.
    pub text: String,
    pub tokens: usize,
    /// Right answers; any of them will do.
    pub golds: Vec<String>,
}

/// JSON has no NaN: it is written as null.
fn nullable<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
    let values = Vec::<Option<f32>>::deserialize(from)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect())
}

/// Sum of log-probabilities in f64.
pub(super) fn sum(log_probs: &[f32]) -> f64 {
    log_probs.iter().map(|&x| f64::from(x)).sum()
}

impl ChoiceScore {
    pub fn log_likelihood(&self) -> f64 {
        sum(&self.log_probs)
    }
}
