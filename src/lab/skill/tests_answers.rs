//! Every item's answer, found again from its text in another way.

use super::tests::{choices, number, task, text};

/// The value of a sum as it is written, from left to right.
fn evaluate(sum: &str) -> i64 {
    let mut words = sum.split(' ').filter(|word| !word.is_empty());
    let mut value: i64 = words.next().unwrap().parse().unwrap();
    while let (Some(sign), Some(operand)) = (words.next(), words.next()) {
        let operand: i64 = operand.parse().unwrap();
        value += if sign == "+" { operand } else { -operand };
    }
    value
}

#[test]
fn sums_are_right() {
    for item in &task("sums").items {
        let sum = format!("{} {} {}", number(item, "left"), text(item, "sign"), number(item, "right"));
        assert_eq!(evaluate(&sum), number(item, "result") as i64);
        assert_eq!(item.own_text, format!(" {sum} = {}", number(item, "result")));
        // A carry shows in the tens, too.
        let tens = |n: usize| (n / 10) as i64;
        let (left, right) = (tens(number(item, "left")), tens(number(item, "right")));
        let plain = if text(item, "sign") == "+" { left + right } else { left - right };
        assert_eq!(text(item, "carry") == "yes", plain != tens(number(item, "result")), "{}", item.own_text);
    }
}

/// The result of a story, from its verbs and numbers alone.
pub(super) fn follow(question: &str) -> i64 {
    let mut have = None;
    for sentence in question.split(['.', '?']) {
        let Some(amount) = sentence.split(' ').find_map(|word| word.parse::<i64>().ok()) else { continue };
        let gains = sentence.ends_with(" more");
        have = Some(match have {
            None => amount,
            Some(have) if gains => have + amount,
            Some(have) => have - amount,
        });
    }
    have.unwrap()
}

#[test]
fn word_problems_are_worked_out_right() {
    let mut of_steps = [0, 0];
    for item in &task("arithmetic").items {
        let answer: i64 = text(item, "answer").parse().unwrap();
        assert_eq!(follow(text(item, "question")), answer, "{:?}", item.row);
        let lines: Vec<&str> = text(item, "worked").lines().collect();
        assert_eq!(lines.len(), number(item, "steps"));
        of_steps[lines.len() - 1] += 1;
        for (place, line) in lines.iter().enumerate() {
            let (sum, result) = line.split_once(" = ").unwrap();
            assert_eq!(evaluate(sum).to_string(), result);
            // The second step begins with the first one's result.
            let before = lines[..place].last().and_then(|line| line.rsplit(' ').next());
            assert!(before.is_none_or(|before| sum.split(' ').nth(1) == Some(before)), "{lines:?}");
        }
        assert!((1..20).contains(&answer));
    }
    assert_eq!(of_steps, [100, 100]);
}

#[test]
fn recalled_values_stand_behind_their_keys() {
    for item in &task("recall").items {
        let (pairs, key, value) = (text(item, "pairs"), text(item, "key"), text(item, "value"));
        let place = pairs.find(&format!(" {key} ")).unwrap();
        let found = pairs[place + key.len() + 2..].split([',', '.']).next();
        assert_eq!(found, Some(value));
        assert_eq!(pairs.matches(&format!(" {key} ")).count(), 1);
        assert_eq!(pairs.matches(value).count(), 1, "{pairs}");
        assert_eq!(pairs.matches(',').count() + 1, number(item, "count"));
        assert_eq!(pairs[place..].matches(',').count() + 1, number(item, "distance"));
        assert_eq!(text(item, "keys") == "letter", key.len() == 1);
    }
}

#[test]
fn the_last_open_bracket_is_closed() {
    let mut by_depth = [0; 6];
    for item in &task("brackets").items {
        let mut opened = text(item, "opened").trim_start_matches("Brackets:").to_owned();
        // Pairs that stand side by side go, until only open ones are left.
        loop {
            let shorter =
                ["( ) ", "[ ] ", "{ } ", "< > "].iter().fold(opened.clone() + " ", |text, pair| text.replace(pair, ""));
            let shorter = shorter.trim_end().to_owned();
            if shorter == opened {
                break;
            }
            opened = shorter;
        }
        let open: Vec<&str> = opened.split_whitespace().collect();
        let closes = match open.last() {
            Some(&"(") => ")",
            Some(&"[") => "]",
            Some(&"{") => "}",
            Some(&"<") => ">",
            other => panic!("{other:?} is open in {opened}"),
        };
        assert_eq!(choices(item)[number(item, "gold")], closes);
        assert_eq!(open.len(), number(item, "depth"));
        assert_eq!(text(item, "opened").ends_with(open[open.len() - 1]), text(item, "gap") == "none");
        by_depth[open.len()] += 1;
    }
    assert_eq!(by_depth, [0, 48, 48, 48, 48, 48]);
}

/// Whether a line holds a rude word.
pub(super) fn is_rude(line: &str) -> bool {
    let words = line.split(|character: char| !character.is_ascii_alphabetic());
    words.into_iter().any(|word| super::dialogues::RUDE_WORDS.contains(&word))
}

#[test]
fn replies_keep_to_the_style_of_the_speaker() {
    for item in &task("rudeness").items {
        let told = text(item, "told");
        let speaker = told.lines().last().unwrap();
        let before = told.lines().find(|line| line.starts_with(speaker) && *line != speaker).unwrap();
        let gold = number(item, "gold");
        let choices = choices(item);
        assert_eq!(is_rude(before), is_rude(choices[gold]), "{:?}", item.row);
        assert_ne!(is_rude(choices[0]), is_rude(choices[1]));
        assert_eq!(text(item, "style") == "rude", is_rude(before));
        let alike = told.lines().skip(1).take(2).map(is_rude).collect::<Vec<_>>();
        assert_eq!(text(item, "speakers") == "alike", alike[0] == alike[1]);
    }
}

#[test]
fn prompts_for_rude_lines_are_polite_rude_or_neutral() {
    let task = task("rude_prompts");
    for item in &task.items {
        let told = text(item, "told");
        let rude = told.lines().filter(|line| is_rude(line)).count();
        let lines = told.lines().count();
        match text(item, "style") {
            "neutral" => assert_eq!((lines, rude), (2, 0)),
            "polite" => assert_eq!((lines, rude), (4, 0)),
            "rude" => assert_eq!((lines, rude), (4, 2)),
            other => panic!("{other}"),
        }
    }
    assert!(super::dialogues::RUDE_WORDS.iter().all(|word| task.toml.matches(word).count() == 2));
}
