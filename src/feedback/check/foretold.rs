//! Whether values foretell what runs reach: the runs of one arm are twins, each of which has learned from other documents of
//! the same sources.
//!
//! Runs of different arms differ in their mixture, and an arm's runs stand together: of two arms with any values at all one
//! has more than the other. So sums and losses are taken from their arm's means before they are ranked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::value::{Comparison, Twin, ValueRow, lds, read_lines};
use crate::lab::train::{DocumentName, OrderFile};

/// Values of documents, and what stands for those that have none.
#[derive(Debug)]
pub struct KnownValues {
    rows: BTreeMap<DocumentName, ValueRow>,
    /// Value, values by target and overlap of a source's documents, by their tokens.
    means: BTreeMap<String, ValueRow>,
}

/// What of a row is summed up over a run.
type Column<'a> = &'a dyn Fn(&ValueRow) -> Option<f32>;

impl KnownValues {
    /// # Errors
    /// Rows that are none; no rows; rows without overlap.
    pub fn read(path: &Path) -> Result<Self> {
        let mut rows = BTreeMap::new();
        let mut by_source: BTreeMap<String, Vec<ValueRow>> = BTreeMap::new();
        for row in read_lines(path)? {
            let row = row?;
            if row.overlap.is_none() {
                let error = Error::bad("expected the column `overlap`, found none").in_file(path);
                return Err(error.at(format!("document {}", row.doc_id)).help("`veval feedback value` writes it"));
            }
            by_source.entry(row.source.clone()).or_default().push(row.clone());
            rows.insert(DocumentName { source: row.source.clone(), id: row.doc_id.clone() }, row);
        }
        if rows.is_empty() {
            return Err(Error::bad("expected values of documents, found none").in_file(path));
        }
        let means = by_source.into_iter().map(|(source, rows)| (source, mean(&rows))).collect();
        Ok(Self { rows, means })
    }

    /// # Errors
    /// A target that has no values.
    pub fn have(&self, targets: &[String], path: &Path) -> Result<()> {
        let lacks = |name: &&String| {
            let column = format!("value_{name}");
            self.rows.values().any(|row| !row.targets.contains_key(&column))
        };
        let problem = |name: &String| {
            Diagnostic::new(format!("expected the column value_{name}, found none"))
                .in_file(path)
                .help("these are values for another feedback set")
        };
        Error::check(targets.iter().filter(lacks).map(problem).collect())
    }

    /// The documents that a run learned from, with what is known of each.
    ///
    /// # Errors
    /// A source without values.
    fn of_run(&self, folder: &Path) -> Result<Learned<'_>> {
        let mut learned = Learned { rows: Vec::new(), known: 0.0 };
        for (name, tokens) in OrderFile::tokens_by_document(&folder.join("order"))? {
            let tokens = tokens as f64;
            if tokens == 0.0 {
                continue;
            }
            let own = self.rows.get(&name);
            let row = own.or_else(|| self.means.get(&name.source)).ok_or_else(|| {
                let message = format!("expected values of the source {}, found none", name.source);
                Error::bad(message).in_file(folder).help("make values of the corpus that the runs learn from")
            })?;
            learned.known += if own.is_some() { tokens } else { 0.0 };
            learned.rows.push((row, tokens));
        }
        Ok(learned)
    }
}

/// The documents that a run learned from.
struct Learned<'a> {
    /// What is known of each, and how many of its tokens were learned.
    rows: Vec<(&'a ValueRow, f64)>,
    /// Tokens of those with values of their own.
    known: f64,
}

/// Means by tokens with a loss.
fn mean(rows: &[ValueRow]) -> ValueRow {
    let total: f64 = rows.iter().map(|row| f64::from(row.n_loss_tokens)).sum();
    let of = |column: Column<'_>| -> f32 {
        let sum = rows.iter().filter_map(|row| Some(f64::from(row.n_loss_tokens) * f64::from(column(row)?)));
        (sum.sum::<f64>() / total.max(1.0)) as f32
    };
    let names = rows.first().into_iter().flat_map(|row| row.targets.keys());
    ValueRow {
        value: of(&|row| Some(row.value)),
        overlap: Some(of(&|row| row.overlap)),
        targets: names.map(|name| (name.clone(), of(&|row| row.targets.get(name).copied()))).collect(),
        ..ValueRow::default()
    }
}

/// A run, and the mean sealed loss of each target that it reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Reached {
    pub folder: PathBuf,
    /// Number of its arm.
    pub arm: usize,
    pub losses: Vec<f64>,
}

/// What values had to say of some runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Foretold {
    /// LDS of the combined value for the mean over targets, and of each target's.
    pub lds: Vec<(String, Comparison)>,
    /// Of the tokens that were learned, the share whose documents have values of their own; others count as their source's
    /// mean.
    pub known: f64,
}

/// Whether the values of what each run learned foretell the losses that it reached, within arms.
///
/// # Errors
/// Fewer than five runs; runs that do not differ from those of their arm; what the folders lack.
pub fn foretold(values: &KnownValues, targets: &[String], runs: &[Reached]) -> Result<Foretold> {
    let learned: Vec<Learned<'_>> = runs.iter().map(|run| values.of_run(&run.folder)).collect::<Result<_>>()?;
    let arms: Vec<usize> = runs.iter().map(|run| run.arm).collect();
    let score = |value: Column<'_>, loss: &dyn Fn(&Reached) -> f64| {
        let sums = |column: Column<'_>| -> Vec<f64> {
            let sum = |own: &Learned<'_>| {
                own.rows.iter().map(|(row, tokens)| tokens * f64::from(column(row).unwrap_or(0.0))).sum()
            };
            within_arms(&learned.iter().map(sum).collect::<Vec<_>>(), &arms)
        };
        let losses = within_arms(&runs.iter().map(loss).collect::<Vec<_>>(), &arms);
        // A run stands for all of its documents: the score is of sums.
        let twin = |(number, loss): (usize, f64)| Twin { learned: vec![(number, 1.0)], loss };
        lds(&sums(value), &sums(&|row| row.overlap), &losses.into_iter().enumerate().map(twin).collect::<Vec<_>>())
    };
    let mean = |run: &Reached| run.losses.iter().sum::<f64>() / run.losses.len().max(1) as f64;
    let mut found = vec![("all targets".to_owned(), score(&|row| Some(row.value), &mean)?)];
    for (number, name) in targets.iter().enumerate() {
        let column = format!("value_{name}");
        let value = |row: &ValueRow| row.targets.get(&column).copied();
        found.push((name.clone(), score(&value, &|run| run.losses[number])?));
    }
    let total: f64 = learned.iter().flat_map(|own| &own.rows).map(|(_, tokens)| tokens).sum();
    let known: f64 = learned.iter().map(|own| own.known).sum();
    Ok(Foretold { lds: found, known: known / total.max(1.0) })
}

/// Differences from the mean of each one's arm.
fn within_arms(numbers: &[f64], arms: &[usize]) -> Vec<f64> {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (number, arm) in numbers.iter().zip(arms) {
        let sum = sums.entry(*arm).or_default();
        *sum = (sum.0 + number, sum.1 + 1.0);
    }
    numbers.iter().zip(arms).map(|(number, arm)| number - sums[arm].0 / sums[arm].1).collect()
}
