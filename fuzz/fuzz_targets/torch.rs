//! Any bytes are a file of torch.save, whose tensors are read, or refused. Seeds: `tests/fixtures/torchbin`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veval::ckpt::TorchFile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = TorchFile::from_bytes(bytes.to_vec()) {
        for name in file.tensors().keys() {
            let _ = file.read(name);
        }
    }
});
