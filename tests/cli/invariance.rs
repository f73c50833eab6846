//! The bytes of a record depend on the work alone: not on how it was cut into passes, shared, bounded, split among
//! processes, or interrupted. On two families.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::shared::shared_data;
use crate::support::{Bench, Ran, example, ran, root};
use crate::{random_checkpoint, wide_checkpoint};

/// A suite of every kind of task, and a checkpoint.
struct Case {
    suite: PathBuf,
    checkpoint: PathBuf,
}

/// A trained llama, and gpt2 with random weights.
fn cases() -> Vec<Case> {
    let suite = root().join("suites/example.toml");
    let gpt2 = random_checkpoint::folder("gpt2");
    vec![Case { suite: suite.clone(), checkpoint: example(700) }, Case { suite, checkpoint: gpt2 }]
}

impl Case {
    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["run", self.suite.to_str().unwrap(), self.checkpoint.to_str().unwrap()], more].concat()
    }

    fn record(&self) -> String {
        let name = self.checkpoint.file_name().unwrap().to_string_lossy();
        format!("runs/example/{name}/samples.jsonl")
    }

    fn run(&self, bench: &Bench, more: &[&str], isa: &str) -> Ran {
        ran(&bench.command(&self.arguments(more)).env("VEVAL_ISA", isa).output().unwrap())
    }

    /// The lines of a run in a folder of its own.
    fn lines(&self, more: &[&str], isa: &str) -> Vec<String> {
        let bench = Bench::new();
        let ran = self.run(&bench, more, isa);
        assert_eq!(ran.code, 0, "{more:?}: {}", ran.err);
        bench.read(&self.record()).lines().map(str::to_owned).collect()
    }
}

fn of_task(lines: &[String], task: &str) -> Vec<String> {
    lines.iter().filter(|line| line.contains(&format!("{{\"task\":\"{task}\""))).cloned().collect()
}

#[test]
fn cost_flags_change_no_byte() {
    for case in cases() {
        let whole = case.lines(&["--threads", "1"], "");
        let ways: [(&[&str], &str); 10] = [
            (&["--threads", "2"], ""),
            (&["--threads", "7"], "portable"),
            (&["--batch-tokens", "1"], ""),
            (&["--batch-tokens", "64"], ""),
            (&["--batch-tokens", "512", "--threads", "2"], "portable"),
            (&["--batch-tokens", "4096"], ""),
            (&["--no-prefix-sharing"], ""),
            (&["--no-prefix-sharing", "--batch-tokens", "64", "--threads", "2"], ""),
            (&["--max-memory", "150MB"], ""),
            (&["--max-memory", "8GB"], ""),
        ];
        for (more, isa) in ways {
            assert_eq!(case.lines(more, isa), whole, "{more:?} {isa}");
        }
        for isa in veval::kernels::cpu::Isa::available() {
            assert_eq!(case.lines(&[], isa.name()), whole, "{isa:?}");
        }
        for task in ["facts", "sums", "copies", "told"] {
            let expected = of_task(&whole, task);
            assert_eq!(case.lines(&["--task", task], ""), expected, "{task} alone");
            assert_eq!(case.lines(&["--task", task, "--limit", "3"], ""), expected[..3], "the first of {task}");
        }
        let tasks: BTreeSet<&str> = whole.iter().filter_map(|line| line.split('"').nth(3)).collect();
        assert_eq!(tasks.len(), 4, "{tasks:?}");
    }
}

