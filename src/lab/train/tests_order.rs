//! Nothing is lost, nothing is seen too often, and any step is found.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::lab::random::Stream;
use crate::lab::train::mixture_file::{MixtureFile, SourceRecord};

const SOURCES: [&str; 3] = ["math", "stories", "web"];

/// Documents whose tokens tell them apart: number times 1000 plus place. Copies are 0 to 3.
fn documents(counts: [usize; 3]) -> Vec<TrainingDocument> {
    let mut random = Stream::new(5, &["documents"]);
    let sources = counts.iter().enumerate().flat_map(|(source, &count)| std::iter::repeat_n(source, count));
    sources
        .enumerate()
        .map(|(number, source)| TrainingDocument {
            source,
            tokens: (0..random.between(1, 60) as u32).map(|place| number as u32 * 1000 + place).collect(),
            copies: random.below(4) as u32,
        })
        .collect()
}

fn mixture(stages: &[(u64, [f64; 3])]) -> Mixture {
    let source = |(name, q): (&&str, &f64)| SourceRecord { name: (*name).to_owned(), q: *q, ..SourceRecord::default() };
    let sources = SOURCES.iter().zip(&stages[0].1).map(source).collect();
    let stage = |(number, (start, shares)): (usize, &(u64, [f64; 3]))| {
        serde_json::json!({"name": number.to_string(), "start_tokens": start,
            "q": {"math": shares[0], "stories": shares[1], "web": shares[2]}})
    };
    let stages = stages.iter().enumerate().map(stage).map(|stage| serde_json::from_value(stage).unwrap()).collect();
    let empty = Mixture::natural(&[("a", 1)]).unwrap().to_file();
    Mixture::new(&MixtureFile { sources, stages, ..empty }).unwrap()
}

fn plan(steps: u64) -> Plan {
    Plan { seed: 7, sequence_length: 32, sequences: 5, steps }
}

#[test]
fn pieces_are_the_tokens_and_sequences_overlap_by_one() {
    let documents = documents([40, 60, 20]);
    let mut order = Order::new(&documents, &SOURCES, &mixture(&[(0, [0.2, 0.5, 0.3])]), plan(200)).unwrap();
    let mut last: BTreeMap<usize, u32> = BTreeMap::new();
    for step in 1..=200 {
        let batch = order.step(step);
        assert_eq!((batch.step, batch.sequences.len()), (step, 5));
        for sequence in batch.sequences {
            assert_eq!(sequence.tokens.len(), 33);
            let pieces = sequence.pieces.iter();
            let tokens: Vec<u32> =
                pieces.flat_map(|p| documents[p.document].tokens[p.tokens.clone()].iter().copied()).collect();
            assert_eq!(sequence.tokens, tokens);
            assert!(sequence.pieces.iter().all(|piece| documents[piece.document].source == sequence.source));
            assert_eq!(sequence.exposures().map(|exposure| exposure.tokens).sum::<usize>(), 32);
            if let Some(before) = last.insert(sequence.source, sequence.tokens[32]) {
                assert_eq!(sequence.tokens[0], before);
            }
        }
    }
    assert_eq!(last.len(), 3);
}

#[test]
fn every_epoch_has_each_token_once_for_each_copy() {
    let documents = documents([40, 60, 20]);
    let mut order = Order::new(&documents, &SOURCES, &mixture(&[(0, [0.2, 0.5, 0.3])]), plan(600)).unwrap();
    // Predicted tokens by source and epoch.
    let mut seen: BTreeMap<(usize, u64), BTreeMap<u32, u32>> = BTreeMap::new();
    let mut given = 0;
    for step in 1..=600 {
        for sequence in order.step(step).sequences {
            let epochs = sequence.pieces.iter().flat_map(|piece| piece.tokens.clone().map(|_| piece.epoch));
            for (token, epoch) in sequence.tokens.iter().zip(epochs).skip(1) {
                *seen.entry((sequence.source, epoch)).or_default().entry(*token).or_default() += 1;
                given += 1;
            }
        }
    }
    assert_eq!(given, 600 * 5 * 32);
    let mut whole = 0;
    for source in 0..3 {
        let wanted: BTreeMap<u32, u32> = documents
            .iter()
            .filter(|document| document.source == source && document.copies > 0)
            .flat_map(|document| document.tokens.iter().map(|token| (*token, document.copies)))
            .collect();
        let last = seen.keys().filter(|(of, _)| *of == source).map(|(_, epoch)| *epoch).max().unwrap();
        for epoch in 0..last {
            let found = &seen[&(source, epoch)];
            if epoch == 0 {
                // The stream's first token is given and never predicted.
                let missing: u32 = wanted.values().sum::<u32>() - found.values().sum::<u32>();
                assert_eq!(missing, 1);
                assert!(found.iter().all(|(token, count)| *count <= wanted[token]));
            } else {
                assert_eq!(found, &wanted, "source {source}, epoch {epoch}");
            }
            whole += 1;
        }
    }
    assert!(whole > 20, "{whole} whole epochs");
}

#[test]
fn epochs_are_shuffled_anew_and_seeds_differ() {
    let documents = documents([0, 60, 0]);
    let only = mixture(&[(0, [0.0, 1.0, 0.0])]);
    let starts = |seed| {
        let mut order = Order::new(&documents, &SOURCES, &only, Plan { seed, ..plan(100) }).unwrap();
        let mut epochs: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let pieces = (1..=100).flat_map(|step| order.step(step).sequences).flat_map(|sequence| sequence.pieces);
        for piece in pieces.filter(|piece| piece.tokens.start == 0) {
            epochs.entry(piece.epoch).or_default().push(piece.document);
        }
        epochs
    };
    let epochs = starts(7);
    let different: BTreeSet<&Vec<usize>> = epochs.values().collect();
    assert!(epochs.len() > 5 && different.len() == epochs.len());
    assert_ne!(starts(8)[&0], epochs[&0]);
    assert_eq!(starts(7), epochs);
}

