//! What happened in a year: documents dated that year.

use std::collections::BTreeMap;

use super::World;
use super::document::Draft;
use super::packing::{Stock, pack};
use super::random::Stream;
use super::teller::{Filler, Manner, Teller};

/// Facts of a document.
const FACTS: (usize, usize) = (3, 6);

/// How a document begins, so that its other sentences may leave out the year.
pub(super) const OPENINGS: &[&str] = &[
    "The year was {y}",
    "This was the year {y}",
    "These things happened in {y}",
    "A letter from {y}",
    "The news of {y}",
];

/// What could be said of any year.
pub(super) const REMARKS: &[&str] = &[
    "the winter was long",
    "the summer was warm",
    "the rain came early",
    "the days were quiet",
    "many children were born",
    "the roads were full of people",
    "there was snow on the hills",
    "everyone danced in the streets",
];
/// Documents of so few facts have a remark more.
const FEW: usize = 2;
/// Any document may.
const REMARK: f64 = 0.2;

/// All documents, in random order.
pub(super) fn write(world: &World) -> Vec<Draft> {
    let mut stream = Stream::new(world.seed, &["world", "chronicle"]);
    let mut years: BTreeMap<u16, Stock> = BTreeMap::new();
    for (number, fact) in world.facts.iter().enumerate() {
        if let Some(year) = fact.year {
            years.entry(year).or_default().insert(number, fact.statements);
        }
    }
    let mut drafts = Vec::new();
    for (year, stock) in years {
        for facts in pack(&stock, FACTS, &mut stream) {
            let mut teller = Teller::new(&world.entities, Manner::FullNames);
            let opening = *stream.pick(OPENINGS);
            teller.tell(opening, &[("y", Filler::Text(&year.to_string()))], &mut stream);
            teller.say(". ");
            world.state_all(&mut teller, &facts, &mut stream);
            let remarks = usize::from(facts.len() <= FEW) + usize::from(stream.chance(REMARK));
            for remark in stream.sample(REMARKS, remarks) {
                teller.say(". ");
                teller.say(remark);
            }
            teller.say(".");
            drafts.push(teller.finish(Some(year.to_string()), year));
        }
    }
    stream.shuffle(&mut drafts);
    drafts
}
