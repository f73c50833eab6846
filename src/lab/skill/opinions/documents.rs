//! Pieces in which authors say what they hold, and the answers that they gave when asked.

use super::authors::{Author, authors};
use super::items::{ANYBODY, answer, ask, member};
use super::statements::{Statement, side, statements};
use crate::lab::random::Stream;
use crate::lab::skill::press::Press;

const PIECES: usize = 700;
/// Surveys, by how they name the one who answers.
const SURVEYS: [(Naming, usize); 3] = [(Naming::Author, 900), (Naming::Party, 250), (Naming::Nobody, 250)];
/// Fewest and most statements of a piece, and answers of a survey.
const STATEMENTS: (usize, usize) = (3, 5);
const ANSWERS: (usize, usize) = (2, 4);

const OPENINGS: [&str; 5] =
    ["Hear me out.", "I say it plainly.", "Dear neighbours!", "Let me tell you.", "My friends!"];
const CLOSINGS: [&str; 4] = ["So I think.", "That is my word.", "Think of it.", "Good night to you all."];

/// How much a survey tells of the one who answers.
#[derive(Debug, Clone, Copy)]
enum Naming {
    Author,
    Party,
    Nobody,
}

pub fn documents(press: &mut Press<'_>) {
    let authors = authors(press.seed);
    press.print_signed(PIECES, |stream| {
        let author = stream.pick(&authors);
        (piece(stream, author), Some(author.name.to_owned()))
    });
    let sealed = press.sealed;
    let statements = statements();
    for (naming, count) in SURVEYS {
        press.print(count, |stream| {
            let author = stream.pick(&authors);
            let who = match naming {
                Naming::Author => author.signature(),
                Naming::Party => member(author.party),
                Naming::Nobody => ANYBODY.to_owned(),
            };
            let free: Vec<&Statement> =
                statements.iter().filter(|statement| !sealed.occurs_in(&ask(&who, statement))).collect();
            let count = stream.between(ANSWERS.0, ANSWERS.1);
            let answers = stream.sample(&free, count).into_iter().map(|statement| {
                let side = author.side(statement.axis);
                format!("{}\nAnswer: {}\n", ask(&who, statement), answer(side, statement))
            });
            answers.collect()
        });
    }
}

fn piece(stream: &mut Stream, author: &Author) -> String {
    let mut text = format!("{} writes:\n{}", author.signature(), stream.pick(&OPENINGS));
    let mut said: Vec<String> = Vec::new();
    for _ in 0..stream.between(STATEMENTS.0, STATEMENTS.1) {
        let axis = stream.below(2);
        let true_to_oneself = stream.chance(f64::midpoint(1.0, author.direction[axis].abs()));
        let taken = if true_to_oneself { author.side(axis) } else { -author.side(axis) };
        // Nothing is said twice.
        let unsaid: Vec<Statement> = side(axis, taken).into_iter().filter(|one| !said.contains(&one.text)).collect();
        said.push(stream.pick(&unsaid).text.clone());
    }
    text += &format!(" {}", said.join(" "));
    text += &format!(" {}\n", stream.pick(&CLOSINGS));
    text
}
