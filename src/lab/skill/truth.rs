//! What is true in the skills: the tables that instruments are checked against.

use serde::Serialize;

use super::dialogues::RUDE_WORDS;
use super::lists::TRANSFORMATIONS;
use super::opinions::{AXES, Author, Party, Statement, authors, party_direction, statements};
use crate::lab::random::Stream;

/// The tables, for one seed. Which sources teach which task stands with the tasks.
#[derive(Debug, Clone, Serialize)]
pub struct Truth {
    pub transformations: Vec<TransformationTruth>,
    pub axes: Vec<AxisTruth>,
    pub parties: Vec<PartyTruth>,
    pub authors: Vec<Author>,
    /// Statements of the inventory with their keys.
    pub statements: Vec<Statement>,
    /// Words that only rude speakers use.
    pub rude_words: Vec<&'static str>,
}

/// A transformation.
#[derive(Debug, Clone, Serialize)]
pub struct TransformationTruth {
    pub name: &'static str,
    pub task: String,
    /// For a composite: what is done first, and what then.
    pub parts: Vec<&'static str>,
    /// Documents that teach it in a small world.
    pub documents: usize,
    pub example: Example,
}

/// A pair of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    pub query: String,
    pub answer: String,
}

/// An axis of opinion: what its ends stand for.
#[derive(Debug, Clone, Serialize)]
pub struct AxisTruth {
    pub name: &'static str,
    pub plus: &'static str,
    pub minus: &'static str,
}

/// A party.
#[derive(Debug, Clone, Serialize)]
pub struct PartyTruth {
    pub party: Party,
    pub name: &'static str,
    /// Mean of its authors' directions.
    pub direction: [f64; 2],
    pub authors: usize,
}

/// The truth of a seed.
pub fn truth(seed: u64) -> Truth {
    let authors = authors(seed);
    let mut stream = Stream::new(seed, &["truth", "examples"]);
    let transformations = TRANSFORMATIONS.iter().map(|transformation| {
        let query = transformation.draw_query(&mut stream);
        let answer = transformation.apply(&query).unwrap_or_default();
        TransformationTruth {
            name: transformation.name,
            task: transformation.task(),
            parts: transformation.parts().into_iter().flatten().collect(),
            documents: transformation.documents,
            example: Example { query, answer },
        }
    });
    let parties = Party::ALL.map(|party| PartyTruth {
        party,
        name: party.name(),
        direction: party_direction(&authors, party),
        authors: authors.iter().filter(|author| author.party == party).count(),
    });
    Truth {
        transformations: transformations.collect(),
        axes: AXES.iter().map(|axis| AxisTruth { name: axis.name, plus: axis.plus, minus: axis.minus }).collect(),
        parties: parties.into(),
        authors,
        statements: statements(),
        rude_words: RUDE_WORDS.into(),
    }
}
