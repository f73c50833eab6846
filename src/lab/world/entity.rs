//! Who and what there is in the world.

use std::collections::BTreeMap;

use serde::Serialize;

use super::names::Namer;
use super::random::Stream;
use super::size::Size;

/// What sort of thing an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Person,
    Town,
    Country,
    Company,
    Book,
    Song,
    Painting,
    Race,
    Profession,
    Food,
    Animal,
    Colour,
    Product,
}

impl Kind {
    /// Common words such as `baker`, that are the same in every world and have no other name.
    pub(super) fn is_common(self) -> bool {
        matches!(self, Self::Profession | Self::Food | Self::Animal | Self::Colour | Self::Product)
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Town => "town",
            Self::Country => "country",
            Self::Company => "company",
            Self::Book => "book",
            Self::Song => "song",
            Self::Painting => "painting",
            Self::Race => "race",
            Self::Profession => "profession",
            Self::Food => "food",
            Self::Animal => "animal",
            Self::Colour => "colour",
            Self::Product => "product",
        }
    }
}

/// Which pronoun an entity takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gender {
    She,
    He,
    It,
}

/// Somebody or something that texts mention.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entity {
    /// `Q` and a number.
    pub id: String,
    pub kind: Kind,
    pub gender: Gender,
    pub name: String,
    /// Other forms of the name; a person's first one is the given name.
    pub aliases: Vec<String>,
    pub nickname: Option<String>,
    /// Ids of those who have the very same name.
    pub ambiguous_with: Vec<String>,
}

impl Entity {
    /// What a descriptor calls it: `the company`. Common words have none.
    pub(super) fn noun(&self) -> Option<&'static str> {
        match (self.kind, self.gender) {
            (Kind::Person, Gender::She) => Some("woman"),
            (Kind::Person, _) => Some("man"),
            (kind, _) if kind.is_common() => None,
            (kind, _) => Some(kind.label()),
        }
    }
}

/// All entities of a world; everywhere else they go by their place in this list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entities {
    list: Vec<Entity>,
    by_surface: BTreeMap<String, Vec<usize>>,
}

/// How many of each sort a small world has.
const PEOPLE: usize = 120;
const NAMESAKES: usize = 6;
const COMPANIES: usize = 30;
const WORKS: [(Kind, usize); 3] = [(Kind::Book, 28), (Kind::Song, 16), (Kind::Painting, 16)];
const RACES: usize = 8;
const TOWNS: usize = 24;
const COUNTRIES: usize = 12;
/// Two of three people have a nickname.
const NICKNAMED: f64 = 0.66;

pub(super) const COMMON_WORDS: [(Kind, &[&str]); 5] = [
    (
        Kind::Profession,
        &[
            "baker", "painter", "farmer", "teacher", "doctor", "tailor", "miller", "fisher", "sailor", "singer",
            "weaver", "judge", "nurse", "cook", "smith", "potter",
        ],
    ),
    (
        Kind::Food,
        &[
            "apples", "beans", "bread", "butter", "carrots", "cheese", "cherries", "corn", "honey", "jam", "nuts",
            "onions", "pears", "plums", "rice", "soup",
        ],
    ),
    (
        Kind::Animal,
        &[
            "cat", "dog", "goat", "hen", "horse", "mouse", "pig", "rabbit", "sheep", "duck", "donkey", "crow", "frog",
            "fox", "goose", "pony",
        ],
    ),
    (Kind::Colour, &["red", "blue", "green", "yellow", "white", "black", "brown", "grey", "pink", "purple"]),
    (
        Kind::Product,
        &[
            "boots", "bricks", "carts", "candles", "chairs", "clocks", "coats", "nets", "ropes", "saddles", "spoons",
            "tents", "wagons", "wheels", "windows", "barrels",
        ],
    ),
];

