//! Any checkpoint as a Hugging Face folder.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::same_model;
use crate::ckpt::{Address, Config, Dtype, SafetensorsPlan, Vocabulary, WeightFiles, widen, write_safetensors};
use crate::error::{Error, Result};
use crate::model::load::{Inspected, inspect, uses};
use crate::util::files;

/// Element type of every tensor of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    F32,
    F16,
    Bf16,
}

/// Files beside the weights that are taken along as they are.
const BESIDE: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];

/// Llama's published scalings: factor, low and high frequency factor, original context. GGUF has what they divide each
/// frequency by and not these.
const LLAMA3: [(f64, f64, f64, u64); 2] = [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192)];

/// Where a file of weights ends and the next begins, as transformers has it.
const SHARD_BYTES: u64 = 5_000_000_000;

impl FloatType {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::Bf16,
        }
    }
}

/// Writes a checkpoint, in whatever format it is, as a folder with `config.json`, safetensors and tokenizer.
///
/// # Errors
/// What is wrong with the checkpoint, a configuration that transformers has no words for, and numbers too large for the
/// type. Nothing is left behind then.
pub fn to_folder(checkpoint: impl Into<Address>, out: &Path, to: FloatType) -> Result<()> {
    let checkpoint = checkpoint.into();
    let inspected = inspect(&checkpoint)?;
    let config = configuration(&inspected, to)?;
    let vocabulary = Vocabulary::of_file(&checkpoint.base)?;
    let name = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let partial = out.with_file_name(format!(".{name}.partial"));
    std::fs::create_dir(&partial).map_err(|e| Error::io("create the folder", &partial, &e))?;
    let written = (|| {
        write_json(&partial.join("config.json"), &Value::Object(config))?;
        same_model(&inspected.config, &Config::read(&partial)?)?;
        write_tokenizer(&checkpoint.base, vocabulary, &partial)?;
        write_weights(&inspected, &partial, to.dtype(), SHARD_BYTES)?;
        std::fs::rename(&partial, out).map_err(|e| Error::io("rename", &partial, &e))
    })();
    if written.is_err() {
        // Whatever is there is of no use; that it may not be there is no news.
        let _ = std::fs::remove_dir_all(&partial);
    }
    written
}

/// `config.json` in transformers' words.
fn configuration(inspected: &Inspected, to: FloatType) -> Result<Map<String, Value>> {
    let Inspected { config, family, .. } = inspected;
    let mut values = config.values.clone();
    values.entry("architectures").or_insert_with(|| json!([family.class]));
    values.remove("torch_dtype");
    values.insert("dtype".to_owned(), json!(to.dtype().name()));
    let scaling = values.get("rope_scaling").and_then(|scaling| scaling.get("rope_type"));
    if scaling.is_some_and(|kind| kind == "divided") {
        let named = LLAMA3.iter().map(|(factor, low, high, context)| {
            let mut values = values.clone();
            values.insert(
                "rope_scaling".to_owned(),
                json!({
                    "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                    "original_max_position_embeddings": context,
                }),
            );
            Config { path: config.path.clone(), values }
        });
        let same = |named: &Config| same_model(config, named).is_ok();
        return named.into_iter().find(same).map(|named| named.values).ok_or_else(|| {
            Error::bad("expected the rotary scaling of Llama 3.1 or 3.2, found other factors")
                .in_file(&config.path)
                .at(format!("family {}", family.model_type))
                .help("convert from the folder that the file was made from")
        });
    }
    Ok(values)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::internal(format!("{e}")))?;
    files::write_atomic(path, (text + "\n").as_bytes())
}

/// What a file has in place of a tokenizer, or whatever lies beside the weights.
fn write_tokenizer(base: &Path, vocabulary: Option<Vocabulary>, to: &Path) -> Result<()> {
    if let Some(Vocabulary { tokenizer, mut config }) = vocabulary {
        config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
        write_json(&to.join("tokenizer.json"), &tokenizer)?;
        return write_json(&to.join("tokenizer_config.json"), &Value::Object(config));
    }
    for name in BESIDE {
        let from: PathBuf = base.join(name);
        if from.is_file() {
            std::fs::copy(&from, to.join(name)).map_err(|e| Error::io("copy", &from, &e))?;
        }
    }
    Ok(())
}