/// Real questions with their shots, contexts of hundreds to thousands of tokens, and products whose inner dimension is
/// cut into several chunks and runs.
#[test]
#[ignore = "slow: `cargo test --test cli -- --ignored`"]
fn cost_flags_change_no_byte_at_larger_size() {
    let Some(data) = shared_data() else { return };
    let data = data.to_str().unwrap();
    let core = root().join("suites/core.toml");
    let tasks = ["mmlu_anatomy", "arc_challenge", "hellaswag", "gsm8k", "wikitext"];
    let of_tasks: Vec<&str> = tasks.iter().flat_map(|task| ["--task", task]).collect();
    let common = [&of_tasks[..], &["--limit", "5", "--data-dir", data]].concat();
    for checkpoint in [
        wide_checkpoint::folder(&Path::new(data).join("tiny-lm-stories260k-hf")),
        random_checkpoint::folder("gpt_neox"),
    ] {
        let name = checkpoint.file_name().unwrap().to_string_lossy().into_owned();
        let lines = |more: &[&str], isa: &str| {
            let bench = Bench::new();
            let run = ["run", core.to_str().unwrap(), checkpoint.to_str().unwrap()];
            let ran = ran(&bench.command(&[&run, &common[..], more].concat()).env("VEVAL_ISA", isa).output().unwrap());
            assert_eq!(ran.code, 0, "{more:?}: {}", ran.err);
            bench.read(&format!("runs/core/{name}/samples.jsonl"))
        };
        let whole = lines(&[], "");
        assert!(tasks.iter().all(|task| whole.contains(&format!("\"task\":\"{task}\""))), "all tasks were run");
        let ways: [(&[&str], &str); 7] = [
            (&["--batch-tokens", "64"], ""),
            (&["--batch-tokens", "4096"], ""),
            (&["--threads", "1"], ""),
            (&["--threads", "2", "--max-memory", "8GB"], ""),
            (&["--max-memory", "250MB"], ""),
            (&["--no-prefix-sharing"], ""),
            (&["--batch-tokens", "100"], "avx2"),
        ];
        for (more, isa) in ways {
            assert!(lines(more, isa) == whole, "{name}: {more:?} {isa} changes the record");
        }
        // In parts, the first of which is killed on its way and goes on.
        let bench = Bench::new();
        let part = |part: &str| {
            let run = ["run", core.to_str().unwrap(), checkpoint.to_str().unwrap(), "--shard", part];
            bench.command(&[&run, &common[..]].concat())
        };
        let mut begun = part("0/3").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while score_bytes(&bench) < 2000 && start.elapsed() < Duration::from_mins(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.kill().unwrap();
        begun.wait().unwrap();
        let manifest = bench.read(&format!("runs/core/{name}/shards/0-of-3/run.json"));
        assert!(manifest.contains("\"running\""), "the part was at work when it was killed");
        for number in ["2/3", "0/3", "1/3"] {
            let ran = ran(&part(number).output().unwrap());
            assert_eq!(ran.code, 0, "{number}: {}", ran.err);
        }
        assert_eq!(bench.veval(&["merge", "runs"]).code, 0);
        assert!(bench.read(&format!("runs/core/{name}/samples.jsonl")) == whole, "{name}: in parts");
    }
}

#[test]
fn tasks_in_another_order_have_the_same_samples() {
    cases().iter().for_each(in_another_order);
}

fn in_another_order(case: &Case) {
    let whole = case.lines(&[], "");
    let text = std::fs::read_to_string(&case.suite).unwrap();
    let (head, tasks) = text.split_once("[[task]]").unwrap();
    let mut tasks: Vec<&str> = tasks.split("[[task]]").collect();
    tasks.reverse();
    let bench = Bench::new();
    let turned = bench.write("suites/example.toml", format!("{head}[[task]]{}", tasks.join("\n[[task]]")));
    for name in ["facts.jsonl", "sums.jsonl", "copies.jsonl", "told.txt"] {
        bench
            .write(&format!("suites/example/{name}"), std::fs::read(root().join("suites/example").join(name)).unwrap());
    }
    let turned = Case { suite: turned, checkpoint: case.checkpoint.clone() };
    assert_eq!(turned.run(&bench, &[], "").code, 0);
    let mut lines: Vec<String> = bench.read(&case.record()).lines().map(str::to_owned).collect();
    assert_ne!(lines, whole);
    lines.sort();
    let mut sorted = whole;
    sorted.sort();
    assert_eq!(lines, sorted);
}

/// Answers drawn by chance depend on the seed and the prompt alone.
#[test]
fn sampled_answers_are_as_invariant() {
    let bench = Bench::new();
    bench.write("words.jsonl", (0..12).map(|i| format!("{{\"w\": \"wa{i}\"}}\n")).collect::<String>());
    let suite = |name: &str, more: &str| {
        let task = "kind = \"generation\"\nprompt = \"copy {{ w }} :\"\ntarget = \"w\"\nmax_tokens = 6";
        let data = "data = { file = \"words.jsonl\" }";
        let text = format!(
            "schema = \"veval.suite/1\"\nname = \"{name}\"\n[[task]]\nname = \"words\"\n{task}\n{data}\n{more}\n"
        );
        bench.write(&format!("{name}.toml"), text)
    };
    let (checkpoint, number) = (example(700), Cell::new(0));
    let answers_on = |isa: &str, suite: &Path, more: &[&str]| -> Vec<String> {
        number.set(number.get() + 1);
        let (suite, out) = (suite.to_str().unwrap(), format!("out{}", number.get()));
        let arguments = [&["run", suite, checkpoint.to_str().unwrap(), "--out", &out], more].concat();
        let ran = ran(&bench.command(&arguments).env("VEVAL_ISA", isa).output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let name = Path::new(suite).file_stem().unwrap().to_str().unwrap();
        let lines = bench.read(&format!("{out}/{name}/step700/samples.jsonl"));
        let text = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["outcome"]["answer"]["text"].to_string()
        };
        lines.lines().map(text).collect()
    };
    let answers = |suite: &Path, more: &[&str]| answers_on("", suite, more);
    let greedy = answers(&suite("greedy", ""), &[]);
    let drawn = suite("drawn", "sampling = { temperature = 1.5, top_k = 40, top_p = 0.95 }");
    let first = answers(&drawn, &[]);
    assert_ne!(first, greedy);
    for more in [&["--batch-tokens", "3"][..], &["--threads", "2"], &["--no-prefix-sharing"]] {
        assert_eq!(answers(&drawn, more), first, "{more:?}");
    }
    for isa in veval::kernels::cpu::Isa::available() {
        assert_eq!(answers_on(isa.name(), &drawn, &["--max-memory", "150MB"]), first, "{isa:?}");
    }
    assert_eq!(answers(&drawn, &["--limit", "4"]), first[..4]);
    let other = suite("other", "seed = 7\nsampling = { temperature = 1.5, top_k = 40, top_p = 0.95 }");
    assert_ne!(answers(&other, &[]), first);
    assert_eq!(answers(&suite("cold", "sampling = { temperature = 0 }"), &[]), greedy);
    assert_eq!(answers(&suite("one", "sampling = { temperature = 1.0, top_k = 1 }"), &[]), greedy);
    let bad = suite("bad", "sampling = { temperature = -1.0, top_p = 2 }");
    let ran = bench.veval(&["run", bad.to_str().unwrap(), checkpoint.to_str().unwrap()]);
    assert!(
        ran.code == 2 && ran.err.contains("from 0 to 100, found -1") && ran.err.contains("from 0 to 1, found 2"),
        "{}",
        ran.err
    );
}

#[test]
fn parts_of_a_run_are_merged_to_the_whole() {
    for case in cases() {
        let (whole, parts) = (Bench::new(), Bench::new());
        assert_eq!(case.run(&whole, &[], "").code, 0);
        // In any order, and with one missing nothing is merged.
        for shard in ["2/3", "0/3"] {
            let ran = case.run(&parts, &["--shard", shard], "");
            assert!(ran.code == 0 && ran.out.contains("veval merge runs"), "{}{}", ran.out, ran.err);
        }
        let ran = parts.veval(&["merge", "runs"]);
        assert!(ran.code == 3 && ran.err.contains("--shard 1/3"), "{} {}", ran.code, ran.err);
        assert!(!parts.path(&case.record()).exists());
        assert_eq!(case.run(&parts, &["--shard", "1/3"], "").code, 0);
        let merged = parts.veval(&["merge", "runs", "--format", "csv"]);
        assert_eq!(merged.code, 0, "{}", merged.err);
        assert_eq!(parts.read(&case.record()), whole.read(&case.record()));
        let table = case.record().replace("samples.jsonl", "metrics.csv");
        assert_eq!(parts.read(&table), whole.read(&table));
        assert!(!parts.path(&case.record().replace("samples.jsonl", "shards")).exists());
        // What was merged is a complete record.
        let before = std::fs::metadata(parts.path(&case.record())).unwrap().modified().unwrap();
        assert_eq!(case.run(&parts, &[], "").code, 0);
        assert_eq!(std::fs::metadata(parts.path(&case.record())).unwrap().modified().unwrap(), before);
        assert_eq!(parts.veval(&["merge", "runs"]).code, 2, "there is nothing left to merge");
    }
}

#[test]
fn parts_of_different_work_are_refused() {
    let (case, bench) = (&cases()[0], Bench::new());
    assert_eq!(case.run(&bench, &["--shard", "0/2"], "").code, 0);
    assert_eq!(case.run(&bench, &["--shard", "1/2", "--limit", "5"], "").code, 0);
    let ran = bench.veval(&["merge", "runs"]);
    assert!(ran.code == 2 && ran.err.contains("other work"), "{}", ran.err);
    assert_eq!(case.run(&bench, &["--shard", "2/2"], "").code, 2);
}

/// Kills or interrupts a run wherever it is, goes on, and compares. No answer that was stored is given again.
#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    const POINTS: u64 = 50;
    let (mut interrupted, mut killed) = (0, 0);
    for case in cases() {
        let quiet = Bench::new();
        let start = Instant::now();
        assert_eq!(case.run(&quiet, &[], "").code, 0);
        let whole = u64::try_from(start.elapsed().as_micros()).unwrap();
        let all = score_bytes(&quiet);
        let mut bench = Bench::new();
        for point in 0..POINTS {
            // Spread over the time of a whole run, in no order.
            let delay = Duration::from_micros(whole * (point * 29 % POINTS) / POINTS);
            let before = score_bytes(&bench);
            let mut child = bench.command(&case.arguments(&["--batch-tokens", "16"]));
            let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(delay);
            if point % 2 == 0 {
                child.kill().unwrap();
                child.wait().unwrap();
            } else {
                interrupt(child.id());
                let code = child.wait().unwrap().code();
                // Before its handler is in place the signal ends the program as any other.
                assert!([None, Some(0), Some(3)].contains(&code), "{code:?}");
                interrupted += u32::from(code == Some(3));
            }
            let done = complete(&bench, &case);
            killed += u32::from(point % 2 == 0 && !done && score_bytes(&bench) > before.max(all / 20));
            if done {
                assert_eq!(bench.read(&case.record()), quiet.read(&case.record()));
                assert_eq!(swept_bytes(&bench), all, "every answer is stored once");
                bench = Bench::new();
            }
        }
        assert_eq!(case.run(&bench, &[], "").code, 0);
        assert_eq!(bench.read(&case.record()), quiet.read(&case.record()));
        assert_eq!(swept_bytes(&bench), all, "every answer is stored once");
        let table = case.record().replace("samples.jsonl", "metrics.csv");
        assert_eq!(bench.read(&table), quiet.read(&table));
    }
    assert!(interrupted > 0 && killed > 0, "{interrupted} interrupts and {killed} kills met a run at work");
}

