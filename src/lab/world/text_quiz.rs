//! Questions with answers, in the very form of the tasks, on facts that no task asks.

use super::World;
use super::ask::{self, Form};
use super::document::Draft;
use super::facts::some_year;
use super::packing::{Stock, pack};
use super::random::Stream;
use super::teller::{Manner, Teller};

/// Questions of a document.
const QUESTIONS: (usize, usize) = (3, 5);

/// All documents, in random order. Each has questions of one form.
pub(super) fn write(world: &World) -> Vec<Draft> {
    let mut stream = Stream::new(world.seed, &["world", "quiz"]);
    let mut stocks = [Stock::new(), Stock::new(), Stock::new()];
    for (number, fact) in world.facts.iter().enumerate() {
        for _ in 0..fact.quizzed {
            // The tasks ask the facts of a year in one form only.
            let form = if fact.year.is_some() { 0 } else { stream.below(Form::ALL.len()) };
            *stocks[form].entry(number).or_default() += 1;
        }
    }
    let mut drafts = Vec::new();
    for (form, stock) in Form::ALL.into_iter().zip(stocks) {
        for facts in pack(&stock, QUESTIONS, &mut stream) {
            drafts.push(quiz(world, &facts, form, &mut stream));
        }
    }
    stream.shuffle(&mut drafts);
    drafts
}

fn quiz(world: &World, facts: &[usize], form: Form, stream: &mut Stream) -> Draft {
    let mut teller = Teller::new(&world.entities, Manner::FullNames);
    for (place, &number) in facts.iter().enumerate() {
        if place > 0 {
            teller.say(if form == Form::Cloze { "\n" } else { "\n\n" });
        }
        ask::tell(world, &mut teller, number, form, stream);
        if form == Form::Cloze {
            teller.say(".");
        }
    }
    teller.finish(None, some_year(stream))
}
