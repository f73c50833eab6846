//! From an address to a path: the cache first, then the hub.

use std::path::{Path, PathBuf};

use super::address::{Address, Commit, RepoKind, RepoPath};
use super::cache::RepoCache;
use super::checkpoint::{Files, Wanted, Weights, choose, shards};
use super::event::{Event, Events};
use super::remote::Remote;
use super::settings::Settings;
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};

/// The file at an address, if the cache has it at the commit that the revision was at when the hub was last asked.
///
/// # Errors
/// An address without a path; a damaged cache.
pub fn cached_file(address: &Address, settings: &Settings) -> Result<Option<PathBuf>> {
    let path = file_of(address)?;
    let cache = RepoCache::new(&settings.cache, &address.repo);
    Ok(cache.commit_of(&address.revision)?.and_then(|commit| cache.find(&commit, path)))
}

/// The checkpoint at an address, if the cache has all of it: a snapshot's folder, a folder inside, or one file (GGUF).
///
/// Where `huggingface_hub` 2 has left a listing of the commit, "all" is measured by it; elsewhere by what must be there:
/// the configuration, the weights, and every shard that an index names.
///
/// # Errors
/// A damaged cache: an index that is none, a reference that names no commit.
pub fn cached_model(address: &Address, settings: &Settings) -> Result<Option<PathBuf>> {
    let cache = RepoCache::new(&settings.cache, &address.repo);
    let Some(commit) = cache.commit_of(&address.revision)? else { return Ok(None) };
    let present = cache.present(&commit)?;
    let names = cache.listed(&commit).unwrap_or_else(|| present.clone());
    // What makes no checkpoint is told by whoever asks the hub.
    let Ok(wanted) = choose(&names, address.path.as_ref()) else { return Ok(None) };
    let needed = match &wanted {
        Wanted::File(path) => vec![path.clone()],
        Wanted::Checkpoint(Files { small, weights }) => {
            let weights = match weights {
                Weights::Whole(path) => vec![path.clone()],
                Weights::Indexed(index) => match cache.find(&commit, index) {
                    Some(file) => shards(index, &file)?.into_iter().collect(),
                    None => return Ok(None),
                },
            };
            [small.clone(), weights].concat()
        }
    };
    let complete = needed.iter().all(|path| present.contains(path));
    Ok(complete.then(|| cache.place(&commit, address.path.as_ref())))
}

/// The address at the commit that a path in the cache belongs to: what a record can name, since it never moves.
pub fn pinned(address: &Address, path: &Path) -> Option<Address> {
    let depth = address.path.as_ref().map_or(0, |path| path.as_str().split('/').count());
    let commit = path.ancestors().nth(depth)?.file_name()?.to_str().and_then(Commit::parse)?;
    Some(address.at(&commit))
}

/// The file at an address: from the cache, else from the hub.
///
/// # Errors
/// A file that is not here and cannot be fetched: why, and what to do. [`ErrorKind::Incomplete`] for an interrupt.
pub fn fetch_file(address: &Address, settings: &Settings, events: &mut Events<'_>) -> Result<PathBuf> {
    match cached_file(address, settings)? {
        Some(path) => Ok(path),
        None => latest_file(address, settings, events),
    }
}

/// The checkpoint at an address: from the cache, else from the hub. The path is that of [`cached_model`].
///
/// # Errors
/// A checkpoint that is not here in full and cannot be fetched; a repository that holds none.
pub fn fetch_model(address: &Address, settings: &Settings, events: &mut Events<'_>) -> Result<PathBuf> {
    match cached_model(address, settings)? {
        Some(path) => Ok(path),
        None => latest_model(address, settings, events),
    }
}

/// Brings everything at some addresses into the cache, as the hub has it now: the checkpoint of a model's address, the
/// file of any other. The paths come in the order of the addresses.
///
/// # Errors
/// The problems of all addresses together; an interrupt ends the work at once.
pub fn pull(addresses: &[Address], settings: &Settings, events: &mut Events<'_>) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::with_capacity(addresses.len());
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut kind = ErrorKind::Incomplete;
    for address in addresses {
        let found = match address.repo.kind {
            RepoKind::Model => latest_model(address, settings, events),
            RepoKind::Dataset | RepoKind::Space => latest_file(address, settings, events),
        };
        match found {
            Ok(path) => paths.push(path),
            Err(error) if error.kind() == ErrorKind::Incomplete && ctx::interrupted() => return Err(error),
            Err(error) => {
                // Only if all that failed can be taken up again, the whole can.
                kind = if error.kind() == kind { kind } else { ErrorKind::BadInput };
                problems.extend(error.into_diagnostics());
            }
        }
    }
    if problems.is_empty() { Ok(paths) } else { Err(Error::collected(kind, problems)) }
}

fn latest_file(address: &Address, settings: &Settings, events: &mut Events<'_>) -> Result<PathBuf> {
    let path = file_of(address)?;
    match Remote::open(address, settings) {
        Some(remote) => remote.file(path, events),
        None => kept(address, settings, cached_file(address, settings)?, events),
    }
}

fn latest_model(address: &Address, settings: &Settings, events: &mut Events<'_>) -> Result<PathBuf> {
    match Remote::open(address, settings) {
        Some(remote) => remote.model(events),
        None => kept(address, settings, cached_model(address, settings)?, events),
    }
}

/// What the cache has, where the network may not be asked.
fn kept(a: &Address, settings: &Settings, found: Option<PathBuf>, events: &mut Events<'_>) -> Result<PathBuf> {
    let Some(path) = found else { return Err(no_network(a, settings)) };
    events(&Event::Cached { file: &a.to_string() });
    Ok(path)
}

fn file_of(address: &Address) -> Result<&RepoPath> {
    address.path.as_ref().ok_or_else(|| {
        Error::bad(format!("expected the path of a file in the address {address}, found none"))
            .help(format!("name a file of the repository, as in {address}/data/test.jsonl"))
    })
}

/// Why something is not here, and how it gets here.
fn no_network(address: &Address, settings: &Settings) -> Error {
    let why = if cfg!(feature = "hub") {
        "HF_HUB_OFFLINE forbids to ask the hub"
    } else {
        "this build has no network (it lacks the feature `hub`)"
    };
    let cache = RepoCache::new(&settings.cache, &address.repo);
    let commit = cache.commit_of(&address.revision).ok().flatten();
    let absent = commit.zip(address.path.as_ref()).is_some_and(|(commit, path)| cache.is_absent(&commit, path));
    let found = if absent { "a note that the repository has no such file" } else { "it missing or incomplete" };
    Error::bad(format!("expected {address} in the cache, found {found}; {why}")).in_file(&settings.cache).help(format!(
        "run `veval data pull {address}` where there is a network, and copy the cache here (HF_HUB_CACHE, else HF_HOME, \
         names its folder)"
    ))
}
