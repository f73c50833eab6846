//! Which folders are checkpoints, and in what order they were made.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::adapter::SETTINGS_FILE;
use super::address::{self, Addition, Address, Parts, is_checkpoint, is_llama2c};
use super::gguf::is_gguf;
use super::llama2c::Llama2cFile;
use crate::error::{Error, Result};
use crate::hub::{self, Events, RepoPath, Settings};
use crate::util::files::{self, natural_cmp};
use crate::util::step_name::Progress;

/// One checkpoint and its place in a series. Run name, step and tokens seen are its identity for people;
/// the fingerprint of the weights is its identity for stored scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRef {
    pub address: Address,
    /// The training run: the name of the folder that holds the series.
    pub run: String,
    /// The checkpoint's own name: its folder's, or its file's without the ending.
    pub name: String,
    /// Optimizer steps, from `trainer_state.json` or the folder name.
    pub step: Option<u64>,
    /// Training tokens seen, where `trainer_state.json` or the folder name says so.
    pub tokens: Option<u64>,
}

/// The checkpoints at `path`: the file or the folder itself if it has a `config.json`, else the folders with one and the
/// GGUF and llama2.c files inside, ordered by step (those without a step come first, by natural name order).
///
/// A path that does not exist as it stands may be `BASE+ADAPTER`: one checkpoint, and the adapter or delta to be laid on
/// it, or a folder of them, which is a series. A folder whose own name has a + is itself.
pub fn discover(path: &Path) -> Result<Vec<CheckpointRef>> {
    if !path.exists()
        && let Some(parts) = address::split(path)?
    {
        return additions(path, parts);
    }
    if is_checkpoint(path) {
        let run = if path.is_file() { folder_name(path.parent().unwrap_or(path)) } else { folder_name(path) };
        return Ok(vec![describe(path, Address::from(path), &run)]);
    }
    if !path.is_dir() {
        return Err(Error::bad("expected a checkpoint folder, a .gguf or a .bin file, found none").in_file(path));
    }
    let run = folder_name(path);
    let inner = list(path)?;
    let there = |inner: &&PathBuf| {
        inner.join("config.json").is_file() || is_gguf(inner) || (is_llama2c(inner) && Llama2cFile::open(inner).is_ok())
    };
    let found = inner.iter().filter(there).map(|inner| describe(inner, Address::from(inner), &run)).collect();
    let adapters = [path].into_iter().chain(inner.iter().map(PathBuf::as_path));
    let help = if adapters.map(|folder| folder.join(SETTINGS_FILE)).any(|file| file.is_file()) {
        "name the base of an adapter: BASE+ADAPTER"
    } else {
        "name a Hugging Face checkpoint folder, or a folder of them"
    };
    in_order(found).ok_or_else(|| {
        Error::bad("expected config.json, .gguf or llama2.c files in the folder or in its subfolders, found none")
            .in_file(path)
            .help(help)
    })
}

/// The one checkpoint at `path`.
///
/// # Errors
/// None, or several.
pub fn discover_one(path: &Path) -> Result<CheckpointRef> {
    let mut found = discover(path)?;
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (_, others) => {
            Err(Error::bad(format!("expected one checkpoint, found a series of {}", others + 1)).in_file(path))
        }
    }
}

/// The base with the addition at the other path, or with each of those inside.
fn additions(path: &Path, Parts { base, rest, delta }: Parts) -> Result<Vec<CheckpointRef>> {
    if !is_checkpoint(&base) {
        return Err(Error::bad("expected one checkpoint before the +, found none or a folder of them").in_file(&base));
    }
    let run = format!("{}+{}", own_name(&base), own_name(&rest));
    let on_base = |addition: Addition| Address { base: base.clone(), addition: Some(addition) };
    if let Some(addition) = Addition::at(&rest, delta) {
        let one = describe(&rest, on_base(addition), &run);
        return Ok(vec![CheckpointRef { name: run, ..one }]);
    }
    if is_checkpoint(&rest) {
        return Err(Error::bad("expected an adapter or a delta behind the +, found a complete checkpoint")
            .in_file(&rest)
            .help(format!(
                "if these are differences to be added, say so: {}+delta:{}",
                base.display(),
                rest.display()
            )));
    }
    let inner = if rest.is_dir() { list(&rest)? } else { Vec::new() };
    let found = inner.iter().filter_map(|inner| Some((inner, Addition::at(inner, delta)?)));
    let found = found.map(|(inner, addition)| describe(inner, on_base(addition), &run)).collect();
    in_order(found).ok_or_else(|| {
        Error::bad(format!("expected {SETTINGS_FILE} or weights in the folder or in its subfolders, found none"))
            .in_file(path)
            .help("behind the + stands a PEFT folder, a folder of deltas' weights, or a folder of such folders")
    })
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: &std::io::Error| Error::io("list", folder, e);
    let entries = std::fs::read_dir(folder).map_err(|e| failed(&e))?;
    entries.map(|entry| Ok(entry.map_err(|e| failed(&e))?.path())).collect()
}

