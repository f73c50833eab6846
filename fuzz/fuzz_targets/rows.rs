//! Any bytes are rows of a data set, or refused with a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veval::data::read_rows;

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let names = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.jsonl.gz", "a.parquet"];
    let name = names[how as usize % names.len()];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let _ = read_rows(&path, None);
});
