//! The arguments, as clap sees them.

mod exchange;
mod feedback;
mod geometry;
mod grad;
mod lab;

pub(in crate::cli) use exchange::{
    ExportArguments, ExportLmEvalArguments, Exports, ImportArguments, ImportCsvArguments, ImportLmEvalArguments,
    ImportTaskArguments, ImportTo, Imports,
};
pub(in crate::cli) use feedback::{
    ArmFile, CompanyName, FeedbackArguments, FeedbackBuildArguments, FeedbackCheckArguments, FeedbackExportArguments,
    FeedbackProbeArguments, FeedbackTargetsArguments, FeedbackValueArguments, Feedbacks, MixArguments, SuiteAgain,
};
pub(in crate::cli) use geometry::{ArrayFile, FeedbackGeometryArguments};
pub(in crate::cli) use grad::{
    AlsoName, GradArguments, GradAutocorrelationArguments, GradCollectArguments, GradExportArguments, GradItems,
    GradQueryArguments, GradSetArguments, GradWhitenArguments, Grads, Like, PrecisionName, SetName,
};

pub(in crate::cli) use lab::{LabArguments, LabNewArguments, LabTrainArguments, Labs};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ctx;
use crate::lm::LocalOptions;
use crate::store::Shard;

/// Judge the checkpoints of a language model in training.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done; 1 done, and a gate says no; 2 could not run; 3 incomplete.")]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Score checkpoints on a suite of benchmarks
    Run(RunArguments),
    /// Put the parts of runs together that `run --shard` made
    Merge(MergeArguments),
    /// Compute the metrics of recorded runs again, without the model
    Rescore(RescoreArguments),
    /// Let go of stored answers that no run refers to
    Gc(GcArguments),
    /// Compare the ways in which a suite's items were asked and scored
    Protocols(ProtocolsArguments),
    /// Bring data sets and models here
    Data(DataArguments),
    /// Write a checkpoint in another format: GGUF, or a Hugging Face folder
    Convert(ConvertArguments),
    /// Take in results of other tools: lm-evaluation-harness, tables, task files
    Import(ImportArguments),
    /// Write a run in the files of another tool
    Export(ExportArguments),
    /// Gradients of items, projected and kept
    Grad(GradArguments),
    /// What documents are worth, as files that trainers read
    Feedback(FeedbackArguments),
    /// A small controlled world in which every answer is known, and a trainer
    Lab(LabArguments),
    /// Write the page of a suite's runs again
    Report(ReportArguments),
    /// List what there is: tasks, metrics, profiles, families, sites
    List(ListArguments),
    /// Print the exact prompt of one item, what is scored, and its tokens
    Show(ShowArguments),
    /// Print the JSON Schema of suites and task files
    Schema(SchemaArguments),
}

/// How many threads work.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct Threads {
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = COST)]
    threads: Option<u16>,
}

impl Threads {
    pub fn count(self) -> usize {
        self.threads.map_or_else(ctx::cores, usize::from)
    }
}

