//! Slopes against reverse passes, soft losses against differences, and steps on soft targets against what is foretold.

use std::collections::BTreeMap;
use std::path::Path;

use veval::ckpt::Address;
use veval::feedback::gradset::dot;
use veval::feedback::targets::{Aim, Slopes, SoftTarget, TokenSlopes, Window, design, windows};
use veval::feedback::{Direction, Directions};
use veval::kernels::Kernels;
use veval::kernels::cpu::{Cpu, Isa};
use veval::kernels::tape::Tape;
use veval::lab::random::Stream;
use veval::lab::train::{Lesson, batch_gradient};
use veval::model::{
    Blueprint, Decoder, LogitTerm, Loss, Objective, Predicted, Reach, SoftPlace, Summed, Taps, WeightGradients,
};
use veval::request::{GradSpan, SiteValues};
use veval::stats;

use crate::support::{cases, expected, open};

const MEMORY: usize = 1 << 30;
/// Families with a step or a corner near these weights: another expert is chosen, values are clipped.
const KINKED: [&str; 2] = ["olmo_clip", "qwen3_moe_unnormed"];

fn cpu() -> Cpu {
    Cpu::new(Isa::best(), 2)
}

/// A model whose weights can be moved, and what it is asked about.
struct World {
    blueprint: Blueprint,
    weights: BTreeMap<String, Vec<f32>>,
    windows: Vec<Window>,
}

impl World {
    fn open(path: &Path, windows: Vec<Window>) -> Self {
        let (blueprint, weights) = Blueprint::open(&Address::from(path)).unwrap();
        Self { blueprint, weights, windows }
    }

    /// The shipped lab in the middle of its run, and three documents of which one is longer than a window.
    fn lab() -> Self {
        let tokens =
            |seed: u32, count: u32| -> Vec<u32> { (0..count).map(|at| (seed * 131 + at * at * 7) % 1024).collect() };
        let documents = [tokens(10, 30), tokens(11, 12), tokens(12, 21)];
        let cut = documents.iter().enumerate().flat_map(|(number, tokens)| windows(number, tokens, Some(0), 20));
        Self::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/lab/midrun"), cut.collect())
    }

    fn decoder(&self) -> Decoder<Cpu> {
        self.blueprint.decoder(cpu(), &self.weights).unwrap()
    }

    fn slopes(&self, aim: &Aim, kept: usize) -> (Vec<TokenSlopes>, f64) {
        let decoder = self.decoder();
        let found = Slopes::new(&decoder, &self.blueprint, &self.weights, aim).of(&self.windows, kept, 32).unwrap();
        let kept = found.tokens.iter().filter(|token| token.candidates.len() == 1).count();
        assert_eq!(kept, found.unsteady);
        (found.tokens, found.value)
    }

    fn named(&self, gradient: BTreeMap<String, Vec<f32>>) -> Direction {
        let shapes = self.blueprint.parameters();
        let shaped =
            |(name, values): (String, Vec<f32>)| (name.clone(), SiteValues { shape: shapes[&name].clone(), values });
        gradient.into_iter().map(shaped).collect()
    }

