//! Lines and curves that are planted, nulls, and lists of which nothing can be told.

use super::*;
use crate::lab::random::Stream;

fn normal(stream: &mut Stream) -> f64 {
    (-2.0 * (1.0 - stream.unit()).ln()).sqrt() * (std::f64::consts::TAU * stream.unit()).cos()
}

fn normals(stream: &mut Stream, count: usize) -> Vec<f64> {
    (0..count).map(|_| normal(stream)).collect()
}

fn relation(predicted: &[f64], realised: &[f64]) -> Relation {
    Relation::of(predicted, realised, 7).unwrap()
}

fn covers(interval: Option<Interval>, truth: f64) -> bool {
    interval.is_some_and(|found| found.low <= truth && truth <= found.high)
}

/// `realised = 0.3 + 2 predicted + noise`: correlation `2 / sqrt(4 + noise^2)`.
#[test]
fn a_planted_line_is_found() {
    let mut stream = Stream::new(1, &["line"]);
    let predicted = normals(&mut stream, 4000);
    let realised: Vec<f64> = predicted.iter().map(|x| 0.3 + 2.0 * x + 1.5 * normal(&mut stream)).collect();
    let found = relation(&predicted, &realised);
    let (pearson, slope) = (found.pearson.unwrap(), found.slope.unwrap());
    assert!((pearson.value - 0.8).abs() < 4.0 * 0.36 / 4000f64.sqrt() && covers(found.pearson, 0.8), "{pearson:?}");
    assert!((slope.value - 2.0).abs() < 4.0 * 1.5 / 4000f64.sqrt() && covers(found.slope, 2.0), "{slope:?}");
    // Theory's half widths: 1.96 (1 - r^2) / sqrt(n) and 1.96 noise / sqrt(n).
    for (interval, half) in [(pearson, 0.011_16), (slope, 0.046_48)] {
        assert!(((interval.high - interval.low) / (2.0 * half) - 1.0).abs() < 0.08, "{interval:?}");
    }
    assert!((found.intercept.unwrap() - 0.3).abs() < 0.1 && (found.spearman.unwrap() - 0.786).abs() < 0.03);
    assert!(found.ratio.unwrap().low < 2.0 && found.ratio.unwrap().high > 2.0, "predictions are around zero");
    assert!((found.mean_realised.unwrap() - 0.3).abs() < 0.2 && found.mean_predicted.unwrap().abs() < 0.07);
    assert_eq!((found.batches, found.diverged), (4000, 0));
    assert_eq!(relation(&predicted, &realised), found, "draws are the same every time");
}

/// numpy.polyfit, scipy.stats.pearsonr and spearmanr of the same six pairs.
#[test]
fn small_lists_by_hand() {
    let found = relation(&[1.0, 2.0, 3.0, 4.0, 5.0, -1.0], &[1.5, 1.5, 3.5, 3.0, 6.0, 0.0]);
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
    near(found.pearson.unwrap().value, 0.925_672_004_098_602);
    near(found.slope.unwrap().value, 25.0 / 28.0);
    near(found.intercept.unwrap(), 0.5);
    near(found.spearman.unwrap(), 0.927_633_657_043_917_5);
    near(found.ratio.unwrap().value, 57.0 / 56.0);
    near(found.sign_agreement.unwrap(), 5.0 / 6.0);
}

/// The ratio to predictions of one is the mean, here of the quantiles of an exponential distribution: its interval leans
/// to the right. scipy.stats.bootstrap (BCa, 200,000 resamples, the same levels); percentiles would end at 1.325.
#[test]
fn the_interval_of_a_skewed_mean_is_scipys() {
    let skewed: Vec<f64> = (0..40).map(|i| -f64::ln(1.0 - (f64::from(i) + 0.5) / 40.0)).collect();
    let found = relation(&[1.0; 40], &skewed).ratio.unwrap();
    assert!((found.value - 0.991_361_700_960_419_2).abs() < 1e-12);
    assert!((found.low - 0.7306).abs() < 0.02 && (found.high - 1.3769).abs() < 0.025, "{found:?}");
}

/// Intervals hold 0 of lists that have nothing to do with each other, and a planted 0.8, as often as they say: within four
/// deviations of the binomial.
#[test]
fn intervals_cover() {
    const ROUNDS: usize = 400;
    let mut stream = Stream::new(2, &["coverage"]);
    let mut hits = [0usize; 6];
    for round in 0..ROUNDS {
        let predicted: Vec<f64> = (0..60).map(|_| 0.5 + normal(&mut stream)).collect();
        let noise = normals(&mut stream, 60);
        let line: Vec<f64> = predicted.iter().zip(&noise).map(|(x, noise)| 1.0 * x + 0.75 * noise).collect();
        let null = Relation::of(&predicted, &noise, round as u64).unwrap();
        let planted = Relation::of(&predicted, &line, round as u64).unwrap();
        let found = [
            covers(null.pearson, 0.0),
            covers(null.slope, 0.0),
            covers(null.ratio, 0.0),
            covers(planted.pearson, 0.8),
            covers(planted.slope, 1.0),
            covers(planted.ratio, 1.0),
        ];
        hits.iter_mut().zip(found).for_each(|(hits, found)| *hits += usize::from(found));
    }
    let slack = 4.0 * (0.95 * 0.05 / ROUNDS as f64).sqrt();
    let shares = hits.map(|hits| hits as f64 / ROUNDS as f64);
    assert!(shares.iter().all(|share| (share - 0.95).abs() < slack), "{shares:?}");
}

