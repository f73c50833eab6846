//! From items to requests, and from the answers back to outcomes.
//!
//! The rules are lm-evaluation-harness's C1 to C6, D1, D6 and D7, with the one variation that a profile names.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::metric::{AnswerOutcome, ChoiceOutcome, ChoiceScore, ClozeOutcome, Outcome, RollingOutcome};
use crate::request::{Ask, Begun, Key, Plan, Request, Response, Sampling, ScoredToken, Sharing, Window};
use crate::suite::{Item, Lengths, Prompt, Question, Task, Tokenise, Writing};
use crate::text::{Message, Pair, Tokenizer, encode_by_length, encode_by_offsets};
use crate::util::{hash, parallel};

use super::prepare::{Prepared, PreparedTask};

/// After this many bad items the rest is not named.
const MAX_PROBLEMS: usize = 20;

/// The requests of a whole suite under one tokenizer.
pub struct Encoded {
    pub items: Vec<EncodedItem>,
    /// Keys of all requests, item by item.
    keys: Vec<Vec<Key>>,
    /// The last plan and what it is of: the checkpoints of a series want the same.
    last: Mutex<Option<LastPlan>>,
}

struct LastPlan {
    of: (Vec<Vec<RequestPlace>>, Sharing),
    plan: Arc<Plan>,
}

/// A request of an item: index of the item, and of the request within it.
pub type RequestPlace = (usize, usize);

impl Encoded {
    fn new(items: Vec<EncodedItem>, threads: usize) -> Self {
        let keys = parallel::map(&items, threads, |item| item.requests.iter().map(Request::key).collect());
        Self { items, keys, last: Mutex::new(None) }
    }

    /// All requests of some items.
    pub fn places(&self, items: Range<usize>) -> impl Iterator<Item = RequestPlace> {
        items.flat_map(|item| (0..self.items[item].requests.len()).map(move |request| (item, request)))
    }

    pub fn key(&self, (item, request): RequestPlace) -> &Key {
        &self.keys[item][request]
    }

    /// Requests that ask the same stand together, in the order of their first: they are asked once.
    pub fn groups(&self, places: impl IntoIterator<Item = RequestPlace>) -> Vec<Vec<RequestPlace>> {
        let mut known = BTreeMap::new();
        let mut groups: Vec<Vec<RequestPlace>> = Vec::new();
        for place in places {
            let index = *known.entry(self.key(place)).or_insert(groups.len());
            match groups.get_mut(index) {
                Some(group) => group.push(place),
                None => groups.push(vec![place]),
            }
        }
        groups
    }

    /// The plan of groups of requests, in their order, of which some were begun. That which was made last is kept.
    pub fn plan(&self, groups: &[Vec<RequestPlace>], mut begun: BTreeMap<Key, Begun>, sharing: Sharing) -> Arc<Plan> {
        let requests = || groups.iter().map(|group| self.items[group[0].0].requests[group[0].1].clone()).collect();
        if !begun.is_empty() {
            let so_far = |(index, group): (usize, &Vec<RequestPlace>)| Some((index, begun.remove(self.key(group[0]))?));
            let begun = groups.iter().enumerate().filter_map(so_far).collect();
            return Arc::new(Plan::going_on(requests(), begun, sharing));
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(LastPlan { of, plan }) = &*last
            && of.1 == sharing
            && of.0 == groups
        {
            return Arc::clone(plan);
        }
        let plan = Arc::new(Plan::new(requests(), sharing));
        *last = Some(LastPlan { of: (groups.to_vec(), sharing), plan: Arc::clone(&plan) });
        plan
    }
}

/// The requests of one item.
#[derive(Debug, Clone)]
pub struct EncodedItem {
    /// Index of the task and of the item within it.
    pub task: usize,
    pub item: usize,
    pub requests: Vec<Request>,
    /// SHA-256 of the first context.
    pub prompt_hash: String,
    /// Tokens cut from the left, over all requests.
    pub truncated: usize,
}

/// Encodes every item. Problems of all items are reported together.
pub fn encode(prepared: &Prepared, tokenizer: &Tokenizer, max_length: usize, threads: usize) -> Result<Encoded> {
    Error::check(prepared.tasks.iter().filter_map(|task| too_long(&task.task, max_length)).collect())?;
    let places: Vec<(usize, usize)> =
        prepared.tasks.iter().enumerate().flat_map(|(t, task)| (0..task.items.len()).map(move |i| (t, i))).collect();
    let encoded = parallel::map(&places, threads, |&(task, item)| {
        let prepared = &prepared.tasks[task];
        let encoder = Encoder::new(tokenizer, prepared, max_length);
        let name = || format!("task {}, item {}", prepared.task.name, prepared.items[item].row);
        encoder.item(task, item, &prepared.items[item]).map_err(|e| e.at(name()))
    });
    let mut items = Vec::with_capacity(encoded.len());
    let mut problems: Vec<Diagnostic> = Vec::new();
    for result in encoded {
        match result {
            Ok(item) => items.push(item),
            Err(error) if problems.len() < MAX_PROBLEMS => problems.extend(error.into_diagnostics()),
            Err(_) => {}
        }
    }
    Error::check(problems)?;
    Ok(Encoded::new(items, threads))
}

/// An answer must leave room for at least one token of its prompt.
fn too_long(task: &Task, max_length: usize) -> Option<Diagnostic> {
    let max_tokens = task.kind.writing()?.max_tokens;
    let problem =
        || format!("expected `max_tokens` below the model's longest input of {max_length} tokens, found {max_tokens}");
    (max_tokens >= max_length).then(|| Diagnostic::new(problem()).at(format!("task {}", task.name)))
}

/// The rules of one task under one tokenizer.
pub(super) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    task: &'a Task,
    max_length: usize,
    unconditional: bool,
}

