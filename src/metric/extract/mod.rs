//! Answers inside longer texts: the letter of a choice, a number, an expression; and whether two of them are the same.
//!
//! `hendrycks` has the rules of MATH, which compare texts. For the rest, where to look and in which order are
//! lighteval's rules for English (its `extractive_match`), and what is found is read by a small algebra of our own, where
//! lighteval asks sympy:
//!
//! - read: numbers with thousands separators, decimals and percent; `+ - * / ^` and brackets; in LaTeX also fractions,
//!   products without a sign, roots, factorials, Greek letters, subscripts, named functions, `\pm`, `\text`, chains of
//!   `=`;
//! - equal: what is equal as a rational function of its letters and of roots of products; functions, `\pm` and roots of
//!   sums are equal when their arguments are; two numbers of which one is a decimal, when they round to the same;
//! - not read: inequalities, intervals, sets and tuples, matrices, sums, integrals, binomials. Such answers are
//!   compared as texts without their white space. A word after a number is its unit and dropped. Laws of functions
//!   (`\log x^2 = 2 \log x`) are not known. Sympy finds more answers equal.

mod algebra;
pub mod hendrycks;
mod latex;
mod letter;
mod parse;
mod plain;
mod search;

pub use search::{Extractor, Finding, Target};

/// Whether something found in `answer` is the same as something found in one of the golds. A gold in which nothing is
/// found stands for itself. `precision` is the number of digits after the point to which decimals are compared.
pub fn extractive_match(golds: (&Extractor, &[impl AsRef<str>]), answer: (&Extractor, &str), precision: u32) -> bool {
    let mut found: Vec<Vec<Finding>> = golds.1.iter().map(|gold| golds.0.find(gold.as_ref())).collect();
    if found.iter().any(Vec::is_empty) {
        found = golds.1.iter().map(|gold| vec![Finding::Text(gold.as_ref().to_owned())]).collect();
    }
    let answers = answer.0.find(answer.1);
    found.iter().flatten().any(|gold| answers.iter().any(|answer| gold.same(answer, precision)))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_verdicts;
