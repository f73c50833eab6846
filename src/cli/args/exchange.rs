//! `import` and `export`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;
use crate::exchange::{Column, Constant};

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArguments {
    #[command(subcommand)]
    pub what: Imports,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Imports {
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
pub(in crate::cli) struct ImportLmEvalArguments {
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
pub(in crate::cli) struct ImportCsvArguments {
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
pub(in crate::cli) struct ImportTo {
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
pub(in crate::cli) struct ImportTaskArguments {
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
pub(in crate::cli) struct ExportArguments {
    #[command(subcommand)]
    pub what: Exports,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Exports {
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
pub(in crate::cli) struct ExportLmEvalArguments {
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
