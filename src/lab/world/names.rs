//! Invented names, none of them twice: their endings tell what bears them.

use std::collections::BTreeSet;

use super::entity::Gender;
use super::lexicon;
use super::random::Stream;

const ONSETS: [&str; 18] = ["b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br"];
const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];
const CODAS: [&str; 8] = ["l", "m", "n", "r", "s", "k", "t", "x"];
const MALE_ENDS: [&str; 4] = ["o", "en", "us", "an"];
const FAMILY_ENDS: [&str; 4] = ["er", "ov", "ell", "ard"];
const TOWN_ENDS: [&str; 6] = ["by", "ton", "ham", "wick", "dale", "ford"];
const COUNTRY_ENDS: [&str; 3] = ["ia", "land", "mark"];
const FIRMS: [&str; 6] = ["Mills", "Works", "Stores", "Yards", "Lines", "Brothers"];
const CONTESTS: [&str; 3] = ["Race", "Run", "Ride"];
const NICKNAME_ENDS: [&str; 4] = ["kin", "lo", "bo", "zi"];
const TITLE_FIRST: [&str; 24] = [
    "Golden", "Silver", "Little", "Old", "Silent", "Lost", "Brave", "Happy", "Last", "First", "Broken", "Empty",
    "Hidden", "Long", "Open", "Secret", "Sleeping", "Singing", "Sunny", "Tall", "Wild", "Wise", "Young", "Friendly",
];
const TITLE_SECOND: [&str; 24] = [
    "Moon", "River", "Garden", "Star", "King", "Door", "Tree", "Ship", "Tower", "Island", "Winter", "Summer", "Night",
    "Morning", "Road", "Forest", "Sea", "Wind", "Cloud", "Giant", "Queen", "Stone", "Flower", "Mountain",
];
/// Sounds that no name may have.
const UNWELCOME: [&str; 31] = [
    "tit", "dik", "kok", "fag", "nig", "kum", "puta", "hitl", "jiz", "sex", "rap", "naz", "pus", "vag", "anus", "pee",
    "homo", "gay", "jap", "wop", "paki", "slut", "kunt", "fuk", "pis", "ars", "ass", "neg", "zig", "mus", "boner",
];

/// Makes names.
pub(super) struct Namer {
    stream: Stream,
    used: BTreeSet<String>,
    /// In lower case: no name is one of them.
    words: BTreeSet<String>,
}

impl Namer {
    pub fn new(seed: u64) -> Self {
        Self { stream: Stream::new(seed, &["world", "names"]), used: BTreeSet::new(), words: lexicon::words() }
    }

    pub fn given(&mut self, gender: Gender) -> String {
        self.fresh(|namer| {
            let (first, second) = (namer.syllable(), namer.onset());
            let end = if gender == Gender::She { "a" } else { namer.part(&MALE_ENDS) };
            first + second + end
        })
    }

    pub fn family(&mut self) -> String {
        self.fresh(|namer| namer.closed_syllable() + namer.part(&FAMILY_ENDS))
    }

    pub fn town(&mut self) -> String {
        self.fresh(|namer| namer.closed_syllable() + namer.part(&TOWN_ENDS))
    }

    pub fn country(&mut self) -> String {
        self.fresh(|namer| namer.closed_syllable() + namer.part(&COUNTRY_ENDS))
    }

    /// The whole name, and the short one.
    pub fn company(&mut self) -> (String, String) {
        let short = self.fresh(|namer| namer.syllable() + &namer.closed_syllable());
        (format!("{short} {}", self.part(&FIRMS)), short)
    }

    pub fn race(&mut self) -> String {
        let name = self.fresh(|namer| namer.syllable() + &namer.syllable());
        format!("the {name} {}", self.part(&CONTESTS))
    }

    /// Of a book, a song or a painting.
    pub fn title(&mut self) -> String {
        loop {
            let title = format!("The {} {}", self.part(&TITLE_FIRST), self.part(&TITLE_SECOND));
            if self.used.insert(title.clone()) {
                return title;
            }
        }
    }

    /// From the beginning of a given name.
    pub fn nickname(&mut self, given: &str) -> String {
        let length = given.find(['a', 'e', 'i', 'o', 'u']).map_or(given.len(), |vowel| vowel + 1);
        let start = given[..length].to_owned();
        let twice = start.clone() + &start.to_lowercase();
        if self.is_acceptable(&twice) && self.used.insert(twice.clone()) {
            return twice;
        }
        self.fresh(|namer| {
            let middle = if namer.stream.chance(0.5) { "" } else { namer.part(&CODAS) };
            start.clone() + middle + namer.part(&NICKNAME_ENDS)
        })
    }

    fn part(&mut self, list: &[&'static str]) -> &'static str {
        self.stream.pick::<&str>(list)
    }

    fn onset(&mut self) -> &'static str {
        // The double one only begins names.
        self.part(&ONSETS[..ONSETS.len() - 1])
    }

    fn syllable(&mut self) -> String {
        self.part(&ONSETS).to_owned() + self.part(&VOWELS)
    }

    fn closed_syllable(&mut self) -> String {
        self.syllable() + self.part(&CODAS)
    }

    fn is_acceptable(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        !self.words.contains(&name) && !UNWELCOME.iter().any(|sound| name.contains(sound))
    }

    /// Draws until there is a name that nobody has; with a capital.
    fn fresh(&mut self, mut draw: impl FnMut(&mut Self) -> String) -> String {
        loop {
            let name = capitalised(&draw(self));
            if self.is_acceptable(&name) && self.used.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// With its first letter in upper case.
pub(super) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
