//! What the endpoint says about a repository: the commit of a revision, the files of a commit, one file's content.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use super::address::{Address, Commit, RepoPath};
use super::digest::Digest;
use super::event::Events;
use super::refusal::{Asked, refusal};
use super::settings::Settings;
use super::transport::{Answer, Ask, Transport, Tries};
use super::url::{self, Url};
use crate::error::{Error, Result};

const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// A page has a thousand files.
const MAX_PAGES: usize = 100;

/// A file's content: its hash, and its length where the hub tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub digest: Digest,
    pub size: Option<u64>,
}

/// What a look at one file brings.
pub(super) enum Found {
    File {
        commit: Commit,
        content: Content,
    },
    /// There is no such file, at a commit that the hub may name.
    Nothing {
        commit: Option<Commit>,
        error: Error,
    },
}

pub(super) struct Lookup<'a> {
    pub transport: &'a Transport<'a>,
    pub settings: &'a Settings,
    pub address: &'a Address,
}

impl Lookup<'_> {
    /// One file, by the head of an answer.
    pub fn file(&self, path: &RepoPath, events: &mut Events<'_>) -> Result<Found> {
        let url = url::of_file(&self.settings.endpoint, self.address, path)?;
        let answer = self.transport.ask(&url, Ask::Metadata, &mut self.tries(), events)?;
        let commit = answer.header("x-repo-commit").and_then(Commit::parse);
        if !(200..400).contains(&answer.status) {
            let error = refusal(&answer, &self.asked(Some(path)), self.transport);
            return match answer.header("x-error-code") {
                Some("EntryNotFound") => Ok(Found::Nothing { commit, error }),
                _ => Err(error),
            };
        }
        let no_hub = |what: &str| {
            Error::bad(format!("expected {what} from {url}, found none"))
                .help("check that HF_ENDPOINT names a Hugging Face hub, and that no proxy answers in its place")
        };
        let commit = commit.ok_or_else(|| no_hub("the header x-repo-commit with a commit"))?;
        let tag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
        let digest = tag.and_then(Digest::from_etag);
        let digest = digest.ok_or_else(|| no_hub("an entity tag that is SHA-256 or git's SHA-1"))?;
        let redirected = answer.status >= 300;
        let own_size = || answer.number("content-length").filter(|_| !redirected);
        let size = answer.number("x-linked-size").or_else(own_size);
        Ok(Found::File { commit, content: Content { digest, size } })
    }

    /// The commit that the revision is at.
    pub fn commit(&self, events: &mut Events<'_>) -> Result<Commit> {
        if let Some(commit) = self.address.revision.commit() {
            return Ok(commit);
        }
        let url = url::of_api(&self.settings.endpoint, self.address, "revision")?;
        let (info, _) = self.document(&url, events)?;
        let commit = info.get("sha").and_then(Value::as_str).and_then(Commit::parse);
        commit.ok_or_else(|| Error::bad(format!("expected the key `sha` with a commit from {url}, found none")))
    }

    /// All files of a commit.
    pub fn files(&self, events: &mut Events<'_>) -> Result<BTreeMap<RepoPath, Content>> {
        let url = url::of_api(&self.settings.endpoint, self.address, "tree")?;
        let mut page = Some(url.join(&format!("{}?recursive=true", url.uri()))?);
        let mut files = BTreeMap::new();
        for _ in 0..MAX_PAGES {
            let Some(url) = page else { return Ok(files) };
            let (tree, next) = self.document(&url, events)?;
            let entries = tree.as_array();
            let entries = entries.ok_or_else(|| Error::bad(format!("expected a list of files from {url}")))?;
            // A file whose name would be none on this machine cannot be asked for, so it need not be known.
            files.extend(entries.iter().filter_map(entry));
            page = next;
        }
        Err(Error::bad(format!("expected at most {MAX_PAGES} pages of files from {url}, found more")))
    }

    pub fn tries(&self) -> Tries {
        Tries::new(self.settings.patience)
    }

    pub fn asked<'b>(&'b self, path: Option<&'b RepoPath>) -> Asked<'b> {
        let Settings { endpoint, token, .. } = self.settings;
        Asked { address: self.address, path, endpoint, with_token: token.is_some() }
    }

    /// A JSON document of the endpoint, and the page after it.
    fn document(&self, url: &Url, events: &mut Events<'_>) -> Result<(Value, Option<Url>)> {
        let mut tries = self.tries();
        loop {
            let answer = self.transport.ask(url, Ask::Document, &mut tries, events)?;
            if answer.status != 200 {
                return Err(refusal(&answer, &self.asked(None), self.transport));
            }
            let next = next_page(&answer)?;
            let mut text = Vec::new();
            let mut body = answer.body.into_reader().take(MAX_DOCUMENT_BYTES + 1);
            if let Err(error) = body.read_to_end(&mut text) {
                tries.pause(&format!("{} broke off ({error})", url.host()), None, events)?;
                continue;
            }
            if text.len() as u64 > MAX_DOCUMENT_BYTES {
                return Err(Error::bad(format!("expected at most {MAX_DOCUMENT_BYTES} bytes from {url}, found more")));
            }
            let json = serde_json::from_slice(&text);
            let json = json.map_err(|e| Error::bad(format!("expected JSON from {url}: {e}")))?;
            return Ok((json, next));
        }
    }
}

/// `Link: <address>; rel="next"`. What is not the endpoint's own is not followed: a document comes from it alone.
fn next_page(answer: &Answer) -> Result<Option<Url>> {
    let links = answer.header("link").unwrap_or_default().split(',');
    let mut next = links.filter(|link| link.contains("rel=\"next\""));
    let target = next.next().and_then(|link| link.split_once('<')?.1.split_once('>')).map(|(target, _)| target);
    target.map(|target| answer.url.join(target)).transpose()
}

/// An entry of a tree, if it is a file that can be named and checked.
fn entry(entry: &Value) -> Option<(RepoPath, Content)> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    if text(entry, "type")? != "file" {
        return None;
    }
    let (tag, size) = match entry.get("lfs").filter(|lfs| lfs.is_object()) {
        Some(lfs) => (text(lfs, "oid")?, lfs.get("size")),
        None => (text(entry, "oid")?, entry.get("size")),
    };
    let content = Content { digest: Digest::from_etag(&tag)?, size: size.and_then(Value::as_u64) };
    Some((RepoPath::parse(&text(entry, "path")?)?, content))
}
