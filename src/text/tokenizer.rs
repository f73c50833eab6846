//! A checkpoint's tokenizer: `tokenizer.json` plus what `tokenizer_config.json` says about special tokens, or what a GGUF
//! or llama2.c file has in their place.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::chat::ChatTemplate;
use crate::ckpt::{Config, Vocabulary};
use crate::error::{Error, Result};
use crate::util::{files, hash};

/// Gemma's 256,000 entries take 33 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// transformers writes this, or something larger, when a tokenizer has no limit.
const NO_LIMIT: f64 = 1e15;

/// Encodes and decodes as `transformers` does for the same folder.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    fingerprint: String,
    bos: Option<u32>,
    eos: Option<u32>,
    /// What the user says; `None` leaves it to the template in `tokenizer.json`. The folder's `add_bos_token` has no
    /// say: transformers 5.23 drops it where there is a `tokenizer.json`.
    add_bos: Option<bool>,
    model_max_length: Option<usize>,
    chat: Option<ChatTemplate>,
}

impl Tokenizer {
    /// Reads a checkpoint: a folder, a GGUF file or a llama2.c file.
    pub fn open(checkpoint: &Path) -> Result<Self> {
        if let Some(Vocabulary { tokenizer, config }) = Vocabulary::of_file(checkpoint)? {
            let none = Map::new();
            // A template in the folder around belongs to somebody else.
            let bytes = tokenizer.to_string();
            let model = Config::read(checkpoint)?.values;
            return Self::new((checkpoint, checkpoint), bytes.as_bytes(), &config, &none, &model);
        }
        let path = checkpoint.join("tokenizer.json");
        if !path.exists() {
            return Err(Error::bad("expected tokenizer.json, found none")
                .in_file(checkpoint)
                .help("save the tokenizer beside the weights with transformers' `AutoTokenizer...save_pretrained`"));
        }
        let bytes = files::read_bounded(&path, MAX_TOKENIZER_BYTES)?;
        let [config, specials, model] = ["tokenizer_config.json", "special_tokens_map.json", "config.json"]
            .map(|name| optional_json(&checkpoint.join(name)));
        Self::new((&path, checkpoint), &bytes, &config?, &specials?, &model?)
    }

    /// From a `tokenizer.json` at `path` and the settings beside it; a chat template may lie in `folder`.
    fn new(
        (path, folder): (&Path, &Path),
        bytes: &[u8],
        config: &Map<String, Value>,
        specials: &Map<String, Value>,
        model: &Map<String, Value>,
    ) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| {
            Error::bad(format!("expected a tokenizer.json of the tokenizers library: {e}")).in_file(path)
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| bad(&e))?;
        // Stored padding and truncation would silently change what is scored.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| bad(&e))?;
        keep_offsets_whole(&mut inner).map_err(|e| bad(&e))?;

