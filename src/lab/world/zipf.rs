//! How often facts are stated: a truncated Zipf law, and its bins.

/// No fact is stated more often.
pub(super) const MOST_STATEMENTS: usize = 300;
/// The number of facts that are stated at least `c` times falls as `c` to the power of minus this.
pub(super) const EXPONENT: f64 = 1.0 / 3.0;

/// Bins of numbers of statements: label and the number at which it begins; each ends where the next begins.
pub(super) const BINS: [(&str, usize); 5] = [("0", 0), ("1-3", 1), ("4-15", 4), ("16-63", 16), ("64+", 64)];

/// The bin of a number of statements.
pub(super) fn bin(statements: usize) -> &'static str {
    BINS.iter().rev().find(|(_, begin)| *begin <= statements).map_or(BINS[0].0, |(label, _)| label)
}

/// Numbers of statements of `facts` facts, rising: the law's quantiles at the middle of equal parts, so that the
/// shares of the bins do not depend on luck. Between 1 and [`MOST_STATEMENTS`].
pub(super) fn statements(facts: usize) -> impl Iterator<Item = usize> {
    // The law is that of a continuous number from 1 to one past the most, of which the whole part is taken.
    let tail = ((MOST_STATEMENTS + 1) as f64).powf(-EXPONENT);
    (0..facts).map(move |rank| {
        let share = (rank as f64 + 0.5) / facts as f64;
        let number = (1.0 - share * (1.0 - tail)).powf(-1.0 / EXPONENT);
        (number as usize).clamp(1, MOST_STATEMENTS)
    })
}
