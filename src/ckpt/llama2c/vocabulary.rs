//! `tokenizer.bin`: the longest piece, then score, length and bytes of each. SentencePiece's mark is a space in it.

use std::path::{Path, PathBuf};

use serde_json::{Map, json};

use crate::ckpt::pieces::{SentencePieces, Vocabulary};
use crate::error::{Error, Result};
use crate::util::files;

const MAX_BYTES: u64 = 64 << 20;
/// Real ones stay below 300.
const MAX_PIECE_BYTES: usize = 1 << 12;
/// Unknown, beginning and end of sequence.
const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];

/// Reads the vocabulary of a model's file: `tok512.bin` beside it, with the number of pieces, or `tokenizer.bin`.
pub(super) fn read(model: &Path, size: usize) -> Result<Vocabulary> {
    let names = [format!("tok{size}.bin"), "tokenizer.bin".to_owned()];
    let beside: Vec<PathBuf> = names.iter().map(|name| model.with_file_name(name)).collect();
    let Some(path) = beside.iter().find(|path| path.is_file()) else {
        return Err(Error::bad(format!("expected {} beside the file, found neither", names.join(" or ")))
            .in_file(model)
            .help("copy the tokenizer that llama2.c's run would be given there"));
    };
    let bytes = files::read_bounded(path, MAX_BYTES)?;
    let (pieces, scores) = parse(&bytes, size).map_err(|error| error.in_file(path))?;
    let whole = SentencePieces { pieces: &pieces, scores: &scores, unknown: SPECIAL[0], space_before: true };
    let added: Vec<_> = (0..SPECIAL.len()).map(|id| (id, true)).collect();
    let mut config = Map::new();
    for (key, text) in ["unk_token", "bos_token", "eos_token"].iter().zip(SPECIAL) {
        config.insert((*key).to_owned(), json!(text));
    }
    let bos = Some((1, SPECIAL[1]));
    Ok(Vocabulary { tokenizer: whole.tokenizer(&added, [bos, None]), config })
}

/// Pieces with SentencePiece's mark, and their scores.
fn parse(bytes: &[u8], size: usize) -> Result<(Vec<String>, Vec<f32>)> {
    let mut rest = bytes.get(4..).unwrap_or_default();
    let (mut pieces, mut scores) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let id = pieces.len();
        let bad = |message: String| Error::bad(message).at(format!("piece {id}"));
        let Some((head, after)) = rest.split_first_chunk::<8>() else {
            return Err(bad(format!("expected score and length, found {} bytes", rest.len())));
        };
        let [a, b, c, d, e, f, g, h] = *head;
        let (score, length) = (f32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]) as usize);
        if length > MAX_PIECE_BYTES.min(after.len()) || score.is_nan() {
            return Err(bad(format!(
                "expected a score and at most {MAX_PIECE_BYTES} bytes, found {score} and {length}"
            )));
        }
        let (piece, after) = after.split_at(length);
        let text = std::str::from_utf8(piece).map_err(|_| bad("expected UTF-8, found other bytes".to_owned()))?;
        pieces.push(match SPECIAL.get(id) {
            // Written with line breaks around them, so that no text has them.
            Some(special) if text.trim() == *special => (*special).to_owned(),
            Some(special) => return Err(bad(format!("expected {special}, found {text:?}"))),
            None => text.replace(' ', "\u{2581}"),
        });
        scores.push(score);
        rest = after;
    }
    if pieces.len() == size {
        return Ok((pieces, scores));
    }
    Err(Error::bad(format!("expected the model's {size} pieces, found {}", pieces.len()))
        .help("the tokenizer belongs to another model"))
}
