//! The right answer of each item as tokens: what a gradient that is to help with the item is taken of.

use super::encode::Encoder;
use super::prepare::Prepared;
use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::request::{Ask, Request};
use crate::suite::Question;
use crate::text::Tokenizer;

/// After this many bad items the rest is not named.
const MAX_PROBLEMS: usize = 20;

/// An item with its right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightAnswer {
    /// Index of the task, and of the item within it.
    pub task: usize,
    pub item: usize,
    /// Context and answer; the answer is `tokens[start..]`.
    pub tokens: Vec<u32>,
    pub start: usize,
}

/// Encodes the right answer of every item behind its context, under the rules by which a score encodes choices: the first
/// right choice, the target, the first written answer, the whole of a text. What is longer than the model's input is cut
/// from the left, a text from the right.
///
/// # Errors
/// All items whose answer is empty or longer than the model's input, by task and row.
pub fn right_answers(prepared: &Prepared, tokenizer: &Tokenizer, max_length: usize) -> Result<Vec<RightAnswer>> {
    let mut answers = Vec::new();
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (task, prepared_task) in prepared.tasks.iter().enumerate() {
        let encoder = Encoder::new(tokenizer, prepared_task, max_length);
        for (item, content) in prepared_task.items.iter().enumerate() {
            match right_answer(&encoder, &content.question, max_length) {
                Ok((tokens, start)) => answers.push(RightAnswer { task, item, tokens, start }),
                Err(error) if problems.len() < MAX_PROBLEMS => {
                    let place = format!("task {}, item {}", prepared_task.task.name, content.row);
                    problems.extend(error.at(place).into_diagnostics());
                }
                Err(_) => {}
            }
        }
    }
    Error::check(problems)?;
    Ok(answers)
}

fn right_answer(encoder: &Encoder<'_>, question: &Question, max_length: usize) -> Result<(Vec<u32>, usize)> {
    let request = match question {
        Question::Choices { prompts, choices, gold } => {
            let right = *gold.first().ok_or_else(|| Error::bad("expected a right choice, found none"))?;
            encoder.behind(&prompts[right.min(prompts.len() - 1)], &choices[right])?
        }
        Question::Cloze { prompt, target } => encoder.behind(prompt, target)?,
        Question::Generate { prompt, golds } => {
            let right = golds.first().ok_or_else(|| Error::bad("expected a right answer, found none"))?;
            encoder.behind(prompt, right)?
        }
        Question::Text { prefix, text, .. } => encoder.text(prefix, text)?,
    };
    let Request { tokens, ask, .. } = request;
    match ask {
        Ask::Score { start } if start < tokens.len() => Ok((tokens.to_vec(), start)),
        Ask::Score { .. } => Err(Error::bad("expected an answer of at least one token, found an empty one")),
        Ask::Roll { .. } if !matches!(question, Question::Text { .. }) => {
            Err(Error::bad(format!("expected an answer of at most {max_length} tokens, found a longer one")))
        }
        Ask::Roll { windows } => {
            let first = windows.first().ok_or_else(|| Error::bad("expected at least one token of text, found none"))?;
            Ok((tokens[..=first.end].to_vec(), 1))
        }
        _ => Err(Error::internal("an answer that is no score")),
    }
}
