//! Which checkpoint a file of lm-evaluation-harness is about.

use std::path::Path;

use serde_json::Value;

use crate::util::step_name::Progress;

/// A checkpoint, as far as a result file knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The training run.
    pub series: String,
    pub checkpoint: String,
    pub progress: Progress,
    /// What the model was called where it was evaluated: a path or a name on the hub, with its revision.
    pub model: String,
}

/// Arguments that name the model, in the harness's own order: an adapter or a delta comes with its base.
const MODEL_KEYS: [&str; 6] = ["peft", "delta", "pretrained", "model", "path", "engine"];
/// Where GPT-NeoX says which run was evaluated.
const NEOX_KEYS: [&str; 2] = ["load", "save"];
const DEFAULT_REVISION: &str = "main";

impl Identity {
    /// From the whole result file and its own name.
    pub fn of_results(results: &Value, file: &Path) -> Self {
        if let Some(own) = Self::of_own_export(results) {
            return own;
        }
        let config = &results["config"];
        let arguments = if config["model_args"].is_null() { &results["model_args"] } else { &config["model_args"] };
        let argument = |key: &str| argument(arguments, key);
        let of_file = Progress::from_name(&stem(file));
        let name = MODEL_KEYS.iter().find_map(|key| argument(key)).or_else(|| text(&results["model_name"]));
        if let Some(name) = name {
            let revision = argument("revision")
                .or_else(|| text(&config["model_revision"]))
                .filter(|revision| revision != DEFAULT_REVISION);
            return Self::of_model(&name, revision, of_file);
        }
        let iteration = arguments["iteration"].as_u64();
        let of_config = || arguments["config_files"].as_object()?.keys().next().map(|name| without_ending(name));
        let series = NEOX_KEYS.iter().find_map(|key| argument(key)).map(|path| last_part(&path).to_owned());
        let Some(series) = series.or_else(of_config) else { return Self::of_name(&stem(file)) };
        let progress = Progress { step: iteration, tokens: None }.or(of_file);
        let checkpoint = progress.step.map_or_else(|| series.clone(), |step| format!("step{step}"));
        Self { model: series.clone(), series, checkpoint, progress }
    }

    /// Files that this program exported repeat the record that they were made from.
    fn of_own_export(results: &Value) -> Option<Self> {
        let record = &results["veval"];
        let count = |key: &str| record[key].as_u64();
        let model = text(&results["model_name"]).unwrap_or_default();
        Some(Self {
            series: text(&record["series"])?,
            checkpoint: text(&record["checkpoint"])?,
            progress: Progress { step: count("step"), tokens: count("tokens") },
            model,
        })
    }

    /// From the folder that the harness makes for a model: its name with `__` for what no path may have.
    pub fn of_folder(folder: &Path) -> Self {
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Self::of_model(&name.replace("__", "/"), None, Progress::default())
    }

    fn of_model(name: &str, revision: Option<String>, of_file: Progress) -> Self {
        let base = last_part(name);
        let Some(revision) = revision else {
            let own = Self::of_name(base);
            let run = name.trim_end_matches('/').rsplit('/').nth(1).filter(|run| !run.is_empty() && *run != ".");
            // A folder that is called by its step alone stands in the folder of its run.
            let series = match run {
                Some(run) if Progress::name_before(base).is_empty() => run.to_owned(),
                _ => own.series,
            };
            // Where the file alone knows the step, the model's name stands for all checkpoints.
            let checkpoint = match (own.progress, of_file.step) {
                (Progress { step: None, tokens: None }, Some(step)) => format!("step{step}"),
                _ => own.checkpoint,
            };
            return Self { series, checkpoint, progress: own.progress.or(of_file), model: name.to_owned() };
        };
        Self {
            series: base.to_owned(),
            progress: Progress::from_name(&revision).or(of_file),
            model: format!("{name}@{revision}"),
            checkpoint: revision,
        }
    }

    /// `pythia-160m-step3000` is a checkpoint of `pythia-160m`.
    fn of_name(name: &str) -> Self {
        let before = Progress::name_before(name);
        let series = if before.is_empty() { name } else { before };
        Self {
            series: series.to_owned(),
            checkpoint: name.to_owned(),
            progress: Progress::from_name(name),
            model: name.to_owned(),
        }
    }
}

