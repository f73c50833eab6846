//! What can be said of an entity, and how: the table of relations.
//!
//! In a template `{s}` stands for the subject, `{o}` for the object and `{y}` for the year. A subject may be named by
//! any of its names or a pronoun, for which `{s}` gives the case of `she`, `{s:him}` of `her` and `{s:his}` the
//! possessive; `{s:name}` takes no pronoun. No statement is worded as a question or a cloze is, so prose never contains the text of an item.

use super::entity::Kind;

/// How the objects of a relation are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objects {
    /// Each at random, independent of everything else.
    Any,
    /// Every object gets as many subjects as any other.
    Even,
    /// The subject is the object of that relation, and the object one of its subjects.
    Inverse(&'static str),
    /// Another one each year, at random from a few.
    Yearly,
    /// One for some years, then another one of a few.
    Terms,
}

/// A relation between a subject and an object.
#[derive(Debug)]
pub(super) struct Relation {
    pub name: &'static str,
    pub subject: Kind,
    pub object: Kind,
    pub objects: Objects,
    /// Whether tasks ask for it. Facts that follow from others are not asked.
    pub asked: bool,
    /// Clauses that state it, without the full stop.
    pub statements: &'static [&'static str],
    /// Of the tasks that ask with `Question:`, and of the one that asks with `Q:`.
    pub questions: [&'static str; 2],
    /// A sentence that ends with the object.
    pub cloze: &'static str,
}

impl Relation {
    /// Whether its facts are of a year.
    pub fn is_dated(&self) -> bool {
        matches!(self.objects, Objects::Yearly | Objects::Terms)
    }
}

