//! A suite's table `[feedback]`: a run ends with what the trainer reads, and the page says what would change.

use serde_json::Value;

use crate::support::{Bench, Ran, root};

fn path(name: &str) -> String {
    root().join(name).to_string_lossy().into_owned()
}

/// Two tasks of the shipped lab, a few items of each, and what `more` says of feedback.
fn suite(bench: &Bench, more: &str) {
    let task = |name: &str| {
        let file = path(&format!("data/lab/tasks/{name}.toml"));
        format!("[[task]]\nfile = \"{file}\"\n")
    };
    let tasks = ["sums", "brackets"].map(task).concat();
    bench.write("suite.toml", format!("schema = \"veval.suite/1\"\nname = \"two\"\n{more}\n{tasks}"));
}

/// Few documents, few parameters.
fn table(stream: &str, more: &str) -> String {
    format!("[feedback]\nstream = \"{stream}\"\nitems = 10\nparams = \"last:1\"\nsample = 4\n{more}")
}

fn run(bench: &Bench, more: &[&str]) -> Ran {
    bench.veval(&[&["run", "suite.toml", &path("data/lab/midrun"), "--quiet"], more].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_run_ends_with_fresh_feedback_and_a_page_that_says_what_would_change() {
    let bench = Bench::new();
    bench.write("corpus.jsonl.gz", std::fs::read(root().join("data/lab/corpus.jsonl.gz")).unwrap());
    bench.write("mixture.json", std::fs::read(root().join("data/lab/go_on/mixture.json")).unwrap());
    suite(&bench, &table("corpus.jsonl.gz", "mixture = \"mixture.json\""));

    // A part of a run, or one that is told so, leaves none; the scores are the same.
    for less in [&["--limit", "3"][..], &["--task", "sums"], &["--no-feedback"]] {
        let ran = run(&bench, less);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!bench.path("runs/two/midrun/feedback").exists(), "{less:?}");
        assert!(!bench.read("runs/two/report.html").contains("What would change"));
    }
    let scores = bench.read("runs/two/midrun/samples.jsonl");
    let ran = run(&bench, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(bench.read("runs/two/midrun/samples.jsonl"), scores);
    let folder = "runs/two/midrun/feedback";
    let (fresh, page) = (bench.read(&format!("{folder}/feedback.json")), bench.read("runs/two/report.html"));
    let change = &json(&fresh)["change"];
    // The stage begins where the checkpoint is, and shares go from what they were to those of the next mixture.
    assert_eq!(
        (change["stage"].as_str(), change["start_tokens"].as_u64()),
        (Some("feedback@14032896"), Some(14_032_896))
    );
    let next = json(&bench.read(&format!("{folder}/next.json")));
    for (own, source) in change["sources"].as_array().unwrap().iter().zip(next["sources"].as_array().unwrap()) {
        assert_eq!((&own["source"], &own["share"]), (&source["name"], &source["q"]));
    }
    assert!(page.contains("What would change, and why"));
    for shown in ["sums", "brackets", "sealed items", "class=\"mark\"", "recall@"] {
        assert!(page.contains(shown), "{shown}");
    }
    // The same as the three verbs give by themselves.
    let by_hand: [&[&str]; 3] = [
        &[
            "feedback",
            "build",
            "suite.toml",
            &path("data/lab/midrun"),
            "--n",
            "10",
            "--params",
            "last:1",
            "--out",
            "fb",
        ],
        &[
            "feedback",
            "value",
            "fb",
            &path("data/lab/midrun"),
            "--stream",
            "corpus.jsonl.gz",
            "--sample",
            "4",
            "--out",
            "values",
        ],
        &[
            "feedback",
            "mix",
            "mixture.json",
            "--values",
            "values/values.jsonl",
            "--start-tokens",
            "14032896",
            "--stage",
            "feedback@14032896",
            "--out",
            "next.json",
        ],
    ];
    for arguments in by_hand {
        let ran = bench.veval(arguments);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    for (own, twin) in [
        ("values/values.jsonl", "values/values.jsonl"),
        ("values/report.json", "values/report.json"),
        ("next.json", "next.json"),
    ] {
        assert_eq!(bench.read(&format!("{folder}/{own}")), bench.read(twin), "{own}");
    }
    // What is there stays; what it was made of has changed: it is made again.
    let mark = bench.write(&format!("{folder}/mark"), "kept");
    assert_eq!(run(&bench, &[]).code, 0);
    assert!(mark.exists());
    let mut mixture = json(&bench.read("mixture.json"));
    mixture["total_tokens"] = (20_000_000).into();
    bench.write("mixture.json", mixture.to_string());
    assert_eq!(run(&bench, &[]).code, 0);
    assert!(!mark.exists() && bench.read(&format!("{folder}/feedback.json")) != fresh);
    // The page is written again from the files alone; values without a mixture move nothing.
    bench.write("runs/two/report.html", "");
    assert_eq!(bench.veval(&["report", "runs/two"]).code, 0);
    assert!(bench.read("runs/two/report.html").contains("What would change, and why"));
    suite(&bench, &table("corpus.jsonl.gz", "tasks = [\"sums\"]"));
    assert_eq!(run(&bench, &[]).code, 0);
    assert_eq!(json(&bench.read(&format!("{folder}/feedback.json")))["change"], Value::Null);
    assert!(!bench.path(&format!("{folder}/next.json")).exists());
    assert!(!bench.read("runs/two/report.html").contains("class=\"mark\""));
}

#[test]
fn a_table_that_cannot_be_met_is_refused_before_anything_is_scored() {
    let bench = Bench::new();
    bench.write("corpus.jsonl", "{\"source\": \"web\", \"id\": \"1\", \"text\": \"a b c\"}\n");
    bench.write("mixture.json", std::fs::read(root().join("data/lab/go_on/mixture.json")).unwrap());
    let cases = [
        ("[feedback]\nitems = 10", "`stream`"),
        ("[feedback]\nstream = \"corpus.jsonl\"\nitems = 1", "expected at least 2, found 1"),
        ("[feedback]\nstream = \"corpus.jsonl\"\nsample = 0", "expected at least 1, found 0"),
        (
            "[feedback]\nstream = \"corpus.jsonl\"\ntasks = [\"sum\"]",
            "expected tasks of the suite (sums, brackets), found \"sum\"",
        ),
        ("[feedback]\nstream = \"corpus.jsonl\"\nstrem = 1", "did you mean `stream`?"),
        ("[feedback]\nstream = \"corpus.jsonl\"\nparams = \"last:x\"", "such as last:2"),
        ("[feedback]\nstream = \"none.jsonl\"", "none.jsonl"),
        ("[feedback]\nstream = \"corpus.jsonl\"\nmixture = \"corpus.jsonl\"", "corpus.jsonl"),
        (
            "[feedback]\nstream = \"corpus.jsonl\"\nmixture = \"mixture.json\"\ntotal_tokens = 14032896",
            "expected a training run that goes on, found 14032896 tokens in all and 14032896 at midrun",
        ),
    ];
    for (table, message) in cases {
        suite(&bench, table);
        let ran = run(&bench, &[]);
        assert!(ran.code == 2 && ran.err.contains(message), "{table}: {}", ran.err);
        assert!(!bench.path("runs").exists(), "{table}");
    }
    // A mixture of other sources: scores, set and values are there, and every run says why there is no next mixture.
    suite(&bench, "[feedback]\nstream = \"corpus.jsonl\"\nmixture = \"mixture.json\"\nparams = \"last:1\"\nitems = 4");
    for _ in 0..2 {
        let ran = run(&bench, &[]);
        assert!(ran.code == 2 && ran.out.contains("sums"), "{} {}", ran.out, ran.err);
        assert!(ran.err.contains("expected a value for each source"), "{}", ran.err);
        assert!(bench.path("runs/two/midrun/feedback/values/report.json").exists());
        assert!(bench.read("runs/two/report.html").contains("There is no next mixture"));
    }
}

/// The lab's checkpoint in the middle of its run, to be changed.
fn copied(bench: &Bench) {
    for entry in std::fs::read_dir(root().join("data/lab/midrun")).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap().to_string_lossy().into_owned();
        if name != "moments.safetensors" {
            bench.write(&format!("latest/{name}"), std::fs::read(&from).unwrap());
        }
    }
}

#[test]
fn feedback_that_is_out_of_date_or_damaged_is_made_again_and_never_shown() {
    let bench = Bench::new();
    copied(&bench);
    bench.write("corpus.jsonl.gz", std::fs::read(root().join("data/lab/corpus.jsonl.gz")).unwrap());
    bench.write("mixture.json", std::fs::read(root().join("data/lab/go_on/mixture.json")).unwrap());
    suite(&bench, &table("corpus.jsonl.gz", "mixture = \"mixture.json\""));
    let run = |more: &[&str]| bench.veval(&[&["run", "suite.toml", "latest", "--quiet"], more].concat());
    let start = || json(&bench.read("runs/two/latest/feedback/feedback.json"))["change"]["start_tokens"].as_u64();
    let shown = || bench.read("runs/two/report.html").contains("What would change, and why");
    assert_eq!((run(&[]).code, start(), shown()), (0, Some(14_032_896), true));
    // The same weights, said to have seen fewer tokens.
    let state = bench.read("latest/trainer_state.json");
    bench.write("latest/trainer_state.json", state.replace("14032896", "7004160"));
    assert_eq!((run(&[]).code, start()), (0, Some(7_004_160)));
    // A checkpoint that does not say.
    std::fs::remove_file(bench.path("latest/trainer_state.json")).unwrap();
    let unknown = run(&[]);
    assert!(unknown.code == 2 && unknown.err.contains("set `start_tokens`"), "{}", unknown.err);
    suite(&bench, &table("corpus.jsonl.gz", "mixture = \"mixture.json\"\nstart_tokens = 12800000"));
    assert_eq!((run(&[]).code, start()), (0, Some(12_800_000)));
    // Damage: scores are printed, and it is made again.
    for file in ["feedback.json", "values/report.json", "set/manifest.json"] {
        let name = format!("runs/two/latest/feedback/{file}");
        let whole = bench.read(&name);
        bench.write(&name, &whole[..whole.len() / 2]);
        assert_eq!(bench.veval(&["report", "runs/two"]).code, 0, "{file}");
        assert!(!shown() && bench.read("runs/two/report.html").contains("cannot be read"), "{file}");
        let ran = run(&[]);
        assert!(ran.code == 0 && ran.out.contains("sums") && shown(), "{file}: {}", ran.err);
        assert_eq!(bench.read(&name), whole, "{file}");
    }
    // Other scores under the same name: what belongs to the old ones is not shown beside them.
    suite(&bench, &table("corpus.jsonl.gz", "mixture = \"mixture.json\"\nstart_tokens = 12800256"));
    assert_eq!((run(&["--no-feedback"]).code, shown()), (0, false));
    assert!(bench.read("runs/two/report.html").contains("that of another run"));
    let bos = run(&["--add-bos", "true"]);
    assert!(bos.code == 2 && bos.err.contains("expected no --add-bos"), "{}", bos.err);
}

/// A flag that changes what is scored makes another run of it.
#[test]
fn a_token_before_texts_is_part_of_a_runs_key() {
    let bench = Bench::new();
    suite(&bench, "");
    let key = |begins: &str| {
        let ran = run(&bench, &["--limit", "3", "--add-bos", begins]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        (json(&bench.read("runs/two/midrun/run.json"))["key"].clone(), bench.read("runs/two/midrun/samples.jsonl"))
    };
    let (with, without) = (key("true"), key("false"));
    assert!(with.0 != without.0 && with.1 != without.1);
    assert_eq!(key("true"), with);
}
