//! A feedback set that is read again: nothing is believed that was not checked.

use std::path::{Path, PathBuf};

use super::manifest::{CheckpointNote, FORMAT, FileNote, ItemLine, LOSS, Manifest, SIGN, TargetNote};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::Direction;
use crate::feedback::gradset::GradSet;
use crate::lm::ModelInfo;
use crate::model::Leaves;
use crate::request::SiteValues;
use crate::text::Tokenizer;
use crate::util::{files, hash};

const MOST_MANIFEST_BYTES: u64 = 16 << 20;
const MOST_ITEM_BYTES: u64 = 1 << 30;
const MOST_PARTS: usize = 64;
const MOST_ITEMS: usize = 1 << 32;

/// An open feedback set.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    pub manifest: Manifest,
}

/// A checkpoint of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(usize);

impl Manifest {
    /// Of a set's folder. Whether its files are as it says is checked by [`Bundle::open`].
    ///
    /// # Errors
    /// A folder without a manifest, or with one of another shape.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("manifest.json");
        if !path.exists() {
            return Err(Error::bad("expected a feedback set with manifest.json, found none")
                .in_file(folder)
                .help("`veval feedback build` makes one"));
        }
        serde_json::from_str(&files::read_text(&path, MOST_MANIFEST_BYTES)?)
            .map_err(|e| Error::bad(format!("expected the manifest of a feedback set: {e}")).in_file(&path))
    }
}

