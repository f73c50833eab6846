//! A source's documents without end: epoch after epoch, each in an order of its own.

use std::ops::Range;

use crate::lab::random::Stream as Random;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Number of the document in the corpus.
    pub document: usize,
    /// Which of the document's tokens.
    pub tokens: Range<usize>,
    /// Of its source, from 0.
    pub epoch: u64,
}

/// The stream of one source. Every epoch has each document as often as it has copies, in an order drawn from the seed, the
/// source's name and the epoch's number; so a place in the stream is found without what comes before.
#[derive(Debug, Clone)]
pub(super) struct DocumentStream {
    name: String,
    seed: u64,
    /// A document's number and length, once for each copy.
    entries: Vec<(usize, usize)>,
    epoch_tokens: u64,
    laid: Option<Epoch>,
}

/// One epoch, laid out.
#[derive(Debug, Clone)]
struct Epoch {
    number: u64,
    entries: Vec<(usize, usize)>,
    /// Tokens of the epoch up to the end of each entry.
    ends: Vec<u64>,
}

impl DocumentStream {
    /// `entries`: number and length (not 0) of each document, once for each copy.
    pub fn new(name: &str, seed: u64, entries: Vec<(usize, usize)>) -> Self {
        let epoch_tokens = entries.iter().map(|(_, length)| *length as u64).sum();
        Self { name: name.to_owned(), seed, entries, epoch_tokens, laid: None }
    }

    /// Of the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tokens of one epoch.
    pub fn epoch_tokens(&self) -> u64 {
        self.epoch_tokens
    }

    /// `count` tokens from the place `start` of a stream that is not empty.
    pub fn read(&mut self, start: u64, count: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut at, end) = (start, start + count as u64);
        while at < end {
            let number = at / self.epoch_tokens;
            let begin = number * self.epoch_tokens;
            let epoch = self.epoch(number);
            let first = epoch.ends.partition_point(|&entry_end| begin + entry_end <= at);
            for (&(document, length), &entry_end) in epoch.entries[first..].iter().zip(&epoch.ends[first..]) {
                if at >= end {
                    break;
                }
                let entry_end = begin + entry_end;
                let entry_start = entry_end - length as u64;
                let tokens = (at - entry_start) as usize..(end.min(entry_end) - entry_start) as usize;
                pieces.push(Piece { document, tokens, epoch: number });
                at = entry_end;
            }
        }
        pieces
    }

    fn epoch(&mut self, number: u64) -> &Epoch {
        let laid = self.laid.take().filter(|epoch| epoch.number == number);
        let laid = laid.unwrap_or_else(|| {
            let mut entries = self.entries.clone();
            Random::new(self.seed, &["order", &self.name, &number.to_string()]).shuffle(&mut entries);
            let add = |sum: &mut u64, (_, length): &(usize, usize)| {
                *sum += *length as u64;
                Some(*sum)
            };
            let ends = entries.iter().scan(0, add).collect();
            Epoch { number, entries, ends }
        });
        self.laid.insert(laid)
    }
}
