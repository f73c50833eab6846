//! Adapters that PEFT wrote (`tests/oracle/adapters.py`): the logits of base and adapter together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;
use veval::ckpt::{Addition, Address};
use veval::kernels::Kernels;
use veval::kernels::cpu::Cpu;
use veval::model::{LoadOptions, load};

use crate::support::{expected, first_largest, largest_difference, on_both, open, run};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Every recorded adapter on its base.
fn cases() -> Vec<(String, Address)> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(fixtures().join("adapters")).unwrap() {
        let folder = entry.unwrap().path();
        let settings = std::fs::read_to_string(folder.join("adapter_config.json")).unwrap();
        let settings: Value = serde_json::from_str(&settings).unwrap();
        let base = fixtures().join("parity").join(settings["base_model_name_or_path"].as_str().unwrap());
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        cases.push((name, Address { base, addition: Some(Addition::Adapter(folder)) }));
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(cases.len(), 20, "the recorded adapters are there");
    cases
}

on_both! {
    logits_are_those_of_peft = logits;
}

fn logits<K: Kernels + Clone>(kernels: K) {
    let mut worst = (0f32, String::new());
    for (name, address) in cases() {
        let bytes = std::fs::read(address.addition.as_ref().unwrap().path().join("expected.safetensors")).unwrap();
        let recorded = SafeTensors::deserialize(&bytes).unwrap();
        let view = recorded.tensor("logits").unwrap();
        let wanted: Vec<f32> = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let model = load(&address, kernels.clone(), LoadOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (logits, _) = run(&model, &ids(&recorded), &[], &[]);
        assert_eq!(logits.shape, view.shape(), "{name}");
        let difference = largest_difference(&logits.values, &wanted);
        assert!(difference <= 1e-4, "{name}: logits differ by {difference}");
        let vocab = logits.shape[1];
        for (ours, theirs) in logits.values.chunks(vocab).zip(wanted.chunks(vocab)) {
            assert_eq!(first_largest(ours), first_largest(theirs), "{name}: another arg-max");
        }
        if difference > worst.0 {
            worst = (difference, name);
        }
    }
    println!("largest logit difference: {} ({})", worst.0, worst.1);
}

fn ids(recorded: &SafeTensors<'_>) -> Vec<u32> {
    let tokens = recorded.tensor("tokens").unwrap();
    tokens.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect()
}

/// Copies an adapter and edits its tensors; those edited to `None` are left out.
fn edited(from: &Path, edit: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("adapter_config.json"), folder.path().join("adapter_config.json")).unwrap();
    let bytes = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
    write(&bytes, &folder.path().join("adapter_model.safetensors"), edit);
    folder
}

