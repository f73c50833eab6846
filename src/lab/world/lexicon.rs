//! The words that the texts of the world use beside names.

use std::collections::BTreeSet;

use super::entity::COMMON_WORDS;
use super::relations::RELATIONS;
use super::story_plots::{Beat, PLACES, PLOTS, THINGS, WEATHERS};
use super::{text_chronicle, text_encyclopedia};

/// English words that look like the names we invent.
const LOOKALIKES: &[&str] = &[
    "baker", "biker", "bonus", "boxer", "broken", "coma", "data", "demo", "diner", "diva", "dozen", "fixer", "focus",
    "german", "given", "hero", "hiker", "human", "joker", "judo", "laser", "later", "lava", "logo", "loner", "loser",
    "maker", "mama", "meter", "miner", "mixer", "motel", "papa", "poker", "polo", "riser", "robo", "roman", "ruler",
    "saga", "seven", "soda", "sofa", "solo", "taken", "taker", "tamer", "timer", "toga", "token", "tuna", "tuner",
    "venom", "virus", "water", "woken", "woman", "women", "zero",
];

/// All of them, in lower case.
pub(super) fn words() -> BTreeSet<String> {
    let mut templates: Vec<&str> = Vec::new();
    for relation in RELATIONS {
        templates.extend(relation.statements.iter().chain(&relation.questions));
        templates.push(relation.cloze);
    }
    for (_, list) in COMMON_WORDS.iter().chain(&text_encyclopedia::REMARKS) {
        templates.extend(*list);
    }
    for list in [text_chronicle::OPENINGS, text_chronicle::REMARKS, THINGS, PLACES, WEATHERS, LOOKALIKES] {
        templates.extend(list);
    }
    for beat in PLOTS.iter().flat_map(|plot| plot.beats) {
        if let Beat::Say(sentences) = beat {
            templates.extend(*sentences);
        }
    }
    let words = templates.iter().flat_map(|template| template.split(|letter: char| !letter.is_ascii_alphabetic()));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}
