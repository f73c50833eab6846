//! Whose gradients agree: arrays with a planted truth, and the lab's tasks and sources.

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use veval::lab::random::Stream;
use veval::util::npy;

use crate::support::{Bench, edit_json, root};

const WIDTH: usize = 48;

fn normal(stream: &mut Stream) -> f64 {
    (-2.0 * (1.0 - stream.unit()).ln()).sqrt() * (std::f64::consts::TAU * stream.unit()).cos()
}

/// Rows of a truth of length one with noise: its cosine with the first axis is the planted one.
fn planted(stream: &mut Stream, cosine: f64, rows: usize, noise: f64) -> Vec<Vec<f64>> {
    let mut truth = [0.0; WIDTH];
    (truth[0], truth[1]) = (cosine, (1.0 - cosine * cosine).sqrt());
    (0..rows).map(|_| truth.iter().map(|x| x + noise * normal(stream)).collect()).collect()
}

fn bytes(rows: &[Vec<f64>]) -> Vec<u8> {
    rows.iter().flatten().flat_map(|x| (*x as f32).to_le_bytes()).collect()
}

fn write_npy(bench: &Bench, name: &str, descr: &str, rows: &[Vec<f64>]) {
    let shape = [rows.len() as u64, rows[0].len() as u64];
    bench.write(name, [npy::head(descr, &shape, 0), bytes(rows)].concat());
}

/// A file of safetensors with the rows as `grads`, and another matrix beside it.
fn write_safetensors(bench: &Bench, name: &str, rows: &[Vec<f64>]) {
    let (size, shape) = (rows.len() * rows[0].len() * 4, [rows.len(), rows[0].len()]);
    let header = serde_json::json!({
        "grads": { "dtype": "F32", "shape": shape, "data_offsets": [0, size] },
        "other": { "dtype": "F32", "shape": [1, 2], "data_offsets": [size, size + 8] },
    })
    .to_string();
    bench.write(name, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes(rows), &[0; 8]].concat());
}

fn geometry(bench: &Bench, arguments: &[&str]) -> Value {
    let made = bench.veval(&[&["feedback", "geometry", "--quiet", "--format", "json"], arguments].concat());
    assert_eq!(made.code, 0, "{}", made.err);
    serde_json::from_str(&made.out).unwrap_or_else(|e| panic!("{e}: {}", made.out))
}

fn pair<'a>(found: &'a Value, one: &str, other: &str) -> &'a Value {
    let pairs = found["at"][0]["pairs"].as_array().unwrap();
    pairs.iter().find(|pair| pair["one"] == one && pair["other"] == other).unwrap()
}

fn interval(estimate: &Value) -> [f64; 2] {
    [0, 1].map(|at| estimate["interval"][at].as_f64().unwrap())
}

#[test]
fn intervals_hold_the_planted_cosines_and_noise_has_none() {
    let seeds = 20;
    let (mut holds, mut corrected, mut raw) = (0, Vec::new(), Vec::new());
    for seed in 0..seeds {
        let bench = Bench::new();
        let mut stream = Stream::new(seed, &["arrays"]);
        write_npy(&bench, "axis.npy", "<f4", &planted(&mut stream, 1.0, 150, 0.6));
        let cosines = [("like", 0.7), ("across", 0.0), ("against", -0.5)];
        for (name, cosine) in cosines {
            write_safetensors(&bench, &format!("{name}.safetensors"), &planted(&mut stream, cosine, 140, 0.6));
        }
        for name in ["noise", "more_noise"] {
            let rows: Vec<Vec<f64>> = (0..40).map(|_| (0..WIDTH).map(|_| normal(&mut stream)).collect()).collect();
            write_npy(&bench, &format!("{name}.npy"), "<f4", &rows);
        }
        let mut arguments = vec!["--arrays", "axis=axis.npy", "--arrays", "like=like.safetensors:grads"];
        arguments.extend(["--arrays", "across=across.safetensors:grads"]);
        arguments.extend(["--arrays", "against=against.safetensors:grads", "--arrays", "noise=noise.npy"]);
        arguments.extend(["--arrays", "more_noise=more_noise.npy", "--out", "out"]);
        let found = geometry(&bench, &arguments);
        assert_eq!((found["schema"].as_str(), found["parts"].as_u64()), (Some("veval.geometry/1"), Some(10)));
        for (name, cosine) in cosines {
            let pair = pair(&found, "axis", name);
            let [low, high] = interval(&pair["cosine"]);
            holds += u32::from(low <= cosine && cosine <= high);
        }
        let like = pair(&found, "axis", "like");
        assert_eq!(like["relation"], "agree", "{found}");
        corrected.push(like["cosine"]["value"].as_f64().unwrap());
        raw.push(like["raw_cosine"].as_f64().unwrap());
        assert_eq!(pair(&found, "axis", "against")["relation"], "conflict", "{found}");
        assert_eq!(pair(&found, "noise", "more_noise")["cosine"], Value::Null, "{found}");
        // What is in the folder is what is printed.
        assert_eq!(serde_json::from_str::<Value>(&bench.read("out/geometry.json")).unwrap(), found);
        assert_eq!(bench.read("out/geometry.csv").lines().count(), 1 + 2 * 15);
    }
    // 95 % of 60, less two standard deviations of that count.
    assert!(holds >= 54, "{holds} of 60");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (corrected, raw) = (mean(&corrected), mean(&raw));
    assert!((corrected - 0.7).abs() < 0.05, "{corrected}");
    // Noise of the means adds 0.36 * 48 / 150 and 0.36 * 48 / 140 to the squared norms.
    assert!((raw - 0.7 / (1.115f64 * 1.123).sqrt()).abs() < 0.05 && raw < corrected - 0.04, "{raw} {corrected}");
}

