//! Batches of training that a probe tries, cut from a stream of documents.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::lab::random::Stream;

/// A document of the stream, as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub source: String,
    pub tokens: Vec<u32>,
}

/// How batches are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// Every batch is of one source; sources take turns.
    Single,
    /// Documents of all sources in random order: sources as large as they are.
    Mixed,
}

/// Sizes of the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub batches: usize,
    pub sequences: usize,
    /// Tokens that a sequence predicts; it has one more.
    pub length: usize,
    pub company: Company,
    pub seed: u64,
}

/// What one step would train on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeBatch {
    /// `mixed` where it is of all.
    pub source: String,
    pub sequences: Vec<Vec<u32>>,
}

/// Documents of each source stand in an order that the seed draws, one behind the other, epoch after epoch; sequences cut
/// them without a gap.
///
/// # Errors
/// No tokens.
pub fn batches(documents: &[Tokens], cut: Cut) -> Result<Vec<ProbeBatch>> {
    let mut sources: BTreeMap<&str, Vec<&[u32]>> = BTreeMap::new();
    for document in documents.iter().filter(|document| !document.tokens.is_empty()) {
        let source = match cut.company {
            Company::Single => document.source.as_str(),
            Company::Mixed => "mixed",
        };
        sources.entry(source).or_default().push(&document.tokens);
    }
    if sources.is_empty() {
        return Err(Error::bad("expected documents with tokens, found none"));
    }
    let count = sources.len();
    let mut streams: Vec<(String, Endless<'_>)> = sources
        .into_iter()
        .map(|(name, own)| (name.to_owned(), Endless::new(own, Stream::new(cut.seed, &["probe", name]))))
        .collect();
    let batch = |number: usize| {
        let (name, stream) = &mut streams[number % count];
        let sequences = (0..cut.sequences).map(|_| stream.next(cut.length)).collect();
        ProbeBatch { source: name.clone(), sequences }
    };
    Ok((0..cut.batches).map(batch).collect())
}

/// Documents without end.
struct Endless<'a> {
    documents: Vec<&'a [u32]>,
    random: Stream,
    place: usize,
    left: Vec<u32>,
}

impl<'a> Endless<'a> {
    fn new(documents: Vec<&'a [u32]>, random: Stream) -> Self {
        // The first epoch is drawn when it is asked for.
        let place = documents.len();
        Self { documents, random, place, left: Vec::new() }
    }

    /// `length + 1` tokens, the last of which begins the next sequence.
    fn next(&mut self, length: usize) -> Vec<u32> {
        while self.left.len() <= length {
            if self.place == self.documents.len() {
                self.random.shuffle(&mut self.documents);
                self.place = 0;
            }
            self.left.extend_from_slice(self.documents[self.place]);
            self.place += 1;
        }
        let sequence = self.left[..=length].to_vec();
        self.left.drain(..length);
        sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Tokens> {
        let document = |n: u32| Tokens {
            source: ["a", "b"][n as usize % 2].to_owned(),
            tokens: (0..3 + n % 5).map(|k| n * 100 + k).collect(),
        };
        (0..20).map(document).collect()
    }

    #[test]
    fn batches_are_of_one_source_each_and_cut_documents_without_a_gap() {
        let documents = documents();
        let cut = Cut { batches: 6, sequences: 3, length: 4, company: Company::Single, seed: 1 };
        let all = batches(&documents, cut).unwrap();
        assert_eq!(all.iter().map(|batch| batch.source.as_str()).collect::<Vec<_>>(), ["a", "b", "a", "b", "a", "b"]);
        for source in ["a", "b"] {
            let sequences: Vec<&Vec<u32>> =
                all.iter().filter(|batch| batch.source == source).flat_map(|batch| &batch.sequences).collect();
            assert!(sequences.iter().all(|sequence| sequence.len() == 5));
            assert!(sequences.windows(2).all(|pair| pair[0][4] == pair[1][0]));
            let mut flat: Vec<u32> = sequences.iter().flat_map(|sequence| &sequence[..4]).copied().collect();
            // 36 tokens: no document is there twice before each was there once.
            let own: usize = documents.iter().filter(|own| own.source == source).map(|own| own.tokens.len()).sum();
            flat.truncate(own);
            let count = flat.len();
            flat.sort_unstable();
            flat.dedup();
            assert_eq!(flat.len(), count);
        }
        assert_eq!(batches(&documents, cut).unwrap(), all);
        assert_ne!(batches(&documents, Cut { seed: 2, ..cut }).unwrap(), all);
    }

    #[test]
    fn mixed_batches_are_of_all_sources_and_no_tokens_are_refused() {
        let cut = Cut { batches: 2, sequences: 8, length: 4, company: Company::Mixed, seed: 1 };
        let all = batches(&documents(), cut).unwrap();
        let both = |batch: &ProbeBatch| {
            [0, 1].map(|parity| batch.sequences.iter().flatten().any(|token| token / 100 % 2 == parity)) == [true; 2]
        };
        assert!(all.iter().all(|batch| batch.source == "mixed" && both(batch)));
        assert!(batches(&[], cut).is_err());
    }
}