/// Writes the tensors of a file again, edited.
fn write(bytes: &[u8], to: &Path, edit: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let edited: BTreeMap<String, (safetensors::Dtype, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| {
            let bytes = edit(&name, view.data().to_vec())?;
            Some((name, (view.dtype(), view.shape().to_vec(), bytes)))
        })
        .collect();
    let views = edited
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(to, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Halves, whole numbers, bytes: an adapter that adds nothing changes no bit, whatever the base is stored as.
#[test]
fn an_adapter_of_zeros_changes_no_bit() {
    for (name, base) in [
        ("plain", "parity/llama_gqa9x3"),
        ("bf16", "parity/llama_bf16"),
        ("bf16", "parity/llama_f16"),
        ("columns", "parity/gpt2_untied"),
        ("embedding_tied", "parity/qwen2_tied"),
        ("head_tied", "parity/qwen2_tied"),
    ] {
        let (from, base) = (fixtures().join("adapters").join(name), fixtures().join(base));
        // Biases of the base that the file has are those of the trained model.
        let zeros = edited(&from, |name, bytes| {
            let own = name.contains("lora_B") || name.contains("lora_embedding_B");
            let bias = name.ends_with("base_layer.bias");
            (!bias).then(|| if own { vec![0; bytes.len()] } else { bytes })
        });
        let settings = zeros.path().join("adapter_config.json");
        let text = std::fs::read_to_string(&settings).unwrap().replace("\"bias\": \"lora_only\"", "\"bias\": \"none\"");
        std::fs::write(&settings, text).unwrap();
        let address = Address { base: base.clone(), addition: Some(Addition::Adapter(zeros.path().to_path_buf())) };
        let laid = load(&address, Cpu::default(), LoadOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let tokens = expected(&base).tokens;
        let plain = open(&base, Cpu::default());
        assert_eq!(run(&laid, &tokens, &[], &[]).0, run(&plain, &tokens, &[], &[]).0, "{name} on {}", base.display());
    }
}

/// What is laid on is part of what the model is; the same adapter elsewhere is the same.
#[test]
fn fingerprints_know_the_adapter() {
    let (_, address) = cases().into_iter().find(|(name, _)| name == "plain").unwrap();
    let fingerprint = |address: &Address| load(address, Cpu::default(), LoadOptions::default()).unwrap().fingerprint;
    let with = |folder: &Path| Address { addition: Some(Addition::Adapter(folder.to_path_buf())), ..address.clone() };
    let own = address.addition.as_ref().unwrap().path();
    let same = edited(own, |_, bytes| Some(bytes));
    let other = edited(own, |name, mut bytes| {
        if name.ends_with("layers.1.self_attn.q_proj.lora_B.weight") {
            bytes[3] ^= 0x80;
        }
        Some(bytes)
    });
    assert_eq!(fingerprint(&address), fingerprint(&with(same.path())));
    assert_ne!(fingerprint(&address), fingerprint(&with(other.path())));
    assert_ne!(fingerprint(&address), fingerprint(&Address { addition: None, ..address.clone() }));
}

/// A delta is the difference of two checkpoints: base and delta together are the other one.
#[test]
fn a_delta_leads_from_one_checkpoint_to_another() {
    let base = fixtures().join("parity/llama_gqa9x3");
    let bytes = std::fs::read(base.join("model.safetensors")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Twice the weights: the difference is the base itself, and the sum has no rounding.
    std::fs::copy(base.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let doubled = tempfile::tempdir().unwrap();
    std::fs::copy(base.join("config.json"), doubled.path().join("config.json")).unwrap();
    write(&bytes, &doubled.path().join("model.safetensors"), |_, bytes| {
        let values = bytes.as_chunks().0.iter().map(|b| 2.0 * f32::from_le_bytes(*b));
        Some(values.flat_map(f32::to_le_bytes).collect())
    });
    let address = Address { base: base.clone(), addition: Some(Addition::Delta(folder.path().to_path_buf())) };
    let laid = load(&address, Cpu::default(), LoadOptions::default()).unwrap();
    let other = open(doubled.path(), Cpu::default());
    assert_eq!(laid.fingerprint, other.fingerprint);
    let tokens = expected(&base).tokens;
    assert_eq!(run(&laid, &tokens, &[], &[]).0, run(&other, &tokens, &[], &[]).0);

    write(&bytes, &folder.path().join("model.safetensors"), |name, bytes| {
        (!name.contains("layers.1.mlp")).then_some(bytes)
    });
    let message = load(&address, Cpu::default(), LoadOptions::default()).err().unwrap().to_string();
    assert_eq!(message.matches("expected a difference for every tensor of the base").count(), 3, "{message}");
}

/// Everything that does not fit is said, all at once.
#[test]
fn what_does_not_fit_is_named() {
    let message = |name: &str, base: &str, edit: &dyn Fn(String) -> String, drop: &str| {
        let from = fixtures().join("adapters").join(name);
        let folder = edited(&from, |name, bytes| (drop.is_empty() || !name.contains(drop)).then_some(bytes));
        let settings = folder.path().join("adapter_config.json");
        std::fs::write(&settings, edit(std::fs::read_to_string(&settings).unwrap())).unwrap();
        let addition = Some(Addition::Adapter(folder.path().to_path_buf()));
        let address = Address { base: fixtures().join("parity").join(base), addition };
        load(&address, Cpu::default(), LoadOptions::default()).err().unwrap().to_string()
    };
    let same = |text: String| text;
    let count = |text: &str, part: &str| text.matches(part).count();

    // Another base: six products have other shapes.
    let text = message("plain", "llama_head_dim", &same, "");
    assert!(count(&text, "by adapter_config.json and the base, found") >= 6, "{text}");
    // Another family: none of the modules are there.
    let text = message("plain", "gpt2_odd", &same, "");
    assert_eq!(count(&text, "expected a linear map or an embedding of the base, found \"model.layers."), 6, "{text}");
    // Parts are missing.
    let text = message("plain", "llama_gqa9x3", &same, "v_proj.lora_A");
    assert_eq!(count(&text, "expected shape [3, 36], found no such tensor"), 2, "{text}");
    let text = message("plain", "llama_gqa9x3", &same, "v_proj");
    assert_eq!(count(&text, "expected weights for model.layers."), 2, "{text}");
    let text = message("saved", "llama_gqa9x3", &same, "lm_head");
    assert!(text.contains("key `modules_to_save`: expected weights for lm_head.weight"), "{text}");
    let text = message("bias_all", "llama_bias", &same, "gate_proj.bias");
    assert_eq!(count(&text, "key `bias`: expected weights for model.layers."), 2, "{text}");
    // Settings say something else.
    let text = message("plain", "llama_gqa9x3", &|text| text.replace("\"v_proj\"", "\"k_proj\""), "");
    assert_eq!(count(&text, "expected a module among the `target_modules`"), 2, "{text}");
    assert_eq!(count(&text, "expected weights for model.layers."), 2, "{text}");
    let text = message("dora", "llama_bias", &|text| text.replace("\"use_dora\": true", "\"use_dora\": false"), "");
    assert_eq!(count(&text, "expected no such part of"), 6, "{text}");
    let text = message("plain", "llama_gqa9x3", &|text| text.replace("\"LORA\"", "\"IA3\""), "");
    assert!(text.contains("key `peft_type`: expected an adapter of type LORA, found \"IA3\""), "{text}");
    let edit = |text: String| {
        let text = text.replace("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"");
        let text = text.replace("\"layer_replication\": null", "\"layer_replication\": [[0, 1], [0, 2]]");
        text.replace("\"target_parameters\": null", "\"target_parameters\": [\"x\"], \"use_news\": true, \"r\": 0")
    };
    let text = message("plain", "llama_gqa9x3", &edit, "");
    for key in ["init_lora_weights", "layer_replication", "target_parameters", "use_news", "r"] {
        assert!(text.contains(&format!("key `{key}`: expected")), "{key}: {text}");
    }
}
