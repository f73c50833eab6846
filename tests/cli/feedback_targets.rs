//! Soft targets from a feedback set to a trainer that has never seen it.

use std::path::Path;

use veval::ckpt::TensorFile;
use veval::lab::corpus::read_corpus;
use veval::lab::targets::TargetFile;
use veval::text::Tokenizer;

use crate::feedback_loop::{PLAN, SMALL, built, json, path};
use crate::support::{Bench, Ran, edit_json, root};

/// Documents of two sources of the lab, and one that shows a sealed item.
fn stream(bench: &Bench) {
    let mut kept = Vec::new();
    for source in ["arithmetic", "brackets"] {
        let all = read_corpus(&root().join("data/lab/corpus.jsonl.gz")).unwrap();
        kept.extend(all.into_iter().filter(|own| own.source == source).take(10));
    }
    let items = std::fs::read_to_string(root().join("data/lab/tasks/items/lists_upper.jsonl")).unwrap();
    let sealed = items.lines().map(json).find(|item| item["split"] == "sealed").unwrap();
    let line = |source: &str, id: &str, text: &str| {
        format!("{}\n", serde_json::json!({"source": source, "id": id, "text": text}))
    };
    let mut lines: String = kept.iter().map(|own| line(&own.source, &own.id, &own.text)).collect();
    lines += &line("brackets", "shows", sealed["prompt"].as_str().unwrap());
    bench.write("corpus.jsonl", lines);
}

fn targets(bench: &Bench, out: &str, more: &[&str]) -> Ran {
    let checkpoint = path("data/lab/midrun");
    let arguments = ["feedback", "targets", "fb", &checkpoint, "--stream", "corpus.jsonl", "--out", out];
    bench.veval(&[&arguments, more].concat())
}

