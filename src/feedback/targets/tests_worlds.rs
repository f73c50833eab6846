//! Worlds whose truth is known: a softmax over a linear map, where everything has a closed form, and a quadratic one.

use super::*;
use crate::lab::random::Stream;
use crate::stats;

const VOCABULARY: usize = 7;
const WIDTH: usize = 4;

/// Standard normal numbers by Box and Muller.
fn normals(stream: &mut Stream, count: usize) -> Vec<f64> {
    let mut draw = || (-2.0 * (1.0 - stream.unit()).ln()).sqrt() * (std::f64::consts::TAU * stream.unit()).cos();
    (0..count).map(|_| draw()).collect()
}

/// One position: what is below the softmax, and the true token.
#[derive(Clone)]
struct Position {
    hidden: Vec<f64>,
    truth: u32,
}

fn positions(stream: &mut Stream, count: usize) -> Vec<Position> {
    (0..count).map(|_| Position { hidden: normals(stream, WIDTH), truth: stream.below(VOCABULARY) as u32 }).collect()
}

/// `W h`, with `W [vocabulary, width]`.
fn times(matrix: &[f64], hidden: &[f64]) -> Vec<f64> {
    matrix.chunks(WIDTH).map(|row| row.iter().zip(hidden).map(|(w, h)| w * h).sum()).collect()
}

/// Mean loss and its gradient by `W`: `(p - q) h^T`, in f64 throughout.
fn loss_and_gradient(weights: &[f64], positions: &[Position], targets: &[SoftTarget]) -> (f64, Vec<f64>) {
    let (mut loss, mut gradient) = (0.0, vec![0.0; weights.len()]);
    let count = positions.len() as f64;
    for (position, target) in positions.iter().zip(targets) {
        let logits = times(weights, &position.hidden);
        let normalizer = logits.iter().map(|z| z.exp()).sum::<f64>().ln();
        let mut difference: Vec<f64> = logits.iter().map(|z| (z - normalizer).exp()).collect();
        loss += normalizer / count;
        for &(id, probability) in target.entries() {
            loss -= f64::from(probability) * logits[id as usize] / count;
            difference[id as usize] -= f64::from(probability);
        }
        for (row, difference) in gradient.chunks_mut(WIDTH).zip(&difference) {
            row.iter_mut().zip(&position.hidden).for_each(|(g, h)| *g += difference * h / count);
        }
    }
    (loss, gradient)
}

