//! What each item of a suite is known by: the words that its row brought.

use std::path::Path;

use serde_json::{Map, Value};

use crate::data;
use crate::error::{Error, Result};
use crate::feedback::split::{Declared, OwnFields, Side, words};
use crate::run::Prepared;

/// Columns of a row that are no content.
const NO_CONTENT: [&str; 2] = ["id", "split"];
/// Of fewer words a row is not known by its texts alone.
const FEWEST_WORDS: usize = 4;

/// All items of a suite.
pub struct Declarations {
    /// With what their rows brought.
    pub items: Vec<Declared>,
    /// Task and number of each.
    pub places: Vec<(usize, usize)>,
    /// Of each task, whether its shots are rows of its own.
    pub own_shots: Vec<bool>,
}

/// All items with what their rows brought.
///
/// # Errors
/// Data that cannot be read, and sides that are none.
pub fn declared(prepared: &Prepared, data_dir: Option<&Path>) -> Result<Declarations> {
    let (mut items, mut places, mut own_shots, mut problems) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, task) in prepared.tasks.iter().enumerate() {
        let data = data::load(&task.task, data_dir)?.data;
        own_shots.push(data.pool.is_none());
        let rows = data.rows;
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
    Ok(Declarations { items, places, own_shots })
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
