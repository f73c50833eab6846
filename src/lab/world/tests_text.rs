//! The documents: what they say is recounted from their words, without the numbers of facts that they come with.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::document::{Draft, Mention, MentionKind};
use super::entity::{Gender, Kind};
use super::relations::{RELATIONS, Relation};
use super::template::{Case, Piece, pieces};
use super::tests::with_documents;

const PROSE: [&str; 3] = ["encyclopedia", "stories", "chronicle"];

/// What was told of what: relation, ids of subject and object, year.
type Told = (&'static str, String, String, Option<u16>);

/// A text between mentions, or a mention.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Entity { id: String, possessive: bool },
}

fn characters(text: &str, start: usize, end: usize) -> String {
    text.chars().skip(start).take(end - start).collect()
}

/// The text cut at its mentions. The ending of a possessive belongs to the mention.
fn parts(draft: &Draft) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut from = 0;
    let say = |parts: &mut Vec<Part>, mut text: String| {
        if let Some(Part::Entity { possessive, .. }) = parts.last_mut() {
            for ending in ["'s ", "' "] {
                if let Some(rest) = text.strip_prefix(ending) {
                    *possessive = true;
                    text = format!(" {rest}");
                    break;
                }
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
    };
    for mention in &draft.mentions {
        say(&mut parts, characters(&draft.text, from, mention.start));
        let surface = characters(&draft.text, mention.start, mention.end).to_lowercase();
        let possessive = ["his", "its"].contains(&surface.as_str());
        parts.push(Part::Entity { id: mention.entity.clone(), possessive });
        from = mention.end;
    }
    say(&mut parts, characters(&draft.text, from, draft.text.chars().count()));
    parts
}

/// Clauses of a text: cut at full stops and where two are joined. The first letter of each is in lower case.
fn clauses(draft: &Draft) -> Vec<Vec<Part>> {
    let mut clauses: Vec<Vec<Part>> = vec![Vec::new()];
    for part in parts(draft) {
        match part {
            Part::Text(text) => {
                let text = text.replace(", and ", "|").replace(". ", "|").replace(".\n", "|").replace("\" ", "|");
                let text = text.strip_suffix('.').map_or(text.clone(), str::to_owned);
                for (place, piece) in text.split('|').enumerate() {
                    if place > 0 {
                        clauses.push(Vec::new());
                    }
                    let Some(clause) = clauses.last_mut() else { continue };
                    if !piece.is_empty() {
                        clause.push(Part::Text(piece.to_owned()));
                    }
                }
            }
            entity @ Part::Entity { .. } => clauses.last_mut().unwrap().push(entity),
        }
    }
    clauses
}

/// What a clause says if it is worded as this template is.
fn read(clause: &[Part], template: &str, relation: &'static Relation, kinds: &Kinds, year: u16) -> Option<Told> {
    let (mut subject, mut object, mut told_year) = (None, None, None);
    let mut clause = clause.iter();
    let mut rest: Option<&str> = None;
    for (place, piece) in pieces(template).into_iter().enumerate() {
        match piece {
            Piece::Slot("y", _) => {
                let text = rest.take().map_or_else(|| next_text(&mut clause), Some)?;
                told_year = Some(text.get(..4)?.parse().ok()?);
                rest = text.get(4..).filter(|text| !text.is_empty());
            }
            Piece::Slot(key, case) => {
                let (None, Part::Entity { id, possessive }) = (rest, clause.next()?) else { return None };
                // `her` may be either; the words around it decide.
                if *possessive && case != Case::Possessive {
                    return None;
                }
                let slot = if key == "s" { &mut subject } else { &mut object };
                if slot.get_or_insert(id.clone()) != id {
                    return None;
                }
            }
            Piece::Text(expected) => {
                let text = rest.take().map_or_else(|| next_text(&mut clause), Some)?;
                let same = text.get(..expected.len())?;
                let is_same = same == expected || (place == 0 && same.eq_ignore_ascii_case(expected));
                if !is_same {
                    return None;
                }
                rest = text.get(expected.len()..).filter(|text| !text.is_empty());
            }
        }
    }
    if rest.is_some() || clause.next().is_some() {
        return None;
    }
    let (subject, object) = (subject?, object?);
    let fits = kinds[&subject] == relation.subject && kinds[&object] == relation.object;
    let year = relation.is_dated().then(|| told_year.unwrap_or(year));
    fits.then_some((relation.name, subject, object, year))
}

fn next_text<'a>(clause: &mut std::slice::Iter<'a, Part>) -> Option<&'a str> {
    match clause.next()? {
        Part::Text(text) => Some(text),
        Part::Entity { .. } => None,
    }
}

