//! A feedback set on disk, whole or not there.

use std::path::Path;

use super::choose::Chosen;
use super::gradients::{PartGradients, part_of};
use super::manifest::{
    CheckpointNote, FORMAT, FileNote, ItemLine, LOSS, Manifest, SIGN, SplitNote, SuiteNote, TargetAt, TargetNote,
};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::Direction;
use crate::feedback::gradset::{Evidence, GradSet, Kind, Precision, Provenance, dot};
use crate::feedback::store::Reduction;
use crate::text::Tokenizer;
use crate::util::{files, hash};

/// What was found at one checkpoint.
pub struct AtCheckpoint {
    pub note: CheckpointNote,
    /// Of each target.
    pub gradients: Vec<PartGradients>,
    /// Mean loss of the sealed items of each target.
    pub sealed_losses: Vec<f64>,
}

/// Writes a feedback set into a folder that is not there; `more` adds other files beside it.
///
/// # Errors
/// A folder that is there; targets or checkpoints whose files would have one name; gradients that are zero or beyond
/// float32; what the disk says.
pub fn write(
    folder: &Path,
    (suite, tokenizer, parameters): (SuiteNote, &Tokenizer, (String, Vec<String>)),
    chosen: &Chosen,
    shuffled_answers: bool,
    checkpoints: &[AtCheckpoint],
    more: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<Manifest> {
    files::check_free(folder)?;
    no_zeros(chosen, checkpoints)?;
    names_differ("targets", chosen.targets.iter().map(|target| target.name.as_str()))?;
    names_differ("checkpoints", checkpoints.iter().map(|checkpoint| checkpoint.note.name.as_str()))?;
    let mut manifest = Manifest {
        format: FORMAT.to_owned(),
        veval_version: env!("CARGO_PKG_VERSION").to_owned(),
        suite,
        tokenizer: tokenizer.fingerprint().to_owned(),
        loss: LOSS.to_owned(),
        sign: SIGN.to_owned(),
        parameters: parameters.0,
        parameter_names: parameters.1,
        shuffled_answers,
        split: SplitNote {
            feedback: chosen.feedback,
            development: chosen.development,
            sealed: chosen.sealed,
            refused: chosen.refused,
        },
        checkpoints: checkpoints.iter().map(|checkpoint| checkpoint.note.clone()).collect(),
        targets: notes(chosen, checkpoints),
        files: Vec::new(),
    };
    files::whole_folder(folder, |partial| {
        let mut noted = Vec::new();
        let items = item_lines(chosen, &manifest, tokenizer)?;
        files::write_atomic(&partial.join("items.jsonl"), items.as_bytes())?;
        noted.push("items.jsonl".to_owned());
        for checkpoint in checkpoints {
            noted.extend(write_sets(partial, chosen, checkpoint)?);
        }
        more(partial)?;
        for checkpoint in &manifest.checkpoints {
            let store = checkpoint.store_path();
            if partial.join(&store).exists() {
                noted.extend(files_in(&partial.join(&store))?.into_iter().map(|name| format!("{store}/{name}")));
            }
        }
        manifest.files = noted.into_iter().map(|path| file_note(partial, path)).collect::<Result<_>>()?;
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| Error::internal(format!("manifest: {e}")))?;
        files::write_atomic(&partial.join("manifest.json"), format!("{text}\n").as_bytes())
    })?;
    Ok(manifest)
}

fn notes(chosen: &Chosen, checkpoints: &[AtCheckpoint]) -> Vec<TargetNote> {
    let note = |(number, target): (usize, &super::choose::ChosenTarget)| TargetNote {
        name: target.name.clone(),
        domain: target.domain.clone(),
        parts: checkpoints.first().map_or_else(Vec::new, |at| at.gradients[number].items.clone()),
        sealed_items: target.sealed.len(),
        at: checkpoints
            .iter()
            .map(|at| TargetAt {
                sealed_loss: at.sealed_losses[number],
                split_half_cosine: at.gradients[number].evidence().split_half_cosine,
            })
            .collect(),
    };
    chosen.targets.iter().enumerate().map(note).collect()
}

