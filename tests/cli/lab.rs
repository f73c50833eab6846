//! The trainer as people run it: the same bytes with any threads, after an interrupt, after a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use veval::lab::corpus::{fingerprint, read_corpus};
use veval::lab::targets::{SoftTarget, TargetFile, TargetOrigin};
use veval::text::Tokenizer;

use crate::support::{Bench, Ran, ran};

const PLAN: &str = r#"
    schema = "veval.training/1"
    seed = 3
    steps = 24
    corpus = "corpus.jsonl"
    tokenizer = { entries = 280 }
    clip = 1.0
    model = { layers = 2, width = 32, heads = 2, kv_heads = 1, mlp = 48, context = 48, init_std = 0.1 }
    batch = { sequences = 6, length = 48, at_once = 2 }
    schedule = { kind = "cosine", peak = 0.01, warmup = 4, floor = 0.001 }
    checkpoints = { steps = [0, 8, 16], precision = "float32", moments = true }
"#;

/// Two sources that differ in their sentences.
fn lab(plan: &str) -> Bench {
    let bench = Bench::new();
    let colours = ["red", "blue", "green", "white", "black"];
    let line = |number: usize| {
        let (source, text) = if number.is_multiple_of(3) {
            ("sums", format!("{} and {} make {}.", number % 7, number % 5, number % 7 + number % 5))
        } else {
            ("colours", format!("House {number} is {}. It was {} before.", colours[number % 5], colours[number % 4]))
        };
        format!("{{\"source\": \"{source}\", \"id\": \"{source}-{number}\", \"text\": \"{text}\"}}\n")
    };
    bench.write("corpus.jsonl", (0..90).map(line).collect::<String>());
    bench.write("lab.toml", plan);
    bench
}

fn train(bench: &Bench, out: &str, more: &[&str]) -> Ran {
    bench.veval(&[&["lab", "train", "lab.toml", "--out", out], more].concat())
}

/// Every file below a folder, but for what says how far an unfinished run is.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, before: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{before}{}", path.file_name().unwrap().to_string_lossy());
            if path.is_dir() {
                walk(&path, &format!("{name}/"), found);
            } else {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    // Its title is the folder's name.
    found.remove("curve.svg");
    found
}

fn same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in a {
        assert!(bytes == &b[name], "{name} differs");
    }
}

