//! Gradients drawn at random with a known truth below them: what is planted is found, what is not there is not, and
//! intervals hold the truth as often as they say.

use super::tests::target;
use super::*;
use crate::lab::random::Stream;
use crate::stats;

const WIDTH: usize = 32;

pub(super) fn normal(stream: &mut Stream) -> f64 {
    (-2.0 * (1.0 - stream.unit()).ln()).sqrt() * (std::f64::consts::TAU * stream.unit()).cos()
}

pub(super) fn normals(stream: &mut Stream, scale: f64) -> Vec<f64> {
    (0..WIDTH).map(|_| scale * normal(stream)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn plus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Parts of a target: the truth and noise of their own.
pub(super) struct Noisy {
    pub truth: Vec<f64>,
    parts: Vec<Vec<f64>>,
}

impl Noisy {
    pub fn new(stream: &mut Stream, truth: Vec<f64>, parts: usize, noise: f64) -> Self {
        let parts = (0..parts).map(|_| plus(&truth, &normals(stream, noise))).collect();
        Self { truth, parts }
    }

    pub fn target(&self) -> Target {
        let gram = self.parts.iter().flat_map(|a| self.parts.iter().map(|b| dot(a, b))).collect();
        Target { parts: vec![1.0; self.parts.len()], grams: vec![gram], ..target("t", "d", 1) }
    }

    pub fn document(&self, number: usize, source: &str, tokens: u32, gradient: &[f64]) -> Document {
        let products: Vec<f64> = self.parts.iter().map(|part| dot(part, gradient)).collect();
        let mut document = super::tests::document(&number.to_string(), source, tokens, &[&products]);
        document.at[0].squared_norm = dot(gradient, gradient);
        document
    }

    pub fn table(&self, gradients: &[Vec<f64>]) -> ValueTable {
        let checkpoints = vec![Checkpoint { step: 1, weight: 1.0 }];
        let setup = Setup { targets: vec![self.target()], checkpoints, measure: Measure::Gradient };
        let mut table = ValueTable::new(setup).unwrap();
        for (number, gradient) in gradients.iter().enumerate() {
            table.push(&self.document(number, "s", 1 + (number % 7) as u32, gradient)).unwrap();
        }
        table
    }

    pub fn values(&self, gradients: &[Vec<f64>]) -> Values {
        self.table(gradients).finish().unwrap()
    }
}

/// Twenty documents of four hundred have a part of the target's gradient; nobody else has.
#[test]
fn planted_documents_rank_first() {
    for seed in 0..20 {
        let mut stream = Stream::new(seed, &["planted"]);
        let truth = normals(&mut stream, 1.0);
        let world = Noisy::new(&mut stream, truth.clone(), 2, 0.3);
        let planted: Vec<usize> = (0..400).step_by(20).collect();
        let gradients: Vec<Vec<f64>> = (0..400)
            .map(|number| {
                let noise = normals(&mut stream, 0.5);
                if number % 20 == 0 { plus(&noise, &truth) } else { noise }
            })
            .collect();
        let values = world.values(&gradients);
        let combined: Vec<f64> = values.combined().iter().copied().map(f64::from).collect();
        let found = super::tests_reliability::plain(&combined, &vec![0.0; 400], &planted, 20).unwrap();
        assert_eq!(found.value, 1.0, "seed {seed}");
        assert!(found.beats_overlap() && found.beats_random());
        let rows: Vec<ValueRow> = values.rows().collect();
        assert!(planted.iter().all(|&number| rows[number].pct > 95.0));
        assert!(values.split_halves()[0].cosine[0].unwrap() > 0.7 && values.combined_split_half().unwrap() > 0.5);
    }
}

/// With a target gradient of noise alone the mean value is zero within its interval as often as that says, though the
/// documents have a direction in common; so it is of halves, of which there are two, and of more parts.
#[test]
fn random_feedback_is_worth_nothing() {
    for parts in [2, 8] {
        let rounds = 400;
        let (mut holds, mut means) = (0, Vec::new());
        for seed in 0..rounds {
            let mut stream = Stream::new(seed, &["null"]);
            let world = Noisy::new(&mut stream, vec![0.0; WIDTH], parts, 1.0);
            let common = normals(&mut stream, 0.5);
            let gradients: Vec<Vec<f64>> = (0..40).map(|_| plus(&common, &normals(&mut stream, 1.0))).collect();
            let source = world.values(&gradients).by_source(|_| true).remove(0);
            let (low, high) = source.targets[0].interval.unwrap();
            holds += u32::from(low < 0.0 && 0.0 < high);
            means.push(source.targets[0].value);
            assert_eq!(source.combined.value > 0.0, source.targets[0].value > 0.0);
        }
        let share = f64::from(holds) / rounds as f64;
        assert!(share > 0.94, "{parts} parts: {share}");
        let (low, high) = stats::mean(&means).interval.unwrap();
        assert!(low < 0.0 && 0.0 < high, "{parts} parts: {low} {high}");
    }
}

/// A document's true value lies within 1.96 standard errors in 95 % of cases.
#[test]
fn standard_errors_of_documents_are_right() {
    for parts in [2, 6] {
        let (mut holds, mut all) = (0u32, 0u32);
        for seed in 0..60 {
            let mut stream = Stream::new(seed, &["errors"]);
            let truth = normals(&mut stream, 1.0);
            let world = Noisy::new(&mut stream, truth, parts, 1.5);
            let gradients: Vec<Vec<f64>> =
                (0..60).map(|number| normals(&mut stream, 0.1 + 0.05 * f64::from(number))).collect();
            for (row, gradient) in world.values(&gradients).rows().zip(&gradients) {
                let error = f64::from(row.targets["value_t"]) - dot(&world.truth, gradient);
                holds += u32::from(error.abs() < 1.96 * f64::from(row.targets["value_se_t"]));
                all += 1;
            }
        }
        let share = f64::from(holds) / f64::from(all);
        assert!((0.93..0.965).contains(&share), "{parts} parts: {share}");
    }
}

/// A source's true mean by tokens lies within its interval in 95 % of cases or a few more.
#[test]
fn intervals_of_sources_hold_the_truth() {
    for (parts, noise) in [(8, 0.2), (8, 2.0), (2, 0.5)] {
        let (mut holds, rounds) = (0, 400);
        for seed in 0..rounds {
            let mut stream = Stream::new(seed, &["sources"]);
            let (truth, common) = (normals(&mut stream, 1.0), normals(&mut stream, 0.3));
            let wanted = dot(&truth, &common);
            let world = Noisy::new(&mut stream, truth, parts, noise);
            let gradients: Vec<Vec<f64>> = (0..60).map(|_| plus(&common, &normals(&mut stream, 1.0))).collect();
            let (low, high) = world.values(&gradients).by_source(|_| true)[0].targets[0].interval.unwrap();
            holds += u32::from(low < wanted && wanted < high);
        }
        let share = f64::from(holds) / rounds as f64;
        assert!(share > 0.94, "{parts} parts, noise {noise}: {share}");
    }
}

/// The mean gradient of a union of items is the mean of its parts by items, so the value does not depend on the parts.
#[test]
fn values_do_not_depend_on_how_items_are_shared_out() {
    let mut stream = Stream::new(4, &["additive"]);
    let items: Vec<Vec<f64>> = (0..12).map(|_| normals(&mut stream, 1.0)).collect();
    let gradient = normals(&mut stream, 1.0);
    let value = |cuts: &[usize]| {
        let mut from = 0;
        let parts: Vec<Vec<f64>> = cuts
            .iter()
            .map(|&to| {
                let sum = items[from..to].iter().fold(vec![0.0; WIDTH], |sum, item| plus(&sum, item));
                let count = (to - std::mem::replace(&mut from, to)) as f64;
                sum.iter().map(|x| x / count).collect()
            })
            .collect();
        let world = Noisy { truth: Vec::new(), parts };
        let mut target = world.target();
        let starts = std::iter::once(&0).chain(cuts);
        target.parts = cuts.iter().zip(starts).map(|(to, from)| (to - from) as f64).collect();
        let checkpoints = vec![Checkpoint { step: 1, weight: 1.0 }];
        let mut table =
            ValueTable::new(Setup { targets: vec![target], checkpoints, measure: Measure::Gradient }).unwrap();
        table.push(&world.document(0, "s", 3, &gradient)).unwrap();
        let row = table.finish().unwrap().rows().next().unwrap();
        (row.targets["value_t"], row.targets["cosine_t"])
    };
    let wanted = value(&[6, 12]);
    for cuts in [&[1, 12][..], &[3, 4, 12], &[2, 4, 6, 8, 10, 12]] {
        let found = value(cuts);
        assert!((found.0 - wanted.0).abs() < 1e-5 && (found.1 - wanted.1).abs() < 1e-5, "{found:?} {wanted:?}");
    }
}
