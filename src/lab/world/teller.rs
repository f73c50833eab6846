//! A text in the making that knows who was named last, so that pronouns and short names are never unclear.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Draft, MentionKind, Writer};
use super::entity::{Entities, Entity, Gender, Kind};
use super::names::capitalised;
use super::random::Stream;
use super::template::{Case, Piece, pieces};

/// What fills a slot of a template.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filler<'a> {
    /// An entity by any of its names, or a pronoun.
    Anyhow(usize),
    /// What a sentence tells of somebody: by its full name at first, later anyhow; a thing never by a pronoun.
    Object(usize),
    /// An entity by its full name.
    Name(usize),
    /// An entity by its nickname, if it has one.
    Nickname(usize),
    Text(&'a str),
}

/// How a text names somebody for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    FullNames,
    /// By a nickname or an alias that nobody else has; the full name does not occur if there is one.
    ShortNames,
}

/// Chances of the forms of somebody who was named before, where they are clear: see [`Teller::form`].
const PRONOUN: f64 = 0.6;
const DESCRIPTOR: f64 = 0.12;
const SHORT: f64 = 0.45;

/// Writes a document.
pub(super) struct Teller<'a> {
    entities: &'a Entities,
    manner: Manner,
    writer: Writer,
    /// Whether the next letter begins a sentence.
    begins: bool,
    last_of_gender: BTreeMap<Gender, usize>,
    last_of_noun: BTreeMap<&'static str, usize>,
    /// In this part of the text.
    introduced: BTreeSet<usize>,
    /// In the whole text.
    named: BTreeSet<usize>,
    facts: Vec<usize>,
}

impl<'a> Teller<'a> {
    pub fn new(entities: &'a Entities, manner: Manner) -> Self {
        Self {
            entities,
            manner,
            writer: Writer::default(),
            begins: true,
            last_of_gender: BTreeMap::new(),
            last_of_noun: BTreeMap::new(),
            introduced: BTreeSet::new(),
            named: BTreeSet::new(),
            facts: Vec::new(),
        }
    }

    /// The document.
    pub fn finish(self, title: Option<String>, year: u16) -> Draft {
        let (text, mentions) = self.writer.finish();
        Draft { title, year, text, mentions, facts: self.facts, author: None }
    }

    /// Notes that the text states a fact.
    pub fn states(&mut self, fact: usize) {
        self.facts.push(fact);
    }

    /// Begins another part of the text, in which everybody is named anew, behind a text that parts them.
    pub fn begin_part(&mut self, manner: Manner, between: &str) {
        self.say(between);
        self.manner = manner;
        self.introduced.clear();
        self.last_of_gender.clear();
        self.last_of_noun.clear();
    }

