//! Predicted classes against right ones, as scikit-learn counts them.

use std::collections::{BTreeMap, BTreeSet};

/// How often each right class was predicted as which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion<T> {
    counts: BTreeMap<(T, T), u64>,
    /// All that was right or predicted at least once.
    classes: BTreeSet<T>,
}

/// One class among all items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Class {
    /// Right and predicted.
    both: u64,
    right: u64,
    predicted: u64,
}

impl Class {
    fn f1(self) -> f64 {
        let all = self.right + self.predicted;
        if all == 0 { 0.0 } else { 2.0 * self.both as f64 / all as f64 }
    }

    fn recall(self) -> Option<f64> {
        (self.right > 0).then(|| self.both as f64 / self.right as f64)
    }
}

impl<T: Ord + Clone> Confusion<T> {
    /// From pairs of right and predicted class.
    pub fn of(pairs: impl IntoIterator<Item = (T, T)>) -> Self {
        let (mut counts, mut classes) = (BTreeMap::new(), BTreeSet::new());
        for (right, predicted) in pairs {
            classes.insert(right.clone());
            classes.insert(predicted.clone());
            *counts.entry((right, predicted)).or_default() += 1;
        }
        Self { counts, classes }
    }

    fn items(&self) -> u64 {
        self.counts.values().sum()
    }

    fn class(&self, class: &T) -> Class {
        let mut found = Class::default();
        for ((right, predicted), count) in &self.counts {
            found.right += if right == class { *count } else { 0 };
            found.predicted += if predicted == class { *count } else { 0 };
            found.both += if right == class && predicted == class { *count } else { 0 };
        }
        found
    }

    fn per_class(&self) -> impl Iterator<Item = Class> + '_ {
        self.classes.iter().map(|class| self.class(class))
    }

    /// Share of items whose class was predicted, which is also F1 over all classes together (micro). `None` without
    /// items, like all that follow.
    pub fn accuracy(&self) -> Option<f64> {
        let right: u64 = self.per_class().map(|class| class.both).sum();
        (self.items() > 0).then(|| right as f64 / self.items() as f64)
    }

    /// Mean recall of the classes that are right at least once.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        mean(self.per_class().filter_map(Class::recall))
    }

    /// Mean F1 of all classes, seen as right or as predicted.
    pub fn macro_f1(&self) -> Option<f64> {
        mean(self.per_class().map(Class::f1))
    }

    /// Mean F1 of the classes, weighted by how often each is right.
    pub fn weighted_f1(&self) -> Option<f64> {
        let sum: f64 = self.per_class().map(|class| class.right as f64 * class.f1()).sum();
        (self.items() > 0).then(|| sum / self.items() as f64)
    }

    /// Largest F1 of a class: what lighteval's `loglikelihood_f1` reports.
    pub fn largest_f1(&self) -> Option<f64> {
        self.per_class().map(Class::f1).reduce(f64::max)
    }

    /// F1 of one class; 0 where it never occurs.
    pub fn f1(&self, class: &T) -> f64 {
        self.class(class).f1()
    }

    /// Accuracy of the question "is it this class or another?".
    pub fn one_against_all_accuracy(&self, class: &T) -> Option<f64> {
        let Class { both, right, predicted } = self.class(class);
        let items = self.items();
        (items > 0).then(|| (items + 2 * both - right - predicted) as f64 / items as f64)
    }

    /// Correlation of Matthews (1975) in the form of Gorodkin (2004) for any number of classes; 0 where one side is
    /// constant.
    pub fn matthews_correlation(&self) -> Option<f64> {
        let n = self.items() as f64;
        let (mut both, mut product, mut right, mut predicted) = (0.0, 0.0, 0.0, 0.0);
        for class in self.per_class() {
            both += class.both as f64;
            product += class.right as f64 * class.predicted as f64;
            right += (class.right as f64).powi(2);
            predicted += (class.predicted as f64).powi(2);
        }
        let spread = (n * n - right) * (n * n - predicted);
        (n > 0.0).then(|| if spread == 0.0 { 0.0 } else { (both * n - product) / spread.sqrt() })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    (n > 0.0).then(|| sum / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let table = Confusion::of([("a", "a"), ("a", "b"), ("b", "b"), ("c", "b"), ("a", "a")]);
        assert_eq!(table.accuracy(), Some(0.6));
        assert_eq!((table.f1(&"a"), table.f1(&"b"), table.f1(&"c")), (0.8, 0.5, 0.0));
        assert!((table.macro_f1().unwrap() - 1.3 / 3.0).abs() < 1e-15);
        assert!((table.weighted_f1().unwrap() - 2.9 / 5.0).abs() < 1e-15);
        assert_eq!(table.largest_f1(), Some(0.8));
        assert!((table.balanced_accuracy().unwrap() - (2.0 / 3.0 + 1.0) / 3.0).abs() < 1e-15);
        assert_eq!(table.one_against_all_accuracy(&"b"), Some(0.6));
        assert_eq!(Confusion::of([(0, 0), (1, 1)]).matthews_correlation(), Some(1.0));
        assert_eq!(Confusion::of([(0, 1), (1, 0)]).matthews_correlation(), Some(-1.0));
        assert_eq!(Confusion::of([(0, 1), (1, 1)]).matthews_correlation(), Some(0.0));
        assert_eq!(Confusion::<u8>::of([]).matthews_correlation(), None);
    }
}
