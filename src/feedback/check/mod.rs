//! Was the new mixture worth it? Training runs that differ in one thing, compared on the items that are sealed.

mod compare;

#[cfg(test)]
mod tests_compare;

pub use compare::{Arm, Difference, Family, Task, TaskDifferences, compare, compare_family};
