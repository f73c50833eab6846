//! How a multiple-choice question is put: its answers scored as texts, listed under letters that are scored, or listed
//! and written.
//!
//! ```text
//! continuation   Question: Q⏎Answer:                     scored: " first", " second", ...
//! letter         Question: Q⏎ A. first⏎ B. second⏎Answer:   scored: " A", " B"
//! generative     the same prompt                         the model writes up to a line end
//! ```
//! Continuations give the scores raw, per character, per byte, per token and against no context (PMI): these are metrics
//! of the same answers. The list has the form of OLMES (Gu et al. 2024, section 3.3), with a space before each letter so
//! that a tokenizer makes of it what it makes of the answer.

use super::expression::Template;
use super::task::Writing;
use crate::error::{Error, Result};

/// Names in task files, and of variants.
pub(super) const PROTOCOLS: &[&str] = &["continuation", "letter", "generative"];

/// How the answers of a multiple-choice question are asked for.
#[derive(Debug, Clone)]
pub enum Protocol {
    Continuation,
    Letter { list: List },
    Generative { list: List, writing: Writing },
}

/// How the answers are listed before they are asked for.
#[derive(Debug, Clone)]
pub enum List {
    /// In the task's own prompt: before its last line if that is a cue that ends with a colon, else after it, with
    /// `Answer:` as the cue.
    InPrompt,
    /// By a template in which `listing` stands for the list.
    Template(Template),
}

impl Protocol {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Continuation => "continuation",
            Self::Letter { .. } => "letter",
            Self::Generative { .. } => "generative",
        }
    }

    /// How answers are listed, where they are.
    pub(super) fn list(&self) -> Option<&List> {
        match self {
            Self::Continuation => None,
            Self::Letter { list } | Self::Generative { list, .. } => Some(list),
        }
    }
}

/// The letters of so many answers.
///
/// # Errors
/// More answers than letters; answers that are letters themselves.
pub(super) fn letters(answers: &[String]) -> Result<Vec<String>> {
    if answers.len() > 26 {
        return Err(Error::bad(format!("choices: expected at most 26, one for each letter, found {}", answers.len())));
    }
    let letter = |answer: &String| answer.trim().len() == 1 && answer.trim().chars().all(|c| c.is_ascii_alphabetic());
    if answers.iter().all(letter) {
        return Err(Error::bad(format!("choices: expected texts to list under letters, found letters: {answers:?}"))
            .help("the task lists its answers in the prompt already: leave `protocols` out"));
    }
    Ok(('A'..='Z').take(answers.len()).map(String::from).collect())
}

/// One line for each answer.
pub(super) fn listing(letters: &[String], answers: &[String]) -> String {
    let lines: Vec<String> =
        letters.iter().zip(answers).map(|(letter, answer)| format!(" {letter}. {answer}")).collect();
    lines.join("\n")
}

/// A prompt with the list in it.
pub(super) fn with_listing(prompt: &str, listing: &str) -> String {
    match prompt.rsplit_once('\n') {
        Some((question, cue)) if cue.ends_with(':') => format!("{question}\n{listing}\n{cue}"),
        _ => format!("{prompt}\n{listing}\nAnswer:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_stands_before_the_cue() {
        let answers = ["red".to_owned(), "blue".to_owned()];
        let list = listing(&letters(&answers).unwrap(), &answers);
        assert_eq!(with_listing("Question: Q?\nAnswer:", &list), "Question: Q?\n A. red\n B. blue\nAnswer:");
        assert_eq!(with_listing("The sky is", &list), "The sky is\n A. red\n B. blue\nAnswer:");
        assert_eq!(with_listing("Passage:\nIt was", &list), "Passage:\nIt was\n A. red\n B. blue\nAnswer:");
    }

    #[test]
    fn letters_are_not_listed_under_letters() {
        let error = letters(&["A".to_owned(), " B".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("found letters"), "{error}");
        assert!(letters(&["A".to_owned(), "an".to_owned()]).is_ok());
        assert!(letters(&vec!["text".to_owned(); 27]).unwrap_err().to_string().contains("at most 26"));
    }
}
