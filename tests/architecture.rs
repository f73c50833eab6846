//! The house keeps its own rules: `ARCHITECTURE.md` names every module's floor, and the sources obey.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All `.rs` files under `src`, with the module that they belong to: their first folder or their own name.
fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(root().join("src")).unwrap();
            let module =
                inner.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (module, inner.to_path_buf(), text)
        })
        .collect()
}

/// What is left of a file without its comments and its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or("");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Rows of the table under "## Floors": floor number, and module to the modules of the same floor that it may use.
fn floors() -> BTreeMap<String, (usize, BTreeSet<String>)> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("## Floors").nth(1).expect("ARCHITECTURE.md has a section on floors");
    let rows = table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2);
    let mut floors = BTreeMap::new();
    for (floor, row) in rows.enumerate() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        for module in names(cells[1]) {
            let beside = cells[2]
                .split(';')
                .filter_map(|rule| rule.split_once("→"))
                .filter(|(who, _)| names(who).contains(&module));
            let allowed = beside.flat_map(|(_, whom)| names(whom)).collect();
            floors.insert(module, (floor, allowed));
        }
    }
    floors
}

#[test]
fn every_module_has_a_floor() {
    let floors = floors();
    for (module, path, _) in sources() {
        assert!(
            ["lib", "main"].contains(&module.as_str()) || floors.contains_key(&module),
            "{} has no floor in ARCHITECTURE.md",
            path.display()
        );
    }
    let modules: BTreeSet<String> = sources().into_iter().map(|(module, _, _)| module).collect();
    for module in floors.keys() {
        assert!(modules.contains(module), "ARCHITECTURE.md names `{module}`, which does not exist");
    }
}

#[test]
fn dependencies_point_down() {
    let floors = floors();
    let mut edges = 0;
    for (module, path, text) in sources() {
        let Some((floor, beside)) = floors.get(&module) else { continue };
        for piece in code(&text).split("crate::").skip(1) {
            // `use crate::{a, b}` is not used here: every import names its module first.
            let used: String = piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some((below, _)) = floors.get(&used) else { continue };
            edges += 1;
            // The table lists the top floor first.
            let down = below > floor || used == module || beside.contains(&used);
            assert!(down, "{}: `{module}` may not use `{used}`", path.display());
        }
    }
    assert!(edges > 100, "{edges} edges were read");
}

#[test]
fn names_stay_in_their_rooms() {
    // What, and the only places that may have it.
    let rules: [(&str, &[&str]); 9] = [
        ("println!", &["cli"]),
        ("eprintln!", &["cli"]),
        ("std::env::", &["ctx"]),
        ("SystemTime", &["ctx"]),
        ("candle_core", &["kernels", "error"]),
        ("safetensors::", &["ckpt"]),
        ("unsafe ", &["kernels"]),
        ("HashMap", &[]),
        ("clap::", &["cli"]),
    ];
    for (module, path, text) in sources() {
        for (name, rooms) in rules {
            if code(&text).contains(name) {
                assert!(rooms.contains(&module.as_str()), "{}: `{name}` belongs to {rooms:?}", path.display());
            }
        }
    }
}

#[test]
fn pure_modules_touch_no_files() {
    for (module, path, text) in sources() {
        if ["stats", "metric", "suite", "request"].contains(&module.as_str()) {
            for name in ["std::fs", "std::io", "std::net", "std::process", "files::"] {
                assert!(!code(&text).contains(name), "{}: {module} does no I/O", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (_, path, text) in sources() {
        assert!(text.starts_with("//!"), "{} begins without module documentation", path.display());
        assert!(text.lines().count() <= 700, "{} has more than one concept in it", path.display());
    }
}

/// `docs/families.md` is what the registry and the recorded cases say. `BLESS=1 cargo test --test architecture` writes
/// it anew.
#[test]
fn the_page_of_families_is_generated() {
    let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("tests/fixtures/parity")).unwrap() {
        let folder = entry.unwrap().path();
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        cases.entry(config["model_type"].as_str().unwrap().to_owned()).or_default().push(name);
    }
    let mut page = String::from(
        "# Families\n\nGenerated from the registry (`src/model/families`) and the recorded cases; do not edit.\n\n\
         A checkpoint's `model_type` chooses the family. Whatever a configuration asks for beyond what stands here is \
         refused by name.\n\n| `model_type` | checkpoints | what sets it apart | recorded cases |\n| --- | --- | --- | --- |\n",
    );
    for family in veval::model::families::FAMILIES {
        let mut own = cases.remove(family.model_type).unwrap_or_default();
        own.sort();
        assert!(!own.is_empty(), "{} has no recorded case", family.model_type);
        page += &format!("| {} | {} | {} | {} |\n", family.model_type, family.examples, family.about, own.join(", "));
    }
    assert!(cases.is_empty(), "cases of unknown families: {cases:?}");
    page += "\nEvery case is a tiny checkpoint of odd shapes with random weights (`tests/oracle/parity.py`), scored by \
             transformers 5.23 in f32. On both kernel paths logits agree within 1e-4, every recorded activation within \
             1e-5 of its largest value, and greedy continuations with and without a cache are equal; gradients of the \
             candle path agree within 1e-4 of the largest of each parameter. On the CPU path the bits are the same for \
             every instruction set and every cut into passes. Published weights of these families were not run: this \
             machine has none.\n";
    let path = root().join("docs/families.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/families.md is out of date: BLESS=1 cargo test --test architecture");
}