        let text = |key: &str| token_text(config, key).or_else(|| token_text(specials, key));
        let named = |key: &str| text(key).and_then(|text| inner.token_to_id(&text));
        let numbered = |key: &str| model.get(key).and_then(first_id);
        let bos = named("bos_token").or_else(|| numbered("bos_token_id"));
        let eos = named("eos_token").or_else(|| numbered("eos_token_id"));
        let chat = ChatTemplate::open(folder, config, text)?;
        // Prompts depend on what was found, wherever it was found.
        let mut found = config.clone();
        for (key, id) in [("bos_token", bos), ("eos_token", eos)] {
            if token_text(config, key).and_then(|text| inner.token_to_id(&text)) != id {
                found.insert(key.to_owned(), serde_json::json!({ "text": text(key), "id": id }));
            }
        }
        if let Some(chat) = &chat {
            found.insert("chat_template".to_owned(), chat.identity());
        }
        Ok(Self {
            fingerprint: Self::fingerprint_of(bytes, &found),
            inner,
            path: path.to_path_buf(),
            bos,
            eos,
            add_bos: None,
            model_max_length: config
                .get("model_max_length")
                .and_then(Value::as_f64)
                .filter(|n| *n >= 1.0 && *n < NO_LIMIT)
                .map(|n| n as usize),
            chat,
        })
    }

    /// What prompts depend on: content of `tokenizer.json`, the tokens at which texts begin and end, the longest input, and
    /// the chat template with the tokens that it may name.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// That of a checkpoint with this `tokenizer.json` and these settings, which name everything there is.
    pub fn fingerprint_of(tokenizer: &[u8], config: &Map<String, Value>) -> String {
        let settings: Map<String, Value> = ["bos_token", "eos_token", "model_max_length", "chat_template"]
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), config.get(*key)?.clone())))
            .collect();
        let settings = Value::Object(settings).to_string();
        hash::fingerprint(&[&(tokenizer.len() as u64).to_le_bytes(), tokenizer, settings.as_bytes()].concat())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One more than the largest id, added tokens included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// Overrides what stands before texts: `true` puts the beginning-of-sequence token and nothing else, `false` no
    /// special token at all, as lm-evaluation-harness's `add_bos_token` does.
    #[must_use]
    pub fn with_bos(mut self, add_bos: Option<bool>) -> Self {
        self.add_bos = add_bos.or(self.add_bos);
        self
    }

    /// What [`Self::with_bos`] was told.
    pub fn add_bos(&self) -> Option<bool> {
        self.add_bos
    }

    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that stands before a text which has none: beginning of sequence, else end of sequence.
    pub fn prefix(&self) -> Option<u32> {
        self.bos.or(self.eos)
    }

    /// The tokenizer's own limit, when it has one.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    pub fn chat(&self) -> Option<&ChatTemplate> {
        self.chat.as_ref()
    }

    /// Token ids of a text, with the special tokens that belong before it. A text that already starts with the prefix
    /// token's own text gets none.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_spans(text)?.into_iter().map(|(id, _)| id).collect())
    }

    /// The same, each token with the end of its piece in the text, in bytes (0 for special tokens put before it).
    pub fn encode_spans(&self, text: &str) -> Result<Vec<(u32, usize)>> {
        let has_prefix = match self.prefix() {
            Some(prefix) => {
                let prefix = self.decode_with_specials(&[prefix])?;
                !prefix.is_empty() && text.starts_with(&prefix)
            }
            None => false,
        };
        let mut spans = self.encode_raw(text, !has_prefix && self.add_bos.is_none())?;
        if let (false, Some(true), Some(bos)) = (has_prefix, self.add_bos, self.bos) {
            spans.insert(0, (bos, 0));
        }
        Ok(spans)
    }

    /// Token ids without any special token put before or after.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_raw(text, false)?.into_iter().map(|(id, _)| id).collect())
    }

    fn encode_raw(&self, text: &str, specials: bool) -> Result<Vec<(u32, usize)>> {
        let encoding = self
            .inner
            .encode(text, specials)
            .map_err(|e| Error::bad(format!("could not tokenise: {e}")).in_file(&self.path))?;
        Ok(encoding.get_ids().iter().copied().zip(encoding.get_offsets().iter().map(|(_, end)| *end)).collect())
    }

    /// Text of some tokens, special ones left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decode_as(ids, true)
    }

    pub fn decode_with_specials(&self, ids: &[u32]) -> Result<String> {
        self.decode_as(ids, false)
    }

    fn decode_as(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|e| Error::bad(format!("could not decode: {e}")).in_file(&self.path))
    }

    /// The entry with this id, as the vocabulary spells it.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }
}

/// Switches `trim_offsets` off: with it the white space of a token does not count as its piece, and a token that spans
/// context and continuation would look like a part of the context. Ids do not change.
fn keep_offsets_whole(tokenizer: &mut tokenizers::Tokenizer) -> Result<(), Box<dyn std::error::Error>> {
    fn switch_off(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if key == "trim_offsets" {
                        *value = Value::Bool(false);
                    } else {
                        switch_off(value);
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(switch_off),
            _ => {}
        }
    }
    if let Some(processor) = tokenizer.get_post_processor() {
        let mut value = serde_json::to_value(processor)?;
        switch_off(&mut value);
        let processor: tokenizers::PostProcessorWrapper = serde_json::from_value(value)?;
        tokenizer.with_post_processor(Some(processor));
    }
    Ok(())
}

/// An object, or an empty one when the file is not there.
fn optional_json(path: &Path) -> Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let text = files::read_text(path, MAX_CONFIG_BYTES)?;
    serde_json::from_str(&text).map_err(|e| Error::bad(format!("expected a JSON object: {e}")).in_file(path))
}

/// `"<s>"` or `{"content": "<s>", ...}`
fn token_text(map: &Map<String, Value>, key: &str) -> Option<String> {
    let value = map.get(key)?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}

/// An id, or the first of several.
fn first_id(value: &Value) -> Option<u32> {
    let value = value.as_array().map_or(Some(value), |list| list.first())?;
    u32::try_from(value.as_u64()?).ok()
}