/// What passes may take; no result depends on it.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct Cost {
    #[command(flatten)]
    pub threads: Threads,
    /// Tokens of one pass
    #[arg(long, value_name = "N", default_value_t = LocalOptions::BATCH_TOKENS, value_parser = tokens, help_heading = COST)]
    pub batch_tokens: usize,
    /// Memory that the run may hold, such as 2GB or 512MB [default: 80% of what is free]
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = COST)]
    pub max_memory: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  veval run suites/core.toml ckpts/step1000 --data-dir data
      score one checkpoint; results in runs/core/step1000/ and runs/core/report.html
  veval run suites/core.toml ckpts/ --data-dir data --task mmlu --limit 100
      score every checkpoint under ckpts/ that has no such score yet, MMLU only, 100 items a subject
  veval run my.toml ckpts/step1000 --format json | jq '.[] | select(.metric == \"acc\")'
  veval run my.toml base+adapter
      a PEFT LoRA adapter laid on its base; base+adapters/ is the series of all adapters in a folder
  veval run my.toml base+delta
      weights that are added to those of the base; base+delta:DIR where DIR is a complete checkpoint itself")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(in crate::cli) struct RunArguments {
    /// The suite, a TOML file
    pub suite: PathBuf,
    /// Checkpoints: Hugging Face folders, GGUF or llama2.c files, folders of them, or addresses such as
    /// hf://model/owner/name@revision; BASE+ADAPTER lays an adapter on one
    #[arg(required = true, value_name = "CKPT")]
    pub checkpoints: Vec<PathBuf>,
    /// Where results go
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub out: PathBuf,
    /// Folder with local copies of public data sets
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Only this task, group or subset (may be given several times)
    #[arg(long = "task", value_name = "NAME")]
    pub tasks: Vec<String>,
    /// Only the first N items of each task
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub cost: Cost,
    /// What the model runs on
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu, help_heading = DEVICE)]
    pub device: DeviceName,
    /// Compute every request by itself, for comparison
    #[arg(long, help_heading = COST)]
    pub no_prefix_sharing: bool,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Only part INDEX of COUNT of the items, such as 0/3; `veval merge` puts the parts together
    #[arg(long, value_name = "INDEX/COUNT")]
    pub shard: Option<Shard>,
    /// Say what would be computed, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Leave out what the suite's table [feedback] asks for
    #[arg(long)]
    pub no_feedback: bool,
    /// Score again although the answers are known
    #[arg(long)]
    pub again: bool,
    /// Score checkpoints that have NaN or infinite weights
    #[arg(long)]
    pub allow_nonfinite: bool,
    /// Begin texts with the beginning-of-sequence token, or not, whatever the tokenizer says
    #[arg(long, value_name = "BOOL")]
    pub add_bos: Option<bool>,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// Where a model runs. The record names the arithmetic (`numerics`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum DeviceName {
    /// veval's own kernels: the same bytes on every machine
    Cpu,
    /// Plain candle operations on the CPU: slow; what the own kernels are compared with
    Candle,
    /// Plain candle operations on an NVIDIA GPU; untested, needs a build with `--features cuda`
    Cuda,
}

const DEVICE: &str = "Arithmetic";

/// Flags that change what a run costs, and none of its numbers.
const COST: &str = "Cost (no number depends on these)";

/// A number of tokens that a pass may have.
fn tokens(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1 << 20).contains(&count) => Ok(count),
        _ => Err("expected a number from 1 to 1048576".to_owned()),
    }
}