#[test]
fn any_step_is_the_same_as_in_a_row() {
    let documents = documents([40, 60, 20]);
    let mixture = mixture(&[(0, [0.2, 0.5, 0.3]), (9_000, [0.6, 0.1, 0.3])]);
    let new = || Order::new(&documents, &SOURCES, &mixture, plan(300)).unwrap();
    let mut order = new();
    let batches: Vec<Batch> = (1..=300).map(|step| order.step(step)).collect();
    for step in [1, 2, 150, 57, 58, 300] {
        assert_eq!(new().step(step), batches[step as usize - 1], "fresh, step {step}");
        assert_eq!(order.step(step), batches[step as usize - 1], "back and forth, step {step}");
    }
}

#[test]
fn shares_hold_at_any_time_and_switch_at_the_token() {
    let documents = documents([40, 60, 20]);
    // 1600 tokens are ten steps; 1601 are a token more, so the switch is one sequence later.
    for (start, first) in [(1600, 50), (1601, 51)] {
        let stages = [(0, [0.5, 0.5, 0.0]), (start, [0.0, 0.25, 0.75])];
        let mut order = Order::new(&documents, &SOURCES, &mixture(&stages), plan(100)).unwrap();
        let sources: Vec<usize> =
            (1..=100).flat_map(|step| order.step(step).sequences).map(|sequence| sequence.source).collect();
        let mut counts = [0.0; 3];
        let mut targets = [0.0; 3];
        for (number, &source) in sources.iter().enumerate() {
            counts[source] += 1.0;
            for (source, share) in stages[usize::from(number >= first)].1.iter().enumerate() {
                targets[source] += share;
                assert!((counts[source] - targets[source]).abs() < 1.0, "source {source}, sequence {number}");
            }
        }
        assert!(sources[..first].iter().all(|source| *source != 2));
        assert!(sources[first..first + 3].contains(&2));
    }
}

#[test]
fn a_late_step_is_that_of_a_run_from_the_start() {
    let documents = documents([400, 600, 200]);
    let big = Plan { seed: 1, sequence_length: 256, sequences: 64, steps: 20_000 };
    let mut order = Order::new(&documents, &SOURCES, &mixture(&[(0, [0.2, 0.5, 0.3])]), big).unwrap();
    let late = order.step(10_000);
    let last = (1..=10_000).map(|step| order.step(step)).last();
    assert_eq!(Some(late), last);
}

#[test]
fn tiny_sources_go_round_within_a_sequence() {
    let tiny = [TrainingDocument { source: 0, tokens: vec![4, 5, 0], copies: 1 }];
    let only = Mixture::natural(&[("math", 3)]).unwrap();
    let mut order = Order::new(&tiny, &["math"], &only, plan(3)).unwrap();
    let sequence = &order.step(2).sequences[0];
    assert_eq!(sequence.tokens.len(), 33);
    // Place 160 of the stream is the second token of the epoch.
    assert_eq!(&sequence.tokens[..5], [5, 0, 4, 5, 0]);
    assert!((order.repeats()[0] - 160.0).abs() < 1e-9);
}

#[test]
fn runs_that_cannot_be_are_refused() {
    let documents = documents([40, 60, 0]);
    let refused = |documents: &[TrainingDocument], mixture: &Mixture, plan| {
        Order::new(documents, &SOURCES, mixture, plan).unwrap_err().to_string()
    };
    let text = refused(&documents, &mixture(&[(0, [0.2, 0.5, 0.3])]), plan(10));
    assert!(text.contains("source web: expected documents of a source that has a share"), "{text}");
    // Its share comes after the end of the run.
    let late = mixture(&[(0, [0.5, 0.5, 0.0]), (1600, [0.0, 0.0, 1.0])]);
    assert!(Order::new(&documents, &SOURCES, &late, plan(10)).is_ok());

    let text = refused(&documents, &Mixture::natural(&[("math", 1), ("stories", 1)]).unwrap(), plan(10));
    assert!(text.contains("none for \"web\""), "{text}");
    let mut limited = mixture(&[(0, [0.5, 0.5, 0.0])]).to_file();
    limited.sources[0].max_repeat = Some(4.0);
    let limited = Mixture::new(&limited).unwrap();
    assert!(Order::new(&documents, &SOURCES, &limited, plan(20)).is_ok());
    let text = refused(&documents, &limited, plan(1000));
    assert!(text.contains("source math: expected its tokens at most 4 times (max_repeat), found"), "{text}");

    let nothing = Plan { seed: 0, sequence_length: 0, sequences: 0, steps: u64::MAX };
    let odd = [
        TrainingDocument { source: 0, tokens: Vec::new(), copies: 1 },
        TrainingDocument { source: 3, tokens: vec![1], copies: u32::MAX },
    ];
    let error = Order::new(&odd, &SOURCES, &limited, nothing).unwrap_err();
    assert_eq!(error.diagnostics().len(), 5, "{error}");
    let long = Plan { seed: 0, sequence_length: 1 << 20, sequences: 1 << 20, steps: 1 << 20 };
    assert!(refused(&documents, &limited, long).contains("expected a run of at most"));
}
