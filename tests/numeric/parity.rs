//! Same numbers as `transformers` 5.23 on tiny checkpoints with odd shapes.

use std::path::Path;

use veval::kernels::Kernels;
use veval::kernels::candle::Candle;
use veval::kernels::cpu::Cpu;
use veval::model::{LoadOptions, Taps, load};
use veval::request::{GradSpan, Site};

use crate::support::{Expected, cases, expected, first_largest, largest_difference, on_both, open, run};

const LOGIT_TOLERANCE: f32 = 1e-4;

on_both! {
    logits_and_activations_equal_transformers = logits_and_activations;
    greedy_continuations_equal_with_a_cache_and_without = greedy_continuations;
}

fn logits_and_activations<K: Kernels + Clone>(kernels: K) {
    let mut worst = (0f32, String::new());
    for (name, path) in cases() {
        let (model, expected) = (open(&path, kernels.clone()), expected(&path));
        let layers = model.decoder.spec().layers;
        let recorded = recorded_sites(&expected, layers);
        let sites: Vec<Site> = recorded.iter().map(|(site, _)| *site).collect();
        assert!(sites.len() >= 6 * layers, "{name}: only {} sites were recorded", sites.len());
        let (logits, captured) = run(&model, &expected.tokens, &sites, &[]);
        let wanted = &expected.floats["logits"];
        assert_eq!(logits.shape, wanted.shape);
        let difference = largest_difference(&logits.values, &wanted.values);
        assert!(difference <= LOGIT_TOLERANCE, "{name}: logits differ by {difference}");
        if difference > worst.0 {
            worst = (difference, name.clone());
        }
        let vocab = wanted.shape[1];
        for (ours, theirs) in logits.values.chunks(vocab).zip(wanted.values.chunks(vocab)) {
            assert_eq!(first_largest(ours), first_largest(theirs), "{name}: another arg-max");
        }
        for (site, key) in recorded {
            let theirs = &expected.floats[&key].values;
            let scale = theirs.iter().fold(1f32, |max, value| max.max(value.abs()));
            let relative = largest_difference(&captured[&site].values, theirs) / scale;
            assert!(relative <= 1e-5, "{name}: {site} differs by {relative} of its maximum {scale}");
        }
    }
    println!("largest logit difference: {} ({})", worst.0, worst.1);
}

/// Our sites for what the oracle recorded under its own keys.
fn recorded_sites(expected: &Expected, layers: usize) -> Vec<(Site, String)> {
    let mut pairs = vec![
        ("hook_embed".to_owned(), "hook_embed".to_owned()),
        ("hook_pos_embed".to_owned(), "hook_pos_embed".to_owned()),
        ("ln_final.hook_normalized".to_owned(), "final_norm_out".to_owned()),
        ("blocks.0.hook_resid_pre".to_owned(), "resid_pre.0".to_owned()),
    ];
    for layer in 0..layers {
        pairs.push((format!("blocks.{layer}.hook_resid_post"), format!("resid_post.{layer}")));
        for name in ["hook_attn_out", "hook_mlp_out", "attn.hook_pattern", "attn.hook_z", "mlp.hook_post"] {
            pairs.push((format!("blocks.{layer}.{name}"), format!("blocks.{layer}.{name}")));
        }
    }
    pairs.retain(|(_, key)| expected.floats.contains_key(key));
    pairs.into_iter().map(|(site, key)| (site.parse().unwrap(), key)).collect()
}

fn greedy_continuations<K: Kernels + Clone>(kernels: K) {
    for (name, path) in cases() {
        let (model, expected) = (open(&path, kernels.clone()), expected(&path));
        let decoder = &model.decoder;
        let mut cache = decoder.empty_cache();
        let mut taps = Taps::none(decoder.kernels());
        let mut tokens = expected.tokens[..8].to_vec();
        let mut hidden = decoder.forward(&tokens, &mut cache, &mut taps).unwrap();
        let mut last_row = tokens.len() - 1;
        for (step, &wanted) in expected.greedy.iter().enumerate() {
            let next = first_largest(&decoder.host_logits(&hidden, &[last_row]).unwrap().values) as u32;
            assert_eq!(next, wanted, "{name}: step {step}");
            let (whole, _) = run(&model, &tokens, &[], &[]);
            let vocab = decoder.spec().vocab;
            assert_eq!(first_largest(&whole.values[whole.values.len() - vocab..]) as u32, wanted, "{name}: no cache");
            tokens.push(next);
            hidden = decoder.forward(&[next], &mut cache, &mut taps).unwrap();
            last_row = 0;
        }
        assert_eq!(cache.length(), 8 + expected.greedy.len());
    }
}

