//! The parts of a prompt, and how they become one plain text (lm-evaluation-harness's rules A1 to A3).

use crate::util::python;

/// A prompt before it is joined: as one text, or as chat turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Before everything else.
    pub prefix: String,
    /// System prompt and task description, joined.
    pub system: String,
    pub shots: Vec<Turn>,
    pub question: String,
    /// What the answer begins with, not scored; empty for nothing.
    pub answer_prefix: String,
    /// Between question and answer.
    pub delimiter: String,
    /// After each shot.
    pub shot_delimiter: String,
}

/// A worked example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub question: String,
    pub answer: String,
}

impl Prompt {
    /// The whole context as one text. Without an answer prefix it ends with the question; the delimiter belongs to
    /// the continuation then ([`Self::continuation_delimiter`]).
    pub fn text(&self) -> String {
        let mut text = [self.prefix.as_str(), &self.system].concat();
        for shot in &self.shots {
            text += &shot.question;
            // A shot without answer is a question and no more (`build_qa_turn`, lm-evaluation-harness 0.4.13).
            if !(shot.answer.is_empty() && self.answer_prefix.is_empty()) {
                text += self.delimiter_before(&shot.question);
                text += &self.answer_with_prefix(&shot.answer);
            }
            if !shot.answer.is_empty() {
                text += &self.shot_delimiter;
            }
        }
        text += &self.question;
        if !self.answer_prefix.is_empty() {
            text += self.delimiter_before(&self.question);
            text += &self.answer_prefix;
        }
        text
    }

    /// A shot's answer, begun with the answer prefix.
    pub fn answer_with_prefix(&self, answer: &str) -> String {
        join(&self.answer_prefix, answer, " ")
    }

    /// Between a question and what follows: with an answer prefix only where no white space is there already.
    fn delimiter_before(&self, question: &str) -> &str {
        if self.answer_prefix.is_empty() || needs_delimiter(question, &self.answer_prefix) {
            &self.delimiter
        } else {
            ""
        }
    }

    /// What stands between the context and a scored continuation. With a chat template the turn has just begun, so
    /// nothing does, unless an answer prefix without white space at its end goes before.
    pub fn continuation_delimiter(&self, chat: bool) -> &str {
        let open = !self.answer_prefix.is_empty() && !self.answer_prefix.ends_with(python::is_space);
        if chat && !open { "" } else { &self.delimiter }
    }
}

/// Joins two texts, with the delimiter only where neither touching side is white space; empty sides need none.
pub(super) fn join(a: &str, b: &str, delimiter: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.to_owned(),
        (_, true) => a.to_owned(),
        _ => [a, if needs_delimiter(a, b) { delimiter } else { "" }, b].concat(),
    }
}

fn needs_delimiter(a: &str, b: &str) -> bool {
    !a.is_empty() && !a.ends_with(python::is_space) && !b.starts_with(python::is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(answer_prefix: &str) -> Prompt {
        Prompt {
            prefix: String::new(),
            system: join("Be brief.", "Facts follow.\n\n", "\n\n"),
            shots: vec![Turn { question: "Q: one?\nA:".into(), answer: "1".into() }],
            question: "Q: two?\nA:".into(),
            answer_prefix: answer_prefix.into(),
            delimiter: " ".into(),
            shot_delimiter: "\n\n".into(),
        }
    }

    #[test]
    fn parts_join_as_the_peer_joins_them() {
        let plain = prompt("");
        assert_eq!(plain.text(), "Be brief.\n\nFacts follow.\n\nQ: one?\nA: 1\n\nQ: two?\nA:");
        assert_eq!((plain.continuation_delimiter(false), plain.continuation_delimiter(true)), (" ", ""));
        let prefixed = prompt("It is");
        assert!(prefixed.text().ends_with("Q: one?\nA: It is 1\n\nQ: two?\nA: It is"));
        assert_eq!(prefixed.continuation_delimiter(true), " ");
        assert_eq!(prompt("It is ").continuation_delimiter(true), "");
    }
}
