//! The parts of the update, each against what is known of it.

use super::round::WholeBounds;
use super::tilt::{Region, Stop, divergence};
use super::*;
use crate::lab::train::{Copies, DocumentName};

fn open(before: &[f64]) -> Region {
    Region { before: before.to_vec(), low: vec![0.0; before.len()], high: vec![1.0; before.len()] }
}

fn logit(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

#[test]
fn two_sources_follow_the_logistic_closed_form() {
    for (share, gain, limit) in [(0.1, 0.03, 0.1), (0.5, -2.0, 0.01), (0.9, 1e-6, 1e-5), (0.3, 1e5, 0.4)] {
        let solved = open(&[share, 1.0 - share]).solve(&[gain, 0.0], limit, f64::INFINITY);
        assert_eq!(solved.stop, Stop::Limit);
        // The closed form for the eta that was found ..
        let wanted = 1.0 / (1.0 + (-(logit(share) + solved.eta * gain)).exp());
        assert!((solved.shares[0] - wanted).abs() < 1e-14, "{} {wanted}", solved.shares[0]);
        // .. which is the one root of the divergence on this side, found here without eta.
        let (mut near, mut far) = (share, if gain > 0.0 { 1.0 } else { 0.0 });
        let kl = |q: f64| q * (q / share).ln() + (1.0 - q) * ((1.0 - q) / (1.0 - share)).ln();
        for _ in 0..200 {
            let middle = f64::midpoint(near, far);
            if kl(middle) <= limit { near = middle } else { far = middle }
        }
        assert!((solved.shares[0] - near).abs() < 1e-9, "{} {near}", solved.shares[0]);
        assert!(solved.divergence <= limit && solved.divergence > limit * (1.0 - 1e-9));
    }
}

#[test]
fn bounds_are_filled_up_in_proportion() {
    // 0.5 would go to the first; its cap sends 0.3 to the others, three to one, and the last one's floor takes from
    // them.
    let region = Region { before: vec![0.25; 4], low: vec![0.0, 0.0, 0.0, 0.1], high: vec![0.2, 1.0, 1.0, 1.0] };
    let values = [4f64.ln(), 3f64.ln(), 0.0, (0.01f64).ln()];
    let shares = region.at(&values, 1.0);
    let wanted = [0.2, 0.7 * 0.75, 0.7 * 0.25, 0.1];
    for (share, wanted) in shares.iter().zip(wanted) {
        assert!((share - wanted).abs() < 1e-15, "{shares:?}");
    }
}

#[test]
fn far_values_neither_overflow_nor_lose_the_sum() {
    let solved = open(&[0.2, 0.3, 0.5]).solve(&[1e300, -1e300, 0.0], 10.0, f64::INFINITY);
    assert_eq!((solved.stop, solved.shares[0], solved.shares[1]), (Stop::Corner, 1.0, 0.0));
    assert!(solved.shares[2] < 1e-200, "{:?}", solved.shares);
    let region = Region { before: vec![0.5, 0.5], low: vec![0.4, 0.4], high: vec![0.6, 0.6] };
    let solved = region.solve(&[1.0, 0.0], 10.0, f64::INFINITY);
    assert_eq!(solved.shares, [0.6, 0.4]);
}

#[test]
fn divergence_keeps_its_digits() {
    for step in [1e-3, 1e-5, 1e-7] {
        let found = divergence(&[0.5 + step, 0.5 - step], &[0.5, 0.5]);
        let wanted = 2.0 * step * step * (1.0 + 2.0 * step * step / 3.0);
        assert!((found / wanted - 1.0).abs() < 1e-8, "{found} {wanted}");
    }
    assert_eq!(divergence(&[0.0, 1.0], &[0.5, 0.5]), 2f64.ln());
    assert_eq!(divergence(&[0.5, 0.5], &[1.0, 0.0]), f64::INFINITY);
}

#[test]
fn remainders_go_to_the_largest_within_bounds() {
    let bounds = WholeBounds::new(&[0.0; 3], &[1.0; 3], 10);
    assert_eq!(bounds.round(&[0.56, 0.27, 0.17], 10), [5, 3, 2]);
    // Of equal remainders the first.
    assert_eq!(bounds.round(&[0.25, 0.25, 0.5], 10), [3, 2, 5]);
    let bounds = WholeBounds::new(&[0.0, 0.0, 0.18], &[0.56, 0.27, 1.0], 10);
    assert_eq!((&bounds.low, &bounds.high), (&vec![0, 0, 2], &vec![5, 2, 10]));
    assert_eq!(bounds.round(&[0.55, 0.26, 0.19], 10), [5, 2, 3]);
    assert!(!WholeBounds::new(&[0.0; 2], &[0.55, 0.45], 2).leave_room(3));
    assert_eq!(WholeBounds::new(&[0.1], &[0.1], 50).low, [5], "0.1 * 50 is 5");
}

#[test]
fn a_source_is_worth_its_documents_by_their_tokens() {
    let documents = [("a", 100, 1.0), ("a", 300, 2.0), ("b", 10, 5.0), ("a", 100, 3.0)];
    let values = SourceValue::by_source(documents);
    assert_eq!(values["a"].value, 2.0);
    // sqrt(3/2 (100^2 + 100^2)) / 500
    assert!((values["a"].error - 30_000f64.sqrt() / 500.0).abs() < 1e-15);
    assert_eq!((values["b"].value, values["b"].error), (5.0, f64::INFINITY));
}

#[test]
fn the_error_of_a_source_is_that_of_its_mean() {
    // 400 samples of 50 documents each: the spread of the means is what the errors say.
    let mut stream = crate::lab::random::Stream::new(5, &["errors"]);
    let (mut means, mut squares) = (Vec::new(), 0.0);
    for _ in 0..400 {
        let documents: Vec<(&str, u64, f64)> =
            (0..50).map(|_| ("a", 1 + stream.below(1000) as u64, stream.unit())).collect();
        let value = SourceValue::by_source(documents)["a"];
        means.push(value.value);
        squares += value.error.powi(2) / 400.0;
    }
    let mean = means.iter().sum::<f64>() / 400.0;
    let spread = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 399.0;
    // The variance of 400 draws is within 4 * sqrt(2/400) of its own; the estimate is low by some per cent.
    assert!((0.75..1.3).contains(&(squares / spread)), "{squares} {spread}");
}

#[test]
fn shrinkage_is_the_formula_at_any_scale() {
    let shrunk = |value: f64, error: f64| SourceValue { value, error }.shrunk();
    assert_eq!(shrunk(3.0, 4.0), 27.0 / 25.0);
    assert_eq!(shrunk(-3e200, 4e200), -27e200 / 25.0);
    assert_eq!(
        (shrunk(0.0, 0.0), shrunk(0.0, 1.0), shrunk(2.0, 0.0), shrunk(1.0, f64::INFINITY)),
        (0.0, 0.0, 2.0, 0.0)
    );
}

fn corpus(count: usize) -> Vec<DocumentValue> {
    let mut stream = crate::lab::random::Stream::new(3, &["copies"]);
    let name = |id: usize| DocumentName { source: "s".into(), id: format!("d{id}") };
    (0..count).map(|id| DocumentValue { name: name(id), value: stream.unit() }).collect()
}

#[test]
fn copies_rise_with_values_and_are_right_on_average() {
    let corpus = corpus(20_000);
    let rule = CopyRule { strength: 1.0, most: 2.5, ..CopyRule::default() };
    let copies = DocumentCopies::new(&corpus, rule).unwrap();
    assert!(copies.expected.iter().all(|count| (0.0..=2.5).contains(count)));
    assert!(
        copies.whole.iter().zip(&copies.expected).all(|(whole, expected)| (f64::from(*whole) - expected).abs() < 1.0)
    );
    let (whole, expected): (f64, f64) =
        (copies.whole.iter().map(|count| f64::from(*count)).sum(), copies.expected.iter().sum());
    // Each rounding has a variance of at most 1/4: four standard errors.
    assert!((whole - expected).abs() < 4.0 * (20_000f64 / 4.0).sqrt(), "{whole} {expected}");
    // exp(z) with the mean and the deviation of uniform numbers.
    let z = (corpus[0].value - 0.5) * 12f64.sqrt();
    assert!((copies.expected[0] - z.exp().min(2.5)).abs() < 0.05, "{} {z}", copies.expected[0]);

    let mut turned = corpus.clone();
    turned.reverse();
    let mut again = DocumentCopies::new(&turned, rule).unwrap().whole;
    again.reverse();
    let differing = again.iter().zip(&copies.whole).filter(|(a, b)| a != b).count();
    // Sums in another order move an expectation by a rounding, and with it hardly ever a whole number.
    assert!(differing <= 1, "{differing}");
    let none = DocumentCopies::new(&corpus, CopyRule { strength: 0.0, ..rule }).unwrap();
    assert!(none.whole.iter().all(|count| *count == 1));
}

#[test]
fn the_trainer_reads_what_is_written() {
    let corpus = corpus(300);
    let names: Vec<DocumentName> = corpus.iter().map(|document| document.name.clone()).collect();
    let copies = DocumentCopies::new(&corpus, CopyRule { strength: 1.0, seed: 7, ..CopyRule::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repeats.bin");
    std::fs::write(&path, copies.repeats()).unwrap();
    let whole: Vec<u32> = copies.whole.iter().map(|count| *count as u32).collect();
    assert_eq!(Copies::read(&path, 0).unwrap().of(&names).unwrap(), whole);
    // The reader's own rounding of the column `copies` is the same.
    let path = folder.path().join("values.jsonl");
    let line = |(name, expected): (&DocumentName, &f64)| {
        serde_json::json!({"source": name.source, "doc_id": name.id, "copies": expected}).to_string() + "\n"
    };
    std::fs::write(&path, names.iter().zip(&copies.expected).map(line).collect::<String>()).unwrap();
    assert_eq!(Copies::read(&path, 7).unwrap().of(&names).unwrap(), whole);

    let kept: Vec<&str> =
        names.iter().zip(&whole).filter(|(_, count)| **count > 0).map(|(name, _)| name.id.as_str()).collect();
    assert_eq!(copies.keep().unwrap().lines().collect::<Vec<_>>(), kept);
    assert!(kept.len() < 300);
}

#[test]
fn hostile_documents_are_refused() {
    let document = |source: &str, id: &str, value| DocumentValue {
        name: DocumentName { source: source.into(), id: id.into() },
        value,
    };
    let corpus = [document("s", "a\nb", 1.0), document("s", "", 1.0), document("s", "c", 1.0), document("t", "c", 1.0)];
    let text = DocumentCopies::new(&corpus, CopyRule::default()).unwrap().keep().unwrap_err().to_string();
    for wanted in
        ["found \"a\\nb\"", "found \"\"", "source t: expected ids that differ across sources, found \"c\" again"]
    {
        assert!(text.contains(wanted), "{text}");
    }
    let rule = CopyRule { strength: f64::NAN, most: 40_000.0, ..CopyRule::default() };
    let error = DocumentCopies::new(&[document("s", "a", f64::NAN)], rule).unwrap_err();
    assert_eq!(error.diagnostics().len(), 3, "{error}");
    let many: Vec<DocumentValue> = (0..50).map(|id| document("s", &id.to_string(), f64::INFINITY)).collect();
    let error = DocumentCopies::new(&many, CopyRule::default()).unwrap_err();
    assert_eq!(error.diagnostics().len(), 21);
    assert!(error.to_string().ends_with("and 30 more"));
    assert!(DocumentCopies::new(&[], CopyRule::default()).unwrap().keep().unwrap().is_empty());
}
