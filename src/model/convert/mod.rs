//! One checkpoint format into another, whatever is laid on the checkpoint included.

mod folder;
mod gguf;

use std::path::Path;

use serde_json::{Map, Value};

use super::families::Family;
use super::spec::{DecoderSpec, Positions};
use crate::ckpt::{Config, Vocabulary};
use crate::error::{Error, Result};
use crate::util::files;

pub use folder::{FloatType, to_folder};
pub use gguf::{GgufType, to_gguf};

const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// Whether what was written says what the configuration says.
fn same_model(config: &Config, written: &Config) -> Result<()> {
    let spec = |config: &Config| Ok::<_, Error>(Family::of(config)?.describe(config)?.spec);
    let (wanted, found) = (spec(config)?, spec(written)?);
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
            "expected a model that the other format can describe, found {} where it says {}",
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
    if let Some(Vocabulary { tokenizer, config }) = Vocabulary::of_file(checkpoint)? {
        return Ok((tokenizer, config));
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
