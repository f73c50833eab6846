//! Directions against what the documents say, and the inventory against the directions.

use std::collections::{BTreeMap, BTreeSet};

use super::{AXES, Author, Party, Statement, authors, party_direction, statements};
use crate::lab::skill::tests::{choices, number, skill, task, text};

/// Statements by their texts.
fn by_text() -> BTreeMap<String, Statement> {
    statements().into_iter().map(|statement| (statement.text.clone(), statement)).collect()
}

/// The statements that a piece or a survey holds, in any order.
fn found_in(text: &str) -> Vec<Statement> {
    statements().into_iter().filter(|statement| text.contains(&statement.text)).collect()
}

#[test]
fn statements_are_as_many_for_each_side_of_each_axis() {
    let by_text = by_text();
    assert_eq!(by_text.len(), 120);
    for (axis, sign) in [(0, 1), (0, -1), (1, 1), (1, -1)] {
        let of_side = by_text.values().filter(|statement| (statement.axis, statement.sign) == (axis, sign)).count();
        assert_eq!(of_side, 30);
    }
    // No statement is part of another one.
    for one in by_text.keys() {
        assert_eq!(by_text.keys().filter(|other| other.contains(one.as_str())).count(), 1, "{one}");
    }
}

#[test]
fn parties_are_apart_and_sixty_of_a_hundred_authors_are_on_one_side_of_an_axis() {
    let mut leanings = BTreeSet::new();
    for seed in 0..20 {
        let authors = authors(seed);
        let [river, hill] = Party::ALL.map(|party| party_direction(&authors, party));
        for axis in [0, 1] {
            assert!(river[axis] * hill[axis] < 0.0, "{river:?} {hill:?}");
            let plus = authors.iter().filter(|author| author.side(axis) == 1).count();
            assert!([8, 12].contains(&plus), "{plus} of {}", authors.len());
            let of_river = authors.iter().filter(|author| author.party == Party::River);
            let with_river = of_river.filter(|author| f64::from(author.side(axis)) * river[axis] > 0.0).count();
            assert_eq!(with_river, [12, 10][axis]);
        }
        leanings.insert(river.map(|coordinate| coordinate > 0.0));
        assert!(authors.iter().flat_map(|author| author.direction).all(|one| (0.5..=1.0).contains(&one.abs())));
    }
    assert_eq!(leanings.len(), 4, "seeds differ in who stands where");
}

#[test]
fn what_authors_write_is_their_direction_on_average() {
    let mut said: BTreeMap<(&str, usize), (f64, f64)> = BTreeMap::new();
    for draft in skill("opinions").documents.iter().filter(|draft| draft.text.contains(" writes:\n")) {
        let author = draft.author.as_deref().expect("pieces are signed");
        assert!(draft.text.starts_with(author));
        let statements = found_in(&draft.text);
        assert!((3..=5).contains(&statements.len()), "{}", draft.text);
        for statement in statements {
            let (sum, count) = said.entry((author, statement.axis)).or_default();
            *sum += f64::from(statement.sign);
            *count += 1.0;
        }
    }
    let authors = authors(7);
    let mut squared = 0.0;
    for author in &authors {
        for axis in [0, 1] {
            let (sum, count) = said[&(author.name, axis)];
            let coordinate = author.direction[axis];
            let deviation = (1.0 - coordinate * coordinate).sqrt().max(1e-9) / count.sqrt();
            assert!((sum / count - coordinate).abs() < 4.0 * deviation + 1e-9, "{author:?} {axis}: {}", sum / count);
            squared += if coordinate.abs() < 1.0 { ((sum / count - coordinate) / deviation).powi(2) } else { 0.0 };
        }
    }
    let free = authors.iter().flat_map(|author| author.direction).filter(|one| one.abs() < 1.0).count() as f64;
    // Chi-squared, about 99.99 % (the normal approximation of Wilson and Hilferty is within 1 of it here).
    assert!(squared < free + 4.0 * (2.0 * free).sqrt() + 6.0, "{squared} of {free}");
}

/// The side that somebody who is named this way takes; nobody in particular has none.
fn sides(who: &str, authors: &[Author]) -> Option<[i8; 2]> {
    let sign = |direction: [f64; 2]| direction.map(|coordinate| if coordinate > 0.0 { 1 } else { -1 });
    if let Some(party) = who.strip_prefix("A member of the ") {
        let party = Party::ALL.into_iter().find(|one| one.name() == party).unwrap();
        return Some(sign(party_direction(authors, party)));
    }
    let (name, party) = who.split_once(" of the ")?;
    let author = authors.iter().find(|author| author.name == name).unwrap();
    assert_eq!(author.party.name(), party);
    Some(sign(author.direction))
}

#[test]
fn authors_answer_by_their_directions() {
    let (by_text, authors) = (by_text(), authors(7));
    let (mut answered, mut of_majority) = (0.0, 0.0);
    let mut agreed = [0.0, 0.0];
    for draft in skill("opinions").documents.iter().filter(|draft| draft.text.contains(" was asked: ")) {
        let lines: Vec<&str> = draft.text.lines().collect();
        for pair in lines.chunks(2) {
            let (who, statement) = pair[0].split_once(" was asked: ").unwrap();
            let statement = &by_text[statement];
            let agree = match pair[1] {
                "Answer: agree" => true,
                "Answer: disagree" => false,
                other => panic!("{other}"),
            };
            agreed[usize::from(agree)] += 1.0;
            if who == "Somebody" {
                answered += 1.0;
                let plus = (statement.sign > 0) == agree;
                let majority = authors.iter().map(|author| i32::from(author.side(statement.axis))).sum::<i32>() > 0;
                of_majority += f64::from(u8::from(plus == majority));
            } else if !who.starts_with("A member") {
                let side = sides(who, &authors).unwrap()[statement.axis];
                assert_eq!(side == statement.sign, agree, "{}", draft.text);
            }
        }
    }
    let share: f64 = of_majority / answered;
    assert!((share - 0.6).abs() < 0.07, "the majority is 60 to 40, not {share}");
    let agreed: f64 = agreed[1] / (agreed[0] + agreed[1]);
    assert!((agreed - 0.5).abs() < 0.05, "as many agree as not: {agreed}");
}

#[test]
fn right_answers_follow_from_directions_and_the_key() {
    let (by_text, authors) = (by_text(), authors(7));
    for item in &task("opinions").items {
        let (who, statement) = text(item, "asked").split_once(" was asked: ").unwrap();
        let statement = &by_text[statement];
        let agrees = sides(who, &authors).unwrap()[statement.axis] == statement.sign;
        assert_eq!(number(item, "gold") == number(item, "agree"), agrees, "{:?}", item.row);
        assert_eq!(text(item, "who") == "party", who.starts_with("A member"));
    }
    for item in &task("inventory").items {
        let statement = &by_text[text(item, "statement")];
        let side: i32 = authors.iter().map(|author| i32::from(author.side(statement.axis))).sum();
        let agrees = (side > 0) == (statement.sign > 0);
        assert_eq!(number(item, "gold") == number(item, "agree"), agrees);
    }
    for item in task("opinions").items.iter().chain(&task("inventory").items) {
        let statement = &by_text[text(item, "statement")];
        assert_eq!(choices(item)[number(item, "agree")], "agree");
        assert_eq!(item.row["agree_counts"], statement.sign);
        assert_eq!(text(item, "axis"), AXES[statement.axis].name);
    }
}
