//! Documents of the corpus, and who is mentioned in them.

use serde::Serialize;

/// A document without its number: what a source of documents hands out.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What the document is about, if it has a title.
    pub title: Option<String>,
    /// Year in the world in which it was written.
    pub year: u16,
    pub text: String,
    /// By first character.
    pub mentions: Vec<Mention>,
    /// Numbers of the facts of the world that it states.
    pub facts: Vec<usize>,
    /// Name of the author, where authors matter.
    pub author: Option<String>,
}

impl Draft {
    /// Text alone.
    pub fn plain(year: u16, text: impl Into<String>) -> Self {
        Self { title: None, year, text: text.into(), mentions: Vec::new(), facts: Vec::new(), author: None }
    }
}

/// How an entity is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MentionKind {
    Name,
    Alias,
    Nickname,
    Pronoun,
    /// A description: `the company`.
    Descriptor,
}

/// An entity in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Mention {
    /// In characters, as Python counts; the end is past the last one.
    pub start: usize,
    pub end: usize,
    pub kind: MentionKind,
    /// `Q` and a number.
    pub entity: String,
    /// The entity's full name.
    pub name: String,
    /// Others that this text could mean by its wording: they share the name.
    pub also: Vec<(String, String)>,
}

/// A text that grows, and the mentions in it.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    text: String,
    characters: usize,
    mentions: Vec<Mention>,
}

impl Writer {
    /// Appends plain text.
    pub fn say(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self.characters += text.chars().count();
        self
    }

    /// Appends a text that means an entity.
    pub fn mention(
        &mut self,
        text: &str,
        kind: MentionKind,
        (entity, name): (&str, &str),
        also: Vec<(String, String)>,
    ) -> &mut Self {
        let start = self.characters;
        self.say(text);
        let (entity, name) = (entity.to_owned(), name.to_owned());
        self.mentions.push(Mention { start, end: self.characters, kind, entity, name, also });
        self
    }

    /// What was written.
    pub fn finish(self) -> (String, Vec<Mention>) {
        (self.text, self.mentions)
    }
}
