//! What holds for every skill: bytes, sizes, seals, places of right choices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::*;
use crate::lab::item::{Item, Split};

/// One small set for all tests.
pub(super) static SMALL: LazyLock<Vec<Skill>> = LazyLock::new(|| all(7, Size::Small));

pub(super) fn skill(source: &str) -> &'static Skill {
    SMALL.iter().find(|skill| skill.source == source).expect("a source of that name")
}

pub(super) fn task(name: &str) -> &'static LabTask {
    SMALL.iter().flat_map(|skill| &skill.tasks).find(|task| task.name == name).expect("a task of that name")
}

/// A column that holds a text.
pub(super) fn text<'a>(item: &'a Item, column: &str) -> &'a str {
    item.row[column].as_str().unwrap_or_else(|| panic!("{column} is a text in {:?}", item.row))
}

/// A column that holds a number.
pub(super) fn number(item: &Item, column: &str) -> usize {
    item.row[column].as_u64().unwrap_or_else(|| panic!("{column} is a number in {:?}", item.row)) as usize
}

pub(super) fn choices(item: &Item) -> Vec<&str> {
    item.row["choices"].as_array().unwrap().iter().map(|choice| choice.as_str().unwrap()).collect()
}

/// Tasks whose items have choices.
fn with_choices() -> impl Iterator<Item = &'static LabTask> {
    SMALL.iter().flat_map(|skill| &skill.tasks).filter(|task| task.items[0].row.contains_key("choices"))
}

#[test]
fn the_same_seed_makes_the_same_and_another_one_others() {
    assert_eq!(all(7, Size::Small), *SMALL);
    let other = all(8, Size::Small);
    for (here, there) in SMALL.iter().zip(&other) {
        let texts = |skill: &Skill| skill.documents.iter().map(|draft| draft.text.clone()).collect::<Vec<_>>();
        assert_ne!(texts(here), texts(there), "{}", here.source);
        assert!(here.tasks.iter().zip(&there.tasks).all(|(here, there)| here.items != there.items));
    }
}

#[test]
fn sealed_texts_are_in_no_document() {
    let sealed = Sealed::of(SMALL.iter().flat_map(|skill| &skill.tasks));
    for skill in SMALL.iter() {
        // Of the same source by plain search; of all by what keeps them out.
        let texts: String = skill.documents.iter().map(|draft| draft.text.clone() + "\0").collect();
        for item in skill.tasks.iter().flat_map(|task| &task.items).filter(|item| item.split == Split::Sealed) {
            assert!(!texts.contains(&item.own_text), "{}: {}", skill.source, item.own_text);
            assert!(sealed.occurs_in(&item.own_text));
        }
        assert!(skill.documents.iter().all(|draft| !sealed.occurs_in(&draft.text)), "{}", skill.source);
    }
}

#[test]
fn seventy_of_a_hundred_items_are_sealed_and_none_is_there_twice() {
    let (mut sealed, mut all) = (0, 0);
    for task in SMALL.iter().flat_map(|skill| &skill.tasks) {
        assert!((100..=300).contains(&task.items.len()), "{}: {}", task.name, task.items.len());
        let own: BTreeSet<&str> = task.items.iter().map(|item| item.own_text.as_str()).collect();
        assert_eq!(own.len(), task.items.len(), "{}", task.name);
        sealed += task.items.iter().filter(|item| item.split == Split::Sealed).count();
        all += task.items.len();
    }
    let share = sealed as f64 / all as f64;
    // Four standard errors of about 4,200 items.
    assert!((share - 0.7).abs() < 0.03, "{share}");
}

#[test]
fn right_choices_are_anywhere() {
    for task in with_choices() {
        let places = choices(&task.items[0]).len();
        let mut counts = vec![0usize; places];
        for item in &task.items {
            let different: BTreeSet<&str> = choices(item).into_iter().collect();
            assert_eq!(different.len(), places, "{:?}", item.row);
            counts[number(item, "gold")] += 1;
        }
        let expected = task.items.len() as f64 / places as f64;
        let squared: f64 = counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        // Chi-squared, 99.9 %: with one degree of freedom and with three.
        assert!(squared < [10.83, 16.27][usize::from(places == 4)], "{}: {counts:?}", task.name);
        assert_eq!(task.chance, 1.0 / places as f64, "{}", task.name);
    }
}

