//! The hub's client against a hub on the loopback interface that serves real files, and fails in every way it can.
#![cfg(feature = "hub")]

mod hub_server;
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hub_server::{Fault, Host, Hub, Repo, Request, git_sha1, sha256};
use tempfile::TempDir;
use veval::hub::{Address, Event, Patience, Settings, cached_model, fetch_file, fetch_model, pull};
use veval::{Error, ErrorKind};

const COMMIT: &str = "00000000000000000000000000000000000000aa";
const LATER: &str = "00000000000000000000000000000000000000bb";

/// A hub, an empty cache, and settings with short waits.
struct World {
    hub: Hub,
    cache: TempDir,
    settings: Settings,
}

impl World {
    fn new(name: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let (hub, cache) = (Hub::start(), TempDir::new().unwrap());
        hub.add(name, repo(COMMIT, files));
        let settings = settings(&hub, cache.path(), &[]);
        Self { hub, cache, settings }
    }

    fn file(&self, address: &str) -> Result<PathBuf, Error> {
        fetch_file(&address.parse().unwrap(), &self.settings, &mut |_| {})
    }

    fn model(&self, address: &str) -> Result<PathBuf, Error> {
        fetch_model(&address.parse().unwrap(), &self.settings, &mut |_| {})
    }

    fn offline(&self) -> Settings {
        settings(&self.hub, self.cache.path(), &[("HF_HUB_OFFLINE", "1")])
    }

    /// Requests for contents, since the last look.
    fn contents(&self) -> Vec<Request> {
        self.hub
            .requests()
            .into_iter()
            .filter(Request::is_content)
            .filter(|r| !r.target.contains("/resolve/"))
            .collect()
    }

    /// Names of the blobs, whole or not.
    fn blobs(&self, repo: &str) -> Vec<String> {
        let folder = self.cache.path().join(repo).join("blobs");
        let entries = std::fs::read_dir(folder).map(|entries| entries.map(|e| e.unwrap().file_name()).collect());
        let mut names: Vec<_> = entries.unwrap_or_else(|_| Vec::new());
        names.sort();
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }
}

fn settings(hub: &Hub, cache: &Path, more: &[(&str, &str)]) -> Settings {
    let all = [&[("HF_ENDPOINT", hub.endpoint.as_str()), ("HF_HUB_CACHE", cache.to_str().unwrap())], more].concat();
    let variable = |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let first_wait = Duration::from_millis(1);
    Settings {
        patience: Patience { tries: 4, first_wait, ..Patience::default() },
        ..Settings::read(&variable).unwrap()
    }
}

fn repo(commit: &str, files: &[(&str, Vec<u8>)]) -> Repo {
    let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
    Repo { commit: commit.to_owned(), files, large_from: 1000, ..Repo::default() }
}

/// Bytes without a pattern that a wrong order would keep.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = 2 * seed + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn assert_failed(result: Result<PathBuf, Error>, kind: ErrorKind, parts: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
}

#[test]
fn a_real_file_arrives_and_stays() {
    let Some(shared) = shared::shared_data() else { return };
    let bytes = std::fs::read(shared.join("arc/ARC-Easy-validation.jsonl")).unwrap();
    let world =
        World::new("datasets/o/arc", &[("data/easy test.jsonl", bytes.clone()), ("note.txt", b"hello\n".to_vec())]);
    let path = world.file("hf://dataset/o/arc/data/easy test.jsonl").unwrap();
    let folder = world.cache.path().join("datasets--o--arc");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join("data/easy test.jsonl"));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // The layout is Python's: a relative link to the content by its hash, and the branch's commit.
    assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../../blobs").join(sha256(&bytes)));
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let small = world.file("hf://dataset/o/arc@refs/pr/1/note.txt").unwrap();
    assert_eq!(std::fs::read_link(&small).unwrap(), Path::new("../../blobs").join(git_sha1(b"hello\n")));
    assert_eq!(std::fs::read_to_string(folder.join("refs/refs/pr/1")).unwrap(), COMMIT);
    // What is here is not asked for again, by branch, by commit, offline.
    world.hub.requests();
    for revision in ["", "@main", "@00000000000000000000000000000000000000aa"] {
        assert_eq!(world.file(&format!("hf://dataset/o/arc{revision}/data/easy test.jsonl")).unwrap(), path);
    }
    let address: Address = "hf://dataset/o/arc/data/easy test.jsonl".parse().unwrap();
    assert_eq!(pull(&[address], &world.offline(), &mut |_| {}).unwrap(), [path]);
    assert_eq!(world.hub.count(), 0);
}

