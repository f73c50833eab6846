//! Result files of lm-evaluation-harness of all ages.
//!
//! ```text
//! {"results": {task: {"acc": x, "acc_stderr": y}}, "versions", "config"}                       2021 to 2023
//! {"results": [..], "table_results": {key: {"task_name", "prompt_name", "em", "em_stderr"}}}   its prompts branch
//! {"table_results", "model_args"}                                                              a part of that
//! {"results": {task: {"acc,none": x, "acc_stderr,none": y}}, "groups", "n-shot", "configs"}    0.4
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::definition;
use super::identity::Identity;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::exchange::import::python_json::{number, parse};
use crate::store::DataFile;
use crate::util::{files, hash};

const MAX_BYTES: u64 = 256 << 20;

/// One result file.
#[derive(Debug)]
pub(super) struct Results {
    pub file: DataFile,
    pub path: PathBuf,
    pub identity: Identity,
    /// Under whose rules scores were made: `lm-eval@0.4.13`, or `lm-eval` where the file does not say.
    pub profile: String,
    pub scores: Vec<Score>,
    /// What the file says about each task: version, shots, definition.
    pub facts: BTreeMap<String, Facts>,
    pub model: ModelFacts,
    /// Rows of each task that were scored at most.
    pub limit: Option<usize>,
    pub seed: u64,
}

/// A number that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Score {
    pub task: String,
    /// `none` without one.
    pub filter: String,
    pub metric: String,
    pub value: f64,
    pub stderr: Option<f64>,
}

/// What is known about a task or group.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub version: String,
    pub shots: Option<usize>,
    /// Rows that were scored.
    pub items: Option<usize>,
    /// Rows of the data.
    pub rows: Option<usize>,
    /// Groups that it is in, the innermost first.
    pub groups: Vec<String>,
    /// The task's definition; null where the file has none.
    pub config: Value,
}

/// What is known about the model.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelFacts {
    pub backend: String,
    /// Revision on the hub.
    pub sha: String,
    pub parameters: usize,
    pub dtype: String,
    pub max_length: usize,
}

/// Keys of a task's scores that are numbers and no metrics.
const NO_METRICS: [&str; 3] = ["sample_len", "samples", "sample_count"];
const DEFAULT_SEED: u64 = 1234;

impl Results {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read_bounded(path, MAX_BYTES)?;
        let file = DataFile { path: path.to_string_lossy().into_owned(), fingerprint: hash::fingerprint(&bytes) };
        let text = String::from_utf8(bytes).map_err(|_| Error::bad("expected UTF-8").in_file(path))?;
        let found = parse(text.trim_start_matches('\u{feff}'))
            .map_err(|e| Error::bad(format!("expected JSON: {e}")).in_file(path))?;
        let mut problems = Vec::new();
        let results = Self::of(file, path, &found, &mut problems);
        Error::check(problems.into_iter().map(|problem: Diagnostic| problem.in_file(path)).collect())?;
        Ok(results)
    }

    fn of(file: DataFile, path: &Path, found: &Value, problems: &mut Vec<Diagnostic>) -> Self {
        let config = &found["config"];
        let mut facts = facts(found);
        let mut scores = scores(found, &mut facts, problems);
        for score in &mut scores {
            let names = definition::renamed(&found["configs"][&score.task]);
            if let Some(ours) = names.get(score.metric.as_str()) {
                (*ours).clone_into(&mut score.metric);
            }
        }
        let known = |key: &str| config[key].as_str().unwrap_or("").to_owned();
        Self {
            file,
            path: path.to_path_buf(),
            identity: Identity::of_results(found, path),
            profile: profile(found),
            scores,
            facts,
            model: ModelFacts {
                backend: known("model"),
                sha: known("model_sha"),
                parameters: count(&config["model_num_parameters"]).unwrap_or(0),
                dtype: known("model_dtype").trim_start_matches("torch.").to_owned(),
                max_length: count(&found["max_length"]).unwrap_or(0),
            },
            limit: count(&config["limit"]).filter(|limit| *limit > 0),
            seed: config["fewshot_seed"].as_u64().unwrap_or(DEFAULT_SEED),
        }
    }
}

