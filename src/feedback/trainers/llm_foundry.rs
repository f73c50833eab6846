//! llm-foundry: streams of MDS samples by proportion, and its curriculum callback.

use super::blend::{Blend, BlendStage};
use super::export::{Draft, ExportFile};
use super::registry::{Part, Paths, Refused, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, quoted};

const WHY: &str = "OmegaConf would put another value there";

pub(super) const TRAINER: Trainer = Trainer {
    name: "llm-foundry",
    unit: Unit::Sequences,
    usage: "Merge streams.yaml (and curriculum.yaml, if there) into the training configuration; MDS samples are \
            sequences.",
    stages: Stages::Native,
    starts: Starts::Tokens,
    repeats: Repeats::Free,
    loss_weights: false,
    paths: Paths::Needed,
    entry_per_path: true,
    most_entries: usize::MAX,
    refused: &[
        Refused { what: Part::Name, has: interpolates, named: "\"${\"", why: WHY },
        Refused { what: Part::Path, has: interpolates, named: "\"${\"", why: WHY },
    ],
    sampler: Sampler::EpochCounts,
    write,
};

fn interpolates(text: &str) -> bool {
    text.contains("${")
}

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let total = blend.settings.run.total_tokens;
    let mut text =
        format!("max_duration: {total}tok\ntrain_loader:\n  dataset:\n    shuffle: true\n    shuffle_seed: ");
    text += &format!("{}\n    max_seq_len: {}\n", blend.settings.seed, blend.settings.run.sequence_length);
    text += &streams(blend, &blend.stages[0], "    ");
    let mut files = vec![ExportFile::new("streams.yaml", text)];
    if let [first, rest @ ..] = &blend.stages[..]
        && !rest.is_empty()
    {
        let mut text =
            format!("callbacks:\n  curriculum_learning:\n    duration: {}tok\n    schedule:\n", first.tokens);
        for stage in rest {
            text += &format!(
                "      - duration: {}tok\n        dataset:\n{}",
                stage.tokens,
                streams(blend, stage, "          ")
            );
        }
        files.push(ExportFile::new("curriculum.yaml", text));
    }
    files
}

fn streams(blend: &Blend, stage: &BlendStage, indent: &str) -> String {
    let mut text = format!("{indent}streams:\n");
    for entry in blend.entries(stage, Unit::Sequences) {
        // What is elsewhere is kept in a folder of the trainer's choice.
        let place = if entry.path.contains("://") { "remote" } else { "local" };
        text += &format!("{indent}  {}:\n", quoted(&entry.label));
        text +=
            &format!("{indent}    {place}: {}\n{indent}    proportion: {}\n", quoted(entry.path), decimal(entry.share));
    }
    text
}
