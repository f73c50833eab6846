//! Who answers requests: a model on this machine, or a stand-in for tests.

mod cost;
mod fake;
mod generate;
mod gradients;
mod local;
mod memory;
mod passes;

pub use cost::{Cost, Speed};
pub use fake::Fake;
pub use local::{Local, LocalOptions, cpu, max_length};
pub use memory::{beside as memory_beside, bytes as shown_bytes, limit as memory_limit, room_beside};

use crate::error::Result;
use crate::request::{Begun, Plan, Response};
use crate::text::Tokenizer;

/// What is known about a model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModelInfo {
    /// `blake3:...` of weights, effective configuration and element types.
    pub fingerprint: String,
    /// Backend and revision of its arithmetic.
    pub numerics: String,
    pub family: String,
    pub parameters: usize,
    /// Element types as stored.
    pub dtypes: Vec<String>,
    /// Longest input, in tokens.
    pub max_length: usize,
    /// Tokens that end a generation.
    pub ends: Vec<u32>,
}

/// Answers by index of the request.
#[derive(Debug, Default)]
pub struct Answers {
    pub whole: Vec<(usize, Response)>,
    /// Generations that are not at their end; worth keeping, in case that the program is stopped.
    pub begun: Vec<(usize, Begun)>,
}

/// Receives the answers of one forward pass after the other, in any order.
pub type Sink<'a> = dyn FnMut(Answers) -> Result<()> + 'a;

/// A model that answers requests.
pub trait LanguageModel {
    fn info(&self) -> &ModelInfo;

    fn tokenizer(&self) -> &Tokenizer;

    /// Answers every request of the plan; stops at the first error, of its own or of the sink. Of the memory that the
    /// process may hold it counts `soon` bytes as taken, if that is more than what is taken now: others are about to.
    fn execute(&self, plan: &Plan, soon: usize, sink: &mut Sink<'_>) -> Result<()>;
}
