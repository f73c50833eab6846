//! The random checkpoints of `benches/peers/lm_eval/random_checkpoint.py`, made again from their formula
//! (`tests/fixtures/random_ckpt/README.md`), so that no weights are committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::support::fixtures;

const CONTEXT: usize = 4096;
const WIDTH: usize = 48;
const LAYERS: usize = 2;
const VOCAB: usize = 1024;

/// A folder with the checkpoint `gpt2` or `gpt_neox`.
pub fn folder(family: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("random_{family}_{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixtures().join("random_ckpt").join(family).join(name), folder.join(name)).unwrap();
    }
    let tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = shapes(family)
        .into_iter()
        .map(|(name, shape)| {
            let values = values(&name, shape.iter().product());
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, (shape, bytes))
        })
        .collect();
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    folder
}

fn shapes(family: &str) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    let mut add = |name: String, shape: &[usize]| shapes.push((name, shape.to_vec()));
    if family == "gpt2" {
        add("transformer.wte.weight".into(), &[VOCAB, WIDTH]);
        add("transformer.wpe.weight".into(), &[CONTEXT, WIDTH]);
        for layer in 0..LAYERS {
            let at = |name: &str| format!("transformer.h.{layer}.{name}");
            for norm in ["ln_1", "ln_2"] {
                add(at(&format!("{norm}.weight")), &[WIDTH]);
                add(at(&format!("{norm}.bias")), &[WIDTH]);
            }
            for (name, input, out) in [
                ("attn.c_attn", WIDTH, 3 * WIDTH),
                ("attn.c_proj", WIDTH, WIDTH),
                ("mlp.c_fc", WIDTH, 4 * WIDTH),
                ("mlp.c_proj", 4 * WIDTH, WIDTH),
            ] {
                add(at(&format!("{name}.weight")), &[input, out]);
                add(at(&format!("{name}.bias")), &[out]);
            }
        }
        add("transformer.ln_f.weight".into(), &[WIDTH]);
        add("transformer.ln_f.bias".into(), &[WIDTH]);
    } else {
        add("gpt_neox.embed_in.weight".into(), &[VOCAB, WIDTH]);
        add("embed_out.weight".into(), &[VOCAB, WIDTH]);
        for layer in 0..LAYERS {
            let at = |name: &str| format!("gpt_neox.layers.{layer}.{name}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(at(&format!("{norm}.weight")), &[WIDTH]);
                add(at(&format!("{norm}.bias")), &[WIDTH]);
            }
            for (name, input, out) in [
                ("attention.query_key_value", WIDTH, 3 * WIDTH),
                ("attention.dense", WIDTH, WIDTH),
                ("mlp.dense_h_to_4h", WIDTH, 2 * WIDTH),
                ("mlp.dense_4h_to_h", 2 * WIDTH, WIDTH),
            ] {
                add(at(&format!("{name}.weight")), &[out, input]);
                add(at(&format!("{name}.bias")), &[out]);
            }
        }
        add("gpt_neox.final_layer_norm.weight".into(), &[WIDTH]);
        add("gpt_neox.final_layer_norm.bias".into(), &[WIDTH]);
    }
    shapes
}

/// splitmix64 of a seed from the tensor's name, as 24-bit values in [-1, 1), scaled by what the tensor is.
pub fn values(name: &str, count: usize) -> Vec<f32> {
    let seed = u64::from_le_bytes(Sha256::digest(name.as_bytes())[..8].try_into().unwrap());
    let norm = ["ln_1", "ln_2", "ln_f", "input_layernorm", "post_attention_layernorm", "final_layer_norm"];
    (1..=count as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let v = ((z >> 40) as i64 - (1 << 23)) as f32 / (1u32 << 23) as f32;
            if name.rsplit('.').next() == Some("bias") {
                v / 16.0
            } else if norm.iter().any(|norm| name.ends_with(&format!("{norm}.weight"))) {
                1.0 + v / 8.0
            } else if ["wte.weight", "wpe.weight", "embed_in.weight", "embed_out.weight"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                v / 2.0
            } else {
                v / 4.0
            }
        })
        .collect()
}

/// The check values of the README: the formula is the same on both sides.
#[test]
fn weights_have_the_recorded_digest() {
    let readme = std::fs::read_to_string(fixtures().join("random_ckpt/README.md")).unwrap();
    for family in ["gpt2", "gpt_neox"] {
        let mut digest = Sha256::new();
        let shapes: BTreeMap<String, Vec<usize>> = shapes(family).into_iter().collect();
        for (name, shape) in shapes {
            for value in values(&name, shape.iter().product()) {
                digest.update(value.to_le_bytes());
            }
        }
        let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(readme.contains(&hex), "{family}: {hex} is not in the README");
    }
}