type Kinds = BTreeMap<String, Kind>;

fn kinds(world: &World) -> Kinds {
    world.entities.all().iter().map(|entity| (entity.id.clone(), entity.kind)).collect()
}

/// Everything that a document of prose says, in order.
fn told_in_prose(draft: &Draft, kinds: &Kinds) -> Vec<Told> {
    let mut told = Vec::new();
    for clause in clauses(draft) {
        let mut readings: Vec<Told> = RELATIONS
            .iter()
            .flat_map(|relation| relation.statements.iter().map(move |template| (relation, *template)))
            .filter_map(|(relation, template)| read(&clause, template, relation, kinds, draft.year))
            .collect();
        readings.dedup();
        assert!(readings.len() < 2, "two readings of {clause:?}: {readings:?}");
        told.extend(readings);
    }
    told
}

fn fact_of(world: &World, number: usize) -> Told {
    let fact = &world.facts[number];
    let id = |place: usize| world.entities.get(place).id.clone();
    (fact.relation.name, id(fact.subject), id(fact.object), fact.year)
}

#[test]
fn prose_states_each_fact_as_often_as_the_truth_says() {
    let (world, sources) = with_documents();
    let kinds = kinds(world);
    let mut counts: BTreeMap<Told, usize> = BTreeMap::new();
    for (source, drafts) in sources {
        for draft in drafts.iter().filter(|_| PROSE.contains(source)) {
            let told = told_in_prose(draft, &kinds);
            let listed: Vec<Told> = draft.facts.iter().map(|&number| fact_of(world, number)).collect();
            assert_eq!(told, listed, "{source}: {}", draft.text);
            for one in told {
                *counts.entry(one).or_default() += 1;
            }
        }
    }
    for (number, fact) in world.facts.iter().enumerate() {
        let count = counts.remove(&fact_of(world, number)).unwrap_or(0);
        assert_eq!(count, fact.statements, "fact {number}: {:?}", fact_of(world, number));
    }
    assert!(counts.is_empty(), "said, but not true: {counts:?}");
}

#[test]
fn quizzes_ask_each_fact_as_often_as_the_truth_says() {
    let (world, sources) = with_documents();
    let kinds = kinds(world);
    let mut counts: BTreeMap<Told, usize> = BTreeMap::new();
    let (_, drafts) = sources.iter().find(|(source, _)| *source == "quiz").unwrap();
    for draft in drafts {
        let mut told = Vec::new();
        // Lines, or pairs of lines, as the marks of the form tell.
        let parts = parts(draft);
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Entity { id, .. } => format!("<{id}>"),
        };
        let whole: String = parts.iter().map(text).collect();
        for block in whole.split(if whole.contains("\n\n") { "\n\n" } else { ".\n" }) {
            let block = block.trim_end_matches('.');
            for relation in RELATIONS {
                let forms = [
                    format!("Question: {}\nAnswer: {{o}}", relation.questions[0]),
                    format!("Q: {}\nA: {{o}}", relation.questions[1]),
                    relation.cloze.to_owned(),
                ];
                told.extend(forms.iter().filter_map(|form| read_line(block, form, relation, &kinds)));
            }
        }
        let listed: Vec<Told> = draft.facts.iter().map(|&number| fact_of(world, number)).collect();
        assert_eq!(told, listed, "{}", draft.text);
        for one in told {
            *counts.entry(one).or_default() += 1;
        }
    }
    for (number, fact) in world.facts.iter().enumerate() {
        assert_eq!(counts.remove(&fact_of(world, number)).unwrap_or(0), fact.quizzed, "fact {number}");
    }
    assert!(counts.is_empty());
}

