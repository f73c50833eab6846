//! Every document, read by a grammar of its source that was written apart from what prints it.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{skill, task, text};
use super::tests_answers::{follow, is_rude};
use crate::lab::item::Split;

fn texts(source: &str) -> impl Iterator<Item = &'static str> {
    skill(source).documents.iter().map(|draft| draft.text.as_str())
}

/// The three numbers and the sign of `a + b = c`.
fn read_fact(fact: &str) -> (i64, char, i64, i64) {
    let words: Vec<&str> = fact.trim().split(' ').collect();
    let [left, sign, right, "=", result] = words[..] else { panic!("{fact:?} is no sum") };
    let number = |text: &str| text.parse().unwrap();
    (number(left), sign.chars().next().unwrap(), number(right), number(result))
}

#[test]
fn arithmetic_documents_are_right() {
    let sealed: BTreeSet<&str> = task("sums")
        .items
        .iter()
        .filter(|item| item.split == Split::Sealed)
        .map(|item| item.own_text.as_str())
        .collect();
    let mut told = BTreeSet::new();
    let mut check = |fact: &str| {
        let (left, sign, right, result) = read_fact(fact);
        assert_eq!(if sign == '+' { left + right } else { left - right }, result, "{fact}");
        assert!((1..40).contains(&result) && left > 0 && right > 0, "{fact}");
        assert!(!sealed.contains(&*format!(" {left} {sign} {right} = {result}")), "{fact}");
        let changed_round = format!(" {right} {sign} {left} = {result}");
        assert!(sign == '-' || !sealed.contains(&*changed_round), "{fact} is sealed the other way round");
        told.insert((left, sign, right));
        result
    };
    for document in texts("arithmetic") {
        if let Some(facts) = document.strip_prefix("Sums:") {
            facts.strip_suffix(';').unwrap().split(';').for_each(|fact| _ = check(fact));
            continue;
        }
        let (question, answer) = document.strip_prefix("Question: ").unwrap().split_once("\nAnswer:").unwrap();
        let (worked, result) = answer.split_once("\n#### ").unwrap();
        let last = worked.lines().map(&mut check).last().unwrap();
        assert_eq!((last, follow(question)), (result.parse().unwrap(), last), "{document}");
    }
    // Of 741 sums and as many differences, all but the sealed ones and their like are told.
    assert!(told.len() > 1_200, "{}", told.len());
}

#[test]
fn recall_documents_answer_from_their_own_pairs() {
    for document in texts("recall") {
        let (pairs, asked) = document.strip_prefix("Pairs: ").unwrap().split_once(". Asked: ").unwrap();
        let read = |list: &'static str| list.split(", ").map(|pair| pair.split_once(' ').unwrap());
        let asked = asked.strip_suffix('.').unwrap();
        let told: BTreeMap<&str, &str> = read(pairs).collect();
        assert!((3..=8).contains(&told.len()) && read(pairs).count() == told.len(), "{document}");
        assert_eq!(read(asked).count(), told.len(), "{document}");
        assert_eq!(told, read(asked).collect(), "{document}");
    }
}

#[test]
fn bracket_documents_are_balanced() {
    let mut deepest = 0;
    for document in texts("brackets") {
        let mut stack = Vec::new();
        for bracket in document.strip_prefix("Brackets: ").unwrap().split(' ') {
            match bracket {
                "(" | "[" | "{" | "<" => stack.push(bracket),
                ")" => assert_eq!(stack.pop(), Some("(")),
                "]" => assert_eq!(stack.pop(), Some("[")),
                "}" => assert_eq!(stack.pop(), Some("{")),
                ">" => assert_eq!(stack.pop(), Some("<")),
                other => panic!("{other}"),
            }
            deepest = deepest.max(stack.len());
        }
        assert!(stack.is_empty(), "{document}");
    }
    assert_eq!(deepest, 5);
}

#[test]
fn speakers_keep_to_their_style() {
    let (mut rude, mut all) = (0, 0);
    for document in texts("dialogues") {
        let mut lines = document.lines();
        let scene = lines.next().unwrap();
        let mut styles: BTreeMap<&str, bool> = BTreeMap::new();
        for line in lines {
            let (speaker, said) = line.split_once(": ").unwrap();
            assert!(scene.contains(speaker) && !said.contains(['{', '}']), "{document}");
            assert_eq!(*styles.entry(speaker).or_insert(is_rude(said)), is_rude(said), "{document}");
        }
        assert_eq!(styles.len(), 2);
        rude += styles.values().filter(|rude| **rude).count();
        all += 2;
    }
    let share = f64::from(u32::try_from(rude).unwrap()) / f64::from(all);
    assert!((share - 0.4).abs() < 0.04, "{share}");
}

#[test]
fn the_web_teaches_nothing() {
    let asked: BTreeSet<&str> = ["arithmetic", "rudeness"]
        .into_iter()
        .flat_map(|name| &task(name).items)
        .map(|item| text(item, if item.row.contains_key("question") { "question" } else { "told" }))
        .collect();
    for page in texts("web") {
        assert!(!is_rude(page) && !page.contains("->") && !page.contains("####") && !page.contains("gree\n"), "{page}");
        assert!(!page.contains(" = ") && !asked.iter().any(|asked| page.contains(asked)), "{page}");
    }
    let words: BTreeSet<&str> = texts("web").flat_map(|page| page.split_whitespace()).collect();
    assert!(words.len() > 500, "slips and prices make many words: {}", words.len());
}