#[test]
fn a_real_checkpoint_arrives_without_its_other_formats() {
    let Some(shared) = shared::shared_data() else { return };
    let read = |name: &str| std::fs::read(shared.join("tiny-lm-stories260k-hf").join(name)).unwrap();
    let kept = ["config.json", "model.safetensors", "tokenizer.json"];
    let mut files: Vec<(&str, Vec<u8>)> = kept.iter().map(|name| (*name, read(name))).collect();
    for other in ["README.md", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "original/params.json"] {
        files.push((other, noise(2000, 7)));
    }
    let world = World::new("models/o/stories", &files);
    let mut told = Vec::new();
    let address: Address = "hf://model/o/stories".parse().unwrap();
    let folder = fetch_model(&address, &world.settings, &mut |event| told.push(format!("{event:?}"))).unwrap();
    let place = world.cache.path().join("models--o--stories/snapshots").join(COMMIT);
    assert_eq!(folder.as_os_str(), place.as_os_str());
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, kept);
    for name in kept {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), read(name));
    }
    let finished: Vec<_> = told.iter().filter(|event| event.starts_with("Finished")).collect();
    assert_eq!(finished.len(), 3);
    assert!(finished[2].contains("hf://model/o/stories@main/config.json"), "{finished:?}");
    // Two pages or more of the tree, one revision, three contents with their redirects.
    let requests = world.hub.requests();
    assert_eq!(requests.iter().filter(|request| request.target.contains("/tree/")).count(), 3);
    assert!(requests.iter().all(|request| request.method == "GET"));
    assert_eq!(cached_model(&address, &world.offline()).unwrap(), Some(folder.clone()));
    assert_eq!(fetch_model(&address, &world.settings, &mut |_| {}).unwrap(), folder);
    assert_eq!(world.hub.count(), 0);
}

/// `tests/oracle/hub.py` wrote it: two repositories, and the cache that huggingface_hub left of them.
fn recorded() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub/layout.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn recorded_addresses() -> Vec<Address> {
    let rows = ["@main/data/test.jsonl", "@refs/pr/1/data/dev.csv", &format!("@{}/note.txt", "2".repeat(40))]
        .map(|rest| format!("hf://dataset/veval/rows{rest}"));
    rows.iter().map(String::as_str).chain(["hf://model/veval/tiny"]).map(|text| text.parse().unwrap()).collect()
}

/// Every file of a cache: its text, or where it points to.
fn layout(cache: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(cache).unwrap().to_str().unwrap().to_owned();
        if path.is_symlink() {
            found.insert(name, format!("-> {}", std::fs::read_link(path).unwrap().display()));
        } else if path.is_dir() {
            layout(cache, &path, found);
        } else {
            found.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_cache_is_the_one_that_python_leaves() {
    let record = recorded();
    let world = World::new("models/o/other", &[]);
    for (name, files) in record["repos"].as_object().unwrap() {
        let files: Vec<(&str, Vec<u8>)> =
            files.as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap().into())).collect();
        world.hub.add(name, repo(record["commits"][name].as_str().unwrap(), &files));
    }
    let paths = pull(&recorded_addresses(), &world.settings, &mut |_| {}).unwrap();
    assert!(world.file("hf://dataset/veval/rows/data/none.csv").is_err());
    let mut found = BTreeMap::new();
    layout(world.cache.path(), world.cache.path(), &mut found);
    found.retain(|name, _| !name.starts_with(".locks/"));
    let mut wanted = BTreeMap::new();
    for (name, what) in record["cache"].as_object().unwrap() {
        let link = what["link"].as_str().map(|target| format!("-> {target}"));
        wanted.insert(name.clone(), link.unwrap_or_else(|| what["text"].as_str().unwrap().to_owned()));
    }
    wanted.retain(|name, _| name != "CACHEDIR.TAG" && !name.contains("/trees/"));
    assert_eq!(found, wanted);
    assert_eq!(pull(&recorded_addresses(), &world.offline(), &mut |_| {}).unwrap(), paths);
}

