//! `lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Threads;
use crate::lab::Size;

#[derive(Debug, Args)]
pub(in crate::cli) struct LabArguments {
    #[command(subcommand)]
    pub what: Labs,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Labs {
    /// Make a world: corpus, tasks, and the truth about both
    New(LabNewArguments),
    /// Train a small model on a corpus, and keep checkpoints on the way
    Train(LabTrainArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
The same seed makes the same bytes. DIR/README.md says what is in the folder.

Examples:
  veval lab new --seed 7 --out lab
  veval lab train lab/lab.toml --out lab/ckpts
  veval run lab/suite.toml lab/ckpts")]
pub(in crate::cli) struct LabNewArguments {
    /// Seed of everything that is invented
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// How many documents and facts there are
    #[arg(long, value_enum, default_value_t = SizeName::Small)]
    pub size: SizeName,
    /// Where the files go; must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum SizeName {
    /// 42,000 documents
    Small,
    /// Eight times as many
    Medium,
}

impl From<SizeName> for Size {
    fn from(name: SizeName) -> Self {
        match name {
            SizeName::Small => Self::Small,
            SizeName::Medium => Self::Medium,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
The plan names the corpus (JSON lines with source, id and text), the model's shape, batch, optimizer, schedule and which
steps leave checkpoints; `mixture` and `values` are files as `veval feedback` writes them. The same plan and files make
the same bytes, with any number of threads. After an interrupt or a crash the same command goes on.

DIR/step*/ are Hugging Face checkpoints, DIR/curve.csv and DIR/curve.svg the losses, DIR/order/ the documents that each
step saw, DIR/state/ what training goes on from.

Examples:
  veval lab train lab/lab.toml --out lab/ckpts")]
pub(in crate::cli) struct LabTrainArguments {
    /// The plan, a TOML file (`veval.training/1`)
    pub plan: PathBuf,
    /// Where checkpoints go
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub threads: Threads,
    /// Say what would be trained, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
}