    /// Gradient of the mean loss over all predictions.
    fn gradient(&self, lessons: &[Lesson<'_>]) -> Direction {
        self.named(batch_gradient(&self.blueprint, &cpu(), &self.weights, lessons, 2).unwrap().gradient)
    }

    fn noise(&self, seed: u64) -> Direction {
        let mut random = Stream::new(seed, &["noise"]);
        let mut normal = || (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos();
        self.named(
            self.weights
                .iter()
                .map(|(name, own)| (name.clone(), own.iter().map(|_| normal() as f32).collect()))
                .collect(),
        )
    }

    /// What the windows teach with these targets, in order.
    fn lessons<'a>(&'a self, targets: &'a [SoftTarget]) -> Vec<Lesson<'a>> {
        let mut before = 0;
        let lesson = |window: &'a Window| {
            let own = &targets[before..before + window.predicted()];
            before += window.predicted();
            let place = |(place, own): (usize, &'a SoftTarget)| SoftPlace { place: place + 1, shares: own.entries() };
            Lesson { tokens: &window.tokens, soft: own.iter().enumerate().map(place).collect() }
        };
        self.windows.iter().map(lesson).collect()
    }

    fn hard(&self) -> Vec<Lesson<'_>> {
        self.windows.iter().map(|window| Lesson::plain(&window.tokens)).collect()
    }
}

/// An aim of one target with these halves.
fn aim(halves: [Direction; 2]) -> Aim {
    let mut whole = halves[0].clone();
    for (name, values) in &mut whole {
        values.values.iter_mut().zip(&halves[1][name].values).for_each(|(a, b)| *a = f32::midpoint(*a, *b));
    }
    Aim { whole, halves, is_standard: false }
}

/// The gradient of the mean loss of some tokens.
fn whole(decoder: &Decoder<Tape<Cpu>>, tokens: &[u32]) -> Direction {
    let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
    let loss = Loss::Nll { span: GradSpan { start: 1, end: tokens.len() }, mean: true };
    decoder.reverse(&[Objective { tokens, loss }], Reach { memory: MEMORY, ..Reach::default() }, &mut weights).unwrap();
    weights.into_parameters().unwrap()
}

/// Two forward passes say of every candidate what a reverse pass says of it, to half a per cent of the slopes' size.
#[test]
fn slopes_are_inner_products_with_the_gradients_of_logits_for_every_family() {
    let (mut worst_slope, mut worst_value) = (0f64, 0f64);
    for (name, path) in cases() {
        let tokens = expected(&path).tokens;
        let world = World::open(&path, windows(0, &tokens, None, 7));
        let model = open(&path, Tape::new(cpu()));
        let aim = aim([whole(&model.decoder, &tokens[..9]), whole(&model.decoder, &tokens[5..])]);
        let (found, value) = world.slopes(&aim, 5);
        let directions = [&aim.whole, &aim.halves[0], &aim.halves[1]];
        let along = Directions::new(&model.decoder, &directions, None).unwrap();
        let (mut number, mut unsteady, mut pairs, mut losses) = (0, 0, Vec::new(), 0.0);
        for window in &world.windows {
            for position in 0..window.predicted() {
                let token = &found[number];
                number += 1;
                assert_eq!(token.truth, window.tokens[position + 1]);
                if token.candidates.len() == 1 {
                    unsteady += 1;
                    continue;
                }
                for candidate in &token.candidates {
                    let terms = [LogitTerm { position, token: candidate.id, weight: 1.0 }];
                    let loss = Loss::Logits(&terms);
                    let item = Objective { tokens: &window.tokens[..window.predicted()], loss };
                    let wanted = along.products(&[item], MEMORY).unwrap().remove(0).products;
                    let halves = candidate.halves.unwrap();
                    pairs.extend([candidate.slope, halves[0], halves[1]].into_iter().zip(wanted));
                }
            }
            let span = GradSpan { start: 1, end: window.tokens.len() };
            let item = Objective { tokens: &window.tokens, loss: Loss::Nll { span, mean: false } };
            losses += along.products(&[item], MEMORY).unwrap()[0].products[0];
        }
        assert_eq!(number, found.len());
        let scale = (pairs.iter().map(|(_, wanted)| wanted * wanted).sum::<f64>() / pairs.len() as f64).sqrt();
        let worst = pairs.iter().map(|(found, wanted)| (found - wanted).abs() / scale).fold(0.0, f64::max);
        let off = (value - losses).abs() / losses.abs();
        println!("{name}: {worst:.1e} of {scale:.2e}, value {off:.1e}, {unsteady} of {number} unsteady");
        if KINKED.contains(&&*name) {
            assert!(unsteady > 0, "{name}");
            continue;
        }
        assert_eq!(unsteady, 0, "{name}");
        worst_slope = worst_slope.max(worst);
        worst_value = worst_value.max(off);
    }
    assert!(worst_slope < 5e-3 && worst_value < 1e-3, "{worst_slope} {worst_value}");
}

/// However windows are put together, the same bits; and a long document is cut without a gap.
#[test]
fn slopes_depend_on_no_batch() {
    let world = World::lab();
    assert_eq!(
        world.windows.iter().map(|own| (own.document, own.first, own.predicted())).collect::<Vec<_>>(),
        [(0, 0, 20), (0, 20, 10), (1, 0, 12), (2, 0, 20), (2, 20, 1)]
    );
    assert_eq!(world.windows[1].tokens[0], *world.windows[0].tokens.last().unwrap());
    let aim = aim([1, 2].map(|seed| world.noise(seed)));
    let decoder = world.decoder();
    let slopes = Slopes::new(&decoder, &world.blueprint, &world.weights, &aim);
    let together = slopes.of(&world.windows, 6, 1000).unwrap();
    let alone: Vec<TokenSlopes> =
        world.windows.iter().flat_map(|window| slopes.of(std::slice::from_ref(window), 6, 1).unwrap().tokens).collect();
    assert_eq!(together.tokens, alone);
    let without = windows(0, &[5, 6, 7], None, 20);
    assert_eq!((without[0].first, &*without[0].tokens), (1, &[5, 6, 7][..]));
    assert!(windows(0, &[5], None, 20).is_empty());
}

/// The gain that the closed form foretells is the difference of `<g_down, g_pre>` between soft and true targets, with `g_pre`
/// from the tape, and a small step lowers the loss of the feedback items by as much more.
#[test]
fn the_gain_is_what_a_step_gains() {
    let world = World::lab();
    let items: Vec<Vec<u32>> =
        (0..6).map(|seed| (0..20).map(|at| (seed * 131 + at * at * 7) % 1024).collect()).collect();
    let half = |from: usize| {
        let own: Vec<Lesson<'_>> = items.iter().skip(from).step_by(2).map(|tokens| Lesson::plain(tokens)).collect();
        world.gradient(&own)
    };
    let aim = aim([half(0), half(1)]);
    let (tokens, value) = world.slopes(&aim, 64);
    let found = design(&tokens, 0.25).unwrap();
    assert!(found.gain.shifted > tokens.len() / 2 && found.gain.crossed.unwrap() > 0.0, "{:?}", found.gain);
    let (hard, soft) = (world.gradient(&world.hard()), world.gradient(&world.lessons(&found.targets)));
    let (of_hard, of_soft) = (dot(&aim.whole, &hard), dot(&aim.whole, &soft));
    println!("hard {of_hard} ({}), soft {of_soft}, {:?}", value / tokens.len() as f64, found.gain);
    assert!((value / tokens.len() as f64 - of_hard).abs() < 2e-3 * of_hard.abs());
    assert!(((of_soft - of_hard) / found.gain.best - 1.0).abs() < 2e-3, "{of_soft} {of_hard} {:?}", found.gain);

    let loss = |gradient: &Direction, rate: f32| {
        let mut weights = world.weights.clone();
        for (name, values) in &mut weights {
            values.iter_mut().zip(&gradient[name].values).for_each(|(value, g)| *value -= rate * g);
        }
        let items: Vec<Predicted<'_>> = items.iter().map(|tokens| Predicted { tokens, start: 1 }).collect();
        let losses = world.blueprint.decoder(cpu(), &weights).unwrap().mean_losses(&items, 1000).unwrap();
        losses.iter().sum::<f64>() / losses.len() as f64
    };
    // The error of first order halves with the rate.
    let rates = [4e-3f32, 2e-3, 1e-3];
    let realised = rates.map(|rate| (loss(&hard, rate) - loss(&soft, rate)) / f64::from(rate));
    println!("realised {realised:?} foretold {}", found.gain.best);
    assert!((realised[2] / found.gain.best - 1.0).abs() < 0.1, "{realised:?} {:?}", found.gain);
    assert!((realised[2] - found.gain.best).abs() < (realised[0] - found.gain.best).abs(), "{realised:?}");
}

/// Of gradients that say nothing the choice looks good by its own slopes, and by those of the other half is worth nothing.
#[test]
fn random_feedback_gains_nothing_when_crossed() {
    let world = World::lab();
    let (mut best, mut crossed) = (Vec::new(), Vec::new());
    for seed in 0..24 {
        let aim = aim([2 * seed, 2 * seed + 1].map(|seed| world.noise(seed)));
        let gain = design(&world.slopes(&aim, 16).0, 0.25).unwrap().gain;
        best.push(gain.best);
        crossed.push(gain.crossed.unwrap());
    }
    let (best, crossed) = (stats::mean(&best), stats::mean(&crossed));
    println!("{best:?} {crossed:?}");
    let (low, high) = crossed.interval.unwrap();
    assert!(low < 0.0 && 0.0 < high, "{crossed:?}");
    assert!(best.interval.unwrap().0 > 4.0 * high.max(-low), "{best:?} {crossed:?}");
}

fn gradients(decoder: &Decoder<Tape<Cpu>>, items: &[Objective<'_>]) -> (Vec<f64>, Direction) {
    let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
    let reversed = decoder.reverse(items, Reach { memory: MEMORY, ..Reach::default() }, &mut weights).unwrap();
    (reversed.losses, weights.into_parameters().unwrap())
}

/// Three tokens for every other place of a text.
fn soft(tokens: &[u32], vocab: u32) -> Vec<(usize, SoftTarget)> {
    let target = |place: usize| {
        let others = [(tokens[place] + 1 + place as u32) % vocab, (tokens[place] + 20) % vocab];
        SoftTarget::mixed(tokens[place], 0.6, &[(others[0], 0.75), (others[1], 0.25)]).unwrap()
    };
    (1..tokens.len()).step_by(2).map(|place| (place, target(place))).collect()
}

fn places(targets: &[(usize, SoftTarget)]) -> Vec<SoftPlace<'_>> {
    targets.iter().map(|(place, own)| SoftPlace { place: *place, shares: own.entries() }).collect()
}

#[test]
fn soft_losses_and_their_gradients_equal_differences_for_every_smooth_family() {
    for (name, path) in cases().into_iter().filter(|(name, _)| !KINKED.contains(&&**name)) {
        let tokens = expected(&path).tokens;
        let model = open(&path, Tape::new(cpu()));
        let vocab = model.decoder.spec().vocab as u32;
        let targets = soft(&tokens, vocab);
        let span = GradSpan { start: 1, end: tokens.len() };
        let taught = places(&targets);
        let item = |mean: bool| Objective { tokens: &tokens, loss: Loss::Taught { span, mean, soft: &taught } };
        let (losses, gradient) = gradients(&model.decoder, &[item(false)]);
        let world = World::open(&path, Vec::new());
        let loss = |weights: &BTreeMap<String, Vec<f32>>| -> f64 {
            let decoder = world.blueprint.decoder(cpu(), weights).unwrap();
            let hidden =
                decoder.forward(&tokens, &mut decoder.empty_cache(), &mut Taps::none(decoder.kernels())).unwrap();
            let rows: Vec<usize> = (0..tokens.len()).collect();
            let logits = decoder.kernels().host(&decoder.logits(&hidden, &rows).unwrap()).unwrap().values;
            let of = |place: usize| {
                let own = targets.iter().find(|(own, _)| *own == place).map(|(_, target)| target.clone());
                let row = &logits[(place - 1) * vocab as usize..][..vocab as usize];
                own.unwrap_or_else(|| SoftTarget::one_hot(tokens[place])).loss(row).unwrap()
            };
            (1..tokens.len()).map(of).sum()
        };
        let at = loss(&world.weights);
        assert!((losses[0] - at).abs() < 1e-5 * at, "{name}: {} {at}", losses[0]);
        let (means, _) = gradients(&model.decoder, &[item(true)]);
        assert!((means[0] * (tokens.len() - 1) as f64 - at).abs() < 1e-5 * at, "{name}");
        // Along itself the gradient's slope is its squared norm.
        let squares = dot(&gradient, &gradient);
        let size: f64 = world.weights.values().flatten().map(|value| f64::from(*value).powi(2)).sum();
        let step = 3e-5 * (size / squares).sqrt();
        let moved = |sign: f64| {
            let mut weights = world.weights.clone();
            for (name, own) in &gradient {
                let values = weights.get_mut(name).unwrap();
                values
                    .iter_mut()
                    .zip(&own.values)
                    .for_each(|(value, g)| *value += (sign * step * f64::from(*g)) as f32);
            }
            loss(&weights)
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        println!("{name}: {:.1e}", slope / squares - 1.0);
        assert!((slope / squares - 1.0).abs() < 2e-3, "{name}: {slope} {squares}");
    }
}

/// A target that is the true token leaves the bits of loss and gradient as they are, in any company.
#[test]
fn one_hot_targets_change_no_bit() {
    for (name, path) in cases() {
        let tokens = expected(&path).tokens;
        let model = open(&path, Tape::new(cpu()));
        let hot: Vec<(usize, SoftTarget)> =
            [1, 4, 5, 11].iter().map(|&place| (place, SoftTarget::one_hot(tokens[place]))).collect();
        let taught = places(&hot);
        let span = GradSpan { start: 1, end: 13 };
        let plain = |from: usize| {
            let own = &tokens[from..];
            Objective { tokens: own, loss: Loss::Nll { span: GradSpan { start: 2, end: own.len() }, mean: true } }
        };
        let nll = Objective { tokens: &tokens, loss: Loss::Nll { span, mean: false } };
        let soft = Objective { tokens: &tokens, loss: Loss::Taught { span, mean: false, soft: &taught } };
        let (losses, gradient) = gradients(&model.decoder, &[plain(3), nll, plain(0)]);
        let (others, other) = gradients(&model.decoder, &[plain(3), soft, plain(0)]);
        assert_eq!(
            losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>(),
            others.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>(),
            "{name}"
        );
        let bits =
            |own: &Direction| own.values().flat_map(|own| own.values.iter().map(|v| v.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&gradient), bits(&other), "{name}");
    }
}

#[test]
fn places_that_cannot_be_are_refused() {
    let (_, path) = &cases()[0];
    let tokens = expected(path).tokens;
    let model = open(path, Tape::new(cpu()));
    let vocab = model.decoder.spec().vocab as u32;
    let one = SoftTarget::one_hot(1);
    let strange = SoftTarget::mixed(1, 0.5, &[(vocab, 1.0)]).unwrap();
    let refused = |soft: &[SoftPlace<'_>], wanted: &str| {
        let loss = Loss::Taught { span: GradSpan { start: 2, end: 9 }, mean: false, soft };
        let item = Objective { tokens: &tokens, loss };
        let mut weights = WeightGradients::new(&model.decoder, |_| true, Summed::Pass);
        let error = model.decoder.reverse(&[item], Reach::default(), &mut weights).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("item 0"), "{error}");
    };
    let place = |place: usize| SoftPlace { place, shares: one.entries() };
    refused(&[place(3), place(3)], "expected ascending places, found 3 before 3");
    refused(&[place(1)], "expected places within 2..9, found 1");
    refused(&[place(9)], "expected places within 2..9, found 9");
    refused(&[SoftPlace { place: 4, shares: strange.entries() }], &format!("below {vocab}, found {vocab}"));
}
