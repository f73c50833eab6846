//! Whatever the mixture becomes, each source's stream is read on without a gap and without a token twice.

use std::collections::BTreeMap;

use super::*;
use crate::lab::random::Stream as Random;
use crate::lab::train::mixture_file::{MixtureFile, Shares, SourceRecord, StageRecord};

const SOURCES: [&str; 4] = ["lists", "math", "stories", "web"];

/// Documents of all sources, the first of each with a copy.
fn documents(random: &mut Random) -> Vec<TrainingDocument> {
    let mut documents = Vec::new();
    for source in 0..SOURCES.len() {
        for number in 0..random.between(1, 12) {
            let tokens = vec![number as u32; random.between(1, 40)];
            let copies = random.below(3) as u32 + u32::from(number == 0);
            documents.push(TrainingDocument { source, tokens, copies });
        }
    }
    documents
}

fn shares(random: &mut Random) -> Vec<f64> {
    let weights: Vec<f64> =
        SOURCES.iter().map(|_| if random.chance(0.25) { 0.0 } else { random.unit() + 1e-3 }).collect();
    let sum: f64 = weights.iter().sum();
    if sum == 0.0 { vec![0.25; 4] } else { weights.iter().map(|weight| weight / sum).collect() }
}

/// A mixture that holds these shares from these tokens on.
fn mixture(sources: &[&str], stages: &[(u64, Vec<f64>)]) -> Mixture {
    let source = |(name, q): (&&str, &f64)| SourceRecord { name: (*name).to_owned(), q: *q, ..SourceRecord::default() };
    let stage = |(number, (start, shares)): (usize, &(u64, Vec<f64>))| StageRecord {
        name: number.to_string(),
        start_tokens: *start as f64,
        q: Shares(sources.iter().map(|name| (*name).to_owned()).zip(shares.iter().copied()).collect()),
    };
    let empty = Mixture::natural(&[("a", 1)]).unwrap().to_file();
    let sources = sources.iter().zip(&stages[0].1).map(source).collect();
    Mixture::new(&MixtureFile { sources, stages: stages.iter().enumerate().map(stage).collect(), ..empty }).unwrap()
}

fn random_mixture(random: &mut Random) -> Mixture {
    let mut start = 0;
    let stages: Vec<(u64, Vec<f64>)> = (0..random.between(1, 3))
        .map(|_| {
            let stage = (start, shares(random));
            start += random.between(1, 3000) as u64;
            stage
        })
        .collect();
    mixture(&SOURCES, &stages)
}

/// Sizes, with steps to spare.
fn sizes(random: &mut Random) -> Plan {
    Plan { seed: 7, sequence_length: random.between(1, 40), sequences: random.between(1, 6), steps: 1000 }
}

/// What a checkpoint says after the batch.
fn after(before: &Progress, batch: &Batch, plan: Plan) -> Progress {
    let tokens = before.tokens + (batch.step - before.step) * plan.step_tokens();
    Progress { step: batch.step, tokens, learning_rate: 0.1, order: Some(batch.order.clone()) }
}

fn run(order: &mut Order, steps: std::ops::RangeInclusive<u64>) -> Vec<Batch> {
    steps.map(|step| order.step(step)).collect()
}

/// Document, place in it and epoch of every token that the pieces have.
fn tokens(pieces: &[Piece]) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
    pieces.iter().flat_map(|piece| piece.tokens.clone().map(|place| (piece.document, place, piece.epoch)))
}

type Predicted = BTreeMap<usize, Vec<(usize, usize, u64)>>;

fn predict(predicted: &mut Predicted, batches: &[Batch]) {
    for sequence in batches.iter().flat_map(|batch| &batch.sequences) {
        predicted.entry(sequence.source).or_default().extend(tokens(&sequence.pieces).skip(1));
    }
}

/// The stream of a source, without anything that deals from it.
fn stream(documents: &[TrainingDocument], source: usize, seed: u64) -> DocumentStream {
    let of_source = documents.iter().enumerate().filter(|(_, document)| document.source == source);
    let entries = of_source
        .flat_map(|(number, document)| std::iter::repeat_n((number, document.tokens.len()), document.copies as usize));
    DocumentStream::new(SOURCES[source], seed, entries.collect())
}

