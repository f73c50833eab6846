//! What needs no network: addresses, settings, the choice of files, the cache as it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::address::{Address, Commit, RepoKind, RepoPath, is_address};
use super::cache::RepoCache;
use super::checkpoint::{Files, Wanted, Weights, choose, shards};
use super::settings::Settings;
use super::{Event, cached_file, cached_model, fetch_file, fetch_model, pinned, pull};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn paths(names: &[&str]) -> BTreeSet<RepoPath> {
    names.iter().map(|name| RepoPath::parse(name).unwrap()).collect()
}

fn read(variables: &[(&str, &str)]) -> crate::Result<Settings> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Settings::read(&|name| variables.get(name).map(|&value| value.to_owned()))
}

#[test]
fn addresses_are_read_and_printed() {
    // Text, kind, id, revision, path, and the text as it is printed, where another one.
    for (text, kind, id, revision, path, printed) in [
        ("hf://dataset/o/n@v1/d/a.csv", RepoKind::Dataset, "o/n", "v1", Some("d/a.csv"), None),
        ("hf://model/o/n", RepoKind::Model, "o/n", "main", None, Some("hf://model/o/n@main")),
        ("hf://models/o/n/", RepoKind::Model, "o/n", "main", None, Some("hf://model/o/n@main")),
        ("hf://model/gpt2", RepoKind::Model, "gpt2", "main", None, Some("hf://model/gpt2@main")),
        ("hf://model/gpt2@main/a/b", RepoKind::Model, "gpt2", "main", Some("a/b"), None),
        ("hf://space/o/n@refs/pr/12/x", RepoKind::Space, "o/n", "refs/pr/12", Some("x"), None),
        ("hf://dataset/o/n@refs/convert/parquet", RepoKind::Dataset, "o/n", "refs/convert/parquet", None, None),
        (
            "hf://dataset/o/n@a%2fb/c@d",
            RepoKind::Dataset,
            "o/n",
            "a/b",
            Some("c@d"),
            Some("hf://dataset/o/n@a%2Fb/c@d"),
        ),
    ] {
        let found = address(text);
        assert_eq!((found.repo.kind, found.repo.id(), found.revision.as_str()), (kind, id, revision), "{text}");
        assert_eq!(found.path.as_ref().map(RepoPath::as_str), path, "{text}");
        assert_eq!(found.to_string(), printed.unwrap_or(text));
        assert_eq!(address(&found.to_string()), found);
    }
    assert!(is_address("hf://") && !is_address("data/hf.csv"));
    assert_eq!(address(&format!("hf://model/o/n@{COMMIT}")).revision.commit(), Commit::parse(COMMIT));
    assert_eq!(address("hf://model/o/n@0123456").revision.commit(), None);
}

#[test]
fn addresses_that_could_leave_their_folder_are_refused() {
    for text in [
        "o/n",
        "hf://",
        "hf://o/n",
        "hf://modle/o/n",
        "hf://model/",
        "hf://model//n",
        "hf://model/../n",
        "hf://model/o/..",
        "hf://model/o/a--b",
        "hf://model/o/.n",
        "hf://model/o/n.git",
        "hf://model/o/n m",
        "hf://model/o/n@",
        "hf://model/o/n@..%2f..%2fetc",
        "hf://model/o/n@a b",
        "hf://model/o/n@.hidden",
        "hf://model/o/n@%2Fetc",
        "hf://model/o/n@x//y",
        "hf://model/o/n/../x",
        "hf://model/o/n/a/./b",
        "hf://model/o/n//x",
        "hf://model/o/n/C:/x",
        "hf://model/o/n/a\\..\\b",
        "hf://model/o/n/a\nb",
    ] {
        let error = text.parse::<Address>().expect_err(text).to_string();
        assert!(error.contains("expected") && error.contains("an address is hf://"), "{error}");
    }
    assert!("hf://modle/o/n".parse::<Address>().unwrap_err().to_string().contains("did you mean `model`?"));
    assert!(format!("hf://model/o/{}", "n".repeat(97)).parse::<Address>().is_err());
    assert!(format!("hf://model/o/n/{}", "n".repeat(1025)).parse::<Address>().is_err());
}

