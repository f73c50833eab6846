//! Levanter and Marin: `train_weights`, by stages where there are some.
//!
//! Every block of sequences has the same counts: shares of it, cut to whole numbers, and what is missing goes to the
//! largest source. So the weights are written as such counts, by largest remainders: then nothing is cut.

use super::export::{Draft, ExportFile};
use super::registry::{Paths, Repeats, Stages, Starts, Trainer, Unit};
use super::sampler::{Sampler, apportioned};
use super::text::{decimal, quoted};

/// Sequences of a block: each has the same counts of every source, so stages start between two.
const BLOCK: u64 = 2048;

pub(super) const TRAINER: Trainer = Trainer {
    name: "levanter",
    unit: Unit::Sequences,
    usage: "Put it under data: in the training configuration, beside components of the same names.",
    stages: Stages::Native,
    starts: Starts::Blocks(BLOCK),
    repeats: Repeats::Free,
    loss_weights: false,
    paths: Paths::Unused,
    entry_per_path: false,
    most_entries: usize::MAX,
    refused: &[],
    sampler: Sampler::Blocks(BLOCK),
    write,
};

fn write(draft: &mut Draft<'_>) -> Vec<ExportFile> {
    let blend = draft.blend;
    let mut text = format!("mixture_block_size: {BLOCK}\nstop_strategy: restart\n# Of each block.\ntrain_weights:\n");
    for (stage, start) in blend.stages.iter().zip(&draft.starts) {
        let drawn = blend.drawn(stage, Unit::Sequences);
        let shares: Vec<f64> = drawn.iter().map(|(_, share)| *share).collect();
        let counts = apportioned(&shares, BLOCK);
        for ((source, share), _) in drawn.iter().zip(&counts).filter(|(_, count)| **count == 0) {
            draft.warnings.push(format!(
                "levanter deals in blocks of {BLOCK} sequences: a share of {} in stage {:?} is too small, and {:?} \
                 gets none",
                decimal(*share),
                stage.name,
                blend.sources[*source].name
            ));
        }
        let weights = drawn
            .iter()
            .zip(&counts)
            .filter(|(_, count)| **count > 0)
            .map(|((source, _), count)| format!("{}: {count}.0", quoted(&blend.sources[*source].name)));
        if blend.stages.len() == 1 {
            text.extend(weights.map(|weight| format!("  {weight}\n")));
        } else {
            text += &format!("  - - {start}\n");
            text.extend(weights.enumerate().map(|(number, weight)| {
                let lead = if number == 0 { "    - " } else { "      " };
                format!("{lead}{weight}\n")
            }));
        }
    }
    vec![ExportFile::new("train_weights.yaml", text)]
}
