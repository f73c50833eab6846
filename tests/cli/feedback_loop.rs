//! The loop over the shipped lab: items to gradients, gradients to values, values to a mixture, and whether it was worth it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Bench, edit_json, root};

pub fn path(name: &str) -> String {
    root().join(name).to_string_lossy().into_owned()
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A few items of each task, some parameters.
pub const SMALL: [&str; 4] = ["--n", "10", "--params", "last:2"];

/// A feedback set of two tasks at the checkpoint in the middle of the run.
pub fn built(bench: &Bench, out: &str, more: &[&str]) {
    let tasks = ["sums", "brackets", "lists_upper"].map(|task| path(&format!("data/lab/tasks/{task}.toml")));
    let entries: String = tasks.iter().map(|file| format!("[[task]]\nfile = \"{file}\"\n")).collect();
    bench.write("suite.toml", format!("schema = \"veval.suite/1\"\nname = \"three\"\n{entries}"));
    let checkpoint = path("data/lab/midrun");
    let mut arguments = vec!["feedback", "build", "suite.toml", &checkpoint, "--task", "sums", "--task", "brackets"];
    arguments.extend(["--proj-dim", "4", "--out", out]);
    arguments.extend(more);
    let made = bench.veval(&arguments);
    assert_eq!(made.code, 0, "{}", made.err);
}

fn same_files(one: &Path, other: &Path) {
    for entry in std::fs::read_dir(one).unwrap() {
        let (own, twin) = (entry.as_ref().unwrap().path(), other.join(entry.unwrap().file_name()));
        if own.is_dir() {
            same_files(&own, &twin);
        } else {
            assert_eq!(std::fs::read(&own).unwrap(), std::fs::read(&twin).unwrap(), "{}", own.display());
        }
    }
}

#[test]
fn a_feedback_set_is_the_same_each_time_and_holds_no_sealed_item() {
    let bench = Bench::new();
    let with = |more: &[&'static str]| [&SMALL, more].concat();
    built(&bench, "fb", &with(&["--threads", "2"]));
    built(&bench, "twin", &with(&["--threads", "1", "--batch-tokens", "64"]));
    same_files(&bench.path("fb"), &bench.path("twin"));

    let manifest = json(&bench.read("fb/manifest.json"));
    assert_eq!(manifest["format"], "veval.feedback/1");
    assert_eq!(manifest["targets"][0]["parts"], serde_json::json!([3, 3, 2, 2]));
    let rows = |task: &str| -> Vec<Value> {
        let file = std::fs::read_to_string(root().join(format!("data/lab/tasks/items/{task}.jsonl"))).unwrap();
        file.lines().map(json).collect()
    };
    for line in bench.read("fb/items.jsonl").lines().map(json) {
        let task = line["task"].as_str().unwrap();
        // The id names task, row and content.
        let row: usize = line["id"].as_str().unwrap().split('/').nth(1).unwrap().parse().unwrap();
        assert_eq!(rows(task)[row]["split"], "feedback", "{line}");
        let (tokens, start) = (line["tokens"].as_array().unwrap().len(), line["start"].as_u64().unwrap() as usize);
        assert!(start > 0 && start < tokens, "{line}");
    }
    // The control has the same items, and other answers.
    built(&bench, "control", &with(&["--shuffle-answers"]));
    let answers = |name: &str| -> Vec<(Value, Value)> {
        let lines = bench.read(&format!("{name}/items.jsonl"));
        lines.lines().map(json).map(|line| (line["id"].clone(), line["answer"].clone())).collect()
    };
    let (own, control) = (answers("fb"), answers("control"));
    assert!(own.iter().zip(&control).all(|(a, b)| a.0 == b.0));
    assert!(own.iter().zip(&control).all(|(a, b)| a.1 != b.1));

    // Of parameters that are no linear maps there is nothing to project.
    built(&bench, "norms", &["--n", "4", "--params", "model.norm.weight"]);
    assert!(bench.path("norms/gradsets").exists() && !bench.path("norms/grads").exists());

    let again =
        bench.veval(&["feedback", "build", &path("suites/quickstart.toml"), &path("data/lab/midrun"), "--out", "fb"]);
    assert!(again.code == 2 && again.err.contains("free"), "{}", again.err);
    let unknown =
        ["feedback", "build", &path("suites/quickstart.toml"), &path("data/lab/midrun"), "--task", "sum", "--out", "x"];
    let unknown = bench.veval(&unknown);
    assert!(unknown.code == 2 && unknown.err.contains("sums"), "{}", unknown.err);
    assert!(!bench.path("x").exists());
}

#[test]
fn shots_that_are_sealed_leave_with_no_item() {
    let bench = Bench::new();
    bench.write("sums.jsonl", std::fs::read(root().join("suites/example/sums.jsonl")).unwrap());
    let suite = |more: &str| {
        format!(
            "schema = \"veval.suite/1\"\nname = \"shots\"\n[[task]]\nname = \"sums\"\nkind = \"cloze\"\n\
             data = {{ file = \"sums.jsonl\" }}\nprompt = \"{{{{ sum }}}}\"\ntarget = \"{{{{ result }}}}\"\nshot_delimiter = \" . \"\n{more}"
        )
    };
    let build = |more: &str, out: &str| {
        bench.write("suite.toml", suite(more));
        bench.veval(&[
            "feedback",
            "build",
            "suite.toml",
            &path("data/example/ckpts/step2500"),
            "--params",
            "last:1",
            "--out",
            out,
        ])
    };
    // One shot each, of the task's own rows: about half of the items show a sealed one.
    let made = build("shots = 1\nshot_rule = \"per-item\"\n", "fb");
    assert_eq!(made.code, 0, "{}", made.err);
    let plain = build("shots = 0\n", "plain");
    assert_eq!(plain.code, 0, "{}", plain.err);
    let contexts = |folder: &str| -> Vec<String> {
        let lines = bench.read(&format!("{folder}/items.jsonl"));
        lines.lines().map(|line| json(line)["context"].as_str().unwrap().to_owned()).collect()
    };
    // Without shots every feedback item stands alone: these are the texts that may be shown.
    let allowed = contexts("plain");
    let shown = contexts("fb");
    assert!(!shown.is_empty() && shown.len() < allowed.len(), "{} of {}", shown.len(), allowed.len());
    for context in &shown {
        let shot = context.split(" . ").next().unwrap();
        assert!(allowed.iter().any(|own| shot.trim().starts_with(own.trim())), "{context}");
    }
}

#[test]
fn sources_that_teach_a_task_are_worth_most_to_it_and_values_depend_on_no_batch() {
    let bench = Bench::new();
    built(&bench, "fb", &["--n", "26"]);
    let (checkpoint, corpus) = (path("data/lab/midrun"), path("data/lab/corpus.jsonl.gz"));
    let value = |out: &str, more: &[&str]| {
        let mut arguments =
            vec!["feedback", "value", "fb", &checkpoint, "--stream", &corpus, "--sample", "12", "--out", out];
        arguments.extend(more);
        let made = bench.veval(&arguments);
        assert_eq!(made.code, 0, "{}", made.err);
        json(&bench.read(&format!("{out}/report.json")))
    };
    let report = value("plain", &["--threads", "2", "--reference", &path("data/lab/ckpts/step561")]);
    value("twin", &["--threads", "1", "--batch-tokens", "100", "--reference", &path("data/lab/ckpts/step561")]);
    same_files(&bench.path("plain"), &bench.path("twin"));
    let stepped = value("stepped", &["--moments", &path("data/lab/midrun/moments.safetensors")]);
    for report in [report, stepped] {
        let sources = report["sources"].as_array().unwrap();
        let best = |target: &str| {
            let worth = |source: &&Value| source["targets"][target]["value"].as_f64().unwrap();
            sources.iter().max_by(|a, b| worth(a).total_cmp(&worth(b))).unwrap()["source"].clone()
        };
        assert_eq!((best("brackets"), best("sums")), ("brackets".into(), "arithmetic".into()), "{report}");
    }
    let row = json(bench.read("plain/values.jsonl").lines().next().unwrap());
    let (loss, reference) = (row["loss"].as_f64().unwrap(), row["loss_ref"].as_f64().unwrap());
    assert!(loss > 0.0 && loss < reference && row["value_se_sums"].as_f64().unwrap() > 0.0, "{row}");
    assert_eq!(std::fs::metadata(bench.path("plain/repeats.bin")).unwrap().len(), 2 * 12 * 11);

    // The report beside the values knows how little the items are sure, so the mixture moves less.
    let sources = row["source"].as_str().map(|_| {
        let names =
            ["arithmetic", "brackets", "chronicle", "dialogues", "encyclopedia", "lists", "opinions", "quiz", "recall"];
        let all = names.iter().chain(&["stories", "web"]);
        let source = |name: &&str| serde_json::json!({"name": name, "available_tokens": 1e6, "q": 1.0 / 11.0});
        all.map(source).collect::<Vec<_>>()
    });
    let mixture = serde_json::json!({
        "format": "veval.mixture/1", "unit": "tokens", "total_tokens": 1e6, "sequence_length": 100, "sources": sources,
    });
    bench.write("mixture.json", mixture.to_string());
    bench.write("alone/values.jsonl", bench.read("plain/values.jsonl"));
    let share = |folder: &str, target: &str| -> f64 {
        let (values, out) = (format!("{folder}/values.jsonl"), format!("{folder}/{target}.json"));
        let arguments = [
            "feedback",
            "mix",
            "mixture.json",
            "--values",
            &values,
            "--target",
            target,
            "--limit",
            "0.01",
            "--out",
            &out,
        ];
        let made = bench.veval(&arguments);
        assert_eq!(made.code, 0, "{}", made.err);
        let next = json(&bench.read(&out));
        let own = next["sources"].as_array().unwrap().iter().find(|source| source["name"] == "arithmetic").unwrap();
        own["q"].as_f64().unwrap()
    };
    let (reported, alone) = (share("plain", "sums"), share("alone", "sums"));
    assert!(reported > 1.0 / 11.0 && alone > 1.0 / 11.0, "{reported} {alone}");
    assert_ne!(reported, alone);
    let unknown = bench.veval(&[
        "feedback",
        "mix",
        "mixture.json",
        "--values",
        "plain/values.jsonl",
        "--target",
        "sum",
        "--out",
        "none.json",
    ]);
    assert!(unknown.code == 2 && unknown.err.contains("brackets, sums"), "{}", unknown.err);

    let other = path("data/lab/ckpts/step561");
    let made = bench.veval(&["feedback", "value", "fb", &other, "--stream", &corpus, "--out", "other"]);
    assert!(made.code == 2 && made.err.contains("expected a checkpoint of the set"), "{}", made.err);
    let made = bench.veval(&[
        "feedback",
        "value",
        "fb",
        &checkpoint,
        "--stream",
        &corpus,
        "--source",
        "quizz",
        "--out",
        "other",
    ]);
    assert!(made.code == 2 && made.err.contains("quizz") && made.err.contains("quiz,"), "{}", made.err);
    assert!(!bench.path("other").exists());
}

#[test]
fn a_set_that_was_changed_or_is_of_another_format_is_refused() {
    let bench = Bench::new();
    built(&bench, "fb", &SMALL);
    let (checkpoint, corpus) = (path("data/lab/midrun"), path("data/lab/corpus.jsonl.gz"));
    let refused = |wanted: &[&str]| {
        let made = bench.veval(&["feedback", "value", "fb", &checkpoint, "--stream", &corpus, "--out", "values"]);
        assert!(made.code == 2 && wanted.iter().all(|wanted| made.err.contains(wanted)), "{}", made.err);
        assert!(!bench.path("values").exists());
    };
    let items = bench.read("fb/items.jsonl");
    bench.write("fb/items.jsonl", items.replace("\"start\":", "\"start\": "));
    let part = bench.path("fb/gradsets/midrun/parts/sums.1.safetensors");
    let bytes = std::fs::read(&part).unwrap();
    std::fs::remove_file(&part).unwrap();
    refused(&["items.jsonl", "sums.1.safetensors", "none that can be read"]);
    std::fs::write(&part, bytes).unwrap();
    bench.write("fb/items.jsonl", items);
    edit_json(&bench.path("fb/manifest.json"), |manifest| {
        manifest.insert("format".to_owned(), "veval.feedback/2".into());
        manifest.insert("sign".to_owned(), "negative".into());
    });
    refused(&["veval.feedback/2", "negative"]);
    edit_json(&bench.path("fb/manifest.json"), |manifest| {
        manifest.insert("format".to_owned(), "veval.feedback/1".into());
        manifest.insert("sign".to_owned(), "positive_lowers_target_loss".into());
        manifest.insert("tokenizer".to_owned(), "blake3:other".into());
    });
    refused(&["expected the tokenizer of the set, blake3:other"]);
}

#[test]
fn a_probe_takes_steps_and_says_what_came_of_them() {
    let bench = Bench::new();
    built(&bench, "fb", &SMALL);
    let (checkpoint, corpus) = (path("data/lab/midrun"), path("data/lab/corpus.jsonl.gz"));
    let probe = |more: &[&str]| {
        let mut arguments = vec!["feedback", "probe", "fb", &checkpoint, "--stream", &corpus];
        arguments.extend(["--source", "brackets", "--source", "arithmetic", "--source", "web", "--batches", "6"]);
        arguments.extend(["--sequences", "2", "--length", "64", "--factors", "0.01"]);
        arguments.extend(more);
        let made = bench.veval(&arguments);
        assert_eq!(made.code, 0, "{}", made.err);
        made.out
    };
    let found = json(&probe(&["--format", "json"]));
    assert_eq!(found["rate"], 0.003);
    assert_eq!(found["batches"], 6);
    for step in ["sgd", "adam"] {
        let steps = found[step]["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 2, "{found}");
        assert!(found[step]["pearson"].is_number() && found[step]["slope_interval"][1].is_number(), "{found}");
    }
    let lines = probe(&["--format", "csv", "--threads", "1"]);
    assert_eq!(lines.lines().count(), 1 + 6 * 2 * 2);
    assert_eq!(lines, probe(&["--format", "csv", "--threads", "2"]));
    // Steps of a hundredth are foretold, in size and sign, where they matter.
    let field = |line: &str, at: usize| line.split(',').nth(at).unwrap().to_owned();
    let of = |at: usize| -> Vec<f64> {
        let small = lines.lines().filter(|line| field(line, 2) == "sgd" && field(line, 3).starts_with("0.00003"));
        small.map(|line| field(line, at).parse().unwrap()).collect()
    };
    let (predicted, realised) = (of(4), of(5));
    assert_eq!(predicted.len(), 6);
    let best = (0..6).max_by(|&a, &b| predicted[a].total_cmp(&predicted[b])).unwrap();
    assert!(predicted[best] > 0.0 && realised[best] > 0.0, "{predicted:?} {realised:?}");
    assert!(probe(&["--clip", "1"]).contains("the trainer's rate is 0.003, AdamW's decay 0, its clip 1"));
    let refused = |checkpoint: &str, more: &[&str], wanted: &str| {
        let arguments = [&["feedback", "probe", "fb", checkpoint, "--stream", &corpus], more].concat();
        let made = bench.veval(&arguments);
        assert!(made.code == 2 && made.err.contains(wanted), "{}", made.err);
    };
    refused(&path("data/lab/ckpts"), &[], "expected one checkpoint, found a series of 8");
    refused(&checkpoint, &["--length", "257"], "at most 256");
    refused(&checkpoint, &["--batches", "1"], "--batches");
    refused(&checkpoint, &["--factors", "nan"], "--factors");
}

pub const PLAN: &str = r#"
    schema = "veval.training/1"
    seed = 7
    steps = 1714
    corpus = "CORPUS"
    from = "FROM"
    tokenizer = { entries = 1024 }
    model = { layers = 4, width = 128, heads = 4, kv_heads = 4, mlp = 344, context = 256 }
    batch = { sequences = 4, length = 64 }
    schedule = { kind = "constant", peak = 0.003, warmup = 100 }
"#;

#[test]
fn the_runs_of_a_check_are_twins_and_values_turned_round_foretell_the_opposite() {
    let bench = Bench::new();
    built(&bench, "fb", &SMALL);
    let plan = PLAN.replace("CORPUS", &path("data/lab/corpus.jsonl.gz")).replace("FROM", &path("data/lab/midrun"));
    bench.write("go_on.toml", plan);
    let new = format!("new={}", path("data/lab/variant/mixture.json"));
    let stream = path("data/lab/corpus.jsonl.gz");
    let value =
        ["feedback", "value", "fb", &path("data/lab/midrun"), "--stream", &stream, "--sample", "200", "--out", "v"];
    assert_eq!(bench.veval(&value).code, 0);
    let rows: Vec<Value> = bench.read("v/values.jsonl").lines().map(json).collect();
    let turned = |row: &Value| {
        let mut row = row.clone();
        for (name, value) in row.as_object_mut().unwrap() {
            if name == "value" || name.starts_with("value_") && !name.starts_with("value_se") {
                *value = (-value.as_f64().unwrap()).into();
            }
        }
        format!("{row}\n")
    };
    bench.write("turned.jsonl", rows.iter().map(turned).collect::<String>());
    let twins = |values: &str, seeds: &str| {
        let arms = ["--arm", "old=", "--arm", &new, "--seeds", seeds, "--values", values, "--out", "check"];
        bench.veval(&[&["feedback", "check", "fb", "--plan", "go_on.toml"], &arms[..]].concat())
    };
    let few = twins("v/values.jsonl", "2");
    assert!(
        few.code == 2 && few.err.contains("at least 5 runs to compare with another of their arm, found 2"),
        "{}",
        few.err
    );
    let lds = |values: &str| -> Vec<f64> {
        let made = twins(values, "4");
        assert!(made.code == 0 && made.out.contains("LDS"), "{}", made.err);
        let found = json(&bench.read("check/check.json"));
        let foretold = found["foretold"]["lds"].as_array().unwrap();
        assert_eq!(
            foretold.iter().map(|own| own["of"].as_str().unwrap()).collect::<Vec<_>>(),
            ["all targets", "sums", "brackets"]
        );
        foretold.iter().map(|own| own["lds"]["value"].as_f64().unwrap()).collect()
    };
    let (own, opposite) = (lds("v/values.jsonl"), lds("turned.jsonl"));
    assert!(
        own.iter().zip(&opposite).all(|(own, opposite)| own.abs() <= 1.0 && (own + opposite).abs() < 1e-9),
        "{own:?} {opposite:?}"
    );
    bench.write("other.jsonl", bench.read("v/values.jsonl").replace("value_sums", "value_others"));
    let other = twins("other.jsonl", "4");
    assert!(other.code == 2 && other.err.contains("expected the column value_sums, found none"), "{}", other.err);
}

#[test]
fn a_check_trains_every_arm_and_judges_sealed_items() {
    let bench = Bench::new();
    built(&bench, "fb", &SMALL);
    let plan = PLAN.replace("CORPUS", &path("data/lab/corpus.jsonl.gz")).replace("FROM", &path("data/lab/midrun"));
    bench.write("go_on.toml", plan);
    let mixture = path("data/lab/variant/mixture.json");
    let new = format!("new={mixture}");
    let check = |out: &str| {
        bench.veval(&[
            "feedback",
            "check",
            "fb",
            "--plan",
            "go_on.toml",
            "--arm",
            "old=",
            "--arm",
            &new,
            "--seeds",
            "2",
            "--out",
            out,
        ])
    };
    let made = check("check");
    assert_eq!(made.code, 0, "{}", made.err);
    let found = json(&bench.read("check/check.json"));
    assert_eq!(found["base"], "old");
    let parts = found["parts"].as_array().unwrap();
    let part = |tasks: &str, measure: &str| {
        parts.iter().find(|part| part["tasks_of"] == tasks && part["measure"] == measure).unwrap()
    };
    let targets = part("targets", "loss");
    assert_eq!(targets["mean"][0]["arm"], "new");
    assert_eq!((&targets["mean"][0]["seeds"], &targets["mean"][0]["items"]), (&2.into(), &(135 + 172).into()));
    assert_eq!(part("other tasks", "loss")["tasks"].as_array().unwrap().len(), 1);
    // The same command finds everything trained and scored.
    let again = check("check");
    assert_eq!((again.code, again.out), (0, made.out));

    // A folder that was trained with something else is no result of it.
    let command = |arm: &str, command: &str| {
        bench.veval(&[
            "feedback",
            "check",
            "fb",
            "--plan",
            "go_on.toml",
            "--arm",
            "old=",
            "--arm",
            arm,
            "--seeds",
            "1",
            "--command",
            command,
            "--out",
            "theirs",
        ])
    };
    let copy = format!("cp {}/* \"$VEVAL_OUT\"", path("data/lab/ckpts/step1713"));
    let theirs = command(&new, &copy);
    assert_eq!(theirs.code, 0, "{}", theirs.err);
    assert!(theirs.out.contains("+0.0000"), "{}", theirs.out);
    assert_eq!(command(&new, &copy).out, theirs.out);
    let changed = command("new=", &copy);
    assert!(changed.code == 2 && changed.err.contains("another command, plan or files"), "{}", changed.err);

    let alone = bench.veval(&["feedback", "check", "fb", "--plan", "go_on.toml", "--arm", "old=", "--out", "alone"]);
    assert!(alone.code == 2 && alone.err.contains("two arms"), "{}", alone.err);
    let failing = bench.veval(&[
        "feedback",
        "check",
        "fb",
        "--plan",
        "go_on.toml",
        "--arm",
        "old=",
        "--arm",
        "new=",
        "--command",
        "exit 7",
        "--out",
        "failing",
    ]);
    assert!(failing.code == 2 && failing.err.contains("arm old, seed 1"), "{}", failing.err);
}
