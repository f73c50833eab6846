//! Any checkpoint as a GGUF file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::{same_model, tokenizer};
use crate::ckpt::{Address, Config, Export, Quant};
use crate::error::{Error, Result};
use crate::kernels::RotarySpec;
use crate::model::load::{Inspected, inspect};
use crate::model::spec::Positions;

/// Element type of the matrices of a GGUF file. Norms and biases are always F32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufType {
    F32,
    F16,
    Q8_0,
}

/// Writes a checkpoint, in whatever format it is, as a GGUF file.
///
/// # Errors
/// What is wrong with the checkpoint, and what the format has no place for: the file's metadata are read back and must
/// describe the same model. Nothing is left behind then.
pub fn to_gguf(checkpoint: impl Into<Address>, out: &Path, gguf_type: GgufType) -> Result<()> {
    let checkpoint = checkpoint.into();
    let Inspected { config, family, described, files, .. } = inspect(&checkpoint)?;
    let (tokenizer, tokenizer_config) = tokenizer(&checkpoint.base)?;
    let frequency_factors = match described.spec.positions {
        Positions::Rotary(tables) => tables.first().and_then(RotarySpec::divisors),
        Positions::Learned { .. } => None,
    };
    let name = checkpoint.base.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let export = Export {
        name: &name,
        config: &config.values,
        files: &files,
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
        same_model(&config, &Config::read(&partial)?)?;
        std::fs::rename(&partial, out).map_err(|e| Error::io("rename", &partial, &e))
    })();
    if written.is_err() {
        // Whatever is there is of no use; that it may not be there is no news.
        let _ = std::fs::remove_file(&partial);
    }
    written
}
