//! nanotron: `data_stages` with folders of tokens and their weights.

use super::export::{Draft, ExportFile};
use super::registry::{Paths, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, quoted};

pub(super) const TRAINER: Trainer = Trainer {
    name: "nanotron",
    unit: Unit::Sequences,
    usage: "Put data_stages into the training configuration; every folder needs its .metadata file, all of one \
            tokenizer.",
    stages: Stages::Native,
    starts: Starts::Steps,
    repeats: Repeats::Free,
    loss_weights: false,
    paths: Paths::Needed,
    entry_per_path: true,
    most_entries: usize::MAX,
    refused: &[],
    sampler: Sampler::FurthestBehind,
    write,
};

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let mut text = String::from("data_stages:\n");
    for (stage, start) in blend.stages.iter().zip(&draft.starts) {
        let entries = blend.entries(stage, Unit::Sequences);
        // Its steps are counted from 1.
        text += &format!(
            "  - name: {}\n    start_training_step: {}\n    data:\n      dataset:\n",
            quoted(&stage.name),
            start + 1
        );
        text += "        dataset_folder:\n";
        for entry in &entries {
            text += &format!("          - {}\n", quoted(entry.path));
        }
        text += "        dataset_weights:\n";
        for entry in &entries {
            text += &format!("          - {}\n", decimal(entry.share));
        }
        text += &format!("      num_loading_workers: 1\n      seed: {}\n", blend.settings.seed);
    }
    vec![ExportFile::new("data_stages.yaml", text)]
}
