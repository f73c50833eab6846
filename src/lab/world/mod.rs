//! An invented world: entities, facts that are stated by a known law, the documents that state them, and the tasks that
//! ask them.
//!
//! ```text
//! entity ─► facts ─► packing ─► text_* ─► drafts
//! names     zipf   └► tasks (ask, choices)
//! ```
//!
//! Everything is decided in [`World::new`] (who there is, what is true, how often each fact is stated, which facts are
//! asked); documents and items only render it. A fact that a task asks is stated in prose only; how questions look is
//! learned from quizzes on other facts.

mod ask;
mod choices;
mod entity;
mod facts;
mod lexicon;
mod names;
mod packing;
mod relations;
mod story_plots;
mod tasks;
mod teller;
mod template;
mod text_chronicle;
mod text_encyclopedia;
mod text_quiz;
mod text_stories;
mod truth;
mod zipf;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_choices;
#[cfg(test)]
mod tests_packing;
#[cfg(test)]
mod tests_tasks;
#[cfg(test)]
mod tests_text;

pub use entity::{Entity, Gender, Kind};
pub use truth::{AmbiguousText, FactTruth, Law, RelationTruth, Truth};

use entity::Entities;
use facts::Fact;
use teller::{Filler, Teller};

use super::item::LabTask;
use super::random::Stream;
use super::size::Size;
use super::{document, item, random, size};

/// Clauses that are joined to the one before.
const JOINED: f64 = 0.25;

/// An invented world. The same for the same seed and size.
#[derive(Debug, Clone)]
pub struct World {
    seed: u64,
    size: Size,
    entities: Entities,
    facts: Vec<Fact>,
}

impl World {
    /// Makes a world.
    pub fn new(seed: u64, size: Size) -> Self {
        let entities = Entities::new(seed, size);
        let facts = facts::draw(&entities, seed, size);
        Self { seed, size, entities, facts }
    }

    /// All documents, by the name of their source.
    pub fn sources(&self) -> Vec<(&'static str, Vec<document::Draft>)> {
        let prose = packing::Prose::new(self);
        vec![
            ("encyclopedia", text_encyclopedia::write(self, &prose)),
            ("stories", text_stories::write(self, &prose)),
            ("quiz", text_quiz::write(self)),
            ("chronicle", text_chronicle::write(self)),
        ]
    }

    /// The tasks that ask the facts.
    pub fn tasks(&self) -> Vec<LabTask> {
        tasks::all(self)
    }

    /// What is true, and how often it is stated.
    pub fn truth(&self) -> Truth {
        truth::of(self)
    }

    /// Clauses that state facts, in one or more sentences; the last full stop is left to come.
    fn state_all(&self, teller: &mut Teller, facts: &[usize], stream: &mut Stream) {
        let mut joined = false;
        for (place, &number) in facts.iter().enumerate() {
            if place > 0 {
                joined = !joined && stream.chance(JOINED);
                teller.say(if joined { ", and " } else { ". " });
            }
            let fact = &self.facts[number];
            let year = fact.year.map(|year| year.to_string()).unwrap_or_default();
            let fillers =
                [("s", Filler::Anyhow(fact.subject)), ("o", Filler::Object(fact.object)), ("y", Filler::Text(&year))];
            let statement = *stream.pick(fact.relation.statements);
            teller.tell(statement, &fillers, stream);
            teller.states(number);
        }
    }
}