#[test]
fn what_python_left_is_read_offline() {
    let record = recorded();
    let world = World::new("models/o/other", &[]);
    for (name, what) in record["cache"].as_object().unwrap() {
        let path = world.cache.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match what["link"].as_str() {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => std::fs::write(path, what["text"].as_str().unwrap()).unwrap(),
        }
    }
    let paths = pull(&recorded_addresses(), &world.offline(), &mut |_| {}).unwrap();
    assert_eq!(world.hub.count(), 0);
    let rows = &record["repos"]["datasets/veval/rows"];
    for (path, name) in paths.iter().zip(["data/test.jsonl", "data/dev.csv", "note.txt"]) {
        assert_eq!(std::fs::read_to_string(path).unwrap(), rows[name].as_str().unwrap());
    }
    for (name, text) in record["repos"]["models/veval/tiny"].as_object().unwrap() {
        assert_eq!(std::fs::read_to_string(paths[3].join(name)).unwrap(), text.as_str().unwrap());
    }
    // A file that the listing names and the snapshot lacks: half a checkpoint.
    std::fs::remove_file(paths[3].join("tokenizer_config.json")).unwrap();
    assert_eq!(cached_model(&recorded_addresses()[3], &world.offline()).unwrap(), None);
}

#[test]
fn shards_folders_and_single_files_of_a_model() {
    let index = br#"{"weight_map": {"a": "w-1.safetensors", "b": "w-2.safetensors", "c": "w-1.safetensors"}}"#.to_vec();
    let mut files = vec![
        ("m-q8_0.gguf", noise(5000, 1)),
        ("step10/config.json", b"{}".to_vec()),
        ("step10/model.safetensors.index.json", index),
        ("step10/w-1.safetensors", noise(3000, 2)),
        ("step10/w-2.safetensors", noise(3000, 3)),
    ];
    let world = World::new("models/o/n", &files);
    let snapshot = world.cache.path().join("models--o--n/snapshots").join(COMMIT);
    assert_eq!(world.model("hf://model/o/n/step10").unwrap(), snapshot.join("step10"));
    for (name, bytes) in &files[1..] {
        assert_eq!(std::fs::read(snapshot.join(name)).unwrap(), *bytes);
    }
    assert!(!snapshot.join("m-q8_0.gguf").exists());
    assert_eq!(world.model("hf://model/o/n/m-q8_0.gguf").unwrap(), snapshot.join("m-q8_0.gguf"));
    let two = ["hf://model/o/n/step10", "hf://model/o/n/m-q8_0.gguf"].map(|text| text.parse().unwrap());
    assert_eq!(pull(&two, &world.offline(), &mut |_| {}).unwrap().len(), 2);
    assert_failed(
        world.model("hf://model/o/n"),
        ErrorKind::BadInput,
        &["hf://model/o/n@main", "expected config.json and weights", "m-q8_0.gguf, step10"],
    );
    files.pop();
    world.hub.add("models/o/n", repo(LATER, &files));
    let address = [format!("hf://model/o/n@{LATER}/step10").parse().unwrap()];
    let error = pull(&address, &world.settings, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("the shard step10/w-2.safetensors that the index names"), "{error}");
}

#[test]
fn a_cut_connection_goes_on_where_it_stopped() {
    let bytes = noise(300_000, 11);
    let mut seed = 5_u64;
    for _ in 0..8 {
        let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
        let mut cuts = Vec::new();
        for _ in 0..6 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            cuts.push((seed >> 33) as usize % 60_000);
        }
        cuts.push(0);
        world.hub.fault("x.bin", cuts.iter().map(|&cut| Fault::Cut(cut)));
        let path = world.file("hf://dataset/o/n/x.bin").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), bytes);
        // Each try asks for what the tries before had not brought, and for nothing that they had.
        let asked: Vec<usize> = world.contents().iter().map(Request::from).collect();
        let mut have = 0;
        let mut wanted = vec![0];
        for cut in cuts {
            have += cut;
            wanted.push(have);
        }
        assert_eq!(asked, wanted);
        assert_eq!(world.blobs("datasets--o--n"), [sha256(&bytes)]);
    }
}