const STEPS: [f64; 10] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// Relations of `eta v - eta^2 c`, measured as differences of f32 losses around 3.
fn quadratic(values: &[f64], curvatures: &[f64]) -> Vec<(f64, Relation)> {
    let of_step = |&eta: &f64| {
        let predicted: Vec<f64> = values.iter().map(|v| eta * v).collect();
        let decrease = |(v, c): (&f64, &f64)| f64::from(3.0f32) - f64::from((3.0 - eta * v + eta * eta * c) as f32);
        let realised: Vec<f64> = values.iter().zip(curvatures).map(decrease).collect();
        (eta, relation(&predicted, &realised))
    };
    STEPS.iter().map(of_step).collect()
}

/// With curvatures of their own the correlation is `1 / sqrt(1 + eta^2)` of deviations that are alike: 0.995 at 0.1 and
/// 0.707 at 1. Steps below 1e-6 are lost in rounding, which is no break.
#[test]
fn curvature_that_varies_breaks_the_correlation_at_the_expected_step() {
    let mut stream = Stream::new(3, &["quadratic"]);
    let values: Vec<f64> = (0..200).map(|_| 1.0 + normal(&mut stream)).collect();
    let curvatures: Vec<f64> = (0..200).map(|_| 4.0 + normal(&mut stream)).collect();
    let relations = quadratic(&values, &curvatures);
    let range = linear_range(&relations).unwrap();
    assert_eq!((range.last, range.breaks_at), (0.1, Some(1.0)));
    assert!((1e-7..=1e-6).contains(&range.first), "{range:?}");
    assert!(!relations[0].1.holds() && !relations[9].1.holds());
    let broken = &relations[8].1;
    assert!((broken.pearson.unwrap().value - 0.707).abs() < 0.15, "{broken:?}");
    let backwards: Vec<_> = relations.iter().rev().copied().collect();
    assert_eq!(break_point(&backwards), Some(1.0), "in any order");
    assert_eq!(break_point(&relations[..8]), None, "not broken yet");
    assert_eq!((break_point(&relations[8..]), linear_range(&relations[8..])), (None, None));
    // One step out of line is a break, though the next one holds.
    let mut dented = relations.clone();
    dented[5].1 = dented[9].1;
    assert_eq!(break_point(&dented), Some(1e-3));
}

/// With curvature in proportion to the value the correlation stays one and the slope is `1 - 2 eta`.
#[test]
fn curvature_in_proportion_breaks_the_slope() {
    let mut stream = Stream::new(4, &["proportional"]);
    let values: Vec<f64> = (0..200).map(|_| 1.0 + normal(&mut stream)).collect();
    let relations = quadratic(&values, &values.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
    assert_eq!(break_point(&relations), Some(0.1));
    let (pearson, slope) = (relations[7].1.pearson.unwrap(), relations[7].1.slope.unwrap());
    assert!(pearson.value > 0.999 && (slope.value - 0.8).abs() < 1e-4 && slope.high - slope.low < 1e-4);
}

#[test]
fn what_cannot_be_told_is_none() {
    let none = relation(&[], &[]);
    let json = serde_json::to_value(none).unwrap();
    assert_eq!(json["batches"], 0);
    let unknown = json.as_object().unwrap().iter().filter(|(_, value)| value.is_null()).count();
    assert_eq!(unknown, 8, "{json}");
    let two = relation(&[1.0, 2.0], &[1.0, 2.0]);
    assert_eq!((two.pearson, two.spearman, two.slope, two.intercept, two.ratio), (None, None, None, None, None));
    assert_eq!((two.sign_agreement, two.mean_realised), (Some(1.0), Some(1.5)));
    // 0.1 three times has a mean that is not quite 0.1.
    let flat = relation(&[0.1; 3], &[1.0, 2.0, 4.0]);
    assert_eq!((flat.pearson, flat.spearman, flat.slope, flat.intercept), (None, None, None, None));
    assert!(flat.ratio.is_some());
    let still = relation(&[1.0, 2.0, 4.0], &[0.1; 3]);
    assert_eq!((still.pearson, still.slope.unwrap().value, still.holds()), (None, 0.0, false));
    assert_eq!(relation(&[0.0; 4], &[1.0, 0.0, -1.0, 2.0]).ratio, None);
    let exact = relation(&[1.0, 2.0, 4.0], &[1.0, 2.0, 4.0]);
    assert_eq!(exact.slope, Some(Interval { value: 1.0, low: 1.0, high: 1.0 }));
    assert!(exact.holds());
    let wild = relation(&[1.0, 2.0, 4.0], &[1.0, f64::INFINITY, f64::NAN]);
    assert_eq!((wild.diverged, wild.pearson, wild.mean_realised, wild.holds()), (2, None, None, false));
    assert_eq!(wild.mean_predicted, Some(7.0 / 3.0));
}

#[test]
fn bad_lists_are_refused() {
    let message = Relation::of(&[1.0, f64::NAN], &[1.0], 0).unwrap_err().to_string();
    for wanted in ["for each of 2 predicted ones, found 1", "batch 1: expected a finite predicted decrease, found NaN"]
    {
        assert!(message.contains(wanted), "{message}");
    }
}
