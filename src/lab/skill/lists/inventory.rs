//! Every transformation there is.
//!
//! Numbers of documents are tuned so that skills come one after the other: parts have more than what is made of them.

use super::transformation::{Rule, Transformation};
use super::vocabulary::{Inflection, NOUNS, VERBS};

const fn letters(
    name: &'static str,
    documents: usize,
    (fewest, most): (usize, usize),
    apply: fn(&[char]) -> Vec<char>,
) -> Transformation {
    Transformation { name, documents, rule: Rule::Letters { fewest, most, apply } }
}

const fn composite(
    name: &'static str,
    documents: usize,
    (fewest, most): (usize, usize),
    [first, second]: [&'static str; 2],
) -> Transformation {
    Transformation { name, documents, rule: Rule::Composite { fewest, most, first, second } }
}

/// Transformations of letters, of words, and composites of two.
pub const TRANSFORMATIONS: &[Transformation] = &[
    letters("copy", 560, (3, 5), <[char]>::to_vec),
    letters("first", 520, (3, 5), |x| x[..1].to_vec()),
    letters("last", 520, (3, 5), |x| x[x.len() - 1..].to_vec()),
    letters("upper", 620, (3, 4), |x| x.iter().map(char::to_ascii_uppercase).collect()),
    letters("next_letter", 620, (3, 4), |x| x.iter().map(|&letter| (letter as u8 + 1) as char).collect()),
    letters("drop_first", 520, (3, 5), |x| x[1..].to_vec()),
    letters("double", 480, (2, 3), |x| x.iter().flat_map(|&letter| [letter, letter]).collect()),
    letters("reverse", 620, (3, 4), |x| x.iter().rev().copied().collect()),
    letters("swap_ends", 540, (4, 5), |x| {
        let mut swapped = x.to_vec();
        swapped.swap(0, x.len() - 1);
        swapped
    }),
    Transformation {
        name: "plural",
        documents: 340,
        rule: Rule::Words { vocabulary: &NOUNS, inflection: Inflection::Plural },
    },
    Transformation {
        name: "past_tense",
        documents: 340,
        rule: Rule::Words { vocabulary: &VERBS, inflection: Inflection::Past },
    },
    Transformation {
        name: "gerund",
        documents: 340,
        rule: Rule::Words { vocabulary: &VERBS, inflection: Inflection::Gerund },
    },
    Transformation { name: "opposite", documents: 220, rule: Rule::Lookup { pairs: OPPOSITES, both_ways: true } },
    Transformation { name: "colour_of", documents: 220, rule: Rule::Lookup { pairs: COLOURS, both_ways: false } },
    composite("first_upper", 110, (3, 5), ["first", "upper"]),
    composite("last_upper", 110, (3, 5), ["last", "upper"]),
    composite("last_next", 120, (3, 5), ["last", "next_letter"]),
    composite("upper_double", 110, (2, 3), ["upper", "double"]),
    composite("drop_first_reverse", 150, (4, 5), ["drop_first", "reverse"]),
    composite("reverse_upper", 170, (3, 4), ["reverse", "upper"]),
    composite("reverse_next", 190, (3, 4), ["reverse", "next_letter"]),
    composite("swap_ends_upper", 170, (4, 5), ["swap_ends", "upper"]),
];

const OPPOSITES: &[(&str, &str)] = &[
    ("hot", "cold"),
    ("big", "small"),
    ("up", "down"),
    ("day", "night"),
    ("fast", "slow"),
    ("wet", "dry"),
    ("open", "shut"),
    ("full", "empty"),
    ("light", "dark"),
    ("happy", "sad"),
    ("high", "low"),
    ("near", "far"),
    ("hard", "soft"),
    ("long", "short"),
    ("rich", "poor"),
    ("loud", "quiet"),
];

const COLOURS: &[(&str, &str)] = &[
    ("grass", "green"),
    ("leaf", "green"),
    ("frog", "green"),
    ("pea", "green"),
    ("sun", "yellow"),
    ("lemon", "yellow"),
    ("butter", "yellow"),
    ("corn", "yellow"),
    ("snow", "white"),
    ("milk", "white"),
    ("salt", "white"),
    ("flour", "white"),
    ("coal", "black"),
    ("raven", "black"),
    ("ink", "black"),
    ("tar", "black"),
    ("cherry", "red"),
    ("rose", "red"),
    ("brick", "red"),
    ("fire", "red"),
    ("bear", "brown"),
    ("nut", "brown"),
    ("bread", "brown"),
    ("earth", "brown"),
];
