//! Transformations, their lists and items, against rules on texts that were written apart.

use std::collections::{BTreeMap, BTreeSet};

use super::TRANSFORMATIONS;
use super::transformation::{Rule, Transformation};
use crate::lab::random::Stream;
use crate::lab::skill::tests::{skill, task, text};

/// What a transformation makes of a query, from the text alone; `None` for pairs that must be known.
fn expected(name: &str, query: &str) -> Option<String> {
    const ALPHABET: &str = "abcdefghijklmnopq";
    let end = query.len() - 1;
    Some(match name {
        "copy" => query.to_owned(),
        "first" => query[..1].to_owned(),
        "last" => query[end..].to_owned(),
        "upper" => query.to_uppercase(),
        "next_letter" => query
            .chars()
            .map(|letter| match ALPHABET.find(letter) {
                Some(place) => ALPHABET[place + 1..].chars().next().unwrap(),
                None => letter,
            })
            .collect(),
        "drop_first" => query[2..].to_owned(),
        "double" => query.split(' ').map(|letter| format!("{letter} {letter}")).collect::<Vec<_>>().join(" "),
        // Spaces stand as well from the other side.
        "reverse" => query.chars().rev().collect(),
        "swap_ends" => format!("{}{}{}", &query[end..], &query[1..end], &query[..1]),
        "plural" if query.ends_with('f') => format!("{}ves", &query[..end]),
        "plural" if ["x", "sh", "ss"].iter().any(|hiss| query.ends_with(hiss)) => format!("{query}es"),
        "plural" => format!("{query}s"),
        "past_tense" if query.ends_with("ing") => query.replace("ing", "ang"),
        "past_tense" if query.ends_with('e') => format!("{query}d"),
        "past_tense" => format!("{query}ed"),
        "gerund" => format!("{}ing", query.trim_end_matches('e')),
        "opposite" | "colour_of" => return None,
        composite => {
            let [first, second] = Transformation::named(composite).unwrap().parts().unwrap();
            expected(second, &expected(first, query)?)?
        }
    })
}

/// Whether a pair is right; those that must be known are asked of the table.
fn holds(name: &str, query: &str, answer: &str) -> bool {
    let right = expected(name, query).or_else(|| Transformation::named(name).unwrap().apply(query));
    right.as_deref() == Some(answer)
}

#[test]
fn examples_by_hand() {
    for (name, query, answer) in [
        ("copy", "b c a", "b c a"),
        ("next_letter", "a p", "b q"),
        ("drop_first", "b c a", "c a"),
        ("double", "b c", "b b c c"),
        ("reverse", "b c a d", "d a c b"),
        ("swap_ends", "b c a d", "d c a b"),
        ("plural", "bomik", "bomiks"),
        ("plural", "dabix", "dabixes"),
        ("plural", "fenolf", "fenolves"),
        ("past_tense", "delump", "delumped"),
        ("past_tense", "fomobe", "fomobed"),
        ("past_tense", "gipling", "giplang"),
        ("gerund", "fomobe", "fomobing"),
        ("opposite", "hot", "cold"),
        ("opposite", "cold", "hot"),
        ("colour_of", "snow", "white"),
        ("first_upper", "b c a", "B"),
        ("last_next", "b c a", "b"),
        ("upper_double", "b c", "B B C C"),
        ("drop_first_reverse", "b c a d", "d a c"),
        ("reverse_next", "b c a", "b d c"),
        ("swap_ends_upper", "b c a d", "D C A B"),
    ] {
        assert_eq!(Transformation::named(name).unwrap().apply(query).as_deref(), Some(answer), "{name} {query}");
    }
    assert_eq!(Transformation::named("plural").unwrap().apply("table"), None);
    assert_eq!(Transformation::named("reverse").unwrap().apply("ab c"), None);
}

#[test]
fn rules_on_texts_agree() {
    let mut stream = Stream::new(1, &["agree"]);
    for transformation in TRANSFORMATIONS {
        for _ in 0..300 {
            let query = transformation.draw_query(&mut stream);
            let answer = transformation.apply(&query).unwrap();
            assert!(holds(transformation.name, &query, &answer), "{}: {query} -> {answer}", transformation.name);
        }
    }
}

