//! `veval import lm-eval`: what lm-evaluation-harness wrote from 2021 to 0.4.13.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use veval::exchange::{Imported, ImportedRun, LmEvalImport, import_lm_eval};
use veval::metric::Outcome;
use veval::store::{MetricRow, Status, read_metrics};

use crate::shared::shared_data;

pub(crate) fn lm_eval(paths: &[PathBuf]) -> veval::Result<Imported> {
    import_lm_eval(&LmEvalImport { paths: paths.to_vec(), suite: "old".into(), series: None, threads: 2 })
}

pub(crate) fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exchange/lm_eval_0.4.13")
}

pub(crate) fn row<'a>(run: &'a ImportedRun, task: &str, metric: &str) -> &'a MetricRow {
    let mut rows = run.rows.iter().filter(|row| row.task == task && row.metric == metric);
    rows.next().unwrap_or_else(|| panic!("{task} {metric}"))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

/// A result file with planted numbers.
fn results(model: &str, task: &str, value: f64) -> String {
    let results = serde_json::json!({
        "results": {task: {"acc": value, "acc_stderr": 0.125}},
        "versions": {task: 1},
        "config": {"model": "hf", "model_args": model, "num_fewshot": 0},
    });
    results.to_string()
}

/// Every number of the eleven files, counted without the importer: numbers under the names of metrics.
#[test]
fn eleven_files_of_three_ages() {
    let Some(data) = shared_data() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("pythia-evals/raw"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 11);
    let mut wanted = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tables = if value["results"].is_null() { &value["table_results"] } else { &value["results"] };
        let entries: Vec<&serde_json::Value> = match tables {
            serde_json::Value::Array(list) => list.iter().collect(),
            serde_json::Value::Object(map) => map.values().collect(),
            other => panic!("{other}"),
        };
        let metrics = ["acc", "acc_norm", "ppl", "em", "pct_stereotype", "likelihood_difference"];
        wanted +=
            entries.iter().map(|entry| metrics.iter().filter(|name| entry[**name].is_number()).count()).sum::<usize>();
    }
    let imported = lm_eval(&files).unwrap();
    assert_eq!(imported.runs.iter().map(|run| run.rows.len()).sum::<usize>(), wanted);
    // 11 files, each of a checkpoint of its own.
    let shown: Vec<(String, Option<u64>)> =
        imported.runs.iter().map(|run| (run.folder_name(), run.manifest.step)).collect();
    let names = [
        ("1.4b-deduped-long__step114000", Some(114_000)),
        ("1.4b_deduped__step3000", Some(3000)),
        ("19M__step93000", Some(93_000)),
        ("bloom-560m", None),
        ("intervention-pythia-v1.1-1.4b-deduped-long__step134000", Some(134_000)),
        ("opt-125m", None),
        ("pythia-v1.1-12b__step143000", Some(143_000)),
        ("pythia-v1.1-160m-deduped__step143000", Some(143_000)),
        ("pythia-v1.1-70m__step0", Some(0)),
        ("pythia-v1.1-70m__step512", Some(512)),
        ("pythia-v1.1-70m__step143000", Some(143_000)),
    ];
    let names: Vec<(String, Option<u64>)> = names.map(|(name, step)| (name.to_owned(), step)).to_vec();
    assert_eq!(shown, names);
    // The check value of the data's own notes, and others read by eye.
    let twelve = &imported.runs[6];
    assert!((row(twelve, "lambada_openai", "acc").value - 0.704_638).abs() < 1e-6);
    assert_eq!((row(twelve, "lambada_openai", "acc").shots, row(twelve, "lambada_openai", "acc").n), (Some(0), None));
    assert_eq!(row(&imported.runs[7], "winogrande", "acc").shots, Some(5));
    assert_eq!(row(&imported.runs[7], "winogrande", "acc").stderr, Some(0.014_047_718_393_997_674));
    assert_eq!(row(&imported.runs[0], "wino_bias_type1_pro:refers_to", "em").value, 0.467_171_717_171_717_2);
    assert_eq!(row(&imported.runs[1], "wino_bias_type1_pro:refers_to", "em").shots, Some(0));
    assert!(row(&imported.runs[8], "lambada_openai", "ppl").value > 3.6e6);

    let out = tempfile::tempdir().unwrap();
    let folders = imported.write(out.path()).unwrap();
    for (folder, run) in folders.iter().zip(&imported.runs) {
        assert_eq!(read_metrics(&folder.metrics_path()).unwrap(), run.rows);
        let manifest = folder.manifest().unwrap().unwrap();
        assert_eq!((manifest.status, manifest.imported.len()), (Status::Complete, 1));
        assert!(manifest.imported[0].fingerprint.starts_with("blake3:"));
    }
    assert_eq!(veval::store::list_runs(&out.path().join("old")).unwrap().len(), 11);
}

