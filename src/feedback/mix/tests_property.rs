//! Laws of the update over random mixtures.

use proptest::prelude::*;

use super::tests_update::file;
use super::tilt::divergence;
use super::*;

/// A mixture of a few sources, values with errors, and a rule.
#[derive(Debug, Clone)]
struct Case {
    /// Weight, available tokens (as a multiple of the run), value, error.
    sources: Vec<(f64, Option<f64>, f64, f64)>,
    limit: f64,
    floor: f64,
    sequences: u64,
}

fn case(bounded: bool) -> impl Strategy<Value = Case> {
    let available = prop_oneof![Just(None), (0.05..1.0f64).prop_map(Some)].prop_map(move |a| a.filter(|_| bounded));
    let error = prop_oneof![Just(0.0), 0.0..2.0f64];
    let source = (0.02..1.0f64, available, -3.0..3.0f64, error);
    let floor = if bounded { 0.0..0.02f64 } else { 0.0..1e-300f64 };
    (prop::collection::vec(source, 1..9), -9.0..0.5f64, floor, 1_000..5_000_000u64)
        .prop_map(|(sources, limit, floor, sequences)| Case { sources, limit: limit.exp(), floor, sequences })
}

const LENGTH: u64 = 64;

fn run(case: &Case) -> crate::error::Result<MixedStage> {
    let names: Vec<String> = (0..case.sources.len()).map(|number| format!("s{number}")).collect();
    let total: f64 = case.sources.iter().map(|source| source.0).sum();
    let run = Run { total_tokens: case.sequences * LENGTH, sequence_length: LENGTH };
    let sources: Vec<(&str, f64, Option<f64>)> = names
        .iter()
        .zip(&case.sources)
        .map(|(name, source)| (name.as_str(), source.0 / total, source.1.map(|part| part * run.total_tokens as f64)))
        .collect();
    let value = |source: &(f64, Option<f64>, f64, f64)| SourceValue { value: source.2, error: source.3 };
    let values = names.iter().cloned().zip(case.sources.iter().map(value)).collect();
    let stage = StageUpdate { name: "next".into(), start_tokens: 0, values };
    let rule = Rule { limit: case.limit, floor: case.floor, max_repeat: Some(2.0), seed: 1 };
    Ok(update(&file(&sources), run, &[stage], rule)?.stages.remove(0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_constraint_holds(case in case(true)) {
        let found = run(&case);
        // A random mixture may be impossible; then the error says so and there is nothing to check.
        prop_assume!(found.is_ok());
        let stage = found.unwrap();
        let sum: f64 = stage.sources.iter().map(|source| source.share).sum();
        prop_assert!((sum - 1.0).abs() < 1e-12);
        prop_assert_eq!(stage.sources.iter().map(|source| source.sequences).sum::<u64>(), case.sequences);
        let (shares, before): (Vec<f64>, Vec<f64>) =
            stage.sources.iter().map(|source| (source.share, source.before)).unzip();
        prop_assert!(divergence(&shares, &before) <= case.limit);
        for source in &stage.sources {
            prop_assert!(source.share >= case.floor - 1e-12);
            prop_assert!(source.repeat.is_none_or(|repeat| repeat <= 2.0 + 1e-9));
            prop_assert!(source.interval.0 <= source.share && source.share <= source.interval.1);
            prop_assert!((0.0..=1.0).contains(&source.interval.0) && source.interval.1 <= 1.0 + 1e-12);
        }
    }

    #[test]
    fn a_better_value_never_lowers_a_share(case in case(true), which in 0usize..8, gain in 0.0..3.0f64) {
        let which = which % case.sources.len();
        let mut better = case.clone();
        better.sources[which].2 += gain;
        let (found, then) = (run(&case), run(&better));
        prop_assume!(found.is_ok() && then.is_ok());
        let (found, then) = (found.unwrap(), then.unwrap());
        // Rounding moves a share by less than two sequences.
        let step = 2.0 / case.sequences as f64;
        prop_assert!(then.sources[which].share >= found.sources[which].share - step);
    }

    #[test]
    fn without_bounds_odds_follow_the_formula(case in case(false)) {
        let found = run(&case);
        prop_assume!(found.is_ok());
        let stage = found.unwrap();
        // q_i is in proportion to p_i exp(eta (s_i - max s)), up to the rounding to sequences.
        let step = 1.0 / case.sequences as f64;
        let most = stage.sources.iter().map(|source| source.shrunk).fold(f64::NEG_INFINITY, f64::max);
        let weight = |source: &MixedSource| source.before * (stage.eta * (source.shrunk - most)).exp();
        let weights: Vec<f64> = stage.sources.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        for (source, weight) in stage.sources.iter().zip(&weights) {
            prop_assert!((source.share - weight / total).abs() < 1.5 * step, "{} {}", source.share, weight / total);
        }
    }

    #[test]
    fn the_shares_are_the_best_of_the_region(case in case(true), tilts in prop::collection::vec(-1.0..1.0f64, 9)) {
        let exact = case.sources.iter().map(|source| (source.0, source.1, source.2, 0.0)).collect();
        let found = run(&Case { sources: exact, ..case.clone() });
        prop_assume!(found.is_ok());
        let stage = found.unwrap();
        // Another mixture within the constraints: a step towards random shares, as far as all of them hold.
        let own: Vec<f64> = stage.sources.iter().map(|source| source.share).collect();
        let raw: Vec<f64> = own.iter().zip(&tilts).map(|(share, tilt)| share * (3.0 * tilt).exp()).collect();
        let total: f64 = raw.iter().sum();
        let before: Vec<f64> = stage.sources.iter().map(|source| source.before).collect();
        let value = |(share, source): (&f64, &MixedSource)| share * source.value.value;
        let gain = |shares: &[f64]| shares.iter().zip(&stage.sources).map(value).sum::<f64>();
        for part in [0.001, 0.01, 0.1, 1.0] {
            let other: Vec<f64> =
                own.iter().zip(&raw).map(|(share, raw)| share + part * (raw / total - share)).collect();
            let tokens = (case.sequences * LENGTH) as f64;
            let holds = divergence(&other, &before) <= case.limit
                && other.iter().zip(&case.sources).all(|(share, source)| {
                    *share >= case.floor && source.1.is_none_or(|part| share * tokens <= 2.0 * part * tokens)
                });
            if holds {
                // Rounding costs at most a sequence of each source.
                let slack = 6.0 * own.len() as f64 * 3.0 / case.sequences as f64;
                prop_assert!(gain(&other) <= gain(&own) + slack, "{} {}", gain(&other), gain(&own));
            }
        }
    }
}
