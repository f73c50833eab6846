//! Fingerprints: blake3 for our own files and identities, SHA-256 where a peer's format names it.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// `blake3:<64 hex digits>` of some bytes.
pub fn fingerprint(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

/// `blake3:<64 hex digits>` of any number of texts. They are length-prefixed, so that no two lists collide.
pub fn fingerprint_of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    format!("blake3:{}", hash_of_parts(parts).to_hex())
}

fn hash_of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize()
}

/// `blake3:<64 hex digits>` of a file's content.
pub fn fingerprint_file(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    each_piece(path, |piece| {
        hasher.update(piece);
    })?;
    Ok(format!("blake3:{}", hasher.finalize().to_hex()))
}

/// Lower-case hexadecimal SHA-256 of a file's content.
pub fn sha256_hex_of_file(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    each_piece(path, |piece| hasher.update(piece))?;
    Ok(hex(&hasher.finalize()))
}

fn each_piece(path: &Path, mut take: impl FnMut(&[u8])) -> Result<()> {
    let mut file = std::fs::File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| Error::io("read", path, &e))? {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}

/// Lower-case hexadecimal SHA-256, as lm-evaluation-harness writes its hashes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A seed for a random stream, from any number of parts, as [`fingerprint_of_parts`] hashes them.
pub fn seed_from(parts: &[&str]) -> u64 {
    let mut first = [0u8; 8];
    first.copy_from_slice(&hash_of_parts(parts.iter().copied()).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(fingerprint(b"").starts_with("blake3:af1349b9f5f9a1a6a0404dea36dcc949"));
        assert_ne!(seed_from(&["ab", "c"]), seed_from(&["a", "bc"]));
    }
}
