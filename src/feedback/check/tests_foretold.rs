//! Runs written by hand, whose losses are what the values of their documents say, or are not.

use std::path::Path;

use super::*;
use crate::feedback::value::{ValueRow, write_lines};
use crate::lab::random::Stream;
use crate::util::npy::GrowingArray;

const DOCUMENTS: usize = 40;

fn value_of(document: usize) -> f32 {
    ((document * 7) % DOCUMENTS) as f32 - 20.0
}

/// Values of all documents but the first `missing`.
fn values(folder: &Path, missing: usize) -> KnownValues {
    let row = |document: usize| ValueRow {
        doc_id: document.to_string(),
        source: "web".to_owned(),
        n_loss_tokens: 10,
        value: value_of(document),
        overlap: Some(0.5),
        targets: [("value_t".to_owned(), value_of(document))].into(),
        ..ValueRow::default()
    };
    let path = folder.join("values.jsonl");
    write_lines(&path, (missing..DOCUMENTS).map(row)).unwrap();
    let known = KnownValues::read(&path).unwrap();
    known.have(&["t".to_owned()], &path).unwrap();
    assert!(known.have(&["u".to_owned()], &path).unwrap_err().to_string().contains("value_u"));
    known
}

/// A run of one step over some documents, as the trainer writes it down, and the sum of their values by tokens.
fn run(folder: &Path, stream: &mut Stream) -> f64 {
    let order = folder.join("order");
    std::fs::create_dir_all(&order).unwrap();
    let name = |number: usize| format!("{{\"source\": \"web\", \"id\": \"{number}\"}}\n");
    let names = (0..DOCUMENTS).map(name).collect::<Vec<_>>().concat();
    std::fs::write(order.join("documents.jsonl"), names).unwrap();
    let chosen: Vec<(usize, usize)> = (0..12).map(|_| (stream.below(DOCUMENTS), 1 + stream.below(9))).collect();
    let column = |name: &str, numbers: Vec<u32>| {
        let mut file = GrowingArray::create(&order.join(name)).unwrap();
        file.append(&numbers).unwrap();
        file.sync().unwrap();
    };
    column("documents.npy", chosen.iter().map(|(document, _)| *document as u32).collect());
    column("tokens.npy", chosen.iter().map(|(_, tokens)| *tokens as u32).collect());
    chosen.iter().map(|&(document, tokens)| f64::from(value_of(document)) * tokens as f64).sum()
}

/// LDS over three arms of six runs each, where an arm's runs have a loss in common and a value moves it by `strength`.
fn lds(seed: u64, strength: f64, missing: usize) -> Foretold {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Stream::new(seed, &["foretold"]);
    let mut runs = Vec::new();
    for arm in 0..3 {
        // Whatever an arm does to all its runs is none of the values' business.
        let shift = 100.0 * stream.unit();
        for number in 0..6 {
            let own = folder.path().join(format!("{arm}-{number}"));
            let sum = run(&own, &mut stream);
            let loss = 50.0 + shift - strength * sum + 0.01 * stream.unit();
            runs.push(Reached { folder: own, arm, losses: vec![loss] });
        }
    }
    foretold(&values(folder.path(), missing), &["t".to_owned()], &runs).unwrap()
}

#[test]
fn values_that_are_true_foretell_what_runs_reach_whatever_their_arms_do() {
    let found = lds(1, 0.01, 0);
    assert_eq!(found.lds.iter().map(|(of, _)| of.as_str()).collect::<Vec<_>>(), ["all targets", "t"]);
    assert!(found.lds.iter().all(|(_, lds)| lds.value > 0.98 && lds.beats_overlap()), "{found:?}");
    assert!(found.known == 1.0 && lds(1, -0.01, 0).lds[0].1.value < -0.98);
    // Documents without values count as their source's mean, and that is said.
    let less = lds(1, 0.01, 20);
    assert!((0.2..0.8).contains(&less.known) && less.lds[0].1.value < found.lds[0].1.value, "{less:?}");
}

#[test]
fn values_of_nothing_are_seldom_said_to_be_better_although_arms_differ() {
    let sure = (0..100).filter(|&seed| lds(seed, 0.0, 0).lds[0].1.beats_random()).count();
    assert!(sure <= 8, "{sure} of 100");
}
