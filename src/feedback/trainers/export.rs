//! An export: a trainer's files with what they cannot say and what its sampler makes of them.

use std::path::Path;

use super::blend::{Blend, BlendSource, BlendStage};
use super::registry::{Part, Paths, Repeats, Stages, Trainer, Unit};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::util::files;

/// A loss that is this near to the mixture's own is not weighted.
const SAME_FACTOR: f64 = 1e-6;

/// Files for one trainer.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    pub trainer: &'static str,
    /// What shares count in the files.
    pub unit: Unit,
    /// With `README.txt`, the last.
    pub files: Vec<ExportFile>,
    /// What the trainer cannot be told, in sentences.
    pub warnings: Vec<String>,
    /// Of each stage.
    pub achieved: Vec<Achieved>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// Within the export's own folder; no folders in it.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// What the trainer's sampler makes of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Achieved {
    pub stage: String,
    pub draws: u64,
    /// Of tokens, in the order of the blend's sources.
    pub shares: Vec<f64>,
    /// The source whose share is furthest from the mixture's, and by how much.
    pub deviation: (String, f64),
}

/// What a trainer's file is written from.
pub(super) struct Draft<'a> {
    pub blend: &'a Blend,
    /// Steps before each stage, as the trainer counts them.
    pub starts: Vec<u64>,
    pub warnings: Vec<String>,
}

impl Export {
    /// Writes the files into a folder, which is made if it is not there; each replaces one of its name at once.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::create_folder(folder)?;
        self.files.iter().try_for_each(|file| files::write_atomic(&folder.join(&file.name), &file.bytes))
    }
}

impl ExportFile {
    pub(super) fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: text.into() }
    }
}

/// Writes a blend for a trainer, into memory.
///
/// # Errors
/// All of: sources without what the trainer needs (paths, a mean number of tokens); names and paths that its files
/// cannot hold; stages that would start at one step.
pub fn export(trainer: &'static Trainer, blend: &Blend) -> Result<Export> {
    check(trainer, blend)?;
    let mut warnings = warnings(trainer, blend);
    let starts = blend.start_steps(trainer.starts, &mut warnings)?;
    let mut draft = Draft { blend, starts, warnings };
    let mut files = (trainer.write)(&mut draft);
    let achieved: Vec<Achieved> = blend.stages.iter().map(|stage| simulate(trainer, blend, stage)).collect();
    files.push(ExportFile::new("README.txt", readme(trainer, &files, &achieved)));
    Ok(Export { trainer: trainer.name, unit: trainer.unit, files, warnings: draft.warnings, achieved })
}

fn check(trainer: &Trainer, blend: &Blend) -> Result<()> {
    let mut problems = Vec::new();
    let used = |source: usize| blend.stages.iter().any(|stage| stage.shares[source] > 0.0);
    for (_, source) in blend.sources.iter().enumerate().filter(|(number, _)| used(*number)) {
        let mut problem = |message: String, help: &str| {
            problems.push(Diagnostic::new(message).at(format!("source {}", source.name)).help(help));
        };
        let name = trainer.name;
        if trainer.paths == Paths::Needed && source.paths.is_empty() {
            problem(format!("expected paths, which {name} needs, found none"), "write `paths` into the mixture");
        }
        if trainer.unit == Unit::Documents && source.mean_tokens.is_none() {
            let message = format!("expected the mean tokens of a document: {name} draws documents, found none");
            problem(message, "write `mean_tokens`, or `documents` and `available_tokens`, into the mixture");
        }
        for refused in trainer.refused {
            let texts = match refused.what {
                Part::Name => std::slice::from_ref(&source.name),
                Part::Path => &source.paths[..],
            };
            let what = if refused.what == Part::Name { "name" } else { "path" };
            for text in texts.iter().filter(|text| (refused.has)(text)) {
                let message = format!("expected a {what} without {}, found {text:?}: {}", refused.named, refused.why);
                problem(message, "rename it");
            }
        }
        for path in source.paths.iter().filter(|path| path.is_empty()) {
            problem(format!("expected a path, found {path:?}"), "write where its files are");
        }
    }
    for stage in &blend.stages {
        let (found, most) = (blend.entries(stage, trainer.unit).len(), trainer.most_entries);
        if found > most {
            let message =
                format!("expected at most {most} paths, which {} can tell apart, found {found}", trainer.name);
            problems.push(Diagnostic::new(message).at(format!("stage {}", stage.name)));
        }
    }
    let labels = if trainer.entry_per_path { blend.ambiguous_labels() } else { Vec::new() };
    for label in labels {
        let message = format!("expected names that differ from those of other sources' paths, found {label:?} twice");
        problems.push(Diagnostic::new(message));
    }
    Error::check(problems)
}