/// What a text with ids in angle brackets says if it is worded as this.
fn read_line(text: &str, template: &str, relation: &'static Relation, kinds: &Kinds) -> Option<Told> {
    let (mut subject, mut object, mut year) = (None, None, None);
    let mut rest = text;
    for piece in pieces(template) {
        match piece {
            Piece::Text(expected) => rest = rest.strip_prefix(expected)?,
            Piece::Slot("y", _) => {
                year = Some(rest.get(..4)?.parse().ok()?);
                rest = rest.get(4..)?;
            }
            Piece::Slot(key, _) => {
                let (id, after) = rest.strip_prefix('<')?.split_once('>')?;
                if key == "s" {
                    subject = Some(id);
                } else {
                    object = Some(id);
                }
                rest = after;
            }
        }
    }
    let (subject, object) = (subject?.to_owned(), object?.to_owned());
    let fits = kinds[&subject] == relation.subject && kinds[&object] == relation.object;
    (rest.is_empty() && fits).then_some((relation.name, subject, object, year))
}

fn owner_of(surface: &str) -> String {
    format!("{surface}{}", if surface.ends_with('s') { "'" } else { "'s" })
}

#[test]
fn held_out_facts_are_written_nowhere() {
    let (world, sources) = with_documents();
    let text: String = sources.iter().flat_map(|(_, drafts)| drafts).flat_map(|d| [d.text.as_str(), "\n"]).collect();
    let text = text.to_lowercase();
    let mut checked = 0;
    for fact in world.facts.iter().filter(|fact| fact.statements == 0) {
        let (subject, object) = (world.entities.get(fact.subject), world.entities.get(fact.object));
        let year = fact.year.map(|year| year.to_string()).unwrap_or_default();
        let relation = fact.relation;
        let wordings = relation.statements.iter().chain(&relation.questions).chain([&relation.cloze]);
        for template in wordings.filter(|template| !relation.is_dated() || template.contains("{y}")) {
            for surface in std::iter::once(&subject.name).chain(&subject.nickname) {
                let said = template
                    .replace("{s}", surface)
                    .replace("{s:him}", surface)
                    .replace("{s:name}", surface)
                    .replace("{s:his}", &owner_of(surface))
                    .replace("{o}", &object.name)
                    .replace("{o:him}", &object.name)
                    .replace("{o:name}", &object.name)
                    .replace("{o:his}", &owner_of(&object.name))
                    .replace("{y}", &year);
                assert!(!said.contains('{'), "{said}");
                assert!(!text.contains(&said.to_lowercase()), "{said}");
                checked += 1;
            }
        }
    }
    assert!(checked > 1000);
}

fn surface(draft: &Draft, mention: &Mention) -> String {
    characters(&draft.text, mention.start, mention.end)
}

#[test]
fn every_mention_is_the_text_at_its_place() {
    let (world, sources) = with_documents();
    let entities: BTreeMap<&str, usize> =
        world.entities.all().iter().enumerate().map(|(place, entity)| (entity.id.as_str(), place)).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (_, drafts) in sources {
        for draft in drafts {
            let mut end = 0;
            for mention in &draft.mentions {
                assert!(mention.start >= end && mention.end > mention.start);
                end = mention.end;
                let text = surface(draft, mention);
                let place = entities[mention.entity.as_str()];
                let entity = world.entities.get(place);
                assert_eq!(mention.name, entity.name);
                let known = |name: &str| name == text || super::names::capitalised(name) == text;
                let fits = match mention.kind {
                    MentionKind::Name => known(&entity.name),
                    MentionKind::Alias => entity.aliases.iter().any(|alias| known(alias)),
                    MentionKind::Nickname => entity.nickname.as_deref().is_some_and(known),
                    MentionKind::Descriptor => entity.noun().is_some_and(|noun| known(&format!("the {noun}"))),
                    MentionKind::Pronoun => pronoun_gender(&text) == Some(entity.gender),
                };
                assert!(fits, "{text} for {}", entity.name);
                let is_name = !matches!(mention.kind, MentionKind::Descriptor | MentionKind::Pronoun);
                let also = if is_name { world.entities.others(&text, place) } else { Vec::new() };
                assert_eq!(mention.also, also);
                *seen.entry(format!("{:?}", mention.kind)).or_default() += 1;
            }
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.values().all(|&count| count > 500), "{seen:?}");
}

fn pronoun_gender(text: &str) -> Option<Gender> {
    match text.to_lowercase().as_str() {
        "she" | "her" => Some(Gender::She),
        "he" | "him" | "his" => Some(Gender::He),
        "it" | "its" => Some(Gender::It),
        _ => None,
    }
}

#[test]
fn pronouns_mean_whoever_of_their_gender_was_named_last() {
    let (world, sources) = with_documents();
    let common: BTreeSet<&str> =
        world.entities.all().iter().filter(|e| e.kind.is_common()).map(|e| e.id.as_str()).collect();
    let gender: BTreeMap<&str, Gender> = world.entities.all().iter().map(|e| (e.id.as_str(), e.gender)).collect();
    let mut pronouns = 0;
    for (_, drafts) in sources {
        for draft in drafts {
            let mut last: BTreeMap<Gender, &str> = BTreeMap::new();
            for mention in draft.mentions.iter().filter(|mention| !common.contains(mention.entity.as_str())) {
                if mention.kind == MentionKind::Pronoun {
                    let gender = pronoun_gender(&surface(draft, mention)).unwrap();
                    assert_eq!(last.get(&gender), Some(&mention.entity.as_str()), "{}", draft.text);
                    pronouns += 1;
                } else {
                    last.insert(gender[mention.entity.as_str()], &mention.entity);
                }
            }
        }
    }
    assert!(pronouns > 5000, "{pronouns}");
}

/// Words of a text with the place of their first character.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (place, character) in text.chars().enumerate() {
        if character.is_ascii_alphabetic() {
            match words.last_mut() {
                Some((_, word)) if open => word.push(character),
                _ => words.push((place, character.to_string())),
            }
        }
        open = character.is_ascii_alphabetic();
    }
    words
}

