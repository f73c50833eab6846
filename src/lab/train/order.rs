//! Which tokens each step of training sees.
//!
//! - Each source is an endless stream of its documents (`stream.rs`). Its sequences cut that stream without a gap: sequence
//!   `x` of a source with `T` = `sequence_length` is the `T + 1` tokens from place `x T`. The model is given the first `T` of
//!   them and predicts the last `T`; the token shared with the next sequence is predicted once and given once. So no token
//!   is dropped, every token but the first of a stream is predicted once in each epoch for each copy, and a document may go on
//!   in the source's next sequence.
//! - A sequence has tokens of one source. Which one, `deal.rs` decides: at any time every source has its share to within
//!   one sequence.
//! - A stage of the mixture begins with the first sequence before which `start_tokens` have been predicted.
//!
//! All of it depends on the seed, the mixture and the documents' names, lengths, copies and order only, and any step is found
//! without those before it being kept.
//!
//! A run that goes on from a checkpoint ([`Order::after`]) reads each stream from the place where the earlier run left it:
//!
//! - Shares go on counting from where that run's did if the mixture leads from there to those very places. The same mixture
//!   does, and the order is that of the run that was not stopped.
//! - Otherwise they count from the checkpoint. Stages begin at tokens of the whole run either way.
//! - A place is a number of tokens. It stands for the same number after other sequence lengths, and with other copies or
//!   documents, whose epochs are laid out anew. A source that the earlier run did not have begins at its first token.
//! - Another seed has other streams: each begins at its first token.
//! - A checkpoint that does not say its places is taken for one of a run with this mixture from the start.

use super::deal::{Dealer, Dealt};
use super::mixture::{Mixture, Stage};
use super::progress::{Beginning, MAX_TOKENS, OrderProgress, Places, Progress};
use super::stream::{DocumentStream, Piece};
use crate::diag::Diagnostic;
use crate::error::{Error, Result};

/// Documents times copies of all sources: what an epoch lays out.
const MAX_ENTRIES: u64 = 1 << 24;

/// A document as training sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingDocument {
    /// Number of the source.
    pub source: usize,
    /// With the token that ends it.
    pub tokens: Vec<u32>,
    /// How often an epoch has it.
    pub copies: u32,
}

/// Sizes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// Tokens that a sequence predicts.
    pub sequence_length: usize,
    /// Of one step.
    pub sequences: usize,
    pub steps: u64,
}

impl Plan {
    /// Tokens that one step predicts.
    pub fn step_tokens(&self) -> u64 {
        self.sequence_length as u64 * self.sequences as u64
    }
}

/// The order of a run.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    documents: &'a [TrainingDocument],
    plan: Plan,
    streams: Vec<DocumentStream>,
    began: Beginning,
    /// As it was when the order began.
    start: Dealer,
    dealer: Dealer,
}

/// What one step sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// From 1.
    pub step: u64,
    pub sequences: Vec<TokenSequence>,
    /// How far the order is after it.
    pub order: OrderProgress,
}

/// `sequence_length + 1` tokens of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSequence {
    pub source: usize,
    pub tokens: Vec<u32>,
    /// What they are made of, in order.
    pub pieces: Vec<Piece>,
}

/// Tokens of one document that a sequence predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    pub document: usize,
    pub tokens: usize,
}

impl<'a> Order<'a> {
    /// The order of a run over documents of these sources.
    ///
    /// # Errors
    /// All of: sources that only one of corpus and mixture has; documents without tokens or of no source; sources with a
    /// share and without tokens, or whose tokens would be seen more often than their `max_repeat` allows; sizes beyond the
    /// bounds.
    pub fn new(documents: &'a [TrainingDocument], sources: &[&str], mixture: &Mixture, plan: Plan) -> Result<Self> {
        Self::after(&Progress::default(), documents, sources, mixture, plan)
    }

