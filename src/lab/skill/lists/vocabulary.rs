//! Invented nouns and verbs in classes: the ending of a word tells how it is inflected.

use crate::lab::random::Stream;

/// Words of a kind: any beginning with any ending of any class.
#[derive(Debug)]
pub struct Vocabulary {
    beginnings: &'static [&'static str],
    classes: &'static [Class],
}

/// Words that are inflected alike.
#[derive(Debug)]
pub struct Class {
    pub name: &'static str,
    endings: &'static [&'static str],
    /// What is cut off, and what comes in its place.
    forms: &'static [(Inflection, &'static str, &'static str)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inflection {
    Plural,
    Past,
    Gerund,
}

impl Vocabulary {
    /// Any word; words of classes with more endings are met more often.
    pub fn draw(&self, stream: &mut Stream) -> String {
        let endings: Vec<&str> = self.classes.iter().flat_map(|class| class.endings).copied().collect();
        format!("{}{}", stream.pick(self.beginnings), stream.pick(&endings))
    }

    /// The class of a word; `None` if it is no word of this vocabulary.
    pub fn class_of(&self, word: &str) -> Option<&'static Class> {
        let rests = self.beginnings.iter().filter_map(|beginning| word.strip_prefix(beginning));
        rests.into_iter().find_map(|rest| self.classes.iter().find(|class| class.endings.contains(&rest)))
    }
}

impl Class {
    /// A word of this class, inflected; as it is if the class knows no such form.
    pub fn inflect(&self, word: &str, inflection: Inflection) -> String {
        let form = self.forms.iter().find(|form| form.0 == inflection);
        let changed = form.and_then(|(_, cut, put)| Some(format!("{}{put}", word.strip_suffix(cut)?)));
        changed.unwrap_or_else(|| word.to_owned())
    }
}

use Inflection::{Gerund, Past, Plural};

/// Nouns: `bomik -> bomiks`, `dabix -> dabixes`, `fenolf -> fenolves`.
pub static NOUNS: Vocabulary = Vocabulary {
    beginnings: &["bo", "da", "fe", "gu", "ha", "ji", "ka", "lu", "me", "no", "pi", "ro", "su", "ta", "vi", "wo"],
    classes: &[
        Class {
            name: "s",
            endings: &["mik", "lop", "ran", "dut", "bel", "nog", "pim", "rad"],
            forms: &[(Plural, "", "s")],
        },
        Class { name: "es", endings: &["bix", "dosh", "nass", "lux"], forms: &[(Plural, "", "es")] },
        Class { name: "ves", endings: &["nolf", "delf"], forms: &[(Plural, "f", "ves")] },
    ],
};

/// Verbs: `delump -> delumped`, `fomobe -> fomobed`, `gipling -> giplang`.
pub static VERBS: Vocabulary = Vocabulary {
    beginnings: &["ba", "de", "fo", "gi", "hu", "ja", "ke", "lo", "mu", "ni", "pe", "ra", "si", "to", "ve", "wu"],
    classes: &[
        Class {
            name: "ed",
            endings: &["lump", "mork", "dend", "folt", "nack", "gosp", "tirp", "zand"],
            forms: &[(Past, "", "ed"), (Gerund, "", "ing")],
        },
        Class {
            name: "d",
            endings: &["dize", "lane", "mobe", "ruke"],
            forms: &[(Past, "", "d"), (Gerund, "e", "ing")],
        },
        Class { name: "ang", endings: &["pling", "ming"], forms: &[(Past, "ing", "ang"), (Gerund, "", "ing")] },
    ],
};
