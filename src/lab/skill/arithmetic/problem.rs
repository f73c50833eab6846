//! Word problems: stories in which things become more and fewer.

use super::fact::{Fact, Sign};
use crate::lab::random::Stream;

/// A word problem.
pub struct Problem {
    pub question: String,
    /// One or two facts; the second goes on from the first one's result.
    pub steps: Vec<Fact>,
}

impl Problem {
    pub fn result(&self) -> usize {
        self.steps.last().map_or(0, |step| step.result())
    }

    pub fn worked(&self) -> String {
        self.steps.iter().map(|step| step.tell()).collect::<Vec<_>>().join("\n")
    }
}

/// Names, and the pronouns that go with them.
const PEOPLE: [(&str, &str); 12] = [
    ("Ansa", "She"),
    ("Brill", "He"),
    ("Cedda", "She"),
    ("Dorrin", "He"),
    ("Effie", "She"),
    ("Gosta", "He"),
    ("Hedda", "She"),
    ("Jorrit", "He"),
    ("Kaisa", "She"),
    ("Minke", "She"),
    ("Olmo", "He"),
    ("Ulrik", "He"),
];

const OBJECTS: [&str; 16] = [
    "apples", "pears", "nuts", "plums", "eggs", "buns", "cups", "balls", "books", "shells", "stones", "coins",
    "buttons", "ribbons", "kites", "candles",
];

/// How the first number is told, and how the changes after it and the question, which depend on it.
///
/// `{n}` is a number, `{o}` the objects, `{who}` and `{other}` two people, `{she}` and `{She}` the first one's pronoun.
struct Story {
    start: &'static str,
    more: &'static [&'static str],
    fewer: &'static [&'static str],
    question: &'static str,
}

const STORIES: [Story; 3] = [
    Story {
        start: "{who} has {n} {o}.",
        more: &["{She} gets {n} more.", "{other} gives {who} {n} more.", "{She} finds {n} more."],
        fewer: &["{She} gives {n} to {other}.", "{She} loses {n}.", "{other} takes {n}."],
        question: "How many {o} has {she} now?",
    },
    Story {
        start: "There are {n} {o} in the box.",
        more: &["{who} puts in {n} more.", "{other} brings {n} more."],
        fewer: &["{who} takes out {n}.", "{other} takes {n}."],
        question: "How many {o} are in the box now?",
    },
    Story {
        start: "{who} sees {n} {o} on the table.",
        more: &["{other} adds {n} more.", "{She} adds {n} more."],
        fewer: &["{other} takes away {n}.", "{She} takes {n}."],
        question: "How many {o} are there now?",
    },
];

/// A problem of so many steps, whose facts are all among these.
pub fn draw_problem(stream: &mut Stream, facts: &[Fact], steps: usize) -> Problem {
    // Stories begin with more than one thing, so all of them say `apples`.
    let beginnings: Vec<Fact> = facts.iter().copied().filter(|fact| fact.left > 1).collect();
    let mut chain = vec![*stream.pick(&beginnings)];
    while chain.len() < steps {
        let before = chain[chain.len() - 1].result();
        let next: Vec<Fact> = facts.iter().copied().filter(|fact| fact.left == before).collect();
        if next.is_empty() {
            chain = vec![*stream.pick(&beginnings)];
        } else {
            chain.push(*stream.pick(&next));
        }
    }
    let story = stream.pick(&STORIES);
    let people = stream.sample(&PEOPLE, 2);
    let objects = *stream.pick(&OBJECTS);
    let mut sentences = vec![story.start.replace("{n}", &chain[0].left.to_string())];
    for (number, step) in chain.iter().enumerate() {
        let change = *stream.pick(match step.sign {
            Sign::Plus => story.more,
            Sign::Minus => story.fewer,
        });
        let change = change.replace("{n}", &step.right.to_string());
        sentences.push(if number == 0 { change } else { format!("Then {}", lower_pronoun(&change)) });
    }
    sentences.push(story.question.to_owned());
    let (who, pronoun) = people[0];
    let question = sentences
        .join(" ")
        .replace("{who}", who)
        .replace("{other}", people[1].0)
        .replace("{o}", objects)
        .replace("{She}", pronoun)
        .replace("{she}", &pronoun.to_lowercase());
    Problem { question, steps: chain }
}

/// A sentence template behind `Then`.
fn lower_pronoun(sentence: &str) -> String {
    sentence.replace("{She}", "{she}")
}