/// `key=value` of a text, or the value of a table.
fn argument(arguments: &Value, key: &str) -> Option<String> {
    let Some(list) = arguments.as_str() else { return text(&arguments[key]) };
    let value = list.split(',').find_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == key));
    value.map(|(_, value)| value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn last_part(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn without_ending(name: &str) -> String {
    let ending = [".yml", ".yaml", ".json"].iter().find_map(|ending| name.strip_suffix(ending));
    ending.unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(results: &Value, file: &str) -> (String, String, Option<u64>, Option<u64>) {
        let Identity { series, checkpoint, progress, .. } = Identity::of_results(results, Path::new(file));
        (series, checkpoint, progress.step, progress.tokens)
    }

    fn of_arguments(arguments: &str) -> (String, String, Option<u64>, Option<u64>) {
        identity(&json!({"config": {"model_args": arguments}}), "results.json")
    }

    fn expected(
        series: &str,
        checkpoint: &str,
        step: Option<u64>,
        tokens: Option<u64>,
    ) -> (String, String, Option<u64>, Option<u64>) {
        (series.to_owned(), checkpoint.to_owned(), step, tokens)
    }

    #[test]
    fn arguments_name_checkpoints() {
        let cases = [
            (
                "use_accelerate=True,pretrained=EleutherAI/pythia-160m,revision=step3000",
                expected("pythia-160m", "step3000", Some(3000), None),
            ),
            ("pretrained=facebook/opt-125m", expected("opt-125m", "opt-125m", None, None)),
            ("pretrained=a/opt-125m,revision=main", expected("opt-125m", "opt-125m", None, None)),
            (
                "pretrained=allenai/OLMo-7B,revision=step1000-tokens4B",
                expected("OLMo-7B", "step1000-tokens4B", Some(1000), Some(4_000_000_000)),
            ),
            ("pretrained=/ckpts/run7/step_1000/", expected("run7", "step_1000", Some(1000), None)),
            ("pretrained=./step_1000", expected("step_1000", "step_1000", Some(1000), None)),
            ("pretrained=me/mine-step20", expected("mine", "mine-step20", Some(20), None)),
            (
                "pretrained=me/base,peft=me/adapter-checkpoint-5",
                expected("adapter", "adapter-checkpoint-5", Some(5), None),
            ),
        ];
        for (arguments, wanted) in cases {
            assert_eq!(of_arguments(arguments), wanted, "{arguments}");
        }
    }

    #[test]
    fn tables_and_file_names_name_checkpoints() {
        let table = json!({"config": {"model_args": {"pretrained": "me/mine"}, "model_revision": "iter_0000300"}});
        assert_eq!(identity(&table, "r.json"), expected("mine", "iter_0000300", Some(300), None));
        let neox = json!({"config": {"model_args": {"iteration": 93000, "load": "/fsx/ckpts/19M"}}});
        assert_eq!(identity(&neox, "r.json"), expected("19M", "step93000", Some(93_000), None));
        let bare = json!({"table_results": {}, "model_args": {"iteration": 7, "config_files": {"x.yml": null}}});
        assert_eq!(identity(&bare, "r.json"), expected("x", "step7", Some(7), None));
        assert_eq!(identity(&json!({}), "70m_step512.json"), expected("70m", "70m_step512", Some(512), None));
        let plain = json!({"config": {"model_args": "pretrained=70m"}});
        assert_eq!(identity(&plain, "a/70m_step512.json"), expected("70m", "step512", Some(512), None));
        let own = json!({"veval": {"series": "s", "checkpoint": "c9", "step": 3}, "model_name": "/x/step7"});
        assert_eq!(identity(&own, "step8.json"), expected("s", "c9", Some(3), None));
        let folder = Identity::of_folder(Path::new("out/EleutherAI__pythia-160m"));
        assert_eq!((folder.series.as_str(), folder.model.as_str()), ("pythia-160m", "EleutherAI/pythia-160m"));
    }
}
