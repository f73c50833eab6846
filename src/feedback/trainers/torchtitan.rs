//! torchtitan: a Grain mix of packed children as Python.
//!
//! Grain scales weights so that the least becomes 100 and cuts the rest to whole numbers. So the weights are written
//! as such numbers, rounded rather than cut: then they are taken as they are.

use super::blend::{Blend, BlendStage};
use super::export::{Draft, ExportFile};
use super::registry::{Paths, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::{Sampler, proportions};
use super::text::quoted;

pub(super) const TRAINER: Trainer = Trainer {
    name: "torchtitan",
    unit: Unit::Sequences,
    usage: "Give mixture() of mix.py a function that makes a document dataset from paths; each child is packed, then \
            mixed.",
    stages: Stages::Files,
    starts: Starts::Tokens,
    repeats: Repeats::Free,
    loss_weights: false,
    paths: Paths::Needed,
    entry_per_path: false,
    most_entries: usize::MAX,
    refused: &[],
    sampler: Sampler::Proportions,
    write,
};

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let file = |(number, stage): (usize, &BlendStage)| {
        ExportFile::new(blend.stage_file("mix", "py", number), python(blend, stage))
    };
    blend.stages.iter().enumerate().map(file).collect()
}

const HEAD: &str = r#""""The mixture for torchtitan's Grain data pipeline."""

from torchtitan.components.data import ConcatThenSplitPackingConfig, DatasetMixConfig, WeightedDataset

# Name, paths and weight of each source; Grain takes weights as whole numbers of which the least is 100.
SOURCES = (
"#;

const TAIL: &str = r#")


def mixture(documents):
    """`documents(name, paths)` gives a SingleDatasetConfig of TextSequence documents."""
    packed = [
        WeightedDataset(dataset=ConcatThenSplitPackingConfig(dataset=documents(name, paths)), weight=weight)
        for name, paths, weight in SOURCES
    ]
    return DatasetMixConfig(datasets=tuple(packed))
"#;

fn python(blend: &Blend, stage: &BlendStage) -> String {
    let mut text = HEAD.to_owned();
    let drawn = blend.drawn(stage, Unit::Sequences);
    let shares: Vec<f64> = drawn.iter().map(|(_, share)| *share).collect();
    for ((number, _), weight) in drawn.iter().zip(proportions(&shares)) {
        let source = &blend.sources[*number];
        let paths: Vec<String> = source.paths.iter().map(|path| quoted(path)).collect();
        text += &format!("    ({}, ({},), {weight}),\n", quoted(&source.name), paths.join(", "));
    }
    text + TAIL
}
