//! A folder to work in, a small real checkpoint, and the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn fixtures() -> PathBuf {
    root().join("tests/fixtures")
}

/// A checkpoint of the example series.
pub fn example(step: usize) -> PathBuf {
    root().join(format!("data/example/ckpts/step{step}"))
}

/// A folder that is removed at the end.
pub struct Bench {
    folder: tempfile::TempDir,
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A copy of an example checkpoint, to be spoiled.
    pub fn checkpoint(&self, name: &str, step: usize) -> PathBuf {
        let to = self.path(name);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(example(step)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
        to
    }

    /// Three questions of the example's world and a suite over them.
    pub fn suite(&self, extra: &str) -> PathBuf {
        let rows: String = ["Alder", "Brook", "Cliff", "Dale"]
            .iter()
            .enumerate()
            .map(|(i, town)| format!("{{\"q\": \"{town} is where\", \"options\": [\" Arlo\", \" Bena\", \" Cato\"], \"right\": {}, \"kind\": \"{}\"}}\n", i % 3, if i < 2 { "a" } else { "=b" }))
            .collect();
        self.write("rows.jsonl", rows);
        let task = "prompt = \"{{ q }}\"\nchoices = \"options\"\ngold = \"right\"\ndelimiter = \"\"\nslices = { kind = \"kind\" }";
        self.write("mini.toml", format!("schema = \"veval.suite/1\"\nname = \"mini\"\n[[task]]\nname = \"towns\"\nkind = \"multiple_choice\"\ndata = {{ file = \"rows.jsonl\" }}\n{task}\n{extra}\n"))
    }

    /// Runs the program here.
    pub fn veval(&self, arguments: &[&str]) -> Ran {
        ran(&self.command(arguments).output().unwrap())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veval"));
        command.args(arguments).current_dir(self.folder.path()).env_remove("VEVAL_DATA").env_remove("VEVAL_ISA");
        command
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

pub fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Changes a JSON file.
pub fn edit_json(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(value.as_object_mut().unwrap());
    std::fs::write(path, value.to_string()).unwrap();
}

/// Changes the header and the data of a safetensors file.
pub fn edit_weights(path: &Path, change: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) {
    let bytes = std::fs::read(path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let mut data = bytes[end..].to_vec();
    change(header.as_object_mut().unwrap(), &mut data);
    let header = header.to_string();
    std::fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}
