//! Which source each sequence comes from: shares kept over every window, not on average only.
//!
//! The chairman assignment of Tijdeman (1980), as deadlines. Let `A(t)` be what a source should have had of the first `t`
//! sequences, the sum of its shares, and `k` the number of sources. Its sequence number `x` (from 0) may come where
//! `A(t) >= x + 1/(2k-2)` and must come before `A(t) > x + 1 - 1/(2k-2)`; of the sources that may come, the one that must
//! come first does (of several the first). Then no source is ever further from `A(t)` than `1 - 1/(2k-2)` sequences,
//! whatever the shares, also where they change.

/// Levels are sums and products of f64; a source may come this much earlier.
const ROUNDING: f64 = 1e-9;

/// Deals out sequences without end.
#[derive(Debug, Clone)]
pub(super) struct Dealer {
    stretches: Vec<Stretch>,
    hands: Vec<Hand>,
    /// `1 / (2k - 2)`.
    margin: f64,
    next: u64,
}

/// Sequences with the same shares.
#[derive(Debug, Clone)]
struct Stretch {
    first: u64,
    shares: Vec<f64>,
    /// By source, what it should have had before `first`.
    before: Vec<f64>,
}

/// What a source has had, and when it is next.
#[derive(Debug, Clone, Default)]
struct Hand {
    dealt: u64,
    from: u64,
    until: u64,
}

/// A sequence's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dealt {
    pub source: usize,
    /// Among the sequences of its source, from 0.
    pub number: u64,
}

impl Dealer {
    /// `stages`: the first sequence and the shares by source, which sum to 1. The first stage begins at 0, none before
    /// the one before it; one that begins where the next does counts for nothing.
    pub fn new(stages: impl IntoIterator<Item = (u64, Vec<f64>)>) -> Self {
        let mut stretches: Vec<Stretch> = Vec::new();
        for (first, shares) in stages {
            let before = match stretches.last() {
                None => vec![0.0; shares.len()],
                Some(last) => (0..shares.len()).map(|source| last.target(source, first)).collect(),
            };
            stretches.push(Stretch { first, shares, before });
        }
        let sources = stretches.first().map_or(0, |stretch| stretch.shares.len());
        let present = (0..sources).filter(|&source| stretches.iter().any(|stretch| stretch.shares[source] > 0.0));
        let margin = 1.0 / (2 * present.count().max(2) - 2) as f64;
        let mut dealer = Self { stretches, hands: vec![Hand::default(); sources], margin, next: 0 };
        for source in 0..sources {
            dealer.plan(source);
        }
        dealer
    }

    /// The sequence that is dealt next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Sequences that a source has had.
    pub fn dealt(&self, source: usize) -> u64 {
        self.hands[source].dealt
    }

    /// Deals one.
    pub fn deal(&mut self) -> Dealt {
        // There is always one that may come; the first part of the key only sorts.
        let key = |source: &usize| (self.hands[*source].from > self.next, self.hands[*source].until, *source);
        let source = (0..self.hands.len()).min_by_key(key).unwrap_or(0);
        let number = self.hands[source].dealt;
        self.hands[source].dealt += 1;
        self.next += 1;
        self.plan(source);
        Dealt { source, number }
    }

    /// What a source should have of the first `count` sequences.
    pub fn target(&self, source: usize, count: u64) -> f64 {
        let stretch = self.stretches.iter().rev().find(|stretch| stretch.first <= count);
        stretch.map_or(0.0, |stretch| stretch.target(source, count))
    }

    fn plan(&mut self, source: usize) {
        let dealt = self.hands[source].dealt as f64;
        self.hands[source].from = self.reaches(source, dealt + self.margin - ROUNDING);
        self.hands[source].until = self.reaches(source, dealt + 1.0 - self.margin);
    }

    /// The first sequence with which a source's target is at least `level`.
    fn reaches(&self, source: usize, level: f64) -> u64 {
        // The last stretch that begins below the level.
        let place = self.stretches.partition_point(|stretch| stretch.before[source] < level);
        let Some(stretch) = place.checked_sub(1).map(|place| &self.stretches[place]) else { return 0 };
        let share = stretch.shares[source];
        if share <= 0.0 {
            return u64::MAX;
        }
        // As many sequences of the stretch, the last of which reaches it.
        let count = ((level - stretch.before[source]) / share).ceil().max(1.0);
        // Saturates where a share is so small that the run is over before.
        stretch.first.saturating_add(count as u64 - 1)
    }
}

impl Stretch {
    fn target(&self, source: usize, count: u64) -> f64 {
        self.before[source] + self.shares[source] * (count - self.first) as f64
    }
}

#[cfg(test)]
#[path = "tests_deal.rs"]
mod tests;