#[test]
fn many_cuts_are_no_reason_to_give_up_but_many_in_vain_are() {
    let bytes = noise(20_000, 12);
    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
    world.hub.fault("x.bin", vec![Fault::Cut(900); 20]);
    assert_eq!(std::fs::read(world.file("hf://dataset/o/n/x.bin").unwrap()).unwrap(), bytes);
    assert_eq!(world.contents().len(), 21);

    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
    world.hub.fault("x.bin", [vec![Fault::Cut(900)], vec![Fault::Cut(0); 3]].concat());
    let parts = ["broke off in x.bin", "given up after 4 tries", "what has arrived is kept"];
    assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::Incomplete, &parts);
    assert_eq!(world.blobs("datasets--o--n"), [format!("{}.incomplete", sha256(&bytes))]);
    world.hub.requests();
    assert_eq!(std::fs::read(world.file("hf://dataset/o/n/x.bin").unwrap()).unwrap(), bytes);
    assert_eq!(world.contents().iter().map(Request::from).collect::<Vec<_>>(), [900]);
}

#[test]
fn a_host_without_ranges_begins_anew() {
    let bytes = noise(20_000, 13);
    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
    world.hub.without_ranges();
    world.hub.fault("x.bin", [Fault::Cut(15_000), Fault::Cut(100)]);
    assert_eq!(std::fs::read(world.file("hf://dataset/o/n/x.bin").unwrap()).unwrap(), bytes);
    // One that never gets further is given up, although each try brings bytes.
    let world = World::new("datasets/o/n", &[("x.bin", bytes)]);
    world.hub.without_ranges();
    world.hub.fault("x.bin", vec![Fault::Cut(700); 4]);
    assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::Incomplete, &["given up after 4 tries"]);
}

#[test]
fn a_busy_hub_is_waited_for_as_long_as_it_asks() {
    let bytes = noise(5000, 14);
    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
    let busy = |seconds: &str| Fault::Status(429, vec![("retry-after", seconds.to_owned())]);
    world.hub.fault("x.bin", [busy("1"), Fault::Status(503, vec![]), Fault::Status(500, vec![])]);
    world.hub.fault("/datasets/o/n/resolve/main/x.bin", [busy("0")]);
    let mut waits = Vec::new();
    let mut events = |event: &Event<'_>| {
        if let Event::Retrying { milliseconds, reason } = event {
            waits.push((*milliseconds, (*reason).to_owned()));
        }
    };
    let path = fetch_file(&"hf://dataset/o/n/x.bin".parse().unwrap(), &world.settings, &mut events).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    assert_eq!(waits.iter().map(|(wait, _)| *wait).collect::<Vec<_>>(), [0, 1000, 2, 4]);
    assert!(waits[1].1.contains("429 (Too Many Requests)"), "{waits:?}");

    // Too long a wait, and too many: an error, and no empty file in the cache.
    let world = World::new("datasets/o/n", &[("x.bin", bytes)]);
    world.hub.fault("x.bin", [Fault::Status(429, vec![("ratelimit", "\"resolvers\";r=0;t=301".to_owned())])]);
    assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::Incomplete, &["429", "asks to wait 301 s"]);
    world.hub.fault("x.bin", [busy("86400")]);
    let parts = ["429", "asks to wait 86400 s, which is too long", "run again later"];
    assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::Incomplete, &parts);
    world.hub.fault("x.bin", vec![busy("0"); 4]);
    assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::Incomplete, &["429", "given up after 4 tries"]);
    assert!(world.blobs("datasets--o--n").iter().all(|name| name.ends_with(".incomplete")));
    assert!(!world.cache.path().join("datasets--o--n/snapshots").exists());
    assert!(!world.cache.path().join("datasets--o--n/refs").exists());
}