impl<'a> Encoder<'a> {
    pub fn new(tokenizer: &'a Tokenizer, prepared: &'a PreparedTask, max_length: usize) -> Self {
        Self { tokenizer, task: &prepared.task, max_length, unconditional: prepared.needs_unconditional() }
    }

    /// The request that scores an answer behind a prompt.
    pub fn behind(&self, prompt: &Prompt, answer: &str) -> Result<Request> {
        let continuation = [prompt.continuation_delimiter(self.task.chat), answer].concat();
        Ok(self.scored(&context(self.tokenizer, self.task.chat, prompt)?, &continuation)?.0)
    }

    /// The request that scores a text.
    pub fn text(&self, prefix: &str, text: &str) -> Result<Request> {
        if prefix.is_empty() { self.roll(text) } else { Ok(self.scored(prefix, text)?.0) }
    }

    fn item(&self, task: usize, index: usize, item: &Item) -> Result<EncodedItem> {
        let mut encoded =
            EncodedItem { task, item: index, requests: Vec::new(), prompt_hash: String::new(), truncated: 0 };
        let hash_of = |context: &str| hash::sha256_hex(context.as_bytes());
        match &item.question {
            Question::Choices { prompts, choices, .. } => {
                let contexts = prompts
                    .iter()
                    .map(|prompt| context(self.tokenizer, self.task.chat, prompt))
                    .collect::<Result<Vec<_>>>()?;
                encoded.prompt_hash = hash_of(&contexts[0]);
                for (index, choice) in choices.iter().enumerate() {
                    let place = index.min(contexts.len() - 1);
                    let continuation = [prompts[place].continuation_delimiter(self.task.chat), choice].concat();
                    self.score(&contexts[place], &continuation, &mut encoded)?;
                }
                if self.unconditional {
                    for choice in choices {
                        let continuation = [prompts[0].continuation_delimiter(self.task.chat), choice].concat();
                        self.score(&self.task.unconditional, &continuation, &mut encoded)?;
                    }
                }
            }
            Question::Cloze { prompt, target } => {
                let context = context(self.tokenizer, self.task.chat, prompt)?;
                encoded.prompt_hash = hash_of(&context);
                let continuation = [prompt.continuation_delimiter(self.task.chat), target].concat();
                self.score(&context, &continuation, &mut encoded)?;
            }
            Question::Text { prefix, text, .. } if !prefix.is_empty() => {
                encoded.prompt_hash = hash_of(prefix);
                self.score(prefix, text, &mut encoded)?;
            }
            Question::Text { text, .. } => {
                encoded.prompt_hash = hash_of(text);
                encoded.requests.push(self.roll(text)?);
            }
            Question::Generate { prompt, .. } => {
                let context = context(self.tokenizer, self.task.chat, prompt)?;
                encoded.prompt_hash = hash_of(&context);
                self.generate(&context, &mut encoded)?;
            }
        }
        Ok(encoded)
    }

