//! Statements shared out to documents: each fact exactly as often as it is to be stated.

use std::collections::BTreeMap;

use super::World;
use super::entity::Kind;
use super::random::Stream;

/// How often each of some facts is still to be stated.
pub(super) type Stock = BTreeMap<usize, usize>;

/// Facts of persons that are told in stories, of all their statements.
const IN_STORIES: f64 = 0.25;
/// Of the others, those told in an article on the object.
const BY_OBJECT: f64 = 0.3;

/// Which statements stand where in prose, by the entity that the text is about.
#[derive(Default)]
pub(super) struct Prose {
    pub articles: BTreeMap<usize, Stock>,
    pub articles_by_object: BTreeMap<usize, Stock>,
    pub stories: BTreeMap<usize, Stock>,
}

impl Prose {
    /// Of all facts that have no year.
    pub fn new(world: &World) -> Self {
        let mut stream = Stream::new(world.seed, &["world", "prose"]);
        let mut prose = Self::default();
        for (number, fact) in world.facts.iter().enumerate().filter(|(_, fact)| fact.year.is_none()) {
            let object_has_article = !world.entities.get(fact.object).kind.is_common();
            for _ in 0..fact.statements {
                let (place, about) = if fact.relation.subject == Kind::Person && stream.chance(IN_STORIES) {
                    (&mut prose.stories, fact.subject)
                } else if object_has_article && stream.chance(BY_OBJECT) {
                    (&mut prose.articles_by_object, fact.object)
                } else {
                    (&mut prose.articles, fact.subject)
                };
                *place.entry(about).or_default().entry(number).or_default() += 1;
            }
        }
        prose
    }
}

/// Cuts a stock into packs of `low..=high` facts, none twice in a pack; facts with much stock come first, so that few
/// packs have to be smaller.
pub(super) fn pack(stock: &Stock, (low, high): (usize, usize), stream: &mut Stream) -> Vec<Vec<usize>> {
    let mut left: Vec<(usize, usize)> = stock.iter().map(|(&fact, &count)| (fact, count)).collect();
    let mut packs = Vec::new();
    loop {
        left.retain(|(_, count)| *count > 0);
        // Those drawn for this pack leave the list until it is full.
        let mut drawn: Vec<(usize, usize)> = Vec::new();
        for _ in 0..stream.between(low, high) {
            let Some(place) = draw(&left, stream) else { break };
            drawn.push(left.remove(place));
        }
        if drawn.is_empty() {
            return packs;
        }
        packs.push(drawn.iter().map(|(fact, _)| *fact).collect());
        for (fact, count) in drawn {
            let place = left.partition_point(|(other, _)| *other < fact);
            left.insert(place, (fact, count - 1));
        }
    }
}

/// A place in a list of facts and how often each is left, with a probability that grows as the square of that.
fn draw(left: &[(usize, usize)], stream: &mut Stream) -> Option<usize> {
    let weight = |(_, count): &(usize, usize)| count * count;
    let mut rest = stream.below(left.iter().map(weight).sum());
    left.iter().position(|entry| {
        let is_here = rest < weight(entry);
        rest = rest.saturating_sub(weight(entry));
        is_here
    })
}