    /// The order of the steps that follow a checkpoint's. `plan.steps` are those of the whole run, and more than the
    /// checkpoint's.
    ///
    /// # Errors
    /// As [`Order::new`]; `max_repeat` counts what was seen before of the same streams.
    pub fn after(
        earlier: &Progress,
        documents: &'a [TrainingDocument],
        sources: &[&str],
        mixture: &Mixture,
        plan: Plan,
    ) -> Result<Self> {
        check_sizes(documents, sources, plan)?;
        let mixture = mixture.in_order_of(sources)?;
        let mut entries = vec![Vec::new(); sources.len()];
        for (number, document) in documents.iter().enumerate() {
            let entry = (number, document.tokens.len());
            entries[document.source].extend(std::iter::repeat_n(entry, document.copies as usize));
        }
        let stream = |(name, entries): (&&str, _)| DocumentStream::new(name, plan.seed, entries);
        let streams = sources.iter().zip(entries).map(stream).collect();
        let began = Beginning::default();
        let start = dealer(&mixture, plan, &began);
        let mut order = Self { documents, plan, streams, began, dealer: start.clone(), start };
        if let Some(known) = &earlier.order {
            order.go_on(earlier, known, &mixture);
        }
        order.check_repeats(&mixture)?;
        Ok(order)
    }

    /// Reads on where an earlier run stopped.
    fn go_on(&mut self, earlier: &Progress, known: &OrderProgress, mixture: &Mixture) {
        let mut places = Places::new();
        if known.seed == self.plan.seed {
            self.begin(known.began.clone(), mixture);
            self.deal_before(earlier.step + 1);
            if self.places() == known.places {
                return;
            }
            places.clone_from(&known.places);
        }
        self.begin(Beginning { step: earlier.step, tokens: earlier.tokens, places }, mixture);
    }

    /// Deals the mixture from a moment on.
    fn begin(&mut self, began: Beginning, mixture: &Mixture) {
        self.start = dealer(mixture, self.plan, &began);
        self.dealer = self.start.clone();
        self.began = began;
    }

    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// How often a run sees each source's tokens on average, with what was seen before: by source, of documents with a
    /// copy.
    pub fn repeats(&self) -> Vec<f64> {
        let mut available = vec![0u64; self.streams.len()];
        for document in self.documents.iter().filter(|document| document.copies > 0) {
            available[document.source] += document.tokens.len() as u64;
        }
        let repeat = |(source, available): (usize, u64)| {
            let seen = self.place(source, 0) as f64 + self.wanted(source) * self.plan.sequence_length as f64;
            if available == 0 { 0.0 } else { seen / available as f64 }
        };
        available.into_iter().enumerate().map(repeat).collect()
    }

    /// Sequences that the run should have of a source from where the order began.
    fn wanted(&self, source: usize) -> f64 {
        self.start.target(source, self.first_of(self.plan.steps + 1))
    }

    fn check_repeats(&self, mixture: &Mixture) -> Result<()> {
        let mut problems = Vec::new();
        for ((number, source), repeat) in mixture.sources().iter().enumerate().zip(self.repeats()) {
            let place = format!("source {}", source.name);
            if self.wanted(number) == 0.0 {
                continue;
            }
            if self.streams[number].epoch_tokens() == 0 {
                let message = "expected documents of a source that has a share, found none with a copy";
                problems.push(Diagnostic::new(message).at(place).help("give it a share of 0, or some copies"));
            } else if let Some(limit) = source.max_repeat.filter(|limit| repeat > *limit) {
                let message =
                    format!("expected its tokens at most {limit} times (max_repeat), found {repeat:.2} times");
                problems.push(Diagnostic::new(message).at(place).help("lower its share, or train for fewer steps"));
            }
        }
        Error::check(problems)
    }

    /// What step `step` sees, counted from 1, of those after the order began. Steps in a row are cheapest; a step before the
    /// last one asked for costs the dealing of all sequences before it, about 0.2 microseconds each.
    pub fn step(&mut self, step: u64) -> Batch {
        self.deal_before(step);
        let sequences = (0..self.plan.sequences).map(|_| {
            let dealt = self.dealer.deal();
            self.sequence(dealt)
        });
        let sequences = sequences.collect();
        let order = OrderProgress { seed: self.plan.seed, began: self.began.clone(), places: self.places() };
        Batch { step, sequences, order }
    }