#[test]
fn no_name_and_no_pronoun_stands_outside_a_mention() {
    let (world, sources) = with_documents();
    // Words that only names have, common words, and pronouns.
    let mut telling: BTreeSet<String> = ["she", "her", "he", "him", "his", "it", "its"].map(str::to_owned).into();
    for entity in world.entities.all() {
        match entity.kind {
            Kind::Person | Kind::Town | Kind::Country => {
                telling.extend(entity.name.split(' ').chain(entity.nickname.as_deref()).map(str::to_lowercase));
            }
            Kind::Company => telling.extend(entity.aliases.iter().map(|alias| alias.to_lowercase())),
            kind if kind.is_common() => {
                telling.insert(entity.name.clone());
            }
            _ => {}
        }
    }
    for (source, drafts) in sources {
        for draft in drafts {
            for (place, word) in words(&draft.text) {
                let inside = draft.mentions.iter().any(|mention| (mention.start..mention.end).contains(&place));
                assert!(inside || !telling.contains(&word.to_lowercase()), "{word} in {source}: {}", draft.text);
            }
        }
    }
}

#[test]
fn some_texts_name_somebody_only_by_other_names() {
    let (_, sources) = with_documents();
    let mut hidden = 0;
    for (_, drafts) in sources {
        for draft in drafts {
            let named = |kind| draft.mentions.iter().filter(move |mention| mention.kind == kind);
            hidden += usize::from(named(MentionKind::Nickname).any(|mention| !draft.text.contains(&mention.name)));
        }
    }
    assert!(hidden > 300, "{hidden}");
}

#[test]
fn texts_use_few_words_and_plain_characters() {
    let (_, sources) = with_documents();
    let mut vocabulary = BTreeSet::new();
    let mut bytes: BTreeMap<&str, usize> = BTreeMap::new();
    for (source, drafts) in sources {
        for draft in drafts {
            assert!(draft.text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{}", draft.text);
            assert!(!draft.text.contains("  ") && !draft.text.ends_with(char::is_whitespace), "{:?}", draft.text);
            assert!(!draft.text.contains(['{', '}']), "{}", draft.text);
            assert!(draft.text.len() < 900, "{}", draft.text);
            assert!(super::facts::YEARS.contains(&draft.year));
            vocabulary.extend(words(&draft.text).into_iter().map(|(_, word)| word));
            *bytes.entry(source).or_default() += draft.text.len();
        }
    }
    let plain = vocabulary.iter().filter(|word| word.chars().all(|character| character.is_ascii_lowercase())).count();
    assert!(plain < 550, "{plain} words");
    assert!(vocabulary.len() < 1200, "{} words and names", vocabulary.len());
    let total: usize = bytes.values().sum();
    assert!((4_000_000..6_000_000).contains(&total), "{bytes:?}");
}
