//! Where the right choices stand when choices are sorted by their scores.

use super::choice::first_maximum;

/// `1 / rank` of the best right choice; choices with equal scores share the better rank. `None` without right choices.
/// Indices outside the scores are passed over.
pub fn reciprocal_rank(scores: &[f64], right: &[usize]) -> Option<f64> {
    let ahead = |score: f64| scores.iter().filter(|other| **other > score).count();
    let best = right.iter().filter_map(|&index| scores.get(index)).map(|&score| ahead(score)).min()?;
    Some(1.0 / (best + 1) as f64)
}

/// Whether a right choice is among the `k` with the largest scores (lighteval's `recall@k`). Of equal scores the last
/// choices come first, as in NumPy's reversed sort; but for `k` = 1 it is the first, as in its argmax.
pub fn hit_at_k(scores: &[f64], right: &[usize], k: usize) -> bool {
    if k == 1 {
        return !scores.is_empty() && right.contains(&first_maximum(scores));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order.iter().rev().take(k).any(|index| right.contains(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_ties() {
        assert_eq!(reciprocal_rank(&[0.8, 0.1, 0.1], &[2]), Some(0.5));
        assert_eq!(reciprocal_rank(&[0.8, 0.15, 0.05], &[2, 1]), Some(0.5));
        assert_eq!((reciprocal_rank(&[0.5], &[]), reciprocal_rank(&[0.5], &[3])), (None, None));
        assert!(hit_at_k(&[0.5, 0.5, 0.1], &[0], 1) && !hit_at_k(&[0.5, 0.5, 0.1], &[1], 1));
        assert!(hit_at_k(&[0.5, 0.5, 0.5], &[1], 2) && !hit_at_k(&[0.5, 0.5, 0.5], &[0], 2));
        assert!(!hit_at_k(&[], &[0], 1));
    }
}
