//! GGUF, the file format of llama.cpp: one file with metadata, vocabulary and tensors, plain or in quantised blocks.
//!
//! A file is read as the Hugging Face checkpoint that it was made from: its metadata become the configuration, its
//! tensors get their names, shapes and order of rows back ([`layout`]), its vocabulary becomes a `tokenizer.json`
//! ([`vocabulary`]). So the families, the loader and the tokenizer know one layout only.

mod architectures;
mod blocks;
mod export;
mod header;
mod layout;
mod scan;
mod vocabulary;
mod vocabulary_keys;
mod write;

pub use blocks::{Quant, four_bit_scales, values};
pub use export::Export;
pub use layout::{GgufFile, Place, Tensor};

use std::path::Path;

/// Whether a path is that of a GGUF file.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) && path.is_file()
}
