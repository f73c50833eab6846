//! `base+adapter` on the command line.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::Bench;

/// An adapter of the example's query projections, whose `B` is this number everywhere.
fn adapter(bench: &Bench, name: &str, number: f32) {
    let settings = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]});
    bench.write(&format!("{name}/adapter_config.json"), settings.to_string());
    let bytes = |number: f32| -> Vec<u8> { (0..64).flat_map(|_| number.to_le_bytes()).collect() };
    let (a, b) = (bytes(0.1), bytes(number));
    let tensors: Vec<(String, [usize; 2], &[u8])> = (0..3)
        .flat_map(|layer| {
            let at = format!("base_model.model.model.layers.{layer}.self_attn.q_proj");
            [(format!("{at}.lora_A.weight"), [1, 64], &a[..]), (format!("{at}.lora_B.weight"), [64, 1], &b[..])]
        })
        .collect();
    let view = |shape: &[usize; 2], bytes| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap()
    };
    let views = tensors.iter().map(|(name, shape, bytes)| (name.as_str(), view(shape, bytes)));
    bench.write(&format!("{name}/adapter_model.safetensors"), safetensors::serialize(views, None).unwrap());
}

fn record(bench: &Bench, name: &str) -> Value {
    serde_json::from_str(&bench.read(&format!("runs/mini/{name}/run.json"))).unwrap()
}

#[test]
fn a_folder_of_adapters_is_a_series_on_one_base() {
    let bench = Bench::new();
    let suite = bench.suite("");
    let suite = suite.to_str().unwrap();
    bench.checkpoint("a+base", 2500);
    adapter(&bench, "lora/checkpoint-200", 3.0);
    adapter(&bench, "lora/checkpoint-1000", 0.0);
    bench.write("lora/checkpoint-1000/trainer_state.json", "{\"global_step\": 100}");
    let ran = bench.veval(&["run", suite, "a+base", "a+base+lora", "--format", "csv"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let mut rows = csv::Reader::from_reader(ran.out.as_bytes());
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let mut seen: Vec<[&str; 3]> = rows.iter().map(|row| [&row[1], &row[2], &row[3]]).collect();
    seen.dedup();
    assert_eq!(
        seen,
        [
            ["a+base", "a+base", "2500"],
            ["a+base+lora", "checkpoint-1000", "100"],
            ["a+base+lora", "checkpoint-200", "200"]
        ]
    );
    // Which adds nothing scores as its base does; the other one does not.
    let values = |checkpoint: &str| -> Vec<Vec<String>> {
        let own = rows.iter().filter(|row| &row[2] == checkpoint);
        own.map(|row| row.iter().skip(5).map(str::to_owned).collect()).collect()
    };
    assert_eq!(values("a+base"), values("checkpoint-1000"));
    assert_ne!(values("a+base"), values("checkpoint-200"));
    let runs =
        ["a+base", "a+base+lora__checkpoint-1000", "a+base+lora__checkpoint-200"].map(|name| record(&bench, name));
    let fingerprints = runs.each_ref().map(|run| run["model"]["fingerprint"].as_str().unwrap());
    assert!(fingerprints[1] != fingerprints[2] && fingerprints[0] != fingerprints[2]);
    assert_eq!(runs[1]["model"]["dtypes"], json!(["bfloat16 as float32", "bfloat16"]));
    let path = runs[1]["path"].as_str().unwrap();
    assert!(path.ends_with("/lora/checkpoint-1000") && path.contains("/a+base+/"), "{path}");

    // A merged checkpoint is the same model: nothing is computed for it.
    let merged = bench.veval(&["convert", "a+base+lora/checkpoint-200", "merged", "--type", "f32"]);
    assert_eq!(merged.code, 0, "{}", merged.err);
    let again = bench.veval(&["run", suite, "merged"]);
    assert_eq!(again.code, 0, "{}", again.err);
    let scored = |name: &str| bench.read(&format!("runs/mini/{name}/samples.jsonl"));
    assert_eq!(scored("a+base+lora__checkpoint-200"), scored("merged"));
    assert!(Path::new(&bench.path("merged/tokenizer.json")).exists());
}

#[test]
fn what_is_no_base_or_no_adapter_is_said() {
    let bench = Bench::new();
    let suite = bench.suite("");
    let suite = suite.to_str().unwrap();
    bench.checkpoint("base", 60);
    adapter(&bench, "lora", 1.0);
    for (arguments, expected) in [
        (vec!["run", suite, "base+nothing"], "found nothing at \"nothing\""),
        (vec!["run", suite, "lora"], "name the base of an adapter: BASE+ADAPTER"),
        (vec!["run", suite, "base+base"], "say so: base+delta:base"),
        (vec!["convert", "base", "out", "--type", "q8_0"], "expected f32, f16 or bf16 for a folder, found q8_0"),
        (
            vec!["convert", "base", "out.gguf", "--type", "bf16"],
            "expected f32, f16 or q8_0 for a GGUF file, found bf16",
        ),
        (vec!["convert", "base+lora", "base"], "expected a name that is free"),
    ] {
        let ran = bench.veval(&arguments);
        assert!(ran.code == 2 && ran.err.contains(expected), "{arguments:?}: {}", ran.err);
    }
    // Twice the base, as a delta.
    let ran = bench.veval(&["run", suite, "base+delta:base"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(bench.path("runs/mini/base+base/run.json").exists());
}
