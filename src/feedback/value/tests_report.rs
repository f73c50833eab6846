//! What a report says of items that are known to help: found where the feedback knows of them, not found where it does not.

use super::tests_planted::{Noisy, normals, plus};
use super::*;
use crate::lab::random::Stream;

const DOCUMENTS: usize = 300;
const PLANTED: usize = 20;

/// A stream of noise, and planted items that lean towards `truth`; the feedback's target is `target`. Words know nothing.
fn report(seed: u64, lean: f64, target: f64) -> ValueReport {
    let mut stream = Stream::new(seed, &["report"]);
    let truth = normals(&mut stream, 1.0);
    let scaled = |by: f64| truth.iter().map(|value| by * value).collect::<Vec<f64>>();
    let world = Noisy::new(&mut stream, scaled(target), 4, 0.5);
    let documents: Vec<Vec<f64>> = (0..DOCUMENTS).map(|_| normals(&mut stream, 0.5)).collect();
    let planted: Vec<Vec<f64>> = (0..PLANTED).map(|_| plus(&normals(&mut stream, 0.5), &scaled(lean))).collect();
    let words = |count: usize| Words { all: vec![0.0; count], by_target: vec![vec![0.0; count]] };
    let planted = Planted { table: world.table(&planted), targets: vec![0; PLANTED], words: words(PLANTED) };
    ValueReport::new(&world.values(&documents), &words(DOCUMENTS), Some(&planted), &[false; DOCUMENTS]).unwrap()
}

#[test]
fn items_that_help_are_found_and_it_is_said_in_words() {
    for seed in 0..10 {
        let report = report(seed, 1.0, 1.0);
        let found = report.planted.as_ref().unwrap();
        // A tenth of 320.
        assert_eq!((found.statistic.as_str(), found.value, found.random), ("recall@32", 1.0, 0.1), "seed {seed}");
        assert_eq!(report.targets[0].planted.as_ref().unwrap().value, 1.0);
        assert!(found.beats_overlap() && report.sentence.contains("better than word overlap"), "{}", report.sentence);
        assert!((found.overlap - 0.1).abs() < 1e-12, "equal words are in random order: {}", found.overlap);
    }
}

/// Where planted items are like all others, and where the feedback's gradient is noise: then all of them lie along it or
/// against it by accident, and only its parts can tell.
#[test]
fn items_that_do_not_help_are_not_said_to_be_found() {
    let found: Vec<f64> = (0..200).map(|seed| report(seed, 0.0, 1.0).planted.unwrap().value).collect();
    let (low, high) = crate::stats::mean(&found).interval.unwrap();
    assert!((low..high).contains(&0.1), "{low} to {high}");
    for (lean, target) in [(0.0, 1.0), (1.0, 0.0)] {
        let sure = |&seed: &u64| report(seed, lean, target).planted.unwrap().beats_overlap();
        let sure = (0..200).filter(sure).count();
        assert!(sure <= 9, "lean {lean}: {sure} of 200 are said to be better than words");
    }
}

/// What shows sealed items is no evidence for its source.
#[test]
fn documents_like_sealed_items_do_not_count_in_their_source() {
    let mut stream = Stream::new(3, &["shown"]);
    let truth = normals(&mut stream, 1.0);
    let world = Noisy::new(&mut stream, truth.clone(), 4, 0.1);
    let mut documents: Vec<Vec<f64>> = (0..20).map(|_| normals(&mut stream, 0.1)).collect();
    documents[7] = truth;
    let words = Words { all: vec![0.0; 20], by_target: vec![vec![0.0; 20]] };
    let worth = |shown: Option<usize>| {
        let like: Vec<bool> = (0..20).map(|number| shown == Some(number)).collect();
        let report = ValueReport::new(&world.values(&documents), &words, None, &like).unwrap();
        (report.sources[0].targets["t"].value, report.sources[0].documents, report.documents_like_sealed_items)
    };
    let (all, without) = (worth(None), worth(Some(7)));
    assert_eq!(((all.1, all.2), (without.1, without.2)), ((20, 0), (19, 1)));
    assert!(all.0 > 0.3 && without.0.abs() < 0.15, "{all:?} {without:?}");
}

#[test]
fn a_report_is_read_as_it_was_written_and_another_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let written = report(1, 1.0, 1.0);
    written.write(&path).unwrap();
    assert_eq!(ValueReport::read(&path).unwrap(), written);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("value_report/1", "value_report/2")).unwrap();
    let error = ValueReport::read(&path).unwrap_err().to_string();
    assert!(error.contains("veval.value_report/1") && error.contains("value_report/2"), "{error}");
    std::fs::write(&path, "{}").unwrap();
    assert!(ValueReport::read(&path).is_err());
}