    /// Deals the sequences before a step, and no others.
    fn deal_before(&mut self, step: u64) {
        let first = self.first_of(step);
        if self.dealer.next() > first {
            self.dealer = self.start.clone();
        }
        while self.dealer.next() < first {
            self.dealer.deal();
        }
    }

    /// The first sequence of a step, counted from where the order began.
    fn first_of(&self, step: u64) -> u64 {
        step.saturating_sub(self.began.step + 1) * self.plan.sequences as u64
    }

    /// Where a sequence of a source begins in its stream.
    fn place(&self, source: usize, number: u64) -> u64 {
        self.began.place(self.streams[source].name()) + number * self.plan.sequence_length as u64
    }

    /// Where the streams are after what was dealt.
    fn places(&self) -> Places {
        let now = |(source, stream): (usize, &DocumentStream)| {
            (stream.name().to_owned(), self.place(source, self.dealer.dealt(source)))
        };
        let mut places = self.began.places.clone();
        places.extend(self.streams.iter().enumerate().map(now).filter(|(_, place)| *place > 0));
        places
    }

    fn sequence(&mut self, Dealt { source, number }: Dealt) -> TokenSequence {
        let length = self.plan.sequence_length;
        let place = self.place(source, number);
        let pieces = self.streams[source].read(place, length + 1);
        let mut tokens = Vec::with_capacity(length + 1);
        for piece in &pieces {
            tokens.extend_from_slice(&self.documents[piece.document].tokens[piece.tokens.clone()]);
        }
        TokenSequence { source, tokens, pieces }
    }
}

impl TokenSequence {
    /// Documents of which the sequence predicts a token, in order. Its first token is given only.
    pub fn exposures(&self) -> impl Iterator<Item = Exposure> + '_ {
        let given_only = |place: usize| usize::from(place == 0);
        let exposure = move |(place, piece): (usize, &Piece)| Exposure {
            document: piece.document,
            tokens: piece.tokens.len() - given_only(place),
        };
        self.pieces.iter().enumerate().map(exposure).filter(|exposure| exposure.tokens > 0)
    }
}

/// Deals a mixture's shares from a moment on.
fn dealer(mixture: &Mixture, plan: Plan, began: &Beginning) -> Dealer {
    let first = |stage: &Stage| stage.start_tokens.saturating_sub(began.tokens).div_ceil(plan.sequence_length as u64);
    Dealer::new(mixture.stages().iter().map(|stage| (first(stage), stage.shares.clone())))
}

fn check_sizes(documents: &[TrainingDocument], sources: &[&str], plan: Plan) -> Result<()> {
    let mut problems = Vec::new();
    let sizes =
        [("sequence_length", plan.sequence_length as u64), ("sequences", plan.sequences as u64), ("steps", plan.steps)];
    for (name, _) in sizes.iter().filter(|(_, size)| *size == 0) {
        problems.push(Diagnostic::new("expected a number above 0, found 0").at(*name));
    }
    let tokens = sizes.iter().try_fold(1u64, |product, (_, size)| product.checked_mul(*size));
    if tokens.is_none_or(|tokens| tokens > MAX_TOKENS) {
        let [length, sequences, steps] = sizes.map(|(_, size)| size);
        let found = format!("{steps} steps of {sequences} sequences of {length} tokens");
        problems.push(Diagnostic::new(format!("expected a run of at most {MAX_TOKENS} tokens, found {found}")));
    }
    for (number, document) in documents.iter().enumerate() {
        let place = || format!("document {number}");
        if document.tokens.is_empty() {
            problems.push(Diagnostic::new("expected at least the token that ends it, found no tokens").at(place()));
        }
        if document.source >= sources.len() {
            let message = format!("expected one of {} sources, found number {}", sources.len(), document.source);
            problems.push(Diagnostic::new(message).at(place()));
        }
    }
    let entries: u64 = documents.iter().map(|document| u64::from(document.copies)).sum();
    if entries > MAX_ENTRIES {
        problems.push(Diagnostic::new(format!(
            "expected at most {MAX_ENTRIES} documents with their copies, found {entries}"
        )));
    }
    Error::check(problems)
}

#[cfg(test)]
#[path = "tests_order.rs"]
mod tests;
#[cfg(test)]
#[path = "tests_order_after.rs"]
mod tests_after;