#[test]
fn wrong_bytes_are_refused_and_deleted() {
    let bytes = noise(5000, 15);
    let small = b"hello\n".to_vec();
    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone()), ("small.txt", small.clone())]);
    for (name, content, fault, parts) in [
        ("x.bin", &bytes, Fault::WrongByte, ["expected SHA-256", "the bytes were deleted"]),
        ("x.bin", &bytes, Fault::Length(4999), ["expected 5000 bytes, found 4999", "x.bin"]),
        ("x.bin", &bytes, Fault::Length(5001), ["expected 5000 bytes, found 5001", "x.bin"]),
        ("small.txt", &small, Fault::WrongByte, ["expected git's SHA-1", "small.txt"]),
        ("small.txt", &small, Fault::Length(0), ["expected 6 bytes, found 0", "small.txt"]),
    ] {
        world.hub.fault(name, [fault]);
        let address = format!("hf://dataset/o/n/{name}");
        assert_failed(world.file(&address), ErrorKind::BadInput, &parts);
        assert_eq!(world.blobs("datasets--o--n"), Vec::<String>::new());
        assert_eq!(std::fs::read(world.file(&address).unwrap()).unwrap(), *content);
        std::fs::remove_dir_all(world.cache.path().join("datasets--o--n")).unwrap();
    }
    world.hub.fault("x.bin", [Fault::Cut(100), Fault::WrongRange]);
    let parts = ["expected the bytes of x.bin from 100 on", "bytes 99-4999/5000"];
    assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::BadInput, &parts);
}

#[test]
fn what_an_earlier_process_left_is_used_if_it_is_right() {
    let bytes = noise(5000, 16);
    let wrong = noise(2000, 17);
    for (left, asked) in
        [(&bytes[..2000], &[2000][..]), (&bytes[..], &[]), (&[&bytes[..], b"more"].concat(), &[0]), (&[], &[0])]
    {
        let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
        let blobs = world.cache.path().join("datasets--o--n/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let partial = blobs.join(format!("{}.incomplete", sha256(&bytes)));
        std::fs::write(&partial, left).unwrap();
        assert_eq!(std::fs::read(world.file("hf://dataset/o/n/x.bin").unwrap()).unwrap(), bytes);
        assert_eq!(world.contents().iter().map(Request::from).collect::<Vec<_>>(), asked);
        // Bytes that were never right are found out by the hash, and the next run begins anew.
        std::fs::remove_dir_all(world.cache.path().join("datasets--o--n")).unwrap();
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(&partial, &wrong).unwrap();
        assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::BadInput, &["expected SHA-256"]);
        assert_eq!(std::fs::read(world.file("hf://dataset/o/n/x.bin").unwrap()).unwrap(), bytes);
    }
}