/// The number behind a line's words.
fn told(out: &str, words: &str) -> f64 {
    let line = out.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {out}"));
    line.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn a_file_is_the_same_each_time_and_holds_nothing_but_tokens_of_the_stream() {
    let bench = Bench::new();
    built(&bench, "fb", &SMALL);
    stream(&bench);
    let made = targets(&bench, "targets.safetensors", &["--threads", "2"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let (best, crossed) = (told(&made.out, "gained by"), told(&made.out, "as the other half"));
    assert!(best > 0.0 && crossed < best, "{}", made.out);
    assert_eq!(made.out.contains("other items would not choose these targets"), crossed <= 0.0, "{}", made.out);
    assert!(made.out.contains("a sealed item, which keep their true tokens: 1"), "{}", made.out);
    let twin = targets(&bench, "twin.safetensors", &["--threads", "1", "--batch-tokens", "50"]);
    assert_eq!((twin.code, told(&twin.out, "gained by")), (0, best), "{}", twin.err);
    let bytes = |name: &str| std::fs::read(bench.path(name)).unwrap();
    assert!(bytes("targets.safetensors") == bytes("twin.safetensors"));

    // Four tensors and five strings: ids of tokens and two probabilities.
    let file = TensorFile::open(&bench.path("targets.safetensors")).unwrap();
    let names: Vec<&String> = file.tensors().keys().collect();
    assert_eq!(names, ["ids", "offsets", "positions", "probabilities"]);
    let strings: Vec<&String> = file.metadata().keys().collect();
    assert_eq!(strings, ["alpha_max", "checkpoint", "documents", "schema", "tokenizer"]);
    let probabilities = file.read_floats("probabilities").unwrap();
    assert!(probabilities.chunks(2).all(|pair| *pair == [0.9, 0.1]));
    let read = TargetFile::read(&bench.path("targets.safetensors")).unwrap();
    let corpus = read_corpus(&bench.path("corpus.jsonl")).unwrap();
    let tokenizer = Tokenizer::open(Path::new(&path("data/lab/midrun"))).unwrap();
    let (mut shifted, mut all, mut firsts, mut lasts) = (0, 0, 0, 0);
    for (document, targets) in corpus.iter().zip(&read.documents) {
        let tokens = [tokenizer.encode_plain(&document.text).unwrap(), vec![0]].concat();
        assert!(targets.iter().all(|(position, own)| own.truth() == tokens[*position as usize]));
        assert_eq!(document.id == "shows", targets.is_empty(), "{}", document.id);
        shifted += targets.len();
        all += if document.id == "shows" { 0 } else { tokens.len() };
        firsts += usize::from(targets.first().is_some_and(|(position, _)| *position == 0));
        lasts += usize::from(targets.last().is_some_and(|(position, _)| *position as usize + 1 == tokens.len()));
    }
    assert!(made.out.contains(&format!("{all} tokens of 21 documents, {shifted} of them shifted")), "{}", made.out);
    assert!(firsts > 0 && lasts > 0, "every token is asked, from the first to the end: {firsts} {lasts}");

    // Other documents of the file keep their tokens; nothing may move without a share.
    let some = targets(&bench, "some.safetensors", &["--source", "arithmetic", "--sample", "3", "--alpha", "1"]);
    assert_eq!(some.code, 0, "{}", some.err);
    let some = TargetFile::read(&bench.path("some.safetensors")).unwrap();
    assert_eq!(some.documents.iter().filter(|own| !own.is_empty()).count(), 3);
    assert!(some.documents[10..].iter().all(Vec::is_empty) && some.documents.len() == 21);
    assert!(some.documents.iter().flatten().all(|(_, own)| own.entries()[0].1 == 0.0));
    let none = targets(&bench, "none.safetensors", &["--alpha", "0"]);
    assert!(none.code == 0 && none.out.contains("0 of them shifted"), "{} {}", none.out, none.err);
}

#[test]
fn sets_streams_and_shares_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    built(&bench, "fb", &SMALL);
    stream(&bench);
    let refused = |more: &[&str], wanted: &str| {
        let made = targets(&bench, "targets.safetensors", more);
        assert!(made.code == 2 && made.err.contains(wanted), "{wanted}: {}", made.err);
        assert!(!bench.path("targets.safetensors").exists());
    };
    refused(&["--alpha", "1.1"], "expected a number from 0 to 1");
    refused(&["--alpha", "nan"], "expected a number from 0 to 1");
    refused(&["--candidates", "1"], "expected a number from 2 to 65536");
    refused(&["--source", "quiz"], "expected one of the sources arithmetic, brackets, found quiz");
    refused(&["--max-memory", "40MB"], "memory");
    let taken = targets(&bench, "corpus.jsonl", &[]);
    assert!(taken.code == 2 && taken.err.contains("a name that is free"), "{}", taken.err);
    let other = path("data/lab/ckpts/step561");
    let made =
        bench.veval(&["feedback", "targets", "fb", &other, "--stream", "corpus.jsonl", "--out", "t.safetensors"]);
    assert!(made.code == 2 && made.err.contains("expected a checkpoint of the set"), "{}", made.err);
    edit_json(&bench.path("fb/manifest.json"), |manifest| {
        manifest.insert("tokenizer".to_owned(), "blake3:other".into());
    });
    refused(&[], "expected the tokenizer of the set, blake3:other");
}

#[test]
fn an_arm_learns_on_targets_without_its_feedback_set() {
    let bench = Bench::new();
    built(&bench, "fb", &SMALL);
    stream(&bench);
    let made = targets(&bench, "soft.safetensors", &[]);
    assert_eq!(made.code, 0, "{}", made.err);
    let plan = PLAN.replace("CORPUS", "corpus.jsonl").replace("FROM", &path("data/lab/midrun"));
    bench.write("go_on.toml", &plan);
    let check = |arm: &str| {
        let arguments = ["feedback", "check", "fb", "--plan", "go_on.toml", "--arm", "old=", "--arm", arm];
        bench.veval(&[&arguments[..], &["--seeds", "1", "--out", "check"]].concat())
    };
    let checked = check("soft=soft.safetensors");
    assert_eq!(checked.code, 0, "{}", checked.err);
    let found = json(&bench.read("check/check.json"));
    let mean = &found["parts"][0]["mean"][0];
    assert_eq!(mean["arm"], "soft");
    assert!(mean["mean"].as_f64().unwrap() != 0.0, "{found}");
    let twice = check("soft=soft.safetensors+more.safetensors");
    assert!(twice.code == 2 && twice.err.contains("one of targets (.safetensors) at most"), "{}", twice.err);

    // The same arm, trained where there is no feedback set.
    std::fs::remove_dir_all(bench.path("fb")).unwrap();
    bench.write("soft.toml", plan.replace("seed = 7", "seed = 8\ntargets = \"soft.safetensors\""));
    let train = |out: &str, threads: &str| {
        let ran = bench.veval(&["lab", "train", "soft.toml", "--threads", threads, "--out", out]);
        (ran.code, ran.err)
    };
    assert_eq!(train("alone", "1").0, 0);
    let weights = |folder: &str| std::fs::read(bench.path(folder).join("step1714/model.safetensors")).unwrap();
    assert!(weights("alone") == weights("check/soft/seed1"));
    assert!(weights("alone") != weights("check/old/seed1"));

    // Of another corpus, or of another tokenizer.
    let corpus = bench.read("corpus.jsonl");
    bench.write("corpus.jsonl", corpus.replacen("\"id\":\"", "\"id\":\"x", 1));
    let (code, error) = train("other", "2");
    assert!(code == 2 && error.contains("expected targets for the corpus of the plan"), "{error}");
    bench.write("corpus.jsonl", corpus);
    let without = plan.replace("seed = 7", "seed = 8\ntargets = \"soft.safetensors\"");
    let from = without.lines().filter(|line| !line.contains("from =")).collect::<Vec<_>>().join("\n");
    bench.write("soft.toml", from.replace("entries = 1024", "entries = 300"));
    let (code, error) = train("other", "2");
    assert!(code == 2 && error.contains("expected targets for the tokenizer of the plan"), "{error}");
    assert!(!error.contains("the corpus of the plan") && !bench.path("other").exists(), "{error}");
}