/// Waits until the curve has a row after its head and some more.
fn until_rows(path: &Path, rows: usize) {
    for _ in 0..6000 {
        if std::fs::read_to_string(path).is_ok_and(|text| text.lines().count() > rows) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no {rows} rows of {}", path.display());
}

/// A run that gets a signal when its curve is so long: its exit code.
fn met_by(bench: &Bench, out: &str, rows: usize, signal: &str) -> i32 {
    let mut child = bench.command(&["lab", "train", "lab.toml", "--out", out, "--threads", "1"]);
    let child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    until_rows(&bench.path(out).join("curve.csv"), rows);
    // The run may have ended already.
    let kill = format!("kill -{signal} {} 2>/dev/null", child.id());
    let status = std::process::Command::new("sh").args(["-c", &kill]).status();
    assert!(status.is_ok());
    let ended = ran(&child.wait_with_output().unwrap());
    assert!([0, 3, -1].contains(&ended.code), "{} {}", ended.code, ended.err);
    if ended.code == 3 {
        assert!(ended.err.contains("run the same command again"), "{}", ended.err);
    }
    ended.code
}

#[test]
fn the_same_bytes_for_any_threads_and_after_interrupts_and_kills() {
    let bench = lab(&PLAN.replace("steps = 24", "steps = 300").replace("8, 16", "8, 150"));
    let first = train(&bench, "a", &["--threads", "1"]);
    assert_eq!(first.code, 0, "{}", first.err);
    let wanted = files(&bench.path("a"));
    for name in ["step0/model.safetensors", "step150/moments.safetensors", "step300/config.json", "order/documents.npy"]
    {
        assert!(wanted.contains_key(name), "{name}: {:?}", wanted.keys());
    }
    assert_eq!(train(&bench, "b", &["--threads", "3"]).code, 0);
    same(&wanted, &files(&bench.path("b")));
    for isa in ["avx2", "portable"] {
        // A machine that lacks one says so, and has shown what it can.
        let mut command = bench.command(&["lab", "train", "lab.toml", "--out", isa]);
        let ran = ran(&command.env("VEVAL_ISA", isa).output().unwrap());
        if isa == "portable" || ran.code == 0 {
            assert_eq!(ran.code, 0, "{}", ran.err);
            same(&wanted, &files(&bench.path(isa)));
        }
    }

    let signals = [(1, "INT"), (60, "KILL"), (160, "KILL"), (220, "INT")];
    let ends: Vec<i32> = signals.iter().map(|&(rows, signal)| met_by(&bench, "c", rows, signal)).collect();
    assert!(ends.contains(&3) && ends.contains(&-1), "a run was met at work by both signals: {ends:?}");
    assert_eq!(train(&bench, "c", &[]).code, 0);
    same(&wanted, &files(&bench.path("c")));
    assert_eq!(train(&bench, "c", &[]).code, 0, "a finished run stays as it is");
    same(&wanted, &files(&bench.path("c")));
}

/// Targets of the corpus for the tokenizer of a run: of every other token, with what stands behind it as the second token, or
/// the true tokens as they are.
fn write_targets(bench: &Bench, of: &str, out: &str, alpha: f64) {
    let tokenizer = Tokenizer::open(&bench.path(of)).unwrap();
    let corpus = read_corpus(&bench.path("corpus.jsonl")).unwrap();
    let documents = corpus.iter().map(|document| {
        let tokens = [tokenizer.encode_plain(&document.text).unwrap(), vec![0]].concat();
        let target =
            |at: usize| SoftTarget::mixed(tokens[at], alpha, &[(tokens[(at + 1) % tokens.len()], 1.0)]).unwrap();
        (0..tokens.len()).step_by(2).map(|at| (at as u32, target(at))).collect()
    });
    let documents = documents.collect();
    let origin = TargetOrigin {
        alpha_max: alpha,
        tokenizer: tokenizer.fingerprint().to_owned(),
        checkpoint: "blake3:none".to_owned(),
        documents: fingerprint(&corpus),
    };
    TargetFile { origin, documents }.write(&bench.path(out)).unwrap();
}

#[test]
fn soft_targets_have_the_same_bytes_too_and_those_that_say_nothing_change_none() {
    let bench = lab(&PLAN.replace("steps = 24", "steps = 200"));
    assert_eq!(train(&bench, "plain", &[]).code, 0);
    write_targets(&bench, "plain/step0", "hot.safetensors", 0.0);
    write_targets(&bench, "plain/step0", "soft.safetensors", 0.3);
    let with = |file: &str| PLAN.replace("steps = 24", &format!("steps = 200\ntargets = \"{file}\""));
    let without_identity = |out: &str| {
        let mut all = files(&bench.path(out));
        assert!(all.remove("identity").is_some());
        all
    };
    bench.write("lab.toml", with("hot.safetensors"));
    let ran = train(&bench, "hot", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    same(&without_identity("plain"), &without_identity("hot"));

    bench.write("lab.toml", with("soft.safetensors"));
    assert_eq!(train(&bench, "a", &["--threads", "1"]).code, 0);
    let wanted = files(&bench.path("a"));
    assert!(wanted["step8/model.safetensors"] != files(&bench.path("plain"))["step8/model.safetensors"]);
    assert_eq!(train(&bench, "b", &["--threads", "3"]).code, 0);
    same(&wanted, &files(&bench.path("b")));
    let ends = [(40, "INT"), (90, "KILL")].map(|(rows, signal)| met_by(&bench, "c", rows, signal));
    assert!(ends.contains(&3) || ends.contains(&-1), "a run was met at work: {ends:?}");
    assert_eq!(train(&bench, "c", &[]).code, 0);
    same(&wanted, &files(&bench.path("c")));

    // Another file of the same name is another run.
    write_targets(&bench, "plain/step0", "soft.safetensors", 0.4);
    let other = train(&bench, "a", &[]);
    assert!(other.code == 2 && other.err.contains("another plan or of other files"), "{}", other.err);
    bench.write("lab.toml", with("none.safetensors"));
    let none = train(&bench, "d", &[]);
    assert!(none.code == 2 && none.err.contains("none.safetensors") && !bench.path("d").exists(), "{}", none.err);
}

#[test]
fn training_goes_on_from_a_checkpoint_with_moments_to_the_same_bytes() {
    let bench = lab(PLAN);
    assert_eq!(train(&bench, "a", &[]).code, 0);
    bench.write("lab.toml", PLAN.replace("seed = 3", "seed = 3\nfrom = \"a/step8\""));
    let ran = train(&bench, "b", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for name in ["step16", "step24"] {
        same(&files(&bench.path("a").join(name)), &files(&bench.path("b").join(name)));
    }
    let curve = bench.read("b/curve.csv");
    let tail: Vec<String> = bench.read("a/curve.csv").lines().skip(9).map(str::to_owned).collect();
    assert_eq!(curve.lines().skip(1).collect::<Vec<_>>(), tail);
}

#[test]
fn another_mixture_reads_each_source_on_from_where_it_was() {
    let bench = lab(PLAN);
    assert_eq!(train(&bench, "a", &[]).code, 0);
    let mixture = "{\"format\": \"veval.mixture/1\", \"unit\": \"tokens\",
        \"sources\": [{\"name\": \"colours\", \"q\": 0.25}, {\"name\": \"sums\", \"q\": 0.75}]}";
    bench.write("mixture.json", mixture);
    let from =
        |step: &str| PLAN.replace("seed = 3", &format!("seed = 3\nfrom = \"{step}\"\nmixture = \"mixture.json\""));
    bench.write("lab.toml", from("a/step8"));
    assert_eq!(train(&bench, "b", &[]).code, 0);
    let state = |of: &str| -> serde_json::Value {
        serde_json::from_str(&bench.read(&format!("{of}/trainer_state.json"))).unwrap()
    };
    let place = |of: &str, source: &str| state(of)["order"]["places"][source].as_u64().unwrap();
    assert!(state("a/step0")["order"].is_null());
    assert_eq!(state("b/step24")["order"]["began"]["places"], state("a/step8")["order"]["places"]);
    // 16 steps of 6 sequences of 48 tokens, a quarter of them of colours.
    assert_eq!(place("b/step24", "colours") - place("a/step8", "colours"), 24 * 48);
    assert_eq!(place("b/step24", "sums") - place("a/step8", "sums"), 72 * 48);

    bench.write("lab.toml", from("b/step16"));
    assert_eq!(train(&bench, "c", &[]).code, 0);
    same(&files(&bench.path("b/step24")), &files(&bench.path("c/step24")));

    let spoiled = bench.read("b/step16/trainer_state.json").replace("\"step\": 8", "\"step\": 17");
    bench.write("b/step16/trainer_state.json", spoiled);
    let bad = train(&bench, "d", &[]);
    let wanted = "trainer_state.json, order.began.step: expected at most 16, found 17";
    assert!(bad.code == 2 && bad.err.contains(wanted), "{}", bad.err);
}

#[test]
fn the_moments_of_a_checkpoint_scale_its_gradients() {
    let bench = lab(PLAN);
    assert_eq!(train(&bench, "a", &[]).code, 0);
    let collect = |out: &str, more: &[&str]| {
        let command = ["grad", "collect", "corpus.jsonl", "a/step8", "--proj-dim", "2", "--out", out, "--limit", "3"];
        let ran = bench.veval(&[&command, more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<serde_json::Value>(&bench.read(&format!("{out}/index.json"))).unwrap()
    };
    let scaled = collect("adam", &["--moments", "a/step8/moments.safetensors"]);
    assert_eq!(scaled["normalizer"]["kind"], "adam");
    assert_eq!(collect("plain", &[])["normalizer"]["kind"], "none");
    let rows = |out: &str| std::fs::read(bench.path(out).join("grads-00000.safetensors")).unwrap();
    assert!(rows("adam") != rows("plain"));
    let set = |out: &str, more: &[&str]| {
        bench.veval(&[&["grad", "set", "corpus.jsonl", "a/step8", "--limit", "3", "--out", out], more].concat())
    };
    let precond = ["--kind", "precond", "--moments", "a/step8/moments.safetensors", "--dtype", "f32"];
    for (out, more) in [("step.safetensors", &precond[..]), ("mean.safetensors", &["--dtype", "f32"])] {
        let made = set(out, more);
        assert_eq!(made.code, 0, "{}", made.err);
    }
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    let (step, mean) = (read("step.safetensors"), read("mean.safetensors"));
    let (_, header) = safetensors::SafeTensors::read_metadata(&step).unwrap();
    let strings = header.metadata().as_ref().unwrap();
    assert_eq!(strings["kind"], "precond");
    assert!(strings["optimizer"].starts_with("moments.safetensors, sha256 "), "{}", strings["optimizer"]);
    let [step, mean] = [&step, &mean].map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap());
    for (name, scaled) in step.tensors() {
        let values = |data: &[u8]| -> Vec<f32> { data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect() };
        let (scaled, plain) = (values(scaled.data()), values(mean.tensor(&name).unwrap().data()));
        // Divided by something positive that differs from value to value.
        assert!(scaled.iter().zip(&plain).all(|(a, b)| a.signum() == b.signum() || *a == 0.0 || *b == 0.0), "{name}");
        assert_ne!(scaled, plain, "{name}");
    }
    for more in [&["--kind", "precond"][..], &["--moments", "a/step8/moments.safetensors"]] {
        assert_eq!(set("none.safetensors", more).code, 2);
    }
    let other = ["grad", "collect", "corpus.jsonl", "a/step8", "--out", "b", "--moments", "a/step8/model.safetensors"];
    let refused = bench.veval(&other);
    assert!(refused.code == 2 && refused.err.contains("veval.moments/1"), "{}", refused.err);
    assert!(!bench.path("b").exists());
}

#[test]
fn the_loss_falls_and_a_mixture_is_kept() {
    let bench = lab(&PLAN.replace("steps = 24", "steps = 60\nmixture = \"mixture.json\""));
    let source = |name: &str, share: f64| format!("{{\"name\": \"{name}\", \"q\": {share}}}");
    let mixture = |share: f64| {
        format!(
            "{{\"format\": \"veval.mixture/1\", \"unit\": \"tokens\", \"sources\": [{}, {}]}}",
            source("colours", share),
            source("sums", 1.0 - share)
        )
    };
    bench.write("mixture.json", mixture(0.25));
    let ran = train(&bench, "a", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows: Vec<Vec<f64>> = bench
        .read("a/curve.csv")
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect())
        .collect();
    let (first, last) = (rows[0][2], rows[59][2]);
    // 280 entries: a guess costs 5.6 nats.
    assert!((first - 5.63).abs() < 0.6 && last < 2.0, "{first} {last}");
    let documents: Vec<String> = bench.read("a/order/documents.jsonl").lines().map(str::to_owned).collect();
    assert_eq!(documents.len(), 90);
    assert!(bench.read("a/curve.svg").starts_with("<svg"));

    bench.write("mixture.json", mixture(0.5));
    let other = train(&bench, "a", &[]);
    assert!(other.code == 2 && other.err.contains("another"), "{}", other.err);
    bench.write("mixture.json", mixture(0.5).replace("sums", "poems"));
    let unknown = train(&bench, "b", &[]);
    assert!(unknown.code == 2 && unknown.err.contains("poems") && unknown.err.contains("sums"), "{}", unknown.err);
    assert!(!bench.path("b").exists(), "nothing half-written");
}

#[test]
fn bad_plans_and_corpora_are_refused_whole() {
    let bench = lab(&PLAN.replace("steps = 24", "steps = 0").replace("clip = 1.0", "clip = -1"));
    let bad = train(&bench, "a", &[]);
    assert!(bad.code == 2 && bad.err.contains("steps") && bad.err.contains("clip"), "{}", bad.err);
    for (from, to, wanted) in [
        ("steps = [0, 8, 16]", "log_spaced = 100000000000", "10000"),
        ("entries = 280", "entries = 1000000000000000000", "1048576"),
        ("width = 32", "width = 1000000", "GB"),
        ("steps = 24", "steps = 9000000000000000000", "tokens"),
        ("clip = 1.0", "clip = 1.0\nmixture = \"none.json\"", "none.json"),
    ] {
        bench.write("lab.toml", PLAN.replace(from, to));
        let bad = train(&bench, "a", &["--dry-run"]);
        assert!(bad.code == 2 && bad.err.contains(wanted), "{to}: {}", bad.err);
    }
    bench.write("lab.toml", PLAN);
    bench.write("used/step8/config.json", "{}");
    let used = train(&bench, "used", &[]);
    assert!(used.code == 2 && used.err.contains("step8"), "{}", used.err);
    for (corpus, wanted) in [
        ("{\"source\": \"a\", \"id\": \"1\"}\n", "`text`"),
        ("", "empty"),
        (
            "{\"source\": \"a\", \"id\": \"1\", \"text\": \"x\"}\n{\"source\": \"a\", \"id\": \"1\", \"text\": \"y\"}\n",
            "document 2",
        ),
        ("{\"source\": \"a\", \"id\": \"1\", \"text\": \"too short\"}\n", "280"),
    ] {
        bench.write("corpus.jsonl", corpus);
        let bad = train(&bench, "a", &[]);
        assert!(bad.code == 2 && bad.err.contains(wanted), "{wanted}: {}", bad.err);
        assert!(!bench.path("a").exists());
    }
}
