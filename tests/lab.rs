//! The lab that ships: it is what its seed makes, its checkpoints score what is recorded, and they have learned what they
//! should.

#[path = "shared/mod.rs"]
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use veval::lab::{Lab, Size};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/lab")
}

/// Files of a lab that `lab new` writes, by name.
fn made(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for part in ["", "tasks", "tasks/items", "truth"] {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_shipped_world_is_what_its_seed_makes() {
    let folder = tempfile::tempdir().unwrap();
    Lab::new(7, Size::Small).unwrap().write(folder.path()).unwrap();
    let (ours, theirs) = (made(folder.path()), made(&shipped()));
    let names = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        files.keys().filter(|name| *name != "scores.csv").cloned().collect()
    };
    assert_eq!(names(&ours), names(&theirs));
    for (name, bytes) in &ours {
        let shipped = &theirs[name];
        // The shipped README goes on with the runs.
        let same = if name == "README.md" { shipped.starts_with(bytes) } else { shipped == bytes };
        assert!(same, "{name} is not what `veval lab new --seed 7` writes");
    }
    let other = Lab::new(8, Size::Small).unwrap();
    assert_ne!(other.world.entities[0], Lab::new(7, Size::Small).unwrap().world.entities[0]);
}

#[test]
fn facts_are_in_the_documents_that_the_truth_names() {
    let corpus = veval::lab::corpus::read_corpus(&shipped().join("corpus.jsonl.gz")).unwrap();
    let texts: BTreeMap<&str, &str> = corpus.iter().map(|d| (d.id.as_str(), d.text.as_str())).collect();
    let truth = |name: &str| std::fs::read_to_string(shipped().join("truth").join(name)).unwrap();
    let world: serde_json::Value = serde_json::from_str(&truth("world.json")).unwrap();
    let names = |id: &str| -> Vec<String> {
        let entity = world["entities"].as_array().unwrap().iter().find(|entity| entity["id"] == id).unwrap();
        let more = entity["aliases"].as_array().into_iter().flatten().chain([&entity["name"], &entity["nickname"]]);
        more.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    };
    let (mut stated, mut held_out) = (0, 0);
    for line in truth("facts.jsonl").lines() {
        let fact: serde_json::Value = serde_json::from_str(line).unwrap();
        let documents = fact["documents"].as_array().unwrap();
        let told = fact["statements"].as_u64().unwrap() + fact["quiz_statements"].as_u64().unwrap();
        assert_eq!(documents.len() as u64, told, "{line}");
        assert_eq!(fact["held_out"].as_bool().unwrap(), told == 0);
        held_out += usize::from(told == 0);
        let object = names(fact["object"].as_str().unwrap());
        for document in documents {
            let text = texts[document.as_str().unwrap()];
            assert!(object.iter().any(|name| text.contains(name.as_str())), "{document} does not name {object:?}");
            stated += 1;
        }
    }
    assert!(stated > 10_000 && held_out > 50, "{stated} {held_out}");
}

/// A row of scores.
struct Score {
    checkpoint: String,
    step: u64,
    task: String,
    slice: String,
    value: String,
    low: f64,
    high: f64,
}

/// Rows of `acc` and `exact_match`.
fn scores(text: &str) -> Vec<Score> {
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let columns: BTreeMap<String, usize> =
        rows.headers().unwrap().iter().enumerate().map(|(at, name)| (name.to_owned(), at)).collect();
    let score = |row: csv::Result<csv::StringRecord>| {
        let row = row.unwrap();
        let cell = |name: &str| row[columns[name]].to_owned();
        let number = |name: &str| cell(name).parse().unwrap();
        ["acc", "exact_match"].contains(&cell("metric").as_str()).then(|| Score {
            checkpoint: cell("checkpoint"),
            step: cell("step").parse().unwrap(),
            task: cell("task"),
            slice: cell("slice"),
            value: cell("value"),
            low: number("ci_lo"),
            high: number("ci_hi"),
        })
    };
    rows.records().filter_map(score).collect()
}

fn recorded() -> Vec<Score> {
    scores(&std::fs::read_to_string(shipped().join("scores.csv")).unwrap())
}

fn score<'a>(scores: &'a [Score], step: u64, task: &str, slice: &str) -> &'a Score {
    let found = scores.iter().find(|score| (score.step, &*score.task, &*score.slice) == (step, task, slice));
    found.unwrap_or_else(|| panic!("no score of {task} {slice} at {step}"))
}

