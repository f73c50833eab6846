//! llama2.c's `.bin` files: a header and the weights of a Llama, one kind after the other; the vocabulary lies beside it
//! as `tokenizer.bin` or `tok512.bin`.
//!
//! All three versions of `export.py` are read as the Hugging Face checkpoint that they describe: version 0 (no magic),
//! version 1 (f32) and version 2 (signed bytes in groups with a scale). What the header does not say is llama2.c's
//! constant: epsilon 1e-5, rotary base 10000, beginning of sequence 1, end 2.

mod header;
mod layout;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use layout::{Llama2cFile, Place, Tensor};
