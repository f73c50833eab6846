//! Hugging Face `datasets.interleave_datasets`: names and probabilities, in order.

use super::blend::{Blend, BlendStage};
use super::export::{Draft, ExportFile};
use super::registry::{Paths, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::Sampler;
use super::text::{decimal, quoted};

pub(super) const TRAINER: Trainer = Trainer {
    name: "hf",
    unit: Unit::Documents,
    usage: "interleave_datasets([load(n) for n in m['names']], probabilities=m['probabilities'], seed=m['seed'], \
            stopping_strategy=m['stopping_strategy']), and a column of loss_weights for a loss of your own.",
    stages: Stages::Files,
    starts: Starts::Tokens,
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
    let file = |(number, stage): (usize, &BlendStage)| {
        ExportFile::new(blend.stage_file("mixture", "json", number), json(blend, stage))
    };
    blend.stages.iter().enumerate().map(file).collect()
}

/// Sources without a share are left out: `interleave_datasets` does not end with a probability of zero.
fn json(blend: &Blend, stage: &BlendStage) -> String {
    let drawn = blend.drawn(stage, Unit::Documents);
    let list = |item: &dyn Fn(&(usize, f64)) -> String| drawn.iter().map(item).collect::<Vec<_>>().join(", ");
    let paths = |source: &(usize, f64)| {
        let paths = &blend.sources[source.0].paths;
        format!("[{}]", paths.iter().map(|path| quoted(path)).collect::<Vec<_>>().join(", "))
    };
    format!(
        "{{\"names\": [{}],\n \"paths\": [{}],\n \"probabilities\": [{}],\n \"loss_weights\": [{}],\n \"seed\": {},\n \
         \"stopping_strategy\": \"all_exhausted\"}}\n",
        list(&|(source, _)| quoted(&blend.sources[*source].name)),
        list(&paths),
        list(&|(_, share)| decimal(*share)),
        list(&|(source, _)| decimal(blend.sources[*source].loss_factor)),
        blend.settings.seed
    )
}
