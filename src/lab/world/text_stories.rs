//! Short stories in which people do things; now and then one says where somebody lives.

use super::World;
use super::document::Draft;
use super::entity::Kind;
use super::facts::some_year;
use super::names::capitalised;
use super::packing::{Prose, pack};
use super::random::Stream;
use super::story_plots::{Beat, PLACES, PLOTS, THINGS, WEATHERS};
use super::teller::{Filler, Manner, Teller};

/// Bytes of all stories of a small world.
const BYTES: usize = 1_500_000;
/// Facts on one person in a story.
const FACTS: (usize, usize) = (1, 2);
/// Stories whose second person also has facts to tell, while there are some.
const BOTH: f64 = 0.5;
/// Stories that never give a full name.
const SHORT_NAMES: f64 = 0.25;

/// Somebody in a story, and what is told of them.
struct Part {
    person: usize,
    facts: Vec<usize>,
}

/// All stories, in random order.
pub(super) fn write(world: &World, prose: &Prose) -> Vec<Draft> {
    let mut stream = Stream::new(world.seed, &["world", "stories"]);
    let people = world.entities.of(Kind::Person);
    let mut parts: Vec<Part> = Vec::new();
    for (&person, stock) in &prose.stories {
        let packs = pack(stock, FACTS, &mut stream);
        parts.extend(packs.into_iter().map(|facts| Part { person, facts }));
    }
    stream.shuffle(&mut parts);

    let mut drafts = Vec::new();
    let mut bytes = 0;
    while !parts.is_empty() || bytes < BYTES * world.size.times() {
        let bystander = |stream: &mut Stream| Part { person: *stream.pick(&people), facts: Vec::new() };
        let first = parts.pop().unwrap_or_else(|| bystander(&mut stream));
        let next_is_other = parts.last().is_some_and(|part| differ(world, part.person, first.person));
        let second = if next_is_other && stream.chance(BOTH) {
            parts.pop().unwrap_or_else(|| bystander(&mut stream))
        } else {
            let mut other = bystander(&mut stream);
            while !differ(world, other.person, first.person) {
                other = bystander(&mut stream);
            }
            other
        };
        let draft = story(world, &first, &second, &mut stream);
        bytes += draft.text.len();
        drafts.push(draft);
    }
    stream.shuffle(&mut drafts);
    drafts
}

/// Whether a story can have both of them: they do not share their name.
fn differ(world: &World, one: usize, other: usize) -> bool {
    world.entities.get(one).name != world.entities.get(other).name
}

fn story(world: &World, first: &Part, second: &Part, stream: &mut Stream) -> Draft {
    let plot = stream.pick(PLOTS);
    let manner = if stream.chance(SHORT_NAMES) { Manner::ShortNames } else { Manner::FullNames };
    let (thing, place, weather) = (*stream.pick(THINGS), *stream.pick(PLACES), *stream.pick(WEATHERS));
    let fillers = [
        ("a", Filler::Anyhow(first.person)),
        ("b", Filler::Anyhow(second.person)),
        ("thing", Filler::Text(thing)),
        ("place", Filler::Text(place)),
        ("weather", Filler::Text(weather)),
    ];
    let mut teller = Teller::new(&world.entities, manner);
    for (number, beat) in plot.beats.iter().enumerate() {
        match beat {
            Beat::Say(sentences) => {
                if number > 0 {
                    teller.say_between_sentences();
                }
                let sentence = *stream.pick::<&str>(sentences);
                teller.tell(sentence, &fillers, stream);
            }
            Beat::AboutFirst => aside(world, &mut teller, &first.facts, stream),
            Beat::AboutSecond => aside(world, &mut teller, &second.facts, stream),
        }
    }
    let title = plot.title.replace("{Thing}", &capitalised(thing)).replace("{Place}", &capitalised(place));
    teller.finish(Some(title), some_year(stream))
}

fn aside(world: &World, teller: &mut Teller, facts: &[usize], stream: &mut Stream) {
    if !facts.is_empty() {
        teller.say_between_sentences();
        world.state_all(teller, facts, stream);
        teller.say(".");
    }
}
