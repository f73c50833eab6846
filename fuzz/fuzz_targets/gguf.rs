//! Any bytes are a GGUF file, whose configuration, tensors and vocabulary are read, or refused. Seeds:
//! `tests/fixtures/gguf`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veval::ckpt::{Config, WeightFiles};
use veval::model::families::Family;
use veval::text::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    std::fs::write(&path, bytes).unwrap();
    if let Ok(config) = Config::read(&path) {
        let _ = Family::of(&config).and_then(|family| family.describe(&config));
    }
    if let Ok(files) = WeightFiles::open(&path) {
        for name in files.tensors().keys() {
            let _ = files.read_bytes(name);
        }
    }
    if let Ok(tokenizer) = Tokenizer::open(&path) {
        let _ = tokenizer.encode("Once upon a time, 1234 caf\u{e9}s");
    }
});
