//! ROUGE (Lin 2004) as rouge_score 0.1.2 computes it: lower case, tokens of `a-z` and `0-9` only. Other letters are
//! white space to it, so that texts in other scripts have no tokens and score 0.

use std::collections::{BTreeMap, BTreeSet};

use super::{harmonic_mean, ngram, porter};

/// What overlaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs of this many tokens.
    Runs(usize),
    /// The longest common subsequence.
    Subsequence,
    /// The union, sentence by sentence, of longest common subsequences; a line is a sentence.
    Summary,
}

/// Whether words longer than three letters are stemmed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stemming {
    None,
    Porter,
}

/// Shares of what overlaps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    pub precision: f64,
    pub recall: f64,
    pub f: f64,
}

impl Kind {
    /// Score of one answer against one reference, from 0 to 1.
    pub fn score(self, answer: &str, reference: &str, stemming: Stemming) -> Score {
        match self {
            Self::Runs(n) => {
                let (answer, reference) = (tokens(answer, stemming), tokens(reference, stemming));
                let shared = ngram::shared(&ngram::counts(&answer, n), &ngram::counts(&reference, n));
                Score::of(shared, ngram::how_many(answer.len(), n), ngram::how_many(reference.len(), n))
            }
            Self::Subsequence => {
                let (answer, reference) = (tokens(answer, stemming), tokens(reference, stemming));
                let shared = longest_common(&answer, &reference);
                Score::of(shared, answer.len() as u64, reference.len() as u64)
            }
            Self::Summary => summary(&sentences(answer, stemming), &sentences(reference, stemming)),
        }
    }
}

impl Score {
    fn of(shared: u64, answer: u64, reference: u64) -> Self {
        let share = |of: u64| shared as f64 / of.max(1) as f64;
        let (precision, recall) = (share(answer), share(reference));
        Self { precision, recall, f: harmonic_mean(precision, recall) }
    }
}

fn tokens(text: &str, stemming: Stemming) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !matches!(c, 'a'..='z' | '0'..='9')).filter(|word| !word.is_empty());
    words
        .map(|word| match stemming {
            Stemming::Porter if word.len() > 3 => porter::stem(word),
            _ => word.to_owned(),
        })
        .filter(|word| !word.is_empty())
        .collect()
}

fn sentences(text: &str, stemming: Stemming) -> Vec<Vec<String>> {
    text.split('\n').filter(|line| !line.is_empty()).map(|line| tokens(line, stemming)).collect()
}

/// For every sentence of the reference the union of its longest common subsequences with each sentence of the answer;
/// a token counts no more often than both sides have it.
fn summary(answer: &[Vec<String>], reference: &[Vec<String>]) -> Score {
    let count = |sentences: &[Vec<String>]| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for token in sentences.iter().flatten() {
            *counts.entry(token.clone()).or_default() += 1;
        }
        counts
    };
    let (mut left, mut wanted) = (count(answer), count(reference));
    let lengths = (left.values().sum(), wanted.values().sum());
    let mut shared = 0;
    for sentence in reference {
        let places: BTreeSet<usize> =
            answer.iter().flat_map(|other| Subsequences::of(sentence, other).places(sentence, other)).collect();
        for place in places {
            let token = &sentence[place];
            if let (Some(left @ 1..), Some(wanted @ 1..)) = (left.get_mut(token), wanted.get_mut(token)) {
                *left -= 1;
                *wanted -= 1;
                shared += 1;
            }
        }
    }
    Score::of(shared, lengths.0, lengths.1)
}

/// Length of the longest common subsequence.
fn longest_common(a: &[String], b: &[String]) -> u64 {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Lengths of the longest common subsequences of all beginnings, `(reference + 1) x (answer + 1)`.
struct Subsequences {
    table: Vec<u32>,
    width: usize,
}

impl Subsequences {
    fn of(reference: &[String], answer: &[String]) -> Self {
        let width = answer.len() + 1;
        let mut table = vec![0; (reference.len() + 1) * width];
        for (i, a) in reference.iter().enumerate() {
            for (j, b) in answer.iter().enumerate() {
                let (above, here) = (i * width + j, (i + 1) * width + j);
                table[here + 1] = if a == b { table[above] + 1 } else { table[above + 1].max(table[here]) };
            }
        }
        Self { table, width }
    }

    /// Indices in the reference of one longest common subsequence: rouge_score's choice among equals.
    fn places(&self, reference: &[String], answer: &[String]) -> Vec<usize> {
        let (mut i, mut j, mut places) = (reference.len(), answer.len(), Vec::new());
        while i > 0 && j > 0 {
            if reference[i - 1] == answer[j - 1] {
                places.push(i - 1);
                (i, j) = (i - 1, j - 1);
            } else if self.table[i * self.width + j - 1] > self.table[(i - 1) * self.width + j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let f = |kind: Kind, answer, reference| kind.score(answer, reference, Stemming::None).f;
        assert_eq!(f(Kind::Runs(1), "The cat, the cat", "the CAT"), 2.0 * 0.5 / 1.5);
        assert_eq!(f(Kind::Runs(2), "a b c", "a b d"), 0.5);
        assert_eq!(f(Kind::Subsequence, "a x b y c", "a b c"), 2.0 * 0.6 / 1.6);
        assert_eq!(f(Kind::Summary, "b a\nc d", "a b\nd c"), 0.5);
        assert_eq!(f(Kind::Runs(1), "Ж", "Ж"), 0.0);
        assert_eq!(f(Kind::Summary, "", "a"), 0.0);
        assert_eq!(Kind::Runs(1).score("running dogs", "runs dog", Stemming::Porter).f, 1.0);
    }
}
