//! Recall, LDS and the test against word overlap, on lists whose truth is planted.

use super::tests_planted::normal;
use super::*;
use crate::lab::random::Stream;

/// `truth` and noise.
fn noisy(stream: &mut Stream, truth: &[f64], noise: f64) -> Vec<f64> {
    truth.iter().map(|truth| truth + noise * normal(stream)).collect()
}

/// With values that stay as they are.
pub(super) fn plain(values: &[f64], overlap: &[f64], planted: &[usize], k: usize) -> crate::error::Result<Comparison> {
    recall(values, overlap, Among { planted, k }, |_| values.to_vec())
}

#[test]
fn equal_values_are_found_as_often_as_by_chance() {
    let values = [5.0, 1.0, 1.0, 1.0, 1.0, 0.0];
    let found = plain(&values, &[0.0; 6], &[0, 1, 5], 3).unwrap();
    // Document 0 for sure, document 1 with two places for four, document 5 never.
    assert!((found.value - 1.5 / 3.0).abs() < 1e-12);
    assert!((found.overlap - 0.5).abs() < 1e-12 && found.random == 0.5);
    assert_eq!(plain(&values, &values, &[0], 6).unwrap().value, 1.0);
}

#[test]
fn better_values_are_told_from_word_overlap_and_equal_ones_are_not() {
    let mut stream = Stream::new(1, &["recall"]);
    let planted: Vec<usize> = (0..40).collect();
    let truth: Vec<f64> = (0..400).map(|number| if number < 40 { 2.0 } else { 0.0 }).collect();
    let (good, poor) = (noisy(&mut stream, &truth, 0.5), noisy(&mut stream, &truth, 3.0));
    let better = plain(&good, &poor, &planted, 40).unwrap();
    assert!(better.beats_overlap() && better.beats_random());
    assert!(
        better.sentence().starts_with("The values are better than word overlap (recall@40 "),
        "{}",
        better.sentence()
    );
    let same = plain(&good, &good, &planted, 40).unwrap();
    assert!(!same.beats_overlap() && same.beats_random() && same.difference == 0.0);
    assert!(same.sentence().contains("counting words would have done as well"), "{}", same.sentence());
    let nothing = plain(&noisy(&mut stream, &[0.0; 400], 1.0), &poor, &planted, 40).unwrap();
    assert!(!nothing.beats_overlap() && !nothing.beats_random());
    assert!(nothing.sentence().contains("cannot be told from random ones"), "{}", nothing.sentence());
    assert_eq!(plain(&good, &poor, &planted, 40).unwrap(), better, "draws are the same every time");
}

/// Null: of values and overlap that are equally good, about one in forty looks better.
#[test]
fn equals_are_rarely_called_better() {
    let planted: Vec<usize> = (0..60).collect();
    let truth: Vec<f64> = (0..300).map(|number| if number < 60 { 1.5 } else { 0.0 }).collect();
    let better = (0..200).filter(|&seed| {
        let mut stream = Stream::new(seed, &["equals"]);
        let (one, other) = (noisy(&mut stream, &truth, 1.0), noisy(&mut stream, &truth, 1.0));
        plain(&one, &other, &planted, 60).unwrap().beats_overlap()
    });
    let count = better.count();
    assert!(count <= 14, "{count} of 200");
}

/// Twins whose loss falls by the true values of their documents and noise.
fn twins(stream: &mut Stream, truth: &[f64], count: usize) -> Vec<Twin> {
    (0..count)
        .map(|_| {
            let taken = (0..truth.len()).filter(|_| stream.chance(0.5)).collect::<Vec<usize>>();
            let learned: Vec<(usize, f64)> =
                taken.into_iter().map(|document| (document, 1.0 + stream.unit())).collect();
            let sum = learned.iter().map(|&(document, tokens)| tokens * truth[document]).sum::<f64>();
            Twin { learned, loss: 3.0 - 0.01 * sum + 0.01 * normal(stream) }
        })
        .collect()
}

#[test]
fn lds_finds_true_values_and_no_others() {
    let mut stream = Stream::new(2, &["lds"]);
    let truth = noisy(&mut stream, &[0.0; 100], 1.0);
    let twins = twins(&mut stream, &truth, 60);
    let other = noisy(&mut stream, &[0.0; 100], 1.0);
    let found = lds(&truth, &other, &twins).unwrap();
    assert!(found.value > 0.9 && found.overlap.abs() < 0.35 && found.beats_overlap(), "{found:?}");
    assert!(found.sentence().contains("LDS") && found.over == "60 twins");
    let opposite: Vec<f64> = truth.iter().map(|value| -value).collect();
    assert!((lds(&opposite, &other, &twins).unwrap().value + found.value).abs() < 1e-12);
    assert!(!lds(&other, &truth, &twins).unwrap().beats_overlap());
    // An overlap of nothing has no order, which counts as none.
    assert_eq!(lds(&truth, &[0.0; 100], &twins).unwrap().overlap, 0.0);
}

#[test]
fn halves_agree_as_far_as_there_is_something_to_agree_on() {
    assert_eq!(spearman_brown(0.5), 2.0 / 3.0);
    assert_eq!(spearman_brown(-0.3), 0.0);
    let agreement = agreement(&[1.0, 2.0, 9.0], &[1.0, 2.0, 3.0]);
    assert!(agreement.spearman == Some(1.0) && agreement.pearson.unwrap() < 1.0);
}

#[test]
fn bad_evidence_is_refused() {
    let text = |result: crate::error::Result<Comparison>| result.unwrap_err().to_string();
    let values = [1.0, 2.0, 3.0];
    let message = text(plain(&values, &[1.0, f64::NAN], &[], 4));
    for wanted in [
        "for each of 3 values, found 2",
        "found NaN",
        "k between 1 and 3 documents, found 4",
        "planted document, found none",
    ] {
        assert!(message.contains(wanted), "{message}");
    }
    assert!(text(plain(&values, &values, &[3], 1)).contains("below 3, found document 3"));
    let twin =
        |documents: &[usize], loss| Twin { learned: documents.iter().map(|&document| (document, 1.0)).collect(), loss };
    let message = text(lds(&values, &values, &[twin(&[9], 1.0), twin(&[1], f64::NAN)]));
    for wanted in
        ["at least 5 twins, found 2", "twin 0: expected documents below 3", "twin 1: expected a finite loss, found NaN"]
    {
        assert!(message.contains(wanted), "{message}");
    }
    let message = text(lds(&values, &values, &vec![twin(&[0], 1.0); 6]));
    assert!(message.contains("expected twins that differ, found 6 that do not: their LDS is not defined"), "{message}");
}
