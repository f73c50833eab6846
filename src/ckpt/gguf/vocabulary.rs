//! The vocabulary of a GGUF file as a `tokenizer.json` and a `tokenizer_config.json`.
//!
//! llama.cpp splits and merges by rules of its own; these are the same rules for the `tokenizers` library. Of the ways
//! to split, those in [`SPLITS`] were compared with llama.cpp's ids.

use serde_json::{Map, Value as Json, json};

use super::header::Gguf;
use super::scan::{Result, Value, bad};
use crate::ckpt::pieces::{SentencePieces, Vocabulary, added_token, template, vocab};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// `tokenizer.ggml.pre`: expressions that split a text, each within the pieces of those before it; whether a piece that
/// is in the vocabulary is taken whole; whether the beginning-of-sequence token is put before where no key says so.
pub(super) struct Split {
    pub names: &'static [&'static str],
    expressions: &'static [&'static str],
    ignore_merges: bool,
    add_bos: bool,
}

pub(super) const SPLITS: &[Split] = &[
    Split { names: &["gpt-2", "phi-2", "olmo", "mpt"], expressions: &[GPT2], ignore_merges: false, add_bos: false },
    Split {
        names: &["smollm", "starcoder", "refact", "command-r"],
        expressions: &[r"\p{N}", GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        expressions: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    Split { names: &["dbrx", "smaug-bpe"], expressions: &[LLAMA3], ignore_merges: false, add_bos: false },
    Split {
        names: &["qwen2", "stablelm2", "deepseek-r1-qwen"],
        expressions: &[QWEN2],
        ignore_merges: false,
        add_bos: false,
    },
    Split {
        names: &["default", ""],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
];

/// Real ones stay below 300. Every way to cut a token in two is tried.
const MAX_TOKEN_BYTES: usize = 1 << 12;

/// `tokenizer.ggml.token_type`
pub(super) const NORMAL: u64 = 1;
pub(super) const UNKNOWN: u64 = 2;
pub(super) const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;
pub(super) const UNUSED: u64 = 5;
pub(super) const BYTE: u64 = 6;

/// The keys below `tokenizer.ggml.`.
struct Keys<'a> {
    header: &'a Gguf,
    tokens: &'a [String],
    kinds: Vec<u64>,
}

impl Vocabulary {
    pub(super) fn read(header: &Gguf) -> Result<Self> {
        let keys = Keys::read(header)?;
        let (model, rest) = match keys.text("model") {
            Some("llama") => keys.sentence_pieces()?,
            Some("gpt2") => keys.byte_pairs()?,
            other => {
                let found = other.unwrap_or("none");
                return bad("key tokenizer.ggml.model", format!("expected llama or gpt2, found {found:?}"));
            }
        };
        let add_bos = keys.flag("add_bos_token").unwrap_or(rest.add_bos);
        let add_eos = keys.flag("add_eos_token").unwrap_or(false);
        let around = [("bos_token_id", add_bos), ("eos_token_id", add_eos)];
        let around = around.map(|(key, add)| keys.special(key, rest.default_ids).filter(|_| add));
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": keys.added(),
            "normalizer": rest.normalizer,
            "pre_tokenizer": rest.pre_tokenizer,
            "post_processor": template(&around),
            "decoder": rest.decoder,
            "model": model,
        });
        let mut config = Map::new();
        for (key, name) in
            [("bos_token_id", "bos_token"), ("eos_token_id", "eos_token"), ("unknown_token_id", "unk_token")]
        {
            config.extend(keys.special(key, rest.default_ids).map(|(_, text)| (name.to_owned(), json!(text))));
        }
        if let Some(chat) = header.get("tokenizer.chat_template").and_then(Value::as_text) {
            config.insert("chat_template".to_owned(), json!(chat));
        }
        Ok(Self { tokenizer, config })
    }
}

/// What surrounds a model.
struct Rest {
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
    add_bos: bool,
    /// Ids of beginning and end of sequence where no key names them.
    default_ids: [u64; 2],
}

