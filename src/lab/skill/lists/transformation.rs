//! A transformation of letters or of a word: its rule, what it is asked of, what it is made of.

use super::inventory::TRANSFORMATIONS;
use super::vocabulary::{Inflection, Vocabulary};
use crate::lab::random::Stream;

/// Letters that lists are made of. What comes next in the alphabet may be one more.
pub const LETTERS: [char; 16] = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p'];

/// A transformation that lists teach.
#[derive(Debug)]
pub struct Transformation {
    pub name: &'static str,
    pub rule: Rule,
    /// How many documents teach it in a small world.
    pub documents: usize,
}

/// What a transformation does.
#[derive(Debug)]
pub enum Rule {
    /// With different letters, of a number of them within these bounds.
    Letters { fewest: usize, most: usize, apply: fn(&[char]) -> Vec<char> },
    /// Two rules for letters, the first one first.
    Composite { fewest: usize, most: usize, first: &'static str, second: &'static str },
    /// With invented words that follow a rule.
    Words { vocabulary: &'static Vocabulary, inflection: Inflection },
    /// With words that have partners of their own; both ways round or one.
    Lookup { pairs: &'static [(&'static str, &'static str)], both_ways: bool },
}

impl Transformation {
    /// Of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TRANSFORMATIONS.iter().find(|transformation| transformation.name == name)
    }

    /// Names of the two that it is made of, the first one first.
    pub fn parts(&self) -> Option<[&'static str; 2]> {
        match self.rule {
            Rule::Composite { first, second, .. } => Some([first, second]),
            _ => None,
        }
    }

    /// What it makes of a query; `None` if it is no query of this transformation's kind.
    pub fn apply(&self, query: &str) -> Option<String> {
        match &self.rule {
            Rule::Letters { .. } | Rule::Composite { .. } => {
                let letters = query.split(' ').map(only_letter).collect::<Option<Vec<char>>>()?;
                Some(write_letters(&self.apply_to_letters(&letters)?))
            }
            Rule::Words { vocabulary, inflection } => Some(vocabulary.class_of(query)?.inflect(query, *inflection)),
            Rule::Lookup { pairs, both_ways } => {
                let there = pairs.iter().find(|pair| pair.0 == query).map(|pair| pair.1);
                let back = || pairs.iter().find(|pair| *both_ways && pair.1 == query).map(|pair| pair.0);
                there.or_else(back).map(str::to_owned)
            }
        }
    }

    fn apply_to_letters(&self, letters: &[char]) -> Option<Vec<char>> {
        match &self.rule {
            Rule::Letters { apply, .. } => Some(apply(letters)),
            Rule::Composite { first, second, .. } => {
                let between = Self::named(first)?.apply_to_letters(letters)?;
                Self::named(second)?.apply_to_letters(&between)
            }
            Rule::Words { .. } | Rule::Lookup { .. } => None,
        }
    }

    /// Something to transform.
    pub fn draw_query(&self, stream: &mut Stream) -> String {
        match &self.rule {
            Rule::Letters { fewest, most, .. } | Rule::Composite { fewest, most, .. } => {
                let count = stream.between(*fewest, *most);
                write_letters(&stream.sample(&LETTERS, count))
            }
            Rule::Words { vocabulary, .. } => vocabulary.draw(stream),
            Rule::Lookup { pairs, both_ways } => {
                let (there, back) = *stream.pick(pairs);
                if *both_ways && stream.chance(0.5) { back } else { there }.to_owned()
            }
        }
    }

    /// A line of a list, without the space before it.
    ///
    /// # Panics
    /// If it is no query of this transformation's.
    pub fn line(&self, query: &str) -> String {
        let answer = self.apply(query).unwrap_or_else(|| panic!("{}: {query:?} is no query of its kind", self.name));
        format!("{query} -> {answer}")
    }

    /// What scores are also given by: the number of letters, or the class of the word.
    pub fn slice_of(&self, query: &str) -> Option<(&'static str, String)> {
        match &self.rule {
            Rule::Letters { .. } | Rule::Composite { .. } => Some(("length", query.split(' ').count().to_string())),
            Rule::Words { vocabulary, .. } => Some(("class", vocabulary.class_of(query)?.name.to_owned())),
            Rule::Lookup { .. } => None,
        }
    }

    /// Name of its task.
    pub fn task(&self) -> String {
        format!("lists_{}", self.name)
    }
}

/// Lines one below the other, each with a space before it.
pub fn write_list(lines: &[String]) -> String {
    let mut list = String::new();
    for line in lines {
        list.extend([" ", line, "\n"]);
    }
    list
}

fn write_letters(letters: &[char]) -> String {
    letters.iter().map(char::to_string).collect::<Vec<_>>().join(" ")
}

fn only_letter(text: &str) -> Option<char> {
    let mut characters = text.chars();
    let letter = characters.next()?;
    characters.next().is_none().then_some(letter)
}