/// Recorded with the harness's own command line (`tests/oracle/exchange_import.py`).
#[test]
fn results_and_samples_of_0_4_13() {
    let imported = lm_eval(&[recorded()]).unwrap();
    let [run] = &imported.runs[..] else { panic!("one checkpoint") };
    assert_eq!(run.folder_name(), "stories260k__step1000-tokens4B");
    assert_eq!((run.manifest.step, run.manifest.tokens), (Some(1000), Some(4_000_000_000)));
    assert_eq!((run.manifest.model.parameters, run.manifest.model.max_length), (260_032, 512));
    assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    assert_eq!(run.manifest.imported.len(), 8);
    // toy_write has two filters, one line each: 23 items in 26 lines and more.
    let counts = run.samples.iter().fold(BTreeMap::new(), |mut counts: BTreeMap<&str, usize>, sample| {
        *counts.entry(&sample.task).or_default() += 1;
        counts
    });
    let wanted = [
        ("toy_a", 4),
        ("toy_b", 3),
        ("toy_fill", 3),
        ("toy_last", 4),
        ("toy_pages", 3),
        ("toy_write", 3),
        ("toy_write_any", 3),
    ];
    assert_eq!(counts, BTreeMap::from(wanted));

    // The file's values to the bit, with what the items add.
    let group = row(run, "toy", "acc");
    assert_eq!(
        (group.value, group.stderr, group.n),
        (0.714_285_714_285_714_3, Some(0.201_186_954_040_739_14), Some(7))
    );
    let acc = row(run, "toy_a", "acc");
    assert_eq!((acc.value, acc.stderr, acc.n, acc.shots), (0.75, Some(0.25), Some(4), Some(0)));
    assert!(acc.ci_lo.unwrap() < 0.75 && acc.ci_hi.unwrap() > 0.75);
    assert_eq!(acc.profile, "lm-eval@0.4.13");
    assert_eq!((row(run, "toy_b", "acc").shots, row(run, "toy_b", "acc_norm").value), (Some(2), 1.0));
    assert_eq!(row(run, "toy_a", "acc_mutual_info").value, 0.75);
    assert_eq!(row(run, "toy_pages", "word_perplexity").value, 160.734_425_858_611_81);
    assert_eq!(row(run, "toy_pages", "word_perplexity").stderr, None);
    assert_eq!(row(run, "toy_last", "perplexity").stderr, Some(108.857_006_623_046_49));
    let exact: Vec<(&str, f64)> =
        run.rows.iter().filter(|row| row.task == "toy_write_any").map(|row| (row.filter.as_str(), row.value)).collect();
    assert_eq!(exact, [("first-word", 2.0 / 3.0), ("last-word", 0.0)]);

    // Metrics that the harness did not report, from its samples: by hand.
    let bits: f64 =
        run.samples.iter().filter(|sample| sample.task == "toy_b").map(|sample| sample.metrics["bits_per_byte"]).sum();
    assert!(near(row(run, "toy_b", "bits_per_byte").value, bits / 3.0));
    assert!(!run.rows.iter().any(|row| row.metric == "acc_per_token" || row.metric == "token_perplexity"));
    for record in &run.manifest.tasks {
        let known = matches!(record.name.as_str(), "toy_a" | "toy_b");
        assert_eq!(record.groups, if known { vec!["toy".to_owned()] } else { vec![] });
        assert!(!record.metrics.is_empty() && record.items == counts[record.name.as_str()], "{}", record.name);
    }
    let Outcome::Choices(item) = &run.samples.iter().find(|sample| sample.task == "toy_fill").unwrap().outcome else {
        panic!("choices")
    };
    assert_eq!(item.gold, [0]);

    let out = tempfile::tempdir().unwrap();
    let folder = &imported.write(out.path()).unwrap()[0];
    let manifest = folder.manifest().unwrap().unwrap();
    assert_eq!(folder.complete_samples(&manifest).unwrap(), run.samples);
    let rows = veval::run::score(&manifest, &run.samples, 2).unwrap();
    let mut compared = 0;
    for again in &rows {
        if let Some(row) = run
            .rows
            .iter()
            .find(|row| (&row.task, &row.metric, &row.filter) == (&again.task, &again.metric, &again.filter))
        {
            assert!(near(again.value, row.value), "{again:?}");
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared}");
    // A second import of the same files changes nothing; another run in the place is left alone.
    imported.write(out.path()).unwrap();
    let mut other = lm_eval(&[recorded()]).unwrap();
    other.runs[0].manifest.imported[0].path = "elsewhere".into();
    other.runs[0].manifest.key = "blake3:0".into();
    let error = other.write(out.path()).unwrap_err().to_string();
    assert!(error.contains("expected a free folder, found another run"), "{error}");
}

#[test]
fn results_alone_and_samples_alone() {
    let results: Vec<PathBuf> = files_of(&recorded(), "json");
    let alone = lm_eval(&results).unwrap();
    assert!(alone.runs[0].samples.is_empty());
    let acc = row(&alone.runs[0], "toy_a", "acc");
    assert_eq!((acc.value, acc.n, acc.ci_lo), (0.75, Some(4), None));
    assert!(alone.runs[0].manifest.tasks.iter().all(|record| record.items == 0 && record.metrics.is_empty()));

    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("me__mine-step20");
    std::fs::create_dir(&model).unwrap();
    for path in files_of(&recorded(), "jsonl") {
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let alone = lm_eval(&[folder.path().to_path_buf()]).unwrap();
    let run = &alone.runs[0];
    assert_eq!((run.manifest.series.as_str(), run.manifest.step), ("mine", Some(20)));
    assert_eq!((row(run, "toy_a", "acc").value, row(run, "toy_last", "acc").value), (0.75, 0.5));
    assert!(near(row(run, "toy_last", "perplexity").value, 15.028_820_685_317_475));
    // Filters are defined in the results, so the answers are not scored again, and that is said.
    assert!(!run.rows.iter().any(|row| row.task == "toy_write"));
    assert!(
        alone
            .notes
            .iter()
            .any(|note| note.contains("toy_write: not computed again") && note.contains("exact_match,first-word"))
    );
    let written = run.samples.iter().find(|sample| sample.task == "toy_write").unwrap();
    assert_eq!(written.metrics["exact_match,first-word"], 0.0);
}

/// Before 0.4.3: names of model and task, lists for tables, and neither filters nor hashes in the lines.
#[test]
fn early_files_give_the_same_scores() {
    let folder = tempfile::tempdir().unwrap();
    for path in files_of(&recorded(), "json") {
        std::fs::copy(&path, folder.path().join("results.json")).unwrap();
    }
    for path in files_of(&recorded(), "jsonl") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let task = name.strip_prefix("samples_").unwrap().rsplit_once('_').unwrap().0;
        let text = std::fs::read_to_string(&path).unwrap();
        let early = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let map = line.as_object_mut().unwrap();
            for key in ["filter", "metrics", "doc_hash", "prompt_hash", "target_hash"] {
                map.remove(key);
            }
            let asked = map["arguments"].as_object().unwrap().values();
            let asked = asked.map(|request| request.as_object().unwrap().values().cloned().collect()).collect();
            map.insert("arguments".into(), serde_json::Value::Array(asked));
            line.to_string() + "\n"
        };
        let text: String = text.lines().map(early).collect();
        std::fs::write(folder.path().join(format!("pretrained=WORK__x,dtype=float32_{task}.jsonl")), text).unwrap();
    }
    let (early, late) = (lm_eval(&[folder.path().to_path_buf()]).unwrap(), lm_eval(&[recorded()]).unwrap());
    assert_eq!(early.runs[0].rows, late.runs[0].rows);
    assert_eq!(early.runs[0].samples.len(), late.runs[0].samples.len());
    let hashes = |imported: &Imported| -> BTreeMap<(String, usize), String> {
        let samples = imported.runs[0].samples.iter();
        samples.map(|sample| ((sample.task.clone(), sample.row), sample.prompt_hash.clone())).collect()
    };
    // The hash of the first context, as the harness makes it.
    assert_eq!(hashes(&early), hashes(&late));
}