#[test]
fn conflict_is_told_by_layer_and_row_by_row() {
    let bench = Bench::new();
    let mut stream = Stream::new(1, &["layers"]);
    let noise = 0.1;
    let mut one = planted(&mut stream, 1.0, 60, noise);
    let mut other = planted(&mut stream, -0.8, 60, noise);
    // Alike in the second half of the columns, and in conflict in the first; one row of ten is turned round.
    for (number, row) in one.iter_mut().chain(&mut other).enumerate() {
        row[WIDTH - 1] += 2.0;
        if number >= 60 && number.is_multiple_of(10) {
            for x in row.iter_mut() {
                *x = -*x;
            }
        }
    }
    write_npy(&bench, "one.npy", "<f4", &one);
    write_safetensors(&bench, "other.safetensors", &other);
    let mut arguments = vec!["--arrays", "one=one.npy", "--arrays", "other=other.safetensors:grads", "--out", "out"];
    arguments.extend(["--layer", "below=24", "--layer", "above=24", "--paired", "one=other", "--parts", "6"]);
    let found = &geometry(&bench, &arguments)["at"][0];
    let layers = found["layers"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    assert_eq!(names, ["below", "above"]);
    assert_eq!(layers[0]["in_conflict"], 1.0, "{found}");
    assert_eq!(layers[1]["in_conflict"], 0.0, "{found}");
    let agreement = &found["agreement"][0];
    assert_eq!((agreement["group"].as_str(), agreement["samples"].as_u64()), (Some("one=other"), Some(60)));
    assert_eq!(agreement["in_conflict"]["value"], 0.1);
    assert_eq!(agreement["kept"][0]["share"], 0.9);
    // Together they agree, so that nothing is taken out.
    assert_eq!(found["projection"][0]["removed"], 0.0);
    let table = bench.veval(&[
        "feedback",
        "geometry",
        "--arrays",
        "one=one.npy",
        "--arrays",
        "back=back.npy",
        "--out",
        "table",
    ]);
    assert!(table.code == 2 && table.err.contains("back.npy"), "{}", table.err);
    let back: Vec<Vec<f64>> = one.iter().map(|row| row.iter().map(|x| -x).collect()).collect();
    write_npy(&bench, "back.npy", "<f4", &back);
    let table = bench.veval(&[
        "feedback",
        "geometry",
        "--arrays",
        "one=one.npy",
        "--arrays",
        "back=back.npy",
        "--out",
        "table",
    ]);
    // The first line that begins so is the head.
    let line = table.out.lines().filter(|line| line.starts_with("one ")).nth(1).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["one", "back", "-1.000", "-1.000", "–", "-1.000", "-1.000", "conflict"], "{}", table.out);
    assert!(table.out.contains("100.00 %     100.00 %  back"), "{}", table.out);
}