impl Entities {
    /// The entities of a world: first those with names of their own, then the common words.
    pub fn new(seed: u64, size: Size) -> Self {
        let mut stream = Stream::new(seed, &["world", "entities"]);
        let mut namer = Namer::new(seed);
        let mut world = Self { list: Vec::new(), by_surface: BTreeMap::new() };
        let times = size.times();
        // Places grow slower than people, so that people still share them.
        let places = if times == 1 { 1 } else { times / 2 };

        world.add_people(&mut stream, &mut namer, times);
        for _ in 0..TOWNS * places {
            world.add(Kind::Town, Gender::It, namer.town(), Vec::new(), None);
        }
        for _ in 0..COUNTRIES * places {
            world.add(Kind::Country, Gender::It, namer.country(), Vec::new(), None);
        }
        for _ in 0..COMPANIES * times {
            let (name, short) = namer.company();
            world.add(Kind::Company, Gender::It, name, vec![short], None);
        }
        for (kind, count) in WORKS {
            for _ in 0..count * times {
                world.add(kind, Gender::It, namer.title(), Vec::new(), None);
            }
        }
        for _ in 0..RACES * times {
            world.add(Kind::Race, Gender::It, namer.race(), Vec::new(), None);
        }
        for (kind, words) in COMMON_WORDS {
            for word in words {
                world.add(kind, Gender::It, (*word).to_owned(), Vec::new(), None);
            }
        }
        world.mark_namesakes();
        world
    }

    fn add_people(&mut self, stream: &mut Stream, namer: &mut Namer, times: usize) {
        // Twice as many people as given names of their gender, and two or three to a family.
        let mut given = BTreeMap::new();
        for gender in [Gender::She, Gender::He] {
            given.insert(gender, (0..30 * times.min(4)).map(|_| namer.given(gender)).collect::<Vec<_>>());
        }
        let families: Vec<String> = (0..48 * times).map(|_| namer.family()).collect();
        let mut people: Vec<(Gender, String, String)> = Vec::new();
        while people.len() < (PEOPLE - NAMESAKES) * times {
            let gender = if people.len().is_multiple_of(2) { Gender::She } else { Gender::He };
            let person = (gender, stream.pick(&given[&gender]).clone(), stream.pick(&families).clone());
            if !people.contains(&person) {
                people.push(person);
            }
        }
        let twins = stream.sample(&people, NAMESAKES * times);
        people.extend(twins);
        for (gender, given, family) in people {
            let title = if gender == Gender::She { "Miss" } else { "Mister" };
            let nickname = stream.chance(NICKNAMED).then(|| namer.nickname(&given));
            let aliases = vec![given.clone(), format!("{title} {family}")];
            self.add(Kind::Person, gender, format!("{given} {family}"), aliases, nickname);
        }
    }

    fn add(&mut self, kind: Kind, gender: Gender, name: String, aliases: Vec<String>, nickname: Option<String>) {
        let place = self.list.len();
        for surface in std::iter::once(&name).chain(&aliases).chain(&nickname) {
            self.by_surface.entry(surface.clone()).or_default().push(place);
        }
        let id = format!("Q{}", place + 1);
        self.list.push(Entity { id, kind, gender, name, aliases, nickname, ambiguous_with: Vec::new() });
    }

    fn mark_namesakes(&mut self) {
        for place in 0..self.list.len() {
            let name = &self.list[place].name;
            let others = self.meanings(name).iter().filter(|&&other| other != place && self.list[other].name == *name);
            self.list[place].ambiguous_with = others.map(|&other| self.list[other].id.clone()).collect();
        }
    }

    pub fn all(&self) -> &[Entity] {
        &self.list
    }

    pub fn get(&self, place: usize) -> &Entity {
        &self.list[place]
    }

    /// Places of those of a kind, in order.
    pub fn of(&self, kind: Kind) -> Vec<usize> {
        (0..self.list.len()).filter(|&place| self.list[place].kind == kind).collect()
    }

    /// Whose name, alias or nickname this text is.
    pub fn meanings(&self, surface: &str) -> &[usize] {
        self.by_surface.get(surface).map_or(&[], Vec::as_slice)
    }

    /// Texts that mean more than one entity, and whom they mean.
    pub fn ambiguous(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let shared = self.by_surface.iter().filter(|(_, places)| places.len() > 1);
        shared.map(|(surface, places)| (surface.as_str(), places.as_slice()))
    }

    /// Others that have a name, alias or nickname of this wording: ids and names.
    pub fn others(&self, surface: &str, place: usize) -> Vec<(String, String)> {
        let others = self.meanings(surface).iter().filter(|&&other| other != place);
        others.map(|&other| (self.list[other].id.clone(), self.list[other].name.clone())).collect()
    }
}
