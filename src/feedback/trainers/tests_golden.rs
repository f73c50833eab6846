//! The files of every trainer, byte for byte, as `tests/fixtures/trainers` has them. `BLESS=1 cargo test trainers` writes
//! them anew; `tests/oracle/trainers.py` reads them with the trainers' own code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::tests::{blend, staged};
use super::*;

fn folder(trainer: &str, case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trainers").join(trainer).join(case)
}

/// What the fixtures have, by file.
fn recorded(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    };
    entries.map(file).collect()
}

#[test]
fn files_are_as_recorded() {
    for (case, blend) in [("one", blend()), ("stages", staged())] {
        for trainer in TRAINERS {
            let export = export(trainer, &blend).unwrap();
            let folder = folder(trainer.name, case);
            if crate::ctx::variable("BLESS").is_some() {
                std::fs::remove_dir_all(&folder).ok();
                export.write(&folder).unwrap();
            }
            let recorded = recorded(&folder);
            let found: BTreeMap<String, Vec<u8>> =
                export.files.iter().map(|file| (file.name.clone(), file.bytes.clone())).collect();
            assert_eq!(
                found.keys().collect::<Vec<_>>(),
                recorded.keys().collect::<Vec<_>>(),
                "{} {case}",
                trainer.name
            );
            for (name, bytes) in &found {
                let (found, recorded) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&recorded[name]));
                assert!(found == recorded, "{}/{case}/{name}: BLESS=1 cargo test trainers\n{found}", trainer.name);
            }
        }
    }
}