    fn score(&self, context: &str, continuation: &str, encoded: &mut EncodedItem) -> Result<()> {
        let (request, truncated) = self.scored(context, continuation)?;
        encoded.requests.push(request);
        encoded.truncated += truncated;
        Ok(())
    }

    /// A score request, cut from the left to one more token than the longest input (the last token is never an input),
    /// and how many tokens were cut. The peer stops the run at a continuation that is longer than that; here it is scored
    /// like a rolling text.
    fn scored(&self, context: &str, continuation: &str) -> Result<(Request, usize)> {
        let Pair { tokens, start } = match self.task.profile.tokenise {
            Tokenise::ByLength => encode_by_length(self.tokenizer, context, continuation)?,
            Tokenise::ByOffsets => encode_by_offsets(self.tokenizer, context, continuation)?,
        };
        let continuation = tokens.len() - start;
        if continuation > self.max_length {
            // It does not fit even without its context: window by window, from the token before it.
            let windows = windows(continuation, self.max_length);
            return Ok((Request::plain(&tokens[start - 1..], Ask::Roll { windows }), start - 1));
        }
        let excess = tokens.len().saturating_sub(self.max_length + 1);
        Ok((Request::score(&tokens[excess..], start - excess), excess))
    }

    /// Disjoint windows in which each token is predicted once; the first starts from the prefix token, later ones
    /// have as much left context as fits.
    fn roll(&self, text: &str) -> Result<Request> {
        let prefix = self.tokenizer.prefix().ok_or_else(|| {
            Error::bad("expected a beginning- or end-of-sequence token to stand before a text, found neither")
                .in_file(self.tokenizer.path())
        })?;
        let mut tokens = vec![prefix];
        tokens.extend(if self.task.profile.rolling_keeps_bos {
            self.tokenizer.encode(text)?
        } else {
            self.tokenizer.encode_plain(text)?
        });
        let targets = tokens.len() - 1;
        if targets == 0 {
            return Err(Error::bad("expected at least one token of text, found none"));
        }
        Ok(Request::plain(tokens, Ask::Roll { windows: windows(targets, self.max_length) }))
    }

    fn generate(&self, context: &str, encoded: &mut EncodedItem) -> Result<()> {
        let Some(Writing { stop, max_tokens, sampling }) = self.task.kind.writing() else {
            return Err(Error::internal("a generated answer in another kind of task"));
        };
        let tokens = self.tokenizer.encode(context)?;
        let excess = tokens.len().saturating_sub(self.max_length - max_tokens);
        encoded.truncated += excess;
        let mut stop = stop.clone();
        if let Some(eos) = self.tokenizer.eos() {
            let text = self.tokenizer.decode_with_specials(&[eos])?;
            if !stop.contains(&text) {
                stop.push(text);
            }
        }
        let sampling = sampling.map_or(Sampling::Greedy, |drawn| Sampling::Random {
            temperature: drawn.temperature,
            top_p: drawn.top_p,
            top_k: drawn.top_k,
            seed: self.task.seed,
        });
        let ask = Ask::Generate { stop, max_tokens: *max_tokens, sampling };
        encoded.requests.push(Request::plain(&tokens[excess..], ask));
        Ok(())
    }
}

/// The context as one text: joined, or, with `chat`, through the model's chat template with shots as turns.
pub fn context(tokenizer: &Tokenizer, chat: bool, prompt: &Prompt) -> Result<String> {
    if !chat {
        return Ok(prompt.text());
    }
    let template = tokenizer.chat().ok_or_else(|| {
        Error::bad("expected a chat template, found none in tokenizer_config.json or chat_template.jinja")
            .help("set `chat = false` for models without one")
    })?;
    let mut messages = Vec::new();
    if !prompt.system.is_empty() {
        messages.push(Message::new("system", prompt.system.clone()));
    }
    for shot in &prompt.shots {
        messages.push(Message::new("user", shot.question.clone()));
        messages.push(Message::new("assistant", prompt.answer_with_prefix(&shot.answer)));
    }
    messages.push(Message::new("user", prompt.question.clone()));
    if let Some(first) = messages.iter_mut().find(|message| message.role == "user") {
        first.content.insert_str(0, &prompt.prefix);
    }
    if prompt.answer_prefix.is_empty() {
        return template.render(&messages, true);
    }
    messages.push(Message::new("assistant", prompt.answer_prefix.clone()));
    template.render(&messages, false)
}

