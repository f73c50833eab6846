//! `feedback`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(in crate::cli) struct FeedbackArguments {
    #[command(subcommand)]
    pub what: Feedbacks,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Feedbacks {
    /// The next mixture, from what sources are worth
    Mix(MixArguments),
    /// Write a mixture in the files of trainers
    Export(FeedbackExportArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A source's value is the mean of its documents' values by tokens, shrunk by its error. New shares are the old ones times
exp(eta value), with the largest eta that keeps the divergence from the old shares within the limit and whose errors spend
no more than a quarter of it; then floors and repeat caps hold, and shares become whole sequences. Whatever binds is said.

Examples:
  veval feedback mix mixture.json --values values.jsonl --total-tokens 30000000 --sequence-length 256 --out next.json
  veval feedback mix mixture.json --values values.jsonl --target facts --start-tokens 14000000 --out next.json")]
pub(in crate::cli) struct MixArguments {
    /// The mixture so far (`veval.mixture/1`)
    pub mixture: PathBuf,
    /// Values of documents: JSON lines or parquet with source, `n_tokens` and value
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
    #[arg(long, value_name = "NATS", default_value_t = 0.1)]
    pub limit: f64,
    /// Least share of a source that had one
    #[arg(long, value_name = "SHARE", default_value_t = 0.005)]
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