#[test]
fn the_last_checkpoint_has_learned_what_was_taught() {
    let scores = recorded();
    let last = scores.iter().map(|score| score.step).max().unwrap();
    let tasks: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(shipped().join("truth/tasks.json")).unwrap()).unwrap();
    let above: Vec<&str> = tasks
        .as_array()
        .unwrap()
        .iter()
        .filter(|task| {
            let sealed = score(&scores, last, task["name"].as_str().unwrap(), "split=sealed");
            sealed.low > task["chance"].as_f64().unwrap().max(0.05)
        })
        .filter_map(|task| task["name"].as_str())
        .collect();
    assert!(above.len() >= 15, "above chance on sealed items: {above:?}");

    let by_bin: Vec<f64> = ["0", "1-3", "4-15", "16-63", "64+"]
        .map(|bin| score(&scores, last, "facts_cloze", &format!("bin={bin}")).value.parse().unwrap())
        .into();
    assert!(by_bin[1] + by_bin[2] < by_bin[3] + by_bin[4] && by_bin[4] > by_bin[0] + 0.2, "{by_bin:?}");
    let held_out = score(&scores, last, "facts_cloze", "bin=0");
    assert!(held_out.low < 0.25 && 0.25 < held_out.high, "held-out facts are at chance");
}

#[test]
fn composites_come_after_their_parts() {
    let scores = recorded();
    let steps: Vec<u64> = {
        let mut steps: Vec<u64> = scores.iter().map(|score| score.step).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    };
    let tasks: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(shipped().join("truth/tasks.json")).unwrap()).unwrap();
    // The first checkpoint from which on a task's score stays at half or more.
    let emerged = |task: &str| {
        let half = |step: &&u64| score(&scores, **step, task, "").value.parse::<f64>().unwrap() >= 0.5;
        steps.iter().rev().take_while(half).last().copied()
    };
    let mut after = Vec::new();
    for task in tasks.as_array().unwrap() {
        let parts: Vec<&str> = task["made_of"].as_array().unwrap().iter().filter_map(|part| part.as_str()).collect();
        let name = task["name"].as_str().unwrap();
        if let (Some(own), false) = (emerged(name), parts.is_empty())
            && parts.iter().all(|part| emerged(part).is_some_and(|step| step < own))
        {
            after.push(name);
        }
    }
    assert!(after.len() >= 2, "{after:?}");
}

/// Tensors of a safetensors file: type, and where each lies.
fn tensors(path: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes[8..head]).unwrap();
    let tensor = |(name, entry): (String, serde_json::Value)| {
        let at = |place: usize| head + entry["data_offsets"][place].as_u64().unwrap() as usize;
        let dtype = entry["dtype"].as_str()?.to_owned();
        Some((name, (dtype, bytes[at(0)..at(1)].to_vec())))
    };
    header.into_iter().filter_map(tensor).collect()
}

