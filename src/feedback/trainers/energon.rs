//! Megatron-Energon: a blend in a metadataset.

use super::blend::{Blend, BlendStage};
use super::export::{Draft, ExportFile};
use super::registry::{Paths, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, quoted};

pub(super) const TRAINER: Trainer = Trainer {
    name: "energon",
    unit: Unit::Documents,
    usage: "Pass metadataset.yaml to get_train_dataset; paths in it are relative to its own folder, and a sample is a \
            document.",
    stages: Stages::Files,
    starts: Starts::Tokens,
    repeats: Repeats::Free,
    loss_weights: false,
    paths: Paths::Needed,
    entry_per_path: true,
    most_entries: usize::MAX,
    refused: &[],
    sampler: Sampler::Chance,
    write,
};

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let file = |(number, stage): (usize, &BlendStage)| {
        ExportFile::new(blend.stage_file("metadataset", "yaml", number), yaml(blend, stage))
    };
    blend.stages.iter().enumerate().map(file).collect()
}

fn yaml(blend: &Blend, stage: &BlendStage) -> String {
    let mut text =
        String::from("__module__: megatron.energon\n__class__: MetadatasetV2\nsplits:\n  train:\n    blend:\n");
    for entry in blend.entries(stage, Unit::Documents) {
        text += &format!("      - weight: {}\n        path: {}\n", decimal(entry.share), quoted(entry.path));
    }
    text
}
