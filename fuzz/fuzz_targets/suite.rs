//! Any text is a suite or a list of problems, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veval::suite::{DefinitionFile, read_suite, read_task};

fuzz_target!(|text: &str| {
    let file = DefinitionFile { path: "fuzz.toml".into(), text: text.to_owned() };
    let _ = read_suite(&file, &mut |_| Ok(text.to_owned()));
    let _ = read_task(&file);
});