/// `2GB`, `512MB`, `1.5GiB`, or plain bytes.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        other => return Err(format!("expected a unit such as MB, GB or GiB, found {other:?}")),
    };
    match text[..digits].parse::<f64>() {
        Ok(count) if count * unit >= 1e6 && count * unit <= 1e16 => Ok((count * unit) as usize),
        Ok(_) => Err("expected at least 1MB".to_owned()),
        Err(_) => Err("expected a number with a unit, such as 2GB".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    Table,
    Json,
    Csv,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  for i in 0 1 2; do veval run suites/core.toml ckpts/step1000 --shard $i/3 & done; wait
  veval merge runs")]
pub(in crate::cli) struct MergeArguments {
    /// The folder that the parts were written to (`run --out`)
    pub out: PathBuf,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DataArguments {
    #[command(subcommand)]
    pub verb: DataVerb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DataVerb {
    /// Bring everything of suites or addresses into the hub's cache, as the hub has it now
    Pull(PullArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
The cache is that of Python's huggingface_hub: the folder HF_HUB_CACHE, else `hub` in HF_HOME, else
~/.cache/huggingface/hub. A machine without network needs a copy of it; HF_HUB_OFFLINE=1 keeps veval from
trying. HF_ENDPOINT names another hub. HF_TOKEN, or the file HF_TOKEN_PATH, has the token for what is not
public.

Examples:
  veval data pull suites/my.toml hf://model/EleutherAI/pythia-70m@step1000
  HF_HUB_OFFLINE=1 veval run suites/my.toml hf://model/EleutherAI/pythia-70m@step1000")]
pub(in crate::cli) struct PullArguments {
    /// Suites (TOML files), or addresses: hf://dataset/OWNER/NAME@REVISION/PATH, hf://model/OWNER/NAME@REVISION
    #[arg(required = true, value_name = "SUITE|ADDRESS")]
    pub wanted: Vec<String>,
    /// Folder with local copies of public data sets; what a task reads from there is not fetched
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GcArguments {
    /// The folder of results (`run --out`)
    pub out: PathBuf,
    /// Say what would be freed, and stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  veval convert ckpts/step1000 step1000.gguf
  veval convert ckpts/step1000 step1000-q8_0.gguf --type q8_0
  veval convert model-Q4_K_M.gguf model-folder
      weights as f32 in safetensors, config.json and tokenizer, as transformers loads them
  veval convert stories260K.bin stories260K
      a llama2.c file with its tokenizer (tok512.bin or tokenizer.bin) beside it
  veval convert ckpts/step1000+adapters/checkpoint-200 merged --type bf16
      the adapter merged into its base")]
pub(in crate::cli) struct ConvertArguments {
    /// A checkpoint folder (safetensors or pytorch_model.bin), a GGUF or llama2.c file, or BASE+ADAPTER
    pub checkpoint: PathBuf,
    /// What to write, which must not exist: a file NAME.gguf, else a folder
    pub out: PathBuf,
    /// Element type: f32, f16 or q8_0 of a GGUF file's matrices (norms and biases are f32) [default: f16]; f32, f16 or
    /// bf16 of everything in a folder [default: f32]
    #[arg(long = "type", value_enum)]
    pub to: Option<ConvertType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ConvertType {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RescoreArguments {
    /// Run folders, `<out>/<suite>/<checkpoint>`
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Take metrics, filters and match rules from this suite instead of the record
    #[arg(long, value_name = "SUITE")]
    pub suite: Option<PathBuf>,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A protocol is a variant of a task (`protocols`, `prefix`, `system` in its definition) with one metric of right or wrong:
acc, acc_norm, letter/acc, generative/exact_match,letter. Protocols are compared on the same items, pair by pair. With
several checkpoints, Kendall's tau says how far two protocols rank them alike; a reversal is a pair of checkpoints that
two protocols order differently, both with a 95 % interval of the paired difference that excludes zero.

Writes protocols.csv (every pair of protocols, every checkpoint) and protocol_ranks.csv into the folder.

Examples:
  veval run arc.toml ckpts/ --data-dir data
  veval protocols runs/arc")]
pub(in crate::cli) struct ProtocolsArguments {
    /// A suite's folder of runs, `<out>/<suite>`
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReportArguments {
    /// A suite's folder of runs, `<out>/<suite>`
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArguments {
    /// What to list
    #[arg(value_enum)]
    pub what: Listed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Listed {
    Tasks,
    Metrics,
    Profiles,
    Families,
    Sites,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  veval show hellaswag --item 3 --data-dir data
  veval show my_task.toml --item 0 --tokens ckpts/step1000")]
pub(in crate::cli) struct ShowArguments {
    /// A shipped task, one of its subsets (`mmlu_anatomy`), or a task file
    pub task: String,
    /// Which row of the data
    #[arg(long, default_value_t = 0, value_name = "ROW")]
    pub item: usize,
    /// Few-shot examples, in place of the task's number
    #[arg(long, value_name = "N")]
    pub shots: Option<usize>,
    /// Also print token ids, by this checkpoint's tokenizer
    #[arg(long, value_name = "CKPT")]
    pub tokens: Option<PathBuf>,
    /// Folder with local copies of public data sets
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaArguments {
    /// Of which file
    #[arg(value_enum, default_value_t = SchemaOf::Suite)]
    pub of: SchemaOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SchemaOf {
    Suite,
    Task,
}
