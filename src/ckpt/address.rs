//! How a checkpoint is named: a folder or file, and what is laid on it (`base+adapter`).

use std::fmt;
use std::path::{Path, PathBuf};

use super::adapter::SETTINGS_FILE;
use super::gguf::is_gguf;
use super::weights::has_weights;
use crate::error::{Error, Result};

/// Where a checkpoint lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A Hugging Face folder, a GGUF file or a llama2.c file.
    pub base: PathBuf,
    pub addition: Option<Addition>,
}

/// Weights that are laid on those of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addition {
    /// A PEFT folder.
    Adapter(PathBuf),
    /// Differences, one for every tensor of the base.
    Delta(PathBuf),
}

/// What stands before the folder of a delta that is a complete checkpoint.
const DELTA: &str = "delta:";

impl Addition {
    pub fn path(&self) -> &Path {
        let (Self::Adapter(path) | Self::Delta(path)) = self;
        path
    }

    /// What lies at a path, if that is one addition. A complete checkpoint is a delta only where that is said.
    pub(super) fn at(path: &Path, said: bool) -> Option<Self> {
        if path.join(SETTINGS_FILE).is_file() && !said {
            return Some(Self::Adapter(path.to_path_buf()));
        }
        let delta = has_weights(path) && (said || !path.join("config.json").exists());
        delta.then(|| Self::Delta(path.to_path_buf()))
    }
}

impl Address {
    /// The same with symbolic links resolved.
    #[must_use]
    pub fn absolute(&self) -> Self {
        let resolve = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let addition = self.addition.as_ref().map(|addition| match addition {
            Addition::Adapter(path) => Addition::Adapter(resolve(path)),
            Addition::Delta(path) => Addition::Delta(resolve(path)),
        });
        Self { base: resolve(&self.base), addition }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base.display())?;
        match &self.addition {
            None => Ok(()),
            Some(Addition::Adapter(path)) => write!(f, "+{}", path.display()),
            Some(Addition::Delta(path)) => write!(f, "+{DELTA}{}", path.display()),
        }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self { base: path.to_path_buf(), addition: None }
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

/// A base and what was written behind its `+`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub base: PathBuf,
    pub rest: PathBuf,
    /// Whether the rest was called a delta.
    pub delta: bool,
}

/// `base+rest` of a path that does not exist as it stands; `None` where nothing before a `+` exists.
///
/// # Errors
/// Nothing behind the `+`, or several ways to read the path.
pub(super) fn split(path: &Path) -> Result<Option<Parts>> {
    let text = path.to_string_lossy();
    let parts = |(at, _): (usize, &str)| {
        let (base, rest) = (PathBuf::from(&text[..at]), &text[at + 1..]);
        let (rest, delta) = rest.strip_prefix(DELTA).map_or((rest, false), |rest| (rest, true));
        Parts { base, rest: PathBuf::from(rest), delta }
    };
    let based: Vec<Parts> = text.match_indices('+').map(parts).filter(|parts| parts.base.exists()).collect();
    let places: Vec<String> = based.iter().map(|parts| parts.rest.display().to_string()).collect();
    let mut whole: Vec<Parts> = based.into_iter().filter(|parts| parts.rest.exists()).collect();
    match (whole.pop(), places.first()) {
        (Some(_), _) if !whole.is_empty() => {
            Err(Error::bad("expected one way to read the path as BASE+ADAPTER, found several")
                .in_file(path)
                .help("rename a folder so that its name has no +"))
        }
        (None, Some(place)) => Err(Error::bad(format!("expected an adapter behind the +, found nothing at {place:?}"))
            .in_file(path)
            .help("write BASE+ADAPTER, each as a path from here")),
        (found, _) => Ok(found),
    }
}

/// Whether a path is that of one checkpoint without anything laid on it.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    is_gguf(path) || is_llama2c(path) || path.join("config.json").is_file()
}

/// Whether a path is that of a llama2.c file, by its name.
pub fn is_llama2c(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("bin")) && path.is_file()
}
