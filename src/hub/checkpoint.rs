//! Which files of a repository make a checkpoint: what a loader reads, and none of the other formats that lie beside.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::address::RepoPath;
use crate::error::{Error, Result};
use crate::util::files;

/// Small files that a checkpoint may have: settings, vocabularies in the formats of all tokenizers, chat templates.
const SMALL: [&str; 14] = [
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "trainer_state.json",
];

/// What a checkpoint or an adapter cannot do without: its configuration, and its weights in one of these formats, the
/// better one first; whole, or in shards that an index beside it names.
const KINDS: [(&str, [&str; 2]); 2] = [
    ("config.json", ["model.safetensors", "pytorch_model.bin"]),
    ("adapter_config.json", ["adapter_model.safetensors", "adapter_model.bin"]),
];

const MAX_INDEX_BYTES: u64 = 64 << 20;
const MAX_SHARDS: usize = 10_000;

/// The files of a checkpoint, as far as their names tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub small: Vec<RepoPath>,
    pub weights: Weights,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    Whole(RepoPath),
    /// The index; [`shards`] reads the names of the others from it.
    Indexed(RepoPath),
}

/// What an address of a model stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One file, such as a GGUF file.
    File(RepoPath),
    Checkpoint(Files),
}

/// The files that make the checkpoint in a folder of a repository, or the one file that the path names.
///
/// # Errors
/// What is missing, and what could be named instead.
pub(super) fn choose(names: &BTreeSet<RepoPath>, path: Option<&RepoPath>) -> Result<Wanted> {
    if let Some(path) = path.filter(|path| names.contains(*path)) {
        return Ok(Wanted::File(path.clone()));
    }
    let named = |name: &str| {
        let name = RepoPath::parse(name)?;
        Some(path.map_or_else(|| name.clone(), |folder| folder.join(&name))).filter(|name| names.contains(name))
    };
    let weights = |name: &&str| {
        let index = || named(&format!("{name}.index.json")).map(Weights::Indexed);
        named(name).map(Weights::Whole).or_else(index)
    };
    let complete = |(config, formats): &(&str, [&str; 2])| {
        named(config)?;
        formats.iter().find_map(weights)
    };
    if let Some(weights) = KINDS.iter().find_map(complete) {
        return Ok(Wanted::Checkpoint(Files { small: SMALL.iter().filter_map(|name| named(name)).collect(), weights }));
    }
    let (config, formats) = KINDS[0];
    let missing = match named(config) {
        Some(_) => format!("{}, or an index of shards", formats.join(" or ")),
        None => format!("{config} and weights"),
    };
    Err(Error::bad(format!("expected {missing}, found none")).help(instead(names, path)))
}

/// What else the repository has that an address could name.
fn instead(names: &BTreeSet<RepoPath>, path: Option<&RepoPath>) -> String {
    let inside = |name: &&RepoPath| {
        path.is_none_or(|path| name.as_str().strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')))
    };
    let mut choices: Vec<&str> = Vec::new();
    for name in names.iter().filter(inside).map(RepoPath::as_str) {
        let folder = name.strip_suffix(KINDS[0].0).and_then(|folder| folder.strip_suffix('/'));
        choices.extend(folder.or_else(|| name.to_ascii_lowercase().ends_with(".gguf").then_some(name)));
    }
    match choices.as_slice() {
        [] => "name a repository with a transformers checkpoint or a GGUF file".to_owned(),
        some => format!("add one of these to the address: {}", some[..some.len().min(8)].join(", ")),
    }
}

/// The shards that an index file names, beside the index.
pub(super) fn shards(index: &RepoPath, file: &Path) -> Result<BTreeSet<RepoPath>> {
    let bad = |problem: String| Error::bad(problem).in_file(file);
    let text = files::read_bounded(file, MAX_INDEX_BYTES)?;
    let json: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|e| bad(format!("expected a JSON object: {e}")))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| bad("expected the key `weight_map` with tensors and their files".to_owned()))?;
    let folder = index.as_str().rsplit_once('/').and_then(|(folder, _)| RepoPath::parse(folder));
    let mut found = BTreeSet::new();
    for name in map.values() {
        let shard = name.as_str().filter(|name| !name.contains('/')).and_then(RepoPath::parse);
        let shard = shard.ok_or_else(|| bad(format!("expected the name of a file beside the index, found {name}")))?;
        found.insert(folder.as_ref().map_or_else(|| shard.clone(), |folder| folder.join(&shard)));
    }
    if found.is_empty() || found.len() > MAX_SHARDS {
        return Err(bad(format!("expected from 1 to {MAX_SHARDS} shards, found {}", found.len())));
    }
    Ok(found)
}
