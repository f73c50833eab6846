//! Addresses of the web, as far as the hub needs them.

use std::fmt;

use ureq::http::Uri;

use super::address::{Address, RepoKind, RepoPath};
use crate::error::{Error, Result};

/// An absolute `http` or `https` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url(Uri);

impl Url {
    pub fn parse(text: &str) -> Result<Self> {
        let uri = text.parse::<Uri>().ok();
        uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
            .map(Self)
            .ok_or_else(|| {
                Error::bad(format!("expected an address that begins with http:// or https://, found {text:?}"))
            })
    }

    pub fn uri(&self) -> &Uri {
        &self.0
    }

    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// Scheme, host and port: two addresses with the same ones are in the same hands.
    pub fn origin(&self) -> (&str, String, u16) {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let port = self.0.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        (scheme, self.host().to_ascii_lowercase(), port)
    }

    /// Where a `Location` or `Link` header points: a whole address, or a path on the same host.
    pub fn join(&self, target: &str) -> Result<Self> {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        if target.starts_with("//") {
            Self::parse(&format!("{scheme}:{target}"))
        } else if target.starts_with('/') {
            Self::parse(&format!("{scheme}://{authority}{target}"))
        } else {
            Self::parse(target)
        }
    }
}

impl fmt::Display for Url {
    /// Without the query, which may hold a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.0.scheme_str().unwrap_or_default(), self.0.authority());
        write!(f, "{scheme}://{}{}", authority.map_or("", |authority| authority.as_str()), self.0.path())
    }
}

/// Where a file's content and its metadata are.
pub(super) fn of_file(endpoint: &str, address: &Address, path: &RepoPath) -> Result<Url> {
    let folder = match address.repo.kind {
        RepoKind::Model => "",
        RepoKind::Dataset => "datasets/",
        RepoKind::Space => "spaces/",
    };
    let revision = escape(address.revision.as_str(), "");
    let path = escape(path.as_str(), "/");
    Url::parse(&format!("{endpoint}/{folder}{}/resolve/{revision}/{path}", address.repo.id()))
}

/// Where the hub tells about a repository at a revision: `revision`, or `tree`, its files.
pub(super) fn of_api(endpoint: &str, address: &Address, what: &str) -> Result<Url> {
    let revision = escape(address.revision.as_str(), "");
    Url::parse(&format!("{endpoint}/api/{}s/{}/{what}/{revision}", address.repo.kind.name(), address.repo.id()))
}

/// Percent signs for all bytes but the unreserved ones of RFC 3986 and those of `safe`.
fn escape(text: &str, safe: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || safe.as_bytes().contains(&byte);
    let escaped = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_targets_resolved() {
        let address: Address = "hf://dataset/o/n@refs/pr/1/a b/ü?.csv".parse().unwrap();
        let path = address.path.clone().unwrap();
        let url = of_file("http://h:1/x", &address, &path).unwrap();
        assert_eq!(url.uri(), "http://h:1/x/datasets/o/n/resolve/refs%2Fpr%2F1/a%20b/%C3%BC%3F.csv");
        let api = of_api("https://h", &address, "tree").unwrap();
        assert_eq!(api.uri(), "https://h/api/datasets/o/n/tree/refs%2Fpr%2F1");
        assert_eq!(url.join("/api/y?z=1").unwrap().uri(), "http://h:1/api/y?z=1");
        assert_eq!(url.join("//cdn/y").unwrap().uri(), "http://cdn/y");
        let cdn = url.join("https://CDN:443/y?signature=s").unwrap();
        assert_eq!((cdn.origin(), cdn.to_string().contains("signature")), (("https", "cdn".to_owned(), 443), false));
        assert_eq!(Url::parse("https://cdn/").unwrap().origin(), cdn.origin());
        assert!(url.join("ftp://h/").is_err() && url.join("file:///etc/passwd").is_err());
    }
}
