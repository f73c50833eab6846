//! Which folders are checkpoints, and in what order they were made.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::gguf::is_gguf;
use crate::error::{Error, Result};
use crate::hub::{self, Address, Events, RepoPath, Settings};
use crate::util::files::{self, natural_cmp};
use crate::util::step_name::Progress;

/// One checkpoint and its place in a series. Run name, step and tokens seen are its identity for people;
/// the fingerprint of the weights is its identity for stored scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRef {
    pub path: PathBuf,
    /// The training run: the name of the folder that holds the series.
    pub run: String,
    /// The checkpoint's own name: its folder's, or its file's without the ending.
    pub name: String,
    /// Optimizer steps, from `trainer_state.json` or the folder name.
    pub step: Option<u64>,
    /// Training tokens seen, where `trainer_state.json` or the folder name says so.
    pub tokens: Option<u64>,
}

/// The checkpoints at `path`: the GGUF file or the folder itself if it has a `config.json`, else the folders with one
/// and the GGUF files inside, ordered by step (those without a step come first, by natural name order).
pub fn discover(path: &Path) -> Result<Vec<CheckpointRef>> {
    if is_gguf(path) {
        return Ok(vec![describe(path, &folder_name(path.parent().unwrap_or(path)))]);
    }
    if !path.is_dir() {
        return Err(Error::bad("expected a checkpoint folder or a .gguf file, found none").in_file(path));
    }
    if path.join("config.json").is_file() {
        return Ok(vec![describe(path, &folder_name(path))]);
    }
    let run = folder_name(path);
    let entries = std::fs::read_dir(path).map_err(|e| Error::io("list", path, &e))?;
    let mut found = Vec::new();
    for entry in entries {
        let inner = entry.map_err(|e| Error::io("list", path, &e))?.path();
        if inner.join("config.json").is_file() || is_gguf(&inner) {
            found.push(describe(&inner, &run));
        }
    }
    if found.is_empty() {
        return Err(Error::bad("expected config.json or .gguf files in the folder or in its subfolders, found none")
            .in_file(path)
            .help("name a Hugging Face checkpoint folder, or a folder of them"));
    }
    found.sort_by(|a, b| a.step.cmp(&b.step).then_with(|| natural_cmp(&a.name, &b.name)));
    Ok(found)
}

/// The checkpoint at an address of the hub, which is fetched if it is not here. The repository is its run; its own name is
/// the revision and the path, where they are given: the revisions of one repository are a series.
pub fn fetch(address: &Address, settings: &Settings, events: &mut Events<'_>) -> Result<CheckpointRef> {
    let path = hub::fetch_model(address, settings, events)?;
    let run = address.repo.id().replace('/', "--");
    let revision = Some(address.revision.as_str()).filter(|revision| *revision != "main");
    let parts: Vec<&str> = revision.into_iter().chain(address.path.as_ref().map(RepoPath::as_str)).collect();
    let name = parts.join("-").replace('/', "-");
    let name = if name.is_empty() { run.clone() } else { name.trim_end_matches(".gguf").to_owned() };
    Ok(named(&path, &run, name))
}

/// The last component that names something, also for `.` and `ckpt/..`.
fn folder_name(path: &Path) -> String {
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    resolved.file_name().map_or_else(|| "checkpoint".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn describe(path: &Path, run: &str) -> CheckpointRef {
    let name = match path.file_stem().filter(|_| is_gguf(path)) {
        Some(stem) => stem.to_string_lossy().into_owned(),
        None => folder_name(path),
    };
    named(path, run, name)
}

fn named(path: &Path, run: &str, name: String) -> CheckpointRef {
    let state = files::read_text(&path.join("trainer_state.json"), 256 << 20)
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let from_state = |key: &str| state.as_ref()?.get(key)?.as_u64();
    let named = Progress::from_name(&name);
    let step = from_state("global_step").or(named.step);
    let tokens = from_state("num_input_tokens_seen").filter(|n| *n > 0).or(named.tokens);
    CheckpointRef { path: path.to_path_buf(), run: run.to_owned(), name, step, tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_ordered() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["step1000", "step999-tokens4B", "checkpoint-2000", "iter_000300", "final", "notes"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            if name != "notes" {
                std::fs::write(folder.path().join(name).join("config.json"), "{}").unwrap();
            }
        }
        std::fs::write(
            folder.path().join("final/trainer_state.json"),
            r#"{"global_step": 5, "num_input_tokens_seen": 77}"#,
        )
        .unwrap();
        let found = discover(folder.path()).unwrap();
        let steps: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.step, c.tokens)).collect();
        assert_eq!(
            steps,
            [
                ("final", Some(5), Some(77)),
                ("iter_000300", Some(300), None),
                ("step999-tokens4B", Some(999), Some(4_000_000_000)),
                ("step1000", Some(1000), None),
                ("checkpoint-2000", Some(2000), None),
            ]
        );
        assert_eq!(discover(&folder.path().join("step1000")).unwrap().len(), 1);
        assert!(discover(&folder.path().join("notes")).is_err());
        assert!(discover(&folder.path().join("absent")).is_err());
    }
}
