//! `grad`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::feedback::share;
use super::{Cost, Format, Threads};
use crate::feedback::store::{Element, ExportTo};
use crate::feedback::{Parameters, ProjectionTarget, Scale, Signs};

#[derive(Debug, Args)]
pub(in crate::cli) struct GradArguments {
    #[command(subcommand)]
    pub what: Grads,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Grads {
    /// Project the gradient of every item's right answer into a store
    Collect(GradCollectArguments),
    /// Write the mean gradient of the items, whole, by parameter name
    Set(GradSetArguments),
    /// The rows of a store that are most like some gradients
    Query(GradQueryArguments),
    /// Sum up which directions the rows of a store share
    Autocorrelation(GradAutocorrelationArguments),
    /// Write a store again, with shared directions taken out of its rows
    Whiten(GradWhitenArguments),
    /// Write a store in the files of another tool
    Export(GradExportArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
The loss of an item is the negative log-likelihood of its right answer behind its context: the first right choice, the
target, the first written answer, the whole of a text. The gradient of each linear map is projected on both sides by
random signs that are Bergson's, to the bit; with --also embeddings a table of tokens counts as one, and the head; with
--also vectors gains and biases have N numbers each. With --project global a row has N numbers in all: each gradient as one
long vector, times a matrix of its own, summed over modules: every gradient is built, and multiplied N times. With
--per-token an item has a row for each of its tokens but the last; they add up to its row. A row does not depend on the
batch that it was computed in, so a store that was interrupted goes on where it stopped: run the same command again.

DIR/index.json says what the rows are, DIR/items.jsonl of which items, DIR/grads-*.safetensors holds them.

Examples:
  veval grad collect suites/core.toml ckpts/step1000 --data-dir data --task gsm8k --out grads/gsm8k
  veval grad collect corpus.jsonl.gz ckpts/step1000 --proj-dim 16 --out grads/corpus
  veval grad collect corpus.jsonl.gz ckpts/step1000 --moments ckpts/step1000/optimizer.pt --out grads/adam
  veval grad collect my.toml ckpts/step1000 --params 'last:2' --proj-dim 8 --out grads/last
  veval grad collect corpus.jsonl.gz ckpts/step1000 --also embeddings,vectors --per-token --limit 100 --out grads/tokens
  veval grad collect corpus.jsonl.gz ckpts/step1000 --project global --proj-dim 512 --out grads/global")]
pub(in crate::cli) struct GradCollectArguments {
    #[command(flatten)]
    pub of: GradItems,
    /// The store
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Numbers of each side: a linear map takes N x N; with --project global, numbers of a row [default: 16, global 512]
    #[arg(long, value_name = "N", value_parser = dim)]
    pub proj_dim: Option<usize>,
    /// What is projected: each module by itself, or all together
    #[arg(long, value_enum, default_value_t = ProjectName::PerModule)]
    pub project: ProjectName,
    /// Which wanted parameters have columns, besides linear maps inside the blocks
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    pub also: Vec<AlsoName>,
    /// A row for each token in place of one for each item
    #[arg(long)]
    pub per_token: bool,
    /// An optimizer's moments: a gradient is what it would make of it. `moments.safetensors`, or an `optimizer.pt` of
    /// Adam, AdamW or Adafactor
    #[arg(long, value_name = "FILE")]
    pub moments: Option<PathBuf>,
    /// What the random signs are divided by
    #[arg(long, value_enum, default_value_t = ScaleName::Jl)]
    pub scale: ScaleName,
    /// Whose random signs: only that Bergson can project queries of its own for the rows
    #[arg(long, value_enum, default_value_t = SignsName::Bergson1)]
    pub signs: SignsName,
    /// Element type of the store
    #[arg(long, value_enum, default_value_t = ElementName::F16)]
    pub dtype: ElementName,
}

/// Whose gradients, of what.
#[derive(Debug, Args)]
pub(in crate::cli) struct GradItems {
    /// A suite, or documents: JSON lines with source, id and text (.jsonl, .jsonl.gz)
    #[arg(value_name = "SUITE")]
    pub suite: PathBuf,
    /// A checkpoint: a folder, a GGUF file, base+adapter, or an address such as hf://model/owner/name@revision
    #[arg(value_name = "CKPT")]
    pub checkpoint: PathBuf,
    /// Whose gradients: all, last:N blocks, or names with *, separated by commas; projections are of linear maps inside
    /// blocks, if no others are asked for
    #[arg(long = "params", value_name = "WHICH", default_value = "all")]
    pub parameters: Parameters,
    /// The mean over an answer's tokens in place of their sum
    #[arg(long)]
    pub mean: bool,
    /// Folder with local copies of public data sets
    #[arg(long, env = "VEVAL_DATA", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Only this task, group or subset, or this source of documents (may be given several times)
    #[arg(long = "task", value_name = "NAME")]
    pub tasks: Vec<String>,
    /// Only the first N items of each task, or documents of each source
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub cost: Cost,
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
  veval grad set my.toml ckpts/step1000 --params last:2 --kind fisher --out fisher.safetensors
  veval grad set my.toml ckpts/step1000 --kind precond --moments ckpts/step1000/optimizer.pt --out step.safetensors")]
pub(in crate::cli) struct GradSetArguments {
    #[command(flatten)]
    pub of: GradItems,
    /// The file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What of the items' gradients
    #[arg(long, value_enum, default_value_t = SetName::Target)]
    pub kind: SetName,
    /// Of `--kind precond`: an optimizer's moments, `moments.safetensors` or an `optimizer.pt` of Adam, AdamW or Adafactor
    #[arg(long, value_name = "FILE", required_if_eq("kind", "precond"))]
    pub moments: Option<PathBuf>,
    /// Of `--kind lowrank`: numbers of each matrix's singular values
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = projection)]
    pub rank: usize,
    /// Element type of the file
    #[arg(long, value_enum, default_value_t = PrecisionName::Bf16)]
    pub dtype: PrecisionName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SetName {
    /// The mean: what to go along
    Target,
    /// The mean: what to protect
    Retain,
    /// The mean of the squares
    Fisher,
    /// The mean, each matrix by its largest singular values
    Lowrank,
    /// The mean as an optimizer scales it, by --moments
    Precond,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum PrecisionName {
    Bf16,
    F32,
}

/// Numbers of one side of a projection.
pub(super) fn projection(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1024).contains(&count) => Ok(count),
        _ => Err("expected a number from 1 to 1024".to_owned()),
    }
}

/// Numbers of a side, or of a row.
fn dim(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1 << 16).contains(&count) => Ok(count),
        _ => Err("expected a number from 1 to 65536".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProjectName {
    /// Each linear map on both sides, to N x N
    PerModule,
    /// All gradients together, to N
    Global,
}

impl From<ProjectName> for ProjectionTarget {
    fn from(name: ProjectName) -> Self {
        match name {
            ProjectName::PerModule => Self::PerModule,
            ProjectName::Global => Self::Global,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum AlsoName {
    /// Tables of tokens and positions, and the head
    Embeddings,
    /// Gains of norms, and biases
    Vectors,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
R of a module is the mean of x x^T over the rows' columns x of that module. The file holds sums and counts
(MODULE.gram, MODULE.count), so that `veval grad whiten` can damp them as it likes.

Example:
  veval grad autocorrelation grads/corpus --out corpus.precond.safetensors")]
pub(in crate::cli) struct GradAutocorrelationArguments {
    /// The store
    pub store: PathBuf,
    /// The file to be written, which must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Each module's columns are multiplied with R^-1/2, damped by a share of its mean eigenvalue. The inner product of two
whitened rows is x R^-1 y; of rows that were collected with --moments, `veval grad query --cosine` is TrackStar's score
(Chang et al. 2024). With --queries R is a mixture of both; without --share the share of the queries is TrackStar's, by
their spectra at the RANK-th eigenvalue. Whiten the queries' store by the same files. A store that was interrupted goes on
where it stopped.

Example:
  veval grad whiten grads/corpus --by corpus.precond.safetensors --queries gsm8k.precond.safetensors --out grads/corpus-white")]
pub(in crate::cli) struct GradWhitenArguments {
    /// The store
    pub store: PathBuf,
    /// Autocorrelation of the rows that are searched
    #[arg(long, value_name = "FILE")]
    pub by: PathBuf,
    /// Autocorrelation of the queries
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// Share of the queries' in R [default: TrackStar's]
    #[arg(long, value_name = "SHARE", requires = "queries", value_parser = share)]
    pub share: Option<f64>,
    /// Of TrackStar's share: which of all modules' eigenvalues
    #[arg(long, value_name = "RANK", default_value_t = 1000, requires = "queries", conflicts_with = "share")]
    pub rank: usize,
    /// Share of the mean eigenvalue that is added to each
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub damping: f64,
    /// The new store
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub threads: Threads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ScaleName {
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
pub(in crate::cli) enum SignsName {
    /// Of Bergson 0.x and 1.x (PCG64)
    Bergson1,
    /// Of Bergson 2.x (Philox)
    Bergson2,
}

impl From<SignsName> for Signs {
    fn from(name: SignsName) -> Self {
        match name {
            SignsName::Bergson1 => Self::Pcg64,
            SignsName::Bergson2 => Self::Philox,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ElementName {
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
pub(in crate::cli) struct GradQueryArguments {
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
    #[command(flatten)]
    pub threads: Threads,
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
pub(in crate::cli) struct GradExportArguments {
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
pub(in crate::cli) enum Like {
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
pub(in crate::cli) enum ExportName {
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
