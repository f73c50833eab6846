//! Exported samples hold what lm-evaluation-harness itself logged for the same files: documents by number, contexts,
//! continuations, targets, filters, metrics; and an export that is imported again has its scores to the last bit.
//! Answers are a stand-in's, since scores have their own tests.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use veval::ckpt::discover;
use veval::exchange::{Exported, LmEvalImport, Texts, export_lm_eval, import_lm_eval};
use veval::lm::{Fake, LanguageModel};
use veval::run::{RunOptions, Selection, Silent, encode, prepare, run_checkpoint};
use veval::store::MetricRow;
use veval::suite::{DefinitionFile, Suite, read_suite};
use veval::text::Tokenizer;

use crate::shared::shared_data;
use crate::support::{data_of, member, recorded, recordings, sha};

/// A suite of one recorded task.
fn suite(recorded: &str, shots: usize, limit: usize) -> Suite {
    let (file, subset) = match member(recorded) {
        Some((group, subset)) => (group, format!("subsets = [\"{subset}\"]\nsubset_groups = {{}}\n")),
        None => (recorded, String::new()),
    };
    let shots = if ["wikitext", "texts"].contains(&file) { String::new() } else { format!("shots = {shots}\n") };
    let text = format!(
        "schema = \"veval.suite/1\"\nname = \"x\"\n[[task]]\nuse = \"{file}\"\nprofile = \"lm-eval@0.4.13\"\nlimit = {limit}\n{shots}{subset}"
    );
    let file = DefinitionFile { path: "x.toml".into(), text };
    read_suite(&file, &mut |_| unreachable!()).unwrap_or_else(|e| panic!("{e}"))
}

fn exported(suite: &Suite, data: &Path, checkpoint: &Path, out: &Path) -> (Exported, Vec<MetricRow>) {
    let model = Fake::new(Tokenizer::open(checkpoint).unwrap(), 512, "It is #### 7.");
    let selection = Selection { data_dir: Some(data.to_path_buf()), ..Selection::default() };
    let prepared = prepare(suite, &selection, 2).unwrap_or_else(|e| panic!("{e}"));
    let encoded = encode(&prepared, model.tokenizer(), model.info().max_length, 2).unwrap_or_else(|e| panic!("{e}"));
    let run = RunOptions { again: true, ..RunOptions::new(out.join("runs"), 2) };
    let reference = discover(checkpoint).unwrap().remove(0);
    let outcomes = run_checkpoint(&prepared, &encoded, &model, (&reference, "c"), &run, &mut Silent)
        .unwrap_or_else(|e| panic!("{e}"));
    let texts = Texts { suite, data_dir: Some(data) };
    let exported = export_lm_eval(&outcomes.folder, &out.join("exported"), Some(&texts), 2);
    (exported.unwrap_or_else(|e| panic!("{e}")), outcomes.rows)
}

/// Whether every score comes back from the exported files as it was, though some under other names.
fn check_import(exported: &Exported, rows: &[MetricRow]) -> usize {
    let paths = vec![exported.results.parent().unwrap().to_path_buf()];
    let import = LmEvalImport { paths, suite: "back".into(), series: None, threads: 2 };
    let imported = import_lm_eval(&import).unwrap_or_else(|e| panic!("{e}"));
    let find = |row: &MetricRow, metric: &str| {
        let same = |other: &&MetricRow| {
            (&other.task, &other.filter, other.metric.as_str()) == (&row.task, &row.filter, metric)
        };
        imported.runs[0].rows.iter().find(same)
    };
    let mut compared = 0;
    for row in rows.iter().filter(|row| row.slice.is_empty()) {
        let renamed = match (row.task.as_str(), row.metric.as_str()) {
            ("truthfulqa_mc2", "mc2") => "acc",
            ("truthfulqa_mc2", "acc") => "veval_acc",
            (_, "bits_per_byte") => "choice_bits_per_byte",
            (_, same) => same,
        };
        let found = find(row, renamed).or_else(|| find(row, &row.metric));
        let found = found.unwrap_or_else(|| panic!("{row:?} did not come back"));
        let bits = |row: &MetricRow| (row.value.to_bits(), row.stderr.map(f64::to_bits), row.n, row.shots);
        assert_eq!(bits(found), bits(row), "{row:?}, {found:?}");
        compared += 1;
    }
    compared
}

fn compare(place: &str, line: &Value, row: &Value) {
    assert_eq!(line["doc_id"], row["doc_id"], "{place}");
    let arguments: Vec<&Value> = line["arguments"].as_object().unwrap().values().collect();
    let text = |request: &Value, part: &str| sha(request[part].as_str().unwrap());
    for (index, request) in arguments.iter().enumerate() {
        let wanted = row["prompt_sha"].get(index).unwrap_or(&row["prompt_sha"]);
        assert_eq!(text(request, "arg_0"), *wanted, "{place}: context {index}");
        if let Some(wanted) = row["cont_sha"].get(index) {
            assert_eq!(text(request, "arg_1"), *wanted, "{place}: continuation {index}");
        }
    }
    let continuations = row["cont_sha"].as_array().map_or(1, Vec::len);
    assert_eq!((arguments.len(), line["resps"].as_array().unwrap().len()), (continuations, continuations), "{place}");
    let first = row["prompt_sha"].get(0).unwrap_or(&row["prompt_sha"]).as_str().unwrap();
    assert!(line["prompt_hash"].as_str().unwrap().starts_with(first), "{place}");
    if let Some(gold) = row["gold"].as_u64().filter(|_| !place.starts_with("truthfulqa_mc2")) {
        assert_eq!(line["target"], gold.to_string(), "{place}");
    }
    for metric in row["metrics"].as_object().into_iter().flat_map(|metrics| metrics.keys()) {
        assert_eq!(line[metric].is_number(), row["metrics"][metric].is_number(), "{place}: {metric}");
    }
    if let Some(words) = row["words"].as_u64() {
        assert_eq!(
            (&line["word_perplexity"][1], &line["byte_perplexity"][1]),
            (&words.into(), &row["bytes"]),
            "{place}"
        );
    }
}

#[test]
fn exported_samples_have_the_peers_requests_and_targets() {
    let Some(shared) = shared_data() else { return };
    let checkpoint = shared.join("tiny-lm-stories260k-hf");
    let (mut tasks, mut items, mut scores) = (0, 0, 0);
    for (name, shots, path) in recordings("stories260k") {
        let rows = recorded(&path);
        let suite = suite(&name, shots, rows.len());
        let out = tempfile::tempdir().unwrap();
        let (exported, measured) = exported(&suite, &data_of(&name, &shared), &checkpoint, out.path());
        scores += check_import(&exported, &measured);
        let text = std::fs::read_to_string(&exported.samples[0]).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let filters: BTreeSet<&str> = lines.iter().map(|line| line["filter"].as_str().unwrap()).collect();
        if let Some(wanted) = rows[0]["filtered"].as_object() {
            assert_eq!(filters, wanted.keys().map(String::as_str).collect(), "{name}");
        }
        assert_eq!(lines.len(), rows.len() * filters.len(), "{name}");
        for (line, row) in lines.iter().zip(rows.iter().cycle()) {
            compare(&format!("{name}, {shots} shots, document {}", row["doc_id"]), line, row);
            items += 1;
        }
        tasks += 1;
    }
    assert!(tasks >= 57 && items >= 5200, "{tasks} recordings, {items} lines");
    assert!(scores >= 250, "{scores} scores");
    println!("{items} lines of {tasks} recordings have the peer's requests and targets; {scores} scores came back");
}
