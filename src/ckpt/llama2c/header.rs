//! The header: seven sizes and, from version 1 on, a magic and two flags.

use crate::error::{Error, Result};

/// `ak42`, read as a little-endian number.
const MAGIC: u32 = 0x616b_3432;
/// Bytes before the weights, from version 1 on.
const LATER_BYTES: usize = 256;
/// Seven numbers of four bytes.
const LEGACY_BYTES: usize = 28;
/// More than any model of this format has.
const MOST_LAYERS: u32 = 1 << 12;
const MOST: u32 = 1 << 24;

/// What a file says about its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub version: Version,
    pub width: usize,
    pub mlp_width: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub vocab: usize,
    pub context: usize,
    /// Whether the embedding is the head.
    pub tied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Legacy,
    Plain,
    /// Signed bytes, so many to a scale.
    Grouped(usize),
}

impl Header {
    /// Bytes to read for it.
    pub const BYTES: usize = LATER_BYTES;

    /// Where the weights begin.
    pub fn end(&self) -> u64 {
        match self.version {
            Version::Legacy => LEGACY_BYTES as u64,
            Version::Plain | Version::Grouped(_) => LATER_BYTES as u64,
        }
    }

    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// From the first bytes of a file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let numbers = || bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
        let short = || Error::bad(format!("expected a header, found {} bytes", bytes.len()));
        let later = numbers().next() == Some(MAGIC);
        let version = if later { numbers().nth(1).ok_or_else(short)? } else { 0 };
        let sizes: Vec<u32> = numbers().skip(if later { 2 } else { 0 }).take(7).collect();
        let [width, mlp_width, layers, heads, kv_heads, vocab, context] = sizes[..] else { return Err(short()) };
        // In version 0 the sign says whether the head is another matrix.
        let separate = !later && vocab.cast_signed() < 0;
        let vocab = if separate { vocab.cast_signed().unsigned_abs() } else { vocab };
        let flag = || Ok::<_, Error>(*bytes.get(36).ok_or_else(short)? != 0);
        let group = || -> Result<usize> {
            let group = bytes.get(37..41).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
            match group {
                Some(group @ 1..=MOST) => Ok(group as usize),
                found => Err(Error::bad(format!("expected groups of 1 to {MOST} weights, found {found:?}"))),
            }
        };
        let (version, tied) = match version {
            0 => (Version::Legacy, !separate),
            1 => (Version::Plain, flag()?),
            2 => (Version::Grouped(group()?), flag()?),
            other => return Err(Error::bad(format!("expected version 0, 1 or 2, found {other}"))),
        };
        for (name, size, most) in [
            ("width", width, MOST),
            ("MLP width", mlp_width, MOST),
            ("layers", layers, MOST_LAYERS),
            ("heads", heads, MOST),
            ("key and value heads", kv_heads, MOST),
            ("vocabulary", vocab, MOST),
            ("context", context, MOST),
        ] {
            if !(1..=most).contains(&size) {
                return Err(Error::bad(format!("expected a number from 1 to {most}, found {size}")).at(name));
            }
        }
        let even = width.is_multiple_of(heads) && (width / heads).is_multiple_of(2);
        if !even || !heads.is_multiple_of(kv_heads) {
            return Err(Error::bad(format!(
                "expected heads of an even width that share out the width, and key and value heads that divide them, found \
                 width {width}, heads {heads} and {kv_heads}"
            )));
        }
        let [width, mlp_width, layers, heads, kv_heads, vocab, context] =
            [width, mlp_width, layers, heads, kv_heads, vocab, context].map(|size| size as usize);
        Ok(Self { version, width, mlp_width, layers, heads, kv_heads, vocab, context, tied })
    }
}
