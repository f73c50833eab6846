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
    // The parquet library's panics are caught where it is called; a panic that comes through still ends the run.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    let _ = read_rows(&path, None);
});
