//! `results_<time>.json`: scores, how they were made, and on what.

use std::collections::BTreeMap;

use super::configs::{config, version};
use super::python::{Python, float};
use super::rebuild::Rebuilt;
use super::scores::{Group, TaskScores};
use super::stamp::Stamp;
use crate::error::Result;
use crate::store::Manifest;
use crate::text::Tokenizer;
use crate::util::hash;

/// The release whose format this is.
const FORMAT: &str = "0.4.13";
/// Draws of the bootstrap, of this program as well.
const BOOTSTRAP_DRAWS: i128 = 100_000;
/// Dumps of results are indented there.
const INDENT: usize = 2;

/// Everything that the file is made of.
pub(super) struct Results<'a> {
    pub manifest: &'a Manifest,
    pub model: Model<'a>,
    pub tasks: &'a [TaskScores<'a>],
    pub groups: &'a [Group<'a>],
    pub rebuilt: Option<&'a [Rebuilt]>,
    /// Where a chat template made the prompts.
    pub tokenizer: Option<&'a Tokenizer>,
    /// By task, over the hashes of its samples.
    pub hashes: &'a [String],
}

/// What the model is called.
pub(super) struct Model<'a> {
    pub name: &'a str,
    /// As a folder.
    pub folder: &'a str,
}