/// Windows over `targets` tokens that follow one prefix token, for inputs of at most `length` tokens.
fn windows(targets: usize, length: usize) -> Vec<Window> {
    let first = targets.min(length);
    let mut windows = vec![Window { begin: 0, end: first, scored: first }];
    let mut done = first;
    while done < targets {
        let scored = length.min(targets - done);
        done += scored;
        windows.push(Window { begin: done - length, end: done, scored });
    }
    windows
}

impl EncodedItem {
    /// Folds the answers to this item's requests, in their order, into its outcome.
    pub fn outcome(&self, task: &Task, item: &Item, responses: Vec<Response>) -> Result<Outcome> {
        let counted = |prompt: &Prompt, text: &str| match task.profile.lengths {
            Lengths::Choice => text.to_owned(),
            Lengths::Continuation => [prompt.continuation_delimiter(task.chat), text].concat(),
        };
        let wrong = || Error::internal(format!("item {}: an answer of another kind than the question", item.id));
        match &item.question {
            Question::Choices { prompts, choices, gold } => {
                let mut scores = responses.into_iter().map(scored).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
                let unconditional = scores.split_off(choices.len());
                let choice = |(index, tokens): (usize, Vec<ScoredToken>)| {
                    let counted = counted(&prompts[0], &choices[index]);
                    ChoiceScore {
                        greedy: tokens.iter().all(|token| token.greedy),
                        log_probs: log_probs(&tokens),
                        chars: counted.chars().count(),
                        bytes: counted.len(),
                        unconditional: unconditional
                            .get(index)
                            .map(|tokens| tokens.iter().map(|token| f64::from(token.log_prob)).sum()),
                    }
                };
                Ok(Outcome::Choices(ChoiceOutcome {
                    choices: scores.into_iter().enumerate().map(choice).collect(),
                    gold: gold.clone(),
                }))
            }
            Question::Cloze { prompt, target } => {
                let tokens = responses.into_iter().next().and_then(scored).ok_or_else(wrong)?;
                Ok(Outcome::Cloze(ClozeOutcome {
                    greedy: tokens.iter().all(|token| token.greedy),
                    log_probs: log_probs(&tokens),
                    bytes: counted(prompt, target).len(),
                }))
            }
            Question::Text { words, bytes, .. } => {
                let tokens = responses.into_iter().next().and_then(scored).ok_or_else(wrong)?;
                Ok(Outcome::Rolling(RollingOutcome { log_probs: log_probs(&tokens), words: *words, bytes: *bytes }))
            }
            Question::Generate { golds, .. } => match responses.into_iter().next() {
                Some(Response::Generate { text, tokens, .. }) => {
                    Ok(Outcome::Answer(AnswerOutcome { text, tokens: tokens.len(), golds: golds.clone() }))
                }
                _ => Err(wrong()),
            },
        }
    }
}

fn scored(response: Response) -> Option<Vec<ScoredToken>> {
    match response {
        Response::Score(tokens) | Response::Roll(tokens) => Some(tokens),
        _ => None,
    }
}

fn log_probs(tokens: &[ScoredToken]) -> Vec<f32> {
    tokens.iter().map(|token| token.log_prob).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every target is predicted exactly once, in order, and no input is too long.
    #[test]
    fn windows_cover_each_target_once() {
        for targets in 1..40 {
            for length in 1..12 {
                let windows = windows(targets, length);
                let predicted: Vec<usize> = windows.iter().flat_map(|w| w.end - w.scored..w.end).collect();
                assert_eq!(predicted, (0..targets).collect::<Vec<_>>(), "{targets} targets, length {length}");
                assert!(windows.iter().all(|w| w.end - w.begin <= length && w.scored <= w.end - w.begin));
                assert!(windows[1..].iter().all(|w| w.end - w.begin == length));
            }
        }
    }
}
