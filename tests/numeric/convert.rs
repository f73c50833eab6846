//! Folders that are written: the same model as what they were made from, to the bit.

use std::path::{Path, PathBuf};

use veval::ckpt::{Addition, Address, WeightFiles};
use veval::kernels::cpu::Cpu;
use veval::model::{FloatType, GgufType, LoadOptions, Loaded, load, to_folder, to_gguf};
use veval::text::Tokenizer;

use crate::support::{expected, open, run};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fingerprint(path: &Path) -> String {
    open(path, Cpu::default()).fingerprint
}

/// Safetensors to GGUF and back: every tensor has the bits that it had.
#[test]
fn there_and_back_again_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/example/ckpts/step200");
    let [first, gguf, last] = ["first", "there.gguf", "back"].map(|name| folder.path().join(name));
    to_folder(&example, &first, FloatType::F32).unwrap();
    to_gguf(&first, &gguf, GgufType::F32).unwrap();
    to_folder(&gguf, &last, FloatType::F32).unwrap();
    let (a, b) = (WeightFiles::open(&first).unwrap(), WeightFiles::open(&last).unwrap());
    assert!(a.tensors().keys().eq(b.tensors().keys()));
    for name in a.tensors().keys() {
        assert_eq!(a.read_bytes(name).unwrap(), b.read_bytes(name).unwrap(), "{name}");
    }
    assert_eq!(fingerprint(&first), fingerprint(&last));
    let (a, b) = (Tokenizer::open(&first).unwrap(), Tokenizer::open(&last).unwrap());
    for text in ["In the beginning", "3 + 4 = 7\n\n", "  two  spaces", "\u{e9}t\u{e9} \u{1f600}"] {
        assert_eq!(a.encode(text).unwrap(), b.encode(text).unwrap(), "{text:?}");
    }
    // What is there is not written over, and nothing is left of what failed.
    assert!(to_folder(&gguf, &last, FloatType::F32).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

/// Every architecture of GGUF becomes a folder and a file again.
#[test]
fn files_of_every_architecture_become_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (mut same, mut refused) = (0, Vec::new());
    for entry in std::fs::read_dir(fixtures().join("gguf/families")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "gguf") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (out, again) = (folder.path().join(&name), folder.path().join(format!("{name}.gguf")));
        match to_folder(&path, &out, FloatType::F32) {
            Ok(()) => {
                assert_eq!(fingerprint(&path), fingerprint(&out), "{name}");
                to_gguf(&out, &again, GgufType::F32).unwrap();
                assert_eq!(fingerprint(&path), fingerprint(&again), "{name}");
                same += 1;
            }
            Err(error) => refused.push((name, error.to_string())),
        }
    }
    // Factors of no published model.
    assert_eq!((same, refused.len()), (31, 1), "{refused:?}");
    assert!(refused[0].1.contains("expected the rotary scaling of Llama 3.1 or 3.2"), "{refused:?}");
}

/// GGUF has factors where a configuration has Llama 3's scaling: the published ones find their way back.
#[test]
fn scalings_of_published_models_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/example/ckpts/step200");
    let [first, gguf, last] = ["first", "there.gguf", "back"].map(|name| folder.path().join(name));
    to_folder(&example, &first, FloatType::F32).unwrap();
    let config = |folder: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap()
    };
    let scaling = serde_json::json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    let mut scaled = config(&first);
    scaled["rope_theta"] = 500_000.0.into();
    scaled["rope_scaling"] = scaling.clone();
    scaled.as_object_mut().unwrap().remove("rope_parameters");
    std::fs::write(first.join("config.json"), scaled.to_string()).unwrap();
    to_gguf(&first, &gguf, GgufType::F32).unwrap();
    to_folder(&gguf, &last, FloatType::F32).unwrap();
    assert_eq!(config(&last)["rope_scaling"], scaling);
    assert_eq!(fingerprint(&first), fingerprint(&last));
}

#[test]
fn element_types_are_those_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (name, to) in [("llama_f16", FloatType::F16), ("llama_bf16", FloatType::Bf16), ("gpt2_odd", FloatType::F32)] {
        let (from, out) = (fixtures().join("parity").join(name), folder.path().join(name));
        to_folder(&from, &out, to).unwrap();
        assert_eq!(fingerprint(&from), fingerprint(&out), "{name}");
    }
    // Packed weights, unpacked: the numbers are the same.
    let (from, out) = (fixtures().join("gguf/stories-q8_0.gguf"), folder.path().join("unpacked"));
    to_folder(&from, &out, FloatType::F32).unwrap();
    let (packed, unpacked) = (open(&from, Cpu::default()), open(&out, Cpu::default()));
    assert_eq!(unpacked.dtypes, ["float32"]);
    let tokens = [1, 403, 407, 261, 378];
    assert_eq!(run(&packed, &tokens, &[], &[]).0, run(&unpacked, &tokens, &[], &[]).0);
}

/// A merged adapter is the model that base and adapter were.
#[test]
fn merged_adapters_are_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    for (name, base) in [
        ("plain", "llama_gqa9x3"),
        ("dora_columns", "gpt2_odd"),
        ("embedding_tied", "qwen2_tied"),
        ("head", "neox_serial"),
        ("patterns", "neox_parallel"),
        ("gemma", "gemma3_linear"),
    ] {
        let addition = Some(Addition::Adapter(fixtures().join("adapters").join(name)));
        let address = Address { base: fixtures().join("parity").join(base), addition };
        let out = folder.path().join(name);
        to_folder(&address, &out, FloatType::F32).unwrap();
        let laid: Loaded<Cpu> = load(&address, Cpu::default(), LoadOptions::default()).unwrap();
        let merged = open(&out, Cpu::default());
        assert_eq!(laid.fingerprint, merged.fingerprint, "{name}");
        let tokens = expected(&address.base).tokens;
        assert_eq!(run(&laid, &tokens, &[], &[]).0, run(&merged, &tokens, &[], &[]).0, "{name}");
    }
}