impl Results<'_> {
    pub fn json(&self) -> Result<String> {
        let mut all = self.scores();
        all.push(("config", self.run_config()));
        all.extend(self.environment()?);
        all.push(("task_hashes", Python::dict(self.names().zip(self.hashes.iter().map(Python::from)))));
        all.extend(self.identity());
        all.push(("veval", self.provenance()));
        Ok(Python::dict(all).json(Some(INDENT)))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|task| task.name)
    }

    fn rebuilt(&self, index: usize) -> Option<&Rebuilt> {
        self.rebuilt.map(|all| &all[index])
    }

    /// Tables by task and group.
    fn scores(&self) -> Vec<(&'static str, Python)> {
        let (tasks, groups) = (self.tasks, self.groups);
        let task = |task: &TaskScores<'_>| (task.name.to_owned(), task.entry());
        let group = |group: &Group<'_>| (group.name.to_owned(), group.entry());
        let scored: Vec<_> = groups.iter().filter(|group| group.has_scores()).map(group).collect();
        let children = groups.iter().map(|group| (group.name, Python::list(group.children.iter().copied())));
        let configs = tasks.iter().enumerate().map(|(index, task)| (task.name, config(task, self.rebuilt(index))));
        let versions = tasks.iter().map(|task| (task.name, version(&task.record.version)));
        let shots = tasks.iter().map(|task| (task.name, Python::count(task.record.shots)));
        let group_shots = groups.iter().filter_map(|group| Some((group.name, Python::count(group.shots()?))));
        let better = tasks.iter().map(|task| (task.name, flags(task.higher_is_better())));
        let group_better = groups.iter().map(|group| (group.name, flags(group.higher_is_better())));
        let counts = tasks.iter().enumerate().map(|(index, task)| {
            let all = self.rebuilt(index).map(|rebuilt| rebuilt.rows).or(task.record.rows);
            let all = all.or_else(|| task.record.limit.is_none().then_some(task.record.items));
            let entry = [("original", all.into()), ("effective", Python::count(task.record.items))];
            (task.name, Python::dict(entry))
        });
        let mut all = vec![("results", Python::Dict(tasks.iter().map(task).chain(groups.iter().map(group)).collect()))];
        if !scored.is_empty() {
            all.push(("groups", Python::Dict(scored)));
        }
        all.extend([
            ("group_subtasks", Python::dict(children)),
            ("configs", sorted(configs)),
            ("versions", sorted(versions.chain(groups.iter().map(|group| (group.name, "N/A".into()))))),
            ("n-shot", sorted(shots.chain(group_shots))),
            ("higher_is_better", sorted(better.chain(group_better))),
            ("n-samples", Python::dict(counts)),
        ]);
        all
    }

    /// What was run, with settings of the harness that have no counterpart as it has them when they are not set.
    fn run_config(&self) -> Python {
        let model = &self.manifest.model;
        let device = model.numerics.split('/').next();
        Python::dict([
            ("model", "veval".into()),
            ("model_args", Python::dict([("pretrained", self.model.name.into())])),
            ("model_num_parameters", Python::count(model.parameters)),
            // Weights are widened as they are read; everything is computed in f32.
            ("model_dtype", "torch.float32".into()),
            ("model_revision", Python::None),
            ("model_sha", "".into()),
            ("batch_size", Python::None),
            ("batch_sizes", Python::List(Vec::new())),
            ("device", device.into()),
            ("use_cache", Python::None),
            ("limit", self.common(|task| task.record.limit).flatten().into()),
            ("bootstrap_iters", Python::Int(BOOTSTRAP_DRAWS)),
            ("gen_kwargs", Python::None),
            ("random_seed", Python::None),
            ("numpy_seed", Python::None),
            ("torch_seed", Python::None),
            (
                "fewshot_seed",
                self.common(|task| task.record.seed).map_or(Python::None, |seed| Python::Int(seed.into())),
            ),
        ])
    }

    /// A value that all tasks share.
    fn common<T: PartialEq>(&self, value: impl Fn(&TaskScores<'_>) -> T) -> Option<T> {
        let first = value(self.tasks.first()?);
        self.tasks.iter().all(|task| value(task) == first).then_some(first)
    }

    fn environment(&self) -> Result<Vec<(&'static str, Python)>> {
        let Manifest { veval, model, threads, started, .. } = self.manifest;
        let about = format!("veval {veval}, arithmetic {}, {threads} threads", model.numerics);
        let mut all = vec![
            ("git_hash", Python::None),
            ("date", Python::Float(Stamp::parse(started)?.unix_seconds() as f64)),
            ("pretty_env_info", about.into()),
            ("transformers_version", "N/A".into()),
            ("lm_eval_version", format!("{FORMAT} (format; written by veval {veval})").into()),
            ("upper_git_hash", Python::None),
        ];
        if let Some(end) = model.ends.first() {
            all.push(("eot_token_id", Python::Int((*end).into())));
        }
        all.push(("max_length", Python::count(model.max_length)));
        Ok(all)
    }

    fn identity(&self) -> Vec<(&'static str, Python)> {
        let sha = |text: Option<&str>| text.map_or(Python::None, |text| hash::sha256_hex(text.as_bytes()).into());
        let mut systems = self.rebuilt.unwrap_or_default().iter().map(|rebuilt| rebuilt.task.system.as_str());
        let system = systems.next().filter(|system| !system.is_empty() && systems.all(|other| other == *system));
        let template = self.tokenizer.and_then(Tokenizer::chat).map(crate::text::ChatTemplate::source);
        let seconds = self.manifest.model_seconds.map_or(Python::None, |seconds| float(seconds).into());
        vec![
            ("model_source", "veval".into()),
            ("model_name", self.model.name.into()),
            ("model_name_sanitized", self.model.folder.into()),
            ("system_instruction", system.into()),
            ("system_instruction_sha", sha(system)),
            ("fewshot_as_multiturn", template.map_or(Python::None, |_| Python::Bool(true))),
            ("chat_template", template.into()),
            ("chat_template_sha", sha(template)),
            ("total_evaluation_time_seconds", seconds),
        ]
    }

    /// What the harness has no place for. Its readers pass over keys that they do not know.
    fn provenance(&self) -> Python {
        let run = self.manifest;
        let count = |count: Option<u64>| count.map_or(Python::None, |count| Python::Int(count.into()));
        Python::dict([
            ("version", run.veval.as_str().into()),
            ("key", run.key.as_str().into()),
            ("suite", run.suite.as_str().into()),
            ("suite_fingerprint", run.suite_fingerprint.as_str().into()),
            ("series", run.series.as_str().into()),
            ("checkpoint", run.checkpoint.as_str().into()),
            ("step", count(run.step)),
            ("tokens", count(run.tokens)),
            ("model", run.model.fingerprint.as_str().into()),
            ("family", run.model.family.as_str().into()),
            ("stored_dtypes", Python::list(&run.model.dtypes)),
            ("numerics", run.model.numerics.as_str().into()),
            ("tokenizer", run.tokenizer.as_str().into()),
            ("documents", Python::Bool(self.rebuilt.is_some())),
        ])
    }
}

fn flags(flags: BTreeMap<&str, Option<bool>>) -> Python {
    Python::dict(flags.into_iter().map(|(name, better)| (name, better.map_or(Python::None, Python::Bool))))
}

fn sorted<'a>(entries: impl Iterator<Item = (&'a str, Python)>) -> Python {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|(name, _)| *name);
    Python::dict(entries)
}