/// Every parameter under its full name, in the order in which the model uses them.
fn write_weights(inspected: &Inspected, folder: &Path, to: Dtype, shard_bytes: u64) -> Result<()> {
    let Inspected { described, files, stored, .. } = inspected;
    let mut plans = Vec::new();
    for (name, _) in uses(&described.weights)? {
        let info = stored.get(&name).and_then(|name| files.get(name));
        let shape = info.map(|info| info.shape.clone());
        let shape = shape.ok_or_else(|| Error::internal(format!("tensor {name} was not checked")))?;
        plans.push(SafetensorsPlan { name, dtype: to, shape });
    }
    write_safetensors(folder, &plans, shard_bytes, |name| {
        let stored = stored.get(name).ok_or_else(|| Error::internal(format!("tensor {name} was not checked")))?;
        converted(files, stored, to)
    })
}

/// A tensor's bytes in another type, rounded to the nearest.
fn converted(files: &WeightFiles, name: &str, to: Dtype) -> Result<Vec<u8>> {
    let info = files.get(name).ok_or_else(|| Error::internal(format!("tensor {name} vanished")))?;
    let from = info.dtype.ok_or_else(|| Error::internal(format!("tensor {name} was not checked")))?;
    let bytes = files.read_bytes(name)?;
    if from == to {
        return Ok(bytes);
    }
    let values = widen(from, &bytes);
    let narrow: fn(f32) -> u16 = match to {
        Dtype::F16 => |value| half::f16::from_f32(value).to_bits(),
        Dtype::Bf16 => |value| half::bf16::from_f32(value).to_bits(),
        _ => return Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    };
    let narrowed: Vec<u8> = values.iter().flat_map(|value| narrow(*value).to_le_bytes()).collect();
    let lost = to.count_nonfinite(&narrowed) - values.iter().filter(|value| !value.is_finite()).count();
    if lost == 0 {
        return Ok(narrowed);
    }
    Err(Error::bad(format!("expected numbers within the range of {}, found {lost} beyond it", to.name()))
        .in_file(files.file_of(info))
        .at(format!("tensor {name}"))
        .help("use --type bf16 or f32"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::families::Family;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(name)
    }

    #[test]
    fn large_models_get_several_files() {
        let inspected = inspect(&Address::from(&fixture("llama_bias"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_weights(&inspected, folder.path(), Dtype::F32, 6000).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert!(names.len() > 3 && names[0].starts_with("model-00001-of-0000"), "{names:?}");
        assert_eq!(names.last().map(String::as_str), Some("model.safetensors.index.json"));
        std::fs::copy(fixture("llama_bias").join("config.json"), folder.path().join("config.json")).unwrap();
        let again = inspect(&Address::from(folder.path())).unwrap();
        for (name, stored) in &inspected.stored {
            assert_eq!(
                inspected.files.read_bytes(stored).unwrap(),
                again.files.read_bytes(&again.stored[name]).unwrap(),
                "{name}"
            );
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plan = [SafetensorsPlan { name: "x".to_owned(), dtype: Dtype::F32, shape: vec![2] }];
        let values: Vec<u8> = [1f32, 1e6].iter().flat_map(|x| x.to_le_bytes()).collect();
        write_safetensors(folder.path(), &plan, SHARD_BYTES, |_| Ok(values.clone())).unwrap();
        let files = WeightFiles::open(folder.path()).unwrap();
        assert_eq!(converted(&files, "x", Dtype::Bf16).unwrap().len(), 4);
        let message = converted(&files, "x", Dtype::F16).unwrap_err().to_string();
        assert!(message.contains("within the range of float16, found 1 beyond it"), "{message}");
    }

    #[test]
    fn every_family_has_a_class() {
        let heads = |family: &&Family| ["ForCausalLM", "LMHeadModel"].iter().any(|end| family.class.ends_with(end));
        assert!(crate::model::families::FAMILIES.iter().all(|family| heads(&family)));
    }
}
