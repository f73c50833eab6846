//! OLMo-core: `SourceMixtureDatasetConfig` as YAML, and the composable data loader's mix as Python.

use super::blend::{Blend, BlendSource, BlendStage};
use super::export::{Draft, ExportFile};
use super::registry::{Paths, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, exact, quoted};

pub(super) const TRAINER: Trainer = Trainer {
    name: "olmo-core",
    unit: Unit::Tokens,
    usage: "Load with SourceMixtureDatasetConfig.from_yaml, for a fixed-length dataset, or call mixture() of \
            composable.py.",
    stages: Stages::Files,
    starts: Starts::Tokens,
    repeats: Repeats::Kept,
    loss_weights: false,
    paths: Paths::Needed,
    entry_per_path: false,
    most_entries: usize::MAX,
    refused: &[],
    sampler: Sampler::Remainders,
    write,
};

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let mut files = Vec::new();
    for (number, stage) in blend.stages.iter().enumerate() {
        files.push(ExportFile::new(blend.stage_file("source_mixture", "yaml", number), yaml(blend, stage)));
        files.push(ExportFile::new(blend.stage_file("composable", "py", number), python(blend, stage)));
    }
    files
}

fn yaml(blend: &Blend, stage: &BlendStage) -> String {
    let mut text = format!(
        "requested_tokens: {}\nglobal_batch_size: {}\nseed: {}\nprocesses: 1\nsource_list:\n  sources:\n",
        stage.tokens,
        blend.batch_tokens(),
        blend.settings.seed
    );
    for (number, share) in blend.drawn(stage, Unit::Tokens) {
        let source = &blend.sources[number];
        let (fraction, repetition) = supply(blend, number);
        // With all digits: a source at its limit must not need a token more.
        text += &format!("    - source_name: {}\n      target_ratio: {}\n", quoted(&source.name), exact(share));
        text += &format!(
            "      max_repetition_ratio: {}\n      max_source_fraction: {}\n",
            decimal(repetition),
            decimal(fraction)
        );
        text += "      paths:\n";
        for path in &source.paths {
            text += &format!("        - {}\n", quoted(path));
        }
    }
    text
}

/// The part of a source that may be used, and how often: its limit, or what the mixture needs where it has none.
fn supply(blend: &Blend, source: usize) -> (f64, f64) {
    let needed = || blend.repeat(source).unwrap_or(1.0).ceil();
    let limit = blend.sources[source].max_repeat.unwrap_or_else(needed);
    (limit.min(1.0), limit.max(1.0))
}

const PYTHON: &str = r#""""The mixture for OLMo-core's composable data loader."""

from olmo_core.data.composable import MixingInstanceSource


def mixture(instances):
    """`instances(name, paths)` gives the config of an instance source of the run's sequence length."""
    spec = MixingInstanceSource.Spec.Config
    return MixingInstanceSource.Config(
        source_specs=[
"#;

fn python(blend: &Blend, stage: &BlendStage) -> String {
    let mut text = PYTHON.to_owned();
    for (number, share) in blend.drawn(stage, Unit::Tokens) {
        let BlendSource { name, paths, .. } = &blend.sources[number];
        let name = quoted(name);
        let paths: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
        let arguments = [
            format!("source=instances({name}, [{}])", paths.join(", ")),
            format!("ratio={}", decimal(share)),
            format!("max_repetition_factor={}", decimal(supply(blend, number).1)),
            format!("label={name}"),
        ];
        text += "            spec(\n";
        text.extend(arguments.map(|argument| format!("                {argument},\n")));
        text += "            ),\n";
    }
    text + "        ],\n    )\n"
}
