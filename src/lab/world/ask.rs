//! How a fact is asked: the same wording in items and in quizzes.

use super::World;
use super::random::Stream;
use super::teller::{Filler, Manner, Teller};

/// The form of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `Question: .. Answer: ..`
    Question,
    /// A sentence that ends with the answer.
    Cloze,
    /// `Q: .. A: ..`, with another question.
    Short,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Question, Self::Cloze, Self::Short];

    /// What stands before the question, and between it and the answer.
    fn frame(self) -> (&'static str, &'static str) {
        match self {
            Self::Question => ("Question: ", "\nAnswer: "),
            Self::Cloze => ("", ""),
            Self::Short => ("Q: ", "\nA: "),
        }
    }
}

/// A question with its answer. The prompt and the answer with a space between are the text that would give it away.
pub(super) struct Asked {
    pub question: String,
    /// Without a space at the end.
    pub prompt: String,
    pub answer: String,
}

impl Asked {
    /// The whole, as a quiz has it.
    pub fn own_text(&self) -> String {
        format!("{} {}", self.prompt, self.answer)
    }
}

/// Asks and answers a fact.
pub(super) fn tell(world: &World, teller: &mut Teller, number: usize, form: Form, stream: &mut Stream) {
    let fact = &world.facts[number];
    let (before, between) = form.frame();
    let year = fact.year.map(|year| year.to_string()).unwrap_or_default();
    let fillers = [("s", Filler::Name(fact.subject)), ("o", Filler::Name(fact.object)), ("y", Filler::Text(&year))];
    teller.say(before);
    match form {
        Form::Question => teller.tell(fact.relation.questions[0], &fillers, stream),
        Form::Short => teller.tell(fact.relation.questions[1], &fillers, stream),
        Form::Cloze => teller.tell(fact.relation.cloze, &fillers, stream),
    }
    if form != Form::Cloze {
        teller.say(between);
        teller.tell("{o}", &fillers, stream);
    }
    teller.states(number);
}

/// A fact as an item asks it.
pub(super) fn ask(world: &World, number: usize, form: Form) -> Asked {
    let mut teller = Teller::new(&world.entities, Manner::FullNames);
    // Names are given in full here: nothing is drawn from this stream.
    tell(world, &mut teller, number, form, &mut Stream::new(0, &[]));
    let text = teller.finish(None, 0).text;
    let object = &world.entities.get(world.facts[number].object).name;
    let answer = text[text.len() - object.len()..].to_owned();
    let prompt = text[..text.len() - object.len()].trim_end().to_owned();
    let (before, between) = form.frame();
    let question = prompt.trim_start_matches(before).trim_end_matches(between.trim_end()).to_owned();
    Asked { question, prompt, answer }
}
