//! `mixture.json` as it is written: what a trainer is told about its sources, and when.
//!
//! ```json
//! {"format": "veval.mixture/1", "unit": "tokens", "total_tokens": 3e7, "sequence_length": 256,
//!  "sources": [{"name": "math", "available_tokens": 4e5, "q_prev": 0.1, "q": 0.25, "max_repeat": 20.0},
//!              {"name": "stories", "available_tokens": 2e6, "q_prev": 0.9, "q": 0.75}],
//!  "stages": [{"name": "first", "start_tokens": 0, "q": {"math": 0.1, "stories": 0.9}},
//!             {"name": "then", "start_tokens": 2e7, "q": {"math": 0.25, "stories": 0.75}}]}
//! ```
//! `q` is a source's share of the trained tokens. Without stages, the sources' own `q` hold from the first token on. What
//! else a source may say is for the reader, and is kept.

use std::fmt;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::util::files;

/// What the file says it is.
pub const FORMAT: &str = "veval.mixture/1";
/// The only unit of shares.
pub const UNIT: &str = "tokens";
const MAX_BYTES: u64 = 64 << 20;

/// The file, whatever its numbers say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureFile {
    pub format: String,
    pub unit: String,
    /// Of the run that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<u64>,
    pub sources: Vec<SourceRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// The least share that a source was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
}

/// A source of documents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_tokens: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_tokens: Option<f64>,
    /// Share before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q_prev: Option<f64>,
    /// Share of the trained tokens.
    pub q: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q_lo: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q_hi: Option<f64>,
    /// Weight of its loss, for trainers that weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<f64>,
    /// How often its tokens may be seen in the run, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_repeat: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implied_repeat: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_se: Option<f64>,
}

/// Shares from some token on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    pub name: String,
    pub start_tokens: f64,
    pub q: Shares,
}

/// How far the shares went from those before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    pub kl_to_prev: f64,
    pub limit: f64,
}

/// An object from names to shares, as it stands in the file: a name may be there twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shares(pub Vec<(String, f64)>);

impl Serialize for Shares {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, share) in &self.0 {
            map.serialize_entry(name, share)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Shares;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from names of sources to shares")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shares, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Shares(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl MixtureFile {
    /// Reads a file of this format.
    ///
    /// # Errors
    /// Not this format; the first field that is missing, unknown or of another type. What the numbers say is for
    /// [`super::Mixture`] to check.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path, MAX_BYTES)?).map_err(|error| error.in_file(path))
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        /// Read before the rest: a later format may have other fields.
        #[derive(Deserialize)]
        struct Start {
            format: String,
        }
        let bad = |e: serde_json::Error| Error::bad(format!("expected a mixture of sources: {e}"));
        let start: Start = serde_json::from_str(text).map_err(bad)?;
        if start.format != FORMAT {
            return Err(Error::bad(format!("expected the format {FORMAT}, found {:?}", start.format))
                .at("format")
                .help("a newer veval wrote it, or it is no mixture"));
        }
        serde_json::from_str(text).map_err(bad)
    }

    /// Replaces the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::internal(format!("mixture.json: {e}")))?;
        files::write_atomic(path, format!("{text}\n").as_bytes())
    }
}
