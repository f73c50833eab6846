//! Data sets and checkpoints of the hub, through the program.

use crate::hub_server::{Hub, Repo};
use crate::support::{Bench, Ran, example, ran};

const ROWS: &str = "1111111111111111111111111111111111111111";
const MODEL: &str = "2222222222222222222222222222222222222222";
const ADDRESS: &str = "hf://model/o/towns@step700";

/// A hub that has the rows of the small suite and an example checkpoint, and the suite over both.
fn world() -> (Bench, Hub) {
    let (bench, hub) = (Bench::new(), Hub::start());
    let suite = std::fs::read_to_string(bench.suite("")).unwrap();
    bench.write("hub.toml", suite.replace("\"rows.jsonl\"", "\"hf://dataset/o/rows@v1/all/rows.jsonl\""));
    let rows = std::fs::read(bench.path("rows.jsonl")).unwrap();
    let files = [("all/rows.jsonl".to_owned(), rows)].into();
    hub.add("datasets/o/rows", Repo { commit: ROWS.into(), tags: vec!["v1".into()], files, ..Repo::default() });
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    let files = std::fs::read_dir(example(700)).unwrap().map(read).collect();
    hub.add("models/o/towns", Repo { commit: MODEL.into(), tags: vec!["step700".into()], files, ..Repo::default() });
    (bench, hub)
}

fn veval(bench: &Bench, hub: &Hub, offline: bool, arguments: &[&str]) -> Ran {
    let mut command = bench.command(arguments);
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", bench.path("hf"));
    if offline {
        command.env("HF_HUB_OFFLINE", "1");
    }
    ran(&command.output().unwrap())
}

#[test]
fn a_pulled_suite_runs_without_a_network_and_as_from_files() {
    let (bench, hub) = world();
    let local = bench.veval(&["run", "mini.toml", example(700).to_str().unwrap(), "--out", "local"]);
    assert_eq!(local.code, 0, "{}", local.err);
    let pulled = veval(&bench, &hub, false, &["data", "pull", "hub.toml", ADDRESS, ADDRESS]);
    assert_eq!(pulled.code, 0, "{}", pulled.err);
    let places =
        [format!("datasets--o--rows/snapshots/{ROWS}/all/rows.jsonl"), format!("models--o--towns/snapshots/{MODEL}")];
    let wanted: String =
        places.iter().map(|place| format!("{}\n", bench.path("hf/hub").join(place).display())).collect();
    assert_eq!(pulled.out, wanted);
    hub.requests();
    let far = veval(&bench, &hub, true, &["run", "hub.toml", ADDRESS, "--out", "far"]);
    assert_eq!((far.code, hub.count()), (0, 0), "{}", far.err);
    let samples = bench.read("far/mini/o--towns__step700/samples.jsonl");
    assert_eq!(samples, bench.read("local/mini/step700/samples.jsonl"));
    assert!(bench.read("far/mini/o--towns__step700/metrics.csv").contains("mini,o--towns,step700,700,"));
    let record: serde_json::Value = serde_json::from_str(&bench.read("far/mini/o--towns__step700/run.json")).unwrap();
    let file = format!("hf://dataset/o/rows@{ROWS}/all/rows.jsonl");
    assert!(record.to_string().contains(&file), "the record names the commit: {record}");
    // Without a pull, a run fetches what it needs.
    std::fs::remove_dir_all(bench.path("hf")).unwrap();
    let online = veval(&bench, &hub, false, &["run", "hub.toml", ADDRESS, "--out", "online"]);
    assert_eq!(online.code, 0, "{}", online.err);
    assert_eq!(bench.read("online/mini/o--towns__step700/samples.jsonl"), samples);
    let shown = veval(&bench, &hub, true, &["show", "hub.toml", "--item", "1"]);
    assert!(shown.code == 2 && !shown.err.contains("panicked"), "a suite is no task: {}", shown.err);
}

#[test]
fn what_cannot_be_pulled_is_told_at_once() {
    let (bench, hub) = world();
    let wrong = bench.read("hub.toml").replace("hf://dataset/o/rows@v1/all/rows.jsonl", "hf://dataset/o/rows@v1/../x");
    bench.write("wrong.toml", wrong);
    let unnamed =
        bench.read("hub.toml").replace("file = \"hf://dataset/o/rows@v1/all/rows.jsonl\"", "hub = \"o/rows\"");
    bench.write("unnamed.toml", unnamed);
    let told = veval(&bench, &hub, false, &["data", "pull", "wrong.toml", "unnamed.toml", "hf://modle/o/n"]);
    assert_eq!(told.code, 2);
    for part in [
        "expected a path inside the repository, found \"../x\"",
        "expected the files of the public set o/rows",
        "did you mean `model`?",
    ] {
        assert!(told.err.contains(part), "{part}: {}", told.err);
    }
    assert_eq!(hub.count(), 0);
    let told = veval(&bench, &hub, true, &["data", "pull", "hub.toml", ADDRESS]);
    assert_eq!(told.code, 2);
    for part in ["hf://dataset/o/rows@v1/all/rows.jsonl in the cache", ADDRESS, "HF_HUB_OFFLINE", "veval data pull"] {
        assert!(told.err.contains(part), "{part}: {}", told.err);
    }
    let told = veval(&bench, &hub, true, &["run", "hub.toml", example(700).to_str().unwrap()]);
    assert!(told.code == 2 && told.err.contains("HF_HUB_OFFLINE"), "{}", told.err);
    assert_eq!(hub.count(), 0);
}
