//! LLaMA-Factory: a fragment of the training YAML, and entries for `dataset_info.json`.

use std::collections::BTreeMap;

use super::blend::{Blend, BlendStage, Entry};
use super::export::{Draft, ExportFile};
use super::registry::{Part, Paths, Refused, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, quoted};

const LIST: &str = "LLaMA-Factory splits its list of names there";
const OMEGA: &str = "OmegaConf would put another value there";

pub(super) const TRAINER: Trainer = Trainer {
    name: "llamafactory",
    unit: Unit::Documents,
    usage: "Merge train.yaml into the training YAML, with dataset_dir the folder of dataset_info.json.",
    stages: Stages::Files,
    starts: Starts::Tokens,
    repeats: Repeats::Free,
    loss_weights: false,
    paths: Paths::Needed,
    entry_per_path: true,
    most_entries: usize::MAX,
    refused: &[
        Refused { what: Part::Name, has: |name| name.contains(','), named: "a comma", why: LIST },
        Refused { what: Part::Name, has: |name| name.trim() != name, named: "white space around it", why: LIST },
        Refused { what: Part::Name, has: |name| name.contains("${"), named: "\"${\"", why: OMEGA },
    ],
    sampler: Sampler::Chance,
    write,
};

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let file = |(number, stage): (usize, &BlendStage)| {
        ExportFile::new(blend.stage_file("train", "yaml", number), yaml(blend, stage))
    };
    let mut files: Vec<ExportFile> = blend.stages.iter().enumerate().map(file).collect();
    files.push(ExportFile::new("dataset_info.json", dataset_info(blend)));
    files
}

fn yaml(blend: &Blend, stage: &BlendStage) -> String {
    let entries = blend.entries(stage, Unit::Documents);
    let list = |item: &dyn Fn(&Entry<'_>) -> String| entries.iter().map(item).collect::<Vec<_>>().join(",");
    format!(
        "stage: pt\ndataset: {}\nmix_strategy: interleave_over\ninterleave_probs: {}\nseed: {}\n",
        quoted(&list(&|entry| entry.label.clone())),
        quoted(&list(&|entry| decimal(entry.share))),
        blend.settings.seed
    )
}

/// Every path of every stage, with its text in the column `text`.
fn dataset_info(blend: &Blend) -> String {
    let entries = blend.stages.iter().flat_map(|stage| blend.entries(stage, Unit::Documents));
    let places: BTreeMap<String, &str> = entries.map(|entry| (entry.label, entry.path)).collect();
    let lines: Vec<String> = places
        .iter()
        .map(|(label, path)| {
            let place = if path.contains("://") { "cloud_file_name" } else { "file_name" };
            format!("  {}: {{\"{place}\": {}, \"columns\": {{\"prompt\": \"text\"}}}}", quoted(label), quoted(path))
        })
        .collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}
