//! One clear error each, exit code 2, nothing half-written.

use std::path::Path;

use crate::support::{Bench, edit_json, edit_weights, example};

/// Runs the mini suite on a spoiled checkpoint and returns the error.
fn refused(spoil: impl FnOnce(&Bench, &Path)) -> String {
    let bench = Bench::new();
    let suite = bench.suite("");
    let checkpoint = bench.checkpoint("ckpt", 60);
    spoil(&bench, &checkpoint);
    let ran = bench.veval(&["run", suite.to_str().unwrap(), "ckpt"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(!bench.path("runs").exists(), "nothing is written: {}", ran.err);
    ran.err
}

fn expect(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in:\n{message}");
    }
}

#[test]
fn weights() {
    let file = |ckpt: &Path| ckpt.join("model.safetensors");
    expect(
        &refused(|_, c| std::fs::remove_file(file(c)).unwrap()),
        &["model.safetensors", "pytorch_model.bin", "found none"],
    );
    expect(&refused(|_, c| std::fs::write(file(c), []).unwrap()), &["at least 8 bytes, found 0"]);
    expect(
        &refused(|_, c| std::fs::write(file(c), (1u64 << 62).to_le_bytes()).unwrap()),
        &["found a length of 4611686018427387904"],
    );
    expect(
        &refused(|_, c| {
            let bytes = std::fs::read(file(c)).unwrap();
            std::fs::write(file(c), &bytes[..bytes.len() - 100]).unwrap();
        }),
        &["bytes of tensor data", "cut short"],
    );
    // Two mistakes are reported together.
    let both = refused(|_, c| {
        edit_weights(&file(c), |header, _| {
            let norm = header.remove("model.norm.weight").unwrap();
            header.insert("model.extra.weight".into(), norm);
            header["model.embed_tokens.weight"]["shape"] =
                serde_json::json!([64, header["model.embed_tokens.weight"]["shape"][0]]);
        });
    });
    expect(
        &both,
        &[
            "tensor model.norm.weight: expected shape [64], found no such tensor",
            "model.extra.weight",
            "tensor model.embed_tokens.weight: expected shape",
        ],
    );
    let sharded = |shard: &str| {
        let index = serde_json::json!({"weight_map": {"model.norm.weight": shard}}).to_string();
        refused(move |_, c| {
            std::fs::remove_file(file(c)).unwrap();
            std::fs::write(c.join("model.safetensors.index.json"), index).unwrap();
        })
    };
    expect(&sharded("../x"), &["beside the index", "../x"]);
    expect(&sharded("absent.safetensors"), &["expected the shard absent.safetensors, found no such file"]);
}

#[test]
fn nonfinite_weights_are_named_and_can_be_allowed() {
    let spoil = |c: &Path| {
        edit_weights(&c.join("model.safetensors"), |header, data| {
            let at = header["model.norm.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
            data[at..at + 4].copy_from_slice(&[0xc0, 0x7f, 0x80, 0x7f]);
        });
    };
    expect(
        &refused(|_, c| spoil(c)),
        &["tensor model.norm.weight: expected finite weights, found 2 NaN or infinite of 64", "--allow-nonfinite"],
    );
    let bench = Bench::new();
    let suite = bench.suite("");
    spoil(&bench.checkpoint("ckpt", 60));
    let ran = bench.veval(&["run", suite.to_str().unwrap(), "ckpt", "--allow-nonfinite"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(bench.veval(&["rescore", "runs/mini/ckpt"]).code, 0, "a record with NaN can be read again");
}

#[test]
fn configuration_and_tokenizer() {
    let config = |change: fn(&mut serde_json::Map<String, serde_json::Value>)| {
        refused(move |_, c| edit_json(&c.join("config.json"), change))
    };
    expect(
        &config(|c| drop(c.insert("num_attention_heads".into(), 0.into()))),
        &["key `num_attention_heads`: expected a whole number from 1"],
    );
    expect(
        &config(|c| drop(c.insert("model_type".into(), "mamba".into()))),
        &["\"mamba\"", "supported are llama, mistral, mixtral"],
    );
    expect(&config(|c| drop(c.remove("model_type"))), &["`model_type`"]);
    let dynamic = config(|c| {
        c.remove("rope_parameters");
        c.insert("rope_scaling".into(), serde_json::json!({"rope_type": "dynamic", "factor": 2.0}));
    });
    expect(&dynamic, &["expected one of default, linear, llama3, yarn, found \"dynamic\"", "rope_scaling"]);
    expect(
        &refused(|_, c| std::fs::write(c.join("tokenizer.json"), "{\"model\": 1}").unwrap()),
        &["tokenizer.json: expected a tokenizer.json"],
    );
    expect(
        &refused(|_, c| std::fs::remove_file(c.join("tokenizer.json")).unwrap()),
        &["expected tokenizer.json, found none"],
    );
    let larger = refused(|_, c| {
        edit_json(&c.join("tokenizer.json"), |t| {
            let added = serde_json::json!({"id": 900, "content": "<new>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
            t["added_tokens"].as_array_mut().unwrap().push(added);
            t["model"]["vocab"]["<new>"] = 900.into();
        });
    });
    expect(&larger, &["rows of the embedding, found ids up to 900"]);
    let nothing = Bench::new();
    let suite = nothing.suite("");
    expect(&nothing.veval(&["run", suite.to_str().unwrap(), "absent"]).err, &["absent: expected a checkpoint folder"]);
}

/// Runs a suite text on a good checkpoint and returns the error.
fn refused_suite(text: &str, rows: &str) -> String {
    let bench = Bench::new();
    bench.write("rows.jsonl", rows);
    let suite = bench.write("bad.toml", text);
    let ran = bench.veval(&["run", suite.to_str().unwrap(), example(60).to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(!bench.path("runs").exists(), "nothing is written: {}", ran.err);
    ran.err
}

const HEAD: &str = "schema = \"veval.suite/1\"\nname = \"bad\"\n[[task]]\nname = \"t\"\nkind = \"multiple_choice\"\ndata = { file = \"rows.jsonl\" }\n";
const GOOD: &str = "prompt = \"{{ q }}\"\nchoices = \"options\"\ngold = \"right\"\n";

#[test]
fn suites() {
    let rows = "{\"q\": \"a\", \"options\": [\"x\", \"y\"], \"right\": 0}\n";
    let twice = refused_suite(&format!("{HEAD}{GOOD}metrics = [\"acc\", \"acc\"]\n"), rows);
    expect(&twice, &["expected each metric once, found \"acc\" twice"]);
    let together = refused_suite(
        &format!("{HEAD}prompt = \"{{{{ q\"\nchoices = \"[\"\ngold = \"right\"\nmetrics = [\"perplexty\"]\n"),
        rows,
    );
    expect(&together, &["template", "expression", "`metrics`: expected one of"]);
    // Three mistakes, three places.
    let several = refused_suite(&format!("{HEAD}{GOOD}shts = 3\nlimit = \"many\"\nmetrics = [\"acc_nrom\"]\n"), rows);
    expect(
        &several,
        &[
            "unknown key `shts`",
            "did you mean `shots`?",
            "`limit`: expected a whole number, found a text",
            "bad.toml:10:1",
            "bad.toml:11:9",
        ],
    );
    expect(&refused_suite(&format!("{HEAD}{GOOD}metrics = [\"acc_nrom\"]\n"), rows), &["did you mean \"acc_norm\"?"]);
    expect(
        &refused_suite(&format!("{HEAD}prompt = \"{{{{ q\"\nchoices = \"options\"\ngold = \"right\"\n"), rows),
        &["template"],
    );
    expect(
        &refused_suite(&format!("{HEAD}{GOOD}profile = \"lm-eval@9\"\n"), rows),
        &["expected one of veval-1, lm-eval@0.4.13"],
    );
    expect(
        &refused_suite("schema = \"veval.suite/1\"\nname = \"../x\"\n[[task]]\nuse = \"helaswag\"\n", rows),
        &["did you mean \"hellaswag\"?"],
    );
    expect(&refused_suite("schema = \"veval.suite/9\"\nname = \"x\"\ntask = []\n", rows), &["veval.suite/1"]);
    expect(&refused_suite("name = \n= 3", rows), &["bad.toml"]);
    expect(
        &refused_suite("schema = \"veval.suite/1\"\nname = \"x\"\n[[task]]\nuse = \"hellaswag\"\n", rows),
        &["Rowan/hellaswag", "--data-dir"],
    );
}

#[test]
fn items() {
    let row = |options: &str, right: i64| format!("{{\"q\": \"a\", \"options\": {options}, \"right\": {right}}}\n");
    let good = row("[\"x\", \"y\"]", 0);
    let suite = format!("{HEAD}{GOOD}");
    expect(
        &refused_suite(&suite, &format!("{good}{}", row("[\"x\"]", 0))),
        &["task t, item 1: choices: expected at least two, found 1"],
    );
    expect(
        &refused_suite(&suite, &format!("{good}{good}{}{}", row("[\"x\", \"y\"]", 2), row("[\"x\", \"y\"]", -1))),
        &["item 2: gold: expected an index from 0 to 1, found 2", "item 3"],
    );
    expect(
        &refused_suite(&suite, &format!("{good}{{\"other\": 1}}\n")),
        &["task t, item 1: expression \"options\": expected a value, found an unknown name"],
    );
    let none = suite.replace("gold = \"right\"", "gold = \"[]\"");
    expect(&refused_suite(&none, &good), &["task t, item 0: gold: expected at least one right choice, found none"]);
    expect(&refused_suite(&suite, ""), &["rows.jsonl: expected at least one row, found none"]);
    expect(&refused_suite(&suite, &format!("{good}not json\n")), &["rows.jsonl, line 2: expected a JSON object"]);
    expect(
        &refused_suite(&format!("{suite}shots = 5\n"), &good),
        &["expected at least 6 rows to draw 5 shots from, found 1"],
    );
    let pinned = suite.replace("file = \"rows.jsonl\"", "file = \"rows.jsonl\", blake3 = \"blake3:00\"");
    expect(&refused_suite(&pinned, &good), &["expected the fingerprint blake3:00, found blake3:"]);
    let outside = suite.replace("rows.jsonl", "../rows.jsonl");
    expect(&refused_suite(&outside, &good), &["below the definition's folder"]);
}

#[test]
fn output_that_cannot_be_written() {
    let bench = Bench::new();
    let suite = bench.suite("");
    bench.write("blocked", "a file");
    let ckpt = example(60);
    let ran = bench.veval(&["run", suite.to_str().unwrap(), ckpt.to_str().unwrap(), "--out", "blocked/runs"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    expect(&ran.err, &["blocked/runs", "failed to create the folder"]);

    // A full disk, by way of a limit on file sizes: the record stays marked as running, and a second run goes on.
    let script = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} run {} {} --out full",
        env!("CARGO_BIN_EXE_veval"),
        suite.display(),
        ckpt.display()
    );
    let output = std::process::Command::new("sh").arg("-c").arg(script).current_dir(bench.path("")).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    expect(&String::from_utf8_lossy(&output.stderr), &["failed to"]);
    assert!(!bench.path("full/mini/report.html").exists() && !bench.path("full/mini/step60/metrics.csv").exists());
    assert_eq!(bench.veval(&["run", suite.to_str().unwrap(), ckpt.to_str().unwrap(), "--out", "full"]).code, 0);
}

#[test]
fn usage() {
    let bench = Bench::new();
    for arguments in
        [&["run"][..], &["run", "x.toml"], &["fly"], &["run", "a", "b", "--format", "xml"], &["list", "nothing"]]
    {
        assert_eq!(bench.veval(arguments).code, 2, "{arguments:?}");
    }
    let mut command = bench.command(&["run", "absent.toml", example(60).to_str().unwrap()]);
    expect(&crate::support::ran(&command.output().unwrap()).err, &["absent.toml: failed to open"]);
    let suite = bench.suite("");
    let mut command = bench.command(&["run", suite.to_str().unwrap(), example(60).to_str().unwrap()]);
    let ran = crate::support::ran(&command.env("VEVAL_ISA", "mmx").output().unwrap());
    assert_eq!(ran.code, 2);
    expect(&ran.err, &["VEVAL_ISA: expected one of", "portable", "\"mmx\""]);
}
