//! The files of every trainer, byte for byte, as `tests/fixtures/trainers` has them. `BLESS=1 cargo test trainers`
//! writes them anew; `tests/oracle/trainers.py` reads them with the trainers' own code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::tests::{blend, staged};
use super::text::quoted;
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

/// Strings that YAML would take for something else, and every character that it would not take as it is.
#[test]
fn hostile_strings_are_as_recorded() {
    let signs = ": #{}[],&*!|>'\"%@`-?~\\";
    let mut strings: Vec<String> =
        ["", "null", "yes", "1e3", "0x10", " a ", "- a", "a: b", "${a}", "<<", "日本"].map(str::to_owned).to_vec();
    strings.extend(signs.chars().map(|sign| format!("{sign}x{sign} {sign}")));
    let odd = (0..=0xa0).chain([0x2028, 0x2029, 0xfeff, 0xfffe, 0xffff, 0x1f600]).filter_map(char::from_u32);
    strings.extend(odd.map(|character| format!("a{character}b")));
    let found: String = strings.iter().flat_map(|string| ["- ".to_owned(), quoted(string), "\n".to_owned()]).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trainers/strings.yaml");
    if crate::ctx::variable("BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert!(found == std::fs::read_to_string(&path).unwrap_or_default(), "BLESS=1 cargo test trainers");
}
