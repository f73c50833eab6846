//! Gradients with noise below which the truth is known.

use super::*;
use crate::lab::random::Stream;
use crate::stats;

const WIDTH: usize = 64;
const PARTS: usize = 12;

fn normal(stream: &mut Stream) -> f64 {
    (-2.0 * (1.0 - stream.unit()).ln()).sqrt() * (std::f64::consts::TAU * stream.unit()).cos()
}

/// Two truths of length one with a known cosine.
fn truths(stream: &mut Stream, cosine: f64) -> [Vec<f64>; 2] {
    let unit = |vector: Vec<f64>| {
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector.iter().map(|x| x / norm).collect::<Vec<f64>>()
    };
    let one = unit((0..WIDTH).map(|_| normal(stream)).collect());
    let other: Vec<f64> = (0..WIDTH).map(|_| normal(stream)).collect();
    let along: f64 = one.iter().zip(&other).map(|(a, b)| a * b).sum();
    let across = unit(one.iter().zip(&other).map(|(a, b)| b - along * a).collect());
    let sine = (1.0 - cosine * cosine).sqrt();
    let mixed = one.iter().zip(&across).map(|(a, b)| cosine * a + sine * b).collect();
    [one, mixed]
}

/// `items` gradients of each truth, each with noise of length `noise * sqrt(WIDTH)`.
fn grams(stream: &mut Stream, truths: &[Vec<f64>], items: usize, noise: f64) -> LayerGrams {
    let names = (0..truths.len()).map(|number| number.to_string()).collect();
    let mut sums = PartSums::new(names, PARTS, vec![("all".to_owned(), 0..WIDTH)]).unwrap();
    for (group, truth) in truths.iter().enumerate() {
        for _ in 0..items {
            let row: Vec<f64> = truth.iter().map(|x| x + noise * normal(stream)).collect();
            sums.add(group, &row).unwrap();
        }
    }
    sums.finish().unwrap()
}

/// The corrected cosine holds the planted one within its interval in 95 % of seeds, whatever the noise; the raw one shrinks
/// with it.
#[test]
fn planted_cosines_are_recovered() {
    for (planted, noise, items) in [(0.0, 1.0, 120), (0.6, 1.0, 120), (0.9, 0.5, 60), (-0.5, 1.0, 120), (0.6, 0.1, 24)]
    {
        let rounds = 500;
        let (mut holds, mut raw, mut corrected) = (0, Vec::new(), Vec::new());
        for seed in 0..rounds {
            let mut stream = Stream::new(seed, &["cosines"]);
            let truths = truths(&mut stream, planted);
            let similarity = Similarity::of(grams(&mut stream, &truths, items, noise).whole());
            raw.push(similarity.raw_cosine(0, 1));
            // With this noise one seed in a hundred has a group that cannot be told from noise.
            let Some(cosine) = similarity.cosine(0, 1) else { continue };
            let (low, high) = cosine.interval.unwrap();
            holds += u32::from(low <= planted && planted <= high);
            corrected.push(cosine.value);
        }
        let share = f64::from(holds) / corrected.len() as f64;
        assert!(corrected.len() >= 490, "planted {planted}, noise {noise}: {} seeds", corrected.len());
        let (raw, corrected) = (stats::mean(&raw), stats::mean(&corrected));
        // Two standard errors of a share of 500 below 95 %.
        assert!(share >= 0.93, "planted {planted}, noise {noise}: {share}");
        assert!((corrected.value - planted).abs() < 0.02, "planted {planted}, noise {noise}: {corrected:?}");
        if planted != 0.0 && noise >= 0.5 {
            // Noise of the means adds noise^2 * WIDTH / items to both squared norms.
            let shrunk = planted / (1.0 + noise * noise * WIDTH as f64 / items as f64);
            assert!((raw.value - shrunk).abs() < 0.02, "planted {planted}: {raw:?} for {shrunk}");
            assert!(raw.interval.unwrap().0.abs().max(raw.interval.unwrap().1.abs()) < planted.abs() - 0.1);
        }
    }
}

/// Of noise alone there is no cosine, and layers of it are in conflict as often as intervals say.
#[test]
fn noise_has_no_cosine() {
    let rounds = 400;
    let (mut above, mut conflict, mut agree) = (0, 0, 0);
    for seed in 0..rounds {
        let mut stream = Stream::new(seed, &["noise"]);
        let grams = grams(&mut stream, &[vec![0.0; WIDTH], vec![0.0; WIDTH]], 24, 1.0);
        let similarity = Similarity::of(grams.whole());
        above += usize::from(similarity.above_noise(0));
        assert_eq!(
            similarity.cosine(0, 1).is_some(),
            similarity.above_noise(0) && similarity.above_noise(1) && similarity.cosine(1, 0).is_some()
        );
        conflict += usize::from(similarity.relation(0, 1) == Relation::Conflict);
        agree += usize::from(similarity.relation(0, 1) == Relation::Agree);
        assert!(similarity.raw_cosine(0, 0) > 0.999_999, "with itself even noise has a raw cosine of one");
    }
    for count in [above, conflict, agree] {
        assert!(count <= rounds as usize / 20, "{above} {conflict} {agree}");
    }
}

/// Two tasks over the same items share their noise: part by part that is left out.
#[test]
fn noise_in_common_is_no_similarity() {
    let mut values = Vec::new();
    for seed in 0..300 {
        let mut stream = Stream::new(seed, &["common"]);
        let truths = truths(&mut stream, 0.0);
        let names = vec!["a".to_owned(), "b".to_owned()];
        let mut sums = PartSums::new(names, PARTS, vec![("all".to_owned(), 0..WIDTH)]).unwrap();
        for _ in 0..60 {
            let noise: Vec<f64> = (0..WIDTH).map(|_| normal(&mut stream)).collect();
            for (group, truth) in truths.iter().enumerate() {
                sums.add(group, &truth.iter().zip(&noise).map(|(x, e)| x + e).collect::<Vec<_>>()).unwrap();
            }
        }
        let similarity = Similarity::of(sums.finish().unwrap().whole());
        values.push(similarity.product(0, 1).value);
        assert!(similarity.raw_cosine(0, 1) > 0.2);
    }
    let (low, high) = stats::mean(&values).interval.unwrap();
    assert!(low < 0.0 && 0.0 < high, "{low} {high}");
}
