//! The files say what the steps saw, also after a kill.

use super::*;
use crate::lab::train::mixture::Mixture;
use crate::lab::train::order::{Order, Plan, TokenSequence, TrainingDocument};

fn documents() -> Vec<TrainingDocument> {
    let document = |number: u32| TrainingDocument {
        source: number as usize % 2,
        tokens: vec![number; 3 + number as usize % 11],
        copies: 1 + number % 2,
    };
    (0..30).map(document).collect()
}

fn order(documents: &[TrainingDocument]) -> Order<'_> {
    let mixture = Mixture::natural(&[("a", 2), ("b", 1)]).unwrap();
    let plan = Plan { seed: 1, sequence_length: 16, sequences: 3, steps: 50 };
    Order::new(documents, &["a", "b"], &mixture, plan).unwrap()
}

fn names() -> Vec<DocumentName> {
    (0..30).map(|n| DocumentName { source: ["a", "b"][n % 2].into(), id: format!("d\"{n}\n") }).collect()
}

fn bytes(folder: &Path) -> Vec<Vec<u8>> {
    let names = ["documents.npy", "tokens.npy", "steps.npy", "documents.jsonl"];
    names.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect()
}

fn write(folder: &Path, steps: u64) {
    let documents = documents();
    let mut order = order(&documents);
    let mut file = OrderFile::create(folder, &names(), 0).unwrap();
    for step in 1..=steps {
        file.append(&order.step(step)).unwrap();
    }
    file.sync().unwrap();
}

#[test]
fn files_are_numpys_and_steps_read_back() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 50);
    let [documents_file, tokens, steps, names] = &bytes(folder.path())[..] else { unreachable!() };
    assert_eq!(&steps[..10], b"\x93NUMPY\x01\x00\x76\x00");
    let head = std::str::from_utf8(&steps[10..128]).unwrap();
    assert_eq!(head.trim_end(), "{'descr': '<u8', 'fortran_order': False, 'shape': (51,), }");
    assert!(head.ends_with('\n') && steps.len() == 128 + 51 * 8 && documents_file.len() == tokens.len());
    assert_eq!(std::str::from_utf8(names).unwrap().lines().count(), 30);

    let documents = documents();
    let mut order = order(&documents);
    for step in 1..=50 {
        let wanted: Vec<Exposure> = order.step(step).sequences.iter().flat_map(TokenSequence::exposures).collect();
        assert_eq!(OrderFile::read_step(folder.path(), step).unwrap(), wanted);
        assert_eq!(wanted.iter().map(|exposure| exposure.tokens).sum::<usize>(), 48);
    }
    let all: usize =
        (1..=50).flat_map(|step| OrderFile::read_step(folder.path(), step).unwrap()).map(|one| one.tokens).sum();
    let sums = OrderFile::tokens_by_document(folder.path()).unwrap();
    assert_eq!(sums.iter().map(|(_, tokens)| tokens).sum::<u64>(), all as u64);
    let of_third =
        |step| OrderFile::read_step(folder.path(), step).unwrap().into_iter().filter(|one| one.document == 3);
    let third: usize = (1..=50).flat_map(of_third).map(|one| one.tokens).sum();
    assert_eq!(sums[3], (super::super::DocumentName { source: "b".into(), id: "d\"3\n".into() }, third as u64));
    for step in [0, 51, u64::MAX] {
        assert!(OrderFile::read_step(folder.path(), step).unwrap_err().to_string().contains("expected a step"));
    }
}

#[test]
fn a_resumed_run_leaves_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), 50);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 37);
    // A kill after the documents of a step, before its offset.
    for (name, torn) in [("documents.npy", &[1u8, 2, 3][..]), ("tokens.npy", &[9; 40]), ("steps.npy", &[7; 5])] {
        let path = folder.path().join(name);
        let content = [std::fs::read(&path).unwrap(), torn.to_vec()].concat();
        std::fs::write(path, content).unwrap();
    }
    let documents = documents();
    let mut order = order(&documents);
    let mut file = OrderFile::resume(folder.path(), 20).unwrap();
    assert!(file.append(&order.step(20)).is_err(), "steps follow each other");
    for step in 21..=50 {
        file.append(&order.step(step)).unwrap();
    }
    drop(file);
    assert!(bytes(folder.path()) == bytes(whole.path()));
    OrderFile::resume(folder.path(), 0).unwrap();
    assert_eq!(bytes(folder.path())[0].len(), 128);
}

#[test]
fn strange_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(OrderFile::resume(folder.path(), 0).is_err());
    write(folder.path(), 10);
    let error = OrderFile::resume(folder.path(), 11).unwrap_err().to_string();
    assert!(error.contains("expected the order of at least 11 steps"), "{error}");
    assert!(OrderFile::resume(folder.path(), u64::MAX).is_err());

    let path = folder.path().join("documents.npy");
    let short = std::fs::read(&path).unwrap()[..140].to_vec();
    std::fs::write(&path, short).unwrap();
    assert!(OrderFile::read_step(folder.path(), 10).is_err());
    let error = OrderFile::resume(folder.path(), 10).unwrap_err().to_string();
    assert!(error.contains("documents.npy: expected at least"), "{error}");
    std::fs::write(&path, "hello").unwrap();
    assert!(OrderFile::resume(folder.path(), 5).unwrap_err().to_string().contains("found another file"));
    std::fs::copy(folder.path().join("steps.npy"), &path).unwrap();
    assert!(OrderFile::resume(folder.path(), 5).unwrap_err().to_string().contains("expected an array of <u4"));
}
