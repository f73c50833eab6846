//! Brackets of four kinds, nested up to five deep: which one closes?

use serde_json::json;

use super::draw::{arrange, by_turns, distinct_items, row};
use super::press::Press;
use crate::lab::item::LabTask;
use crate::lab::random::Stream;

/// Opening and closing.
const KINDS: [(char, char); 4] = [('(', ')'), ('[', ']'), ('{', '}'), ('<', '>')];
const DEEPEST: usize = 5;
const DEPTHS: [usize; DEEPEST] = [1, 2, 3, 4, 5];
/// Fewest and most pairs of a text.
const PAIRS: (usize, usize) = (12, 26);
/// Fewest brackets of a prompt; shorter ones would be part of many documents.
const SHORTEST_PROMPT: usize = 12;

const ITEMS: usize = 240;
const DOCUMENTS: usize = 1_700;

const TOML: &str = r#"schema = "veval.task/1"
name = "brackets"
version = "1"
kind = "multiple_choice"
about = "Nested brackets of four kinds: which one closes the innermost that is open?"
prompt = "{{ opened }}"
choices = "choices"
gold = "gold"
metrics = ["acc", "brier_score", "bits_per_byte"]
slices = { depth = "depth", gap = "gap" }
"#;

pub(super) fn tasks(seed: u64) -> Vec<LabTask> {
    let mut stream = Stream::new(seed, &["brackets", "items"]);
    let items = distinct_items("brackets", ITEMS, &mut stream, |stream, turn| {
        // The depths by turns; of each depth half close what was just opened and half something further back. At the
        // deepest nothing can have stood between.
        let depth = by_turns(DEPTHS, turn);
        let cut = draw_cut(stream, depth, depth == DEEPEST || (turn / DEEPEST).is_multiple_of(2));
        let wrong: Vec<String> =
            KINDS.iter().map(|kind| kind.1.to_string()).filter(|close| *close != cut.close.to_string()).collect();
        let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
        let (choices, gold) = arrange(stream, &cut.close.to_string(), &wrong);
        let opened = write(&cut.before);
        let row = row([
            ("opened", json!(opened)),
            ("choices", json!(choices)),
            ("gold", json!(gold)),
            ("depth", json!(cut.depth)),
            (
                "gap",
                json!(if cut.gap == 0 {
                    "none"
                } else if cut.gap <= 4 {
                    "short"
                } else {
                    "long"
                }),
            ),
        ]);
        (format!("{opened} {}", cut.close), row)
    });
    vec![LabTask {
        name: "brackets".into(),
        toml: TOML.into(),
        items,
        chance: 0.25,
        taught_by: vec!["brackets"],
        made_of: Vec::new(),
    }]
}

pub(super) fn documents(press: &mut Press<'_>) {
    press.print(DOCUMENTS, |stream| write(&draw_balanced(stream)));
}

fn write(brackets: &[char]) -> String {
    let mut text = String::from("Brackets:");
    for bracket in brackets {
        text.push(' ');
        text.push(*bracket);
    }
    text
}

/// Balanced brackets: at every place it opens or closes with the same probability where both can be.
fn draw_balanced(stream: &mut Stream) -> Vec<char> {
    let mut unopened = stream.between(PAIRS.0, PAIRS.1);
    let mut awaited = Vec::new();
    let mut brackets = Vec::with_capacity(2 * unopened);
    while unopened > 0 || !awaited.is_empty() {
        let may_open = unopened > 0 && awaited.len() < DEEPEST;
        if may_open && (awaited.is_empty() || stream.chance(0.5)) {
            let (open, close) = *stream.pick(&KINDS);
            brackets.push(open);
            awaited.push(close);
            unopened -= 1;
        } else {
            brackets.extend(awaited.pop());
        }
    }
    brackets
}

/// Balanced brackets cut before a closing one.
struct Cut {
    before: Vec<char>,
    close: char,
    /// Brackets that are open at the cut.
    depth: usize,
    /// Brackets between the one that is closed and the cut.
    gap: usize,
}

/// A cut at a depth, right behind what is closed or not.
fn draw_cut(stream: &mut Stream, depth: usize, right_behind: bool) -> Cut {
    loop {
        let brackets = draw_balanced(stream);
        let mut open_places = Vec::new();
        let mut cuts = Vec::new();
        for (place, &bracket) in brackets.iter().enumerate() {
            if KINDS.iter().any(|kind| kind.0 == bracket) {
                open_places.push(place);
                continue;
            }
            let open = open_places.len();
            let gap = open_places.pop().map_or(0, |opened| place - opened - 1);
            if open == depth && (gap == 0) == right_behind && place >= SHORTEST_PROMPT {
                cuts.push(Cut { before: brackets[..place].to_vec(), close: bracket, depth, gap });
            }
        }
        if !cuts.is_empty() {
            let chosen = stream.below(cuts.len());
            return cuts.swap_remove(chosen);
        }
    }
}
