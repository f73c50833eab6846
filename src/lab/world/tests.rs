//! The world itself: names, the law of statements, what is asked and what is held out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use super::document::Draft;
use super::entity::{Entities, Kind};
use super::relations::{Objects, RELATIONS};
use super::size::Size;
use super::zipf::{self, BINS, EXPONENT, MOST_STATEMENTS};
use super::{Fact, World};

pub(super) fn small(seed: u64) -> World {
    World::new(seed, Size::Small)
}

type Sources = Vec<(&'static str, Vec<Draft>)>;

/// The small world of seed 7, and its documents: made once for all tests.
pub(super) fn with_documents() -> &'static (World, Sources) {
    static MADE: OnceLock<(World, Sources)> = OnceLock::new();
    MADE.get_or_init(|| {
        let world = small(7);
        let sources = world.sources();
        (world, sources)
    })
}

#[test]
fn the_same_seed_makes_the_same_world_and_another_seed_another() {
    let (one, again, other) = (small(7), small(7), small(8));
    assert_eq!(one.truth(), again.truth());
    assert_eq!(one.sources(), again.sources());
    assert_eq!(one.tasks(), again.tasks());
    assert_ne!(one.sources(), other.sources());

    let names = |world: &World| -> BTreeSet<String> {
        world.entities.all().iter().filter(|e| e.kind == Kind::Person).map(|e| e.name.clone()).collect()
    };
    let shared = names(&one).intersection(&names(&other)).count();
    assert!(shared <= 2, "{shared} people of two worlds have the same name");
}

#[test]
fn a_world_has_the_entities_of_its_size() {
    let count = |entities: &Entities, kind| entities.of(kind).len();
    for (size, [people, towns, countries, companies]) in
        [(Size::Small, [120, 24, 12, 30]), (Size::Medium, [960, 96, 48, 240])]
    {
        let entities = Entities::new(3, size);
        assert_eq!(count(&entities, Kind::Person), people);
        assert_eq!(count(&entities, Kind::Town), towns);
        assert_eq!(count(&entities, Kind::Country), countries);
        assert_eq!(count(&entities, Kind::Company), companies);
        let works = [Kind::Book, Kind::Song, Kind::Painting].map(|kind| count(&entities, kind));
        assert_eq!(works.iter().sum::<usize>(), 60 * size.times());
        assert!(entities.all().iter().enumerate().all(|(place, entity)| entity.id == format!("Q{}", place + 1)));
        assert!(entities.all().iter().all(|entity| entity.name.is_ascii()));
    }
}

#[test]
fn namesakes_share_their_name_and_nothing_else_is_named_twice() {
    let world = small(7);
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, entity) in world.entities.all().iter().enumerate() {
        by_name.entry(&entity.name).or_default().push(place);
    }
    let shared: Vec<&Vec<usize>> = by_name.values().filter(|places| places.len() > 1).collect();
    assert_eq!(shared.len(), 6);
    for places in shared {
        let [one, other] = places[..] else { panic!("three people with one name") };
        let (one, other) = (world.entities.get(one), world.entities.get(other));
        assert_eq!((one.kind, other.kind), (Kind::Person, Kind::Person));
        assert!(one.ambiguous_with.iter().eq([&other.id]));
        assert!(other.ambiguous_with.iter().eq([&one.id]));
        assert_ne!(one.id, other.id);
        let truth = world.truth();
        let listed = truth.ambiguous.iter().find(|ambiguous| ambiguous.text == one.name).unwrap();
        assert_eq!(listed.entities, [one.id.clone(), other.id.clone()]);
    }
    let nicknames: Vec<&String> = world.entities.all().iter().filter_map(|entity| entity.nickname.as_ref()).collect();
    assert!(nicknames.len() > 60);
    assert!(nicknames.iter().all(|nickname| world.entities.meanings(nickname).len() == 1));
}

#[test]
fn bins_are_half_open() {
    for (statements, label) in [
        (0, "0"),
        (1, "1-3"),
        (3, "1-3"),
        (4, "4-15"),
        (15, "4-15"),
        (16, "16-63"),
        (63, "16-63"),
        (64, "64+"),
        (300, "64+"),
    ] {
        assert_eq!(zipf::bin(statements), label);
    }
}

/// Log-likelihood of numbers of statements under a truncated law of this exponent.
fn log_likelihood(counts: &[usize], exponent: f64) -> f64 {
    let tail = |count: usize| (count as f64).powf(-exponent);
    let all = 1.0 - tail(MOST_STATEMENTS + 1);
    counts.iter().map(|&count| ((tail(count) - tail(count + 1)) / all).ln()).sum()
}

#[test]
fn the_exponent_of_the_law_is_recovered() {
    let world = small(7);
    for dated in [false, true] {
        let of_kind = |fact: &&Fact| fact.year.is_some() == dated && fact.statements > 0;
        let counts: Vec<usize> = world.facts.iter().filter(of_kind).map(|fact| fact.statements).collect();
        let likeliest = (1..200)
            .map(|step| f64::from(step) / 100.0)
            .max_by(|a, b| log_likelihood(&counts, *a).total_cmp(&log_likelihood(&counts, *b)))
            .unwrap();
        assert!((likeliest - EXPONENT).abs() < 0.03, "{likeliest}");
        assert_eq!(counts.iter().min(), Some(&1));
        assert!(counts.iter().max().unwrap() > &250);
    }
    // The fit can tell laws apart.
    let flatter: Vec<usize> = (0..2000).map(|n| 1 + n % MOST_STATEMENTS).collect();
    assert!(log_likelihood(&flatter, 0.01) > log_likelihood(&flatter, EXPONENT));
}

