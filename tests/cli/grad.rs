//! Stores of projected gradients.

use std::collections::BTreeMap;

use crate::support::{Bench, example};

/// A bench with a suite, and the example's checkpoint.
fn opened() -> (Bench, String, String) {
    let bench = Bench::new();
    let [suite, checkpoint] = [bench.suite(""), example(700)].map(|path| path.to_str().unwrap().to_owned());
    (bench, suite, checkpoint)
}

/// Names and contents of a store.
fn store(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(bench.path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    entries
        .map(|path| (name(&path), std::fs::read(&path).unwrap()))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect()
}

fn collect<'a>(suite: &'a str, checkpoint: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["grad", "collect", suite, checkpoint, "--out", out, "--proj-dim", "4"], more].concat()
}

#[test]
fn a_store_does_not_depend_on_how_it_was_made_and_refuses_other_rows() {
    let (bench, suite, checkpoint) = opened();
    let (suite, checkpoint) = (suite.as_str(), checkpoint.as_str());
    let made = bench.veval(&collect(suite, checkpoint, "a", &[]));
    assert_eq!((made.code, made.out.as_str()), (0, "a\n"), "{}", made.err);
    let first = store(&bench, "a");
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(names, ["grads-00000.safetensors", "index.json", "items.jsonl"]);
    let index: serde_json::Value = serde_json::from_slice(&first["index.json"]).unwrap();
    assert_eq!((index["complete"].as_bool(), index["dtype"].as_str()), (Some(true), Some("f16")));
    let rows = index["rows"].as_u64().unwrap() as usize;
    assert_eq!(rows, String::from_utf8_lossy(&first["items.jsonl"]).lines().count());
    let modules = index["modules"].as_array().unwrap();
    assert_eq!(index["dim"].as_u64().unwrap() as usize, modules.len() * 16);
    assert!(modules.iter().any(|module| module["name"] == "layers.0.mlp.down_proj"), "{index}");

    for more in
        [&["--batch-tokens", "1"][..], &["--threads", "1"], &["--batch-tokens", "4096", "--max-memory", "200MB"]]
    {
        let made = bench.veval(&collect(suite, checkpoint, "b", more));
        assert_eq!(made.code, 0, "{}", made.err);
        assert!(store(&bench, "b") == first, "{more:?}");
        std::fs::remove_dir_all(bench.path("b")).unwrap();
    }
    let again = bench.veval(&collect(suite, checkpoint, "a", &[]));
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(store(&bench, "a") == first, "a store that is whole stays as it is");

    let other = example(2500);
    for (command, wanted) in [
        (collect(suite, other.to_str().unwrap(), "a", &[]), "model"),
        (collect(suite, checkpoint, "a", &["--mean"]), "loss_reduction"),
        (collect(suite, checkpoint, "a", &["--signs", "bergson2"]), "projection"),
        (collect(suite, checkpoint, "a", &["--params", "last:1"]), "modules"),
        (collect(suite, checkpoint, "a", &["--limit", "1"]), "items"),
        (collect(suite, checkpoint, "c", &["--params", "*.mpl.*"]), "parameters"),
        (collect(suite, checkpoint, "c", &["--params", "*norm*"]), "linear map"),
    ] {
        let refused = bench.veval(&command);
        assert_eq!(refused.code, 2, "{command:?}: {}", refused.out);
        assert!(refused.err.contains(wanted), "{wanted}: {}", refused.err);
    }
    assert!(store(&bench, "a") == first, "nothing was written");
    assert!(!bench.path("c").exists(), "nothing was written");
}