impl Bundle {
    /// # Errors
    /// A folder without a manifest, another format, targets without parts, files that are missing or were changed.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("manifest.json");
        let manifest = Manifest::read(folder)?;
        let bundle = Self { folder: folder.to_path_buf(), manifest };
        let problems = bundle.problems();
        Error::check(problems).map_err(|error| error.in_file(&path))?;
        Ok(bundle)
    }

    fn problems(&self) -> Vec<Diagnostic> {
        let Manifest { format, loss, sign, checkpoints, targets, .. } = &self.manifest;
        let mut problems = Vec::new();
        for (key, wanted, found) in [("format", FORMAT, format), ("loss", LOSS, loss), ("sign", SIGN, sign)] {
            if wanted != found {
                problems.push(Diagnostic::new(format!("expected {wanted:?}, found {found:?}")).at(key));
            }
        }
        if checkpoints.is_empty() || targets.is_empty() {
            let found = format!("{} and {}", checkpoints.len(), targets.len());
            problems.push(Diagnostic::new(format!("expected checkpoints and targets, found {found}")));
        }
        for target in targets {
            let parts = target.parts.len();
            let counts = 1..=MOST_ITEMS;
            if !(2..=MOST_PARTS).contains(&parts)
                || !target.parts.iter().all(|count| counts.contains(count))
                || target.at.len() != checkpoints.len()
            {
                let message = format!("expected 2 to {MOST_PARTS} parts with items, and numbers of every checkpoint");
                problems.push(Diagnostic::new(message).at(format!("target {}", target.name)));
                continue;
            }
            let path = |note: &CheckpointNote, part| note.part_path(&target.name, part);
            let wanted = checkpoints.iter().flat_map(|note| (0..parts).map(move |part| path(note, part)));
            let known = |path: &String| self.manifest.files.iter().any(|note| note.path == *path);
            let missing = wanted.filter(|path| !known(path));
            problems
                .extend(missing.map(|path| {
                    Diagnostic::new(format!("expected the fingerprint of {path}, found none")).at("files")
                }));
        }
        problems.extend(self.manifest.files.iter().filter_map(|note| self.file_problem(note)));
        problems
    }

    /// What is wrong with a file that the manifest names.
    fn file_problem(&self, note: &FileNote) -> Option<Diagnostic> {
        let path = Path::new(&note.path);
        if path.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            let message = format!("expected files inside the feedback set, found {}", note.path);
            return Some(Diagnostic::new(message).at("files"));
        }
        let full = self.folder.join(path);
        let found = match hash::fingerprint_file(&full) {
            Ok(found) if found == note.blake3 => return None,
            Ok(found) => format!("another one ({found})"),
            Err(_) => "none that can be read".to_owned(),
        };
        let message = format!("expected the file with the fingerprint {}, found {found}", note.blake3);
        Some(Diagnostic::new(message).in_file(&full).help("build the feedback set anew"))
    }

    /// The checkpoint of the set that this model is.
    ///
    /// # Errors
    /// Another checkpoint, another tokenizer: both together.
    pub fn at(&self, model: &ModelInfo, tokenizer: &Tokenizer) -> Result<At> {
        let known = &self.manifest.checkpoints;
        let place = known.iter().position(|note| note.fingerprint == model.fingerprint);
        let mut problems = Vec::new();
        if place.is_none() {
            let names: Vec<String> = known.iter().map(|note| format!("{} ({})", note.name, note.fingerprint)).collect();
            let message =
                format!("expected a checkpoint of the set, {}, found {}", names.join(", "), model.fingerprint);
            problems.push(Diagnostic::new(message).help("gradients hold at the weights that they were taken at"));
        }
        problems.extend(self.tokenizer_problem(tokenizer));
        Error::check(problems).map_err(|error| error.help("build a feedback set for this checkpoint"))?;
        place.map(At).ok_or_else(|| Error::internal("a checkpoint without a place"))
    }

    /// For what needs the set's items and none of its gradients.
    ///
    /// # Errors
    /// Another tokenizer.
    pub fn check_tokenizer(&self, tokenizer: &Tokenizer) -> Result<()> {
        Error::check(self.tokenizer_problem(tokenizer).into_iter().collect())
    }

    fn tokenizer_problem(&self, tokenizer: &Tokenizer) -> Option<Diagnostic> {
        let (wanted, found) = (&self.manifest.tokenizer, tokenizer.fingerprint());
        let message = format!("expected the tokenizer of the set, {wanted}, found {found}");
        (found != wanted).then(|| Diagnostic::new(message).in_file(tokenizer.path()))
    }

    pub fn checkpoint(&self, at: At) -> &CheckpointNote {
        &self.manifest.checkpoints[at.0]
    }

    /// Mean gradients of the parts of each target, for the model of that checkpoint.
    ///
    /// # Errors
    /// Sets of another checkpoint, of other items or of other parameters than the manifest says and the model has.
    pub fn parts(&self, at: At, leaves: &Leaves) -> Result<Vec<Vec<Direction>>> {
        (0..self.manifest.targets.len()).map(|target| self.parts_of(at, leaves, target)).collect()
    }

    /// The same of the target of one number.
    ///
    /// # Errors
    /// As [`Self::parts`].
    pub fn parts_of(&self, at: At, leaves: &Leaves, target: usize) -> Result<Vec<Direction>> {
        let stored = leaves.parameters();
        let note = self.checkpoint(at);
        let target: &TargetNote = &self.manifest.targets[target];
        let read = |part: usize| -> Result<Direction> {
            let path = self.folder.join(note.part_path(&target.name, part));
            let set = GradSet::read(&path)?;
            let same_names = set.tensors.keys().eq(self.manifest.parameter_names.iter());
            let fits = |(name, own): (&String, &SiteValues)| {
                stored.get(name.as_str()).is_some_and(|(shape, _)| **shape == own.shape)
            };
            let of_part = set.evidence.items == target.parts[part] as u64;
            if set.provenance.checkpoint != note.fingerprint || !same_names || !of_part || !set.tensors.iter().all(fits)
            {
                let message = "expected a gradient of the manifest's checkpoint, items and parameters, found another";
                return Err(Error::bad(message).in_file(&path).help("build the feedback set anew"));
            }
            Ok(set.tensors)
        };
        (0..target.parts.len()).map(read).collect()
    }

    /// Items of the set, as they are stored.
    ///
    /// # Errors
    /// Lines that are no items.
    pub fn items(&self) -> Result<Vec<ItemLine>> {
        let path = self.folder.join("items.jsonl");
        let text = files::read_text(&path, MOST_ITEM_BYTES)?;
        let line = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| {
                Error::bad(format!("expected an item: {e}")).in_file(&path).at(format!("line {}", number + 1))
            })
        };
        text.lines().enumerate().map(line).collect()
    }
}
