//! Texts against reference texts: pure functions, one concept a file, each equal to the library that the field uses.
//!
//! | file | what | equal to |
//! | --- | --- | --- |
//! | `normalise` | what is ignored before texts are compared | SQuAD's and DROP's scripts, lighteval, BIG-bench |
//! | `equality` | exact, prefix and suffix match | HELM and lighteval |
//! | `bag` | F1 over tokens | SQuAD's script; lighteval's `F1_score` |
//! | `drop` | exact match and F1 over spans | DROP's script in lm-evaluation-harness |
//! | `bleu`, `mteval` | BLEU of a corpus or a sentence | sacrebleu 2.6 |
//! | `plain_bleu`, `treebank` | BLEU of one order without smoothing | NLTK's `sentence_bleu` |
//! | `chrf` | chrF, chrF++ | sacrebleu 2.6 |
//! | `ter` | translation edit rate | sacrebleu 2.6 |
//! | `rouge`, `porter` | ROUGE-N, -L, -Lsum | rouge_score 0.1.2, NLTK's stemmer |
//! | `edit` | edit distance and what is made of it | NLTK; word and character error rate |
//! | `fragments` | what a summary copied | Newsroom's `Fragments` |

pub mod bag;
pub mod bleu;
pub mod chrf;
pub mod drop;
pub mod edit;
pub mod equality;
pub mod fragments;
pub mod normalise;
pub mod plain_bleu;
pub mod porter;
pub mod rouge;
pub mod ter;
pub mod treebank;

mod assignment;
mod mteval;
mod ngram;
mod python_float;

use crate::util::python::is_space;

/// Python's `text.split()`: pieces between runs of white space, none of them empty.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|piece| !piece.is_empty())
}

/// Harmonic mean of precision and recall; 0 where both are 0.
fn harmonic_mean(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}
