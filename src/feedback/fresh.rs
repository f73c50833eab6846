//! What a run leaves for the trainer, in the folder `feedback` of a checkpoint's run.
//!
//! | in `feedback/` | what |
//! | --- | --- |
//! | `feedback.json` | what it was made of, and what would change |
//! | `set/` | the feedback set |
//! | `values/` | values of the documents, and their report |
//! | `next.json` | the next mixture, where there was one |

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bundle::Manifest;
use super::mix::MixedStage;
use super::value::ValueReport;
use crate::error::{Error, Result};
use crate::util::files;

const SCHEMA: &str = "veval.run_feedback/1";
const MOST_BYTES: u64 = 16 << 20;

/// `feedback.json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fresh {
    schema: String,
    /// Hash of all that it depends on.
    pub key: String,
    /// Key of the run whose scores it belongs to.
    pub run: String,
    /// The documents, as they were named.
    pub stream: String,
    /// None where no mixture was given, or where it could not be changed.
    pub change: Option<Change>,
    /// Why there is no next mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What fresh feedback is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub key: String,
    pub run: String,
    pub stream: String,
}

/// A mixture's next stage beside what was before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub stage: String,
    pub start_tokens: u64,
    /// In nats.
    pub divergence: f64,
    /// What kept the shares from going further.
    pub bindings: Vec<String>,
    pub sources: Vec<ChangedSource>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangedSource {
    pub source: String,
    pub before: f64,
    pub share: f64,
    /// 95 %, of values drawn from their errors.
    pub interval: (f64, f64),
    /// How often its tokens are seen until the end.
    pub repeat: Option<f64>,
}

impl From<&MixedStage> for Change {
    fn from(stage: &MixedStage) -> Self {
        let source = |own: &super::mix::MixedSource| ChangedSource {
            source: own.name.clone(),
            before: own.before,
            share: own.share,
            interval: own.interval,
            repeat: own.repeat,
        };
        Self {
            stage: stage.name.clone(),
            start_tokens: stage.start_tokens,
            divergence: stage.divergence,
            bindings: stage.bindings.iter().map(ToString::to_string).collect(),
            sources: stage.sources.iter().map(source).collect(),
        }
    }
}

/// All that a page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct FreshFeedback {
    pub fresh: Fresh,
    pub manifest: Manifest,
    pub report: ValueReport,
}

impl Fresh {
    pub fn new(origin: Origin, change: Result<Option<Change>, String>) -> Self {
        let (change, refused) = match change {
            Ok(change) => (change, None),
            Err(reason) => (None, Some(reason)),
        };
        let Origin { key, run, stream } = origin;
        Self { schema: SCHEMA.to_owned(), key, run, stream, change, refused }
    }

    /// Where a run has it.
    pub fn folder(run: &Path) -> PathBuf {
        run.join("feedback")
    }

    /// # Errors
    /// What the disk says.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::internal(format!("feedback.json: {e}")))?;
        files::write_atomic(&folder.join("feedback.json"), format!("{text}\n").as_bytes())
    }

    /// Of a run's folder, if it has any.
    ///
    /// # Errors
    /// Another file, or another format.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = Self::folder(run).join("feedback.json");
        if !path.exists() {
            return Ok(None);
        }
        let bad =
            |message: String| Error::bad(message).in_file(&path).help("remove the folder; `veval run` makes it again");
        let fresh: Self = serde_json::from_str(&files::read_text(&path, MOST_BYTES)?)
            .map_err(|e| bad(format!("expected what a run left for the trainer: {e}")))?;
        if fresh.schema != SCHEMA {
            return Err(bad(format!("expected the schema {SCHEMA}, found {}", fresh.schema)));
        }
        Ok(Some(fresh))
    }
}

impl FreshFeedback {
    /// Of a run's folder, if it has any.
    ///
    /// # Errors
    /// Files that are missing or have another format.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let Some(fresh) = Fresh::read(run)? else { return Ok(None) };
        let folder = Fresh::folder(run);
        let manifest = Manifest::read(&folder.join("set"))?;
        let report = ValueReport::read(&folder.join("values").join("report.json"))?;
        Ok(Some(Self { fresh, manifest, report }))
    }
}
