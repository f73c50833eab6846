//! Agreement of two rankings.

/// Kendall's tau-b (Kendall 1945; ties lower the denominator), as `scipy.stats.kendalltau` computes it. Knight's
/// algorithm (1966), O(n log n). `None` where one side has no order at all: fewer than two values, all equal, or a NaN.
pub fn kendall_tau(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.iter().chain(b).any(|value| value.is_nan()) {
        return None;
    }
    let mut pairs: Vec<(f64, f64)> = a.iter().copied().zip(b.iter().copied()).collect();
    pairs.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.total_cmp(&y.1)));
    let tied = |same: &dyn Fn(usize, usize) -> bool| ties(pairs.len(), same);
    let in_a = tied(&|i, j| pairs[i].0 == pairs[j].0);
    let in_both = tied(&|i, j| pairs[i] == pairs[j]);
    let mut second: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    // Pairs in the wrong order of `b` once `a` is in order.
    let discordant = sort_counting(&mut second);
    let in_b = ties(second.len(), &|i, j| second[i] == second[j]);
    let all = pairs.len() as u64 * (pairs.len() as u64).saturating_sub(1) / 2;
    let concordant_minus_discordant = (all + in_both) as i64 - (in_a + in_b) as i64 - 2 * discordant as i64;
    let scale = ((all - in_a) as f64 * (all - in_b) as f64).sqrt();
    (scale > 0.0).then(|| (concordant_minus_discordant as f64 / scale).clamp(-1.0, 1.0))
}

/// Number of pairs within runs of equal neighbours.
fn ties(n: usize, same: &dyn Fn(usize, usize) -> bool) -> u64 {
    let (mut pairs, mut run) = (0, 0);
    for i in 1..n {
        run = if same(i - 1, i) { run + 1 } else { 0 };
        pairs += run;
    }
    pairs
}

/// Merge sort; returns how many pairs stood in the wrong order.
fn sort_counting(values: &mut [f64]) -> u64 {
    let middle = values.len() / 2;
    if middle == 0 {
        return 0;
    }
    let mut swaps = sort_counting(&mut values[..middle]) + sort_counting(&mut values[middle..]);
    let (left, right) = (values[..middle].to_vec(), values[middle..].to_vec());
    let (mut i, mut j) = (0, 0);
    for place in values.iter_mut() {
        let from_left = j == right.len() || (i < left.len() && left[i] <= right[j]);
        if from_left {
            *place = left[i];
            i += 1;
        } else {
            *place = right[j];
            j += 1;
            swaps += (left.len() - i) as u64;
        }
    }
    swaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::python_random::PythonRandom;

    /// By the definition, pair by pair.
    fn slow(a: &[f64], b: &[f64]) -> f64 {
        let (mut score, mut untied_a, mut untied_b) = (0.0, 0.0, 0.0);
        for i in 0..a.len() {
            for j in 0..i {
                let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
                let (x, y) = (sign(a[i] - a[j]), sign(b[i] - b[j]));
                score += x * y;
                untied_a += x * x;
                untied_b += y * y;
            }
        }
        score / f64::sqrt(untied_a * untied_b)
    }

    #[test]
    fn agrees_with_the_definition_ties_included() {
        let mut rng = PythonRandom::new(5);
        for n in [2, 3, 10, 57] {
            let mut draw = || (0..n).map(|_| (rng.random() * 6.0).floor()).collect::<Vec<f64>>();
            let (a, b) = (draw(), draw());
            match kendall_tau(&a, &b) {
                Some(tau) => assert!((tau - slow(&a, &b)).abs() < 1e-12, "{n}: {tau}"),
                None => assert!(slow(&a, &b).is_nan()),
            }
        }
        // scipy 1.14: kendalltau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0])
        let tau = kendall_tau(&[12.0, 2.0, 1.0, 12.0, 2.0], &[1.0, 4.0, 7.0, 1.0, 0.0]).unwrap();
        assert!((tau + 0.471_404_520_791_031_7).abs() < 1e-12, "{tau}");
    }

    #[test]
    fn no_order_no_tau() {
        assert_eq!(kendall_tau(&[1.0], &[2.0]), None);
        assert_eq!(kendall_tau(&[1.0, 1.0], &[2.0, 3.0]), None);
        assert_eq!(kendall_tau(&[1.0, f64::NAN], &[2.0, 3.0]), None);
        assert_eq!(kendall_tau(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
    }
}