#[test]
fn midrun_is_the_run_at_step_1713_before_it_was_rounded() {
    let rounded = tensors(&shipped().join("ckpts/step1713/model.safetensors"));
    let whole = tensors(&shipped().join("midrun/model.safetensors"));
    assert_eq!(rounded.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (name, (dtype, bytes)) in &whole {
        assert_eq!((dtype.as_str(), rounded[name].0.as_str()), ("F32", "F16"));
        let halves: Vec<u8> = bytes
            .as_chunks()
            .0
            .iter()
            .flat_map(|value| half::f16::from_f32(f32::from_le_bytes(*value)).to_le_bytes())
            .collect();
        assert!(halves == rounded[name].1, "{name}");
    }
    let moments = tensors(&shipped().join("midrun/moments.safetensors"));
    assert_eq!(moments.len(), 2 * whole.len());
    let other = tensors(&shipped().join("variant/step2485/model.safetensors"));
    assert!(other.keys().eq(rounded.keys()) && other != rounded);
}

#[test]
fn mentions_have_lments_fields_and_weights() {
    let aggregated = |candidate: &serde_json::Value| {
        let score = |source: &str| candidate["scores_by_source"][source].as_f64().unwrap();
        0.4 * score("hyperlinks") + 0.3 * score("entity_linking") + 0.2 * score("coref") + 0.1 * score("coref_cluster")
    };
    let candidates = |entities: &serde_json::Value| -> Vec<serde_json::Value> {
        let entities = entities.as_array().unwrap();
        entities.iter().flat_map(|entity| entity["candidates"].as_array().unwrap().clone()).collect()
    };
    // The weights are those of the chunk that LMEnt gives as an example, which rounds to two places.
    if let Some(data) = shared::shared_data() {
        let chunk = std::fs::read(data.join("lment-format/example_chunk.json")).unwrap();
        let chunk: serde_json::Value = serde_json::from_slice(&chunk).unwrap();
        let theirs = candidates(&chunk["metadata"]["entities"]);
        assert!(theirs.len() > 5);
        for candidate in theirs {
            let found = candidate["aggregated_score"].as_f64().unwrap();
            assert!((found - aggregated(&candidate)).abs() < 0.0051, "{candidate}");
        }
    }
    let rows = veval::data::read_rows(&shipped().join("corpus.jsonl.gz"), None).unwrap();
    let mut ambiguous = 0;
    for row in rows.iter().filter(|row| row.contains_key("entities")) {
        let text: Vec<char> = row["text"].as_str().unwrap().chars().collect();
        for entity in row["entities"].as_array().unwrap() {
            let at = |key: &str| entity[key].as_u64().unwrap() as usize;
            let span: String = text[at("char_start")..at("char_end")].iter().collect();
            assert_eq!(entity["text_mention"], span);
            ambiguous += usize::from(entity["candidates"].as_array().unwrap().len() > 1);
        }
        for candidate in candidates(&row["entities"]) {
            let found = candidate["aggregated_score"].as_f64().unwrap();
            assert!((found - aggregated(&candidate)).abs() < 1e-4, "{candidate}");
        }
    }
    assert!(ambiguous > 100, "{ambiguous}");
}

/// The shipped plan on this machine, as far as its second checkpoint: the same bytes as where it was made.
#[test]
#[ignore = "slow: `cargo test --test lab -- --ignored`"]
fn the_shipped_run_begins_again_to_the_same_bytes() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("ckpts");
    let mut child = Command::new(env!("CARGO_BIN_EXE_veval"))
        .args(["lab", "train", "data/lab/lab.toml", "--quiet", "--out"])
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("VEVAL_ISA")
        .spawn()
        .unwrap();
    // A checkpoint's folder appears when it is whole.
    while !folder.join("step126").exists() {
        assert!(child.try_wait().unwrap().is_none(), "training ended early");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for step in ["step0", "step126"] {
        for file in
            ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "trainer_state.json"]
        {
            let read = |folder: PathBuf| std::fs::read(folder.join(step).join(file)).unwrap();
            assert!(read(folder.clone()) == read(shipped().join("ckpts")), "{step}/{file}");
        }
    }
}

/// Every checkpoint on every task, as the README's first command does.
#[test]
#[ignore = "slow: `cargo test --test lab -- --ignored`"]
fn recorded_scores_come_again_to_the_last_digit() {
    let out = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(env!("CARGO_BIN_EXE_veval"))
        .args(["run", "suites/quickstart.toml", "data/lab/ckpts", "--format", "csv", "--quiet", "--out"])
        .arg(out.path())
        .current_dir(root)
        .env_remove("VEVAL_ISA")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let again = scores(&String::from_utf8(ran.stdout).unwrap());
    let again: BTreeMap<(&str, &str, &str), &str> =
        again.iter().map(|s| ((&*s.checkpoint, &*s.task, &*s.slice), &*s.value)).collect();
    let recorded = recorded();
    for score in &recorded {
        let key = (&*score.checkpoint, &*score.task, &*score.slice);
        assert_eq!(again.get(&key), Some(&&*score.value), "{key:?}");
    }
    assert!(recorded.len() > 1000);
    look_at(&out.path().join("quickstart/report.html"));
}

/// The page in a real browser: it is drawn at all, and more than a white sheet.
fn look_at(page: &Path) {
    let picture = page.with_file_name("page.png");
    let shot = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,2400"])
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .output();
    let Ok(shot) = shot else {
        println!("skipped: needs chromium");
        return;
    };
    assert!(shot.status.success(), "{}", String::from_utf8_lossy(&shot.stderr));
    let bytes = std::fs::read(picture).unwrap();
    let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((&bytes[1..4], side(16), side(20)), (&b"PNG"[..], 1280, 2400));
    // An empty page of this size packs into 10 kB.
    assert!(bytes.len() > 50_000, "{} bytes", bytes.len());
}
