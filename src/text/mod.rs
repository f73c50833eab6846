//! Text and tokens: the tokenizer with its beginning-of-sequence rules, chat templates, and where a continuation
//! begins once context and continuation have been tokenised together.

mod chat;
mod pair;
mod tokenizer;

pub use chat::{ChatTemplate, Message};
pub use pair::{Pair, encode_by_length, encode_by_offsets};
pub use tokenizer::Tokenizer;