fn interrupt(process: u32) {
    // The shell's own `kill`; the process may have ended already.
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -INT {process} 2>/dev/null")]).status();
    assert!(status.is_ok());
}

fn complete(bench: &Bench, case: &Case) -> bool {
    let manifest = bench.path(&case.record().replace("samples.jsonl", "run.json"));
    std::fs::read_to_string(manifest).is_ok_and(|text| text.contains("\"complete\""))
}

/// Score files with their sizes.
fn score_files(bench: &Bench) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(bench.path("runs/.scores")).into_iter().flatten().map(|entry| entry.unwrap());
    let mut files: Vec<(PathBuf, u64)> = entries.map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect();
    files.sort();
    files
}

/// Without generations as far as they were before they went on.
fn swept_bytes(bench: &Bench) -> u64 {
    assert_eq!(bench.veval(&["gc", "runs"]).code, 0);
    score_bytes(bench)
}

fn score_bytes(bench: &Bench) -> u64 {
    score_files(bench).iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn answers_are_stored_once_and_found_again() {
    let (case, bench) = (&cases()[0], Bench::new());
    assert_eq!(case.run(&bench, &[], "").code, 0);
    let (record, stored) = (bench.read(&case.record()), score_files(&bench));
    assert_eq!(stored.len(), 1);
    // The record is lost, the answers are not: nothing is computed, nothing is stored twice.
    std::fs::remove_dir_all(bench.path("runs/example")).unwrap();
    assert_eq!(case.run(&bench, &[], "").code, 0);
    assert_eq!((bench.read(&case.record()), score_files(&bench)), (record.clone(), stored.clone()));
    // Less, and then all again.
    assert_eq!(case.run(&bench, &["--limit", "2"], "").code, 0);
    assert_eq!(case.run(&bench, &[], "").code, 0);
    assert_eq!((bench.read(&case.record()), score_files(&bench)), (record.clone(), stored.clone()));
    // A damaged byte costs one answer; it is computed again, and `gc` drops the damaged one.
    let mut bytes = std::fs::read(&stored[0].0).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&stored[0].0, &bytes).unwrap();
    std::fs::remove_dir_all(bench.path("runs/example")).unwrap();
    assert_eq!(case.run(&bench, &[], "").code, 0);
    assert_eq!(bench.read(&case.record()), record);
    let swept = bench.veval(&["gc", "runs"]);
    assert!(swept.code == 0 && swept.out.contains("damaged or doubled"), "{}", swept.out);
    assert_eq!(score_files(&bench), stored);
    // Without its runs, a model's answers are let go.
    std::fs::remove_dir_all(bench.path("runs/example")).unwrap();
    assert_eq!(bench.veval(&["gc", "runs", "--dry-run"]).code, 0);
    assert_eq!(score_files(&bench), stored);
    assert_eq!(bench.veval(&["gc", "runs"]).code, 0);
    assert!(score_files(&bench).is_empty());
}

