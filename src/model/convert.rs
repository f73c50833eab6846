//! One checkpoint format into another.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use serde_json::{Map, Value};

use super::families::Family;
use super::load::check;
use super::spec::{DecoderSpec, Positions};
use crate::ckpt::{Config, Export, GgufFile, Quant, WeightFiles, is_gguf};
use crate::error::{Error, Result};
use crate::kernels::RotarySpec;
use crate::util::files;

/// Element type of the matrices of a GGUF file. Norms and biases are always F32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufType {
    F32,
    F16,
    Q8_0,
}

const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// Writes a checkpoint, in whatever format it is, as a GGUF file.
///
/// # Errors
/// What is wrong with the checkpoint, and what the format has no place for: the file's metadata are read back and must
/// describe the same model. Nothing is left behind then.
pub fn to_gguf(checkpoint: &Path, out: &Path, gguf_type: GgufType) -> Result<()> {
    check(checkpoint)?;
    let config = Config::read(checkpoint)?;
    let (tokenizer, tokenizer_config) = tokenizer(checkpoint)?;
    let family = Family::of(&config)?;
    let frequency_factors = match family.describe(&config)?.spec.positions {
        Positions::Rotary(tables) => tables.first().and_then(RotarySpec::divisors),
        Positions::Learned { .. } => None,
    };
    let name = checkpoint.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let export = Export {
        name: &name,
        config: &config.values,
        files: &WeightFiles::open(checkpoint)?,
        buffers: family.buffers,
        tokenizer: &tokenizer,
        tokenizer_config: &tokenizer_config,
        quant: match gguf_type {
            GgufType::F32 => Quant::F32,
            GgufType::F16 => Quant::F16,
            GgufType::Q8_0 => Quant::Q8_0,
        },
        frequency_factors,
    };
    let partial = out.with_extension("partial.gguf");
    let written = (|| {
        let file = File::create(&partial).map_err(|e| Error::io("create", &partial, &e))?;
        export.write(BufWriter::new(file))?;
        same_model(&config, &partial)?;
        std::fs::rename(&partial, out).map_err(|e| Error::io("rename", &partial, &e))
    })();
    if written.is_err() {
        // Whatever is there is of no use; that it may not be there is no news.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// Whether a file's metadata say what the configuration says.
fn same_model(config: &Config, file: &Path) -> Result<()> {
    let read = Config { path: file.to_path_buf(), values: GgufFile::open(file)?.config()? };
    let spec = |config: &Config| Ok::<_, Error>(Family::of(config)?.describe(config)?.spec);
    let (wanted, found) = (spec(config)?, spec(&read)?);
    let turn_alike = match (&wanted.positions, &found.positions) {
        (Positions::Rotary(wanted), Positions::Rotary(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| wanted.turns_like(found))
        }
        (wanted, found) => wanted == found,
    };
    // A Mistral without its window is a Llama.
    let (wanted, mut found) = (fields(&wanted)?, fields(&DecoderSpec { family: wanted.family, ..found })?);
    if turn_alike {
        found.insert("positions".to_owned(), wanted["positions"].clone());
    }
    let differs = |key: &&String| wanted.get(*key) != found.get(*key);
    match wanted.keys().find(differs) {
        None => Ok(()),
        Some(key) => Err(Error::bad(format!(
            "expected a model that GGUF's metadata can describe, found {} where they say {}",
            shortened(&wanted[key]),
            found.get(key).map_or_else(|| "nothing".to_owned(), shortened)
        ))
        .in_file(&config.path)
        .at(key)),
    }
}

fn fields(spec: &DecoderSpec) -> Result<Map<String, Value>> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => Ok(fields),
        other => Err(Error::internal(format!("a spec does not serialise: {other:?}"))),
    }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// `tokenizer.json` and `tokenizer_config.json` of a checkpoint.
fn tokenizer(checkpoint: &Path) -> Result<(Value, Map<String, Value>)> {
    if is_gguf(checkpoint) {
        let vocabulary = GgufFile::open(checkpoint)?.vocabulary()?;
        return Ok((vocabulary.tokenizer, vocabulary.config));
    }
    let read = |name: &str| -> Result<Value> {
        let path = checkpoint.join(name);
        let bytes = files::read_bounded(&path, MAX_TOKENIZER_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::bad(format!("expected JSON: {e}")).in_file(&path))
    };
    let settings =
        if checkpoint.join("tokenizer_config.json").exists() { read("tokenizer_config.json")? } else { Value::Null };
    Ok((read("tokenizer.json")?, settings.as_object().cloned().unwrap_or_default()))
}
