//! The arguments, as clap sees them.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exchange::{Column, Constant};
use crate::feedback::store::{Element, ExportTo};
use crate::feedback::{Parameters, Scale};
use crate::lm::LocalOptions;
use crate::store::Shard;

/// Judge the checkpoints of a language model in training.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done; 1 done, and a gate says no; 2 could not run; 3 incomplete.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
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
    /// Write the page of a suite's runs again
    Report(ReportArguments),
    /// List what there is: tasks, metrics, profiles, families, sites
    List(ListArguments),
    /// Print the exact prompt of one item, what is scored, and its tokens
    Show(ShowArguments),
    /// Print the JSON Schema of suites and task files
    Schema(SchemaArguments),
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
pub(super) struct RunArguments {
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
    /// Threads of the forward passes [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = COST)]
    pub threads: Option<u16>,
    /// What the model runs on
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu, help_heading = DEVICE)]
    pub device: DeviceName,
    /// Tokens of one forward pass
    #[arg(long, value_name = "N", default_value_t = LocalOptions::BATCH_TOKENS, value_parser = tokens, help_heading = COST)]
    pub batch_tokens: usize,
    /// Memory that the run may hold, such as 2GB or 512MB [default: 80% of what is free]
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = COST)]
    pub max_memory: Option<usize>,
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
pub(super) enum DeviceName {
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
pub(super) enum Format {
    Table,
    Json,
    Csv,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  for i in 0 1 2; do veval run suites/core.toml ckpts/step1000 --shard $i/3 & done; wait
  veval merge runs")]
pub(super) struct MergeArguments {
    /// The folder that the parts were written to (`run --out`)
    pub out: PathBuf,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct DataArguments {
    #[command(subcommand)]
    pub verb: DataVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum DataVerb {
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
pub(super) struct PullArguments {
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
pub(super) struct GcArguments {
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
pub(super) struct ConvertArguments {
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
pub(super) enum ConvertType {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    #[command(subcommand)]
    pub what: Imports,
}

#[derive(Debug, Subcommand)]
pub(super) enum Imports {
    /// Result and sample files of lm-evaluation-harness, of any age
    LmEval(ImportLmEvalArguments),
    /// Tables of scores: a row for each score, or a column for each metric
    Csv(ImportCsvArguments),
    /// A task file of lm-evaluation-harness, as a task file of ours
    Task(ImportTaskArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Checkpoint, step and tokens are read from the model's arguments (`revision=step3000`, `pretrained=ckpts/step_1000`), else
from the file's name. Samples (`samples_*.jsonl`) are matched with the results beside them by the time in their names.
What they allow to compute again is computed again, and must give the results; an imported run is reported and compared
like any other, and never rescored.

Examples:
  veval import lm-eval out/EleutherAI__pythia-160m/
  veval import lm-eval results_*.json --suite pythia
  veval report runs/pythia")]
pub(super) struct ImportLmEvalArguments {
    /// Result files, sample files, or folders of them
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The series of all checkpoints, in place of the model's name
    #[arg(long, value_name = "NAME")]
    pub series: Option<String>,
    #[command(flatten)]
    pub to: ImportTo,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Roles: series, checkpoint, step, tokens, task, slice, filter, shots, metric, value, stderr, ci_lo, ci_hi, n, profile. A
column that is called like a role has it. Where a table has a column for each metric, name them as value:METRIC=NAME,
stderr:METRIC=NAME and so on; {task} and {metric} in a name stand for what changes from column to column. Several
columns of series, checkpoint, task, metric or slice are joined. Without a series the file's name is taken.

Examples:
  veval import csv pythia_v1_main.csv --column series=model --column series=variant --column shots=num_fewshot
  veval import csv ladder/*.csv --column step=_step --set shots=5 --column 'value:acc=eval/downstream/{task}_acc'")]
pub(super) struct ImportCsvArguments {
    /// .csv files, or .tsv with tabs
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What a column means (may be given several times)
    #[arg(long = "column", value_name = "ROLE=NAME")]
    pub columns: Vec<Column>,
    /// What holds for every row (may be given several times)
    #[arg(long = "set", value_name = "ROLE=VALUE")]
    pub constants: Vec<Constant>,
    #[command(flatten)]
    pub to: ImportTo,
}

/// Where imported runs go.
#[derive(Debug, Args)]
pub(super) struct ImportTo {
    /// The suite that the runs are filed under
    #[arg(long, default_value = "imported", value_name = "NAME")]
    pub suite: String,
    /// Where results go
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub out: PathBuf,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A YAML that calls Python functions, or needs what has no counterpart here, is refused with every such place named.

Examples:
  veval import task my_task.yaml --out my_task.toml
  veval show my_task.toml --item 0 --data-dir data")]
pub(super) struct ImportTaskArguments {
    /// The task's YAML file
    pub yaml: PathBuf,
    /// A folder that the YAML may include files from [default: its own]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The file to be written, which must not exist [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(subcommand)]
    pub what: Exports,
}

#[derive(Debug, Subcommand)]
pub(super) enum Exports {
    /// Result and sample files as lm-evaluation-harness 0.4.13 writes them
    LmEval(ExportLmEvalArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Writes DIR/<model>/results_<time>.json and samples_<task>_<time>.jsonl. A record has no documents and prompts: with
--suite they are made again from the suite and its data, which must be those of the run.

Examples:
  veval export lm-eval runs/core/step1000 --out exported --suite suites/core.toml --data-dir data
  veval export lm-eval runs/core/step1000 --out exported
      scores, answers and hashes, without documents and prompts")]
pub(super) struct ExportLmEvalArguments {
    /// A run folder, `<out>/<suite>/<checkpoint>`
    pub run: PathBuf,
    /// Where the files go
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The suite that was run, for documents and prompts
    #[arg(long, value_name = "SUITE")]
    pub suite: Option<PathBuf>,
    /// Folder with local copies of public data sets
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct GradArguments {
    #[command(subcommand)]
    pub what: Grads,
}

#[derive(Debug, Subcommand)]
pub(super) enum Grads {
    /// Project the gradient of every item's right answer into a store
    Collect(GradCollectArguments),
    /// Write the mean gradient of the items, whole, by parameter name
    Set(GradSetArguments),
    /// The rows of a store that are most like some gradients
    Query(GradQueryArguments),
    /// Write a store in the files of another tool
    Export(GradExportArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
The loss of an item is the negative log-likelihood of its right answer behind its context: the first right choice, the
target, the first written answer, the whole of a text. The gradient of each linear map is projected on both sides by
random signs that are Bergson's, to the bit. A row does not depend on the batch that it was computed in, so a store that
was interrupted goes on where it stopped: run the same command again.

DIR/index.json says what the rows are, DIR/items.jsonl of which items, DIR/grads-*.safetensors holds them.

Examples:
  veval grad collect suites/core.toml ckpts/step1000 --data-dir data --task gsm8k --out grads/gsm8k
  veval grad collect my.toml ckpts/step1000 --params 'last:2' --proj-dim 8 --out grads/last")]
pub(super) struct GradCollectArguments {
    #[command(flatten)]
    pub of: GradItems,
    /// The store
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Numbers of each side: a linear map takes N x N
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = projection)]
    pub proj_dim: usize,
    /// What the random signs are divided by
    #[arg(long, value_enum, default_value_t = ScaleName::Jl)]
    pub scale: ScaleName,
    /// Element type of the store
    #[arg(long, value_enum, default_value_t = ElementName::F16)]
    pub dtype: ElementName,
}

/// Whose gradients, of what.
#[derive(Debug, Args)]
pub(super) struct GradItems {
    /// The suite, a TOML file
    pub suite: PathBuf,
    /// A checkpoint: a folder, a GGUF file, base+adapter, or an address such as hf://model/owner/name@revision
    #[arg(value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// Whose gradients: all, last:N blocks, or names with *, separated by commas; projections are of linear maps inside
    /// blocks
    #[arg(long = "params", value_name = "WHICH", default_value = "all")]
    pub parameters: Parameters,
    /// The mean over an answer's tokens in place of their sum
    #[arg(long)]
    pub mean: bool,
    /// Folder with local copies of public data sets
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Only this task, group or subset (may be given several times)
    #[arg(long = "task", value_name = "NAME")]
    pub tasks: Vec<String>,
    /// Only the first N items of each task
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = COST)]
    pub threads: Option<u16>,
    /// Tokens of one pass
    #[arg(long, value_name = "N", default_value_t = LocalOptions::BATCH_TOKENS, value_parser = tokens, help_heading = COST)]
    pub batch_tokens: usize,
    /// Memory that the run may hold, such as 2GB or 512MB [default: 80% of what is free]
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = COST)]
    pub max_memory: Option<usize>,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
One safetensors file of the gradients' mean over items, under the checkpoint's own parameter names and of their shapes, so
that a trainer can add, multiply or project without a table of names. The losses are those of `veval grad collect`. The
header says how many items there were and the cosine between the means of two halves of them: below 0.1 the set is noise.

Examples:
  veval grad set suites/core.toml ckpts/step1000 --data-dir data --task gsm8k --out gsm8k.safetensors
  veval grad set my.toml ckpts/step1000 --params last:2 --kind fisher --out fisher.safetensors")]
pub(super) struct GradSetArguments {
    #[command(flatten)]
    pub of: GradItems,
    /// The file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What of the items' gradients
    #[arg(long, value_enum, default_value_t = SetName::Target)]
    pub kind: SetName,
    /// Of `--kind lowrank`: numbers of each matrix's singular values
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = projection)]
    pub rank: usize,
    /// Element type of the file
    #[arg(long, value_enum, default_value_t = PrecisionName::Bf16)]
    pub dtype: PrecisionName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SetName {
    /// The mean: what to go along
    Target,
    /// The mean: what to protect
    Retain,
    /// The mean of the squares
    Fisher,
    /// The mean, each matrix by its largest singular values
    Lowrank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrecisionName {
    Bf16,
    F32,
}

/// Numbers of one side of a projection.
fn projection(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1024).contains(&count) => Ok(count),
        _ => Err("expected a number from 1 to 1024".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScaleName {
    /// The root of N: inner products are kept on average
    Jl,
    /// The root of the length of a row: rows have length 1
    RowNorm,
}

impl From<ScaleName> for Scale {
    fn from(name: ScaleName) -> Self {
        match name {
            ScaleName::Jl => Self::Jl,
            ScaleName::RowNorm => Self::RowNorm,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ElementName {
    F16,
    Bf16,
    F32,
}

impl From<ElementName> for Element {
    fn from(name: ElementName) -> Self {
        match name {
            ElementName::F16 => Self::F16,
            ElementName::Bf16 => Self::Bf16,
            ElementName::F32 => Self::F32,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Exact: every row of the store is multiplied with every query, in one sequential read. The score of a row and a query
is the inner product of their gradients: above zero, a step on the one lowers the loss of the other. STORE may also be
an index of Bergson's.

Examples:
  veval grad query grads/corpus --like grads/gsm8k --mean --k 100 --format csv
  veval grad query grads/corpus --like 0,7,20-25 --cosine")]
pub(super) struct GradQueryArguments {
    /// The store that is searched
    pub store: PathBuf,
    /// Rows of the store (0,7,20-25), or another store of the same checkpoint and projection
    #[arg(long, value_name = "ROWS|STORE", value_parser = like)]
    pub like: Like,
    /// One query, the mean of all, in place of one for each row
    #[arg(long)]
    pub mean: bool,
    /// How many rows for each query
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub k: usize,
    /// Divide by the lengths of both gradients: long documents have long ones
    #[arg(long)]
    pub cosine: bool,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = COST)]
    pub threads: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
bergson  gradients.bin, info.json, processor_config.yaml and empty normalizers and hessians: its load_gradients and
         Attributor open it
npy      grads.npy, row_id.npy, loss.npy, norm.npy, n_tokens.npy
trak     grads.mmap and what else TRAK's MmapSaver keeps of one model

The hashes of all shards are compared on the way.

Example:
  veval grad export grads/gsm8k --to bergson --out exported/gsm8k")]
pub(super) struct GradExportArguments {
    /// The store
    pub store: PathBuf,
    /// Whose files
    #[arg(long, value_enum)]
    pub to: ExportName,
    /// The folder to be written, which must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Where queries come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Like {
    Rows(Vec<RangeInclusive<u64>>),
    Store(PathBuf),
}

/// `0,7,20-25`, or a folder.
fn like(text: &str) -> Result<Like, String> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit() || ",-".contains(c)) {
        return Ok(Like::Store(text.into()));
    }
    let rows = text.split(',').map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if from <= to => Ok(from..=to),
            _ => Err(format!("expected rows such as 7 or 20-25, found {part:?}")),
        }
    });
    rows.collect::<Result<_, _>>().map(Like::Rows)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportName {
    Bergson,
    Npy,
    Trak,
}

impl From<ExportName> for ExportTo {
    fn from(name: ExportName) -> Self {
        match name {
            ExportName::Bergson => Self::Bergson,
            ExportName::Npy => Self::Npy,
            ExportName::Trak => Self::Trak,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RescoreArguments {
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
pub(super) struct ProtocolsArguments {
    /// A suite's folder of runs, `<out>/<suite>`
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// A suite's folder of runs, `<out>/<suite>`
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// What to list
    #[arg(value_enum)]
    pub what: Listed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Listed {
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
pub(super) struct ShowArguments {
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
pub(super) struct SchemaArguments {
    /// Of which file
    #[arg(value_enum, default_value_t = SchemaOf::Suite)]
    pub of: SchemaOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaOf {
    Suite,
    Task,
}
