//! Drawing items: no one twice, the right choice anywhere.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::lab::item::Item;
use crate::lab::random::Stream;

/// Draws before a task gives up on finding yet another item.
const PATIENCE: usize = 10_000;

/// Draws items until there are `count` with own texts of their own. `draw` gets the number of the item, to balance by.
///
/// # Panics
/// If ten thousand draws in a row bring nothing new: the task asks for more items than there are.
pub(super) fn distinct_items(
    task: &str,
    count: usize,
    stream: &mut Stream,
    mut draw: impl FnMut(&mut Stream, usize) -> (String, Map<String, Value>),
) -> Vec<Item> {
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(count);
    while items.len() < count {
        let (own_text, row) = (0..PATIENCE)
            .map(|_| draw(stream, items.len()))
            .find(|(own_text, _)| !seen.contains(own_text))
            .unwrap_or_else(|| panic!("{task}: no more than {} different items", items.len()));
        seen.insert(own_text.clone());
        items.push(Item::new(task, own_text, row));
    }
    items
}

/// A row from its columns.
pub(super) fn row<const N: usize>(columns: [(&str, Value); N]) -> Map<String, Value> {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Choices in random order, and the place of the right one.
pub(super) fn arrange(stream: &mut Stream, right: &str, wrong: &[&str]) -> (Vec<String>, usize) {
    let mut choices: Vec<String> = wrong.iter().map(|&choice| choice.to_owned()).collect();
    stream.shuffle(&mut choices);
    let place = stream.below(choices.len() + 1);
    choices.insert(place, right.to_owned());
    (choices, place)
}

/// One of a list by turns, over and over.
pub(super) fn by_turns<T: Copy, const N: usize>(list: [T; N], turn: usize) -> T {
    list[turn % N]
}