#[test]
fn whatever_is_read_prints_itself_and_stays_inside() {
    const PIECES: [&str; 18] = [
        "a",
        "b-1",
        "/",
        "/",
        "/",
        "@",
        "@",
        "..",
        ".",
        "%2F",
        "%2e",
        "refs/pr/1",
        "refs/",
        "\\",
        "C:",
        "--",
        " ",
        "ü",
    ];
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..200_000 {
        let rest: String = (0..=next(7)).map(|_| PIECES[next(PIECES.len())]).collect();
        let Ok(found) = format!("hf://model/o{rest}").parse::<Address>() else { continue };
        read += 1;
        assert_eq!(address(&found.to_string()), found, "{rest}");
        let folder = found.repo.folder();
        assert!(!folder.contains('/'));
        for name in [&*folder, found.revision.as_str(), found.path.as_ref().map_or("x", RepoPath::as_str)] {
            let inside = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
            assert!(Path::new(name).components().all(inside) && !name.contains('\\'), "{rest}: {name}");
        }
    }
    assert!(read > 5000, "{read} addresses were read");
}

#[test]
fn settings_are_those_of_python() {
    let settings = read(&[("HOME", "/h")]).unwrap();
    assert_eq!(settings.endpoint, "https://huggingface.co");
    assert_eq!((settings.cache, settings.offline), (PathBuf::from("/h/.cache/huggingface/hub"), false));
    for (variables, cache) in [
        (&[("XDG_CACHE_HOME", "/x")][..], "/x/huggingface/hub"),
        (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")], "/h/hf/hub"),
        (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
        (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "$HOME/${A}b/$NONE-c")], "/h/1b/$NONE-c"),
    ] {
        let settings = read(&[&[("HOME", "/h"), ("A", "1")], variables].concat()).unwrap();
        assert_eq!(settings.cache, Path::new(cache), "{variables:?}");
    }
    for (value, offline) in [("1", true), ("true", true), ("Yes", true), ("0", false), ("off", false)] {
        assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).unwrap().offline, offline);
        assert_eq!(read(&[("TRANSFORMERS_OFFLINE", value)]).unwrap().offline, offline);
    }
    assert_eq!(read(&[("HF_ENDPOINT", "http://127.0.0.1:80/hf//")]).unwrap().endpoint, "http://127.0.0.1:80/hf");
    assert_eq!(read(&[("HF_HUB_DOWNLOAD_TIMEOUT", "77")]).unwrap().patience.bytes.as_secs(), 77);
}