pub(crate) fn files_of(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

/// Files that do not belong together, and a task that scores by rules of its own.
#[test]
fn samples_are_held_against_results() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str, change: &dyn Fn(String) -> String| {
        let to = folder.path().join(name);
        std::fs::create_dir_all(&to).unwrap();
        for path in files_of(&recorded(), "json").into_iter().chain(files_of(&recorded(), "jsonl")) {
            let text = change(std::fs::read_to_string(&path).unwrap());
            std::fs::write(to.join(path.file_name().unwrap()), text).unwrap();
        }
        to
    };
    // The mean was changed behind the items' back.
    let other = copy("other", &|text| text.replacen("\"acc_norm,none\": 1.0", "\"acc_norm,none\": 0.5", 1));
    let error = lm_eval(&[other]).unwrap_err().to_string();
    assert!(error.contains("acc_norm of toy_b is 0.5 in the results and 1 by the samples"), "{error}");
    // An item was lost.
    let lost = copy("lost", &|text| {
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("They played\", \"arg_1\"")).collect();
        lines.join("\n") + "\n"
    });
    let error = lm_eval(&[lost]).unwrap_err().to_string();
    assert!(error.contains("expected 3 items of toy_b") && error.contains("found 2"), "{error}");
    // Every item's `acc` of toy_a is a number of the task's own: it stays what it is.
    let own =
        copy("own", &|text| text.replace("\"acc\": 0.0", "\"acc\": 0.125").replace("\"acc\": 1.0", "\"acc\": 0.875"));
    let imported = lm_eval(&[own]).unwrap();
    assert!(
        imported.notes.iter().any(|note| note == "toy_a: not computed again from the samples: acc"),
        "{:?}",
        imported.notes
    );
    let run = &imported.runs[0];
    let acc = row(run, "toy_a", "acc");
    assert_eq!((acc.value, acc.ci_lo, acc.n), (0.75, None, Some(4)));
    let values: Vec<f64> = run.samples.iter().filter(|s| s.task == "toy_a").map(|s| s.metrics["acc"]).collect();
    assert!(values.iter().all(|value| *value == 0.125 || *value == 0.875));
    // What is not trusted is not built upon.
    assert!(!run.rows.iter().any(|row| row.task == "toy_a" && row.metric == "brier_score"));
}

