//! The score store: every answer that a model has given, found again by what was asked.
//!
//! ```text
//! <out>/.scores/<model>.0.scores        a line that says what this is, then records, appended as answers come
//! <out>/.scores/<model>.1.scores        of a second process that ran the same model at the same time
//! ```
//! A model is its weights, configuration, element types, arithmetic, end tokens and tokenizer, so a checkpoint that was
//! replaced under the same path is another model, and an unchanged one is not asked twice: not after a crash, for
//! another suite that has the same items, for other metrics, or in another order.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{Found, decode, encode, find};
use crate::error::{Error, Result};
use crate::lm::ModelInfo;
use crate::request::{Key, Response};
use crate::util::{files, hash};

/// The format of score files.
pub const SCORES_SCHEMA: &str = "veval.scores/1";
const FOLDER: &str = ".scores";
const ENDING: &str = ".scores";
/// More score files of one model than this are somebody's mistake.
const MAX_FILES: usize = 4096;
const MAX_HEADER_BYTES: usize = 1 << 20;

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub schema: String,
    /// Hash of everything that follows.
    pub model: String,
    pub fingerprint: String,
    pub numerics: String,
    pub tokenizer: String,
}

/// Answers of one model.
pub struct ScoreStore {
    files: Vec<(PathBuf, File)>,
    places: BTreeMap<Key, Place>,
    /// The file that this process appends to, and its length.
    own: usize,
    end: u64,
}

#[derive(Clone, Copy)]
struct Place {
    file: usize,
    offset: u64,
    length: usize,
}

/// What was found in one file.
pub(super) struct Scan {
    pub header: Option<Header>,
    /// Offset and length of every whole record.
    pub records: Vec<(Key, u64, usize)>,
    /// Records with a wrong checksum.
    pub damaged: usize,
    /// Where the last whole record ends.
    pub end: u64,
}

/// Where score files of an output folder lie.
pub(super) fn folder(out: &Path) -> PathBuf {
    out.join(FOLDER)
}

/// All score files of a folder, by name.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, &e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", folder, &e))?.path();
        if path.to_string_lossy().ends_with(ENDING) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The model that answers are kept for.
pub(super) fn identity(model: &ModelInfo, tokenizer: &str) -> String {
    let parts = serde_json::json!({ "model": model, "tokenizer": tokenizer });
    hash::fingerprint(parts.to_string().as_bytes())
}

impl ScoreStore {
    /// Opens the files of a model for reading and one of them, which no other process holds, for appending. A torn
    /// record at its end is cut off.
    pub fn open(out: &Path, model: &ModelInfo, tokenizer: &str) -> Result<Self> {
        let folder = folder(out);
        files::create_folder(&folder)?;
        let identity = identity(model, tokenizer);
        let short = &identity[identity.find(':').map_or(0, |colon| colon + 1)..][..24];
        let mut this = Self { files: Vec::new(), places: BTreeMap::new(), own: usize::MAX, end: 0 };
        for number in 0..MAX_FILES {
            let path = folder.join(format!("{short}.{number}{ENDING}"));
            let free = this.own == usize::MAX;
            if !free && !path.exists() {
                return Ok(this);
            }
            let file = OpenOptions::new().read(true).append(true).create(free).open(&path);
            let file = file.map_err(|e| Error::io("open", &path, &e))?;
            let locked = free && file.try_lock().is_ok();
            let scan = scan(&path, &file)?;
            if scan.header.as_ref().is_some_and(|header| header.model != identity) {
                return Err(Error::bad(format!("expected answers of model {identity}")).in_file(&path));
            }
            let index = this.files.len();
            let place = |(key, offset, length)| (key, Place { file: index, offset, length });
            this.places.extend(scan.records.into_iter().map(place));
            if locked {
                this.end = scan.end;
                file.set_len(scan.end).map_err(|e| Error::io("cut", &path, &e))?;
                if scan.header.is_none() {
                    let header = Header {
                        schema: SCORES_SCHEMA.to_owned(),
                        model: identity.clone(),
                        fingerprint: model.fingerprint.clone(),
                        numerics: model.numerics.clone(),
                        tokenizer: tokenizer.to_owned(),
                    };
                    let mut line = serde_json::to_vec(&header).map_err(|e| Error::internal(format!("header: {e}")))?;
                    line.push(b'\n');
                    (&file).write_all(&line).map_err(|e| Error::io("append to", &path, &e))?;
                    this.end = line.len() as u64;
                }
                this.own = index;
            }
            this.files.push((path, file));
        }
        Err(Error::bad(format!("expected fewer than {MAX_FILES} score files of one model")).in_file(&folder))
    }

    /// Answers held.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The answer to a question, if it was given before.
    pub fn get(&self, key: &Key) -> Result<Option<Response>> {
        let Some(Place { file, offset, length }) = self.places.get(key).copied() else { return Ok(None) };
        let (path, file) = &self.files[file];
        let mut record = vec![0; length];
        file.read_exact_at(&mut record, offset).map_err(|e| Error::io("read", path, &e))?;
        Ok(decode(&record))
    }

