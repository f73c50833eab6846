//! Megatron-LM: a blend of weights and prefixes, as `--data-args-path` and `--per-split-data-args-path` read it.

use super::blend::Entry;
use super::export::{Draft, ExportFile};
use super::registry::{Part, Paths, Refused, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, quoted};

pub(super) const TRAINER: Trainer = Trainer {
    name: "megatron",
    unit: Unit::Sequences,
    usage: "Pass data_args.txt to --data-args-path, or per_split.json to --per-split-data-args-path with valid and \
            test set.",
    stages: Stages::Files,
    starts: Starts::Tokens,
    repeats: Repeats::Free,
    loss_weights: false,
    paths: Paths::Needed,
    entry_per_path: true,
    most_entries: MOST_DATASETS,
    refused: &[Refused {
        what: Part::Path,
        has: |path| path.contains(char::is_whitespace),
        named: "white space",
        why: "Megatron-LM splits its list of paths there",
    }],
    sampler: Sampler::FurthestBehind,
    write,
};

/// Numbers of datasets are kept in 16 bits.
const MOST_DATASETS: usize = 32_767;

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let mut files = Vec::new();
    for (number, stage) in blend.stages.iter().enumerate() {
        let entries = blend.entries(stage, Unit::Sequences);
        files.push(ExportFile::new(blend.stage_file("data_args", "txt", number), arguments(&entries)));
        files.push(ExportFile::new(blend.stage_file("per_split", "json", number), per_split(&entries)));
    }
    files
}

fn arguments(entries: &[Entry<'_>]) -> String {
    let lines: Vec<String> = entries.iter().map(|entry| format!("{} {}", decimal(entry.share), entry.path)).collect();
    lines.join("\n") + "\n"
}

/// Validation and test are not for a mixture to say: `null` leaves them out.
fn per_split(entries: &[Entry<'_>]) -> String {
    let pairs: Vec<String> =
        entries.iter().map(|entry| format!("\"{}\", {}", decimal(entry.share), quoted(entry.path))).collect();
    format!("{{\"train\": [{}],\n \"valid\": null,\n \"test\": null}}\n", pairs.join(",\n           "))
}
