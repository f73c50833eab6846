//! Shares as whole sequences, by largest remainders within bounds.

use std::cmp::Ordering;

/// Bounds in sequences may be missed by this much: `0.1 * 50` is not always 5.
const SLACK: f64 = 1e-9;

/// The fewest and the most sequences of each source.
pub(super) struct WholeBounds {
    pub low: Vec<u64>,
    pub high: Vec<u64>,
}

impl WholeBounds {
    pub fn new(low: &[f64], high: &[f64], sequences: u64) -> Self {
        let count = sequences as f64;
        Self {
            low: low.iter().map(|share| (share * count - SLACK).ceil().max(0.0) as u64).collect(),
            high: high.iter().map(|share| (share * count + SLACK).floor() as u64).collect(),
        }
    }

    /// Whether some whole numbers within the bounds sum to `sequences`.
    pub fn leave_room(&self, sequences: u64) -> bool {
        let orderly = self.low.iter().zip(&self.high).all(|(low, high)| low <= high);
        orderly && self.low.iter().sum::<u64>() <= sequences && sequences <= self.high.iter().sum::<u64>()
    }

    /// Each source's share of `sequences` rounded down, then one more for the largest remainders until all are dealt;
    /// within bounds that leave room.
    pub fn round(&self, shares: &[f64], sequences: u64) -> Vec<u64> {
        let wanted: Vec<f64> = shares.iter().map(|share| share * sequences as f64).collect();
        let mut counts: Vec<u64> = (0..shares.len())
            .map(|source| ((wanted[source] + SLACK) as u64).clamp(self.low[source], self.high[source]))
            .collect();
        // How much more a source should have; of equals the first.
        let missing = |counts: &[u64], source: usize| wanted[source] - counts[source] as f64;
        let order = |counts: &[u64], a: usize, b: usize| missing(counts, a).total_cmp(&missing(counts, b));
        loop {
            let sources = 0..counts.len();
            match counts.iter().sum::<u64>().cmp(&sequences) {
                Ordering::Equal => return counts,
                Ordering::Less => {
                    let able = sources.rev().filter(|&source| counts[source] < self.high[source]);
                    let Some(source) = able.max_by(|&a, &b| order(&counts, a, b)) else { return counts };
                    counts[source] += 1;
                }
                Ordering::Greater => {
                    let able = sources.filter(|&source| counts[source] > self.low[source]);
                    let Some(source) = able.min_by(|&a, &b| order(&counts, a, b)) else { return counts };
                    counts[source] -= 1;
                }
            }
        }
    }
}
