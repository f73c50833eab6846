//! SentencePiece vocabularies as a `tokenizer.json`, from whatever format has pieces and scores.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::address::is_llama2c;
use super::gguf::{GgufFile, is_gguf};
use super::llama2c::Llama2cFile;
use crate::error::Result;

/// What a tokenizer is made of.
pub struct Vocabulary {
    /// `tokenizer.json`
    pub tokenizer: Json,
    /// `tokenizer_config.json`
    pub config: Map<String, Json>,
}

impl Vocabulary {
    /// What a checkpoint that is one file has in place of `tokenizer.json`; `None` for a folder.
    pub fn of_file(checkpoint: &Path) -> Result<Option<Self>> {
        if is_gguf(checkpoint) {
            return GgufFile::open(checkpoint)?.vocabulary().map(Some);
        }
        if is_llama2c(checkpoint) {
            return Llama2cFile::open(checkpoint)?.vocabulary().map(Some);
        }
        Ok(None)
    }
}

/// A special token: its id and its text.
pub(super) type Special<'a> = Option<(u64, &'a str)>;

/// Pieces with their scores.
pub(super) struct SentencePieces<'a> {
    pub pieces: &'a [String],
    /// As many as pieces.
    pub scores: &'a [f32],
    pub unknown: &'a str,
    /// Whether a space is put before a text.
    pub space_before: bool,
}

impl SentencePieces<'_> {
    /// The whole file. `added` are the ids of tokens that are cut out of a text before it is split, and whether they are
    /// special; beginning and end of sequence stand around a text.
    pub fn tokenizer(&self, added: &[(usize, bool)], around: [Special<'_>; 2]) -> Json {
        let token = |&(id, special): &(usize, bool)| added_token(id, &self.pieces[id], special);
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added.iter().map(token).collect::<Vec<_>>(),
            "normalizer": self.normalizer(),
            "pre_tokenizer": null,
            "post_processor": template(&around),
            "decoder": self.decoder(),
            "model": self.model(),
        })
    }

    /// Of all neighbours, the pair whose joined piece has the highest score is merged first; what no piece covers becomes
    /// bytes. Every way to join a piece of two others is a merge, ordered by score.
    pub fn model(&self) -> Json {
        let ids: BTreeMap<&str, usize> =
            self.pieces.iter().enumerate().map(|(id, piece)| (piece.as_str(), id)).collect();
        let mut merges: Vec<(f32, &str, &str)> = Vec::new();
        for (piece, score) in self.pieces.iter().zip(self.scores) {
            let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
            let mut own: Vec<(usize, usize, &str, &str)> =
                cuts.filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?, left, right))).collect();
            own.sort_unstable();
            merges.extend(own.into_iter().map(|(_, _, left, right)| (*score, left, right)));
        }
        let lengths = |(_, left, right): &(f32, &str, &str)| (left.chars().count(), right.chars().count());
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| lengths(b).cmp(&lengths(a))));
        json!({
            "type": "BPE", "dropout": null, "unk_token": self.unknown,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "ignore_merges": false, "vocab": vocab(self.pieces),
            "merges": merges.iter().map(|(_, left, right)| [left, right]).collect::<Vec<_>>(),
        })
    }

    pub fn normalizer(&self) -> Json {
        let mut steps = vec![replace(" ", "\u{2581}")];
        if self.space_before {
            steps.insert(0, json!({"type": "Prepend", "prepend": "\u{2581}"}));
        }
        json!({"type": "Sequence", "normalizers": steps})
    }

    pub fn decoder(&self) -> Json {
        let mut steps = vec![replace("\u{2581}", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if self.space_before {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    }
}

fn replace(from: &str, to: &str) -> Json {
    json!({"type": "Replace", "pattern": {"String": from}, "content": to})
}

/// Pieces and their ids.
pub(super) fn vocab(pieces: &[String]) -> Map<String, Json> {
    pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), json!(id))).collect()
}

/// A token that is cut out of a text before it is split.
pub(super) fn added_token(id: usize, text: &str, special: bool) -> Json {
    json!({
        "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special,
    })
}

/// The post-processor that puts special tokens around a text.
pub(super) fn template([bos, eos]: &[Special<'_>; 2]) -> Json {
    if bos.is_none() && eos.is_none() {
        return Json::Null;
    }
    let piece = |token: &Special<'_>| token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": 0}}));
    let text = |id: &str, type_id: u64| json!({"Sequence": {"id": id, "type_id": type_id}});
    let single: Vec<Json> = piece(bos).into_iter().chain([text("A", 0)]).chain(piece(eos)).collect();
    let pair: Vec<Json> = single.iter().cloned().chain([text("B", 1)]).collect();
    let entry = |(id, text): &(u64, &str)| ((*text).to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
    let specials: Map<String, Json> = [bos, eos].into_iter().flatten().map(entry).collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials})
}
