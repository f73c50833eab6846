//! Which items become feedback, and which measure what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use crate::data;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::Target;
use crate::feedback::split::{Declared, OwnFields, Side, Split, words};
use crate::run::{Prepared, RightAnswer, right_answers};
use crate::text::Tokenizer;

/// Columns of a row that are no content.
const NO_CONTENT: [&str; 2] = ["id", "split"];
/// Of fewer words a row is not known by its texts alone.
const FEWEST_WORDS: usize = 4;
/// Fewer have no halves to compare.
const FEWEST_ITEMS: usize = 2;

/// What is wanted of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Names of tasks; all of the suite when there are none.
    pub tasks: Vec<String>,
    /// Feedback items of each task, at most.
    pub items: usize,
}

/// Items of the wanted tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    pub targets: Vec<ChosenTarget>,
    /// How many of all items of the suite are on which side, and how many were refused.
    pub feedback: usize,
    pub development: usize,
    pub sealed: usize,
    pub refused: usize,
}

/// Items of one task. Their order is that of hashes: random, and the same every time.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenTarget {
    pub name: String,
    /// The task's first group, or the task itself.
    pub domain: String,
    /// What may leave.
    pub feedback: Vec<Target>,
    /// What is measured on, and never leaves.
    pub sealed: Vec<Target>,
}

impl ChosenTarget {
    /// Gives each feedback item the answer of the next one: a control of equal size, whose gradients know the form of the
    /// answers and not which is right.
    pub fn shuffle_answers(&mut self) {
        let answers: Vec<Vec<u32>> = self.feedback.iter().map(|item| item.tokens[item.start..].to_vec()).collect();
        let count = answers.len();
        for (number, item) in self.feedback.iter_mut().enumerate() {
            item.tokens.truncate(item.start);
            item.tokens.extend_from_slice(&answers[(number + 1) % count]);
        }
    }
}

