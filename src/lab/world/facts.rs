//! The facts of a world: drawn at random, then given a number of statements.

use std::collections::{BTreeMap, BTreeSet};

use super::choices::CHOICES;
use super::entity::{Entities, Kind};
use super::random::Stream;
use super::relations::{Objects, RELATIONS, Relation};
use super::size::Size;
use super::zipf::{self, BINS};

/// The years of the world's chronicle.
pub(super) const YEARS: std::ops::RangeInclusive<u16> = 1960..=1999;

/// The year of a document that could be of any.
pub(super) fn some_year(stream: &mut Stream) -> u16 {
    stream.between(usize::from(*YEARS.start()), usize::from(*YEARS.end())) as u16
}

/// A fact. Its number is its place in the list.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub relation: &'static Relation,
    pub subject: usize,
    pub object: usize,
    /// Of facts that change.
    pub year: Option<u16>,
    /// How often prose states it.
    pub statements: usize,
    /// How often a quiz asks and answers it.
    pub quizzed: usize,
    /// Whether tasks ask for it. Then no quiz does.
    pub asked: bool,
}

impl Fact {
    /// Facts with the same key have objects that could be mistaken for each other's: those of the relation, or if they
    /// change, those of the same subject.
    pub fn rivals(&self) -> (&'static str, Option<usize>) {
        (self.relation.name, self.year.map(|_| self.subject))
    }
}

/// How facts that never change, or those of a year, are shared out.
struct Shares {
    dated: bool,
    /// Never stated, in a small world.
    held_out: usize,
    /// Asked, of each bin, in worlds of any size.
    asked_of_bin: usize,
    /// Of the facts that are not asked, how many a quiz has.
    quizzed: f64,
    /// How often it has each.
    times: (usize, usize),
}

const SHARES: [Shares; 2] = [
    Shares { dated: false, held_out: 75, asked_of_bin: 60, quizzed: 1.0, times: (8, 32) },
    Shares { dated: true, held_out: 60, asked_of_bin: 50, quizzed: 0.35, times: (2, 12) },
];

/// Towns whose mayor, and whose hall, the chronicle of a small world follows.
const CHRONICLED: usize = 10;
/// How many objects take turns, of facts that change.
const ROTATION: usize = 8;
/// Years that a mayor or a coat of paint lasts.
const TERM: (usize, usize) = (3, 7);
/// Nobody comes back before this many others had their turn, so that there are always enough wrong answers.
const PAUSE: usize = 3;
/// How much it counts how well known the subject is, against luck, for the number of statements of a fact.
const FAME: f64 = 0.4;

/// All facts of a world; those of years come last.
pub(super) fn draw(entities: &Entities, seed: u64, size: Size) -> Vec<Fact> {
    let mut facts = Vec::new();
    for relation in RELATIONS {
        let mut stream = Stream::new(seed, &["world", "facts", relation.name]);
        if relation.is_dated() {
            draw_dated(entities, relation, size, &mut stream, &mut facts);
        } else {
            draw_lasting(entities, relation, &mut stream, &mut facts);
        }
    }
    let mut stream = Stream::new(seed, &["world", "statements"]);
    for shares in &SHARES {
        share_out(entities, shares, size, &mut stream, &mut facts);
    }
    facts
}

/// Those who may be an object: nobody who shares a name, since the answer would not say who is meant.
pub(super) fn candidates(entities: &Entities, kind: Kind) -> Vec<usize> {
    entities.of(kind).into_iter().filter(|&place| entities.get(place).ambiguous_with.is_empty()).collect()
}

fn draw_lasting(entities: &Entities, relation: &'static Relation, stream: &mut Stream, facts: &mut Vec<Fact>) {
    let subjects = entities.of(relation.subject);
    let mut objects = candidates(entities, relation.object);
    stream.shuffle(&mut objects);
    let drawn: Vec<usize> = match relation.objects {
        Objects::Even => {
            let mut drawn: Vec<usize> = objects.iter().copied().cycle().take(subjects.len()).collect();
            stream.shuffle(&mut drawn);
            drawn
        }
        Objects::Inverse(of) => {
            let subject_of = |object: usize| {
                facts.iter().find(|fact| fact.relation.name == of && fact.object == object).map(|fact| fact.subject)
            };
            subjects.iter().map(|&subject| subject_of(subject).unwrap_or(objects[0])).collect()
        }
        _ => subjects.iter().map(|_| *stream.pick(&objects)).collect(),
    };
    for (subject, object) in subjects.into_iter().zip(drawn) {
        facts.push(Fact { relation, subject, object, year: None, statements: 0, quizzed: 0, asked: false });
    }
}

fn draw_dated(
    entities: &Entities,
    relation: &'static Relation,
    size: Size,
    stream: &mut Stream,
    facts: &mut Vec<Fact>,
) {
    let objects = candidates(entities, relation.object);
    let mut subjects = stream.sample(&entities.of(relation.subject), CHRONICLED * size.times());
    subjects.sort_unstable();
    for subject in subjects {
        let rotation = stream.sample(&objects, ROTATION);
        let mut object = *stream.pick(&rotation);
        let mut recent = vec![object];
        let mut left = stream.between(TERM.0, TERM.1);
        for year in YEARS {
            if relation.objects == Objects::Yearly {
                object = *stream.pick(&rotation);
            } else if left == 0 {
                let pausing = &recent[recent.len().saturating_sub(PAUSE)..];
                let others: Vec<usize> = rotation.iter().copied().filter(|other| !pausing.contains(other)).collect();
                object = *stream.pick(&others);
                recent.push(object);
                left = stream.between(TERM.0, TERM.1);
            }
            left = left.saturating_sub(1);
            let year = Some(year);
            facts.push(Fact { relation, subject, object, year, statements: 0, quizzed: 0, asked: false });
        }
    }
}