#[test]
fn the_same_mixture_is_the_order_that_was_not_stopped() {
    let mut random = Random::new(1, &["after", "same"]);
    for _ in 0..60 {
        let (documents, plan) = (documents(&mut random), sizes(&mut random));
        let [first, second] = [random_mixture(&mut random), random_mixture(&mut random)];
        let stop = random.between(1, 60) as u64;
        let mut whole = Order::new(&documents, &SOURCES, &first, plan).unwrap();
        let stopped = after(&Progress::default(), &run(&mut whole, 1..=stop)[stop as usize - 1], plan);
        let rest = run(&mut whole, stop + 1..=100);
        let mut again = Order::after(&stopped, &documents, &SOURCES, &first, plan).unwrap();
        assert_eq!(run(&mut again, stop + 1..=100), rest);

        // So it is for one that changed the mixture, and stopped again.
        let mut changed = Order::after(&stopped, &documents, &SOURCES, &second, plan).unwrap();
        let later = stop + random.between(1, 40) as u64;
        let last = run(&mut changed, stop + 1..=later).pop().unwrap();
        let stopped = after(&stopped, &last, plan);
        let mut again = Order::after(&stopped, &documents, &SOURCES, &second, plan).unwrap();
        assert_eq!(run(&mut again, later + 1..=120), run(&mut changed, later + 1..=120));
    }
}

#[test]
fn other_mixtures_and_sizes_read_each_stream_on() {
    let mut random = Random::new(2, &["after", "other"]);
    let mut switches = 0;
    for _ in 0..100 {
        let documents = documents(&mut random);
        let mut predicted = Predicted::new();
        let mut progress = Progress::default();
        for _ in 0..random.between(2, 5) {
            let (mixture, plan) = (random_mixture(&mut random), sizes(&mut random));
            let new = || Order::after(&progress, &documents, &SOURCES, &mixture, plan).unwrap();
            let (first, last) = (progress.step + 1, progress.step + random.between(1, 60) as u64);
            let batches = run(&mut new(), first..=last);
            predict(&mut predicted, &batches);
            switches += usize::from(batches[0].order.began.step > 0);

            // A run that was killed begins at its own start and asks for a step in the middle.
            let middle = random.between(first as usize, last as usize) as u64;
            assert_eq!(run(&mut new(), middle..=last), batches[(middle - first) as usize..]);
            progress = after(&progress, &batches[batches.len() - 1], plan);
        }
        let places = &progress.order.as_ref().unwrap().places;
        assert_eq!(places.values().sum::<u64>(), progress.tokens);
        for (source, predicted) in predicted {
            assert_eq!(places[SOURCES[source]], predicted.len() as u64);
            let wanted = stream(&documents, source, 7).read(1, predicted.len());
            assert!(tokens(&wanted).eq(predicted), "source {source}");
        }
    }
    assert!(switches > 150, "{switches}");
}

#[test]
fn shares_count_from_the_switch_and_stages_from_the_first_token_of_all() {
    let mut random = Random::new(3, &["after", "shares"]);
    for _ in 0..60 {
        let documents = documents(&mut random);
        let plan = sizes(&mut random);
        let mut order = Order::new(&documents, &SOURCES, &random_mixture(&mut random), plan).unwrap();
        let stop = random.between(1, 40) as u64;
        let stopped = after(&Progress::default(), &run(&mut order, 1..=stop).pop().unwrap(), plan);

        let step = plan.step_tokens();
        let change = stop + random.between(1, 20) as u64;
        let [gone, before, then] = [(); 3].map(|()| shares(&mut random));
        // The first stage is over before it began.
        let stages = [(0, gone), (stop * step, before.clone()), (change * step, then.clone())];
        let stages = mixture(&SOURCES, &stages);
        let mut order = Order::after(&stopped, &documents, &SOURCES, &stages, plan).unwrap();
        let (mut counts, mut targets) = ([0.0; 4], [0.0; 4]);
        for batch in run(&mut order, stop + 1..=change + 50) {
            let shares = if batch.step <= change { &before } else { &then };
            for sequence in &batch.sequences {
                counts[sequence.source] += 1.0;
                targets.iter_mut().zip(shares).for_each(|(target, share)| *target += share);
                let off = counts.iter().zip(&targets).map(|(count, target)| f64::abs(count - target));
                assert!(off.fold(0.0, f64::max) < 1.0, "step {}: {counts:?} {targets:?}", batch.step);
            }
        }
    }
}

