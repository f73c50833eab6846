//! Where a continuation begins among the tokens of context and continuation together.
//!
//! ```text
//! context "The sky is"   continuation " blue"
//! joint tokens   [The][ sky][ is][ blue]
//!                               ▲ by length: as many tokens as the context alone has
//!                               ▲ by offsets: the first token that reaches beyond the context's last byte
//! ```
//! The two agree unless a token spans the seam. Then the length rule of lm-evaluation-harness can cut the
//! continuation short, or to nothing; the offset rule gives the spanning token to the continuation.

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::util::python;

/// Tokens of context and continuation. `1 <= start < tokens.len()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub tokens: Vec<u32>,
    /// Index of the continuation's first token.
    pub start: usize,
}

/// The rule of lm-evaluation-harness 0.4.13 (`_encode_pair`): white space at the context's end moves to the
/// continuation, both texts are encoded, and the continuation is what follows as many tokens as the context has.
pub fn encode_by_length(tokenizer: &Tokenizer, context: &str, continuation: &str) -> Result<Pair> {
    if context.is_empty() {
        return encode_without_context(tokenizer, continuation);
    }
    let kept = python::rstrip(context);
    let whole = tokenizer.encode(&[context, continuation].concat())?;
    let start = tokenizer.encode(kept)?.len();
    if start == 0 {
        return Err(Error::bad("expected a context of at least one token, found white space only")
            .help("the profile `veval-1` puts the prefix token before it"));
    }
    if start >= whole.len() {
        return Err(Error::bad(
            "expected tokens of the continuation after those of the context, found none: a token spans both",
        )
        .help("the profile `veval-1` gives such a token to the continuation"));
    }
    Ok(Pair { tokens: whole, start })
}

/// Our rule: one joint encoding, cut by offsets. Works for every seam.
pub fn encode_by_offsets(tokenizer: &Tokenizer, context: &str, continuation: &str) -> Result<Pair> {
    if context.is_empty() {
        return encode_without_context(tokenizer, continuation);
    }
    let spans = tokenizer.encode_spans(&[context, continuation].concat())?;
    let start = spans.iter().position(|(_, end)| *end > context.len()).unwrap_or(spans.len());
    let tokens: Vec<u32> = spans.into_iter().map(|(id, _)| id).collect();
    match start {
        // A tokenizer that normalises the continuation away (white space only) leaves nothing to score.
        _ if start == tokens.len() => Err(Error::bad("expected at least one token in the continuation, found none")),
        // One token holds everything; what stands before it is the prefix token.
        0 => {
            let prefix = prefix(tokenizer)?;
            Ok(Pair { tokens: std::iter::once(prefix).chain(tokens).collect(), start: 1 })
        }
        _ => Ok(Pair { tokens, start }),
    }
}

/// The prefix token is the context, unless the continuation brings its own.
fn encode_without_context(tokenizer: &Tokenizer, continuation: &str) -> Result<Pair> {
    let prefix = prefix(tokenizer)?;
    let mut tokens = tokenizer.encode_plain(continuation)?;
    if tokens.first() != Some(&prefix) {
        tokens.insert(0, prefix);
    }
    if tokens.len() < 2 {
        return Err(Error::bad("expected at least one token in the continuation, found none"));
    }
    Ok(Pair { tokens, start: 1 })
}

fn prefix(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.prefix().ok_or_else(|| {
        Error::bad(
            "expected a beginning- or end-of-sequence token to stand before a text without context, found neither",
        )
        .in_file(tokenizer.path())
        .help("name `bos_token` or `eos_token` in tokenizer_config.json")
    })
}