#[test]
fn a_second_process_on_the_same_folder_is_told_so() {
    let (case, bench) = (&cases()[0], Bench::new());
    let folder = Path::new("runs/example").join(case.checkpoint.file_name().unwrap());
    std::fs::create_dir_all(bench.path(folder.to_str().unwrap())).unwrap();
    let lock = std::fs::File::create(bench.path(folder.join(".lock").to_str().unwrap())).unwrap();
    lock.lock().unwrap();
    let ran = case.run(&bench, &[], "");
    assert!(ran.code == 2 && ran.err.contains("another veval at work"), "{}", ran.err);
    lock.unlock().unwrap();
    assert_eq!(case.run(&bench, &[], "").code, 0);
}

#[test]
fn a_memory_limit_is_refused_with_what_is_needed() {
    let (case, bench) = (&cases()[0], Bench::new());
    // First of the weights, then, once they are there, of the longest input: what is named last is enough.
    let (mut limit, mut refused) = ("20MB".to_owned(), 0);
    let ran = loop {
        let ran = case.run(&bench, &["--max-memory", &limit], "");
        let Some((_, named)) = ran.err.split_once("expected a memory limit of at least ") else { break ran };
        assert_eq!(ran.code, 2);
        refused += 1;
        assert!(refused < 3, "{}", ran.err);
        limit = named.split_once(", found").unwrap().0.replace(' ', "");
    };
    assert!(ran.code == 0 && refused > 0, "{} {}", ran.code, ran.err);
    assert_eq!(case.run(&bench, &["--max-memory", "much"], "").code, 2);
}

