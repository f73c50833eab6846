//! What a run leaves, and that its bytes depend on nothing that they should not.

use crate::shared::shared_data;
use crate::support::{Bench, Ran, edit_json, example, fixtures, root};

fn run(bench: &Bench, more: &[&str]) -> Ran {
    let suite = bench.suite("");
    let checkpoint = example(700);
    let ran = bench.veval(&[&["run", suite.to_str().unwrap(), checkpoint.to_str().unwrap()], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran
}

#[test]
fn a_run_is_a_folder() {
    let bench = Bench::new();
    let out = run(&bench, &[]).out;
    assert!(out.contains("towns") && out.contains("acc_norm") && out.contains("step700"), "{out}");
    let manifest: serde_json::Value = serde_json::from_str(&bench.read("runs/mini/step700/run.json")).unwrap();
    assert_eq!((manifest["schema"].as_str(), manifest["status"].as_str()), (Some("veval.run/1"), Some("complete")));
    assert_eq!((manifest["step"].as_u64(), manifest["model"]["family"].as_str()), (Some(700), Some("llama")));
    let samples = bench.read("runs/mini/step700/samples.jsonl");
    assert_eq!(samples.lines().count(), 4);
    let sample: serde_json::Value = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
    assert_eq!((sample["task"].as_str(), sample["slices"]["kind"].as_str()), (Some("towns"), Some("a")));
    assert_eq!(sample["outcome"]["choices"]["choices"].as_array().unwrap().len(), 3);
    let csv = bench.read("runs/mini/step700/metrics.csv");
    assert!(csv.starts_with(
        "suite,series,checkpoint,step,tokens,task,slice,filter,shots,metric,value,stderr,ci_lo,ci_hi,n,profile\n"
    ));
    assert!(csv.contains(",kind=a,") && csv.contains(",kind==b,") && csv.contains(",veval-1\n"), "{csv}");
    let page = bench.read("runs/mini/report.html");
    assert!(page.contains("towns") && !page.contains("<script") && !page.contains("http"), "self-contained");
}

#[test]
fn the_same_work_is_not_done_twice() {
    let bench = Bench::new();
    let first = run(&bench, &[]).out;
    let written = || std::fs::metadata(bench.path("runs/mini/step700/samples.jsonl")).unwrap().modified().unwrap();
    let before = written();
    assert_eq!(run(&bench, &[]).out, first);
    assert_eq!(written(), before, "the record is taken as it is");
    run(&bench, &["--again"]);
    assert!(written() > before);
    // Another limit is other work.
    run(&bench, &["--limit", "2"]);
    assert_eq!(bench.read("runs/mini/step700/samples.jsonl").lines().count(), 2);
}

#[test]
fn a_changed_checkpoint_under_the_same_path_is_scored_anew() {
    let bench = Bench::new();
    let suite = bench.suite("");
    let ckpt = bench.checkpoint("ckpt", 700);
    let run = |bench: &Bench| bench.veval(&["run", suite.to_str().unwrap(), "ckpt", "--format", "csv"]).out;
    let first = run(&bench);
    edit_json(&ckpt.join("config.json"), |config| drop(config.insert("rms_norm_eps".into(), 0.5.into())));
    let edited = run(&bench);
    assert_ne!(first, edited, "an edited configuration is another model");
    std::fs::copy(example(60).join("model.safetensors"), ckpt.join("model.safetensors")).unwrap();
    assert_ne!(run(&bench), edited, "other weights are another model");
}

#[test]
fn rescore_brings_the_table_back_without_the_model() {
    let bench = Bench::new();
    run(&bench, &[]);
    let table = bench.read("runs/mini/step700/metrics.csv");
    std::fs::remove_file(bench.path("runs/mini/step700/metrics.csv")).unwrap();
    assert_eq!(bench.veval(&["rescore", "runs/mini/step700"]).code, 0);
    assert_eq!(bench.read("runs/mini/step700/metrics.csv"), table);
    // Other metrics, from another definition of the task.
    let other = bench.suite("metrics = [\"exact_match\"]");
    let ran = bench.veval(&["rescore", "runs/mini/step700", "--suite", other.to_str().unwrap(), "--format", "csv"]);
    assert!(ran.code == 0 && ran.out.contains(",exact_match,") && !ran.out.contains(",acc,"), "{}{}", ran.out, ran.err);
    assert_eq!(bench.veval(&["rescore", "rows.jsonl"]).code, 2);
    // A complete record that lost a line is no complete record.
    let record = bench.read("runs/mini/step700/samples.jsonl");
    bench.write("runs/mini/step700/samples.jsonl", record.split_once('\n').unwrap().1);
    let ran = bench.veval(&["rescore", "runs/mini/step700"]);
    assert!(ran.code == 2 && ran.err.contains("expected 4 samples of task towns, found 3"), "{}", ran.err);
    // A record of a later format is refused.
    edit_json(&bench.path("runs/mini/step700/run.json"), |run| drop(run.insert("schema".into(), "veval.run/2".into())));
    let ran = bench.veval(&["rescore", "runs/mini/step700"]);
    assert!(
        ran.code == 2 && ran.err.contains("expected a run of format veval.run/1, found veval.run/2"),
        "{}",
        ran.err
    );
}

#[test]
fn formats_and_pipes() {
    let bench = Bench::new();
    let json: serde_json::Value = serde_json::from_str(&run(&bench, &["--format", "json"]).out).unwrap();
    assert!(json.as_array().unwrap().iter().any(|row| row["metric"] == "acc" && row["n"] == 4));
    let csv = run(&bench, &["--format", "csv"]).out;
    assert!(csv::Reader::from_reader(csv.as_bytes()).records().all(|record| record.is_ok()));
    assert_eq!(csv, bench.read("runs/mini/step700/metrics.csv"));
    let script = format!(
        "{} list tasks | head -c 1; {} schema | true",
        env!("CARGO_BIN_EXE_veval"),
        env!("CARGO_BIN_EXE_veval")
    );
    let output = std::process::Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    assert!(output.status.success(), "a closed pipe is no error: {output:?}");
    let dry = run(&bench, &["--dry-run"]).out;
    assert!(dry.contains("towns") && dry.contains("all"), "{dry}");
    // Items, tokens asked, those that go through the model, generated ones, MB.
    let row = dry.lines().find(|line| line.starts_with("towns")).unwrap();
    let numbers: Vec<usize> = row.split_whitespace().skip(1).map_while(|number| number.parse().ok()).collect();
    let [4, asked, forwarded, 0, memory] = numbers[..] else { panic!("{row}") };
    assert!(0 < forwarded && forwarded < asked && (5..500).contains(&memory), "{row}");
}

/// Names and texts that come from files do no harm in a terminal, a page or a spreadsheet.
#[test]
fn hostile_names_stay_text() {
    let bench = Bench::new();
    bench.write(
        "rows.jsonl",
        "{\"q\": \"<script>alert(1)</script>\\u001b[31m\", \"kind\": \"<img src=x>\\u001b[2J\"}\n",
    );
    let task = "kind = \"generation\"\ndata = { file = \"rows.jsonl\" }\nprompt = \"{{ q }}\"\ntarget = \"q\"\nmax_tokens = 4\nslices = { kind = \"kind\" }";
    let suite = bench.write(
        "s.toml",
        format!("schema = \"veval.suite/1\"\nname = \"=bad\"\n[[task]]\nname = \"=<b>\\u001b[31m\"\n{task}\n"),
    );
    let ran = bench.veval(&["run", suite.to_str().unwrap(), example(700).to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{}", ran.out);
    let page = bench.read("runs/=bad/report.html");
    assert!(!page.contains("<img") && !page.contains("<b>") && page.contains("&lt;b&gt;"));
    let csv = bench.read("runs/=bad/step700/metrics.csv");
    assert!(csv.contains("\n'=bad,") && csv.contains("'=<b>"), "{csv}");
}

#[test]
fn a_prompt_that_is_too_long_is_cut_and_says_so() {
    let bench = Bench::new();
    let long = "Arlo lives in Alder . ".repeat(200);
    bench.write("rows.jsonl", format!("{{\"q\": \"{long}\"}}\n"));
    let suite = bench.write("s.toml", "schema = \"veval.suite/1\"\nname = \"long\"\n[[task]]\nname = \"t\"\nkind = \"cloze\"\ndata = { file = \"rows.jsonl\" }\nprompt = \"{{ q }}\"\ntarget = \"Arlo\"\n");
    assert_eq!(bench.veval(&["run", suite.to_str().unwrap(), example(700).to_str().unwrap()]).code, 0);
    let sample: serde_json::Value = serde_json::from_str(&bench.read("runs/long/step700/samples.jsonl")).unwrap();
    assert!(sample["truncated"].as_u64().unwrap() > 500, "{sample}");
    // An answer that does not fit is scored whole all the same, every token once.
    bench.write("rows.jsonl", format!("{{\"q\": \"Bena likes red .\", \"a\": \"{long}\"}}\n"));
    let text = bench.read("s.toml").replace("target = \"Arlo\"", "target = \"{{ a }}\"");
    let suite = bench.write("s.toml", text);
    assert_eq!(bench.veval(&["run", suite.to_str().unwrap(), example(700).to_str().unwrap()]).code, 0);
    let sample: serde_json::Value = serde_json::from_str(&bench.read("runs/long/step700/samples.jsonl")).unwrap();
    let scored = sample["outcome"]["cloze"]["log_probs"].as_array().unwrap().len();
    assert!(scored > 256 && sample["truncated"].as_u64().unwrap() > 0, "{scored} tokens, {}", sample["truncated"]);
    assert!(sample["outcome"]["cloze"]["log_probs"].as_array().unwrap().iter().all(|p| p.as_f64().unwrap() < 0.0));
}

/// The file that llama.cpp's tools made from a checkpoint has its record, to the byte; a quantised one has another.
#[test]
fn a_gguf_file_scores_as_the_checkpoint_that_it_was_made_from() {
    let Some(data) = shared_data() else { return };
    let bench = Bench::new();
    let record = |checkpoint: &std::path::Path| {
        let core = root().join("suites/core.toml");
        let tasks = ["--task", "hellaswag", "--task", "gsm8k", "--limit", "6", "--data-dir", data.to_str().unwrap()];
        let out = format!("of_{}", checkpoint.file_stem().unwrap().to_string_lossy());
        let run = ["run", core.to_str().unwrap(), checkpoint.to_str().unwrap(), "--out", &out];
        let ran = bench.veval(&[&run[..], &tasks].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let entries = std::fs::read_dir(bench.path(&out).join("core")).unwrap().map(|entry| entry.unwrap().path());
        let records: Vec<_> = entries.map(|folder| folder.join("samples.jsonl")).filter(|path| path.exists()).collect();
        std::fs::read_to_string(&records[0]).unwrap()
    };
    let folder = record(&data.join("tiny-lm-stories260k-hf"));
    assert!(record(&fixtures().join("gguf/stories-f32.gguf")) == folder, "another record");
    assert!(record(&fixtures().join("gguf/stories-q8_0.gguf")) != folder, "the same record");
}

/// The record of a folder and of the GGUF file made from it are the same bytes.
#[test]
fn a_converted_checkpoint_scores_as_before() {
    let (bench, checkpoint) = (Bench::new(), example(700));
    let checkpoint = checkpoint.to_str().unwrap();
    let ran = bench.veval(&["convert", checkpoint, "f32.gguf", "--type", "f32"]);
    assert!(ran.code == 0 && ran.out.contains("f32.gguf"), "{}", ran.err);
    let record = |checkpoint: &str, out: &str| {
        let suite = root().join("suites/example.toml");
        let ran = bench.veval(&["run", suite.to_str().unwrap(), checkpoint, "--out", out]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let entries = std::fs::read_dir(bench.path(out).join("example")).unwrap().map(|entry| entry.unwrap().path());
        let records: Vec<_> = entries.map(|folder| folder.join("samples.jsonl")).filter(|path| path.exists()).collect();
        std::fs::read_to_string(&records[0]).unwrap()
    };
    assert!(record("f32.gguf", "a") == record(checkpoint, "b"), "another record");
    assert_eq!(bench.veval(&["convert", checkpoint, "q8.gguf", "--type", "q8_0"]).code, 0);
    assert!(record("q8.gguf", "c") != record(checkpoint, "b"), "the same record");
    let of_run =
        std::fs::read_dir(bench.path("c/example")).unwrap().map(|entry| entry.unwrap().path().join("run.json"));
    let manifest = of_run.filter_map(|path| std::fs::read_to_string(path).ok()).collect::<String>();
    assert!(manifest.contains("\"Q8_0\""), "run.json says what stays packed: {manifest}");
    let bad = [
        (bench.veval(&["convert", checkpoint, "f32.gguf"]), "a name that is free"),
        (bench.veval(&["convert", checkpoint, "f32.safetensors"]), "a name that ends in .gguf"),
        (bench.veval(&["convert", "nowhere", "x.gguf"]), "nowhere"),
    ];
    for (ran, message) in bad {
        assert!(ran.code == 2 && ran.err.contains(message), "{}", ran.err);
    }
}

/// GGUF has no key for an activation: llama.cpp would compute another model.
#[test]
fn what_a_gguf_file_cannot_say_is_not_converted() {
    let bench = Bench::new();
    let checkpoint = bench.checkpoint("ckpt", 700);
    edit_json(&checkpoint.join("config.json"), |config| {
        config.insert("hidden_act".to_owned(), "gelu".into());
    });
    let ran = bench.veval(&["convert", checkpoint.to_str().unwrap(), "x.gguf"]);
    assert!(ran.code == 2 && ran.err.contains("that the other format can describe"), "{}", ran.err);
    let left = std::fs::read_dir(bench.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["ckpt"], "nothing is left behind");
}
