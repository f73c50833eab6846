//! Articles on an entity: its facts, or the facts of others that lead to it.

use super::World;
use super::document::Draft;
use super::entity::Kind;
use super::facts::some_year;
use super::packing::{Prose, pack};
use super::random::Stream;
use super::teller::{Filler, Manner, Teller};

/// Facts of an article.
const FACTS: (usize, usize) = (3, 6);
/// Articles of fewer facts on a page.
const PER_PAGE: usize = 3;
/// Articles that never give the full name, of those on somebody who has another one.
const SHORT_NAMES: f64 = 0.15;
/// Sentences that state no fact: before the facts, after them.
const REMARK_BEFORE: f64 = 0.15;
const REMARK_AFTER: f64 = 0.3;
/// Articles that give the nickname.
const GIVES_NICKNAME: f64 = 0.15;

/// Clauses that hold of anybody and state no fact.
pub(super) const REMARKS: [(Kind, &[&str]); 8] = [
    (
        Kind::Person,
        &[
            "many people know {s:him}",
            "{s} has many friends",
            "{s} gets up early",
            "{s} is never late",
            "{s} likes long walks",
            "{s} laughs a lot",
            "{s} tells good jokes",
            "children like {s:him}",
            "{s} is kind to everyone",
            "{s} writes long letters",
        ],
    ),
    (
        Kind::Town,
        &[
            "{s} is a quiet town",
            "{s} is an old town",
            "many roads lead to {s:him}",
            "{s:his} market is open every day",
            "people like to visit {s:him}",
            "there is a river near {s:him}",
            "{s:his} bells ring at noon",
        ],
    ),
    (
        Kind::Country,
        &["{s} is a small country", "{s:his} hills are high", "{s} has long winters", "{s:his} people are friendly"],
    ),
    (
        Kind::Company,
        &[
            "{s} is a good company",
            "many people know {s:him}",
            "{s} opens early",
            "{s} is closed on Sunday",
            "{s:his} rooms are warm",
        ],
    ),
    (Kind::Book, &["{s} is a thick book", "children like {s:him}", "{s} has a happy end", "many people read {s:him}"]),
    (Kind::Song, &["{s} is a short song", "people sing {s:him} in the street", "everyone can hum {s:him}"]),
    (Kind::Painting, &["{s} is a big painting", "{s} hangs on a wall", "people look at {s:him} for a long time"]),
    (Kind::Race, &["{s} is a long race", "people come from far away to see {s:him}"]),
];

/// An article on an entity.
struct Article {
    about: usize,
    facts: Vec<usize>,
    /// The facts are those of others, so it begins with a remark on the entity.
    of_others: bool,
}

/// All articles, in random order: long ones alone, short ones some to a page.
pub(super) fn write(world: &World, prose: &Prose) -> Vec<Draft> {
    let mut stream = Stream::new(world.seed, &["world", "encyclopedia"]);
    let mut articles = Vec::new();
    for (stocks, of_others) in [(&prose.articles, false), (&prose.articles_by_object, true)] {
        for (&about, stock) in stocks {
            let packs = pack(stock, FACTS, &mut stream);
            articles.extend(packs.into_iter().map(|facts| Article { about, facts, of_others }));
        }
    }
    stream.shuffle(&mut articles);
    let (short, long): (Vec<_>, Vec<_>) = articles.into_iter().partition(|article| article.facts.len() < FACTS.0);
    let pages = short.chunks(PER_PAGE).chain(long.chunks(1));
    let mut drafts: Vec<Draft> = pages.map(|articles| page(world, articles, &mut stream)).collect();
    stream.shuffle(&mut drafts);
    drafts
}

/// A page. It has a title if there is one article on it, which gives a full name.
fn page(world: &World, articles: &[Article], stream: &mut Stream) -> Draft {
    let mut teller = Teller::new(&world.entities, Manner::FullNames);
    let mut title = None;
    for (place, article) in articles.iter().enumerate() {
        let entity = world.entities.get(article.about);
        let has_short = entity.nickname.is_some() || !entity.aliases.is_empty();
        let manner = if has_short && stream.chance(SHORT_NAMES) { Manner::ShortNames } else { Manner::FullNames };
        teller.begin_part(manner, if place == 0 { "" } else { "\n" });
        write_article(world, &mut teller, article, manner, stream);
        title = (manner == Manner::FullNames && articles.len() == 1).then(|| entity.name.clone());
    }
    teller.finish(title, some_year(stream))
}

fn write_article(world: &World, teller: &mut Teller, article: &Article, manner: Manner, stream: &mut Stream) {
    let entity = world.entities.get(article.about);
    let fillers = [("s", Filler::Anyhow(article.about)), ("n", Filler::Nickname(article.about))];
    let remarks = stream.sample(remarks(entity.kind), 2);
    let before = usize::from(article.of_others || stream.chance(REMARK_BEFORE));
    let after = usize::from(!article.of_others && stream.chance(REMARK_AFTER));
    for remark in remarks.iter().take(before) {
        teller.tell(remark, &fillers, stream);
        teller.say(". ");
    }
    if manner == Manner::FullNames && entity.nickname.is_some() && stream.chance(GIVES_NICKNAME) {
        teller.tell("{s:his} friends say {n}. ", &fillers, stream);
    }
    world.state_all(teller, &article.facts, stream);
    for remark in remarks.iter().skip(before).take(after) {
        teller.say(". ");
        teller.tell(remark, &fillers, stream);
    }
    teller.say(".");
}

fn remarks(kind: Kind) -> &'static [&'static str] {
    REMARKS.iter().find(|(of, _)| *of == kind).map_or(&[], |(_, remarks)| remarks)
}