fn item_lines(chosen: &Chosen, manifest: &Manifest, tokenizer: &Tokenizer) -> Result<String> {
    let mut text = String::new();
    for (target, note) in chosen.targets.iter().zip(&manifest.targets) {
        for (number, item) in target.feedback.iter().enumerate() {
            let line = ItemLine {
                task: target.name.clone(),
                id: item.id.clone(),
                part: part_of(number, note.parts.len()),
                context: tokenizer.decode_with_specials(&item.tokens[..item.start])?,
                answer: tokenizer.decode_with_specials(&item.tokens[item.start..])?,
                tokens: item.tokens.clone(),
                start: item.start,
            };
            text += &serde_json::to_string(&line).map_err(|e| Error::internal(format!("items.jsonl: {e}")))?;
            text.push('\n');
        }
    }
    Ok(text)
}

/// Paths of the sets of one checkpoint.
fn write_sets(partial: &Path, chosen: &Chosen, checkpoint: &AtCheckpoint) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for (target, gradients) in chosen.targets.iter().zip(&checkpoint.gradients) {
        let mut write = |path: String, name: String, evidence: Evidence, tensors: Direction, precision| {
            let provenance = Provenance {
                name,
                checkpoint: checkpoint.note.fingerprint.clone(),
                step: checkpoint.note.step,
                loss: LOSS.to_owned(),
                reduction: Reduction::Mean,
                optimizer: None,
            };
            let to = partial.join(&path);
            files::create_folder(to.parent().unwrap_or(partial))?;
            GradSet { kind: Kind::Target, provenance, evidence, tensors }.write(&to, precision)?;
            paths.push(path);
            Ok::<_, Error>(())
        };
        let evidence = gradients.evidence();
        let note = &checkpoint.note;
        for (part, (tensors, items)) in gradients.parts.iter().zip(&gradients.items).enumerate() {
            let own = Evidence { items: *items as u64, split_half_cosine: None, ..evidence.clone() };
            let name = format!("{}, part {part}", target.name);
            write(note.part_path(&target.name, part), name, own, tensors.clone(), Precision::F32)?;
        }
        write(note.set_path(&target.name), target.name.clone(), evidence, gradients.mean(), Precision::Bf16)?;
    }
    Ok(paths)
}

/// Names of the files of a folder, sorted; none that is hidden.
fn files_in(folder: &Path) -> Result<Vec<String>> {
    let failed = |e: std::io::Error| Error::io("list", folder, &e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    Ok(names)
}

/// A target whose gradient is zero says nothing of any document.
fn no_zeros(chosen: &Chosen, checkpoints: &[AtCheckpoint]) -> Result<()> {
    let mut problems = Vec::new();
    for at in checkpoints {
        for (target, gradients) in chosen.targets.iter().zip(&at.gradients) {
            let mean = gradients.mean();
            let norm = dot(&mean, &mean);
            if !(norm > 0.0 && norm.is_finite()) {
                let message =
                    format!("expected a gradient that is finite and not zero, found one of squared norm {norm}");
                let place = format!("target {}, checkpoint {}", target.name, at.note.name);
                let help = "name parameters that the loss depends on (--params), or another checkpoint";
                problems.push(Diagnostic::new(message).at(place).help(help));
            }
        }
    }
    Error::check(problems)
}

fn file_note(folder: &Path, path: String) -> Result<FileNote> {
    let full = folder.join(&path);
    let bytes = full.metadata().map_err(|e| Error::io("read", &full, &e))?.len();
    Ok(FileNote { blake3: hash::fingerprint_file(&full)?, path, bytes })
}

fn names_differ<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = std::collections::BTreeMap::new();
    for name in names {
        if let Some(other) = seen.insert(super::manifest::file_name(name), name) {
            return Err(Error::bad(format!(
                "expected {what} whose files have names of their own, found {other} and {name}"
            )));
        }
    }
    Ok(())
}