#[test]
fn a_slow_host_is_borne_and_a_silent_one_is_left() {
    let bytes = noise(1500, 18);
    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
    // Silence is longer than the time limit, and so is the whole of the slow answer, but not its pauses.
    world.hub.fault("x.bin", [Fault::Stall(1200), Fault::Slow(60)]);
    let patience = Patience { bytes: Duration::from_secs(1), ..world.settings.patience };
    let settings = Settings { patience, ..world.settings.clone() };
    let path = fetch_file(&"hf://dataset/o/n/x.bin".parse().unwrap(), &settings, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    assert_eq!(world.contents().iter().map(Request::from).collect::<Vec<_>>(), [0, 1200]);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let bytes = noise(5000, 19);
    let files = [("config.json", b"{}".to_vec()), ("model.safetensors", bytes)];
    let world = World::new("models/o/other", &files);
    let locked = Repo { token: Some("hf_secret".to_owned()), gated: true, ..repo(COMMIT, &files) };
    world.hub.add("models/o/gated", locked.clone());
    world.hub.add("models/o/private", Repo { gated: false, ..locked });
    let with = |token: &str| settings(&world.hub, world.cache.path(), &[("HF_TOKEN", token)]);
    let model = |name: &str, settings: &Settings| {
        fetch_model(&format!("hf://model/o/{name}").parse().unwrap(), settings, &mut |_| {})
    };
    for (name, settings, part) in [
        ("gated", &world.settings, "model/o/gated is gated, and no token was given"),
        ("gated", &with("hf_wrong"), "model/o/gated is gated, and the account of the token has no access"),
        ("private", &world.settings, "expected the repository model/o/private"),
    ] {
        let error = model(name, settings);
        assert_failed(error.clone(), ErrorKind::BadInput, &[part, "HF_TOKEN"]);
        assert!(!error.unwrap_err().to_string().contains("hf_wrong"));
    }
    world.hub.requests();
    let right = with("hf_secret");
    assert!(model("gated", &right).unwrap().join("model.safetensors").is_file());
    let path = fetch_file(&"hf://model/o/private/model.safetensors".parse().unwrap(), &right, &mut |_| {}).unwrap();
    assert!(path.is_file());
    let requests = world.hub.requests();
    assert!(requests.iter().any(|request| request.host == Host::Storage));
    for Request { host, headers, target, .. } in &requests {
        let token = headers.get("authorization").map(String::as_str);
        assert_eq!(token, Some("Bearer hf_secret").filter(|_| *host == Host::Hub), "{target}");
        assert!(headers["user-agent"].starts_with("veval/"), "{headers:?}");
        assert_eq!(headers["accept-encoding"], "identity");
    }
}

#[test]
fn what_is_not_there_is_told_apart() {
    let world = World::new("datasets/o/n", &[("x.csv", b"a\n1\n".to_vec())]);
    for (address, parts) in [
        ("hf://dataset/o/none/x.csv", ["expected the repository dataset/o/none", "check owner, name and kind"]),
        ("hf://dataset/o/n@v9/x.csv", ["expected the revision v9 of dataset/o/n", "name a branch, a tag or a commit"]),
        (
            "hf://dataset/o/n/y.csv",
            ["expected the file y.csv in dataset/o/n at main", "for the files of the repository"],
        ),
        ("hf://dataset/o/n", ["expected the path of a file", "/data/test.jsonl"]),
    ] {
        assert_failed(world.file(address), ErrorKind::BadInput, &parts);
    }
    assert!(world.cache.path().join("datasets--o--n/.no_exist").join(COMMIT).join("y.csv").is_file());
    let offline = fetch_file(&"hf://dataset/o/n/y.csv".parse().unwrap(), &world.offline(), &mut |_| {});
    assert_failed(offline, ErrorKind::BadInput, &["a note that the repository has no such file", "HF_HUB_OFFLINE"]);
}

#[test]
fn an_answer_that_no_hub_gives_is_refused() {
    let world = World::new("datasets/o/n", &[("x.csv", noise(5000, 20))]);
    let here = "/datasets/o/n/resolve/main/x.csv";
    let moved = |to: &str| Fault::Status(302, vec![("location", to.to_owned())]);
    for (fault, part) in [
        (Fault::Status(200, vec![]), "expected the header x-repo-commit"),
        (Fault::Status(200, vec![("x-repo-commit", "../../etc".to_owned())]), "expected the header x-repo-commit"),
        (Fault::Status(200, vec![("x-repo-commit", COMMIT.to_owned()), ("etag", "\"../x\"".to_owned())]), "entity tag"),
        (Fault::Status(418, vec![("x-error-message", "tea\tpot".to_owned())]), "418 (I'm a teapot), \"teapot\""),
        (moved("file:///etc/passwd"), "expected an address that begins with http"),
        (moved("http://127.0.0.1:1/x"), "expected the header x-repo-commit"),
    ] {
        world.hub.fault(here, [fault]);
        assert_failed(world.file("hf://dataset/o/n/x.csv"), ErrorKind::BadInput, &[part]);
    }
    world.hub.fault(here, vec![moved(here); 11]);
    assert_failed(world.file("hf://dataset/o/n/x.csv"), ErrorKind::BadInput, &["at most 10 redirects"]);
    let info = "/api/models/o/n/revision/main";
    for (fault, part) in [
        (Fault::Status(200, vec![]), "expected JSON from"),
        (moved("http://127.0.0.1:1/x"), "to answer itself, found a reference to http://127.0.0.1:1/x"),
    ] {
        world.hub.fault(info, [fault]);
        assert_failed(world.model("hf://model/o/n"), ErrorKind::BadInput, &[part, "hf://model/o/n@main"]);
    }
    world.hub.without_etags();
    assert_failed(world.file("hf://dataset/o/n/x.csv"), ErrorKind::BadInput, &["expected an entity tag"]);
    assert_eq!(std::fs::read_dir(world.cache.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_listing_is_not_believed() {
    let world = World::new("models/o/n", &[("config.json", b"{}".to_vec()), ("model.safetensors", noise(2000, 24))]);
    let tree = format!("/api/models/o/n/tree/{COMMIT}?recursive=true");
    let file = |path: &str, oid: &str, size: &str| {
        format!("{{\"type\": \"file\", \"path\": {path:?}, \"oid\": {oid:?}, \"size\": {size}}}")
    };
    let (right, wrong) = ("a".repeat(40), "../../x".repeat(2));
    let names = ["../config.json", "/etc/config.json", "a/../config.json", "config.json\n", ""];
    let outside: Vec<String> = names.iter().map(|name| file(name, &right, "1")).collect();
    let endless = format!("{}{tree}", world.hub.endpoint);
    let (nothing, elsewhere) = ("[]".to_owned(), "http://127.0.0.1:1/next".to_owned());
    for (documents, part) in [
        (vec![(format!("[{}]", outside.join(", ")), None)], "expected config.json and weights"),
        (vec![(format!("[{}]", file("config.json", &wrong, "1")), None)], "expected config.json and weights"),
        (vec![("{\"a\": 1}".to_owned(), None)], "expected a list of files"),
        (vec![("[[[".to_owned(), None)], "expected JSON from"),
        (vec![(format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), None)], "expected JSON from"),
        (vec![(nothing.clone(), Some(elsewhere))], "to answer itself, found a reference to http://127.0.0.1:1/next"),
        (vec![(nothing, Some(endless)); 100], "expected at most 100 pages"),
    ] {
        world.hub.fault(&tree, documents.into_iter().map(|(text, next)| Fault::Document(text, next)));
        assert_failed(world.model("hf://model/o/n"), ErrorKind::BadInput, &[part, "hf://model/o/n@main"]);
        assert_eq!(std::fs::read_dir(world.cache.path()).unwrap().count(), 0, "nothing was written");
    }
    // A size that is none is one that is not known; the hash decides.
    let config = file("config.json", &git_sha1(b"{}"), "-1");
    let weights = file("model.safetensors", &sha256(&noise(2000, 24)), "\"many\"");
    world.hub.fault(&tree, [Fault::Document(format!("[{config}, {weights}]"), None)]);
    assert!(world.model("hf://model/o/n").is_ok());
}

#[test]
fn a_file_of_unknown_length_ends_with_its_connection() {
    let bytes = noise(5000, 25);
    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone()), ("small.txt", b"hello\n".to_vec())]);
    world.hub.without_lengths();
    world.hub.fault("x.bin", [Fault::Cut(4000)]);
    assert_failed(world.file("hf://dataset/o/n/x.bin"), ErrorKind::BadInput, &["expected SHA-256"]);
    assert_eq!(std::fs::read(world.file("hf://dataset/o/n/x.bin").unwrap()).unwrap(), bytes);
    assert_eq!(std::fs::read(world.file("hf://dataset/o/n/small.txt").unwrap()).unwrap(), b"hello\n");
    // All of it was here already, and nobody could know.
    std::fs::remove_dir_all(world.cache.path().join("datasets--o--n/snapshots")).unwrap();
    let blob = world.cache.path().join("datasets--o--n/blobs").join(sha256(&bytes));
    std::fs::rename(&blob, blob.with_added_extension("incomplete")).unwrap();
    world.hub.requests();
    assert_eq!(std::fs::read(world.file("hf://dataset/o/n/x.bin").unwrap()).unwrap(), bytes);
    assert_eq!(world.contents().iter().map(Request::from).collect::<Vec<_>>(), [5000, 0]);
}

