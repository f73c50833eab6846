//! Any bytes are a checkpoint's header and index, or refused. The first byte decides how they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veval::ckpt::WeightFiles;

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    match how % 3 {
        0 => write("model.safetensors", bytes),
        // A header of the right length, so that the fuzzer gets at the JSON.
        1 => write("model.safetensors", &[&(bytes.len() as u64).to_le_bytes(), bytes].concat()),
        _ => {
            write("model.safetensors.index.json", bytes);
            write("a.safetensors", &[&2u64.to_le_bytes()[..], b"{}"].concat());
        }
    }
    if let Ok(files) = WeightFiles::open(folder.path()) {
        for name in files.tensors().keys() {
            let _ = files.read_bytes(name);
        }
    }
});