#[test]
fn span_gradients_equal_torch_for_every_parameter() {
    let mut worst = 0f32;
    for (name, path) in cases() {
        let expected = expected(&path);
        let model =
            load(&path, Candle::cpu_tracked(), LoadOptions { keep_raw: true, ..LoadOptions::default() }).unwrap();
        let (loss, gradients) = model
            .decoder
            .span_gradients(&expected.tokens, GradSpan { start: 9, end: 17 })
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!((loss - expected.floats["loss"].values[0]).abs() < 1e-4, "{name}: loss {loss}");
        let wanted: Vec<&String> = expected.floats.keys().filter(|key| key.starts_with("grad.")).collect();
        assert_eq!(wanted.len(), gradients.len(), "{name}: another set of parameters");
        for key in wanted {
            let (ours, theirs) = (&gradients[&key["grad.".len()..]], &expected.floats[key]);
            assert_eq!(ours.shape, theirs.shape, "{name}: {key}");
            let scale = theirs.values.iter().fold(0f32, |m, v| m.max(v.abs()));
            let relative = largest_difference(&ours.values, &theirs.values) / scale.max(1e-3);
            assert!(relative < 1e-4, "{name}: {key} differs by {relative} of its maximum {scale}");
            worst = worst.max(relative);
        }
    }
    println!("largest relative gradient difference: {worst}");
}

/// A finite difference along the gradient, independent of torch.
#[test]
fn gradient_predicts_a_small_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/llama_head_dim");
    let expected = expected(&path);
    let span = GradSpan { start: 9, end: 17 };
    let model = load(&path, Candle::cpu_tracked(), LoadOptions { keep_raw: true, ..LoadOptions::default() }).unwrap();
    let (_, gradients) = model.decoder.span_gradients(&expected.tokens, span).unwrap();
    let name = "model.layers.0.mlp.up_proj.weight";
    let gradient = &gradients[name];
    let length: f32 = gradient.values.iter().map(|g| g * g).sum::<f32>().sqrt();
    let step = 1e-2 / length;
    let loss_at = |sign: f32| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(path.join("config.json"), folder.path().join("config.json")).unwrap();
        let mut bytes = std::fs::read(path.join("model.safetensors")).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let metadata: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
        let start = header + metadata[name]["data_offsets"][0].as_u64().unwrap() as usize;
        for (i, g) in gradient.values.iter().enumerate() {
            let at = start + 4 * i;
            let value = f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) + sign * step * g;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let model =
            load(folder.path(), Candle::cpu_tracked(), LoadOptions { keep_raw: true, ..LoadOptions::default() })
                .unwrap();
        model.decoder.span_gradients(&expected.tokens, span).unwrap().0
    };
    let measured = (loss_at(1.0) - loss_at(-1.0)) / 2.0;
    let predicted = step * length * length;
    assert!((measured / predicted - 1.0).abs() < 1e-2, "measured {measured}, predicted {predicted}");
}

/// The same weights in PyTorch's own files, whole and in shards, give the same bits.
#[test]
fn pytorch_files_are_read_as_safetensors_are() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in ["llama_tied", "gpt2_odd"] {
        let safe = fixtures.join("parity").join(name);
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(safe.join("config.json"), folder.path().join("config.json")).unwrap();
        for entry in std::fs::read_dir(fixtures.join("torchbin/checkpoints").join(name)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
        let (a, b) = (open(&safe, Cpu::default()), open(folder.path(), Cpu::default()));
        assert_eq!(a.fingerprint, b.fingerprint, "{name}");
        let tokens = expected(&safe).tokens;
        assert_eq!(run(&a, &tokens, &[], &[]).0, run(&b, &tokens, &[], &[]).0, "{name}");
    }
}
