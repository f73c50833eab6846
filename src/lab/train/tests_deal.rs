//! Shares are kept at every moment.

use super::*;
use crate::lab::random::Stream;

/// Deals and returns the counts, after a check at every sequence that no source is further from its target than the
/// theorem allows.
fn deal(dealer: &mut Dealer, sequences: u64) -> Vec<u64> {
    let mut counts = vec![0u64; dealer.hands.len()];
    for count in 1..=sequences {
        let Dealt { source, number } = dealer.deal();
        assert_eq!(number, counts[source]);
        counts[source] += 1;
        for (source, &dealt) in counts.iter().enumerate() {
            let off = (dealt as f64 - dealer.target(source, count)).abs();
            assert!(off <= 1.0 - dealer.margin + 1e-6, "source {source} is {off} off after {count} of {sequences}");
        }
    }
    counts
}

fn random_shares(random: &mut Stream, sources: usize) -> Vec<f64> {
    let weights: Vec<f64> =
        (0..sources).map(|_| if random.chance(0.15) { 0.0 } else { random.unit().powi(3) + 1e-4 }).collect();
    let sum: f64 = weights.iter().sum();
    if sum == 0.0 { vec![1.0 / sources as f64; sources] } else { weights.iter().map(|w| w / sum).collect() }
}

#[test]
fn one_source_has_all_and_two_take_turns() {
    assert_eq!(deal(&mut Dealer::new([(0, vec![1.0])]), 10), [10]);
    let mut dealer = Dealer::new([(0, vec![0.5, 0.5])]);
    let turns: Vec<usize> = (0..6).map(|_| dealer.deal().source).collect();
    assert_eq!(turns, [0, 1, 0, 1, 0, 1]);
    assert_eq!(deal(&mut Dealer::new([(0, vec![0.25, 0.0, 0.75])]), 400), [100, 0, 300]);
}

#[test]
fn random_shares_in_random_stages_are_never_a_sequence_off() {
    let mut random = Stream::new(3, &["deal"]);
    for _ in 0..300 {
        let sources = random.between(1, 12);
        let mut first = 0;
        let stages: Vec<(u64, Vec<f64>)> = (0..random.between(1, 5))
            .map(|_| {
                let stage = (first, random_shares(&mut random, sources));
                first += random.below(60) as u64;
                stage
            })
            .collect();
        deal(&mut Dealer::new(stages), 400);
    }
}

#[test]
fn a_long_run_keeps_its_shares() {
    let shares = [0.31, 0.17, 0.12, 0.11, 0.09, 0.08, 0.06, 0.03, 0.02, 0.0099, 0.0001];
    let counts = deal(&mut Dealer::new([(0, shares.to_vec())]), 1_000_000);
    assert_eq!(counts[10], 100);
    assert_eq!(counts[0], 310_000);
}
