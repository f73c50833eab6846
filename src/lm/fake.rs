//! A model without weights: every answer is a hash of the question. It lets the whole spine be tested without
//! arithmetic, and shows what a score is worth that knows nothing.

use super::{Answers, LanguageModel, ModelInfo, Sink};
use crate::error::{Error, Result};
use crate::request::{Ask, Plan, Request, Response, ScoredToken};
use crate::text::Tokenizer;
use crate::util::hash::seed_from;

/// Log-probabilities are uniform in (-8, 0], by hash of everything up to the token; a generation is the text given.
pub struct Fake {
    tokenizer: Tokenizer,
    info: ModelInfo,
    says: String,
}

impl Fake {
    pub fn new(tokenizer: Tokenizer, max_length: usize, says: impl Into<String>) -> Self {
        let info = ModelInfo {
            fingerprint: "blake3:fake".to_owned(),
            numerics: "fake/1".to_owned(),
            family: "fake".to_owned(),
            parameters: 0,
            dtypes: Vec::new(),
            max_length,
            ends: Vec::new(),
        };
        Self { tokenizer, info, says: says.into() }
    }

    fn token(tokens: &[u32]) -> ScoredToken {
        let text = format!("{tokens:?}");
        let hash = seed_from(&["fake", &text]);
        ScoredToken { log_prob: -8.0 * (hash >> 40) as f32 / (1u64 << 24) as f32, greedy: hash.is_multiple_of(3) }
    }

    fn answer(&self, request: &Request) -> Result<Response> {
        let tokens = &request.tokens;
        match &request.ask {
            Ask::Score { start } => {
                Ok(Response::Score((*start..tokens.len()).map(|end| Self::token(&tokens[..=end])).collect()))
            }
            Ask::Roll { windows } => {
                let ends = windows.iter().flat_map(|w| (w.end - w.scored + 1..=w.end).map(|end| (w.begin, end)));
                Ok(Response::Roll(ends.map(|(begin, end)| Self::token(&tokens[begin..=end])).collect()))
            }
            Ask::Generate { .. } => {
                let tokens = self.tokenizer.encode_plain(&self.says)?;
                Ok(Response::Generate { log_probs: vec![0.0; tokens.len()], tokens, text: self.says.clone() })
            }
            _ => Err(Error::bad("the fake model scores and generates only")),
        }
    }
}

impl LanguageModel for Fake {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn execute(&self, plan: &Plan, _soon: usize, sink: &mut Sink<'_>) -> Result<()> {
        // Last first, so that nobody comes to rely on an order.
        plan.requests().iter().enumerate().rev().try_for_each(|(index, request)| {
            sink(Answers { whole: vec![(index, self.answer(request)?)], begun: Vec::new() })
        })
    }
}
