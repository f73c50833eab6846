//! What is true in the world, as tables to be written beside the corpus.

use serde::Serialize;

use super::World;
use super::entity::{Entity, Kind};
use super::facts::Fact;
use super::relations::{RELATIONS, Relation};
use super::zipf::{self, BINS, EXPONENT, MOST_STATEMENTS};

/// Everything that a world decides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    pub entities: Vec<Entity>,
    pub relations: Vec<RelationTruth>,
    /// By number. A fact's documents are those whose drafts list its number.
    pub facts: Vec<FactTruth>,
    pub ambiguous: Vec<AmbiguousText>,
    pub law: Law,
}

/// How numbers of statements were made: of the facts that are stated, those stated at least `c` times fall as `c` to
/// the power of minus `exponent`, up to `most`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Law {
    pub exponent: f64,
    pub most: usize,
    /// Label and first number; each bin ends where the next begins.
    pub bins: Vec<(&'static str, usize)>,
}

/// A relation and its wordings: `{s}` is the subject, `{o}` the object, `{y}` the year.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RelationTruth {
    pub name: &'static str,
    pub subject: Kind,
    pub object: Kind,
    /// Whether its facts are of a year.
    pub dated: bool,
    pub asked: bool,
    pub statements: &'static [&'static str],
    pub questions: [&'static str; 2],
    pub cloze: &'static str,
}

/// A fact. Subject and object are ids of entities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FactTruth {
    pub number: usize,
    pub relation: &'static str,
    pub subject: String,
    pub object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    /// Times that prose states it.
    pub statements: usize,
    pub bin: &'static str,
    /// Times that a quiz asks and answers it.
    pub quiz_statements: usize,
    /// Stated nowhere.
    pub held_out: bool,
    /// Whether tasks ask it.
    pub asked: bool,
}

/// A text that is the name, alias or nickname of several entities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AmbiguousText {
    pub text: String,
    pub entities: Vec<String>,
}

pub(super) fn of(world: &World) -> Truth {
    let id = |place: usize| world.entities.get(place).id.clone();
    let ambiguous = world.entities.ambiguous().map(|(text, places)| AmbiguousText {
        text: text.to_owned(),
        entities: places.iter().map(|&place| id(place)).collect(),
    });
    let fact = |(number, fact): (usize, &Fact)| FactTruth {
        number,
        relation: fact.relation.name,
        subject: id(fact.subject),
        object: id(fact.object),
        year: fact.year,
        statements: fact.statements,
        bin: zipf::bin(fact.statements),
        quiz_statements: fact.quizzed,
        held_out: fact.statements + fact.quizzed == 0,
        asked: fact.asked,
    };
    Truth {
        entities: world.entities.all().to_vec(),
        relations: RELATIONS.iter().map(relation).collect(),
        facts: world.facts.iter().enumerate().map(fact).collect(),
        ambiguous: ambiguous.collect(),
        law: Law { exponent: EXPONENT, most: MOST_STATEMENTS, bins: BINS.to_vec() },
    }
}

fn relation(relation: &Relation) -> RelationTruth {
    RelationTruth {
        name: relation.name,
        subject: relation.subject,
        object: relation.object,
        dated: relation.is_dated(),
        asked: relation.asked,
        statements: relation.statements,
        questions: relation.questions,
        cloze: relation.cloze,
    }
}