/// The first facts of a list, as many as are wanted, whose subjects and objects are both known from other facts.
fn hold_out(eligible: &[usize], wanted: usize, facts: &[Fact]) -> BTreeSet<usize> {
    let mut known: BTreeMap<usize, usize> = BTreeMap::new();
    for place in facts.iter().flat_map(|fact| [fact.subject, fact.object]) {
        *known.entry(place).or_default() += 1;
    }
    let mut held_out = BTreeSet::new();
    for &number in eligible {
        let pair = [facts[number].subject, facts[number].object];
        if held_out.len() < wanted && pair.iter().all(|place| known[place] > 1) {
            held_out.insert(number);
            for place in pair {
                known.entry(place).and_modify(|left| *left -= 1);
            }
        }
    }
    held_out
}

/// The first facts of a list, as many as are wanted, but not too many whose object is stated more often than almost all
/// others, or less often: those leave no choice of wrong answers that hides it.
fn asked_of(in_bin: &[usize], wanted: usize, facts: &[Fact]) -> Vec<usize> {
    let mut counts: BTreeMap<(&str, Option<usize>), BTreeMap<usize, usize>> = BTreeMap::new();
    for fact in facts {
        *counts.entry(fact.rivals()).or_default().entry(fact.object).or_default() += fact.statements;
    }
    // Taken so far with at most none, one or two objects stated more often; the same for less often.
    let mut taken = [[0; CHOICES - 1]; 2];
    let (mut asked, mut spare) = (Vec::new(), Vec::new());
    for &number in in_bin {
        let rivals = &counts[&facts[number].rivals()];
        let own = rivals[&facts[number].object];
        let more = rivals.values().filter(|count| **count > own).count();
        let less = rivals.values().filter(|count| **count < own).count();
        let has_room = |taken: &[usize; CHOICES - 1], others: usize| {
            taken.iter().enumerate().skip(others).all(|(most, taken)| taken * CHOICES < wanted * (most + 1))
        };
        if has_room(&taken[0], more) && has_room(&taken[1], less) {
            asked.push(number);
            for (taken, others) in taken.iter_mut().zip([more, less]) {
                taken.iter_mut().skip(others).for_each(|taken| *taken += 1);
            }
        } else {
            spare.push(number);
        }
    }
    asked.into_iter().chain(spare).take(wanted).collect()
}

/// Decides which facts are held out, how often the others are stated, which are asked and which are in a quiz.
fn share_out(entities: &Entities, shares: &Shares, size: Size, stream: &mut Stream, facts: &mut [Fact]) {
    let numbers: Vec<usize> = (0..facts.len()).filter(|&n| facts[n].relation.is_dated() == shares.dated).collect();
    // A question about somebody who shares a name has no certain answer.
    let may_ask = |fact: &Fact| fact.relation.asked && entities.get(fact.subject).ambiguous_with.is_empty();
    // What stays the same for years could be guessed from the years around it.
    let may_hold_out = |fact: &Fact| may_ask(fact) && fact.relation.objects != Objects::Terms;

    let mut eligible: Vec<usize> = numbers.iter().copied().filter(|&n| may_hold_out(&facts[n])).collect();
    stream.shuffle(&mut eligible);
    let held_out = hold_out(&eligible, shares.held_out * size.times(), facts);
    let fame: Vec<f64> = entities.all().iter().map(|_| stream.unit()).collect();
    let mut stated: BTreeMap<&str, Vec<(f64, usize)>> = BTreeMap::new();
    for &number in numbers.iter().filter(|number| !held_out.contains(number)) {
        let score = FAME * fame[facts[number].subject] + (1.0 - FAME) * stream.unit();
        stated.entry(facts[number].relation.name).or_default().push((score, number));
    }
    for scored in stated.values_mut() {
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        for ((_, number), statements) in scored.iter().zip(zipf::statements(scored.len())) {
            facts[*number].statements = statements;
        }
    }
    for (label, _) in BINS {
        let in_bin = |fact: &Fact| may_ask(fact) && zipf::bin(fact.statements) == label;
        let mut in_bin: Vec<usize> = numbers.iter().copied().filter(|&n| in_bin(&facts[n])).collect();
        stream.shuffle(&mut in_bin);
        for number in asked_of(&in_bin, shares.asked_of_bin, facts) {
            facts[number].asked = true;
        }
    }
    for &number in &numbers {
        let fact = &facts[number];
        let clear = entities.get(fact.subject).ambiguous_with.is_empty();
        if clear && !fact.asked && fact.statements > 0 && stream.chance(shares.quizzed) {
            facts[number].quizzed = stream.between(shares.times.0, shares.times.1);
        }
    }
}
