//! What the consumers' samplers make of shares: each drawn as it draws, with a seed.

use crate::lab::random::Stream;

/// Draws for one stage.
pub(super) const DRAWS: u64 = 1_000_000;
/// Sources times draws, for samplers that look at every source for every draw.
const MOST_WORK: u64 = 100_000_000;

/// How a trainer chooses the source of the next draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampler {
    /// Independently, by chance.
    Chance,
    /// The source that is furthest behind its share.
    FurthestBehind,
    /// Whole counts of an epoch: shares rounded down, what is missing to sources drawn by chance, at most one each.
    EpochCounts,
    /// Whole counts of an epoch by largest remainders.
    Remainders,
    /// The same whole counts of every block, by largest remainders.
    Blocks(u64),
    /// Whole proportions, the least of which is 100.
    Proportions,
}

impl Sampler {
    /// Draws by shares that sum to 1: how many, and how many of each.
    pub fn draw(self, shares: &[f64], seed: u64) -> (u64, Vec<u64>) {
        match self {
            Self::Chance => (DRAWS, by_chance(shares, seed)),
            Self::FurthestBehind => furthest_behind(shares),
            Self::EpochCounts => (DRAWS, epoch_counts(shares, seed)),
            Self::Remainders => (DRAWS, apportioned(shares, DRAWS)),
            Self::Blocks(block) => {
                let blocks = DRAWS.div_ceil(block);
                (blocks * block, apportioned(shares, block).into_iter().map(|count| count * blocks).collect())
            }
            Self::Proportions => (DRAWS, interleaved(&proportions(shares))),
        }
    }
}

fn by_chance(shares: &[f64], seed: u64) -> Vec<u64> {
    let ends: Vec<f64> = shares
        .iter()
        .scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        })
        .collect();
    let mut stream = Stream::new(seed, &["trainer's sampler"]);
    let mut counts = vec![0; shares.len()];
    for _ in 0..DRAWS {
        let at = stream.unit();
        let source = ends.partition_point(|end| *end <= at).min(shares.len() - 1);
        counts[source] += 1;
    }
    counts
}

fn furthest_behind(shares: &[f64]) -> (u64, Vec<u64>) {
    let draws = DRAWS.min(MOST_WORK / shares.len() as u64);
    let mut counts = vec![0u64; shares.len()];
    for draw in 0..draws {
        let due = draw.max(1) as f64;
        let mut furthest = (0, f64::NEG_INFINITY);
        for (source, (share, count)) in shares.iter().zip(&counts).enumerate() {
            let behind = share * due - *count as f64;
            if behind > furthest.1 {
                furthest = (source, behind);
            }
        }
        counts[furthest.0] += 1;
    }
    (draws, counts)
}

fn epoch_counts(shares: &[f64], seed: u64) -> Vec<u64> {
    let mut counts: Vec<u64> = shares.iter().map(|share| (share * DRAWS as f64) as u64).collect();
    let missing = DRAWS.saturating_sub(counts.iter().sum());
    let sources: Vec<usize> = (0..shares.len()).collect();
    for source in Stream::new(seed, &["trainer's sampler"]).sample(&sources, missing as usize) {
        counts[source] += 1;
    }
    counts
}

/// Whole numbers that sum to `total`, by largest remainders; of equal ones the first.
pub(super) fn apportioned(shares: &[f64], total: u64) -> Vec<u64> {
    let wanted: Vec<f64> = shares.iter().map(|share| share * total as f64).collect();
    let mut counts: Vec<u64> = wanted.iter().map(|wanted| *wanted as u64).collect();
    let missing = total.saturating_sub(counts.iter().sum());
    let mut sources: Vec<usize> = (0..shares.len()).collect();
    sources.sort_by(|&a, &b| wanted[b].fract().total_cmp(&wanted[a].fract()));
    for source in sources.into_iter().take(missing as usize) {
        counts[source] += 1;
    }
    counts
}

/// Whole numbers in proportion to shares, the least of which is 100.
pub(super) fn proportions(shares: &[f64]) -> Vec<u64> {
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    shares.iter().map(|share| (share / least * 100.0).round() as u64).collect()
}

/// Of the first draws, how many each source has when draw `k` is the source's whose count, `k` less its own part
/// rounded down, rises: the first gets its part of all, the second of what is left, and so on.
fn interleaved(proportions: &[u64]) -> Vec<u64> {
    let mut left = u128::from(DRAWS);
    let mut whole: u128 = proportions.iter().map(|part| u128::from(*part)).sum();
    let count = |part: &u64| {
        let part = u128::from(*part);
        let others = left * (whole - part) / whole.max(1);
        let own = left - others;
        whole -= part;
        left = others;
        own as u64
    };
    proportions.iter().map(count).collect()
}
