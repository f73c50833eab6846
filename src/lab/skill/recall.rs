//! Values of keys that were named before: `Pairs: k red, m blue, t gold. Asked: m blue, ...`. What belongs to what is in
//! the text alone. Keys are letters, or letters with digits, where a letter may come with several digits.

use serde_json::json;

use super::draw::{by_turns, distinct_items, row};
use super::press::Press;
use crate::lab::item::LabTask;
use crate::lab::random::Stream;

const LETTERS: [&str; 12] = ["b", "d", "f", "g", "h", "k", "m", "n", "p", "r", "t", "w"];
const DIGITS: [&str; 8] = ["2", "3", "4", "5", "6", "7", "8", "9"];
const VALUES: [&str; 12] =
    ["red", "blue", "gold", "green", "pink", "white", "black", "grey", "brown", "silver", "yellow", "orange"];
/// Numbers of pairs that texts have.
const PAIRS: [usize; 6] = [3, 4, 5, 6, 7, 8];

const ITEMS: usize = 240;
const DOCUMENTS: usize = 2_600;

const TOML: &str = r#"schema = "veval.task/1"
name = "recall"
version = "1"
kind = "generation"
about = "Pairs of keys and values, then a key: which value was its own?"
prompt = "{{ pairs }} Asked: {{ key }}"
target = "value"
stop = [",", ".", "\n"]
max_tokens = 4
filters = [{ name = "stripped", steps = [{ op = "strip" }] }]
slices = { pairs = "count", distance = "distance", keys = "keys" }
"#;

/// What keys are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Letter,
    LetterAndDigit,
}

/// Keys with their values; no one of either twice.
type Pairs = Vec<(String, &'static str)>;

pub(super) fn tasks(seed: u64) -> Vec<LabTask> {
    let mut stream = Stream::new(seed, &["recall", "items"]);
    let items = distinct_items("recall", ITEMS, &mut stream, |stream, turn| {
        let count = by_turns(PAIRS, turn);
        let keys = by_turns([Keys::Letter, Keys::LetterAndDigit], turn / PAIRS.len());
        let pairs = draw_pairs(stream, count, keys);
        let asked = stream.below(count);
        let (key, value) = &pairs[asked];
        let told = format!("Pairs: {}.", list(&pairs));
        let row = row([
            ("pairs", json!(told)),
            ("key", json!(key)),
            ("value", json!(value)),
            ("count", json!(count)),
            // How many pairs back it was told: 1 for the last one.
            ("distance", json!(count - asked)),
            ("keys", json!(if keys == Keys::Letter { "letter" } else { "letter and digit" })),
        ]);
        (format!("{told} Asked: {key} {value}"), row)
    });
    vec![LabTask {
        name: "recall".into(),
        toml: TOML.into(),
        items,
        chance: 0.0,
        taught_by: vec!["recall"],
        made_of: Vec::new(),
    }]
}

/// Every pair is asked once.
pub(super) fn documents(press: &mut Press<'_>) {
    press.print(DOCUMENTS, |stream| {
        let count = *stream.pick(&PAIRS);
        let keys = *stream.pick(&[Keys::Letter, Keys::LetterAndDigit]);
        let pairs = draw_pairs(stream, count, keys);
        format!("Pairs: {}. Asked: {}.", list(&pairs), list(&stream.sample(&pairs, count)))
    });
}

fn draw_pairs(stream: &mut Stream, count: usize, keys: Keys) -> Pairs {
    let digits: &[&str] = match keys {
        Keys::Letter => &[""],
        Keys::LetterAndDigit => &DIGITS,
    };
    let keys: Vec<String> =
        LETTERS.iter().flat_map(|letter| digits.iter().map(move |digit| format!("{letter}{digit}"))).collect();
    stream.sample(&keys, count).into_iter().zip(stream.sample(&VALUES, count)).collect()
}

fn list(pairs: &Pairs) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} {value}")).collect();
    pairs.join(", ")
}
