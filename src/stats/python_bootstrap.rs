//! The bootstrap of lm-evaluation-harness, draw for draw.
//!
//! 100 chunks of 1,000 resamples; chunk i is `random.Random(i)`; a resample is `choices(items, k=n)`. The result is the
//! sample standard deviation of the statistic over all resamples (`lm_eval/api/metrics.py`, 0.4.13).

use super::estimate::standard_error;
use crate::util::python_random::PythonRandom;

const CHUNKS: u64 = 100;
const PER_CHUNK: usize = 1000;

/// Standard error of `statistic(mean of items)` over 100,000 resamples. Chunks run on `threads` threads; the result
/// does not depend on how many. None for fewer than two items.
pub fn python_bootstrap_stderr(items: &[f64], statistic: impl Fn(f64) -> f64 + Sync, threads: usize) -> Option<f64> {
    if items.len() < 2 {
        return None;
    }
    let mut replicates = vec![0.0; CHUNKS as usize * PER_CHUNK];
    let per_thread = (CHUNKS as usize).div_ceil(threads.max(1));
    let statistic = &statistic;
    std::thread::scope(|scope| {
        for (share, out) in replicates.chunks_mut(per_thread * PER_CHUNK).enumerate() {
            scope.spawn(move || {
                for (chunk, out) in out.chunks_mut(PER_CHUNK).enumerate() {
                    fill_chunk((share * per_thread + chunk) as u64, items, statistic, out);
                }
            });
        }
    });
    standard_error(&replicates).map(|stderr| stderr * (replicates.len() as f64).sqrt())
}

fn fill_chunk(seed: u64, items: &[f64], statistic: &impl Fn(f64) -> f64, out: &mut [f64]) {
    let mut rng = PythonRandom::new(seed);
    let n = items.len() as f64;
    for replicate in out {
        let sum: f64 = (0..items.len()).map(|_| items[(rng.random() * n) as usize]).sum();
        *replicate = statistic(sum / n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_theory_and_ignores_threads() {
        let items: Vec<f64> = (0..50).map(|i| f64::from(i % 7)).collect();
        let one = python_bootstrap_stderr(&items, |mean| mean, 1).unwrap();
        let two = python_bootstrap_stderr(&items, |mean| mean, 2).unwrap();
        assert_eq!(one.to_bits(), two.to_bits());
        let exact = standard_error(&items).unwrap() * (49f64 / 50.0).sqrt();
        assert!((one / exact - 1.0).abs() < 0.01, "{one} against {exact}");
    }
}