impl<'a> Keys<'a> {
    fn read(header: &'a Gguf) -> Result<Self> {
        let at = "key tokenizer.ggml.tokens";
        let array = |key: &str| header.get(&format!("tokenizer.ggml.{key}")).and_then(Value::as_array);
        let Some(tokens) = array("tokens").and_then(|array| array.as_texts()) else {
            return bad(at, "expected the texts of the vocabulary, found none");
        };
        if let Some(long) = tokens.iter().find(|token| token.len() > MAX_TOKEN_BYTES) {
            return bad(at, format!("expected tokens of at most {MAX_TOKEN_BYTES} bytes, found {}", long.len()));
        }
        let kinds = array("token_type").and_then(super::scan::Array::as_u64s).unwrap_or_else(|| vec![1; tokens.len()]);
        if kinds.len() != tokens.len() {
            return bad(at, format!("expected as many types as tokens ({}), found {}", tokens.len(), kinds.len()));
        }
        Ok(Self { header, tokens, kinds })
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.header.get(&format!("tokenizer.ggml.{key}"))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_text)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// A special token: its id and its text.
    fn special(&self, key: &str, defaults: [u64; 2]) -> Option<(u64, &'a str)> {
        let default = match key {
            "bos_token_id" => Some(defaults[0]),
            "eos_token_id" => Some(defaults[1]),
            _ => None,
        };
        let id = self.get(key).and_then(Value::as_u64).or(default)?;
        let index = usize::try_from(id).ok()?;
        Some((id, self.tokens.get(index)?))
    }

    /// Tokens that are cut out of a text before it is split.
    fn added(&self) -> Vec<Json> {
        let kinds = self.kinds.iter().enumerate();
        let added = kinds.filter(|(_, kind)| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind));
        let entry = |(id, kind): (usize, &u64)| added_token(id, &self.tokens[id], *kind != USER_DEFINED);
        added.map(entry).collect()
    }

    fn sentence_pieces(&self) -> Result<(Json, Rest)> {
        let scores = self.get("scores").and_then(Value::as_array).and_then(|array| array.as_f32s()).unwrap_or_default();
        if scores.len() != self.tokens.len() {
            let message = format!("expected as many scores as tokens ({}), found {}", self.tokens.len(), scores.len());
            return bad("key tokenizer.ggml.scores", message);
        }
        let first = self.tokens.first().map_or("", String::as_str);
        let whole = SentencePieces {
            pieces: self.tokens,
            scores,
            unknown: self.special("unknown_token_id", [1, 2]).map_or(first, |(_, text)| text),
            space_before: self.flag("add_space_prefix").unwrap_or(true),
        };
        let rest = Rest {
            normalizer: whole.normalizer(),
            pre_tokenizer: Json::Null,
            decoder: whole.decoder(),
            add_bos: true,
            default_ids: [1, 2],
        };
        Ok((whole.model(), rest))
    }

    fn byte_pairs(&self) -> Result<(Json, Rest)> {
        let name = self.text("pre").unwrap_or("");
        let Some(split) = SPLITS.iter().find(|split| split.names.contains(&name)) else {
            let known: Vec<&str> = SPLITS.iter().flat_map(|split| split.names).copied().collect();
            return bad("key tokenizer.ggml.pre", format!("expected one of {}, found {name:?}", known.join(", ")));
        };
        let Some(merges) = self.get("merges").and_then(Value::as_array).and_then(|array| array.as_texts()) else {
            return bad("key tokenizer.ggml.merges", "expected the merges of the vocabulary, found none");
        };
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            // At the first space behind the first character: a piece may be a space itself.
            let cut = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
            let Some((left, right)) = cut.map(|(at, _)| (&merge[..at], &merge[at + 1..])) else {
                return bad("key tokenizer.ggml.merges", format!("expected two pieces, found {merge:?}"));
            };
            pairs.push([left, right]);
        }
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split.ignore_merges, "vocab": vocab(self.tokens), "merges": pairs,
        });
        let cut = |expression: &&str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let steps: Vec<Json> = split.expressions.iter().map(cut).chain([byte_level.clone()]).collect();
        let rest = Rest {
            normalizer: Json::Null,
            pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
            decoder: byte_level,
            add_bos: split.add_bos,
            default_ids: [11, 11],
        };
        Ok((model, rest))
    }
}

/// What llama.cpp calls the way in which a `tokenizer.json` splits texts.
pub(super) fn split_of(tokenizer: &Json) -> Option<&'static str> {
    let step = &tokenizer["pre_tokenizer"];
    let steps = step["pretokenizers"].as_array().cloned().unwrap_or_else(|| vec![step.clone()]);
    let mut expressions = Vec::new();
    for step in &steps {
        match step["type"].as_str()? {
            "Split" => expressions.push(step["pattern"]["Regex"].as_str()?.to_owned()),
            "Digits" if step["individual_digits"] == true => expressions.push(r"\p{N}".to_owned()),
            "ByteLevel" if step["use_regex"] != false => expressions.push(GPT2.to_owned()),
            "ByteLevel" => {}
            _ => return None,
        }
    }
    let ignore_merges = tokenizer["model"]["ignore_merges"] == true;
    let same = |split: &&Split| split.expressions.iter().eq(&expressions) && split.ignore_merges == ignore_merges;
    SPLITS.iter().find(same).and_then(|split| split.names.first()).copied()
}
