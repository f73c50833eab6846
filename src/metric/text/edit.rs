//! How many insertions, deletions and substitutions lead from one sequence to another, and what is made of it.

use super::words;

/// Levenshtein distance.
pub fn distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// `1 - distance / longer length`, from 0 to 1 (Lee and others 2021); 0 where one side is empty.
pub fn similarity<T: PartialEq>(a: &[T], b: &[T]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    1.0 - distance(a, b) as f64 / a.len().max(b.len()) as f64
}

/// Length of the common beginning.
pub fn common_prefix<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Words that must be edited, and words of the reference. The word error rate of a corpus is the ratio of the sums.
pub fn word_errors(answer: &str, reference: &str) -> (usize, usize) {
    let (answer, reference): (Vec<&str>, Vec<&str>) = (words(answer).collect(), words(reference).collect());
    (distance(&answer, &reference), reference.len())
}

/// Characters that must be edited, and characters of the reference, white space included. The character error rate of
/// a corpus is the ratio of the sums.
pub fn character_errors(answer: &str, reference: &str) -> (usize, usize) {
    let (answer, reference): (Vec<char>, Vec<char>) = (answer.chars().collect(), reference.chars().collect());
    (distance(&answer, &reference), reference.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        assert_eq!(character_errors("kitten", "sitting"), (3, 7));
        assert_eq!(word_errors(" the  cat sat", "the cat sat down"), (1, 4));
        assert_eq!(word_errors("", "a b"), (2, 2));
        assert_eq!(similarity(&[1, 2, 3, 4], &[1, 2, 4]), 0.75);
        assert_eq!(similarity::<u8>(&[], &[]), 0.0);
        assert_eq!(common_prefix(&[1, 2, 3], &[1, 2, 4, 5]), 2);
    }

    /// The distance is a metric: symmetric, zero on equals only, and no detour is shorter.
    #[test]
    fn no_detour_is_shorter() {
        let mut rng = crate::util::python_random::PythonRandom::new(5);
        let mut text = || (0..(rng.random() * 7.0) as usize).map(|_| (rng.random() * 3.0) as u8).collect::<Vec<_>>();
        for _ in 0..300 {
            let (a, b, c) = (text(), text(), text());
            assert_eq!(distance(&a, &b), distance(&b, &a));
            assert_eq!(distance(&a, &b) == 0, a == b);
            assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c));
        }
    }
}
