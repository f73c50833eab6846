//! Was the new mixture worth it? Training runs that differ in one thing, compared on the items that are sealed.

mod compare;
mod foretold;

#[cfg(test)]
mod tests_compare;
#[cfg(test)]
mod tests_foretold;

pub use compare::{Arm, Difference, Family, Task, TaskDifferences, compare, compare_family};
pub use foretold::{Foretold, KnownValues, Reached, foretold};
