//! `veval convert`: a checkpoint as a GGUF file or as a Hugging Face folder.

use super::args::{ConvertArguments, ConvertType};
use super::data::here;
use super::print;
use crate::error::{Error, Result};
use crate::model::{FloatType, GgufType, to_folder, to_gguf};
use crate::util::files;

/// Endings of files of weights that are not written by themselves.
const OTHER_FILES: [&str; 4] = ["safetensors", "bin", "pt", "pth"];

pub(super) fn convert(arguments: &ConvertArguments) -> Result<()> {
    let ConvertArguments { checkpoint, out, to } = arguments;
    files::check_free(out)?;
    let ends = |end: &str| out.extension().is_some_and(|found| found.eq_ignore_ascii_case(end));
    if OTHER_FILES.into_iter().any(ends) {
        return Err(Error::bad("expected a name that ends in .gguf, or that of a folder").in_file(out));
    }
    let address = here(checkpoint)?;
    if ends("gguf") {
        let gguf_type = match to.unwrap_or(ConvertType::F16) {
            ConvertType::F32 => GgufType::F32,
            ConvertType::F16 => GgufType::F16,
            ConvertType::Q8_0 => GgufType::Q8_0,
            ConvertType::Bf16 => return Err(wrong_type("a GGUF file", "f32, f16 or q8_0", "bf16")),
        };
        to_gguf(&address, out, gguf_type)?;
    } else {
        let float = match to.unwrap_or(ConvertType::F32) {
            ConvertType::F32 => FloatType::F32,
            ConvertType::F16 => FloatType::F16,
            ConvertType::Bf16 => FloatType::Bf16,
            ConvertType::Q8_0 => return Err(wrong_type("a folder", "f32, f16 or bf16", "q8_0")),
        };
        to_folder(&address, out, float)?;
    }
    print(&format!("{}\n", out.display()))
}

fn wrong_type(what: &str, expected: &str, found: &str) -> Error {
    Error::bad(format!("--type: expected {expected} for {what}, found {found}"))
        .help("a name that ends in .gguf is that of a GGUF file, any other that of a folder")
}
