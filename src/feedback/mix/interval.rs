//! How far shares would move if the values had come out otherwise.

use super::tilt::Region;
use super::value::SourceValue;
use crate::lab::random::Stream;

const DRAWS: usize = 200;
/// A 95 % interval.
const TAIL: f64 = 0.025;

/// Of each source's share, by a parametric bootstrap: each value is drawn from a normal distribution around itself
/// with its standard error, shrunk and solved as the values were, 200 times; the interval has the middle 95 % of the
/// shares and the share itself. The same for the same seed.
pub(super) fn intervals(
    region: &Region,
    values: &[SourceValue],
    limit: f64,
    ceiling: f64,
    shares: &[f64],
    seed: u64,
) -> Vec<(f64, f64)> {
    if values.iter().all(|value| value.error == 0.0) {
        return shares.iter().map(|&share| (share, share)).collect();
    }
    let mut stream = Stream::new(seed, &["mixture intervals"]);
    let mut drawn = vec![Vec::with_capacity(DRAWS); shares.len()];
    for _ in 0..DRAWS {
        let moved: Vec<f64> = values
            .iter()
            .map(|value| SourceValue { value: value.value + value.error * normal(&mut stream), ..*value }.shrunk())
            .collect();
        for (drawn, share) in drawn.iter_mut().zip(region.solve(&moved, limit, ceiling).shares) {
            drawn.push(share);
        }
    }
    let interval = |(drawn, &share): (&mut Vec<f64>, &f64)| {
        drawn.sort_by(f64::total_cmp);
        let cut = (TAIL * DRAWS as f64) as usize;
        (drawn[cut].min(share), drawn[DRAWS - 1 - cut].max(share))
    };
    drawn.iter_mut().zip(shares).map(interval).collect()
}

/// Of the standard normal distribution (Box and Muller).
fn normal(stream: &mut Stream) -> f64 {
    let radius = (-2.0 * (1.0 - stream.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * stream.unit()).cos()
}
