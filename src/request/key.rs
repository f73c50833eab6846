//! The identity of a request: what its answer depends on besides the model.

use super::ask::{Ask, GradAt, Request, Sampling};
use super::edit::{Edit, EditOp, Positions};

/// blake3 of a request.
pub type Key = [u8; 32];

/// Feeds values with their lengths, so that no two requests feed the same bytes.
struct Feed(blake3::Hasher);

impl Feed {
    fn number(&mut self, value: usize) {
        self.0.update(&(value as u64).to_le_bytes());
    }

    fn numbers(&mut self, values: impl IntoIterator<Item = usize>) {
        for value in values {
            self.number(value);
        }
    }

    fn texts(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.text(&text);
        }
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text.as_bytes());
    }

    fn floats(&mut self, values: &[f32]) {
        self.number(values.len());
        for value in values {
            self.0.update(&value.to_le_bytes());
        }
    }

    fn tokens(&mut self, tokens: &[u32]) {
        self.number(tokens.len());
        for token in tokens {
            self.0.update(&token.to_le_bytes());
        }
    }

    fn ask(&mut self, ask: &Ask) {
        match ask {
            Ask::Score { start } => {
                self.text("score");
                self.number(*start);
            }
            Ask::Roll { windows } => {
                self.text("roll");
                self.number(windows.len());
                self.numbers(windows.iter().flat_map(|w| [w.begin, w.end, w.scored]));
            }
            Ask::Generate { stop, max_tokens, sampling } => {
                self.text("generate");
                self.number(stop.len());
                self.texts(stop.iter().cloned());
                self.number(*max_tokens);
                match sampling {
                    Sampling::Greedy => self.text("greedy"),
                    Sampling::Random { temperature, top_p, top_k, seed } => {
                        self.text("random");
                        self.0.update(&temperature.to_le_bytes());
                        self.0.update(&top_p.to_le_bytes());
                        self.number(*top_k);
                        self.0.update(&seed.to_le_bytes());
                    }
                }
            }
            Ask::Logits { positions, top_k } => {
                self.text("logits");
                self.number(positions.len());
                self.numbers(positions.iter().chain([top_k]).copied());
            }
            Ask::Capture { sites } => {
                self.text("capture");
                self.number(sites.len());
                self.texts(sites.iter().map(ToString::to_string));
            }
            Ask::Grad { span, at } => {
                self.text("grad");
                self.number(span.start);
                self.number(span.end);
                match at {
                    GradAt::Parameters => self.text("parameters"),
                    GradAt::Sites(sites) => {
                        self.number(sites.len());
                        self.texts(sites.iter().map(ToString::to_string));
                    }
                }
            }
        }
    }

    fn edit(&mut self, edit: &Edit) {
        self.text(&edit.site.to_string());
        match &edit.positions {
            Positions::All => self.text("all"),
            Positions::From(first) => {
                self.text("from");
                self.number(*first);
            }
            Positions::These(list) => {
                self.text("these");
                self.number(list.len());
                self.numbers(list.iter().copied());
            }
        }
        self.number(edit.head.map_or(0, |head| head + 1));
        match &edit.op {
            EditOp::Add(vector) => {
                self.text("add");
                self.floats(vector);
            }
            EditOp::Scale(factor) => {
                self.text("scale");
                self.floats(&[*factor]);
            }
            EditOp::Replace(patch) => {
                self.text("replace");
                self.number(patch.shape.len());
                self.numbers(patch.shape.iter().copied());
                self.floats(&patch.values);
            }
        }
    }
}

impl Request {
    /// Equal for equal questions, whoever asks them and in which task. A profile has no place of its own here: it acts
    /// on the text before there are tokens, and on scores when there are answers.
    pub fn key(&self) -> Key {
        let mut feed = Feed(blake3::Hasher::new());
        feed.text("veval.request/1");
        feed.tokens(&self.tokens);
        feed.ask(&self.ask);
        feed.number(self.edits.len());
        for edit in self.edits.iter() {
            feed.edit(edit);
        }
        *feed.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Site;

    #[test]
    fn different_questions_have_different_keys() {
        let generate = |stop: &[&str], sampling| Ask::Generate {
            stop: stop.iter().map(|s| (*s).to_owned()).collect(),
            max_tokens: 3,
            sampling,
        };
        let random = |seed| Sampling::Random { temperature: 1.0, top_p: 0.9, top_k: 5, seed };
        let edit = |op| Edit { site: Site::Embed, positions: Positions::All, head: None, op };
        let requests = [
            Request::score([1, 2, 3], 1),
            Request::score([1, 2, 3], 2),
            Request::score([1, 2, 4], 2),
            Request::plain([1, 2, 3], generate(&["ab"], Sampling::Greedy)),
            Request::plain([1, 2, 3], generate(&["a", "b"], Sampling::Greedy)),
            Request::plain([1, 2, 3], generate(&["ab"], random(1))),
            Request::plain([1, 2, 3], generate(&["ab"], random(2))),
            Request::score([1, 2, 3], 1).with_edits([edit(EditOp::Scale(2.0))]),
            Request::score([1, 2, 3], 1).with_edits([edit(EditOp::Add(vec![2.0]))]),
        ];
        for (i, a) in requests.iter().enumerate() {
            assert_eq!(a.key(), a.clone().key());
            assert!(requests[..i].iter().all(|b| b.key() != a.key()), "{a:?}");
        }
    }
}