#[test]
fn every_bin_has_enough_facts_that_are_asked() {
    for seed in 0..5 {
        let world = small(seed);
        for (label, _) in BINS {
            let in_bin = |dated| {
                let fits =
                    |fact: &&Fact| fact.asked && fact.year.is_some() == dated && zipf::bin(fact.statements) == label;
                world.facts.iter().filter(fits).count()
            };
            assert_eq!((in_bin(false), in_bin(true)), (60, 50), "bin {label}, seed {seed}");
        }
    }
}

#[test]
fn no_quiz_has_a_fact_that_is_asked_or_held_out() {
    let world = small(7);
    for fact in &world.facts {
        let subject = world.entities.get(fact.subject);
        if fact.asked {
            assert!(fact.relation.asked && fact.quizzed == 0 && subject.ambiguous_with.is_empty());
        }
        if fact.statements == 0 {
            assert_eq!(fact.quizzed, 0);
            assert!(fact.relation.asked && fact.relation.objects != Objects::Terms);
        }
        assert!(world.entities.get(fact.object).ambiguous_with.is_empty());
    }
    let quizzed = world.facts.iter().filter(|fact| fact.quizzed > 0).count();
    assert!(quizzed > 600, "{quizzed}");
}

#[test]
fn held_out_facts_are_of_subjects_and_objects_that_are_known() {
    let world = small(7);
    let stated = |place: usize| {
        world.facts.iter().any(|fact| fact.statements > 0 && (fact.subject == place || fact.object == place))
    };
    for fact in world.facts.iter().filter(|fact| fact.statements == 0) {
        assert!(stated(fact.subject) && stated(fact.object));
    }
}

#[test]
fn a_held_out_object_does_not_follow_from_what_is_stated() {
    // Over many worlds, the object that a relation states most is right for a held-out fact no more often than one of
    // all objects is; the same for the object that the subject's other facts state.
    let (mut facts, mut expected, mut most_stated, mut same_as_other) = (0.0, 0.0, 0.0, 0.0);
    for seed in 0..30 {
        let world = small(seed);
        for held_out in world.facts.iter().filter(|fact| fact.statements == 0 && fact.year.is_none()) {
            let of_relation = world.facts.iter().filter(|fact| fact.relation.name == held_out.relation.name);
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for fact in of_relation {
                *counts.entry(fact.object).or_default() += fact.statements;
            }
            let most = counts.iter().max_by_key(|(_, count)| **count).map(|(object, _)| *object);
            let candidates = world.entities.of(held_out.relation.object);
            let candidates = candidates.iter().filter(|&&place| world.entities.get(place).ambiguous_with.is_empty());
            facts += 1.0;
            expected += 1.0 / candidates.count() as f64;
            most_stated += f64::from(u8::from(most == Some(held_out.object)));
            let other = world.facts.iter().find(|fact| {
                fact.subject == held_out.subject
                    && fact.relation.name != held_out.relation.name
                    && fact.relation.object == held_out.relation.object
            });
            same_as_other += f64::from(u8::from(other.is_some_and(|fact| fact.object == held_out.object)));
        }
    }
    // Standard deviation of a sum of rare events: at most the root of what is expected.
    let margin = 4.0 * f64::sqrt(expected);
    assert!(facts > 2000.0 && most_stated < expected + margin, "{most_stated} of {facts}, by luck {expected}");
    assert!(same_as_other < expected + margin, "{same_as_other}");
}

#[test]
fn a_capital_lies_in_its_country() {
    let world = small(7);
    let country: BTreeMap<usize, usize> =
        world.facts.iter().filter(|f| f.relation.name == "country").map(|f| (f.subject, f.object)).collect();
    let capitals: Vec<&Fact> = world.facts.iter().filter(|f| f.relation.name == "capital").collect();
    assert_eq!(capitals.len(), 12);
    assert!(capitals.iter().all(|fact| country[&fact.object] == fact.subject));
}

#[test]
fn who_rules_stays_for_a_term_and_who_wins_changes_each_year() {
    let world = small(7);
    let mut changes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for pair in world.facts.windows(2) {
        if let (Some(before), Some(after)) = (pair[0].year, pair[1].year)
            && before + 1 == after
        {
            let entry = changes.entry(pair[0].relation.name).or_default();
            entry.0 += usize::from(pair[0].object != pair[1].object);
            entry.1 += 1;
        }
    }
    let share = |name: &str| changes[name].0 as f64 / changes[name].1 as f64;
    // One change in five years; seven of eight draws.
    assert!((share("mayor") - 1.0 / 5.0).abs() < 0.04, "{}", share("mayor"));
    assert!((share("winner") - 7.0 / 8.0).abs() < 0.06, "{}", share("winner"));
}

#[test]
fn the_table_of_relations_is_in_order() {
    let names: BTreeSet<&str> = RELATIONS.iter().map(|relation| relation.name).collect();
    assert_eq!(names.len(), RELATIONS.len());
    for relation in RELATIONS {
        assert!((4..=6).contains(&relation.statements.len()), "{}", relation.name);
        assert!(relation.cloze.ends_with("{o}"));
        assert_eq!(relation.is_dated(), relation.cloze.contains("{y}"));
        assert!(relation.questions.iter().all(|question| question.contains("{s}") && question.ends_with('?')));
    }
}
