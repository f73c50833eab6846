//! A running trainer that looks for new weights: `weights.json`, replaced as a whole.

use super::blend::{Blend, BlendStage};
use super::export::{Draft, ExportFile};
use super::registry::{Paths, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, quoted};

pub(super) const TRAINER: Trainer = Trainer {
    name: "live",
    unit: Unit::Tokens,
    usage: "Poll weights.json: when its version rises, draw by its weights from its step on; it is replaced at once, \
            never in parts.",
    stages: Stages::Files,
    starts: Starts::Steps,
    repeats: Repeats::Free,
    loss_weights: true,
    paths: Paths::Unused,
    entry_per_path: false,
    most_entries: usize::MAX,
    refused: &[],
    sampler: Sampler::Chance,
    write,
};

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let file = |((number, stage), step): ((usize, &BlendStage), &u64)| {
        ExportFile::new(blend.stage_file("weights", "json", number), json(blend, number, stage, *step))
    };
    blend.stages.iter().enumerate().zip(&draft.starts).map(file).collect()
}

/// All sources, since a poller must hear of one that goes to zero.
fn json(blend: &Blend, number: usize, stage: &BlendStage, step: u64) -> String {
    let object = |value: &dyn Fn(usize) -> f64| {
        let entry = |source: usize| format!("{}: {}", quoted(&blend.sources[source].name), decimal(value(source)));
        (0..blend.sources.len()).map(entry).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{{\"version\": {}, \"step\": {step}, \"unit\": \"tokens\",\n \"weights\": {{{}}},\n \"loss_weights\": \
         {{{}}}}}\n",
        number + 1,
        object(&|source| stage.shares[source]),
        object(&|source| blend.sources[source].loss_factor)
    )
}