/// Puts all items of the suite on their sides, all tasks at once, and encodes those of the wanted tasks.
///
/// # Errors
/// Tasks that the suite does not have, tasks with fewer than two items on the side of feedback or none that is sealed;
/// items without words, that are there twice, or whose answer cannot be encoded.
pub fn choose(
    mut prepared: Prepared,
    data_dir: Option<&Path>,
    wish: &Wish,
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Chosen> {
    let wanted = wanted_tasks(&prepared, &wish.tasks)?;
    let Declarations { items: declared, places } = declared(&prepared, data_dir)?;
    let split = Split::new(&declared)?;
    // By task and item: the rank among its side's, so that the order of hashes survives the encoding.
    let mut feedback: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut sealed: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
    for item in split.feedback() {
        let place = places[item.index()];
        let count = kept.entry(place.0).or_default();
        if wanted.contains(&place.0) && *count < wish.items {
            *count += 1;
            feedback.insert(place, feedback.len());
        }
    }
    for item in split.sealed().iter().filter(|item| wanted.contains(&places[item.index].0)) {
        sealed.insert(places[item.index], sealed.len());
    }
    let mut targets = Vec::new();
    let mut problems = Vec::new();
    for &task in &wanted {
        let count = |side: &BTreeMap<(usize, usize), usize>| side.keys().filter(|place| place.0 == task).count();
        let (for_feedback, for_sealed) = (count(&feedback), count(&sealed));
        if for_feedback < FEWEST_ITEMS || for_sealed == 0 {
            problems.push(
                Diagnostic::new(format!(
                    "expected at least {FEWEST_ITEMS} items on the side of feedback and one that is sealed, \
                     found {for_feedback} and {for_sealed}"
                ))
                .at(format!("task {}", prepared.tasks[task].task.name))
                .help("a task of a handful of items cannot be both taught and measured; take a larger one"),
            );
        }
        let own = &prepared.tasks[task].task;
        targets.push(ChosenTarget {
            name: own.name.clone(),
            domain: own.groups.first().unwrap_or(&own.name).clone(),
            feedback: Vec::new(),
            sealed: Vec::new(),
        });
    }
    Error::check(problems)?;
    // Only what is needed is encoded: an answer that cannot be is somebody else's problem then.
    let mut numbers: Vec<Vec<usize>> = vec![Vec::new(); prepared.tasks.len()];
    for (number, task) in prepared.tasks.iter_mut().enumerate() {
        let mut index = 0;
        task.items.retain(|_| {
            let place = (number, index);
            index += 1;
            let keep = feedback.contains_key(&place) || sealed.contains_key(&place);
            if keep {
                numbers[number].push(place.1);
            }
            keep
        });
    }
    let mut sides: Vec<[Vec<(usize, Target)>; 2]> = vec![[Vec::new(), Vec::new()]; targets.len()];
    let order: Vec<usize> = wanted.iter().copied().collect();
    for RightAnswer { task, item, tokens, start } in right_answers(&prepared, tokenizer, longest)? {
        let place = (task, numbers[task][item]);
        let target = Target { id: prepared.tasks[task].items[item].id.clone(), tokens, start };
        let own = order.iter().position(|wanted| *wanted == task).unwrap_or_default();
        match (feedback.get(&place), sealed.get(&place)) {
            (Some(&rank), _) => sides[own][0].push((rank, target)),
            (None, Some(&rank)) => sides[own][1].push((rank, target)),
            (None, None) => {}
        }
    }
    for (target, side) in targets.iter_mut().zip(sides) {
        let [feedback, sealed] = side.map(|mut side| {
            side.sort_by_key(|(rank, _)| *rank);
            side.into_iter().map(|(_, target)| target).collect()
        });
        (target.feedback, target.sealed) = (feedback, sealed);
    }
    Ok(Chosen {
        targets,
        feedback: split.feedback().len(),
        development: split.development(),
        sealed: split.sealed().len(),
        refused: split.refused().len(),
    })
}

/// Numbers of the wanted tasks.
fn wanted_tasks(prepared: &Prepared, names: &[String]) -> Result<BTreeSet<usize>> {
    let number = |name: &String| prepared.tasks.iter().position(|task| task.task.name == *name);
    let problem = |name: &&String| {
        let known: Vec<&str> = prepared.tasks.iter().map(|task| task.task.name.as_str()).collect();
        Diagnostic::new(format!("expected a task of the suite ({}), found {name}", known.join(", ")))
    };
    let unknown: Vec<&String> = names.iter().filter(|name| number(name).is_none()).collect();
    Error::check(unknown.iter().map(problem).collect())?;
    if names.is_empty() {
        return Ok((0..prepared.tasks.len()).collect());
    }
    Ok(names.iter().filter_map(number).collect())
}

/// All items of a suite.
pub struct Declarations {
    /// With what their rows brought.
    pub items: Vec<Declared>,
    /// Task and number of each.
    pub places: Vec<(usize, usize)>,
}

/// All items with what their rows brought.
///
/// # Errors
/// Data that cannot be read, and sides that are none.
pub fn declared(prepared: &Prepared, data_dir: Option<&Path>) -> Result<Declarations> {
    let (mut items, mut places, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (number, task) in prepared.tasks.iter().enumerate() {
        let rows = data::load(&task.task, data_dir)?.data.rows;
        for (index, item) in task.items.iter().enumerate() {
            let Some(row) = rows.get(item.row) else {
                return Err(Error::bad("expected the rows that the items were made of, found fewer")
                    .at(format!("task {}", task.task.name))
                    .help("the data changed meanwhile; run the command again"));
            };
            let side = match row.get("split") {
                Some(Value::String(side)) => Side::parse(side).map(Some),
                _ => Ok(None),
            };
            match side {
                Ok(side) => {
                    let fields = OwnFields::new(texts(row));
                    items.push(Declared { task: task.task.name.clone(), id: item.id.clone(), fields, side });
                    places.push((number, index));
                }
                Err(error) => {
                    problems.extend(error.at(format!("task {}, item {}", task.task.name, item.row)).into_diagnostics());
                }
            }
        }
    }
    Error::check(problems)?;
    Ok(Declarations { items, places })
}

/// Texts of a row by column, those of lists and tables as well. Numbers are indices as a rule, and signs are style; where a row
/// has hardly a word, as in arithmetic or a language of brackets, they are what it is about, and stand as words.
fn texts(row: &Map<String, Value>) -> Vec<(String, String)> {
    let content: Vec<(&String, &Value)> = row.iter().filter(|(name, _)| !NO_CONTENT.contains(&name.as_str())).collect();
    let texts = |reading: Reading| -> Vec<(String, String)> {
        let text = |(name, value): &(&String, &Value)| {
            let mut text = String::new();
            reading.gather(value, &mut text);
            (!text.is_empty()).then(|| ((*name).clone(), text))
        };
        content.iter().filter_map(text).collect()
    };
    let plain = texts(Reading::Words);
    let count: usize = plain.iter().map(|(_, text)| words(text).len()).sum();
    if count < FEWEST_WORDS { texts(Reading::Everything) } else { plain }
}

/// What of a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Words,
    Everything,
}

impl Reading {
    fn gather(self, value: &Value, to: &mut String) {
        match value {
            Value::String(text) if self == Self::Words => *to += text,
            Value::String(text) => {
                for c in text.chars() {
                    if c.is_alphanumeric() || c.is_whitespace() {
                        to.push(c);
                    } else {
                        *to += &format!(" sign{:x} ", u32::from(c));
                    }
                }
            }
            Value::Number(number) if self == Self::Everything => *to += &number.to_string(),
            Value::Array(list) => list.iter().for_each(|value| self.gather(value, to)),
            Value::Object(table) => table.values().for_each(|value| self.gather(value, to)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        to.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(row: Value) -> Vec<String> {
        let Value::Object(row) = row else { panic!("a row is a table") };
        words(&texts(&row).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn rows_are_known_by_their_words_and_without_words_by_numbers_and_signs() {
        let fact = |number: u32| serde_json::json!({"id": "x", "prompt": "Where was Mira born?", "fact": number});
        assert_eq!(own(fact(1)), own(fact(2)));
        assert_eq!(own(fact(1)), ["where", "was", "mira", "born"]);
        let sum =
            |left: u32, sign: &str| serde_json::json!({"left": left, "sign": sign, "right": 3, "split": "sealed"});
        assert_ne!(own(sum(4, "+")), own(sum(5, "+")));
        assert_ne!(own(sum(4, "+")), own(sum(4, "-")));
        let brackets = |opened: &str| serde_json::json!({"opened": opened, "choices": ["]", ")"]});
        assert_ne!(own(brackets("( [ ]")), own(brackets("( ( )")));
    }
}
