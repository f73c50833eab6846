//! `items.jsonl` of a store: what its rows are gradients of, a line for each item.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::feedback::Target;
use crate::util::{files, hash};

const MAX_BYTES: u64 = 1 << 30;

/// A line.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    /// Of context and answer, and the first token of the answer.
    tokens: usize,
    start: usize,
    /// Hash of the tokens.
    hash: String,
}

fn lines(targets: &[Target]) -> Result<String> {
    let line = |target: &Target| {
        let bytes: Vec<u8> = target.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        Line {
            id: target.id.clone(),
            tokens: target.tokens.len(),
            start: target.start,
            hash: hash::fingerprint(&bytes),
        }
    };
    let mut text = String::new();
    for target in targets {
        text += &serde_json::to_string(&line(target)).map_err(|e| Error::internal(format!("items.jsonl: {e}")))?;
        text.push('\n');
    }
    Ok(text)
}

/// Refuses a store of other items.
pub(super) fn check(folder: &Path, targets: &[Target]) -> Result<()> {
    let Some(found) = read(folder)? else { return Ok(()) };
    let wanted = lines(targets)?;
    if found == wanted {
        return Ok(());
    }
    let same = found.lines().zip(wanted.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(same).map_or_else(|| "no more items".to_owned(), str::to_owned);
    Err(Error::bad(format!("expected a store of the same items, with {}, found {}", line(&wanted), line(&found)))
        .in_file(path(folder))
        .at(format!("line {}", same + 1))
        .help("use another folder for these gradients"))
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("items.jsonl")
}

pub(super) fn write(folder: &Path, targets: &[Target]) -> Result<()> {
    files::write_atomic(&path(folder), lines(targets)?.as_bytes())
}

/// The text, if there is one.
fn read(folder: &Path) -> Result<Option<String>> {
    let path = path(folder);
    if path.exists() { files::read_text(&path, MAX_BYTES).map(Some) } else { Ok(None) }
}

/// The items' ids, if the store says them.
pub(super) fn ids(folder: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Item {
        id: String,
    }
    let item = |(number, line): (usize, &str)| {
        let item: serde_json::Result<Item> = serde_json::from_str(line);
        item.map(|item| item.id).map_err(|e| {
            Error::bad(format!("expected an item: {e}")).in_file(path(folder)).at(format!("line {}", number + 1))
        })
    };
    read(folder)?.unwrap_or_default().lines().enumerate().map(item).collect()
}

/// Gives a store that is made of another one the same items. `rows`: how many it has already.
pub(super) fn copy(from: &Path, to: &Path, rows: u64) -> Result<()> {
    let (own, found) = (read(from)?, read(to)?);
    if found != own && (rows > 0 || found.is_some()) {
        return Err(Error::bad("expected a store of the same items, found one of others")
            .in_file(path(to))
            .help("use another folder for these rows"));
    }
    own.map_or(Ok(()), |text| files::write_atomic(&path(to), text.as_bytes()))
}
