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
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{Held, decode, encode, encode_begun, find, is_whole};
use crate::error::{Error, Result};
use crate::lm::ModelInfo;
use crate::request::{Begun, Key, Response};
use crate::util::{files, hash};

/// The format of score files.
pub const SCORES_SCHEMA: &str = "veval.scores/1";
const FOLDER: &str = ".scores";
const ENDING: &str = ".scores";
/// More score files of one model than this are somebody's mistake.
const MAX_FILES: usize = 4096;
const MAX_HEADER_BYTES: usize = 1 << 20;
/// Behind damage, records up to this length are looked for first.
const MAX_SOUGHT: usize = 1 << 20;

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
    whole: bool,
}

/// A record in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub key: Key,
    pub offset: u64,
    pub length: usize,
    /// Whether it holds a whole answer, not one on its way.
    pub whole: bool,
}

/// What was found in one file.
pub(super) struct Scan {
    pub header: Option<Header>,
    pub records: Vec<Found>,
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
    found.sort_by(|a, b| files::natural_cmp(&a.to_string_lossy(), &b.to_string_lossy()));
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
        let header = Header {
            schema: SCORES_SCHEMA.to_owned(),
            model: identity.clone(),
            fingerprint: model.fingerprint.clone(),
            numerics: model.numerics.clone(),
            tokenizer: tokenizer.to_owned(),
        };
        let of_model = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{short}.")))
        };
        for path in list(&folder)?.into_iter().filter(of_model) {
            this.take_in(path, &header)?;
        }
        for number in 0..MAX_FILES {
            if this.own != usize::MAX {
                return Ok(this);
            }
            let path = folder.join(format!("{short}.{number}{ENDING}"));
            if this.files.iter().all(|(known, _)| *known != path) {
                this.take_in(path, &header)?;
            }
        }
        Err(Error::bad(format!("expected fewer than {MAX_FILES} score files of one model")).in_file(&folder))
    }

    /// Reads a file, and takes it for appending if none is taken yet and nobody else has it.
    fn take_in(&mut self, path: PathBuf, header: &Header) -> Result<()> {
        let Some((file, locked)) = open_file(&path, self.own == usize::MAX)? else { return Ok(()) };
        let scan = scan(&path, &file)?;
        if scan.header.as_ref().is_some_and(|found| found.model != header.model) {
            return Err(Error::bad(format!("expected answers of model {}", header.model)).in_file(&path));
        }
        let index = self.files.len();
        for Found { key, offset, length, whole } in scan.records {
            self.place(key, Place { file: index, offset, length, whole });
        }
        if locked {
            self.end = scan.end;
            file.set_len(scan.end).map_err(|e| Error::io("cut", &path, &e))?;
            if scan.header.is_none() {
                let mut line = serde_json::to_vec(header).map_err(|e| Error::internal(format!("header: {e}")))?;
                line.push(b'\n');
                (&file).write_all(&line).map_err(|e| Error::io("append to", &path, &e))?;
                self.end = line.len() as u64;
            }
            self.own = index;
        }
        self.files.push((path, file));
        Ok(())
    }

    /// Notes where an answer stands. Of several the last counts, but none on its way beside a whole one.
    fn place(&mut self, key: Key, place: Place) {
        if place.whole || self.places.get(&key).is_none_or(|known| !known.whole) {
            self.places.insert(key, place);
        }
    }

    /// Answers held.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The answer to a question, or what there is of it, if it was given before.
    pub fn get(&self, key: &Key) -> Result<Option<Held>> {
        let Some(Place { file, offset, length, .. }) = self.places.get(key).copied() else { return Ok(None) };
        let (path, file) = &self.files[file];
        let mut record = vec![0; length];
        file.read_exact_at(&mut record, offset).map_err(|e| Error::io("read", path, &e))?;
        // Whatever happened to the file since it was opened, the answer is to this question.
        Ok(if find(&record) == Some((*key, length)) { decode(&record) } else { None })
    }

    /// Appends the answers of one pass in one piece, and generations on their way. Those that cannot be stored are left out.
    pub fn append(&mut self, answers: &[(Key, &Response)], begun: &[(Key, &Begun)]) -> Result<()> {
        let mut bytes = Vec::new();
        let mut added = Vec::new();
        let answers = answers.iter().map(|(key, response)| (*key, encode(key, response)));
        let begun = begun.iter().map(|(key, begun)| (*key, encode_begun(key, begun)));
        for (key, record) in answers.chain(begun).filter_map(|(key, record)| Some((key, record?))) {
            let offset = self.end + bytes.len() as u64;
            added.push((key, Place { file: self.own, offset, length: record.len(), whole: is_whole(&record) }));
            bytes.extend(record);
        }
        let (path, file) = &self.files[self.own];
        (&*file).write_all(&bytes).map_err(|e| Error::io("append to", path, &e))?;
        self.end += bytes.len() as u64;
        for (key, place) in added {
            self.place(key, place);
        }
        Ok(())
    }
}

/// Opens a file, and takes it for this process where it is asked for and nobody has it. A sweep may have put another one in
/// its place, or none, since it was opened: then the other one is.
fn open_file(path: &Path, take: bool) -> Result<Option<(File, bool)>> {
    loop {
        let file = match OpenOptions::new().read(true).append(true).create(take).open(path) {
            Err(gone) if gone.kind() == ErrorKind::NotFound && !take => return Ok(None),
            opened => opened.map_err(|e| Error::io("open", path, &e))?,
        };
        let taken = take && file.try_lock().is_ok();
        let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let in_place =
            || std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|own| same(&own, &there)));
        if !taken || in_place() {
            return Ok(Some((file, taken)));
        }
    }
}

