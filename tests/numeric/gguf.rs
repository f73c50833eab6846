//! Files that llama.cpp's own tools wrote (`tests/oracle/gguf_files.py`): their logits, and the ids of their vocabularies.
//!
//! llama.cpp multiplies quantised weights with quantised activations. What is recorded is what it computes with the same
//! weights as f32.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;
use veval::kernels::Kernels;
use veval::kernels::candle::Candle;
use veval::kernels::cpu::Cpu;
use veval::lm::{LanguageModel, Local, LocalOptions, cpu};
use veval::model::{GgufType, to_gguf};
use veval::request::{Ask, Plan, Request, Response, Sampling, Sharing};
use veval::text::Tokenizer;

use crate::support::{largest_difference, open, run};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf")
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

const MODELS: [&str; 4] = ["stories-f32", "stories-q8_0", "stories-q4_k_m", "tiny256-q4_k_s"];

fn logits_equal<K: Kernels + Clone>(kernels: K) {
    let bytes = std::fs::read(fixtures().join("logits.safetensors")).unwrap();
    let (recorded, expected) = (SafeTensors::deserialize(&bytes).unwrap(), expected());
    for name in MODELS {
        let model = open(&fixtures().join(format!("{name}.gguf")), kernels.clone());
        let (logits, _) = run(&model, &ids(&expected["models"][name]["input"]), &[], &[]);
        let view = recorded.tensor(name).unwrap();
        assert_eq!(logits.shape, view.shape());
        let theirs: Vec<f32> = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let difference = largest_difference(&logits.values, &theirs);
        println!("{name} ({}): logits differ by {difference}", model.dtypes.join(", "));
        assert!(difference < 1e-4, "{name}: logits differ by {difference}");
    }
}

/// What stays packed is said, and what does not.
#[test]
fn element_types_say_what_stays_packed() {
    let types = |name: &str| open(&fixtures().join(format!("{name}.gguf")), Cpu::default()).dtypes.join(", ");
    assert_eq!(types("stories-f32"), "float32");
    assert_eq!(types("stories-q8_0"), "float32, float16, Q8_0");
    assert_eq!(types("tiny256-q4_k_s"), "float32, Q5_K as float32, Q6_K as float32, Q4_K");
}

#[test]
fn logits_are_those_of_llama_cpp_with_the_same_weights() {
    logits_equal(Cpu::default());
    logits_equal(Candle::cpu());
}

/// Files of every architecture by llama.cpp's converter (`tests/oracle/gguf_families.py`), against transformers with the
/// checkpoint that they were made from.
#[test]
fn every_architecture_is_put_back() {
    let mut families = std::collections::BTreeSet::new();
    let mut worst = (0f32, String::new());
    let folder = fixtures().join("families");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "gguf"));
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let own = folder.join(format!("{name}.expected.safetensors"));
        let recorded = fixtures().join("../parity").join(&name).join("expected.safetensors");
        let bytes = std::fs::read(if own.exists() { own } else { recorded }).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tokens: Vec<u32> =
            file.tensor("tokens").unwrap().data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect();
        let view = file.tensor("logits").unwrap();
        let theirs: Vec<f32> = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let model = open(&path, Cpu::default());
        families.insert(model.decoder.spec().family);
        let (logits, _) = run(&model, &tokens, &[], &[]);
        // Vocabularies are padded to what the tokenizer has.
        assert_eq!(logits.shape, view.shape(), "{name}");
        let difference = largest_difference(&logits.values, &theirs);
        assert!(difference < 1e-4, "{name}: logits differ by {difference}");
        if difference > worst.0 {
            worst = (difference, name);
        }
    }
    println!("largest logit difference: {} ({})", worst.0, worst.1);
    assert_eq!(families.len(), 16, "{families:?}");
}

/// What is read is written: a file of every architecture, made anew from what was read of it, is the same model.
#[test]
fn what_is_read_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for entry in std::fs::read_dir(fixtures().join("families")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "gguf") {
            let again = folder.path().join(path.file_name().unwrap());
            to_gguf(&path, &again, GgufType::F32).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let (first, second) = (open(&path, Cpu::default()), open(&again, Cpu::default()));
            assert_eq!(first.fingerprint, second.fingerprint, "{}", path.display());
            compared += 1;
        }
    }
    assert_eq!(compared, 32);
    // Blocks by llama.cpp and by us are the same bytes.
    let again = folder.path().join("q8.gguf");
    to_gguf(&fixtures().join("stories-f32.gguf"), &again, GgufType::Q8_0).unwrap();
    let theirs = open(&fixtures().join("stories-q8_0.gguf"), Cpu::default());
    assert_eq!(open(&again, Cpu::default()).fingerprint, theirs.fingerprint);
}

#[test]
fn generations_are_those_of_llama_cpp() {
    let expected = expected();
    for name in ["stories-f32", "stories-q8_0", "stories-q4_k_m"] {
        let (path, recorded) = (fixtures().join(format!("{name}.gguf")), &expected["models"][name]);
        let model = Local::open(&path, cpu(1).unwrap(), &LocalOptions::default()).unwrap();
        let prompt = model.tokenizer().encode(recorded["greedy_prompt"].as_str().unwrap()).unwrap();
        let wanted = ids(&recorded["greedy"]);
        let ask = Ask::Generate { stop: Vec::new(), max_tokens: wanted.len(), sampling: Sampling::Greedy };
        let plan = Plan::new(vec![Request::plain(prompt, ask)], Sharing::Prefixes);
        let mut found = None;
        model
            .execute(&plan, 0, &mut |answers| {
                found = answers.whole.into_iter().next();
                Ok(())
            })
            .unwrap();
        let Some((_, Response::Generate { tokens, text, .. })) = found else { panic!("{name}: no text") };
        assert_eq!(tokens, wanted, "{name}");
        assert_eq!(text.trim(), recorded["greedy_text"].as_str().unwrap().trim(), "{name}");
    }
}

#[test]
fn vocabularies_give_the_ids_of_llama_cpp() {
    let expected = expected();
    let texts = |key: &str| -> Vec<String> {
        expected[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut compared = 0;
    let mut check = |file: String, texts: &[String], wanted: &Value| {
        let tokenizer = Tokenizer::open(&fixtures().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for (text, wanted) in texts.iter().zip(wanted.as_array().unwrap()) {
            // A text that begins with the token that would stand before it gets none here (lm-evaluation-harness's
            // rule), and two in llama.cpp.
            let found = tokenizer.encode(text).unwrap();
            let wanted = if text.starts_with("<s>") { ids(wanted)[1..].to_vec() } else { ids(wanted) };
            assert_eq!(found, wanted, "{file}: {text:?}");
            compared += 1;
        }
    };
    check("stories-f32.gguf".to_owned(), &texts("texts"), &expected["models"]["stories-f32"]["tokens_with_special"]);
    for (pre, recorded) in expected["bpe"].as_object().unwrap() {
        check(format!("bpe-{pre}.gguf"), &texts("bpe_texts"), &recorded["tokens_with_special"]);
    }
    assert_eq!(compared, 5 + 7 * 8);
}
