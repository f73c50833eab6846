//! The tasks: fair choices, and no help from the documents for sealed items but their facts.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::item::{Item, LabTask, Split};
use super::size::Size;
use super::tests::{small, with_documents};
use super::zipf::BINS;

fn text<'a>(item: &'a Item, column: &str) -> &'a str {
    item.row[column].as_str().unwrap()
}

fn list<'a>(item: &'a Item, column: &str) -> Vec<&'a str> {
    item.row[column].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

fn with_choices(world: &World) -> Vec<LabTask> {
    world.tasks().into_iter().filter(|task| task.chance > 0.0).collect()
}

#[test]
fn tasks_have_their_items_in_every_split() {
    for size in [Size::Small, Size::Medium] {
        let world = World::new(7, size);
        let sizes: Vec<(String, usize)> = world.tasks().iter().map(|t| (t.name.clone(), t.items.len())).collect();
        let expected = [
            ("facts_cloze", 300),
            ("facts_choice", 300),
            ("facts_answer", 300),
            ("entity_questions", 300),
            ("dated_facts", 250),
        ];
        assert_eq!(sizes, expected.map(|(name, items)| (name.to_owned(), items)));
        for task in world.tasks() {
            let sealed = task.items.iter().filter(|item| item.split == Split::Sealed).count() as f64;
            let share = sealed / task.items.len() as f64;
            assert!((share - 0.7).abs() < 0.1, "{}: {share}", task.name);
            let own_texts: BTreeSet<&str> = task.items.iter().map(|item| item.own_text.as_str()).collect();
            assert_eq!(own_texts.len(), task.items.len());
        }
    }
}

#[test]
fn a_fact_is_in_the_same_split_in_all_tasks() {
    let mut splits: BTreeMap<u64, Split> = BTreeMap::new();
    for task in small(7).tasks() {
        for item in &task.items {
            assert_eq!(*splits.entry(item.row["fact"].as_u64().unwrap()).or_insert(item.split), item.split);
        }
    }
    assert_eq!(splits.len(), 550);
}

#[test]
fn rows_are_what_the_truth_says() {
    let world = small(7);
    let truth = world.truth();
    for task in world.tasks() {
        for item in &task.items {
            let fact = &truth.facts[item.row["fact"].as_u64().unwrap() as usize];
            assert!(fact.asked);
            assert_eq!(text(item, "subject_id"), fact.subject);
            assert_eq!(text(item, "answer_id"), fact.object);
            assert_eq!(text(item, "relation"), fact.relation);
            assert_eq!(text(item, "bin"), fact.bin);
            assert_eq!(item.row["statements"], fact.statements);
            let answer = truth.entities.iter().find(|entity| entity.id == fact.object).unwrap();
            assert_eq!(text(item, "answer"), answer.name);
            assert_eq!(item.own_text, format!("{} {}", text(item, "prompt"), answer.name));
            assert!(!text(item, "prompt").ends_with(' '));
        }
    }
}

#[test]
fn choices_are_four_of_a_kind_and_the_right_one_is_in_any_place() {
    let world = small(7);
    let truth = world.truth();
    let kind = |id: &str| truth.entities.iter().find(|entity| entity.id == id).unwrap().kind;
    for task in with_choices(&world) {
        let mut places = [0usize; 4];
        for item in &task.items {
            let (choices, ids) = (list(item, "choices"), list(item, "choice_ids"));
            assert_eq!(choices.iter().collect::<BTreeSet<_>>().len(), 4);
            let gold = item.row["gold"].as_u64().unwrap() as usize;
            assert_eq!((choices[gold], ids[gold]), (text(item, "answer"), text(item, "answer_id")));
            assert!(ids.iter().all(|id| kind(id) == kind(ids[gold])));
            places[gold] += 1;
        }
        let quarter = task.items.len() / 4;
        assert!(places.iter().all(|&count| count.abs_diff(quarter) <= 5), "{}: {places:?}", task.name);
    }
}

#[test]
fn wrong_dates_are_right_in_other_years() {
    let world = small(7);
    let truth = world.truth();
    let task = world.tasks().into_iter().find(|task| task.name == "dated_facts").unwrap();
    for item in &task.items {
        for id in list(item, "choice_ids") {
            let same_thing = |fact: &&super::FactTruth| {
                fact.relation == text(item, "relation") && fact.subject == text(item, "subject_id") && fact.object == id
            };
            let years: Vec<u16> = truth.facts.iter().filter(same_thing).map(|fact| fact.year.unwrap()).collect();
            let asked = u16::try_from(item.row["year"].as_u64().unwrap()).unwrap();
            if id == text(item, "answer_id") {
                assert!(years.contains(&asked));
            } else {
                assert!(!years.is_empty() && !years.contains(&asked));
            }
        }
    }
}

/// How often the corpus states an answer: relation, subject where it matters, object.
type Frequencies = BTreeMap<(String, String, String), f64>;

