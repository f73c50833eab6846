//! Folders of checkpoints.

use crate::support::{Bench, root};

#[test]
fn a_folder_is_a_series_in_the_order_of_steps() {
    let bench = Bench::new();
    let suite = bench.suite("");
    for (name, step) in [("iter_000300", 60), ("step1000", 700), ("checkpoint-2000", 2500), ("step999", 200)] {
        let folder = bench.checkpoint(&format!("series/{name}"), step);
        std::fs::remove_file(folder.join("trainer_state.json")).unwrap();
    }
    bench.write("series/notes/readme.txt", "no checkpoint");
    let ran = bench.veval(&["run", suite.to_str().unwrap(), "series", "--format", "csv"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let mut reader = csv::Reader::from_reader(ran.out.as_bytes());
    let mut seen: Vec<(String, String, String)> =
        reader.records().map(|r| r.unwrap()).map(|r| (r[1].into(), r[2].into(), r[3].into())).collect();
    seen.dedup();
    let wanted = [("iter_000300", "300"), ("step999", "999"), ("step1000", "1000"), ("checkpoint-2000", "2000")];
    assert_eq!(seen, wanted.map(|(name, step)| ("series".to_owned(), name.to_owned(), step.to_owned())));
    assert!(bench.path("runs/mini/series__step1000/run.json").exists());
    assert!(bench.read("runs/mini/report.html").contains("Over the series"));
    // The page can be made again from the folders.
    std::fs::remove_file(bench.path("runs/mini/report.html")).unwrap();
    assert_eq!(bench.veval(&["report", "runs/mini"]).code, 0);
    assert!(bench.read("runs/mini/report.html").contains("checkpoint-2000"));
    // Two of one name cannot share a folder.
    let twice = bench.veval(&["run", suite.to_str().unwrap(), "series", "series"]);
    assert!(twice.code == 2 && twice.err.contains("twice"), "{}", twice.err);
}

/// Planted truth and null: the trained end of the example knows what its beginning does not.
#[test]
fn the_example_learns_its_skills() {
    let bench = Bench::new();
    let suite = root().join("suites/example.toml");
    let series = root().join("data/example/ckpts");
    let ran = bench.veval(&["run", suite.to_str().unwrap(), series.to_str().unwrap(), "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
    let value = |step: u64, task: &str, metric: &str, slice: &str| {
        let row = rows
            .iter()
            .find(|row| row["step"] == step && row["task"] == task && row["metric"] == metric && row["slice"] == slice);
        row.unwrap_or_else(|| panic!("{step} {task} {metric} {slice}")).clone()
    };
    let number = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap();
    // Untrained: chance lies within the interval of four choices, and nothing is copied.
    let untrained = value(0, "facts", "acc", "");
    assert!(number(&untrained, "ci_lo") <= 0.25 && 0.25 <= number(&untrained, "ci_hi"), "{untrained}");
    assert_eq!(number(&value(0, "copies", "exact_match", ""), "value"), 0.0);
    // Trained: clearly above chance, and what was told often is known better than what was told seldom.
    let trained = value(2500, "facts", "acc", "");
    assert!(number(&trained, "ci_lo") > 0.3, "{trained}");
    let told = |slice: &str| number(&value(2500, "facts", "bits_per_byte", slice), "value");
    assert!(told("told=often") < told("told=seldom"));
    assert!(
        number(&value(2500, "told", "bits_per_byte", ""), "value")
            < 0.5 * number(&value(0, "told", "bits_per_byte", ""), "value")
    );
}
