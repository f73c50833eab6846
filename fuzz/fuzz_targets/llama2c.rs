//! Any bytes are a llama2.c file or the vocabulary beside it, or are refused. Seeds: files of
//! `../shared/data/tiny-lm-stories260k`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veval::ckpt::WeightFiles;
use veval::text::Tokenizer;

/// Version 1: width 2, MLP 1, one layer, one head, 4 tokens, context 1, tied.
const MODEL: [u32; 9] = [0x616b_3432, 1, 2, 1, 1, 1, 1, 4, 1];

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    std::fs::write(&path, bytes).unwrap();
    if let Ok(files) = WeightFiles::open(&path) {
        for name in files.tensors().keys() {
            let _ = files.read_bytes(name);
        }
    }
    let mut model: Vec<u8> = MODEL.iter().flat_map(|number| number.to_le_bytes()).collect();
    model.push(1);
    // Three norms, the embedding, four square matrices, three of the MLP.
    model.resize(256 + 4 * (3 * 2 + 4 * 2 + 4 * 4 + 3 * 2), 0);
    std::fs::write(&path, &model).unwrap();
    std::fs::write(folder.path().join("tok4.bin"), bytes).unwrap();
    if let Ok(tokenizer) = Tokenizer::open(&path) {
        let _ = tokenizer.encode("Once upon a time, 1234 caf\u{e9}s");
    }
});
