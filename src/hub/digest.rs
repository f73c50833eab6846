//! What a file's content is expected to be, as the hub's entity tags say it.

use std::fmt;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::ctx;
use crate::error::{Error, Result};

/// A content's name. It names the blob in the cache, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Digest {
    /// Of the content: files in large file storage.
    Sha256(String),
    /// Of `blob <length>\0` and the content, as git names a file.
    Git(String),
}

impl Digest {
    /// An entity tag, weak or not, in quotes or not. `None` for one that does not say what the content is.
    pub fn from_etag(tag: &str) -> Option<Self> {
        let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
        let hexadecimal = tag.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match tag.len() {
            64 if hexadecimal => Some(Self::Sha256(tag.to_owned())),
            40 if hexadecimal => Some(Self::Git(tag.to_owned())),
            _ => None,
        }
    }

    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }

    /// The same kind of digest, of a file's content.
    pub fn of_file(&self, path: &Path) -> Result<Self> {
        let mut file = std::fs::File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let length = file.metadata().map_err(|e| Error::io("look at", path, &e))?.len();
        match self {
            Self::Sha256(_) => Ok(Self::Sha256(hash(Sha256::new(), &mut file, path)?)),
            Self::Git(_) => {
                let start = Sha1::new_with_prefix(format!("blob {length}\0"));
                Ok(Self::Git(hash(start, &mut file, path)?))
            }
        }
    }
}

fn hash<D: sha2::Digest>(mut state: D, file: &mut std::fs::File, path: &Path) -> Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        if ctx::interrupted() {
            return Err(super::transport::stopped());
        }
        match file.read(&mut buffer).map_err(|e| Error::io("read", path, &e))? {
            0 => break,
            read => state.update(&buffer[..read]),
        }
    }
    Ok(state.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hex) => write!(f, "SHA-256 {hex}"),
            Self::Git(hex) => write!(f, "git's SHA-1 {hex}"),
        }
    }
}
