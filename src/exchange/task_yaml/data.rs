//! Where the rows are: `dataset_path` and what goes with it, and which rows few-shot examples come from.

use std::path::Path;

use super::reader::Reader;
use super::toml_file::Toml;
use super::yaml::{Node, Value};

/// Names of `datasets` for files of a format, with the ending that such files have.
const BUILDERS: &[(&str, &str)] = &[("json", ".jsonl"), ("csv", ".csv"), ("parquet", ".parquet")];
/// Such names for what no reader here takes.
const OTHER_BUILDERS: &[&str] = &[
    "text",
    "arrow",
    "pandas",
    "xml",
    "sql",
    "spark",
    "generator",
    "imagefolder",
    "audiofolder",
    "videofolder",
    "webdataset",
];
/// Settings of `datasets` that change no row.
const SILENT_KWARGS: &[&str] = &[
    "data_files",
    "revision",
    "verification_mode",
    "streaming",
    "download_mode",
    "cache_dir",
    "num_proc",
    "keep_in_memory",
];

/// Puts `[data]` and all that decides which shots an item gets.
pub(super) fn put(reader: &mut Reader<'_>, has_shots: bool) {
    let split = |reader: &mut Reader<'_>, key: &str| reader.text(key).map(str::to_owned);
    let train = split(reader, "training_split");
    let validation = split(reader, "validation_split");
    let test = split(reader, "test_split");
    let Some(scored) = test.clone().or_else(|| validation.clone()) else {
        let message = "expected `test_split` or `validation_split`, which names the rows to score, found neither";
        reader.problems.push(reader.config.problem(message));
        return;
    };
    let shots = if has_shots { shots(reader, train, validation, test) } else { Pool::none() };
    let Some(path_at) = reader.config.get("dataset_path") else {
        reader.problems.push(reader.config.problem("expected the key `dataset_path`, found none"));
        return;
    };
    let Some(path) = reader.text("dataset_path").map(str::to_owned) else { return };
    let pool_split = shots.split.filter(|split| *split != scored);
    let builder = BUILDERS.iter().find(|(name, _)| *name == path);
    if let Some((_, ending)) = builder {
        files(reader, path_at, ending, &scored, pool_split.as_deref());
    } else if OTHER_BUILDERS.contains(&path.as_str()) {
        let message =
            format!("`dataset_path`: expected json, csv, parquet or the name of a public set, found {path:?}");
        reader.refuse(path_at, message, "write the rows into a .jsonl file");
    } else if Path::new(&path).is_absolute()
        || path.starts_with('.')
        || path.starts_with('~')
        || path.matches('/').count() > 1
    {
        let message = format!("`dataset_path`: expected the name of a public set, found the path {path:?}");
        let help = "take `dataset_path: json` and name the files in `dataset_kwargs`: `data_files: {test: rows.jsonl}`";
        reader.refuse(path_at, message, help);
    } else {
        hub(reader, &path, &scored, pool_split.as_deref());
    }
    kwargs(reader, builder.is_some_and(|(name, _)| *name == "csv"));
    let separate = shots.file.is_some() || pool_split.is_some();
    if let Some(file) = shots.file {
        reader.task.put_data("shots_file", Toml::Text(file));
    }
    if has_shots && shots.exclude == separate {
        reader.task.put("shots_may_repeat_item", Toml::Flag(!shots.exclude));
    }
}

fn hub(reader: &mut Reader<'_>, path: &str, scored: &str, pool: Option<&str>) {
    let kwargs = reader.config.get("dataset_kwargs");
    let revision = kwargs.and_then(|kwargs| kwargs.get("revision")).and_then(Node::text);
    if let Some(data_files) = kwargs.and_then(|kwargs| kwargs.get("data_files")) {
        let address = |name: &str| remote(name).unwrap_or_else(|| hub_address(path, revision, name));
        if let Some(file) = file_of(reader, data_files, scored) {
            reader.task.put_data("file", Toml::Text(address(&file)));
        }
        if let Some(file) = pool.and_then(|pool| file_of(reader, data_files, pool)) {
            reader.task.put_data("shots_file", Toml::Text(address(&file)));
        }
        return;
    }
    if let Some(at) = kwargs.and_then(|kwargs| kwargs.get("revision")) {
        let help = "fetch that revision, and name the files in a [data.local] table";
        reader.note(at, "`revision` is left out: a public set is named without one", help);
    }
    reader.task.put_data("hub", Toml::Text(path.to_owned()));
    if let Some(config) = reader.text("dataset_name") {
        let config = config.to_owned();
        reader.task.put_data("config", Toml::Text(config));
    }
    reader.task.put_data("split", Toml::Text(scored.to_owned()));
    if let Some(pool) = pool {
        reader.task.put_data("shots_split", Toml::Text(pool.to_owned()));
    }
    reader.task.put_data("verified", Toml::Flag(false));
}