#[test]
fn problems_of_all_files_are_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = [
        write("a.json", "{\"results\": {\"t\": {\"acc\": NaN"),
        write("b.json", "{\"no\": 1}"),
        write("c.json", &"[".repeat(1_000_000)),
        write("d.json", "\u{0}\u{1}"),
        write("e.json", &results("pretrained=a/b", "t", 0.5)),
    ];
    let error = lm_eval(&files).unwrap_err();
    assert_eq!(error.diagnostics().len(), 4, "{error}");
    assert!(error.to_string().contains("recursion limit"), "{error}");
    // Bytes that are no text.
    std::fs::write(folder.path().join("f.json"), [0xff, 0xfe, 0x7b]).unwrap();
    assert!(lm_eval(&[folder.path().join("f.json")]).unwrap_err().to_string().contains("UTF-8"));

    // The same score from two files; another step under the same name.
    let twice = [
        write("x/1.json", &results("pretrained=a/b,revision=step5", "t", 0.5)),
        write("x/2.json", &results("pretrained=a/b,revision=step5", "t", 0.5)),
    ];
    let error = lm_eval(&twice).unwrap_err().to_string();
    assert!(error.contains("expected one score acc of t, found it in") && error.contains("x/1.json"), "{error}");
    let two = [
        write("y/1.json", &results("pretrained=a/b,revision=step5", "t", 0.5)),
        write("y/2.json", &results("pretrained=a/b,revision=step5", "u", 0.25)),
    ];
    assert_eq!(lm_eval(&two).unwrap().runs[0].rows.len(), 2);

    // Samples: broken lines, lines twice, a task that nobody knows.
    let line = |id: usize, filter: &str| {
        format!(
            "{{\"doc_id\": {id}, \"doc\": {{}}, \"target\": \"x\", \"filter\": \"{filter}\", \"metrics\": [\"acc\"], \"acc\": NaN, \
             \"arguments\": [[\"a\", \"b\"]], \"resps\": [[[\"-Infinity\", \"False\"]]], \"doc_hash\": \"é\"}}\n"
        )
    };
    let bad = [line(0, "none"), "{\n".into(), "7\n".into(), line(0, "none")].concat();
    let path = write("z/samples_t_2024-01-01T00-00-00.json.jsonl", &bad);
    let error = lm_eval(&[path]).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.diagnostics().len(), 3, "{text}");
    assert!(text.contains("line 2") && text.contains("line 3") && text.contains("found it in line 1 too"), "{text}");
    let good = [line(0, "none"), line(1, "none")].concat();
    let lone = write("w/samples_t_2024-01-01T00-00-00.0.jsonl", &good);
    let imported = lm_eval(&[lone]).unwrap();
    assert!(imported.runs[0].samples[0].metrics["acc"].is_nan());
    write("w/results_2024-01-01T00-00-00.0.json", &results("pretrained=a/b", "tt", 0.5));
    let error = lm_eval(&[folder.path().join("w")]).unwrap_err().to_string();
    assert!(error.contains("expected a task of") && error.contains("the results have `tt`"), "{error}");
    let mixed = [line(0, "none"), line(0, "b"), line(1, "none")].concat();
    let error = lm_eval(&[write("v/samples_t.jsonl", &mixed)]).unwrap_err().to_string();
    assert!(error.contains("expected item 1 under 2 filters, found 1"), "{error}");
    assert!(
        lm_eval(&[write("u/samples_t.jsonl", "\n\n")])
            .unwrap_err()
            .to_string()
            .contains("expected samples, found none")
    );
}