#[test]
fn arrays_that_do_not_go_together_are_refused() {
    let bench = Bench::new();
    let rows = |count: usize, width: usize| -> Vec<Vec<f64>> {
        (0..count).map(|row| (0..width).map(|column| (row * 7 + column) as f64 + 1.0).collect()).collect()
    };
    write_npy(&bench, "a.npy", "<f4", &rows(12, 3));
    write_npy(&bench, "wide.npy", "<f4", &rows(12, 4));
    write_npy(&bench, "short.npy", "<f4", &rows(9, 3));
    write_npy(&bench, "whole.npy", "<i4", &rows(12, 3));
    write_safetensors(&bench, "two.safetensors", &rows(12, 3));
    let mut broken = rows(12, 3);
    broken[7][1] = f64::NAN;
    write_npy(&bench, "broken.npy", "<f4", &broken);
    write_npy(&bench, "zero.npy", "<f4", &vec![vec![0.0; 3]; 12]);
    std::fs::create_dir(bench.path("there")).unwrap();
    let cases: [(&[&str], &[&str]); 16] = [
        (&["--arrays", "b=wide.npy"], &["group b: expected rows of 3 numbers as a has, found 4"]),
        (
            &["--arrays", "b=short.npy"],
            &["group b: expected at least one item for each of 10 parts, found 9", "--parts"],
        ),
        (&["--arrays", "b=whole.npy"], &["whole.npy", "'<i4'", "astype"]),
        (&["--arrays", "b=two.safetensors"], &["two.safetensors", "expected one matrix, found grads, other"]),
        (&["--arrays", "b=two.safetensors:x"], &["expected a matrix x"]),
        (&["--arrays", "b=none.npy", "--arrays", "c=gone.npy"], &["none.npy", "gone.npy"]),
        (&["--arrays", "b=broken.npy"], &["group b, item 7: expected 3 finite numbers, found NaN in column 1"]),
        (&["--arrays", "b=zero.npy"], &["group b: expected a gradient that is not zero"]),
        (&["--arrays", "a=a.npy"], &["found a twice"]),
        (&["--paired", "a=b"], &["expected one of the arrays a, found b"]),
        (&["--arrays", "b=wide.npy", "--arrays", "c=short.npy"], &["found 4", "found 9"]),
        (&["--layer", "x=2"], &["expected layers of 3 columns together, as a has, found 2"]),
        (&["--max-memory", "1MB"], &["of memory for the mean gradients of all parts, found", "--max-memory"]),
        (&["--parts", "3"], &["expected a number from 4 to 64"]),
        (&["--stream", "corpus.jsonl"], &["--stream", "--arrays"]),
        (&["--arrays", "plain"], &["expected NAME=FILE"]),
    ];
    for (more, wanted) in cases {
        let made = bench.veval(&[&["feedback", "geometry", "--arrays", "a=a.npy", "--out", "out"], more].concat());
        assert!(made.code == 2 && wanted.iter().all(|wanted| made.err.contains(wanted)), "{more:?}: {}", made.err);
        assert!(!bench.path("out").exists(), "{more:?}");
    }
    for (arguments, wanted) in [
        (&["--arrays", "a=a.npy", "--out", "there"][..], "expected a name that is free"),
        (&["--out", "out"], "--stream"),
        (&["fb", "--out", "out"], "--stream"),
        (&["fb", "ckpt", "--arrays", "a=a.npy", "--out", "out"], "cannot be used with"),
        (&["--arrays", "a=a.npy", "--sample", "3", "--out", "out"], "cannot be used with"),
        (&["fb", "ckpt", "--stream", "s.jsonl", "--layer", "a=3", "--out", "out"], "cannot be used with"),
    ] {
        let made = bench.veval(&[&["feedback", "geometry"], arguments].concat());
        assert!(made.code == 2 && made.err.contains(wanted), "{arguments:?}: {}", made.err);
    }
}

fn lab(name: &str) -> String {
    root().join("data/lab").join(name).to_string_lossy().into_owned()
}