/// Whose statements count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    /// Facts that change are counted for each subject, as the mayors of one town.
    OfSubject,
    OfRelation,
    /// Of a relation, in quizzes alone.
    InQuizzes,
}

fn frequencies(world: &World, count: Count) -> Frequencies {
    let mut counts = BTreeMap::new();
    for fact in world.truth().facts {
        let of = if count == Count::OfSubject && fact.year.is_some() { fact.subject } else { String::new() };
        let times = fact.quiz_statements + if count == Count::InQuizzes { 0 } else { fact.statements };
        *counts.entry((fact.relation.to_owned(), of, fact.object)).or_default() += times as f64;
    }
    counts
}

/// How often whoever picks the most stated and the least stated choice is right on these items: expected, with ties.
fn right_by_frequency(items: &[&Item], frequencies: &Frequencies) -> [f64; 2] {
    let mut right = [0.0; 2];
    for item in items {
        let count = |id: &&str| {
            let of = [text(item, "subject_id"), ""];
            let key = |of: &&str| (text(item, "relation").to_owned(), (*of).to_owned(), (*id).to_owned());
            of.iter().find_map(|of| frequencies.get(&key(of))).copied().unwrap_or(0.0)
        };
        let ids = list(item, "choice_ids");
        let most = ids.iter().map(count).fold(0.0, f64::max);
        let least = ids.iter().map(count).fold(f64::INFINITY, f64::min);
        for (guess, right) in [most, least].into_iter().zip(&mut right) {
            let tied: Vec<&str> = ids.iter().copied().filter(|id| count(id) == guess).collect();
            *right += f64::from(u8::from(tied.contains(&text(item, "answer_id")))) / tied.len() as f64;
        }
    }
    right.map(|right| right / items.len() as f64)
}

#[test]
fn whoever_picks_the_most_or_the_least_stated_answer_is_right_by_chance() {
    for seed in [7, 8, 9] {
        let world = small(seed);
        let frequencies =
            [Count::OfSubject, Count::OfRelation, Count::InQuizzes].map(|count| frequencies(&world, count));
        for task in with_choices(&world) {
            // Of the mayors of all towns, whoever ruled longest anywhere; and what quizzes answer most.
            let all: Vec<&Item> = task.items.iter().collect();
            for share in frequencies[1..].iter().flat_map(|frequencies| right_by_frequency(&all, frequencies)) {
                assert!((share - 0.25).abs() < 0.05, "{} seed {seed}: {share}", task.name);
            }
            for (bin, _) in BINS {
                let items: Vec<&Item> = task.items.iter().filter(|item| text(item, "bin") == bin).collect();
                for share in right_by_frequency(&items, &frequencies[0]) {
                    assert!((share - 0.25).abs() < 0.05, "{} bin {bin} seed {seed}: {share}", task.name);
                }
            }
        }
    }
}

#[test]
fn held_out_answers_are_not_told_by_their_frequency_in_any_kind_of_relation() {
    // Of relations with many possible objects, most are never stated; those must not be right more often than others.
    let mut shares: BTreeMap<bool, Vec<[f64; 2]>> = BTreeMap::new();
    for seed in 0..12 {
        let world = small(seed);
        let frequencies = frequencies(&world, Count::OfSubject);
        let kinds: BTreeMap<&str, super::Kind> =
            super::relations::RELATIONS.iter().map(|r| (r.name, r.object)).collect();
        let tasks = world.tasks();
        let task = tasks.iter().find(|task| task.name == "facts_cloze").unwrap();
        for of_people in [false, true] {
            let fits = |item: &&Item| {
                text(item, "bin") == "0" && (kinds[text(item, "relation")] == super::Kind::Person) == of_people
            };
            let items: Vec<&Item> = task.items.iter().filter(fits).collect();
            shares.entry(of_people).or_default().push(right_by_frequency(&items, &frequencies));
        }
    }
    for (of_people, shares) in shares {
        for end in [0, 1] {
            let mean = shares.iter().map(|share| share[end]).sum::<f64>() / shares.len() as f64;
            assert!((mean - 0.25).abs() < 0.08, "answers are people: {of_people}, {mean}");
        }
    }
}

#[test]
fn the_text_of_an_item_is_in_no_document() {
    let (world, sources) = with_documents();
    let mut corpus = String::new();
    for (_, drafts) in sources {
        for draft in drafts {
            corpus += &draft.text;
            corpus.push('\u{1}');
        }
    }
    for task in world.tasks() {
        for item in &task.items {
            assert!(!corpus.contains(&item.own_text), "{}", item.own_text);
        }
    }
    // The search finds what is there.
    let known = world.facts.iter().position(|fact| fact.quizzed > 20 && fact.year.is_none()).unwrap();
    let forms = super::ask::Form::ALL.map(|form| super::ask::ask(world, known, form).own_text());
    assert!(forms.iter().all(|text| corpus.contains(text)), "{forms:?}");
}