/// Files of a format, named one for each split.
fn files(reader: &mut Reader<'_>, at: &Node, ending: &str, scored: &str, pool: Option<&str>) {
    let Some(data_files) = reader.config.get("dataset_kwargs").and_then(|kwargs| kwargs.get("data_files")) else {
        let help = "name the files: `dataset_kwargs: {data_files: {test: rows.jsonl}}`";
        reader.refuse(at, "expected `data_files` in `dataset_kwargs`, found none", help);
        return;
    };
    let put = |reader: &mut Reader<'_>, key: &'static str, split: &str| {
        let Some(name) = file_of(reader, data_files, split) else { return };
        let file = remote(&name).unwrap_or(name);
        if !file.starts_with("hf://") {
            let help = "the harness takes paths from where it is started, a task file from its own folder";
            reader.note(data_files, format!("`data_files`: check the path {file:?}"), help);
        }
        let known = [".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet"];
        let plain = file.strip_suffix(".gz").unwrap_or(&file);
        if !known.iter().any(|ending| plain.ends_with(ending)) {
            let message = format!("`data_files`: expected a file whose name ends in {ending}, found {file:?}");
            reader.refuse(data_files, message, "give it that name");
        } else if file.contains("://") && !file.starts_with("hf://") {
            reader.refuse(data_files, format!("`data_files`: expected a local file, found {file:?}"), "fetch it first");
        } else if Path::new(&file).is_absolute() || file.split('/').any(|part| part == "..") {
            let message = format!("`data_files`: expected a file below the task file's folder, found {file:?}");
            reader.refuse(data_files, message, "put the task file above the data, and name the data from there");
        }
        reader.task.put_data(key, Toml::Text(file));
    };
    put(reader, "file", scored);
    if let Some(pool) = pool {
        put(reader, "shots_file", pool);
    }
}

/// The one file of a split. Files without a split are those of `train`.
fn file_of(reader: &mut Reader<'_>, data_files: &Node, split: &str) -> Option<String> {
    let of_split = match &data_files.value {
        Value::Map(_) => data_files.get(split),
        _ => Some(data_files).filter(|_| split == "train"),
    };
    let Some(files) = of_split else {
        let message = format!("`data_files`: expected files of the split {split:?}, found none");
        reader.refuse(data_files, message, "name a file for that split");
        return None;
    };
    match files.items().as_slice() {
        [single] => reader_text(reader, single),
        several => {
            let message = format!("`data_files`: expected one file for a split, found {}", several.len());
            reader.refuse(files, message, "join them into one");
            None
        }
    }
}

fn reader_text(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = node.text().map(str::to_owned);
    if text.as_ref().is_none_or(|text| text.contains('*')) {
        let message = "`data_files`: expected the name of one file, found something else";
        reader.refuse(node, message, "name the file");
        return None;
    }
    text
}

/// `hf://datasets/owner/name[@revision]/path` or its web address, as an address of ours.
fn remote(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("hf://datasets/") {
        let (owner, rest) = rest.split_once('/')?;
        let (repository, path) = rest.split_once('/')?;
        let (repository, revision) = match repository.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (repository, None),
        };
        return Some(hub_address(&format!("{owner}/{repository}"), revision, path));
    }
    let rest = name.strip_prefix("https://huggingface.co/datasets/")?;
    let (owner, rest) = rest.split_once('/')?;
    let (repository, rest) = rest.split_once('/')?;
    let (revision, path) = rest.strip_prefix("resolve/").or_else(|| rest.strip_prefix("raw/"))?.split_once('/')?;
    Some(hub_address(&format!("{owner}/{repository}"), Some(revision), path.split('?').next()?))
}

fn hub_address(repository: &str, revision: Option<&str>, path: &str) -> String {
    let revision = revision.unwrap_or("main").replace('/', "%2F");
    format!("hf://dataset/{repository}@{revision}/{path}")
}

