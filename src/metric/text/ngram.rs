//! Counting runs of n neighbours.

use std::collections::BTreeMap;

/// How often each run of `n` items occurs. Empty for `n` = 0.
pub(super) fn counts<T: Ord>(items: &[T], n: usize) -> BTreeMap<&[T], u64> {
    let mut counts = BTreeMap::new();
    if n > 0 {
        for run in items.windows(n) {
            *counts.entry(run).or_default() += 1;
        }
    }
    counts
}

/// How many runs of one side find a partner in the other.
pub(super) fn shared<T: Ord>(a: &BTreeMap<&[T], u64>, b: &BTreeMap<&[T], u64>) -> u64 {
    a.iter().map(|(run, count)| *count.min(b.get(run).unwrap_or(&0))).sum()
}

/// How many runs of `n` there are among `items` items.
pub(super) fn how_many(items: usize, n: usize) -> u64 {
    (items + 1).saturating_sub(n) as u64
}

/// For each run the largest of its counts.
pub(super) fn merge_largest<'a, T: Ord>(into: &mut BTreeMap<&'a [T], u64>, from: BTreeMap<&'a [T], u64>) {
    for (run, count) in from {
        let known = into.entry(run).or_default();
        *known = count.max(*known);
    }
}