#[test]
fn a_row_is_most_like_itself_and_stores_are_handed_on() {
    let (bench, suite, checkpoint) = opened();
    let (suite, checkpoint) = (suite.as_str(), checkpoint.as_str());
    let made = bench.veval(&collect(suite, checkpoint, "a", &["--dtype", "f32"]));
    assert_eq!(made.code, 0, "{}", made.err);
    let found = bench.veval(&["grad", "query", "a", "--like", "1", "--cosine", "--k", "2", "--format", "csv"]);
    assert_eq!(found.code, 0, "{}", found.err);
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(found.out.as_bytes()).records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2, "{}", found.out);
    let first: Vec<&str> = rows[0].iter().collect();
    assert!(first.contains(&"1"), "{first:?}");
    let best = first.iter().filter_map(|cell| cell.parse::<f64>().ok()).find(|score| (score - 1.0).abs() < 1e-5);
    assert!(best.is_some(), "the cosine of a row with itself: {first:?}");
    let ids = bench.read("a/items.jsonl");
    let second: serde_json::Value = serde_json::from_str(ids.lines().nth(1).unwrap()).unwrap();
    assert!(found.out.contains(second["id"].as_str().unwrap()), "items are named: {}", found.out);

    for (to, file) in [("bergson", "gradients.bin"), ("npy", "grads.npy"), ("trak", "metadata.json")] {
        let exported = bench.veval(&["grad", "export", "a", "--to", to, "--out", to]);
        assert_eq!(exported.code, 0, "{}", exported.err);
        assert!(bench.path(to).join(file).exists(), "{to}");
        let again = bench.veval(&["grad", "export", "a", "--to", to, "--out", to]);
        assert_eq!(again.code, 2, "{}", again.out);
    }
    let same = bench.veval(&["grad", "query", "a", "--like", "bergson", "--k", "1", "--format", "csv"]);
    assert_eq!(same.code, 0, "an index of Bergson's is a store as well: {}", same.err);
    let absent = bench.veval(&["grad", "query", "nowhere", "--like", "0"]);
    assert_eq!(absent.code, 2, "{}", absent.out);

    let made = bench.veval(&collect(suite, checkpoint, "b", &["--signs", "bergson2"]));
    assert_eq!(made.code, 0, "{}", made.err);
    let exported = bench.veval(&["grad", "export", "b", "--to", "bergson", "--out", "bergson2"]);
    assert_eq!(exported.code, 0, "{}", exported.err);
    assert!(bench.read("bergson2/processor_config.yaml").contains("projection_version: 2"), "Bergson 2 makes queries");
    let other = bench.veval(&["grad", "query", "a", "--like", "b", "--k", "1"]);
    assert_eq!((other.code, other.err.contains("philox")), (2, true), "{}", other.err);
}