fn warnings(trainer: &Trainer, blend: &Blend) -> Vec<String> {
    let mut warnings = Vec::new();
    let name = trainer.name;
    if trainer.stages == Stages::Files && blend.stages.len() > 1 {
        warnings.push(format!(
            "{name} has no stages: there is a file for each of {}, to be started with as a run of its own, and what \
             earlier ones saw is not remembered",
            blend.stages.len()
        ));
    }
    let over = |source: &usize| blend.repeat(*source).is_some_and(|repeat| repeat > 1.0);
    for source in (0..blend.sources.len()).filter(over).filter(|_| trainer.repeats == Repeats::Free) {
        let (repeat, source) = (blend.repeat(source).unwrap_or(0.0), &blend.sources[source]);
        let limit = source.max_repeat.map_or("no limit".to_owned(), |limit| format!("a limit of {limit}"));
        warnings.push(format!(
            "{name} keeps no count of repeats: {:?} is seen {repeat:.2} times in the run that the mixture was made for \
             ({limit}), and more often in a longer one",
            source.name
        ));
    }
    let weighted = |source: &&BlendSource| (source.loss_factor - 1.0).abs() > SAME_FACTOR;
    for source in blend.sources.iter().filter(weighted).filter(|_| !trainer.loss_weights) {
        warnings.push(format!(
            "{name} cannot weight losses: that of {:?} should count {:.3} times",
            source.name, source.loss_factor
        ));
    }
    for source in blend.sources.iter().filter(|source| trainer.entry_per_path && source.paths.len() > 1) {
        warnings.push(format!(
            "{name} weights each path by itself: the share of {:?} is split evenly among its {} paths, whatever their \
             sizes",
            source.name,
            source.paths.len()
        ));
    }
    warnings
}

/// Token shares from a million draws, each worth the mean of its source.
fn simulate(trainer: &Trainer, blend: &Blend, stage: &BlendStage) -> Achieved {
    let drawn = blend.drawn(stage, trainer.unit);
    let weights: Vec<f64> = drawn.iter().map(|(_, share)| *share).collect();
    let (draws, counts) = trainer.sampler.draw(&weights, blend.settings.seed);
    let mut tokens = vec![0.0; blend.sources.len()];
    for ((source, _), count) in drawn.iter().zip(counts) {
        let each =
            if trainer.unit == Unit::Documents { blend.sources[*source].mean_tokens.unwrap_or(1.0) } else { 1.0 };
        tokens[*source] = count as f64 * each;
    }
    let total: f64 = tokens.iter().sum();
    let shares: Vec<f64> = tokens.into_iter().map(|tokens| tokens / total).collect();
    let gap = |source: usize| shares[source] - stage.shares[source];
    let furthest = (0..shares.len()).rev().max_by(|&a, &b| gap(a).abs().total_cmp(&gap(b).abs())).unwrap_or(0);
    let deviation = (blend.sources[furthest].name.clone(), gap(furthest));
    Achieved { stage: stage.name.clone(), draws, shares, deviation }
}

/// Three lines: what is here, how it is used, what comes of it.
fn readme(trainer: &Trainer, files: &[ExportFile], achieved: &[Achieved]) -> String {
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let worst = achieved.iter().max_by(|a, b| a.deviation.1.abs().total_cmp(&b.deviation.1.abs()));
    let found = worst.map_or(String::new(), |worst| {
        let (source, gap) = &worst.deviation;
        format!(
            "Its sampler, drawn {} times, comes within {:.6} of every share of tokens (furthest: {source:?} of stage \
             {:?}).",
            worst.draws,
            gap.abs(),
            worst.stage
        )
    });
    let (name, unit) = (trainer.name, trainer.unit.words());
    format!("A mixture for {name}, in {unit}: {}.\n{}\n{found}\n", names.join(", "), trainer.usage)
}
