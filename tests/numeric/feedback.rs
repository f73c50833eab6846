//! Feedback sets, passes over documents and probes against whole gradients, item by item.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use veval::ckpt::Address;
use veval::feedback::bundle::part_gradients;
use veval::feedback::gradset::dot;
use veval::feedback::probe::{AdamState, Probe};
use veval::feedback::value::DocumentAt;
use veval::feedback::{Collect, Compared, Direction, Target};
use veval::kernels::cpu::{Cpu, Isa};
use veval::kernels::tape::Tape;
use veval::lab::train::{AdamW, Lesson, Moments, batch_gradient};
use veval::model::{Blueprint, Decoder, Loss, Objective, Predicted, Reach, Summed, WeightGradients};
use veval::request::{GradSpan, SiteValues};

use crate::support::{cases, expected, open};

pub const MEMORY: usize = 1 << 30;

pub fn cpu() -> Cpu {
    Cpu::new(Isa::best(), 2)
}

/// Parts of one text, as items.
pub fn targets(tokens: &[u32]) -> Vec<Target> {
    let target = |from: usize, to: usize, start: usize| Target {
        id: format!("{from}-{to}"),
        tokens: tokens[from..to].to_vec(),
        start,
    };
    vec![target(0, 17, 9), target(3, 12, 1), target(0, 6, 5), target(5, 17, 3), target(2, 9, 4)]
}

/// Mean loss of one item and its gradient, whole and alone.
pub fn whole(decoder: &Decoder<Tape<Cpu>>, item: &Target) -> (f64, Direction) {
    let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
    let span = GradSpan { start: item.start, end: item.tokens.len() };
    let objective = Objective { tokens: &item.tokens, loss: Loss::Nll { span, mean: true } };
    let reversed = decoder.reverse(&[objective], Reach { memory: MEMORY, ..Reach::default() }, &mut weights).unwrap();
    (reversed.losses[0], weights.into_parameters().unwrap())
}

pub fn near(found: f64, wanted: f64, scale: f64, name: &str) {
    assert!((found - wanted).abs() <= 1e-5 * scale + 1e-12, "{name}: {found} {wanted}");
}

#[test]
fn parts_of_unequal_size_have_the_mean_of_all_items() {
    let (name, path) = &cases()[0];
    let model = open(path, Tape::new(cpu()));
    let decoder = &model.decoder;
    let items = targets(&expected(path).tokens);
    let names: BTreeSet<String> = decoder.leaves().parameters().keys().map(|name| (*name).to_owned()).collect();
    let found = part_gradients(decoder, &names, &items, 2, MEMORY, &mut |_, _| Ok(())).unwrap();
    assert_eq!(found.items, [3, 2]);
    let alone: Vec<(f64, Direction)> = items.iter().map(|item| whole(decoder, item)).collect();
    let own = found.mean();
    for (name, values) in &own {
        for (at, value) in values.values.iter().enumerate() {
            let mean = alone.iter().map(|(_, own)| f64::from(own[name].values[at])).sum::<f64>() / 5.0;
            near(f64::from(*value), mean, 1.0, name);
        }
    }
    // Items of even number are part 0.
    let gram = found.gram();
    let sum = |one: usize, other: usize| -> f64 {
        let of = |part: usize| alone.iter().skip(part).step_by(2);
        let count = of(one).count() as f64 * of(other).count() as f64;
        of(one).map(|(_, a)| of(other).map(|(_, b)| dot(a, b)).sum::<f64>()).sum::<f64>() / count
    };
    for (at, value) in gram.iter().enumerate() {
        near(*value, sum(at / 2, at % 2), gram[0].max(gram[3]), name);
    }
    let evidence = found.evidence();
    near(evidence.split_half_cosine.unwrap(), gram[1] / (gram[0] * gram[3]).sqrt(), 1.0, name);
    let norms: Vec<f64> = alone.iter().map(|(_, own)| dot(own, own).sqrt()).collect();
    near(evidence.norm_mean, norms.iter().sum::<f64>() / 5.0, norms[0], name);
}