fn one_hot(positions: &[Position]) -> Vec<SoftTarget> {
    positions.iter().map(|position| SoftTarget::one_hot(position.truth)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn stepped(weights: &[f64], gradient: &[f64], eta: f64) -> Vec<f64> {
    weights.iter().zip(gradient).map(|(w, g)| w - eta * g).collect()
}

/// Slopes along a gradient for all tokens of the vocabulary.
fn slopes(positions: &[Position], down: &[f64], halves: Option<[&[f64]; 2]>) -> Vec<TokenSlopes> {
    let token = |position: &Position| {
        let slope = times(down, &position.hidden);
        let halves = halves.map(|halves| halves.map(|half| times(half, &position.hidden)));
        let candidate = |id: usize| Candidate {
            id: id as u32,
            slope: slope[id],
            halves: halves.as_ref().map(|[one, other]| [one[id], other[id]]),
        };
        TokenSlopes { truth: position.truth, candidates: (0..VOCABULARY).map(candidate).collect() }
    };
    positions.iter().map(token).collect()
}

struct World {
    weights: Vec<f64>,
    stream: Vec<Position>,
    down: Vec<f64>,
    feedback: Vec<Position>,
}

fn world(seed: u64) -> World {
    let mut random = Stream::new(seed, &["soft targets"]);
    let weights = normals(&mut random, VOCABULARY * WIDTH);
    let (stream, feedback) = (positions(&mut random, 12), positions(&mut random, 20));
    let down = loss_and_gradient(&weights, &feedback, &one_hot(&feedback)).1;
    World { weights, stream, down, feedback }
}

/// `V(q) = V(one-hot) + gain`, and no other target within the bound has a higher value.
#[test]
fn the_closed_form_is_the_best_there_is() {
    for seed in 0..20 {
        let world = world(seed);
        let value =
            |targets: &[SoftTarget]| dot(&world.down, &loss_and_gradient(&world.weights, &world.stream, targets).1);
        let plain = value(&one_hot(&world.stream));
        let best = design(&slopes(&world.stream, &world.down, None), 0.5).unwrap();
        let reached = value(&best.targets);
        assert!(
            (reached - plain - best.gain.best).abs() < 1e-12,
            "seed {seed}: {reached} - {plain} is {:?}",
            best.gain
        );
        assert!(best.gain.best > 0.0 && best.gain.shifted > 0);
        let mut random = Stream::new(seed, &["rivals"]);
        for _ in 0..200 {
            let rival: Vec<SoftTarget> = world
                .stream
                .iter()
                .map(|position| {
                    let weights: Vec<f64> = (0..VOCABULARY).map(|_| random.unit().powi(6)).collect();
                    let sum: f64 = weights.iter().sum();
                    let r: Vec<(u32, f64)> = (0u32..).zip(weights.iter().map(|w| w / sum)).collect();
                    SoftTarget::mixed(position.truth, 0.5 * random.unit(), &r).unwrap()
                })
                .collect();
            assert!(value(&rival) <= reached + 1e-12, "seed {seed}");
        }
    }
}

/// `dV/dq_v = -(G h)_v`, and the pieces of this module agree with the world's own arithmetic.
#[test]
fn the_value_is_linear_in_the_target() {
    let world = world(3);
    let position = &world.stream[..1];
    let slope = times(&world.down, &position[0].hidden);
    let value = |target: SoftTarget| dot(&world.down, &loss_and_gradient(&world.weights, position, &[target]).1);
    let truth = position[0].truth;
    let plain = value(SoftTarget::one_hot(truth));
    for other in (0..VOCABULARY as u32).filter(|&id| id != truth) {
        for alpha in [0.25, 0.5, 1.0] {
            let moved = value(SoftTarget::mixed(truth, alpha, &[(other, 1.0)]).unwrap());
            let wanted = alpha * (slope[truth as usize] - slope[other as usize]);
            assert!((moved - plain - wanted).abs() < 1e-12);
        }
    }
    let logits: Vec<f32> = times(&world.weights, &position[0].hidden).iter().map(|&z| z as f32).collect();
    let target = SoftTarget::mixed(truth, 0.5, &[((truth + 1) % VOCABULARY as u32, 1.0)]).unwrap();
    let by_logits = target.logit_gradient(&logits).unwrap();
    let own = loss_and_gradient(&world.weights, position, std::slice::from_ref(&target));
    assert!((target.loss(&logits).unwrap() - own.0).abs() < 1e-6);
    assert!((dot(&by_logits, &slope) - dot(&world.down, &own.1)).abs() < 1e-6);
}

/// `[L(theta) - L(theta - eta g)] / eta` goes to V, and half the step has half the error.
#[test]
fn finite_differences_agree() {
    let world = world(5);
    let best = design(&slopes(&world.stream, &world.down, None), 0.5).unwrap();
    let targets = one_hot(&world.feedback);
    let loss = |weights: &[f64]| loss_and_gradient(weights, &world.feedback, &targets).0;
    for targets in [one_hot(&world.stream), best.targets] {
        let step = loss_and_gradient(&world.weights, &world.stream, &targets).1;
        let value = dot(&world.down, &step);
        let error = |eta: f64| (loss(&world.weights) - loss(&stepped(&world.weights, &step, eta))) / eta - value;
        let errors: Vec<f64> = (0..6).map(|halvings| error(0.1 / f64::from(1 << halvings))).collect();
        for pair in errors.windows(2) {
            let ratio = pair[0] / pair[1];
            assert!((1.9..2.1).contains(&ratio), "{errors:?}");
        }
    }
}

/// Feedback that says nothing: the plain gain is positive all the same, the crossed one and the value are zero.
#[test]
fn random_feedback_gains_nothing_when_crossed() {
    let (mut values, mut best, mut crossed) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..400 {
        let world = world(seed);
        let mut random = Stream::new(seed, &["noise"]);
        let [one, other] = [(); 2].map(|()| normals(&mut random, VOCABULARY * WIDTH));
        let both: Vec<f64> = one.iter().zip(&other).map(|(a, b)| f64::midpoint(*a, *b)).collect();
        let found = design(&slopes(&world.stream, &both, Some([&one, &other])), 0.5).unwrap();
        let step = loss_and_gradient(&world.weights, &world.stream, &one_hot(&world.stream)).1;
        values.push(dot(&both, &step));
        best.push(found.gain.best);
        crossed.push(found.gain.crossed.unwrap());
    }
    let holds_zero = |values: &[f64]| {
        let (low, high) = stats::mean(values).interval.unwrap();
        low < 0.0 && 0.0 < high
    };
    assert!(holds_zero(&values) && holds_zero(&crossed), "{:?} {:?}", stats::mean(&values), stats::mean(&crossed));
    assert!(stats::mean(&best).interval.unwrap().0 > 0.5, "{:?}", stats::mean(&best));
}

/// A planted direction is found by both halves, so crossing costs nothing.
#[test]
fn a_planted_gain_survives_crossing() {
    let world = world(11);
    let tokens = slopes(&world.stream, &world.down, Some([&world.down, &world.down]));
    let gain = design(&tokens, 0.5).unwrap().gain;
    assert!((gain.crossed.unwrap() - gain.best).abs() < 1e-15);
}

/// Learning on designed targets lowers the feedback's loss faster than learning on the true tokens.
#[test]
fn designed_targets_teach_what_the_feedback_asks() {
    let better = (0..20).filter(|&seed| {
        let world = world(seed);
        let feedback = one_hot(&world.feedback);
        let run = |designed: bool| {
            let mut weights = world.weights.clone();
            for _ in 0..20 {
                let down = loss_and_gradient(&weights, &world.feedback, &feedback).1;
                let targets = if designed {
                    design(&slopes(&world.stream, &down, None), 0.5).unwrap().targets
                } else {
                    one_hot(&world.stream)
                };
                let step = loss_and_gradient(&weights, &world.stream, &targets).1;
                weights = stepped(&weights, &step, 0.05);
            }
            loss_and_gradient(&weights, &world.feedback, &feedback).0
        };
        run(true) < run(false)
    });
    assert_eq!(better.count(), 20);
}

/// With the targets in a file, other labels of the feedback items change no bit of the learner's step.
#[test]
fn the_learner_does_not_see_the_feedback() {
    let mut world = world(8);
    let folder = tempfile::tempdir().unwrap();
    let designed = design(&slopes(&world.stream, &world.down, None), 0.5).unwrap().targets;
    let origin = TargetOrigin {
        alpha_max: 0.5,
        tokenizer: "t".to_owned(),
        checkpoint: "c".to_owned(),
        documents: "d".to_owned(),
    };
    let update = |world: &World| {
        let path = folder.path().join("t.safetensors");
        let documents = vec![(0u32..).zip(designed.iter().cloned()).collect()];
        TargetFile { origin: origin.clone(), documents }.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let targets: Vec<SoftTarget> =
            TargetFile::read(&path).unwrap().documents.remove(0).into_iter().map(|(_, target)| target).collect();
        (bytes, stepped(&world.weights, &loss_and_gradient(&world.weights, &world.stream, &targets).1, 0.1))
    };
    let before = update(&world);
    for position in &mut world.feedback {
        position.truth = (position.truth + 3) % VOCABULARY as u32;
    }
    world.down = loss_and_gradient(&world.weights, &world.feedback, &one_hot(&world.feedback)).1;
    assert_eq!(update(&world), before);
    let anew = design(&slopes(&world.stream, &world.down, None), 0.5).unwrap().targets;
    assert_ne!(anew, designed, "the designer does see them");
}

/// The gradient of a union is the mean of its parts by tokens, however it is cut, and so are slopes.
#[test]
fn gradients_of_parts_add_up() {
    let world = world(13);
    for cut in [1, 7, 10, 19] {
        let (one, other) = world.feedback.split_at(cut);
        let parts = [one, other].map(|part| loss_and_gradient(&world.weights, part, &one_hot(part)).1);
        let share = cut as f64 / world.feedback.len() as f64;
        let joined: Vec<f64> = parts[0].iter().zip(&parts[1]).map(|(a, b)| share * a + (1.0 - share) * b).collect();
        assert!(joined.iter().zip(&world.down).all(|(a, b)| (a - b).abs() < 1e-14));
        let (whole, summed) = (slopes(&world.stream, &world.down, None), slopes(&world.stream, &joined, None));
        let gain = |tokens: &[TokenSlopes]| design(tokens, 0.5).unwrap().gain.best;
        assert!((gain(&whole) - gain(&summed)).abs() < 1e-14);
    }
}

/// `L = (theta - a)^T H (theta - a) / 2`: the decrease is known exactly, and the bound holds.
#[test]
fn the_quadratic_world_is_exact() {
    let mut random = Stream::new(2, &["quadratic"]);
    for _ in 0..50 {
        let eigenvalues: Vec<f64> = (0..6).map(|_| 0.1 + 3.0 * random.unit()).collect();
        let (theta, minimum, gradient) = (normals(&mut random, 6), normals(&mut random, 6), normals(&mut random, 6));
        let loss = |at: &[f64]| {
            at.iter().zip(&minimum).zip(&eigenvalues).map(|((x, a), h)| 0.5 * h * (x - a).powi(2)).sum::<f64>()
        };
        let down: Vec<f64> = (0..6).map(|at| eigenvalues[at] * (theta[at] - minimum[at])).collect();
        let curvature: f64 = (0..6).map(|at| eigenvalues[at] * gradient[at].powi(2)).sum();
        let smoothness = eigenvalues.iter().copied().fold(0.0, f64::max);
        for eta in [1e-3, 0.1, 1.0] {
            let step = OneStep { value: dot(&down, &gradient), eta };
            let realised = loss(&theta) - loss(&stepped(&theta, &gradient, eta));
            assert!((realised - step.decrease_of_quadratic(curvature)).abs() < 1e-12);
            assert!(realised >= step.least_decrease(smoothness, dot(&gradient, &gradient)) - 1e-12);
        }
    }
}
