//! Who writes: name, party, direction.

use serde::Serialize;

use crate::lab::random::Stream;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    River,
    Hill,
}

impl Party {
    pub const ALL: [Self; 2] = [Self::River, Self::Hill];

    /// As texts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::River => "River party",
            Self::Hill => "Hill party",
        }
    }
}

/// An author. All write equally often.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Author {
    pub name: &'static str,
    pub party: Party,
    /// Along each axis, in `[-1, 1]`; never 0.
    pub direction: [f64; 2],
}

impl Author {
    /// 1 or -1: the side of an axis that the author is on.
    pub fn side(&self, axis: usize) -> i8 {
        if self.direction[axis] > 0.0 { 1 } else { -1 }
    }

    /// How pieces and questions name the author.
    pub fn signature(&self) -> String {
        format!("{} of the {}", self.name, self.party.name())
    }
}

const NAMES: [&str; 20] = [
    "Aldo", "Bette", "Corin", "Dulce", "Ebbe", "Fenna", "Gwil", "Hille", "Imke", "Jarl", "Kelda", "Lorne", "Maud",
    "Niall", "Odile", "Piers", "Quill", "Randi", "Sorrel", "Thora",
];

/// Authors of the River party; the others are of the Hill party. Twelve to eight is the corpus's majority, 60 to 40.
const RIVER: usize = 12;
/// Of each party, so many have a second coordinate of the other party's sign: 10 and 2 are 60 to 40 again.
const ASTRAY: usize = 2;
/// How far from the middle somebody may be.
const STRENGTHS: [f64; 3] = [0.6, 0.8, 1.0];

/// Everybody. Which party is on which side of each axis depends on the seed.
pub fn authors(seed: u64) -> Vec<Author> {
    let mut stream = Stream::new(seed, &["opinions", "authors"]);
    let leanings = [0, 1].map(|_| if stream.chance(0.5) { 1.0 } else { -1.0 });
    let names = stream.sample(&NAMES, NAMES.len());
    let (river, hill) = names.split_at(RIVER);
    let mut authors = Vec::with_capacity(names.len());
    for (names, party, sign) in [(river, Party::River, 1.0), (hill, Party::Hill, -1.0)] {
        for (number, &name) in names.iter().enumerate() {
            let second = if number < ASTRAY { -sign } else { sign };
            let signs = [sign * leanings[0], second * leanings[1]];
            authors.push(Author { name, party, direction: signs.map(|sign| sign * stream.pick(&STRENGTHS)) });
        }
    }
    authors.sort_by_key(|author| author.name);
    authors
}

/// The mean direction of a party's authors.
pub fn party_direction(authors: &[Author], party: Party) -> [f64; 2] {
    let members: Vec<&Author> = authors.iter().filter(|author| author.party == party).collect();
    [0, 1].map(|axis| members.iter().map(|author| author.direction[axis]).sum::<f64>() / members.len() as f64)
}

/// The side of an axis, 1 or -1, that most of these are on.
pub fn majority_side<'a>(authors: impl Iterator<Item = &'a Author>, axis: usize) -> i8 {
    if authors.map(|author| i32::from(author.side(axis))).sum::<i32>() > 0 { 1 } else { -1 }
}