/// Two tasks that ask the same are answered once.
#[test]
fn what_is_asked_twice_is_answered_once() {
    let (case, once, twice) = (&cases()[0], Bench::new(), Bench::new());
    let task = |name: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\nkind = \"generation\"\ndata = {{ file = \"rows.jsonl\" }}\nprompt = \"{{{{ q }}}}\"\n\
             target = \"a\"\nmax_tokens = 6\nmetrics = [\"exact_match\"]\n"
        )
    };
    let rows = "{\"q\": \"Arlo lives in\", \"a\": \"Elm\"}\n{\"q\": \"Bena lives in\", \"a\": \"Ford\"}\n";
    let run = |bench: &Bench, tasks: &[&str]| {
        let tasks: String = tasks.iter().map(|name| task(name)).collect();
        bench.write("rows.jsonl", rows);
        bench.write("s.toml", format!("schema = \"veval.suite/1\"\nname = \"s\"\n{tasks}"));
        let ran = bench.veval(&["run", "s.toml", case.checkpoint.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        bench.read("runs/s/step700/samples.jsonl")
    };
    let (one, two) = (run(&once, &["one"]), run(&twice, &["one", "two"]));
    assert_eq!(score_bytes(&once), score_bytes(&twice));
    assert_eq!(two.lines().count(), 4);
    assert!(two.starts_with(&one));
    let text = |line: &str| line.split_once("\"outcome\"").unwrap().1.to_owned();
    let (first, second): (Vec<&str>, Vec<&str>) = (two.lines().take(2).collect(), two.lines().skip(2).collect());
    assert!(first.iter().zip(second).all(|(a, b)| text(a) == text(b)), "{two}");
}

#[test]
fn another_chat_template_is_another_prompt() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"q\": \"Arlo lives in\"}\n");
    bench.write(
        "s.toml",
        "schema = \"veval.suite/1\"\nname = \"s\"\n[[task]]\nname = \"t\"\nkind = \"generation\"\nchat = true\n\
         data = { file = \"rows.jsonl\" }\nprompt = \"{{ q }}\"\ntarget = \"q\"\nmax_tokens = 2\nmetrics = [\"exact_match\"]\n",
    );
    let template = |end: &str| format!("{{% for m in messages %}}{{{{ m.content }}}}{end}{{% endfor %}}");
    // Checkpoints of a series that differ in their weights and in this file.
    for (step, end) in [(60, "A"), (700, "B")] {
        bench.checkpoint(&format!("series/step{step}"), step);
        bench.write(&format!("series/step{step}/chat_template.jinja"), template(end));
    }
    let prompt = |step: u64| {
        let ran = bench.veval(&["run", "s.toml", "series"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let sample: serde_json::Value =
            serde_json::from_str(&bench.read(&format!("runs/s/series__step{step}/samples.jsonl"))).unwrap();
        sample["prompt_hash"].as_str().unwrap().to_owned()
    };
    let hash = |end: &str| veval::util::hash::sha256_hex(format!("Arlo lives in{end}").as_bytes());
    assert_eq!((prompt(60), prompt(700)), (hash("A"), hash("B")));
    bench.write("series/step60/chat_template.jinja", template("C"));
    assert_eq!((prompt(60), prompt(700)), (hash("C"), hash("B")));
}
