//! Why the hub did not give what it was asked for, in words that say what to do.

use super::address::{Address, RepoPath};
use super::transport::{Answer, Transport, told};
use crate::error::Error;

/// Something of a repository that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub address: &'a Address,
    pub path: Option<&'a RepoPath>,
    pub endpoint: &'a str,
    /// Whether a token was sent along.
    pub with_token: bool,
}

/// The error of an answer that is none. The hub's header `x-error-code` tells what was not found.
pub(super) fn refusal(answer: &Answer, asked: &Asked<'_>, transport: &Transport<'_>) -> Error {
    let Asked { address: Address { repo, revision, .. }, path, endpoint, with_token } = *asked;
    let host = answer.url.host();
    if !transport.is_home(&answer.url) {
        let what = path.map_or_else(|| repo.to_string(), ToString::to_string);
        return Error::bad(format!(
            "expected {what} from the storage host {host}, found status {}",
            told(answer.status)
        ))
        .help("run again: the endpoint may point to another place");
    }
    let code = answer.header("x-error-code").unwrap_or_default();
    let token = "HF_TOKEN (or the file that HF_TOKEN_PATH names)";
    match (code, answer.status, path) {
        ("EntryNotFound", _, Some(path)) | ("", 404, Some(path)) => {
            Error::bad(format!("expected the file {path} in {repo} at {revision}, found none"))
                .help(format!("see {endpoint} for the files of the repository, or name another revision"))
        }
        ("RevisionNotFound", ..) => Error::bad(format!("expected the revision {revision} of {repo}, found none"))
            .help("name a branch, a tag or a commit after `@`; without one it is `main`"),
        ("GatedRepo", ..) if with_token => {
            Error::bad(format!("{repo} is gated, and the account of the token has no access"))
                .help(format!("accept its conditions at {endpoint}, or put another account's token into {token}"))
        }
        ("GatedRepo", ..) => Error::bad(format!("{repo} is gated, and no token was given"))
            .help(format!("accept its conditions at {endpoint}, and put a token of that account into {token}")),
        ("RepoNotFound", ..) | (_, 404, _) => {
            Error::bad(format!("expected the repository {repo} at {endpoint}, found none that may be read"))
                .help(format!("check owner, name and kind; for a private one put a token into {token}"))
        }
        (_, 401 | 403, _) if with_token => {
            Error::bad(format!("{host} refuses the token for {repo}: status {}{}", told(answer.status), said(answer)))
                .help(format!("put a valid token with access to {repo} into {token}"))
        }
        (_, 401 | 403, _) => {
            Error::bad(format!("{host} wants a token for {repo}: status {}{}", told(answer.status), said(answer)))
                .help(format!("put a token with access to {repo} into {token}"))
        }
        _ => Error::bad(format!(
            "expected an answer of {} about {repo}, found status {}{}",
            answer.url,
            told(answer.status),
            said(answer)
        )),
    }
}

/// The hub's own words, shortened, without control characters.
fn said(answer: &Answer) -> String {
    let words = answer.header("x-error-message").unwrap_or_default();
    let words: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
    if words.is_empty() { words } else { format!(", {words:?}") }
}