/// Says what of `dataset_kwargs` is not carried over.
fn kwargs(reader: &mut Reader<'_>, csv: bool) {
    let entries = reader.config.get("dataset_kwargs").map(Node::entries).unwrap_or_default();
    for entry in entries.iter().filter(|entry| !SILENT_KWARGS.contains(&entry.key.as_str())) {
        let help = match entry.key.as_str() {
            "trust_remote_code" => {
                "the set may be made by a program of its own, which is not run here: take its parquet files"
            }
            "header" | "column_names" | "names" => "rows are read with the names in the file's first line: give it one",
            "delimiter" | "sep" => "a file whose name ends in .tsv is cut at tabs, one that ends in .csv at commas",
            "field" => "take the list of rows out of the field",
            _ => "see that the rows are those that the harness reads",
        };
        let problem = entry.key_place.problem(format!("`dataset_kwargs`: `{}` is left out", entry.key));
        reader.notes.push(problem.help(help));
    }
    if let Some(at) = reader.config.get("dataset_path").filter(|_| csv) {
        let help = "write `|int` where a number is meant";
        reader.note(at, "`dataset_path`: the columns of a .csv file are texts here", help);
    }
}

/// Where shots come from.
struct Pool {
    split: Option<String>,
    /// A file of samples that stood in the task.
    file: Option<String>,
    /// Whether the item itself is kept out.
    exclude: bool,
}

impl Pool {
    fn none() -> Self {
        Self { split: None, file: None, exclude: false }
    }
}

/// Keys of `fewshot_config` that say what the task says already.
const SHOT_KEYS: &[&str] = &["sampler", "split", "samples"];

/// The harness's rule: the split that is named, samples, then training, validation, test; the item is kept out where the
/// named split is the test split, also where neither is named.
fn shots(reader: &mut Reader<'_>, train: Option<String>, validation: Option<String>, test: Option<String>) -> Pool {
    if let Some(count) = reader.count("num_fewshot").filter(|count| *count > 0) {
        reader.task.put("shots", Toml::Count(count));
    }
    let config = reader.config.get("fewshot_config").filter(|config| config.function().is_none());
    let named = match config.and_then(|config| config.get("split")) {
        Some(at) => reader.text_of(at, "split").map(str::to_owned),
        None => reader.text("fewshot_split").map(str::to_owned),
    };
    let exclude = named == test;
    if let Some(at) = config.and_then(|config| config.get("sampler")) {
        match at.text() {
            Some("first_n") => reader.task.put_text("shot_order", "first"),
            Some("default") => {}
            _ => reader.refuse(at, "`sampler`: expected default or first_n", "choose one of them"),
        }
    }
    for entry in config.map(Node::entries).unwrap_or_default() {
        let left = !SHOT_KEYS.contains(&entry.key.as_str()) && !matches!(entry.value.value, Value::Null);
        let same = reader.config.text(&entry.key).is_some_and(|own| Some(own) == entry.value.text());
        // The harness itself does not look at `fewshot_indices`.
        if left && !same && entry.key != "fewshot_indices" {
            let message = format!("`fewshot_config`: `{}` has no counterpart", entry.key);
            let help = "shots look like the items here, but for `shot_answer`: take the key out, or write the shots into `description`";
            reader.problems.push(entry.key_place.problem(message).help(help));
        }
    }
    let samples = config.and_then(|config| config.get("samples"));
    if let (None, Some(samples)) = (&named, samples) {
        return Pool { split: None, file: Some(write_samples(reader, samples)), exclude };
    }
    Pool { split: named.or(train).or(validation).or(test), file: None, exclude }
}

/// Samples that stand in the task become a file beside it, whose name is returned.
fn write_samples(reader: &mut Reader<'_>, samples: &Node) -> String {
    let mut lines = String::new();
    for sample in samples.items() {
        if let Some(json) = sample.json().filter(serde_json::Value::is_object) {
            lines.push_str(&format!("{json}\n"));
        } else {
            let message = format!("`samples`: expected mappings of plain values, found {}", sample.type_name());
            reader.refuse(sample, message, "write the samples as mappings from column to value");
        }
    }
    let task = reader.config.text("task").unwrap_or("task");
    let plain: String = task.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let name = format!("{plain}_shots.jsonl");
    let help = "a [data.local] table needs the file again, relative to --data-dir";
    reader.note(samples, format!("`samples` are written to {name}, which belongs beside the task file"), help);
    reader.files.push((name.clone(), lines));
    name
}