/// Reads a file and finds its records. What is damaged is passed over, be it a length; behind the last record the file ends.
pub(super) fn scan(path: &Path, file: &File) -> Result<Scan> {
    let mut bytes = Vec::new();
    let mut reader = file;
    reader.read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    let mut scan = Scan { header: None, records: Vec::new(), end: 0 };
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
    while let Some(found) = next_record(&bytes, at) {
        at = found.offset as usize + found.length;
        scan.end = at as u64;
        scan.records.push(found);
    }
    Ok(scan)
}

/// The first whole record from `at` on. If none begins at once, the next one is looked for byte by byte, as a length may be
/// what is damaged; first those of usual lengths.
fn next_record(bytes: &[u8], at: usize) -> Option<Found> {
    let record = |from: usize, most: usize| {
        let (key, length) = find(&bytes[from..bytes.len().min(from.saturating_add(most))])?;
        Some(Found { key, offset: from as u64, length, whole: is_whole(&bytes[from..]) })
    };
    let sought = |most: usize| (at + 1..bytes.len()).find_map(|from| record(from, most));
    let rest = bytes.len() - at;
    record(at, usize::MAX)
        .or_else(|| sought(MAX_SOUGHT))
        .or_else(|| if rest > MAX_SOUGHT { sought(usize::MAX) } else { None })
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
        (0..10).filter(|&n| store.get(&answer(n).0).unwrap() == Some(Held::Whole(answer(n).1))).collect()
    }

    #[test]
    fn answers_outlive_the_process_and_belong_to_their_model() {
        let out = tempfile::tempdir().unwrap();
        let open = |fingerprint: &str, tokenizer: &str| ScoreStore::open(out.path(), &model(fingerprint), tokenizer);
        let mut store = open("a", "t").unwrap();
        for n in 0..3 {
            let (key, response) = answer(n);
            store.append(&[(key, &response)], &[]).unwrap();
        }
        assert_eq!(held(&store), [0, 1, 2]);
        // A second process reads what is there and writes elsewhere.
        let mut second = open("a", "t").unwrap();
        assert_eq!(held(&second), [0, 1, 2]);
        let (key, response) = answer(5);
        second.append(&[(key, &response)], &[]).unwrap();
        drop((store, second));
        assert_eq!(held(&open("a", "t").unwrap()), [0, 1, 2, 5]);
        assert!(open("b", "t").unwrap().is_empty() && open("a", "u").unwrap().is_empty());
    }

    #[test]
    fn no_answer_on_its_way_hides_a_whole_one() {
        let out = tempfile::tempdir().unwrap();
        let open = || ScoreStore::open(out.path(), &model("a"), "t").unwrap();
        let (key, other) = (answer(0).0, answer(1).0);
        let so_far = |n: u32| Begun { tokens: (0..n).collect(), log_probs: vec![-1.0; n as usize] };
        let whole = Response::Generate { tokens: vec![1], text: "a".to_owned(), log_probs: vec![-1.0] };
        let (mut first, mut second) = (open(), open());
        second.append(&[], &[(key, &so_far(2)), (other, &so_far(3))]).unwrap();
        first.append(&[(key, &whole)], &[]).unwrap();
        // The same process asked again, and another one behind it in the list of files.
        first.append(&[], &[(key, &so_far(4))]).unwrap();
        assert_eq!(first.get(&key).unwrap(), Some(Held::Whole(whole.clone())));
        drop((first, second));
        let both = open();
        assert_eq!(both.get(&key).unwrap(), Some(Held::Whole(whole)));
        assert_eq!(both.get(&other).unwrap(), Some(Held::Begun(so_far(3))));
        drop(both);
        // A file that is not the first is found without those before it.
        let files = list(&folder(out.path())).unwrap();
        assert_eq!(files.len(), 2);
        std::fs::remove_file(&files[0]).unwrap();
        assert_eq!(open().get(&key).unwrap(), Some(Held::Begun(so_far(2))));
    }

    #[test]
    fn a_torn_tail_is_cut_and_damage_is_passed_over() {
        let out = tempfile::tempdir().unwrap();
        let open = || ScoreStore::open(out.path(), &model("a"), "t").unwrap();
        let mut store = open();
        for n in 0..4 {
            let (key, response) = answer(n);
            store.append(&[(key, &response)], &[]).unwrap();
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
            store.append(&[(key, &response)], &[]).unwrap();
            drop(store);
            assert_eq!(held(&open()), [0, 1, 2, 7]);
        }
        // The second of four, its length included.
        for place in whole.len() - 3 * record..whole.len() - 2 * record {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(held(&open()), [0, 2, 3], "byte {place}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing is cut off");
        }
        // Whatever becomes of a file that is being read: no answer is taken for another one.
        std::fs::write(&path, &whole).unwrap();
        let store = open();
        let (head, tail) = whole.split_at(whole.len() - 2 * record);
        let swapped = [head, &tail[record..], &tail[..record]].concat();
        std::fs::write(&path, &swapped).unwrap();
        assert_eq!(held(&store), [0, 1]);
        drop(store);
        std::fs::write(&path, b"").unwrap();
        assert!(open().is_empty());
        std::fs::write(&path, b"{\"schema\":\"veval.scores/2\",\"model\":\"\",\"fingerprint\":\"\",\"numerics\":\"\",\"tokenizer\":\"\"}\n").unwrap();
        let refused = ScoreStore::open(out.path(), &model("a"), "t").err().unwrap().to_string();
        assert!(refused.contains("veval.scores/2"), "{refused}");
    }
}