#[test]
fn always_giving_the_most_frequent_answer_is_no_better_than_chance() {
    for task in with_choices() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for item in &task.items {
            *counts.entry(choices(item)[number(item, "gold")]).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default() as f64;
        let (n, chance) = (task.items.len() as f64, task.chance);
        assert!(most <= n * chance + 3.5 * (n * chance * (1.0 - chance)).sqrt(), "{}: {counts:?}", task.name);
    }
}

#[test]
fn composites_name_the_tasks_of_their_parts() {
    let composites: Vec<&LabTask> =
        SMALL.iter().flat_map(|skill| &skill.tasks).filter(|task| !task.made_of.is_empty()).collect();
    assert!(composites.len() >= 6);
    for composite in composites {
        assert_eq!(composite.made_of.len(), 2);
        assert!(composite.made_of.iter().all(|part| task(part).made_of.is_empty()), "{}", composite.name);
    }
}

#[test]
fn sources_have_their_shares_of_the_text() {
    let bytes = |skill: &Skill| skill.documents.iter().map(|draft| draft.text.len()).sum::<usize>() as f64;
    let whole: f64 = SMALL.iter().map(bytes).sum();
    assert!((2.5e6..4e6).contains(&whole), "{whole}");
    // Lists have short tokens: a third of the bytes is well over a third of the tokens.
    let least = [("lists", 0.30), ("arithmetic", 0.12), ("web", 0.15), ("opinions", 0.1), ("recall", 0.07)];
    for (source, share) in least {
        assert!(bytes(skill(source)) / whole > share, "{source}: {}", bytes(skill(source)) / whole);
    }
}

#[test]
fn texts_are_short_and_plain() {
    for skill in SMALL.iter() {
        for draft in &skill.documents {
            assert!(draft.text.is_ascii() && draft.text.len() <= 600, "{}: {}", skill.source, draft.text);
            assert!(draft.text.len() >= 30, "{}: {}", skill.source, draft.text);
            assert!((1960..2000).contains(&draft.year));
            assert_eq!(draft.author.is_some(), draft.text.contains(" writes:"));
        }
        for item in skill.tasks.iter().flat_map(|task| &task.items) {
            // No prompt comes near a context of 256 tokens, were every token a single byte and a space.
            let longest = item.row.values().filter_map(serde_json::Value::as_str).map(str::len).max();
            assert!(longest.is_some_and(|longest| longest <= 300), "{:?}", item.row);
            let prompt_ends =
                item.row.iter().filter(|(name, _)| ["prompt", "told", "asked", "opened"].contains(&&***name));
            for (_, prompt) in prompt_ends {
                assert!(!prompt.as_str().unwrap().ends_with(char::is_whitespace), "{prompt:?}");
            }
        }
    }
}

#[test]
fn a_medium_world_has_eight_times_as_much_and_not_the_same_again() {
    let medium = all(7, Size::Medium);
    for (small, medium) in SMALL.iter().zip(&medium) {
        assert_eq!(medium.documents.len(), 8 * small.documents.len(), "{}", small.source);
        assert_eq!(medium.tasks, small.tasks);
        let different: BTreeSet<&str> = medium.documents.iter().map(|draft| draft.text.as_str()).collect();
        let share = different.len() as f64 / medium.documents.len() as f64;
        assert!(share > 0.9, "{}: {share}", small.source);
    }
}

#[test]
fn the_truth_is_that_of_the_tasks() {
    let truth = truth(7);
    for transformation in &truth.transformations {
        let task = task(&transformation.task);
        let parts: Vec<String> = transformation.parts.iter().map(|part| format!("lists_{part}")).collect();
        assert_eq!(task.made_of, parts);
    }
    let lists = SMALL.iter().flat_map(|skill| &skill.tasks).filter(|task| task.taught_by == ["lists"]).count();
    assert_eq!(truth.transformations.len(), lists);
    assert!(serde_json::to_string(&truth).unwrap().contains("\"reverse_next\""));
}