#[test]
fn documents_have_the_same_numbers_in_any_batch_and_memory_for_every_family() {
    for (name, path) in cases() {
        let model = open(&path, Tape::new(cpu()));
        let decoder = &model.decoder;
        let items = targets(&expected(&path).tokens);
        let gradients: Vec<Direction> = items.iter().map(|item| whole(decoder, item).1).collect();
        let scale = |values: &SiteValues| SiteValues {
            shape: values.shape.clone(),
            values: (0..values.values.len()).map(|at| ((at * 37 + 11) % 101) as f32 * 0.1).collect(),
        };
        let scaling: Direction = gradients[0].iter().map(|(name, own)| (name.clone(), scale(own))).collect();
        let of = [gradients[..2].to_vec(), gradients[2..].to_vec()];
        let compared = Compared::new(decoder, &of, Some(&scaling)).unwrap();
        let run = |batch_tokens: usize, memory: usize| -> Vec<(f64, DocumentAt)> {
            let mut all = Vec::new();
            let how = Collect { mean: true, batch_tokens, memory };
            compared
                .documents(&items, how, &mut |batch| {
                    all.extend(batch);
                    Ok(())
                })
                .unwrap();
            all
        };
        let found = run(1000, MEMORY);
        assert_eq!(found, run(1, 0), "{name}");
        assert_eq!(found, run(1000, 0), "{name}");
        for (own, (loss, at)) in items.iter().zip(&found) {
            let (wanted, gradient) = whole(decoder, own);
            near(*loss, wanted, 1.0, &name);
            let norm = dot(&gradient, &gradient);
            near(at.squared_norm, norm, norm, &name);
            // The step goes against the scaled gradient.
            let step: Direction = gradient
                .iter()
                .map(|(name, own)| {
                    let values = own.values.iter().zip(&scaling[name].values).map(|(g, s)| -g * s).collect();
                    (name.clone(), SiteValues { shape: own.shape.clone(), values })
                })
                .collect();
            let taken = at.step.as_ref().unwrap();
            near(taken.own, dot(&gradient, &step), 10.0 * dot(&gradient, &step).abs(), &name);
            near(taken.squared_norm, dot(&step, &step), 10.0 * dot(&step, &step), &name);
            for (target, parts) in of.iter().enumerate() {
                for (part, direction) in parts.iter().enumerate() {
                    let norms = (dot(direction, direction) * norm).sqrt();
                    near(at.products[target][part], dot(direction, &gradient), norms, &name);
                    near(taken.products[target][part], dot(direction, &step), 10.0 * norms, &name);
                }
            }
        }
    }
}

#[test]
fn losses_without_gradients_are_those_of_the_reverse_pass_for_every_family() {
    for (name, path) in cases() {
        let model = open(&path, Tape::new(cpu()));
        let items = targets(&expected(&path).tokens);
        let predicted: Vec<Predicted<'_>> =
            items.iter().map(|item| Predicted { tokens: &item.tokens, start: item.start }).collect();
        let plain = open(&path, cpu()).decoder;
        let losses = plain.mean_losses(&predicted, 1000).unwrap();
        assert_eq!(losses, plain.mean_losses(&predicted, 1).unwrap(), "{name}");
        // The parameters that a checkpoint has by name make the same decoder.
        let (blueprint, weights) = Blueprint::open(&Address::from(path.as_path())).unwrap();
        assert_eq!(
            losses,
            blueprint.decoder(cpu(), &weights).unwrap().mean_losses(&predicted, 1000).unwrap(),
            "{name}"
        );
        for (item, loss) in items.iter().zip(losses) {
            near(loss, whole(&model.decoder, item).0, 1.0, &name);
        }
    }
    let (_, path) = &cases()[0];
    let tokens = expected(path).tokens;
    let bad = [Predicted { tokens: &tokens, start: 0 }, Predicted { tokens: &tokens[..3], start: 3 }];
    let error = open(path, cpu()).decoder.mean_losses(&bad, 64).unwrap_err().to_string();
    assert!(error.contains("item 0") && error.contains("item 1"), "{error}");
}

/// A probe at the shipped lab's checkpoint in the middle of the run, whose target is its own sealed items.
struct Lab {
    blueprint: Blueprint,
    weights: BTreeMap<String, Vec<f32>>,
    items: Vec<Vec<u32>>,
    sequences: Vec<Vec<u32>>,
}