#[test]
fn a_set_has_the_checkpoints_names_and_says_what_it_is_worth() {
    let bench = Bench::new();
    let suite = bench.suite("");
    let (suite, checkpoint) = (suite.to_str().unwrap(), example(700));
    let set = |more: &[&str]| {
        bench.veval(&[&["grad", "set", suite, checkpoint.to_str().unwrap(), "--params", "last:1"], more].concat())
    };
    let made = set(&["--out", "target.safetensors", "--dtype", "f32"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.starts_with("target.safetensors: 4 items, cosine of two halves"), "{}", made.out);
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    let bytes = read("target.safetensors");
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weights = std::fs::read(checkpoint.join("model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
    assert!(file.names().iter().any(|name| name.ends_with("mlp.down_proj.weight")), "{:?}", file.names());
    for (name, tensor) in file.tensors() {
        assert_eq!(tensor.shape(), weights.tensor(&name).unwrap().shape(), "{name}");
        let mut values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        assert!(values.any(|value| value != 0.0), "{name}");
    }
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let strings = header.metadata().as_ref().unwrap();
    assert_eq!((strings["kind"].as_str(), strings["items"].as_str()), ("target", "4"));

    for (kind, more) in [("fisher", vec![]), ("lowrank", vec!["--rank", "2"]), ("retain", vec!["--mean"])] {
        let out = format!("{kind}.safetensors");
        let made = set(&[&["--kind", kind, "--out", &out], &more[..]].concat());
        assert_eq!(made.code, 0, "{}", made.err);
        let bytes = read(&out);
        let count = safetensors::SafeTensors::deserialize(&bytes).unwrap().len();
        assert!(count >= file.len(), "{kind}: {count}");
    }
    let again = set(&["--out", "target.safetensors"]);
    assert_eq!(again.code, 2, "a file that is there is not written over: {}", again.out);
    assert_eq!(read("target.safetensors"), bytes);
}

#[test]
fn documents_of_a_corpus_have_gradients_too() {
    let bench = Bench::new();
    let line = |source: &str, id: usize, text: &str| {
        format!("{{\"source\": \"{source}\", \"id\": \"{id}\", \"text\": \"{text}\"}}\n")
    };
    let lines = line("a", 1, "Alder is where") + &line("b", 2, "Brook is where Bena") + &line("a", 3, "Cliff is");
    bench.write("corpus.jsonl", lines);
    let checkpoint = example(700);
    let checkpoint = checkpoint.to_str().unwrap();
    for (out, more, ids) in [
        ("all", &[][..], &["a/1", "b/2", "a/3"][..]),
        ("a", &["--task", "a"], &["a/1", "a/3"]),
        ("one", &["--limit", "1"], &["a/1", "b/2"]),
    ] {
        let made = bench.veval(&collect("corpus.jsonl", checkpoint, out, more));
        assert_eq!(made.code, 0, "{}", made.err);
        assert!(made.err.contains("peak memory"), "{}", made.err);
        let items = bench.read(&format!("{out}/items.jsonl"));
        let found: Vec<String> = items
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, ids);
    }
    let unknown = bench.veval(&collect("corpus.jsonl", checkpoint, "none", &["--task", "c"]));
    assert!(unknown.code == 2 && unknown.err.contains("a, b"), "{}", unknown.err);
}

/// Numbers of a store, by PyTorch's name of its tensors.
fn rows_of(bench: &Bench, folder: &str) -> (serde_json::Value, Vec<Vec<f32>>) {
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path(folder).join("index.json")).unwrap()).unwrap();
    let mut rows = Vec::new();
    for shard in index["shards"].as_array().unwrap() {
        let bytes = std::fs::read(bench.path(folder).join(shard["file"].as_str().unwrap())).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        assert_eq!(header["grads"]["dtype"], "F32");
        let from = 8 + length + header["grads"]["data_offsets"][0].as_u64().unwrap() as usize;
        let values: Vec<f32> = bytes[from..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        rows.extend(values.chunks(index["dim"].as_u64().unwrap() as usize).map(<[f32]>::to_vec));
    }
    (index, rows)
}

#[test]
fn rows_of_tokens_add_up_and_rows_of_everything_are_one_vector() {
    let (bench, suite, checkpoint) = opened();
    let (suite, checkpoint) = (suite.as_str(), checkpoint.as_str());
    let common = ["--limit", "3", "--dtype", "f32", "--also", "embeddings,vectors"];
    for (out, more) in [("items", &[][..]), ("tokens", &["--per-token"])] {
        let made = bench.veval(&collect(suite, checkpoint, out, &[&common[..], more].concat()));
        assert_eq!(made.code, 0, "{}", made.err);
    }
    let ((index, items), (of_tokens, tokens)) = (rows_of(&bench, "items"), rows_of(&bench, "tokens"));
    let modules = index["modules"].as_array().unwrap();
    let shape = |name: &str| modules.iter().find(|module| module["name"] == name).unwrap()["shape"].clone();
    assert_eq!(shape("embed_tokens"), serde_json::json!([4, 4]));
    assert_eq!(shape("norm"), serde_json::json!([1, 4]));
    assert_eq!((&index["per_token"], &of_tokens["per_token"]), (&false.into(), &true.into()));
    let lines = std::fs::read_to_string(bench.path("tokens").join("items.jsonl")).unwrap();
    let mut first = 0;
    for (line, item) in lines.lines().zip(&items) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let own = &tokens[first..first + line["tokens"].as_u64().unwrap() as usize - 1];
        first += own.len();
        let scale = item.iter().fold(0f32, |max, value| max.max(value.abs()));
        for (column, value) in item.iter().enumerate() {
            let sum: f32 = own.iter().map(|row| row[column]).sum();
            assert!((sum - value).abs() < 1e-4 * scale, "column {column}: {sum} for {value}");
        }
    }
    assert_eq!(first, tokens.len());
    let nothing = bench.veval(&collect(suite, checkpoint, "none", &["--params", "last:1", "--also", "embeddings"]));
    assert!(nothing.code == 2 && nothing.err.contains("a table of embeddings"), "{}", nothing.err);
    let other = bench.veval(&collect(suite, checkpoint, "items", &["--limit", "3", "--dtype", "f32"]));
    assert!(other.code == 2 && other.err.contains("modules"), "{}", other.err);
    // A token's row is found with its place.
    let found = bench.veval(&["grad", "query", "tokens", "--like", "1", "--k", "1", "--format", "json"]);
    let lines: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!((&lines[0]["row"].is_u64(), lines[0]["position"].is_u64()), (&true, true), "{}", found.out);
    let again = bench.veval(&collect(suite, checkpoint, "tokens", &common));
    assert!(again.code == 2 && again.err.contains("per_token"), "{}", again.err);

    let global = ["grad", "collect", suite, checkpoint, "--limit", "3", "--dtype", "f32", "--project", "global"];
    let made = bench.veval(&[&global[..], &["--proj-dim", "32", "--out", "global"]].concat());
    assert_eq!(made.code, 0, "{}", made.err);
    let (index, rows) = rows_of(&bench, "global");
    assert_eq!((index["dim"].as_u64(), rows.len()), (Some(32), items.len()));
    assert_eq!((&index["projection"]["kind"], &index["modules"][0]["name"]), (&"global".into(), &"gradients".into()));
    let exported = bench.veval(&["grad", "export", "global", "--to", "bergson", "--out", "theirs"]);
    assert_eq!(exported.code, 0, "{}", exported.err);
    let config = std::fs::read_to_string(bench.path("theirs").join("processor_config.yaml")).unwrap();
    assert!(config.contains("projection_target: global"), "{config}");
    let wide = ["grad", "collect", suite, checkpoint, "--out", "wide", "--proj-dim", "2000"];
    let wide = bench.veval(&wide);
    assert!(wide.code == 2 && wide.err.contains("--project global"), "{}", wide.err);
}