#[test]
fn a_stage_that_is_added_later_is_as_if_it_had_been_planned() {
    let documents = documents(&mut Random::new(4, &["after", "stage"]));
    let plan = Plan { seed: 7, sequence_length: 16, sequences: 4, steps: 100 };
    let [first, then] = [vec![0.1, 0.2, 0.3, 0.4], vec![0.4, 0.3, 0.2, 0.1]];
    let stop = 20;
    let planned = mixture(&SOURCES, &[(0, first.clone()), (stop * plan.step_tokens(), then)]);
    let mut begun = Order::new(&documents, &SOURCES, &mixture(&SOURCES, &[(0, first)]), plan).unwrap();
    let stopped = after(&Progress::default(), &begun.step(stop), plan);
    let mut added = Order::after(&stopped, &documents, &SOURCES, &planned, plan).unwrap();
    let mut whole = Order::new(&documents, &SOURCES, &planned, plan).unwrap();
    assert_eq!(run(&mut added, stop + 1..=100), run(&mut whole, stop + 1..=100));
}

#[test]
fn other_copies_go_on_at_the_same_token() {
    let mut random = Random::new(5, &["after", "copies"]);
    let mut documents = documents(&mut random);
    let plan = Plan { seed: 7, sequence_length: 16, sequences: 4, steps: 100 };
    let same = mixture(&SOURCES, &[(0, vec![0.1, 0.2, 0.3, 0.4])]);
    let mut order = Order::new(&documents, &SOURCES, &same, plan).unwrap();
    let stopped = after(&Progress::default(), &run(&mut order, 1..=30).pop().unwrap(), plan);
    for document in &mut documents {
        document.copies = 4 - document.copies;
    }
    for mixture in [same, random_mixture(&mut random)] {
        let mut order = Order::after(&stopped, &documents, &SOURCES, &mixture, plan).unwrap();
        let mut predicted = Predicted::new();
        predict(&mut predicted, &run(&mut order, 31..=60));
        for (source, predicted) in predicted {
            let place = stopped.order.as_ref().unwrap().places.get(SOURCES[source]).copied().unwrap_or(0);
            let wanted = stream(&documents, source, 7).read(place + 1, predicted.len());
            assert!(tokens(&wanted).eq(predicted), "source {source}");
        }
    }
}

#[test]
fn sources_come_and_go() {
    let documents = documents(&mut Random::new(6, &["after", "sources"]));
    let without: Vec<TrainingDocument> = documents.iter().filter(|document| document.source != 3).cloned().collect();
    let plan = Plan { seed: 7, sequence_length: 16, sequences: 4, steps: 100 };
    let three = mixture(&SOURCES[..3], &[(0, vec![0.2, 0.3, 0.5])]);
    let four = mixture(&SOURCES, &[(0, vec![0.1, 0.2, 0.3, 0.4])]);
    let mut progress = Progress::default();
    let mut predicted = Predicted::new();
    for (documents, sources, mixture) in [
        (&without, &SOURCES[..3], &three),
        (&documents, &SOURCES[..], &four),
        (&without, &SOURCES[..3], &three),
        (&documents, &SOURCES[..], &four),
    ] {
        let mut order = Order::after(&progress, documents, sources, mixture, plan).unwrap();
        let batches = run(&mut order, progress.step + 1..=progress.step + 20);
        progress = after(&progress, &batches[19], plan);
        predict(&mut predicted, &batches);
    }
    assert_eq!(progress.order.unwrap().places.values().sum::<u64>(), progress.tokens);
    for (source, predicted) in predicted {
        let wanted = stream(&documents, source, 7).read(1, predicted.len());
        assert!(tokens(&wanted).eq(predicted), "source {source}");
    }
}