#[test]
fn nobody_at_home_is_told_after_all_tries() {
    let cache = TempDir::new().unwrap();
    let settings = Settings { endpoint: "http://127.0.0.1:1".to_owned(), ..settings(&Hub::start(), cache.path(), &[]) };
    let address = "hf://dataset/o/n/x.csv".parse().unwrap();
    let result = fetch_file(&address, &settings, &mut |_| {});
    assert_failed(result, ErrorKind::Incomplete, &["no answer of 127.0.0.1", "refused", "given up after 4 tries"]);
    // Somebody who does not speak TLS is not asked again.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings { endpoint: format!("https://{}", listener.local_addr().unwrap()), ..settings };
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let result = fetch_file(&address, &settings, &mut |_| {});
    assert_failed(result, ErrorKind::BadInput, &["expected a secure connection to 127.0.0.1"]);
}

#[test]
fn a_branch_that_moves_is_followed_by_a_pull_only() {
    let world = World::new("datasets/o/n", &[("x.csv", b"old\n".to_vec()), ("same.csv", b"same\n".to_vec())]);
    let addresses = ["hf://dataset/o/n/x.csv", "hf://dataset/o/n/same.csv"].map(|text| text.parse().unwrap());
    let old = pull(&addresses, &world.settings, &mut |_| {}).unwrap();
    world.hub.add("datasets/o/n", repo(LATER, &[("x.csv", b"new\n".to_vec()), ("same.csv", b"same\n".to_vec())]));
    assert_eq!(world.file("hf://dataset/o/n/x.csv").unwrap(), old[0], "a run takes what is here");
    world.hub.requests();
    let new = pull(&addresses, &world.settings, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(&new[0]).unwrap(), b"new\n");
    assert_eq!(world.contents().iter().filter(|request| request.target.contains("same.csv")).count(), 0);
    assert_eq!(std::fs::read(&new[1]).unwrap(), b"same\n");
    assert_eq!(world.file("hf://dataset/o/n/x.csv").unwrap(), new[0]);
    assert_eq!(std::fs::read(&old[0]).unwrap(), b"old\n", "the old commit stays");
    assert_eq!(world.file(&format!("hf://dataset/o/n@{COMMIT}/x.csv")).unwrap(), old[0]);
}