    /// Appends the answers of one pass in one piece. Those that cannot be stored are left out.
    pub fn append(&mut self, answers: &[(Key, &Response)]) -> Result<()> {
        let mut bytes = Vec::new();
        let mut added = Vec::new();
        for (key, response) in answers {
            if let Some(record) = encode(key, response) {
                let offset = self.end + bytes.len() as u64;
                added.push((*key, Place { file: self.own, offset, length: record.len() }));
                bytes.extend(record);
            }
        }
        let (path, file) = &self.files[self.own];
        (&*file).write_all(&bytes).map_err(|e| Error::io("append to", path, &e))?;
        self.end += bytes.len() as u64;
        self.places.extend(added);
        Ok(())
    }
}

/// Reads a file and finds its records. A damaged record is passed over; where no record begins, the file ends.
pub(super) fn scan(path: &Path, file: &File) -> Result<Scan> {
    let mut bytes = Vec::new();
    let mut reader = file;
    reader.read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    let mut scan = Scan { header: None, records: Vec::new(), damaged: 0, end: 0 };
    let Some(line) = bytes.iter().take(MAX_HEADER_BYTES).position(|&byte| byte == b'\n') else { return Ok(scan) };
    let header: Header = serde_json::from_slice(&bytes[..line]).map_err(|e| {
        Error::bad(format!("expected the header of a score file: {e}")).in_file(path).help("remove the file")
    })?;
    if header.schema != SCORES_SCHEMA {
        return Err(Error::bad(format!("expected format {SCORES_SCHEMA}, found {}", header.schema))
            .in_file(path)
            .help("a newer veval wrote it; use another --out"));
    }
    scan.header = Some(header);
    let mut at = line + 1;
    scan.end = at as u64;
    loop {
        match find(&bytes[at..]) {
            Found::Record { key, length } => {
                scan.records.push((key, at as u64, length));
                at += length;
                scan.end = at as u64;
            }
            Found::Damaged { length } => {
                scan.damaged += 1;
                at += length;
            }
            Found::End => return Ok(scan),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Request, ScoredToken};

    fn model(fingerprint: &str) -> ModelInfo {
        ModelInfo {
            fingerprint: fingerprint.to_owned(),
            numerics: "test/1".to_owned(),
            family: "test".to_owned(),
            parameters: 0,
            dtypes: Vec::new(),
            max_length: 8,
            ends: vec![0],
        }
    }

    fn answer(n: u32) -> (Key, Response) {
        let scored = ScoredToken { log_prob: -(n as f32), greedy: n.is_multiple_of(2) };
        (Request::score([n, n + 1], 1).key(), Response::Score(vec![scored]))
    }

    fn held(store: &ScoreStore) -> Vec<u32> {
        (0..10).filter(|&n| store.get(&answer(n).0).unwrap() == Some(answer(n).1)).collect()
    }

    #[test]
    fn answers_outlive_the_process_and_belong_to_their_model() {
        let out = tempfile::tempdir().unwrap();
        let open = |fingerprint: &str, tokenizer: &str| ScoreStore::open(out.path(), &model(fingerprint), tokenizer);
        let mut store = open("a", "t").unwrap();
        for n in 0..3 {
            let (key, response) = answer(n);
            store.append(&[(key, &response)]).unwrap();
        }
        assert_eq!(held(&store), [0, 1, 2]);
        // A second process reads what is there and writes elsewhere.
        let mut second = open("a", "t").unwrap();
        assert_eq!(held(&second), [0, 1, 2]);
        let (key, response) = answer(5);
        second.append(&[(key, &response)]).unwrap();
        drop((store, second));
        assert_eq!(held(&open("a", "t").unwrap()), [0, 1, 2, 5]);
        assert!(open("b", "t").unwrap().is_empty() && open("a", "u").unwrap().is_empty());
    }

    #[test]
    fn a_torn_tail_is_cut_and_damage_is_passed_over() {
        let out = tempfile::tempdir().unwrap();
        let open = || ScoreStore::open(out.path(), &model("a"), "t").unwrap();
        let mut store = open();
        for n in 0..4 {
            let (key, response) = answer(n);
            store.append(&[(key, &response)]).unwrap();
        }
        let path = store.files[0].0.clone();
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        let record = encode(&answer(0).0, &answer(0).1).unwrap().len();
        for cut in 1..record {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut store = open();
            assert_eq!(held(&store), [0, 1, 2], "{cut} bytes lost");
            let (key, response) = answer(7);
            store.append(&[(key, &response)]).unwrap();
            drop(store);
            assert_eq!(held(&open()), [0, 1, 2, 7]);
        }
        let mut damaged = whole.clone();
        let middle = whole.len() - 2 * record - 20;
        damaged[middle] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(held(&open()), [0, 2, 3]);
        std::fs::write(&path, b"").unwrap();
        assert!(open().is_empty());
        std::fs::write(&path, b"{\"schema\":\"veval.scores/2\",\"model\":\"\",\"fingerprint\":\"\",\"numerics\":\"\",\"tokenizer\":\"\"}\n").unwrap();
        let refused = ScoreStore::open(out.path(), &model("a"), "t").err().unwrap().to_string();
        assert!(refused.contains("veval.scores/2"), "{refused}");
    }
}