    /// Appends text as it is, but for a capital where a sentence begins.
    pub fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = if self.begins { capitalised(text) } else { text.to_owned() };
        self.writer.say(&text);
        self.begins = text.ends_with('\n') || text.ends_with(". ") || text.ends_with("! ") || text.ends_with("? ");
    }

    /// Appends a space, after which a sentence begins whatever stood before, also a quotation mark.
    pub fn say_between_sentences(&mut self) {
        self.say(" ");
        self.begins = true;
    }

    /// Appends a template whose slots are filled. A slot without a filler stays empty.
    pub fn tell(&mut self, template: &str, fillers: &[(&str, Filler)], stream: &mut Stream) {
        // Whoever was mentioned in this very template goes by a pronoun from then on.
        let mut in_template = BTreeSet::new();
        for piece in pieces(template) {
            match piece {
                Piece::Text(text) => self.say(text),
                Piece::Slot(key, case) => match fillers.iter().find(|(name, _)| *name == key).map(|(_, filler)| filler)
                {
                    Some(Filler::Text(text)) => self.say(text),
                    Some(Filler::Name(place)) => {
                        let name = &self.entities.get(*place).name;
                        self.mention(*place, MentionKind::Name, name, case);
                    }
                    Some(Filler::Nickname(place)) => {
                        let entity = self.entities.get(*place);
                        let (kind, text) = match &entity.nickname {
                            Some(nickname) => (MentionKind::Nickname, nickname),
                            None => (MentionKind::Name, &entity.name),
                        };
                        self.mention(*place, kind, text, case);
                    }
                    Some(Filler::Anyhow(place)) => {
                        let (kind, text) = self.form(*place, case, !in_template.insert(*place), stream);
                        self.mention(*place, kind, &text, case);
                    }
                    Some(Filler::Object(place)) => {
                        let entity = self.entities.get(*place);
                        let (kind, text) = match (self.introduced.contains(place), entity.kind) {
                            (false, _) => (MentionKind::Name, entity.name.clone()),
                            (true, Kind::Person) => self.form(*place, case, false, stream),
                            (true, _) => self.later_name(*place, stream),
                        };
                        self.mention(*place, kind, &text, case);
                    }
                    None => {}
                },
            }
        }
    }

    /// How to call an entity here. `again`: this sentence mentioned it already.
    fn form(&self, place: usize, case: Case, again: bool, stream: &mut Stream) -> (MentionKind, String) {
        let entity = self.entities.get(place);
        let full = || (MentionKind::Name, entity.name.clone());
        if entity.kind.is_common() {
            return full();
        }
        if case == Case::Call {
            return self.short(place, stream).unwrap_or_else(full);
        }
        if !self.introduced.contains(&place) {
            return match self.manner {
                Manner::FullNames => full(),
                Manner::ShortNames => self.short(place, stream).unwrap_or_else(full),
            };
        }
        let is_last = self.last_of_gender.get(&entity.gender) == Some(&place);
        if is_last && case != Case::Name && (again || stream.chance(PRONOUN)) {
            return (MentionKind::Pronoun, pronoun(entity.gender, case).to_owned());
        }
        self.later_name(place, stream)
    }

    /// How to call an entity that was named before, without a pronoun.
    fn later_name(&self, place: usize, stream: &mut Stream) -> (MentionKind, String) {
        let entity = self.entities.get(place);
        let full = || (MentionKind::Name, entity.name.clone());
        if let Some(noun) = entity.noun()
            && self.last_of_noun.get(noun) == Some(&place)
            && stream.chance(DESCRIPTOR)
        {
            return (MentionKind::Descriptor, format!("the {noun}"));
        }
        if self.manner == Manner::ShortNames || stream.chance(SHORT) {
            return self.short(place, stream).unwrap_or_else(full);
        }
        full()
    }

    /// A nickname or an alias that means nobody else: in the world, or of those named in this text once it is clear who
    /// is meant.
    fn short(&self, place: usize, stream: &mut Stream) -> Option<(MentionKind, String)> {
        let Entity { aliases, nickname, .. } = self.entities.get(place);
        let is_introduced = self.introduced.contains(&place);
        let is_clear = |surface: &str| {
            let could_mean = |other: &usize| !is_introduced || self.named.contains(other);
            !self.entities.meanings(surface).iter().any(|other| *other != place && could_mean(other))
        };
        let nickname = nickname.iter().map(|nickname| (MentionKind::Nickname, nickname));
        let aliases = aliases.iter().map(|alias| (MentionKind::Alias, alias));
        let mut forms: Vec<_> = nickname.filter(|(_, surface)| is_clear(surface)).collect();
        // A nickname is liked better than all aliases together.
        if forms.is_empty() || stream.chance(0.4) {
            forms = aliases.filter(|(_, surface)| is_clear(surface)).collect();
        }
        (!forms.is_empty()).then(|| stream.pick(&forms)).map(|(kind, surface)| (*kind, (*surface).clone()))
    }

    fn mention(&mut self, place: usize, kind: MentionKind, text: &str, case: Case) {
        let entity = self.entities.get(place);
        let also = match kind {
            MentionKind::Pronoun | MentionKind::Descriptor => Vec::new(),
            _ => self.entities.others(text, place),
        };
        let shown = if self.begins { capitalised(text) } else { text.to_owned() };
        self.writer.mention(&shown, kind, (&entity.id, &entity.name), also);
        self.begins = false;
        if kind != MentionKind::Pronoun && !entity.kind.is_common() {
            self.named.insert(place);
            self.introduced.insert(place);
            self.last_of_gender.insert(entity.gender, place);
            if let Some(noun) = entity.noun() {
                self.last_of_noun.insert(noun, place);
            }
        }
        if case == Case::Possessive && kind != MentionKind::Pronoun {
            self.say(if text.ends_with('s') { "'" } else { "'s" });
        }
    }
}

fn pronoun(gender: Gender, case: Case) -> &'static str {
    match (gender, case) {
        (Gender::She, Case::Subject | Case::Name | Case::Call) => "she",
        (Gender::She, Case::Object | Case::Possessive) => "her",
        (Gender::He, Case::Subject | Case::Name | Case::Call) => "he",
        (Gender::He, Case::Object) => "him",
        (Gender::He, Case::Possessive) => "his",
        (Gender::It, Case::Possessive) => "its",
        (Gender::It, _) => "it",
    }
}
