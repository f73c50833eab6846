//! Several answers to one question, `n` of them, `c` right: pass@k, G-Pass@k, avg@k, maj@k.

/// Chance that at least one of `k` answers, drawn without putting back, is right (Chen and others 2021). With fewer
/// than `k` wrong answers it is 1, also where there are fewer than `k` answers at all.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> f64 {
    let wrong = n.saturating_sub(c);
    if wrong < k {
        return 1.0;
    }
    1.0 - (wrong + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

/// Chance that at least the share `threshold` of `k` answers, but at least one, is right (G-Pass@k of Liu and others
/// 2024). 0 where there are fewer than `k` answers.
pub fn g_pass_at_k(n: usize, c: usize, k: usize, threshold: f64) -> f64 {
    at_least(n, c, k, ((k as f64 * threshold).ceil() as usize).max(1))
}

/// Mean of G-Pass@k over thresholds from one half to 1 (mG-Pass@k of the same paper). For `k` = 1 there are no
/// thresholds above one half, and it is 0.
pub fn mean_g_pass_at_k(n: usize, c: usize, k: usize) -> f64 {
    if k == 0 {
        return 0.0;
    }
    let sum: f64 = (k.div_ceil(2) + 1..=k).map(|least| at_least(n, c, k, least)).sum();
    2.0 * sum / k as f64
}

/// Share of right answers among the first `k`. `None` with fewer than `k` answers or `k` = 0.
pub fn average_at_k(right: &[bool], k: usize) -> Option<f64> {
    let first = right.get(..k).filter(|first| !first.is_empty())?;
    Some(first.iter().filter(|right| **right).count() as f64 / k as f64)
}

/// The most frequent answer; of equally frequent ones the first.
pub fn majority<T: PartialEq>(answers: &[T]) -> Option<&T> {
    let count = |answer: &T| answers.iter().filter(|other| *other == answer).count();
    let mut best: Option<(&T, usize)> = None;
    for answer in answers {
        let votes = count(answer);
        if best.is_none_or(|(_, known)| votes > known) {
            best = Some((answer, votes));
        }
    }
    best.map(|(answer, _)| answer)
}

/// Chance that `least` or more of `k` draws without putting back are among the `c` right of `n`: the upper tail of the
/// hypergeometric distribution. 0 where it cannot be.
fn at_least(n: usize, c: usize, k: usize, least: usize) -> f64 {
    let c = c.min(n);
    if k > n || least > c.min(k) {
        return 0.0;
    }
    // Weights relative to the first possible count, each from the one before; scaled down before they overflow.
    let fewest = k.saturating_sub(n - c);
    let (mut weight, mut total, mut tail) = (1.0, 0.0, 0.0);
    for hits in fewest..=c.min(k) {
        total += weight;
        if hits >= least {
            tail += weight;
        }
        let (ways, others) = ((c - hits) as f64 * (k - hits) as f64, (n - c + hits + 1 - k) as f64);
        weight *= ways / ((hits + 1) as f64 * others);
        if weight > 1e200 {
            (weight, total, tail) = (weight * 1e-200, total * 1e-200, tail * 1e-200);
        }
    }
    tail / total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn by_counting_all_draws() {
        for n in 1..9usize {
            for c in 0..=n {
                for k in 1..=n {
                    let draws: Vec<u32> = (0u32..1 << n).filter(|set| set.count_ones() as usize == k).collect();
                    let share = |least: usize| {
                        let hits = |set: &&u32| (*set & ((1 << c) - 1)).count_ones() as usize >= least;
                        draws.iter().filter(hits).count() as f64 / draws.len() as f64
                    };
                    near(pass_at_k(n, c, k), share(1));
                    for least in 1..=k {
                        near(at_least(n, c, k, least), share(least));
                    }
                    near(g_pass_at_k(n, c, k, 1.0), share(k));
                }
            }
        }
    }

    #[test]
    fn large_numbers_do_not_overflow() {
        near(g_pass_at_k(20_000, 10_000, 10_001, 0.0), 1.0);
        // By symmetry half of the draws have more right than wrong answers.
        near(g_pass_at_k(20_000, 10_000, 10_001, 0.5), 0.5);
    }

    #[test]
    fn edges() {
        assert_eq!((pass_at_k(0, 0, 1), pass_at_k(3, 0, 1), g_pass_at_k(2, 2, 3, 0.0)), (1.0, 0.0, 0.0));
        assert_eq!((mean_g_pass_at_k(4, 4, 1), mean_g_pass_at_k(4, 4, 2), mean_g_pass_at_k(4, 4, 0)), (0.0, 1.0, 0.0));
        assert_eq!(average_at_k(&[true, false, false], 2), Some(0.5));
        assert_eq!((average_at_k(&[true], 2), average_at_k(&[], 0)), (None, None));
        assert_eq!(majority(&["b", "a", "a", "b"]), Some(&"b"));
        assert_eq!(majority::<u8>(&[]), None);
    }
}
