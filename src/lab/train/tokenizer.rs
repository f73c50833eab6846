//! The tokenizer: byte pairs learned from the corpus, every digit a token, the end token before each text.

use std::str::FromStr;

use serde_json::{Value, json};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::processors::template::{Template, TemplateProcessing};
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer, TokenizerBuilder};

use crate::error::{Error, Result};

/// Begins and ends every document; number 0.
pub const END: &str = "<|endoftext|>";
/// Every byte has an entry, so that no text is unknown, and the end token one.
pub const FEWEST_ENTRIES: usize = 257;

/// Learns `entries` tokens from texts.
///
/// # Errors
/// Texts that have fewer different pieces than entries were asked for.
pub fn train(texts: &[&str], entries: usize) -> Result<Tokenizer> {
    let failed = |e: tokenizers::Error| Error::internal(format!("the tokenizer could not be made: {e}"));
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(entries)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(END, true)])
        .build();
    let splits = Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]);
    let mut learned = TokenizerBuilder::<BPE, NormalizerWrapper, Sequence, TemplateProcessing, ByteLevelDecoder>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(splits))
        .with_decoder(Some(ByteLevelDecoder::default()))
        .build()
        .map_err(failed)?;
    learned.train(&mut trainer, texts.iter().copied()).map_err(failed)?;
    let found = learned.get_vocab_size(true);
    if found < entries {
        return Err(Error::bad(format!("expected texts for {entries} entries, found enough for {found}"))
            .help("ask for a smaller vocabulary"));
    }
    let template = Template::try_from(format!("{END} $A")).map_err(|e| failed(e.into()))?;
    let end_first = TemplateProcessing::builder()
        .single(template)
        .special_tokens(vec![(END.to_owned(), 0)])
        .build()
        .map_err(|e| failed(e.to_string().into()))?;
    learned.with_post_processor(Some(end_first));
    // Through its file, as every reader will have it.
    Tokenizer::from_str(&learned.to_string(false).map_err(failed)?).map_err(failed)
}

/// Number of the end token.
///
/// # Errors
/// A tokenizer without it.
pub fn end_token(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.token_to_id(END).ok_or_else(|| Error::bad(format!("expected a tokenizer with {END}, found none")))
}

/// `tokenizer_config.json`.
pub fn settings(context: usize) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "model_max_length": context,
        "clean_up_tokenization_spaces": false,
    })
}

/// Tokens of a document, the end token behind them.
pub fn encode(tokenizer: &Tokenizer, text: &str, end: u32) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode(text, false).map_err(|e| Error::internal(format!("a text did not encode: {e}")))?;
    let mut tokens = encoding.get_ids().to_vec();
    tokens.push(end);
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        (0..400).map(|n| format!("Mira has {n} apples and {} pears. She likes them all.", n * 7 % 13)).collect()
    }

    #[test]
    fn the_same_texts_make_the_same_tokenizer() {
        let texts = texts();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let made = || train(&texts, 280).unwrap().to_string(true).unwrap();
        let first = made();
        (0..5).for_each(|_| assert_eq!(made(), first));
    }

    #[test]
    fn digits_stand_alone_and_every_byte_has_an_entry() {
        let texts = texts();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let tokenizer = train(&texts, 280).unwrap();
        let end = end_token(&tokenizer).unwrap();
        assert_eq!((end, tokenizer.get_vocab_size(true)), (0, 280));
        let numbers = tokenizer.encode("1234", false).unwrap();
        assert_eq!(numbers.get_tokens(), ["1", "2", "3", "4"]);
        let strange = "Ünïcödé \u{1F980} \0";
        let ids = encode(&tokenizer, strange, end).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), strange);
        assert_eq!(tokenizer.encode("Mira", true).unwrap().get_ids()[0], end);
    }

    #[test]
    fn too_few_pieces_are_said() {
        let error = train(&["a b a b", "a b"], 4000).unwrap_err().to_string();
        assert!(error.contains("4000") && error.contains("smaller"), "{error}");
    }
}