/// Under whose rules the scores were made. An export of our own names its profile in every task.
fn profile(found: &Value) -> String {
    if found["veval"].is_object() {
        let tasks = found["configs"].as_object();
        let mut named = tasks.into_iter().flat_map(Map::values).map(|task| task["metadata"]["profile"].as_str());
        let first = named.next().flatten().unwrap_or("veval");
        return if named.all(|other| other == Some(first)) { first.to_owned() } else { "veval".to_owned() };
    }
    found["lm_eval_version"].as_str().map_or_else(|| "lm-eval".to_owned(), |version| format!("lm-eval@{version}"))
}

/// A whole number, also one that Python wrote as a float.
fn count(value: &Value) -> Option<usize> {
    let found = value.as_f64().filter(|x| *x >= 0.0 && x.fract() == 0.0 && *x <= 9e15)?;
    Some(found as usize)
}

fn facts(found: &Value) -> BTreeMap<String, Facts> {
    let mut facts: BTreeMap<String, Facts> = BTreeMap::new();
    let all = count(&found["config"]["num_fewshot"]);
    for table in ["results", "groups", "configs", "versions", "n-shot", "n-samples", "table_results"] {
        for name in found[table].as_object().into_iter().flat_map(Map::keys) {
            facts.entry(name.clone()).or_default();
        }
    }
    for (name, task) in &mut facts {
        let config = &found["configs"][name];
        task.version = match &found["versions"][name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        task.shots = count(&found["n-shot"][name]).or_else(|| count(&config["num_fewshot"])).or(all);
        task.items = count(&found["n-samples"][name]["effective"])
            .or_else(|| count(&found["results"][name]["sample_len"]))
            .or_else(|| count(&found["groups"][name]["sample_len"]));
        task.rows = count(&found["n-samples"][name]["original"]);
        task.config = config.clone();
    }
    put_into_groups(&mut facts, &found["group_subtasks"]);
    facts
}

/// Tells every task its groups, and every group the number of shots that all of its tasks share.
fn put_into_groups(facts: &mut BTreeMap<String, Facts>, members: &Value) {
    let mut parents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (group, tasks) in members.as_object().into_iter().flatten() {
        for task in tasks.as_array().into_iter().flatten().filter_map(Value::as_str) {
            parents.entry(task).or_default().push(group);
        }
    }
    let mut shots: BTreeMap<String, Vec<Option<usize>>> = BTreeMap::new();
    for (name, task) in facts.iter_mut() {
        task.groups = ancestors(name, &parents);
        if members[name].as_array().is_none_or(Vec::is_empty) {
            task.groups.iter().for_each(|group| shots.entry(group.clone()).or_default().push(task.shots));
        }
    }
    for (group, of_tasks) in shots {
        if let Some(facts) = facts.get_mut(&group).filter(|facts| facts.shots.is_none()) {
            facts.shots = of_tasks[0].filter(|_| of_tasks.iter().all(|shots| *shots == of_tasks[0]));
        }
    }
}

/// All groups above a task, the nearest first. A group that holds itself is listed once.
fn ancestors(name: &str, parents: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut next = vec![name];
    while let Some(child) = next.pop() {
        for group in parents.get(child).into_iter().flatten() {
            if *group != name && !found.iter().any(|known| known == group) {
                found.push((*group).to_owned());
                next.push(group);
            }
        }
    }
    found
}

fn scores(found: &Value, facts: &mut BTreeMap<String, Facts>, problems: &mut Vec<Diagnostic>) -> Vec<Score> {
    let mut scores = Vec::new();
    match (&found["results"], &found["table_results"]) {
        (Value::Object(results), _) => {
            let groups = found["groups"].as_object();
            let extra = groups.into_iter().flatten().filter(|(name, _)| !results.contains_key(*name));
            for (task, values) in results.iter().chain(extra) {
                match values.as_object() {
                    Some(values) => scores.extend(of_task(task, values)),
                    None => problems.push(expected("an object of metrics", values).at(format!("results, task {task}"))),
                }
            }
        }
        (Value::Array(entries), _) => {
            for (index, entry) in entries.iter().enumerate() {
                of_prompt(entry, &format!("results, entry {index}"), facts, &mut scores, problems);
            }
        }
        (_, Value::Object(entries)) => {
            for (key, entry) in entries {
                of_prompt(entry, &format!("table_results, entry {key}"), facts, &mut scores, problems);
            }
        }
        _ => problems.push(
            Diagnostic::new("expected `results` or `table_results` with scores, found neither")
                .help("name result files of lm-evaluation-harness (`results_*.json`) and its `samples_*.jsonl`"),
        ),
    }
    if scores.is_empty() && problems.is_empty() {
        problems.push(Diagnostic::new("expected at least one score, found none"));
    }
    scores
}

/// Scores under keys such as `acc`, `acc,none` or `exact_match,strict-match`.
fn of_task(task: &str, values: &Map<String, Value>) -> Vec<Score> {
    let filtered = values.keys().any(|key| key.contains(','));
    let mut scores = Vec::new();
    for (key, value) in values {
        let (metric, filter) = match key.split_once(',') {
            Some(parts) => parts,
            None if filtered => continue,
            None => (key.as_str(), "none"),
        };
        let stderr_of = metric.strip_suffix("_stderr");
        let of_metric = |name: &str| if filtered { format!("{name},{filter}") } else { name.to_owned() };
        if NO_METRICS.contains(&metric) || stderr_of.is_some_and(|name| values.contains_key(&of_metric(name))) {
            continue;
        }
        let Some(value) = number(value) else { continue };
        let stderr = values.get(&of_metric(&format!("{metric}_stderr"))).and_then(number);
        scores.push(Score {
            task: task.to_owned(),
            filter: filter.to_owned(),
            metric: metric.to_owned(),
            value,
            stderr: stderr.filter(|stderr| !stderr.is_nan()),
        });
    }
    scores
}

/// Scores of a task under one prompt, which becomes a variant of the task: `wino_bias_type1_pro:refers_to`.
fn of_prompt(
    entry: &Value,
    place: &str,
    facts: &mut BTreeMap<String, Facts>,
    scores: &mut Vec<Score>,
    problems: &mut Vec<Diagnostic>,
) {
    let (Some(values), Some(task)) = (entry.as_object(), entry["task_name"].as_str()) else {
        problems.push(expected("an object with a `task_name`", entry).at(place));
        return;
    };
    let prompt = entry["prompt_name"].as_str().unwrap_or("");
    let key = format!("{task}+{prompt}");
    let name = if prompt.is_empty() { task.to_owned() } else { format!("{task}:{prompt}") };
    if let Some(known) = facts.get(&key).cloned() {
        facts.insert(name.clone(), known);
    }
    scores.extend(of_task(&name, values));
}

fn expected(what: &str, found: &Value) -> Diagnostic {
    let kind = match found {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "another object",
    };
    Diagnostic::new(format!("expected {what}, found {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(found: &Value) -> (Results, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        let file = DataFile { path: "r.json".into(), fingerprint: String::new() };
        (Results::of(file, Path::new("r.json"), found, &mut problems), problems)
    }

    fn shown(results: &Results) -> Vec<String> {
        let line = |s: &Score| format!("{} {} {} {} {:?}", s.task, s.metric, s.filter, s.value, s.stderr);
        results.scores.iter().map(line).collect()
    }

    #[test]
    fn old_keys_and_new_keys() {
        let old = json!({
            "results": {"lambada": {"ppl": "Infinity", "ppl_stderr": "NaN", "acc": 0.5, "acc_stderr": 0.25}},
            "versions": {"lambada": 0}, "config": {"num_fewshot": 5, "model_args": "pretrained=a/b"},
        });
        let (results, problems) = of(&old);
        assert!(problems.is_empty());
        assert_eq!(shown(&results), ["lambada ppl none inf None", "lambada acc none 0.5 Some(0.25)"]);
        let facts = &results.facts["lambada"];
        assert_eq!((facts.version.as_str(), facts.shots, facts.items), ("0", Some(5), None));
        assert_eq!(results.profile, "lm-eval");

        let new = json!({
            "results": {
                "g": {"alias": "g", "acc,none": 0.5, "acc_stderr,none": "N/A", "sample_len": 7},
                "a": {"alias": "1", "name": "a", "sample_len": 3, "f1,x": 1, "f1_stderr,x": 0, "f1,y": 0.0, "only_stderr,y": 2.0},
                "h": {" ": " ", "alias": "h"},
            },
            "groups": {"g": {"acc,none": 9.0}, "k": {"acc,none": 0.25}},
            "group_subtasks": {"g": ["h"], "h": ["a"], "a": [], "loop": ["loop", "g"]},
            "n-shot": {"a": 4}, "n-samples": {"a": {"original": 10, "effective": 3}},
            "versions": {"a": 1.0}, "configs": {"a": {"output_type": "generate_until"}},
            "lm_eval_version": "0.4.5",
        });
        let (results, problems) = of(&new);
        assert!(problems.is_empty());
        let lines = [
            "g acc none 0.5 None",
            "a f1 x 1 Some(0.0)",
            "a f1 y 0 None",
            "a only_stderr y 2 None",
            "k acc none 0.25 None",
        ];
        assert_eq!(shown(&results), lines);
        let facts = &results.facts["a"];
        assert_eq!((facts.version.as_str(), facts.shots, facts.items, facts.rows), ("1.0", Some(4), Some(3), Some(10)));
        assert_eq!(facts.groups, ["h", "g", "loop"]);
        assert_eq!((results.facts["g"].shots, results.facts["g"].items), (Some(4), Some(7)));
        assert_eq!(results.profile, "lm-eval@0.4.5");
    }

    /// What `veval export` writes beside the harness's keys.
    #[test]
    fn our_own_exports_keep_their_names() {
        let metrics =
            json!([{"metric": "acc", "veval": "mc2"}, {"metric": "veval_acc", "veval": "acc"}, {"metric": "mc1"}]);
        let found = json!({
            "results": {"t": {"acc,none": 0.5, "veval_acc,none": 0.25, "mc1,none": 0.125}},
            "configs": {"t": {"metric_list": metrics, "metadata": {"profile": "olmes"}}},
            "lm_eval_version": "0.4.13 (format)",
            "veval": {"series": "s", "checkpoint": "c"},
        });
        let (mut results, problems) = of(&found);
        assert!(problems.is_empty());
        assert_eq!(shown(&results), ["t mc2 none 0.5 None", "t acc none 0.25 None", "t mc1 none 0.125 None"]);
        assert_eq!((results.profile.as_str(), results.identity.series.as_str()), ("olmes", "s"));
        let mut two = found.clone();
        two["configs"]["u"] = json!({"metadata": {"profile": "veval-1"}});
        (results, _) = of(&two);
        assert_eq!(results.profile, "veval");
    }

    #[test]
    fn other_files_are_refused_with_what_is_wrong() {
        for (found, wanted) in [
            (json!({"a": 1}), "expected `results` or `table_results`"),
            (json!([1]), "expected `results`"),
            (json!({"results": {}}), "expected at least one score"),
            (json!({"results": {"t": 3}}), "results, task t: expected an object of metrics, found a number"),
            (json!({"results": [{"em": 1}]}), "results, entry 0: expected an object with a `task_name`"),
            (json!({"table_results": {"k": []}}), "table_results, entry k"),
        ] {
            let (_, problems) = of(&found);
            assert!(problems.iter().any(|p| p.to_string().contains(wanted)), "{found}: {problems:?}");
        }
    }
}