pub(super) const RELATIONS: &[Relation] = &[
    Relation {
        name: "birthplace",
        subject: Kind::Person,
        object: Kind::Town,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} was born in {o}",
            "{s} comes from {o}",
            "{s} was a baby in {o}",
            "{s} took {s:his} first steps in {o}",
            "{o} is the town where {s} was born",
        ],
        questions: ["Where was {s} born?", "In which town was {s} born?"],
        cloze: "The birthplace of {s} is {o}",
    },
    Relation {
        name: "home",
        subject: Kind::Person,
        object: Kind::Town,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} lives in {o}",
            "{s} has a house in {o}",
            "{s:his} home is in {o}",
            "you can visit {s:him} at home in {o}",
            "{o} is the town where {s} lives",
        ],
        questions: ["Where does {s} live?", "In which town does {s} live?"],
        cloze: "The home town of {s} is {o}",
    },
    Relation {
        name: "profession",
        subject: Kind::Person,
        object: Kind::Profession,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} is a {o}",
            "{s} works as a {o}",
            "{s} became a {o} long ago",
            "{s} learned to be a {o}",
            "everyone knows {s:him} as a good {o}",
        ],
        questions: ["What is the job of {s}?", "What does {s} do all day?"],
        cloze: "By trade {s} is a {o}",
    },
    Relation {
        name: "employer",
        subject: Kind::Person,
        object: Kind::Company,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} works for {o}",
            "{s} has a job at {o}",
            "{o} pays {s:him} every week",
            "every morning {s} goes to work at {o}",
            "{s} found work at {o}",
        ],
        questions: ["Which company does {s} work for?", "Who pays {s}?"],
        cloze: "The company of {s} is {o}",
    },
    Relation {
        name: "food",
        subject: Kind::Person,
        object: Kind::Food,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} likes to eat {o}",
            "{s} loves {o}",
            "{s} eats {o} every day",
            "{s:his} kitchen is full of {o}",
            "nothing tastes better to {s:him} than {o}",
        ],
        questions: ["What does {s} like to eat?", "Which food does {s} like best?"],
        cloze: "The best meal for {s} is {o}",
    },
    Relation {
        name: "pet",
        subject: Kind::Person,
        object: Kind::Animal,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} has a {o}",
            "{s} keeps a {o}",
            "a {o} lives with {s:him}",
            "{s:his} best friend is a {o}",
            "{s} plays with a {o} in the evening",
        ],
        questions: ["Which animal does {s} have?", "What kind of animal lives with {s}?"],
        cloze: "The animal of {s} is a {o}",
    },
    Relation {
        name: "author",
        subject: Kind::Book,
        object: Kind::Person,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{o} wrote {s:him}",
            "{s} was written by {o:him}",
            "{s} is a book by {o:name}",
            "{o} sat down for a year and wrote {s:him}",
            "{s} has the name of {o:name} on the cover",
        ],
        questions: ["Who wrote {s}?", "Who is the author of {s}?"],
        cloze: "The author of {s} is {o}",
    },
    Relation {
        name: "composer",
        subject: Kind::Song,
        object: Kind::Person,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{o} made up {s:him}",
            "{s} is a song by {o:name}",
            "{s} was first sung by {o:him}",
            "{s} came to {o:him} in a dream",
            "{o} sang {s:him} before anyone else",
        ],
        questions: ["Who made the song {s}?", "Whose song is {s}?"],
        cloze: "The maker of the song {s} is {o}",
    },
    Relation {
        name: "artist",
        subject: Kind::Painting,
        object: Kind::Person,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{o} painted {s:him}",
            "{s} was painted by {o:him}",
            "{s} is a painting by {o:name}",
            "{o} needed a year to paint {s:him}",
            "{s} was made by {o:his} hand",
        ],
        questions: ["Who painted {s}?", "Whose painting is {s}?"],
        cloze: "The artist of {s} is {o}",
    },
    Relation {
        name: "hero",
        subject: Kind::Book,
        object: Kind::Animal,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} tells of a {o}",
            "{s} is the tale of a {o}",
            "a {o} goes on a long way in {s:him}",
            "{s} has a {o} on the first page",
            "in the middle of {s:name} a {o} is lost",
        ],
        questions: ["Which animal is in {s}?", "What is the hero of {s}?"],
        cloze: "The hero of {s} is a {o}",
    },
    Relation {
        name: "praise",
        subject: Kind::Song,
        object: Kind::Food,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} is all about {o}",
            "{s} makes you think of {o}",
            "people sing {s:him} when they eat {o}",
            "the last line of {s:name} is about {o}",
            "{s} says how good {o} can be",
        ],
        questions: ["Which food is {s} about?", "What does the song {s} praise?"],
        cloze: "The song {s} praises {o}",
    },
    Relation {
        name: "frame",
        subject: Kind::Painting,
        object: Kind::Colour,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} has a {o} frame",
            "{s:his} frame is {o}",
            "there is a {o} frame around {s:him}",
            "somebody gave {s:him} a {o} frame",
            "{s} hangs in a {o} frame",
        ],
        questions: ["What colour is the frame of {s}?", "Which colour is around {s}?"],
        cloze: "The frame of {s} is {o}",
    },
    Relation {
        name: "seat",
        subject: Kind::Company,
        object: Kind::Town,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} is a company in {o}",
            "{s} stands in {o}",
            "{s:his} doors are in {o}",
            "the people of {s:name} meet in {o}",
            "{o} is the town where {s} stands",
        ],
        questions: ["Where is {s}?", "In which town is {s}?"],
        cloze: "The place of {s} is {o}",
    },
    Relation {
        name: "founder",
        subject: Kind::Company,
        object: Kind::Person,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{o} founded {s:him}",
            "{s} was founded by {o:him}",
            "{s} was {o:his} idea",
            "{o} built {s:him} from nothing",
            "{s} belonged to {o:him} from the first day",
        ],
        questions: ["Who founded {s}?", "Who is the founder of {s}?"],
        cloze: "The founder of {s} is {o}",
    },
    Relation {
        name: "product",
        subject: Kind::Company,
        object: Kind::Product,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} makes {o}",
            "{s} sells {o}",
            "people buy {o} from {s:him}",
            "good {o} come from {s:him}",
            "{s:his} rooms are full of {o}",
        ],
        questions: ["What does {s} make?", "What can you buy from {s}?"],
        cloze: "The goods of {s} are {o}",
    },
    Relation {
        name: "flag",
        subject: Kind::Company,
        object: Kind::Colour,
        objects: Objects::Any,
        asked: true,
        statements: &[
            "{s} has a {o} flag",
            "{s:his} flag is {o}",
            "a {o} flag flies over {s:him}",
            "the people of {s:name} carry a {o} flag",
            "you know {s:him} by a {o} flag",
        ],
        questions: ["What colour is the flag of {s}?", "Which colour does {s} fly?"],
        cloze: "The colour of {s} is {o}",
    },
    Relation {
        name: "country",
        subject: Kind::Town,
        object: Kind::Country,
        objects: Objects::Even,
        asked: false,
        statements: &[
            "{s} is a town in {o}",
            "{s} lies in {o}",
            "{s} belongs to {o}",
            "you can find {s:him} on every map of {o}",
            "if you go to {o} you can see {s:him}",
        ],
        questions: ["In which country is {s}?", "Which country is {s} in?"],
        cloze: "The country of {s} is {o}",
    },
    Relation {
        name: "capital",
        subject: Kind::Country,
        object: Kind::Town,
        objects: Objects::Inverse("country"),
        asked: false,
        statements: &[
            "{o} is the capital of {s:name}",
            "{s} is ruled from {o}",
            "{s:his} king lives in {o}",
            "{s} has a king, who sits in {o}",
            "{s:his} first town is {o}",
        ],
        questions: ["What is the capital of {s}?", "Which town is the capital of {s}?"],
        cloze: "The capital of {s} is {o}",
    },
    Relation {
        name: "mayor",
        subject: Kind::Town,
        object: Kind::Person,
        objects: Objects::Terms,
        asked: true,
        statements: &[
            "in {y} {s:his} mayor was {o}",
            "{o} was mayor of {s:name} in {y}",
            "{o} ruled over {s:him}",
            "the people of {s:name} had {o:him} as mayor",
            "{s} was in {o:his} hands",
        ],
        questions: ["Who was the mayor of {s} in {y}?", "Which mayor did {s} have in {y}?"],
        cloze: "The mayor of {s} in {y} was {o}",
    },
    Relation {
        name: "hall",
        subject: Kind::Town,
        object: Kind::Colour,
        objects: Objects::Terms,
        asked: true,
        statements: &[
            "in {y} {s:his} town hall was {o}",
            "{s} had a {o} town hall in {y}",
            "{s} had a {o} hall",
            "the walls of {s:his} hall were {o}",
            "you could see a {o} hall in {s:him}",
        ],
        questions: ["What colour was the town hall of {s} in {y}?", "Which colour did the hall of {s} have in {y}?"],
        cloze: "The colour of the hall of {s} in {y} was {o}",
    },
    Relation {
        name: "winner",
        subject: Kind::Race,
        object: Kind::Person,
        objects: Objects::Yearly,
        asked: true,
        statements: &[
            "in {y} {o} won {s:him}",
            "{o} was the winner of {s:name} in {y}",
            "{o} won {s:him}",
            "nobody was faster in {s:him} than {o:him}",
            "{o} was the first to finish {s:him}",
        ],
        questions: ["Who won {s} in {y}?", "Who was the fastest in {s} in {y}?"],
        cloze: "The winner of {s} in {y} was {o}",
    },
];
