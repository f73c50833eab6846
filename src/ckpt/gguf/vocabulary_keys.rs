//! A `tokenizer.json` as the keys of a GGUF file: what [`super::vocabulary`] reads, the other way round.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::scan::{Array, Result, Value, bad};
use super::vocabulary::{BYTE, CONTROL, NORMAL, SPLITS, UNKNOWN, UNUSED, USER_DEFINED, split_of};

/// The keys below `tokenizer.`; ids without a piece, up to the `rows` of the embedding, are padding.
pub(super) fn vocabulary_keys(
    tokenizer: &Json,
    settings: &Map<String, Json>,
    config: &Map<String, Json>,
    rows: usize,
) -> Result<Vec<(String, Value)>> {
    let at = "tokenizer.json";
    let model = &tokenizer["model"];
    let Some(vocab) = model["vocab"].as_object().filter(|_| model["type"] == "BPE") else {
        return bad(at, format!("expected a model of byte pairs, found {}", model["type"]));
    };
    let mut tokens: Vec<Option<String>> = vec![None; rows];
    let mut kinds = vec![UNUSED; rows];
    for (piece, id) in vocab {
        let Some(id) = id.as_u64().map(|id| id as usize).filter(|id| *id < rows) else {
            return bad(at, format!("expected ids below the {rows} rows of the embedding, found {id}"));
        };
        let byte = piece.len() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
        kinds[id] = if byte { BYTE } else { NORMAL };
        tokens[id] = Some(piece.clone());
    }
    let unknown = model["unk_token"].as_str();
    for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(content)) = (added["id"].as_u64(), added["content"].as_str()) else { continue };
        let id = id as usize;
        if id >= rows {
            return bad(at, format!("expected ids below the {rows} rows of the embedding, found {id}"));
        }
        kinds[id] = match added["special"].as_bool() {
            _ if Some(content) == unknown => UNKNOWN,
            Some(true) => CONTROL,
            _ => USER_DEFINED,
        };
        tokens[id] = Some(content.to_owned());
    }
    let merges = read_merges(model)?;
    let pieces: Vec<String> =
        tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| format!("[PAD{id}]"))).collect();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut keys = if model["byte_fallback"] == true {
        vec![
            (key("model"), Value::Text("llama".to_owned())),
            (key("pre"), Value::Text("default".to_owned())),
            (key("scores"), Value::Array(Array::F32(scores(&pieces, &merges)))),
            (key("add_space_prefix"), Value::Bool(has_prefix(tokenizer))),
        ]
    } else {
        let Some(split) = split_of(tokenizer) else {
            let known: Vec<&str> = SPLITS.iter().flat_map(|split| split.names).copied().collect();
            let message = format!("expected one of the ways to split that llama.cpp knows ({})", known.join(", "));
            return bad(at, message);
        };
        let merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        vec![
            (key("model"), Value::Text("gpt2".to_owned())),
            (key("pre"), Value::Text(split.to_owned())),
            (key("merges"), Value::Array(Array::Text(merges))),
        ]
    };
    let id_of: BTreeMap<&str, usize> = pieces.iter().enumerate().map(|(id, piece)| (piece.as_str(), id)).collect();
    for (setting, number, name) in [
        ("bos_token", "bos_token_id", "bos_token_id"),
        ("eos_token", "eos_token_id", "eos_token_id"),
        ("unk_token", "", "unknown_token_id"),
    ] {
        let text = settings.get(setting).and_then(|token| token.as_str().or_else(|| token["content"].as_str()));
        let named = text.and_then(|text| id_of.get(text).copied());
        let numbered = || config.get(number)?.as_u64().map(|id| id as usize);
        keys.extend(named.or_else(numbered).map(|id| (key(name), Value::U32(id as u32))));
    }
    let bos_first = tokenizer["post_processor"]["single"][0].get("SpecialToken").is_some();
    keys.push((key("add_bos_token"), Value::Bool(bos_first)));
    keys.push((key("token_type"), Value::Array(Array::I32(kinds.iter().map(|kind| *kind as i32).collect()))));
    keys.push((key("tokens"), Value::Array(Array::Text(pieces))));
    if let Some(chat) = settings.get("chat_template").and_then(Json::as_str) {
        keys.push(("tokenizer.chat_template".to_owned(), Value::Text(chat.to_owned())));
    }
    Ok(keys)
}

/// Pairs, in either of the two ways in which the library writes them.
fn read_merges(model: &Json) -> Result<Vec<(String, String)>> {
    let mut merges = Vec::new();
    for merge in model["merges"].as_array().into_iter().flatten() {
        let pair = match merge {
            Json::String(text) => text.split_once(' '),
            other => other[0].as_str().zip(other[1].as_str()),
        };
        let Some((left, right)) = pair else {
            return bad("tokenizer.json", format!("expected two pieces in a merge, found {merge}"));
        };
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}

/// SentencePiece merges the pair whose joined piece has the highest score: the earlier merged, the higher.
fn scores(pieces: &[String], merges: &[(String, String)]) -> Vec<f32> {
    let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
    for (left, right) in merges {
        let next = ranks.len();
        ranks.entry(format!("{left}{right}")).or_insert(next);
    }
    pieces.iter().map(|piece| ranks.get(piece).map_or(0.0, |rank| -(*rank as f32) - 1.0)).collect()
}

/// Whether a space is put before a text, by a normalizer or by a pre-tokenizer.
fn has_prefix(tokenizer: &Json) -> bool {
    let normalizer = &tokenizer["normalizer"];
    let steps = normalizer["normalizers"].as_array().cloned().unwrap_or_else(|| vec![normalizer.clone()]);
    let split = &tokenizer["pre_tokenizer"];
    steps.iter().any(|step| step["type"] == "Prepend")
        || (split["type"] == "Metaspace" && split["prepend_scheme"] != "never" && split["add_prefix_space"] != false)
}