#[test]
fn a_store_is_whitened_by_what_its_rows_share() {
    let (bench, suite, checkpoint) = opened();
    let (suite, checkpoint) = (suite.as_str(), checkpoint.as_str());
    let made = bench.veval(&collect(suite, checkpoint, "own", &["--dtype", "f32", "--params", "last:1"]));
    assert_eq!(made.code, 0, "{}", made.err);
    let sums = bench.veval(&["grad", "autocorrelation", "own", "--out", "own.safetensors"]);
    assert_eq!((sums.code, sums.out.as_str()), (0, "own.safetensors\n"), "{}", sums.err);
    let again = bench.veval(&["grad", "autocorrelation", "own", "--out", "own.safetensors"]);
    assert_eq!(again.code, 2, "{}", again.err);
    let whiten = |out: &str, more: &[&str]| {
        bench.veval(&[&["grad", "whiten", "own", "--by", "own.safetensors", "--out", out], more].concat())
    };
    for (out, more) in [
        ("white", &[][..]),
        ("mixed", &["--queries", "own.safetensors", "--rank", "5"]),
        ("third", &["--threads", "1"]),
    ] {
        let done = whiten(out, more);
        assert_eq!((done.code, done.out.clone()), (0, format!("{out}\n")), "{}", done.err);
    }
    let (own, white) = (rows_of(&bench, "own"), rows_of(&bench, "white"));
    // A mixture of one with itself is that one.
    assert_eq!((&rows_of(&bench, "mixed").1, &rows_of(&bench, "third").1), (&white.1, &white.1));
    assert_eq!(white.0["whitening"]["damping"], 0.1);
    assert_eq!(own.1.len(), white.1.len());
    let read = |folder: &str| std::fs::read(bench.path(folder).join("items.jsonl")).unwrap();
    assert_eq!(read("own"), read("white"));
    let energy = |rows: &[Vec<f32>], columns: std::ops::Range<usize>| -> f64 {
        rows.iter().flat_map(|row| &row[columns.clone()]).map(|v| f64::from(*v).powi(2)).sum::<f64>()
            / rows.len() as f64
    };
    // Undamped, every module would have as much energy as R has directions.
    for module in white.0["modules"].as_array().unwrap() {
        let place = |name: &str| module[name].as_u64().unwrap() as usize;
        let found = energy(&white.1, place("start")..place("end"));
        assert!(found > 0.5 && found < 16.0, "{module}: {found}");
    }
    let refused = bench.veval(&["grad", "query", "white", "--like", "own"]);
    assert!(refused.code == 2 && refused.err.contains("whitening"), "{}", refused.err);
    let refused = bench.veval(&["grad", "whiten", "white", "--by", "own.safetensors", "--out", "twice"]);
    assert!(refused.code == 2 && refused.err.contains("was not whitened"), "{}", refused.err);
    let other = bench.veval(&collect(suite, checkpoint, "other", &["--dtype", "f32"]));
    assert_eq!(other.code, 0, "{}", other.err);
    let refused = bench.veval(&["grad", "whiten", "other", "--by", "own.safetensors", "--out", "none"]);
    assert!(refused.code == 2 && refused.err.contains("modules"), "{}", refused.err);
    assert!(!bench.path("none").exists());
    // Rows of other items do not go into a store that is there, nor their names.
    let few = ["--dtype", "f32", "--params", "last:1", "--limit", "1"];
    assert_eq!(bench.veval(&collect(suite, checkpoint, "few", &few)).code, 0);
    let refused = bench.veval(&["grad", "whiten", "few", "--by", "own.safetensors", "--out", "white"]);
    assert!(refused.code == 2 && refused.err.contains("whitening"), "{}", refused.err);
    assert_eq!(read("own"), read("white"));
    let sets = bench.veval(&["grad", "autocorrelation", "nowhere", "--out", "x.safetensors"]);
    assert_eq!(sets.code, 2, "{}", sets.err);
}
