//! Addresses of repositories and files on the Hugging Face hub: `hf://dataset/owner/name@revision/path`.
//!
//! Names become folders of the cache and parts of URLs, so each is checked when it is read and never again.

use std::fmt;
use std::str::FromStr;

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::suggest::nearest;

/// What every address begins with.
const SCHEME: &str = "hf://";
const MAX_NAME: usize = 96;
const MAX_REVISION: usize = 255;
const MAX_PATH: usize = 1024;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepoKind {
    Model,
    Dataset,
    Space,
}

impl RepoKind {
    const ALL: [Self; 3] = [Self::Model, Self::Dataset, Self::Space];

    /// As an address spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Space => "space",
        }
    }

    /// The kind that a word names, in the singular or the plural.
    fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| word.strip_suffix('s').unwrap_or(word) == kind.name())
    }
}

/// A repository: `model/owner/name`, or `model/name` for the oldest ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repo {
    pub kind: RepoKind,
    id: String,
}

impl Repo {
    /// `owner/name`, or `name` alone.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder of the cache that belongs to the repository.
    pub(super) fn folder(&self) -> String {
        format!("{}s--{}", self.kind.name(), self.id.replace('/', "--"))
    }
}

/// A branch, a tag, `refs/pr/1` or a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(String);

/// A commit by its full name: 40 hexadecimal digits, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit(String);

/// A file or folder inside a repository; it cannot leave the folder that it is joined to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepoPath(String);

/// A repository, a file or a folder of it, at a revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub repo: Repo,
    pub revision: Revision,
    pub path: Option<RepoPath>,
}

/// Whether a text is meant as an address of the hub.
pub fn is_address(text: &str) -> bool {
    text.starts_with(SCHEME)
}

impl Revision {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit, where the revision is one: such a revision never moves.
    pub fn commit(&self) -> Option<Commit> {
        Commit::parse(&self.0)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none();
        let strange = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\%#@".contains(c);
        let fits = text.len() <= MAX_REVISION && !text.contains("..") && !text.contains(strange);
        if fits && text.split('/').all(part) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("expected a branch, a tag or a commit after `@`, found {text:?}"))
    }

    /// A slash belongs to the revision in names such as `refs/pr/1`; in others it is written as `%2F`.
    fn spelled(&self) -> String {
        if special_length(&self.0) == Some(self.0.len()) { self.0.clone() } else { self.0.replace('/', "%2F") }
    }
}

impl Commit {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hexadecimal.then(|| Self(text.to_owned()))
    }
}

impl RepoPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `None` for what could leave its folder, on this system or another one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let drive = |part: &str| part.as_bytes().get(1) == Some(&b':');
        let part = |part: &str| !["", ".", ".."].contains(&part) && !drive(part);
        let strange = |c: char| c.is_control() || c == '\\';
        let fits = text.len() <= MAX_PATH && !text.contains(strange) && text.split('/').all(part);
        fits.then(|| Self(text.to_owned()))
    }

    /// A file of this folder.
    pub(super) fn join(&self, name: &Self) -> Self {
        Self(format!("{}/{name}", self.0))
    }
}

/// The length of a revision with slashes at the beginning of a text: `refs/pr/1`, `refs/convert/parquet`.
fn special_length(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("refs/")?;
    let (word, name) = rest.split_once('/')?;
    let name = name.split('/').next().filter(|name| !name.is_empty() && ["pr", "convert"].contains(&word))?;
    Some("refs/".len() + word.len() + 1 + name.len())
}

/// What stands after `@`, cut into a revision and the rest after its slash.
fn cut_revision(text: &str) -> (String, Option<&str>) {
    let length = special_length(text).or_else(|| text.find('/')).unwrap_or(text.len());
    let (revision, rest) = text.split_at(length);
    (revision.replace("%2F", "/").replace("%2f", "/"), rest.strip_prefix('/'))
}

fn check_name(name: &str) -> Result<(), String> {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let edges = name.starts_with(['-', '.']) || name.ends_with(['-', '.']) || name.strip_suffix(".git").is_some();
    if letters && !edges && !name.is_empty() && name.len() <= MAX_NAME && !name.contains("--") && !name.contains("..") {
        return Ok(());
    }
    Err(format!("expected a name of letters, digits, `-`, `_` and `.`, found {name:?}"))
}

impl Address {
    /// The same at a commit.
    pub(super) fn at(&self, commit: &Commit) -> Self {
        Self { revision: Revision(commit.0.clone()), ..self.clone() }
    }

    fn read(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| format!("expected {SCHEME} at the beginning"))?;
        let (word, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let kind = RepoKind::find(word).ok_or_else(|| {
            let near = nearest(word, RepoKind::ALL.map(RepoKind::name));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("expected model, dataset or space after {SCHEME}, found {word:?}{hint}")
        })?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // Old repositories have no owner; an `@` in the first part tells them from an owner.
        let first = &rest[..rest.find('/').unwrap_or(rest.len())];
        let id_length = match rest[first.len()..].strip_prefix('/') {
            Some(more) if !first.contains('@') => first.len() + 1 + more.find(['/', '@']).unwrap_or(more.len()),
            _ => first.find('@').unwrap_or(first.len()),
        };
        let (id, rest) = rest.split_at(id_length);
        for name in id.split('/') {
            check_name(name)?;
        }
        let (revision, path) = match rest.strip_prefix('@') {
            Some(rest) => cut_revision(rest),
            None => ("main".to_owned(), rest.strip_prefix('/')),
        };
        let path = path.map(|path| {
            RepoPath::parse(path).ok_or_else(|| format!("expected a path inside the repository, found {path:?}"))
        });
        Ok(Self {
            repo: Repo { kind, id: id.to_owned() },
            revision: Revision::parse(&revision)?,
            path: path.transpose()?,
        })
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::read(text).map_err(|problem| {
            let problem = Diagnostic::new(format!("{problem} in the address {text:?}"));
            let help = "an address is hf://dataset/OWNER/NAME@REVISION/PATH or hf://model/OWNER/NAME@REVISION";
            Error::all(vec![problem.help(help)])
        })
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.id)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.repo, self.revision.spelled())?;
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}