/// By step, then by name; `None` if there is nothing.
fn in_order(mut found: Vec<CheckpointRef>) -> Option<Vec<CheckpointRef>> {
    found.sort_by(|a, b| a.step.cmp(&b.step).then_with(|| natural_cmp(&a.name, &b.name)));
    (!found.is_empty()).then_some(found)
}

/// The checkpoint at an address of the hub, which is fetched if it is not here. The repository is its run; its own name is
/// the revision and the path, where they are given: the revisions of one repository are a series.
pub fn fetch(address: &hub::Address, settings: &Settings, events: &mut Events<'_>) -> Result<CheckpointRef> {
    let path = hub::fetch_model(address, settings, events)?;
    let run = address.repo.id().replace('/', "--");
    let revision = Some(address.revision.as_str()).filter(|revision| *revision != "main");
    let parts: Vec<&str> = revision.into_iter().chain(address.path.as_ref().map(RepoPath::as_str)).collect();
    let name = parts.join("-").replace('/', "-");
    let name = if name.is_empty() { run.clone() } else { name.trim_end_matches(".gguf").to_owned() };
    Ok(named(&path, Address::from(&path), &run, name))
}

/// The last component that names something, also for `.` and `ckpt/..`.
fn folder_name(path: &Path) -> String {
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    resolved.file_name().map_or_else(|| "checkpoint".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A folder's name, or a file's without its ending.
fn own_name(path: &Path) -> String {
    match path.file_stem().filter(|_| path.is_file()) {
        Some(stem) => stem.to_string_lossy().into_owned(),
        None => folder_name(path),
    }
}

/// A checkpoint by the path that its name and step stand on.
fn describe(path: &Path, address: Address, run: &str) -> CheckpointRef {
    named(path, address, run, own_name(path))
}

fn named(path: &Path, address: Address, run: &str, name: String) -> CheckpointRef {
    let state = files::read_text(&path.join("trainer_state.json"), 256 << 20)
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let from_state = |key: &str| state.as_ref()?.get(key)?.as_u64();
    let progress = Progress::from_name(&name);
    let step = from_state("global_step").or(progress.step);
    let tokens = from_state("num_input_tokens_seen").filter(|n| *n > 0).or(progress.tokens);
    CheckpointRef { address, run: run.to_owned(), name, step, tokens }
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

    fn write(folder: &Path, files: &[&str]) {
        for file in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, r#"{"global_step": 7}"#).unwrap();
        }
    }

    /// Names and addresses of what is found, the folder around left out; or the message.
    fn found(folder: &Path, path: &str) -> Vec<String> {
        let around = format!("{}/", folder.display());
        let line = |c: CheckpointRef| format!("{} {} {:?} {}", c.run, c.name, c.step, c.address);
        match discover(&folder.join(path.replace('~', &around))) {
            Ok(found) => found.into_iter().map(line).map(|line| line.replace(&around, "")).collect(),
            Err(error) => vec![error.to_string().replace(&around, "")],
        }
    }

    #[test]
    fn additions_are_laid_on_their_base() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, &["base/config.json", "base/model.safetensors", "a+b/config.json", "a/config.json"]);
        write(folder, &["lora/adapter_config.json", "lora/checkpoint-5/adapter_config.json"]);
        write(folder, &["out/checkpoint-100/adapter_config.json", "out/checkpoint-20/adapter_config.json"]);
        write(folder, &["out/checkpoint-20/trainer_state.json", "delta/model.safetensors", "notes/readme"]);
        assert_eq!(found(folder, "base+~lora"), ["base+lora base+lora None base+lora"]);
        assert_eq!(
            found(folder, "base+~out"),
            [
                "base+out checkpoint-20 Some(7) base+out/checkpoint-20",
                "base+out checkpoint-100 Some(100) base+out/checkpoint-100"
            ]
        );
        assert_eq!(found(folder, "a+b"), ["a+b a+b None a+b"]);
        assert_eq!(found(folder, "a+b+~lora"), ["a+b+lora a+b+lora None a+b+lora"]);
        assert_eq!(found(folder, "base+~delta"), ["base+delta base+delta None base+delta:delta"]);
        assert_eq!(found(folder, "base+delta:~base"), ["base+base base+base None base+delta:base"]);
        for (path, expected) in [
            ("base+~base", "if these are differences to be added, say so: base+delta:base"),
            ("base+~absent", "expected an adapter behind the +, found nothing at \"absent\""),
            ("base+~notes", "expected adapter_config.json or weights in the folder"),
            ("lora+~lora", "expected one checkpoint before the +"),
            ("lora", "name the base of an adapter: BASE+ADAPTER"),
            ("out", "name the base of an adapter: BASE+ADAPTER"),
            ("absent+~lora", "expected a checkpoint folder"),
        ] {
            let found = found(folder, path).join(" ");
            assert!(found.contains(expected), "{path}: {found}");
        }
    }
}
