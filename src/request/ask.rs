//! The six requests and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::Edit;
use super::site::Site;

/// One question to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The whole input, including any beginning-of-sequence token.
    pub tokens: Arc<[u32]>,
    pub ask: Ask,
    /// Interventions in force, in the order in which they apply at one site.
    pub edits: Arc<[Edit]>,
}

/// What is asked about the tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Log-probabilities of `tokens[start..]`, each given all tokens before it. `start >= 1`.
    Score { start: usize },
    /// The same over a long text, window by window.
    Roll { windows: Vec<Window> },
    /// Continue the tokens until a stop string, the end-of-sequence token or `max_tokens`.
    Generate { stop: Vec<String>, max_tokens: usize, sampling: Sampling },
    /// The `top_k` largest logits of the distribution after each of these positions.
    Logits { positions: Vec<usize>, top_k: usize },
    /// Activations at sites, at every position.
    Capture { sites: Vec<Site> },
    /// Gradients of a span's summed negative log-likelihood.
    Grad { span: GradSpan, at: GradAt },
}

/// Where gradients are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GradAt {
    /// With respect to every parameter.
    Parameters,
    /// With respect to something added at these sites, at every position.
    Sites(Vec<Site>),
}

impl Ask {
    /// Tokens of an input of `length` that are scored.
    pub fn scored_tokens(&self, length: usize) -> usize {
        match self {
            Self::Score { start } => length - start,
            Self::Roll { windows } => windows.iter().map(|window| window.scored).sum(),
            _ => 0,
        }
    }
}

/// One forward pass of a rolling evaluation: `tokens[begin..end]` is the input and the last `scored` targets count,
/// where the target of input position `p` is `tokens[p + 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub begin: usize,
    pub end: usize,
    pub scored: usize,
}

/// Tokens `start..end` are the targets. `start >= 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradSpan {
    pub start: usize,
    pub end: usize,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The first largest logit.
    Greedy,
    /// By chance: the distribution at this temperature, cut to the `top_k` most likely tokens (0 for all), then to the
    /// smallest set that holds `top_p` of the probability. The random numbers depend on `seed` and the prompt's tokens.
    Random { temperature: f64, top_p: f64, top_k: usize, seed: u64 },
}

/// The answer to a [`Request`], of the same kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    Score(Vec<ScoredToken>),
    Roll(Vec<ScoredToken>),
    Generate {
        tokens: Vec<u32>,
        text: String,
        log_probs: Vec<f32>,
    },
    Logits(Vec<TopLogits>),
    Capture(BTreeMap<Site, SiteValues>),
    /// By parameter name as in the checkpoint, or by site.
    Grad {
        /// In nats.
        loss: f64,
        gradients: BTreeMap<String, SiteValues>,
    },
}

/// A generation on its way: its tokens so far, each with its log-probability.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Begun {
    pub tokens: Vec<u32>,
    pub log_probs: Vec<f32>,
}

/// One target token: its natural log-probability, and whether it was the model's first choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredToken {
    pub log_prob: f32,
    pub greedy: bool,
}

/// Token ids and raw logits in descending order; equal logits in ascending order of id.
#[derive(Debug, Clone, PartialEq)]
pub struct TopLogits {
    pub position: usize,
    pub top: Vec<(u32, f32)>,
}

/// A dense array in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteValues {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Request {
    pub fn score(tokens: impl Into<Arc<[u32]>>, start: usize) -> Self {
        Self::plain(tokens, Ask::Score { start })
    }

    /// A request without interventions.
    pub fn plain(tokens: impl Into<Arc<[u32]>>, ask: Ask) -> Self {
        Self { tokens: tokens.into(), ask, edits: Arc::new([]) }
    }

    #[must_use]
    pub fn with_edits(mut self, edits: impl Into<Arc<[Edit]>>) -> Self {
        self.edits = edits.into();
        self
    }
}
