//! Results that go to lm-evaluation-harness's files and come back, tables, task files.

use crate::support::{Bench, Ran, example};

fn good(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.err);
}

/// task, filter, metric, and value with standard error, of every row without a slice.
fn scores(table: &str) -> Vec<(String, String, String, String, String)> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let head = reader.headers().unwrap().clone();
    let place = |name: &str| head.iter().position(|column| column == name).unwrap();
    let [task, slice, filter, metric, value, stderr] =
        ["task", "slice", "filter", "metric", "value", "stderr"].map(place);
    let mut rows: Vec<_> = reader
        .records()
        .map(Result::unwrap)
        .filter(|row| row[slice].is_empty())
        .map(|row| [task, filter, metric, value, stderr].map(|column| row[column].to_owned()))
        .map(|[task, filter, metric, value, stderr]| (task, filter, metric, value, stderr))
        .collect();
    rows.sort();
    rows
}

#[test]
fn exported_runs_come_back_as_they_were() {
    let bench = Bench::new();
    let suite = bench.suite("");
    let checkpoint = example(700);
    good(&bench.veval(&["run", suite.to_str().unwrap(), checkpoint.to_str().unwrap()]));
    let texts = ["--suite", suite.to_str().unwrap()];
    let exported = bench.veval(&[&["export", "lm-eval", "runs/mini/step700", "--out", "theirs"], &texts[..]].concat());
    good(&exported);
    assert!(exported.out.contains("/results_"), "{}", exported.out);
    let again = bench.veval(&["export", "lm-eval", "runs/mini/step700", "--out", "theirs"]);
    assert_eq!(again.code, 2, "files that are there are not written over: {}", again.out);

    let imported = bench.veval(&["import", "lm-eval", "theirs", "--suite", "back", "--format", "csv"]);
    good(&imported);
    let native = scores(&bench.read("runs/mini/step700/metrics.csv"));
    let back = scores(&imported.out);
    let named = |rows: &[(String, String, String, String, String)], metric: &str| -> Vec<_> {
        rows.iter().filter(|row| row.2 == metric).cloned().collect()
    };
    assert!(!named(&native, "acc").is_empty());
    for metric in ["acc", "acc_norm", "exact_match"] {
        assert_eq!(named(&native, metric), named(&back, metric), "{metric}");
    }
    let folder = std::fs::read_dir(bench.path("runs/back")).unwrap().map(|entry| entry.unwrap().path());
    let folder = folder.into_iter().find(|path| path.is_dir()).unwrap();
    let path = folder.to_str().unwrap();
    for refused in [vec!["rescore", path], vec!["export", "lm-eval", path, "--out", "more"]] {
        let refused = bench.veval(&refused);
        assert_eq!(refused.code, 2, "{}", refused.out);
        assert!(refused.err.contains("import"), "{}", refused.err);
    }
    good(&bench.veval(&["report", "runs/back"]));
}

#[test]
fn tables_become_runs_and_their_faults_are_told_together() {
    let bench = Bench::new();
    bench.write("scores.csv", "model,step,bench,acc,acc_stderr\nours,1000,arc,0.25,0.01\nours,2000,arc,0.5,0.02\n");
    let columns = ["series=model", "step=step", "task=bench", "value:acc=acc", "stderr:acc=acc_stderr"];
    let columns: Vec<&str> = columns.iter().flat_map(|column| ["--column", column]).collect();
    let imported =
        bench.veval(&[&["import", "csv", "scores.csv", "--suite", "table", "--format", "csv"], &columns[..]].concat());
    good(&imported);
    let rows = scores(&imported.out);
    assert_eq!(rows.len(), 2, "{}", imported.out);
    assert!(rows.iter().all(|row| row.0 == "arc" && row.2 == "acc"));
    assert!(bench.read("runs/table/report.html").contains("arc"));

    let wrong = bench.veval(&["import", "csv", "scores.csv", "--column", "task=bensh", "--column", "value:acc=ac"]);
    assert_eq!(wrong.code, 2);
    for part in ["bensh", "bench", "\"ac\""] {
        assert!(wrong.err.contains(part), "{part}: {}", wrong.err);
    }
}

#[test]
fn task_files_are_translated_or_refused_by_place() {
    let bench = Bench::new();
    let good_yaml = "task: colours\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: rows.jsonl\n\
        test_split: test\noutput_type: multiple_choice\ndoc_to_text: \"{{question}}\"\ndoc_to_choice: \"{{answers}}\"\n\
        doc_to_target: 0\nmetric_list:\n  - metric: acc\n";
    bench.write("colours.yaml", good_yaml);
    bench.write("rows.jsonl", "{\"question\": \"The sky is\", \"answers\": [\"blue\", \"loud\"]}\n");
    good(&bench.veval(&["import", "task", "colours.yaml", "--out", "colours.toml"]));
    let shown = bench.veval(&["show", "colours.toml", "--item", "0"]);
    good(&shown);
    assert!(shown.out.contains("The sky is") && shown.out.contains("blue"), "{}", shown.out);

    bench.write("python.yaml", format!("{good_yaml}process_docs: !function utils.change\n"));
    let refused = bench.veval(&["import", "task", "python.yaml"]);
    assert_eq!(refused.code, 2, "{}", refused.out);
    assert!(refused.err.contains("process_docs") && refused.err.contains("python.yaml"), "{}", refused.err);
}