impl Lab {
    fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/lab/midrun");
        let (blueprint, weights) = Blueprint::open(&Address::from(path.as_path())).unwrap();
        let tokens = |seed: u32, count: u32| (0..count).map(|at| (seed * 131 + at * at * 7) % 1024).collect();
        Self {
            blueprint,
            weights,
            items: (0..6).map(|seed| tokens(seed, 20)).collect(),
            sequences: (10..13).map(|seed| tokens(seed, 33)).collect(),
        }
    }

    fn gradient(&self, sequences: &[Vec<u32>]) -> Direction {
        let lessons: Vec<Lesson<'_>> = sequences.iter().map(|tokens| Lesson::plain(tokens)).collect();
        let found = batch_gradient(&self.blueprint, &cpu(), &self.weights, &lessons, 4).unwrap().gradient;
        let shapes = self.blueprint.parameters();
        found
            .into_iter()
            .map(|(name, values)| (name.clone(), SiteValues { shape: shapes[&name].clone(), values }))
            .collect()
    }
}

#[test]
fn steps_do_what_the_gradient_says_the_better_the_smaller_they_are() {
    let lab = Lab::open();
    let sealed = vec![lab.items.iter().map(|tokens| Predicted { tokens, start: 1 }).collect::<Vec<_>>()];
    // All items have as many predictions, so the mean over items is the mean over predictions.
    let direction = lab.gradient(&lab.items);
    let gradient = lab.gradient(&lab.sequences);
    let zero = |values: &Vec<f32>| Moments::zero(values.len());
    let adam = AdamState {
        optimizer: AdamW { weight_decay: 0.0, eps: 1e-12, ..AdamW::default() },
        step: 0,
        moments: lab.weights.iter().map(|(name, values)| (name.clone(), zero(values))).collect(),
        clip: None,
    };
    let probe = |adam: &AdamState, rates: &[f64]| {
        let kernels = cpu();
        let probe = Probe {
            blueprint: &lab.blueprint,
            kernels: &kernels,
            weights: &lab.weights,
            direction: &direction,
            sealed: &sealed,
            adam: Some(adam),
            at_once: 4,
        };
        let before = probe.loss(&lab.weights).unwrap();
        probe.steps(&lab.sequences, rates, before).unwrap()
    };
    let rates = [4e-4, 2e-4, 1e-4];
    let steps = probe(&adam, &rates);
    let along = dot(&direction, &gradient);
    let errors: Vec<f64> = rates
        .iter()
        .zip(&steps)
        .map(|(rate, steps)| {
            // What is predicted is the rate times the inner product of the two gradients.
            assert!((steps.sgd.predicted / (rate * along) - 1.0).abs() < 1e-3, "{:?} {along}", steps.sgd);
            (steps.sgd.realised - steps.sgd.predicted).abs() / rate
        })
        .collect();
    // The error of the linear model is of second order: half the rate, half the error per rate.
    for pair in errors.windows(2) {
        assert!((1.5..2.7).contains(&(pair[0] / pair[1])), "{errors:?}");
    }
    // From zero moments the first step of Adam is the sign of the gradient, whatever its size.
    let signs: f64 = direction
        .iter()
        .flat_map(|(name, own)| own.values.iter().zip(&gradient[name].values))
        .map(|(d, g)| f64::from(*d) * f64::from(g.signum()) * f64::from(u8::from(*g != 0.0)))
        .sum();
    for (rate, steps) in rates.iter().zip(&steps) {
        let found = steps.adam.unwrap().predicted / (rate * signs);
        assert!((found - 1.0).abs() < 2e-2, "{found}");
    }
    // A clip that halves the gradient changes a step whose moments are there, and decay shrinks matrices only.
    let full = |values: &Vec<f32>| Moments { exp_avg: vec![0.0; values.len()], exp_avg_sq: vec![1.0; values.len()] };
    let moments: BTreeMap<String, Moments> =
        lab.weights.iter().map(|(name, values)| (name.clone(), full(values))).collect();
    let far = AdamState { step: 1000, moments, ..adam };
    let norm = dot(&gradient, &gradient).sqrt();
    let clipped = AdamState { clip: Some(norm / 2.0), ..far.clone() };
    let [far, clipped] = [&far, &clipped].map(|state| probe(state, &[1e-4])[0].adam.unwrap().predicted);
    assert!((clipped / far - 0.5).abs() < 1e-2, "{clipped} {far}");
}
