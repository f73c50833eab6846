//! Planted targets that say whose they are.

use super::*;
use crate::lab::random::Stream;
use crate::lab::targets::TargetOrigin;
use crate::lab::train::{Mixture, Order, OrderPlan};

/// By document.
type Targets = Vec<Vec<(u32, SoftTarget)>>;

const VOCABULARY: usize = 1 << 21;
/// Added to a token it names a target's second token.
const MARK: u32 = 1 << 20;

/// Documents whose tokens tell them apart: number times 1000 plus place. Copies are 0 to 3.
fn documents() -> Vec<TrainingDocument> {
    let mut random = Stream::new(9, &["documents"]);
    let document = |number: u32| TrainingDocument {
        source: number as usize % 2,
        tokens: (0..random.between(1, 90) as u32).map(|place| number * 1000 + place).collect(),
        copies: random.below(4) as u32,
    };
    (0..60).map(document).collect()
}

/// Two of three tokens have a target, the first and the last of many documents among them.
fn is_listed(token: u32) -> bool {
    !(token % 1000 + token / 1000).is_multiple_of(3)
}

fn planted(documents: &[TrainingDocument]) -> Targets {
    let target = |token: u32| SoftTarget::mixed(token, 0.5, &[(token + MARK, 1.0)]).unwrap();
    let of = |document: &TrainingDocument| {
        let places = (0u32..).zip(&document.tokens).filter(|(_, token)| is_listed(**token));
        places.map(|(place, &token)| (place, target(token))).collect()
    };
    documents.iter().map(of).collect()
}

fn file(documents: Targets) -> TargetFile {
    let origin = TargetOrigin {
        alpha_max: 0.5,
        tokenizer: "blake3:aa".to_owned(),
        checkpoint: "blake3:bb".to_owned(),
        documents: "blake3:cc".to_owned(),
    };
    TargetFile { origin, documents }
}

fn fingerprints() -> Fingerprints {
    Fingerprints { tokenizer: "blake3:aa".to_owned(), documents: "blake3:cc".to_owned() }
}

#[test]
fn targets_follow_their_tokens_through_packing_copies_and_cuts() {
    let documents = documents();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.safetensors");
    file(planted(&documents)).write(&path).unwrap();
    let targets = SoftTargets::read(&path, &fingerprints(), &documents, VOCABULARY).unwrap();
    let mixture = Mixture::natural(&[("a", 3), ("b", 2)]).unwrap();
    // Shorter than many documents, so that they are cut, and longer than others, so that they are packed.
    let plan = OrderPlan { seed: 3, sequence_length: 24, sequences: 5, steps: 120 };
    let mut order = Order::new(&documents, &["a", "b"], &mixture, plan).unwrap();
    let (mut seen, mut cut, mut given_only) = (0, 0, 0);
    for step in 1..=plan.steps {
        for sequence in order.step(step).sequences {
            let lesson = targets.lesson(&sequence);
            let wanted: Vec<(usize, u32)> =
                sequence.tokens.iter().copied().enumerate().skip(1).filter(|(_, token)| is_listed(*token)).collect();
            let found: Vec<(usize, u32)> = lesson.soft.iter().map(|own| (own.place, own.shares[0].0)).collect();
            assert_eq!(found, wanted);
            for own in &lesson.soft {
                assert_eq!(own.shares, [(own.shares[0].0, 0.5), (own.shares[0].0 + MARK, 0.5)]);
            }
            assert_eq!(lesson.tokens, sequence.tokens);
            seen += found.len();
            cut += usize::from(sequence.pieces[0].tokens.start > 0);
            given_only += usize::from(is_listed(sequence.tokens[0]));
        }
    }
    assert!(seen > 9000 && cut > 300 && given_only > 300, "{seen} {cut} {given_only}");
    // Without a file nothing is taught otherwise.
    let batch = order.step(1);
    assert_eq!(SoftTargets::default().lesson(&batch.sequences[0]), Lesson::plain(&batch.sequences[0].tokens));
}

#[test]
fn files_for_something_else_are_refused() {
    let documents = documents();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.safetensors");
    let refused = |of: &Fingerprints, vocabulary: usize, change: &dyn Fn(&mut Targets)| {
        let mut planted = planted(&documents);
        change(&mut planted);
        file(planted).write(&path).unwrap();
        SoftTargets::read(&path, of, &documents, vocabulary).unwrap_err().to_string()
    };
    let same = |_: &mut Targets| ();
    let other = Fingerprints { tokenizer: "blake3:a0".to_owned(), documents: "blake3:c0".to_owned() };
    let both = refused(&other, VOCABULARY, &same);
    for wanted in [
        "expected targets for the tokenizer of the plan, blake3:a0, found those for blake3:aa",
        "expected targets for the corpus of the plan, blake3:c0, found those for blake3:cc",
        "targets.safetensors",
    ] {
        assert!(both.contains(wanted), "{both}");
    }
    let of = fingerprints();
    let message = refused(&of, VOCABULARY, &|own| own.truncate(59));
    assert!(message.contains("expected targets of 60 documents, found 59"), "{message}");
    let message = refused(&of, VOCABULARY, &|own| own[7] = vec![(999, SoftTarget::one_hot(7999))]);
    assert!(message.contains("document 7, position 999: expected a position below"), "{message}");
    let message = refused(&of, VOCABULARY, &|own| own[8] = vec![(0, SoftTarget::one_hot(8001))]);
    let wanted = "document 8, position 0: expected a target for the token 8000, which stands there, found 8001";
    assert!(message.contains(wanted), "{message}");
    let message = refused(&of, MARK as usize, &same);
    assert!(message.contains(&format!("expected token ids below {MARK}, found")), "{message}");
    assert_eq!(message.matches("expected token ids").count(), 20, "{message}");
}
