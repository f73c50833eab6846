//! The recorded fixtures.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use veval::suite::Task;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Rows of a recorded `.jsonl.gz`.
pub fn recorded(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The shipped task of several parts that a recorded name is one of, and which.
pub fn member(recorded: &str) -> Option<(&'static str, &str)> {
    let of = |group: &'static str| Some((group, recorded.strip_prefix(group)?.strip_prefix('_')?));
    ["mmlu_continuation", "mmlu", "blimp"].into_iter().find_map(of)
}

/// Where the rows of a recording are: with the shared data, or, where no public ones are at hand, invented ones.
pub fn data_of(recorded: &str, shared: &Path) -> PathBuf {
    let invented = ["openbookqa_fact", "race", "texts"].contains(&recorded);
    if invented { fixtures().join("invented") } else { shared.to_path_buf() }
}

/// The shipped task behind a recorded name, with this many shots and items.
pub fn task(recorded: &str, shots: usize, limit: usize) -> Task {
    let (file, subset) = match member(recorded) {
        Some((group, subset)) => (group, format!("subsets = [\"{subset}\"]\nsubset_groups = {{}}\n")),
        None => (recorded, String::new()),
    };
    let text = format!(
        "schema = \"veval.suite/1\"\nname = \"x\"\n[[task]]\nuse = \"{file}\"\nprofile = \"lm-eval@0.4.13\"\nshots = {shots}\nlimit = {limit}\n{subset}"
    );
    let file = veval::suite::DefinitionFile { path: "x.toml".into(), text };
    let suite = veval::suite::read_suite(&file, &mut |_| unreachable!()).unwrap_or_else(|e| panic!("{e}"));
    suite.tasks.into_iter().next().unwrap()
}

/// Every recorded (checkpoint, task, shots).
pub fn recordings(checkpoint: &str) -> Vec<(String, usize, PathBuf)> {
    let folder = fixtures().join("lm_eval").join(checkpoint);
    let mut found: Vec<(String, usize, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix("shot.jsonl.gz")?.to_owned();
            let (task, shots) = name.rsplit_once('-')?;
            Some((task.to_owned(), shots.parse().ok()?, path))
        })
        .collect();
    found.sort();
    found
}

/// First 16 digits of SHA-256, as the recorder writes it.
pub fn sha(text: &str) -> String {
    veval::util::hash::sha256_hex(text.as_bytes())[..16].to_owned()
}
