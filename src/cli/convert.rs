//! `veval convert`: a checkpoint as a GGUF file.

use super::args::{ConvertArguments, ConvertType};
use super::data::here;
use super::print;
use crate::error::{Error, Result};
use crate::model::{GgufType, to_gguf};

pub(super) fn convert(arguments: &ConvertArguments) -> Result<()> {
    let ConvertArguments { checkpoint, out, to } = arguments;
    if out.extension().is_none_or(|end| !end.eq_ignore_ascii_case("gguf")) {
        return Err(Error::bad("expected a name that ends in .gguf").in_file(out));
    }
    if out.exists() {
        return Err(Error::bad("expected a name that is free, found a file").in_file(out).help("remove it first"));
    }
    let gguf_type = match to {
        ConvertType::F32 => GgufType::F32,
        ConvertType::F16 => GgufType::F16,
        ConvertType::Q8_0 => GgufType::Q8_0,
    };
    to_gguf(&here(checkpoint)?, out, gguf_type)?;
    print(&format!("{}\n", out.display()))
}
