//! `feedback`.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::geometry::FeedbackGeometryArguments;
use super::{Cost, Format, Threads};
use crate::feedback::Parameters;

#[derive(Debug, Args)]
pub(in crate::cli) struct FeedbackArguments {
    #[command(subcommand)]
    pub what: Feedbacks,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Feedbacks {
    /// Gradients of the items that a trainer may know of
    Build(FeedbackBuildArguments),
    /// What the documents of a stream are worth to the targets of a feedback set
    Value(FeedbackValueArguments),
    /// Whether one step does to sealed items what the gradients say
    Probe(FeedbackProbeArguments),
    /// Whose gradients agree and whose are in conflict: targets, sources, arrays from outside
    Geometry(FeedbackGeometryArguments),
    /// Soft targets of a stream's tokens, for a trainer to learn on
    Targets(FeedbackTargetsArguments),
    /// The next mixture, from what sources are worth
    Mix(MixArguments),
    /// Whether training on is better with a new mixture, by sealed items
    Check(FeedbackCheckArguments),
    /// Write a mixture in the files of trainers
    Export(FeedbackExportArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Half of all items are sealed, by hash, or by the column `split` of their rows; there is no switch for it. Of the others, those
that share 13 words in a row with a sealed one are refused. The loss of a task is the mean over its items of the mean
negative log-likelihood of the answer's tokens; the losses that are printed are those of sealed items.

DIR/manifest.json says what the set is of, DIR/items.jsonl has the items, DIR/gradsets their mean gradients under the
checkpoint's own parameter names, DIR/grads the projected gradient of every item.

Examples:
  veval feedback build suites/quickstart.toml data/lab/midrun --task facts_cloze --task sums --out fb
  veval feedback build suites/core.toml ckpts/step1000 --data-dir data --task gsm8k --n 1024 --params last:2 --out fb")]
pub(in crate::cli) struct FeedbackBuildArguments {
    /// A suite
    #[arg(value_name = "SUITE")]
    pub suite: PathBuf,
    /// Checkpoints of one run, or folders of them
    #[arg(required = true, value_name = "CKPT")]
    pub checkpoints: Vec<PathBuf>,
    /// A target (may be given several times) [default: every task of the suite]
    #[arg(long = "task", value_name = "NAME")]
    pub tasks: Vec<String>,
    /// Feedback items of each task, at most
    #[arg(long = "n", value_name = "N", default_value_t = 1024, value_parser = two_or_more)]
    pub items: usize,
    /// Whose gradients: all, last:N blocks, or names with *, separated by commas
    #[arg(long = "params", value_name = "WHICH", default_value = "all")]
    pub parameters: Parameters,
    /// Random parts of the items, whose spread says how sure values are
    #[arg(long, value_name = "K", default_value_t = Self::PARTS, value_parser = parts)]
    pub parts: usize,
    /// No feedback, but a control of equal size: each item gets the answer of another
    #[arg(long)]
    pub shuffle_answers: bool,
    /// Numbers of each side of the items' projected gradients
    #[arg(long, value_name = "N", default_value_t = Self::PROJ_DIM, value_parser = super::grad::projection)]
    pub proj_dim: usize,
    /// Folder with local copies of public data sets
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub cost: Cost,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// The feedback set, which must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A document's value for a target is the inner product of the two gradients: positive lowers the target's loss, in nats per
unit of learning rate. With --moments it is that of the optimizer's step. The combined value is the mean over domains of
values in standard units. Intervals come from parts of the feedback items, from checkpoints and, of sources, from documents.

DIR/values.jsonl has a row for each document (and DIR/values.parquet), with the copies that it should have in its source, and
DIR/repeats.bin those copies as two bytes each; DIR/report.json has the sources and how far to trust them.

Examples:
  veval feedback value fb data/lab/midrun --stream data/lab/corpus.jsonl.gz --sample 200 --out values
  veval feedback value fb ckpts/step1000 --moments ckpts/step1000/optimizer.pt --stream corpus.jsonl.gz --out values
  veval feedback mix mixture.json --values values/values.jsonl --out next.json")]
pub(in crate::cli) struct FeedbackValueArguments {
    /// A feedback set
    #[arg(value_name = "FB")]
    pub bundle: PathBuf,
    /// Checkpoints of the set
    #[arg(required = true, value_name = "CKPT")]
    pub checkpoints: Vec<PathBuf>,
    /// Documents: JSON lines with source, id and text (.jsonl, .jsonl.gz)
    #[arg(long, value_name = "FILE")]
    pub stream: PathBuf,
    /// Only this source (may be given several times)
    #[arg(long = "source", value_name = "NAME")]
    pub sources: Vec<String>,
    /// Only N documents of each source, at random
    #[arg(long, value_name = "N", value_parser = one_or_more)]
    pub sample: Option<usize>,
    /// An optimizer's moments, one file for each checkpoint: values are of its steps then
    #[arg(long, value_name = "FILE")]
    pub moments: Vec<PathBuf>,
    #[command(flatten)]
    pub again: SuiteAgain,
    /// How far copies follow values: a document one standard deviation above its source's mean is expected exp(S) times
    #[arg(long, value_name = "S", default_value_t = Self::COPY_STRENGTH, value_parser = positive)]
    pub copy_strength: f64,
    /// Sealed items of each target that are put among the documents, to see whether they come first; they are in no file
    #[arg(long, value_name = "N", default_value_t = Self::PLANTED)]
    pub planted: usize,
    /// Seed of the whole numbers of copies
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub copy_seed: u64,
    /// Another checkpoint, larger or earlier: what it does better is left to learn
    #[arg(long, value_name = "CKPT")]
    pub reference: Option<PathBuf>,
    #[command(flatten)]
    pub cost: Cost,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// The folder of the values, which must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Each batch is trained on for one step, from the checkpoint, with several rates, by plain gradient descent and by AdamW with
the trainer's moments. Predicted is what the feedback items' gradient says of the step, realised how much the loss of the
sealed items fell. Pearson's correlation and the slope have intervals from a bootstrap over batches; the linear model holds
where they are at least 0.9 and between 0.9 and 1.1.

Examples:
  veval feedback probe fb data/lab/midrun --stream data/lab/corpus.jsonl.gz --batches 50
  veval feedback probe fb ckpts/step1000 --stream corpus.jsonl.gz --moments ckpts/step1000/optimizer.pt --clip 1.0
  veval feedback probe fb data/lab/midrun --stream data/lab/corpus.jsonl.gz --format json | jq .sgd.pearson")]
pub(in crate::cli) struct FeedbackProbeArguments {
    /// A feedback set
    #[arg(value_name = "FB")]
    pub bundle: PathBuf,
    /// A checkpoint of the set
    #[arg(value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// Documents that batches are cut from: JSON lines with source, id and text
    #[arg(long, value_name = "FILE")]
    pub stream: PathBuf,
    /// Only this source (may be given several times)
    #[arg(long = "source", value_name = "NAME")]
    pub sources: Vec<String>,
    /// Batches that are tried
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = two_or_more)]
    pub batches: usize,
    /// Sealed items of each task that are measured on, at most, at random
    #[arg(long, value_name = "N", value_parser = one_or_more)]
    pub sealed_items: Option<usize>,
    /// Whether a batch is of one source or of all
    #[arg(long = "of", value_enum, default_value_t = CompanyName::Source)]
    pub company: CompanyName,
    /// Sequences of a batch
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = one_or_more)]
    pub sequences: usize,
    /// Tokens that a sequence predicts [default: the model's input, 256 at most]
    #[arg(long, value_name = "N", value_parser = one_or_more)]
    pub length: Option<usize>,
    /// The trainer's learning rate [default: as trainer_state.json says]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub rate: Option<f64>,
    /// Other rates, as parts of the trainer's, separated by commas
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', default_values_t = [0.1, 0.3, 3.0], value_parser = positive)]
    pub factors: Vec<f64>,
    /// The optimizer's moments [default: moments.safetensors of the checkpoint]
    #[arg(long, value_name = "FILE")]
    pub moments: Option<PathBuf>,
    /// Largest norm of a gradient that AdamW is given
    #[arg(long, value_name = "NORM", value_parser = positive)]
    pub clip: Option<f64>,
    /// Weight decay of AdamW, of matrices
    #[arg(long, value_name = "DECAY", default_value_t = 0.0)]
    pub weight_decay: f64,
    #[command(flatten)]
    pub again: SuiteAgain,
    /// Seed of the batches and of the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    #[command(flatten)]
    pub threads: Threads,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
At every token the slope of a candidate says how fast its logit grows along the gradient of the targets' loss. To first order the
best target within --alpha puts all of it on the candidate of the lowest slope (V-Pretraining, arXiv 2601.22108), and the true
token keeps the rest. Several targets are combined in standard units, each gradient divided by its norm. What is gained is told
as the choice says, and with the choice of one half of the feedback items measured by the other: where that is not above zero,
other items would not choose these targets. Documents with 13 words in a row of a sealed item keep their true tokens.

FILE (`veval.soft-targets/1`) holds ids and probabilities of tokens, by document and position, and nothing of the feedback items.
`targets = \"FILE\"` of a training plan has the lab's trainer learn on it.

Examples:
  veval feedback targets fb data/lab/midrun --stream data/lab/corpus.jsonl.gz --source arithmetic --out targets.safetensors
  veval feedback check fb --plan go_on.toml --arm old= --arm soft=targets.safetensors --out check")]
pub(in crate::cli) struct FeedbackTargetsArguments {
    /// A feedback set
    #[arg(value_name = "FB")]
    pub bundle: PathBuf,
    /// A checkpoint of the set
    #[arg(value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// The learner's documents: JSON lines with source, id and text (.jsonl, .jsonl.gz)
    #[arg(long, value_name = "FILE")]
    pub stream: PathBuf,
    /// Only this source (may be given several times); other documents keep their true tokens
    #[arg(long = "source", value_name = "NAME")]
    pub sources: Vec<String>,
    /// Only N documents of each source, at random
    #[arg(long, value_name = "N", value_parser = one_or_more)]
    pub sample: Option<usize>,
    /// Tokens that may be taught at each position: the true one and the likeliest others
    #[arg(long, value_name = "K", default_value_t = 64, value_parser = candidates)]
    pub candidates: usize,
    /// How much of the target may be moved away from the true token
    #[arg(long, value_name = "A", default_value_t = 0.1, value_parser = share)]
    pub alpha: f64,
    #[command(flatten)]
    pub again: SuiteAgain,
    #[command(flatten)]
    pub cost: Cost,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// The file of the targets, which must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum CompanyName {
    /// Every batch is of one source; sources take turns
    Source,
    /// Documents of all sources in random order
    Mixed,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A source's value is the mean of its documents' values by tokens, shrunk by its error: that of the feedback items, checkpoints and
documents where `veval feedback value` left its report beside the values, that of the documents alone otherwise. New shares are the old ones times
exp(eta value), with the largest eta that keeps the divergence from the old shares within the limit and whose errors spend
no more than a quarter of it; then floors and repeat caps hold, and shares become whole sequences. Whatever binds is said.

Examples:
  veval feedback mix mixture.json --values values.jsonl --total-tokens 30000000 --sequence-length 256 --out next.json
  veval feedback mix mixture.json --values values.jsonl --target facts --start-tokens 14000000 --out next.json")]
pub(in crate::cli) struct MixArguments {
    /// The mixture so far (`veval.mixture/1`)
    pub mixture: PathBuf,
    /// Values of documents: JSON lines or parquet with source, `n_tokens` and value; a report.json beside them knows the errors of
    /// the feedback items as well
    #[arg(long, value_name = "FILE")]
    pub values: PathBuf,
    /// The column `value_NAME` in place of the combined value
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Tokens that are trained before the new shares hold
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub start_tokens: u64,
    /// Name of the new stage
    #[arg(long, value_name = "NAME", default_value = "feedback")]
    pub stage: String,
    /// Largest divergence KL(new || old), in nats
    #[arg(long, value_name = "NATS", default_value_t = Self::LIMIT)]
    pub limit: f64,
    /// Least share of a source that had one
    #[arg(long, value_name = "SHARE", default_value_t = Self::FLOOR)]
    pub floor: f64,
    /// How often the run may see a source's tokens [default: what the mixture says, or 4]
    #[arg(long, value_name = "TIMES")]
    pub max_repeat: Option<f64>,
    /// Tokens of the whole run [default: what the mixture says]
    #[arg(long, value_name = "N")]
    pub total_tokens: Option<u64>,
    /// Tokens of a sequence [default: what the mixture says]
    #[arg(long, value_name = "N")]
    pub sequence_length: Option<u64>,
    /// Seed of the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The new mixture, which must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Each arm goes on from the plan's checkpoint for as many steps, with its own mixture (.json), copies of documents (.jsonl), soft
targets (.safetensors) or some of them (NAME=next.json+values.jsonl), once for each seed of the order of documents. What is compared are the sealed items of all tasks, paired by item and seed; the
intervals are over seeds and items. The first arm is the one that others are compared with; NAME= is the plan as it is.

With --command a trainer of your own is started for each arm and seed; it finds VEVAL_ARM, VEVAL_MIXTURE, VEVAL_VALUES,
VEVAL_TARGETS, VEVAL_SEED, VEVAL_STEPS and VEVAL_OUT in its environment and leaves a Hugging Face checkpoint in VEVAL_OUT.

Examples:
  veval feedback check fb --plan go_on.toml --arm old= --arm new=next.json --seeds 5 --out check")]
pub(in crate::cli) struct FeedbackCheckArguments {
    /// A feedback set, whose tasks are the targets
    #[arg(value_name = "FB")]
    pub bundle: PathBuf,
    /// How training goes on (`veval.training/1`, with `from`)
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// An arm: a mixture, values with copies, soft targets, some of them, or nothing but a name
    #[arg(long = "arm", value_name = "NAME=FILES", value_parser = arm, required = true)]
    pub arms: Vec<ArmFile>,
    /// Orders of documents that each arm is trained with
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub seeds: u64,
    /// Values of documents: whether their sums foretell what the runs reach (LDS, of five runs or more)
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub values: Option<PathBuf>,
    /// Trains in place of the lab's trainer
    #[arg(long, value_name = "COMMAND")]
    pub command: Option<String>,
    #[command(flatten)]
    pub again: SuiteAgain,
    #[command(flatten)]
    pub threads: Threads,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// The folder of the trained arms and of check.json
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Where the suite of a feedback set is: its sealed items are in no file of the set.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct SuiteAgain {
    /// The set's suite, which has its sealed items [default: where the set says that it was]
    #[arg(long, value_name = "FILE")]
    pub suite: Option<PathBuf>,
    /// Folder with local copies of public data sets
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl FeedbackBuildArguments {
    pub const PARTS: usize = 4;
    pub const PROJ_DIM: usize = 16;
}

impl FeedbackValueArguments {
    pub const COPY_STRENGTH: f64 = 0.5;
    pub const PLANTED: usize = 16;
}

impl MixArguments {
    pub const LIMIT: f64 = 0.1;
    pub const FLOOR: f64 = 0.005;
}

/// `NAME=` and files with a `+` between: `NAME=MIXTURE`, `NAME=MIXTURE+COPIES+TARGETS`, `NAME=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct ArmFile {
    pub name: String,
    pub mixture: Option<PathBuf>,
    pub copies: Option<PathBuf>,
    pub targets: Option<PathBuf>,
}

fn arm(text: &str) -> Result<ArmFile, String> {
    let (name, files) = text.split_once('=').ok_or("expected NAME=FILE, such as new=next.json")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err("expected a name of letters, digits, - and _".to_owned());
    }
    let mut arm = ArmFile { name: name.to_owned(), mixture: None, copies: None, targets: None };
    for file in files.split('+').filter(|file| !file.is_empty()).map(PathBuf::from) {
        let place = match file.extension().and_then(OsStr::to_str) {
            Some("json") => &mut arm.mixture,
            Some("safetensors") => &mut arm.targets,
            _ => &mut arm.copies,
        };
        if place.replace(file).is_some() {
            let message = "expected one mixture (.json), one file of copies and one of targets (.safetensors) at most";
            return Err(message.to_owned());
        }
    }
    Ok(arm)
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Each trainer gets a folder with its files and a README of three lines. Shares are converted to what the trainer draws
(tokens, documents or sequences), its sampler is run a million times, and what it achieves is printed, with a warning for
what it cannot be told. Trainers: olmo-core, torchtitan, nanotron, megatron, llm-foundry, hf, llamafactory, levanter,
energon, live.

Examples:
  veval feedback export next.json --for olmo-core --for hf --batch-sequences 512 --out exports")]
pub(in crate::cli) struct FeedbackExportArguments {
    /// The mixture (`veval.mixture/1`)
    pub mixture: PathBuf,
    /// A trainer (may be given several times) [default: all]
    #[arg(long = "for", value_name = "TRAINER")]
    pub trainers: Vec<String>,
    /// Sequences of one step
    #[arg(long, value_name = "N")]
    pub batch_sequences: u64,
    /// Tokens of the whole run [default: what the mixture says]
    #[arg(long, value_name = "N")]
    pub total_tokens: Option<u64>,
    /// Tokens of a sequence [default: what the mixture says]
    #[arg(long, value_name = "N")]
    pub sequence_length: Option<u64>,
    /// Seed of the simulated draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The folder of the exports
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Parts of a target's items.
fn parts(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (2..=64).contains(&count) => Ok(count),
        _ => Err("expected a number from 2 to 64".to_owned()),
    }
}

/// Candidates of a token.
fn candidates(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 16;
    match text.parse() {
        Ok(count) if (2..=MOST).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from 2 to {MOST}")),
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

pub(super) fn one_or_more(text: &str) -> Result<usize, String> {
    at_least(text, 1)
}

fn two_or_more(text: &str) -> Result<usize, String> {
    at_least(text, 2)
}

fn at_least(text: &str, least: usize) -> Result<usize, String> {
    const MOST: usize = 1 << 20;
    match text.parse() {
        Ok(count) if (least..=MOST).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from {least} to {MOST}")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}