/// A feedback set of sums and brackets, and a stream of some documents of brackets as two sources, and of arithmetic.
fn set_and_stream(bench: &Bench) -> Vec<String> {
    let tasks = ["sums", "brackets"].map(|task| lab(&format!("tasks/{task}.toml")));
    let entries: String = tasks.iter().map(|file| format!("[[task]]\nfile = \"{file}\"\n")).collect();
    bench.write("suite.toml", format!("schema = \"veval.suite/1\"\nname = \"two\"\n{entries}"));
    let midrun = lab("midrun");
    let made = bench.veval(&[
        "feedback",
        "build",
        "suite.toml",
        &midrun,
        "--params",
        "last:2",
        "--proj-dim",
        "4",
        "--quiet",
        "--out",
        "fb",
    ]);
    assert_eq!(made.code, 0, "{}", made.err);
    let mut corpus = String::new();
    let packed = std::fs::File::open(Path::new(&lab("corpus.jsonl.gz"))).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut corpus).unwrap();
    let of = |source: &str| -> Vec<Value> {
        let all = corpus.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|line| line["source"] == source).take(80).collect()
    };
    let renamed = of("brackets").into_iter().enumerate().map(|(number, mut line)| {
        line["source"] = ["brackets", "twin"][number % 2].into();
        line
    });
    renamed.chain(of("arithmetic")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_source_is_like_itself_and_like_its_task_and_nothing_depends_on_order_or_threads() {
    let bench = Bench::new();
    let mut lines = set_and_stream(&bench);
    bench.write("stream.jsonl", lines.concat());
    let midrun = lab("midrun");
    let run = |stream: &str, out: &str, more: &[&str]| {
        let arguments = ["fb", &midrun, "--stream", stream, "--sample", "30", "--parts", "6", "--out", out];
        geometry(&bench, &[&arguments, more].concat())
    };
    let found = run("stream.jsonl", "out", &["--threads", "2"]);
    let names: Vec<&str> =
        found["groups"].as_array().unwrap().iter().map(|own| own["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["target/sums", "target/brackets", "source/arithmetic", "source/brackets", "source/twin"]);
    let same = pair(&found, "source/brackets", "source/twin");
    let [low, high] = interval(&same["cosine"]);
    assert!(low > 0.9 && high > 0.99, "{same}");
    let cosine = |one: &str, other: &str| pair(&found, one, other)["cosine"]["value"].as_f64().unwrap();
    let own = cosine("target/brackets", "source/brackets");
    assert!(own > 0.04 && own > cosine("target/brackets", "source/arithmetic") + 0.04, "{found}");
    assert_eq!(pair(&found, "target/brackets", "source/brackets")["relation"], "agree", "{found}");
    let at = &found["at"][0];
    assert_eq!(at["checkpoint"]["name"], "midrun");
    let layers = at["layers"].as_array().unwrap();
    assert_eq!(layers.iter().map(|own| own["layer"].as_str().unwrap()).collect::<Vec<_>>(), ["block 2", "block 3"]);
    assert_eq!(layers[0]["pairs"], 6);
    let agreement: Vec<&str> =
        at["agreement"].as_array().unwrap().iter().map(|own| own["group"].as_str().unwrap()).collect();
    assert_eq!(agreement, ["target/brackets", "target/sums"]);

    Stream::new(5, &["order of lines"]).shuffle(&mut lines);
    bench.write("other.jsonl", lines.concat());
    let sources = ["--source", "twin", "--source", "brackets", "--source", "arithmetic"];
    let other = run("other.jsonl", "twin", &[&sources[..], &["--threads", "1", "--batch-tokens", "64"]].concat());
    assert_eq!(found, other);
    for file in ["geometry.json", "geometry.csv"] {
        assert_eq!(bench.read(&format!("out/{file}")), bench.read(&format!("twin/{file}")), "{file}");
    }
    // Another checkpoint of the run will do, and other parameters; another tokenizer will not.
    let earlier = lab("ckpts/step561");
    let arguments = ["fb", &earlier, "--stream", "stream.jsonl", "--params", "model.norm.weight", "--out", "earlier"];
    let arguments = [&arguments[..], &["--sample", "12", "--source", "twin"]].concat();
    let layers = &geometry(&bench, &arguments)["at"][0]["layers"];
    assert_eq!((layers[0]["layer"].as_str(), layers.as_array().unwrap().len()), (Some("norm and head"), 1));
    let refused = |more: &[&str], wanted: &[&str]| {
        let arguments = ["feedback", "geometry", "fb", &midrun, "--stream", "stream.jsonl", "--out", "none"];
        let made = bench.veval(&[&arguments[..], more].concat());
        assert!(made.code == 2 && wanted.iter().all(|wanted| made.err.contains(wanted)), "{}", made.err);
        assert!(!bench.path("none").exists());
    };
    refused(&["--sample", "5"], &["group source/twin: expected at least one item for each of 10 parts, found 5"]);
    refused(&["--source", "twins"], &["expected one of the sources arithmetic, brackets, twin, found twins"]);
    refused(&["--params", "*.mpl.*"], &["expected a name of the model's"]);
    edit_json(&bench.path("fb/manifest.json"), |manifest| {
        manifest.insert("tokenizer".to_owned(), "blake3:other".into());
    });
    refused(&[], &["expected the tokenizer of the set, blake3:other"]);
}