#[test]
fn opposites_lead_back_and_everything_has_one_partner() {
    for transformation in TRANSFORMATIONS {
        let Rule::Lookup { pairs, both_ways } = transformation.rule else { continue };
        let mut words: Vec<&str> = pairs.iter().map(|pair| pair.0).collect();
        if both_ways {
            words.extend(pairs.iter().map(|pair| pair.1));
            for word in &words {
                let there = transformation.apply(word).unwrap();
                assert_eq!(transformation.apply(&there).as_deref(), Some(*word));
            }
        }
        let different: BTreeSet<&&str> = words.iter().collect();
        assert_eq!(different.len(), words.len());
    }
}

#[test]
fn composites_do_one_part_after_the_other_and_have_fewer_documents() {
    let mut stream = Stream::new(2, &["composites"]);
    let composites = TRANSFORMATIONS.iter().filter_map(|one| Some((one, one.parts()?.map(Transformation::named))));
    for (composite, parts) in composites {
        let [first, second] = parts.map(|part| part.expect("parts are transformations of their own"));
        assert!(composite.documents < first.documents.min(second.documents), "{}", composite.name);
        assert_eq!(composite.name, format!("{}_{}", first.name, second.name.trim_end_matches("_letter")));
        for _ in 0..100 {
            let query = composite.draw_query(&mut stream);
            let between = first.apply(&query).unwrap();
            assert_eq!(composite.apply(&query), second.apply(&between));
            // Neither part alone would do.
            assert!(![first.apply(&query), second.apply(&query)].contains(&composite.apply(&query)), "{query}");
        }
    }
}

#[test]
fn items_can_be_told_from_their_four_pairs_alone() {
    for transformation in TRANSFORMATIONS {
        for item in &task(&transformation.task()).items {
            let (query, answer) = (text(item, "query"), text(item, "answer"));
            assert!(holds(transformation.name, query, answer), "{query} -> {answer}");
            let prompt = text(item, "prompt");
            assert!(prompt.ends_with(&format!("\n {query} ->")));
            let told: Vec<(&str, &str)> = prompt.lines().filter_map(|line| line[1..].split_once(" -> ")).collect();
            assert_eq!(told.len(), 4);
            assert!(told.iter().all(|pair| pair.0 != query));
            let explanations: Vec<&str> = TRANSFORMATIONS
                .iter()
                .filter(|other| told.iter().all(|pair| other.apply(pair.0).as_deref() == Some(pair.1)))
                .map(|other| other.name)
                .collect();
            assert_eq!(explanations, [transformation.name], "{prompt}");
        }
    }
}

#[test]
fn every_line_of_a_list_is_of_its_transformation() {
    let mut with_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut without = 0;
    for draft in &skill("lists").documents {
        let (name, list) = match draft.text.split_once(":\n") {
            Some((name, list)) => (Some(name), list),
            None => (None, draft.text.as_str()),
        };
        let pairs: Vec<(&str, &str)> =
            list.lines().map(|line| line.strip_prefix(' ').unwrap().split_once(" -> ").unwrap()).collect();
        assert!((6..=9).contains(&pairs.len()), "{list}");
        let different: BTreeSet<&(&str, &str)> = pairs.iter().collect();
        assert_eq!(different.len(), pairs.len());
        if let Some(name) = name {
            assert!(pairs.iter().all(|(query, answer)| holds(name, query, answer)), "{}", draft.text);
            *with_name.entry(name).or_default() += 1;
        } else {
            let explains =
                |one: &&Transformation| pairs.iter().all(|(query, answer)| one.apply(query).as_deref() == Some(answer));
            assert!(TRANSFORMATIONS.iter().any(|one| explains(&one)), "{list}");
            without += 1;
        }
    }
    for transformation in TRANSFORMATIONS {
        let share = with_name[transformation.name] as f64 / transformation.documents as f64;
        assert!((0.35..0.65).contains(&share), "{}: {share}", transformation.name);
    }
    assert_eq!(without + with_name.values().sum::<usize>(), skill("lists").documents.len());
}