/// Whatever is done to a file's bytes, it is read or refused.
#[test]
fn damaged_files_never_panic() {
    let mut random = veval::util::python_random::PythonRandom::new(11);
    let folder = tempfile::tempdir().unwrap();
    let (mut read, mut refused) = (0, 0);
    let originals: Vec<PathBuf> =
        files_of(&recorded(), "json").into_iter().chain(files_of(&recorded(), "jsonl")).collect();
    for original in &originals {
        let bytes = std::fs::read(original).unwrap();
        let path = folder.path().join(original.file_name().unwrap());
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            let mut draw = |below: usize| (random.random() * below as f64) as usize;
            for _ in 0..=draw(3) {
                let (at, length) = (draw(damaged.len() - 1), 1 + draw(12));
                let end = (at + length).min(damaged.len());
                let junk = [&b"[]"[..], b"{}", b"null", b"-1e999", b"\"", b"NaN", b"9", b""][draw(8)];
                damaged.splice(at..end, junk.iter().copied());
            }
            std::fs::write(&path, &damaged).unwrap();
            match lm_eval(std::slice::from_ref(&path)) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
    assert!(read > 20 && refused > 20, "{read} read, {refused} refused");
}

/// Names that would leave their folder do not.
#[test]
fn hostile_names_stay_inside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    for model in [
        "pretrained=..",
        "pretrained=a/..",
        "pretrained=x,revision=../../../etc",
        "pretrained=/,revision=.hidden",
        "pretrained=a\\nb\u{1b}[2J",
    ] {
        std::fs::write(&path, results(model, "../t", 0.5)).unwrap();
        let imported = lm_eval(std::slice::from_ref(&path)).unwrap();
        let name = imported.runs[0].folder_name();
        assert!(!name.starts_with('.') && !name.contains(['/', '\u{1b}']) && !name.is_empty(), "{model}: {name:?}");
        let out = folder.path().join("out");
        let written = imported.write(&out).unwrap();
        assert_eq!(written[0].path().parent().unwrap(), out.join("old"));
    }
    std::fs::write(&path, results(&format!("pretrained={}", "x".repeat(300)), "t", 0.5)).unwrap();
    assert!(lm_eval(std::slice::from_ref(&path)).unwrap_err().to_string().contains("1 to 200 bytes"));
    for suite in ["", ".s", "a/b"] {
        let request = LmEvalImport { paths: vec![path.clone()], suite: suite.into(), series: None, threads: 1 };
        assert!(import_lm_eval(&request).is_err());
    }
}

/// Two checkpoints whose names differ in signs that a folder cannot have.
#[test]
fn folders_do_not_collide() {
    let folder = tempfile::tempdir().unwrap();
    for (name, model) in [("a.json", "pretrained=m,revision=x:y"), ("b.json", "pretrained=m,revision=x*y")] {
        std::fs::write(folder.path().join(name), results(model, "t", 0.5)).unwrap();
    }
    let error = lm_eval(&[folder.path().to_path_buf()]).unwrap_err().to_string();
    assert!(error.contains("expected checkpoints of different folders, found two for \"m__x_y\""), "{error}");
}