#[test]
fn another_seed_begins_its_own_streams() {
    let documents = documents(&mut Random::new(7, &["after", "seed"]));
    let plan = Plan { seed: 7, sequence_length: 16, sequences: 4, steps: 100 };
    let mixture = mixture(&SOURCES, &[(0, vec![0.1, 0.2, 0.3, 0.4])]);
    let stopped = Order::new(&documents, &SOURCES, &mixture, plan).unwrap().step(20);
    let stopped = after(&Progress::default(), &stopped, plan);
    let other = Plan { seed: 8, ..plan };
    let mut order = Order::after(&stopped, &documents, &SOURCES, &mixture, other).unwrap();
    let batches = run(&mut order, 21..=40);
    let mut predicted = Predicted::new();
    predict(&mut predicted, &batches);
    for (source, predicted) in predicted {
        assert!(tokens(&stream(&documents, source, 8).read(1, predicted.len())).eq(predicted), "source {source}");
    }
    let later = after(&stopped, &batches[9], other);
    let mut again = Order::after(&later, &documents, &SOURCES, &mixture, other).unwrap();
    assert_eq!(run(&mut again, 31..=40), batches[10..]);
}

#[test]
fn without_places_it_is_as_if_the_mixture_had_held_from_the_start() {
    let mut random = Random::new(8, &["after", "unknown"]);
    let documents = documents(&mut random);
    let (mixture, plan) = (random_mixture(&mut random), sizes(&mut random));
    let old = Progress { step: 30, tokens: 30 * plan.step_tokens(), learning_rate: 0.1, order: None };
    let mut order = Order::after(&old, &documents, &SOURCES, &mixture, plan).unwrap();
    let mut whole = Order::new(&documents, &SOURCES, &mixture, plan).unwrap();
    assert_eq!(run(&mut order, 31..=60), run(&mut whole, 31..=60));
}

#[test]
fn repeats_count_what_was_seen_before() {
    let document = |source| TrainingDocument { source, tokens: vec![1; 100], copies: 1 };
    let (documents, sources) = ([document(0), document(1)], ["math", "web"]);
    let limited = |math: f64| {
        let mut file = mixture(&sources, &[(0, vec![math, 1.0 - math])]).to_file();
        file.sources[0].max_repeat = Some(4.0);
        Mixture::new(&file).unwrap()
    };
    let plan = |steps| Plan { seed: 7, sequence_length: 10, sequences: 10, steps };
    // Six steps of 100 tokens: 300 of each source.
    let stopped = Order::new(&documents, &sources, &limited(0.5), plan(6)).unwrap().step(6);
    let stopped = after(&Progress::default(), &stopped, plan(6));
    let go_on = |progress: &Progress, math, steps| {
        let repeats = Order::after(progress, &documents, &sources, &limited(math), plan(steps)).map(|o| o.repeats());
        repeats.map_err(|error| error.to_string())
    };
    let near = |found: Vec<f64>, wanted: [f64; 2]| found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(near(go_on(&stopped, 0.1, 16).unwrap(), [4.0, 12.0]));
    assert!(near(go_on(&stopped, 0.5, 8).unwrap(), [4.0, 4.0]));
    for (math, steps, found) in [(0.1, 18, "found 4.20 times"), (0.5, 9, "found 4.50 times")] {
        let text = go_on(&stopped, math, steps).unwrap_err();
        assert!(text.contains("source math: expected its tokens at most 4 times") && text.contains(found), "{text}");
    }
    // Where nothing is known, it is the plan's mixture that counts.
    let unknown = Progress { order: None, ..stopped.clone() };
    assert!(near(go_on(&unknown, 0.1, 18).unwrap(), [1.8, 16.2]));
    // Too often already: all that is left is to leave it out.
    let mut often = stopped;
    often.order.as_mut().unwrap().places.insert("math".into(), 500);
    assert!(go_on(&often, 0.1, 16).is_err());
    assert!(near(go_on(&often, 0.0, 16).unwrap(), [5.0, 13.0]));
}