#[test]
fn a_pull_tells_all_problems() {
    let world = World::new("datasets/o/n", &[("x.csv", b"a\n1\n".to_vec()), ("y.csv", noise(2000, 21))]);
    world.hub.fault("y.csv", vec![Fault::Status(503, vec![]); 4]);
    let texts = ["hf://dataset/o/n/none.csv", "hf://dataset/o/n/x.csv", "hf://dataset/o/n/y.csv", "hf://model/o/none"];
    let addresses = texts.map(|text| text.parse().unwrap());
    let error = pull(&addresses, &world.settings, &mut |_| {}).unwrap_err();
    assert_eq!((error.kind(), error.diagnostics().len()), (ErrorKind::BadInput, 3), "{error}");
    for address in ["hf://dataset/o/n@main/none.csv", "hf://dataset/o/n@main/y.csv", "hf://model/o/none@main"] {
        assert!(error.to_string().contains(address), "{error}");
    }
    assert!(world.file("hf://dataset/o/n/x.csv").is_ok());
    assert_eq!(pull(&addresses[1..3], &world.settings, &mut |_| {}).unwrap().len(), 2);
    // Where all that failed can be taken up again, so can the whole.
    world.hub.add("datasets/o/n", repo(LATER, &[("y.csv", noise(2000, 22))]));
    world.hub.fault("y.csv", vec![Fault::Status(503, vec![]); 4]);
    assert_eq!(pull(&addresses[2..3], &world.settings, &mut |_| {}).unwrap_err().kind(), ErrorKind::Incomplete);
}

#[test]
fn two_at_once_fetch_a_file_once() {
    let bytes = noise(3000, 23);
    let world = World::new("datasets/o/n", &[("x.bin", bytes.clone())]);
    world.hub.fault("x.bin", [Fault::Slow(2)]);
    let one = || {
        let mut waited = 0;
        let mut events = |event: &Event<'_>| waited += usize::from(matches!(event, Event::Waiting { .. }));
        let path = fetch_file(&"hf://dataset/o/n/x.bin".parse().unwrap(), &world.settings, &mut events).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), bytes);
        waited
    };
    let waited: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((waited, world.contents().len()), (2, 1));
}
