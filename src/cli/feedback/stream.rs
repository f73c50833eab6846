//! Documents of a stream at random, the same ones and in the same order every time.

use std::collections::BTreeSet;

use crate::lab::corpus::CorpusDocument;
use crate::util::hash::seed_from;

/// As many documents of each source, by the hash of their names, in the order of the stream.
pub(super) fn sampled(documents: Vec<CorpusDocument>, sample: Option<usize>) -> Vec<CorpusDocument> {
    let chosen = sample_of(&documents, sample);
    documents.into_iter().enumerate().filter(|(number, _)| chosen.contains(number)).map(|(_, own)| own).collect()
}

/// Numbers of the documents that are sampled.
pub(super) fn sample_of(documents: &[CorpusDocument], sample: Option<usize>) -> BTreeSet<usize> {
    let Some(sample) = sample else { return (0..documents.len()).collect() };
    shuffled(documents)
        .chunk_by(|&a, &b| documents[a].source == documents[b].source)
        .flat_map(|source| source.iter().take(sample).copied())
        .collect()
}

/// Source by source, each in the order of its documents' hashes, whatever the order of the stream: numbers of documents.
pub(super) fn shuffled(documents: &[CorpusDocument]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by_key(|&number| {
        let document = &documents[number];
        (&document.source, seed_from(&["veval.feedback sample", &document.source, &document.id]))
    });
    order
}