#[test]
fn tokens_come_from_variables_and_files_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let other = folder.path().join("other");
    std::fs::write(folder.path().join("token"), "hf_home\n").unwrap();
    std::fs::write(&other, " hf_other ").unwrap();
    let same = |found: &Settings, token: &str| found.token == read(&[("HF_TOKEN", token)]).unwrap().token;
    let file = [("HF_HOME", home), ("HF_TOKEN_PATH", other.to_str().unwrap())];
    assert!(same(&read(&file[..1]).unwrap(), "hf_home"));
    assert!(same(&read(&file).unwrap(), "hf_other"));
    let all = read(&[&file[..], &[("HF_TOKEN", "hf_secret"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")]].concat()).unwrap();
    assert!(same(&all, "hf_secret"));
    assert!(!format!("{all:?}").contains("secret"));
    assert!(read(&[("HF_HOME", "/none")]).unwrap().token.is_none());
}

#[test]
fn all_problems_of_settings_are_told_at_once() {
    let wrong = [("HF_ENDPOINT", "huggingface.co"), ("HF_TOKEN", "a\nb"), ("HF_HUB_ETAG_TIMEOUT", "soon")];
    let error = read(&wrong).unwrap_err();
    assert_eq!(error.diagnostics().len(), 3, "{error}");
    assert!(!error.to_string().contains("a\nb"));
    for endpoint in ["ftp://h", "https://", "https://user@h", "https:///x", "http://:80", "http://h/?q"] {
        assert!(read(&[("HF_ENDPOINT", endpoint)]).is_err(), "{endpoint}");
    }
}

#[test]
fn one_format_is_chosen() {
    let all = [
        "README.md",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "tokenizer.json",
        "onnx/config.json",
        "step1/config.json",
        "step1/pytorch_model.bin.index.json",
        "quantised/m.gguf",
    ];
    let names = paths(&all);
    let path = |name: &str| RepoPath::parse(name).unwrap();
    let Wanted::Checkpoint(Files { small, weights }) = choose(&names, None).unwrap() else { unreachable!() };
    let small: Vec<&str> = small.iter().map(RepoPath::as_str).collect();
    assert_eq!(small, ["config.json", "generation_config.json", "tokenizer.json", "merges.txt"]);
    assert_eq!(weights, Weights::Whole(path("model.safetensors")));
    let inner = Files {
        small: vec![path("step1/config.json")],
        weights: Weights::Indexed(path("step1/pytorch_model.bin.index.json")),
    };
    assert_eq!(choose(&names, Some(&path("step1"))).unwrap(), Wanted::Checkpoint(inner));
    assert_eq!(choose(&names, Some(&path("quantised/m.gguf"))).unwrap(), Wanted::File(path("quantised/m.gguf")));
    let adapter = paths(&["adapter_config.json", "adapter_model.safetensors", "config.json"]);
    assert!(matches!(choose(&adapter, None).unwrap(), Wanted::Checkpoint(files) if files.small.len() == 2));

    let without = |name: &str| {
        let left: Vec<&str> = all.into_iter().filter(|known| !known.starts_with(name)).collect();
        choose(&paths(&left), None).unwrap_err().to_string()
    };
    assert!(without("config").contains("expected config.json and weights"), "{}", without("config"));
    assert!(without("config").contains("onnx, quantised/m.gguf, step1"), "{}", without("config"));
    let error = choose(&paths(&["config.json"]), None).unwrap_err().to_string();
    assert!(error.contains("expected model.safetensors or pytorch_model.bin, or an index"), "{error}");
}

#[test]
fn shards_stay_beside_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.json");
    let index = RepoPath::parse("step1/model.safetensors.index.json").unwrap();
    let shards = |text: &str| {
        std::fs::write(&file, text).unwrap();
        shards(&index, &file)
    };
    let found = shards(r#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#);
    assert_eq!(found.unwrap(), paths(&["step1/m-1.safetensors", "step1/m-2.safetensors"]));
    for wrong in
        ["", "[]", "{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": "../x"}}"#, r#"{"weight_map": {"a": 1}}"#]
    {
        assert!(shards(wrong).unwrap_err().to_string().contains("index.json"), "{wrong}");
    }
}

/// A cache with one model of two files and a data set of one.
fn small_cache() -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("models--o--n/refs/main", COMMIT);
    write("models--o--n/refs/broken", "deadbeef");
    write(&format!("models--o--n/snapshots/{COMMIT}/config.json"), "{}");
    write(&format!("models--o--n/snapshots/{COMMIT}/model.safetensors"), "w");
    write("datasets--o--n/refs/refs/pr/1", COMMIT);
    write(&format!("datasets--o--n/snapshots/{COMMIT}/a/b.csv"), "x\n1\n");
    write(&format!("datasets--o--n/.no_exist/{COMMIT}/c.csv"), "");
    let settings = read(&[("HF_HUB_CACHE", folder.path().to_str().unwrap()), ("HF_HUB_OFFLINE", "1")]).unwrap();
    (folder, settings)
}

#[test]
fn offline_the_cache_is_read_and_what_is_missing_is_told() {
    let (folder, settings) = small_cache();
    let snapshot = folder.path().join("models--o--n/snapshots").join(COMMIT);
    let mut cached = 0;
    let mut events = |event: &Event<'_>| cached += usize::from(matches!(event, Event::Cached { .. }));
    let wanted = [address("hf://model/o/n"), address("hf://dataset/o/n@refs/pr/1/a/b.csv")];
    let file = folder.path().join("datasets--o--n/snapshots").join(COMMIT).join("a/b.csv");
    assert_eq!(pull(&wanted, &settings, &mut events).unwrap(), [snapshot.clone(), file.clone()]);
    assert_eq!(fetch_model(&wanted[0], &settings, &mut events).unwrap(), snapshot);
    assert_eq!(fetch_file(&wanted[1], &settings, &mut events).unwrap(), file);
    assert_eq!(cached, 2, "only a pull tells what is here already");
    let fixed = format!("hf://dataset/o/n@{COMMIT}/a/b.csv");
    assert_eq!(pinned(&wanted[1], &file), Some(address(&fixed)));
    assert_eq!(pinned(&wanted[0], &snapshot), Some(address(&format!("hf://model/o/n@{COMMIT}"))));
    assert_eq!(pinned(&wanted[0], Path::new("elsewhere")), None);

    let missing = [
        address("hf://dataset/o/n@refs/pr/1/c.csv"),
        address("hf://dataset/o/n/a/b.csv"),
        address("hf://dataset/o/n"),
        address("hf://model/o/none"),
    ];
    let error = pull(&missing, &settings, &mut |_| {}).unwrap_err();
    assert_eq!(error.diagnostics().len(), 4, "{error}");
    let text = error.to_string();
    assert!(text.contains("a note that the repository has no such file"), "{text}");
    assert!(text.contains("veval data pull hf://dataset/o/n@main/a/b.csv"), "{text}");
    assert!(text.contains("expected the path of a file in the address hf://dataset/o/n@main"), "{text}");
}

#[test]
fn a_checkpoint_is_whole_or_not_there() {
    let (folder, settings) = small_cache();
    let model = address("hf://model/o/n");
    let snapshot = folder.path().join("models--o--n/snapshots").join(COMMIT);
    assert_eq!(cached_model(&model, &settings).unwrap().as_ref(), Some(&snapshot));
    // A listing that names another small file: the snapshot was left half-way.
    let trees = folder.path().join("models--o--n/trees");
    std::fs::create_dir(&trees).unwrap();
    let list = |text: &str| std::fs::write(trees.join(format!("{COMMIT}.json")), text).unwrap();
    list(r#"{"format_version": 1, "files": {"config.json": {}, "model.safetensors": {}, "tokenizer.json": {}}}"#);
    assert_eq!(cached_model(&model, &settings).unwrap(), None);
    list(r#"{"format_version": 1, "files": {"config.json": {}, "model.safetensors": {}, "README.md": {}}}"#);
    assert!(cached_model(&model, &settings).unwrap().is_some(), "other files are of no concern");
    for unknown in ["{", r#"{"format_version": 2, "files": {"x": {}}}"#, r#"{"files": 3}"#] {
        list(unknown);
        assert!(cached_model(&model, &settings).unwrap().is_some(), "{unknown}");
    }
    // Shards: all of them, or none.
    std::fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    let index = r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;
    std::fs::write(snapshot.join("model.safetensors.index.json"), index).unwrap();
    std::fs::write(snapshot.join("m-1.safetensors"), "").unwrap();
    assert_eq!(cached_model(&model, &settings).unwrap(), None);
    std::fs::write(snapshot.join("m-2.safetensors"), "").unwrap();
    assert!(cached_model(&model, &settings).unwrap().is_some());
    let error = cached_model(&address("hf://model/o/n@broken"), &settings).unwrap_err().to_string();
    assert!(error.contains("expected a commit") && error.contains("refs/broken"), "{error}");
}

#[test]
fn dangling_links_are_no_files() {
    let (folder, settings) = small_cache();
    let file = address(&format!("hf://model/o/n@{COMMIT}/gone.bin"));
    let snapshot = folder.path().join("models--o--n/snapshots").join(COMMIT);
    std::os::unix::fs::symlink("../../blobs/none", snapshot.join("gone.bin")).unwrap();
    assert_eq!(cached_file(&file, &settings).unwrap(), None);
    let commit = Commit::parse(COMMIT).unwrap();
    let present = RepoCache::new(folder.path(), &file.repo).present(&commit).unwrap();
    assert_eq!(present, paths(&["config.json", "model.safetensors"]));
}

#[cfg(feature = "hub")]
#[test]
fn digests_are_those_of_git_and_of_large_files() {
    use super::digest::Digest;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    // `git hash-object` and `sha256sum` of nothing and of a line.
    for (text, git, sha) in [
        (
            "",
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "hello\n",
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        for tag in [git, sha] {
            let digest = Digest::from_etag(&format!("W/\"{tag}\"")).unwrap();
            assert_eq!(digest.of_file(&path).unwrap(), digest);
            assert_eq!(digest.hex(), tag);
        }
    }
    for wrong in ["", "\"abc\"", "../../x", &"g".repeat(40), &"A".repeat(64), &"0".repeat(63)] {
        assert_eq!(Digest::from_etag(wrong), None, "{wrong}");
    }
}
