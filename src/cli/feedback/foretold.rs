//! Whether values foretell what runs reach: the runs of a check are twins, each of which has learned from other documents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diag::Diagnostic;
use crate::error::{Error, Result};
use crate::feedback::value::{Comparison, Twin, ValueRow, lds, read_lines};
use crate::lab::train::{DocumentName, OrderFile};

/// Values of documents, and what stands for those that have none.
pub(super) struct Values {
    rows: BTreeMap<DocumentName, ValueRow>,
    /// Value, values by target and overlap of a source's documents, by their tokens.
    means: BTreeMap<String, ValueRow>,
}

/// What of a row is summed up over a run.
type Column<'a> = &'a dyn Fn(&ValueRow) -> Option<f32>;

impl Values {
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
        let lacks = |name: &&String| self.rows.values().any(|row| !row.targets.contains_key(&format!("value_{name}")));
        let problem = |name: &String| {
            Diagnostic::new(format!("expected the column value_{name}, found none"))
                .in_file(path)
                .help("these are values for another feedback set")
        };
        Error::check(targets.iter().filter(lacks).map(problem).collect())
    }

    /// What is known of the documents that a run learned from, and how many of their tokens it did.
    ///
    /// # Errors
    /// A source without values.
    fn of_run(&self, folder: &Path) -> Result<Vec<(&ValueRow, f64)>> {
        let mut found = Vec::new();
        for (name, tokens) in OrderFile::tokens_by_document(&folder.join("order"))? {
            if tokens == 0 {
                continue;
            }
            let row = self.rows.get(&name).or_else(|| self.means.get(&name.source)).ok_or_else(|| {
                let message = format!("expected values of the source {}, found none", name.source);
                Error::bad(message).in_file(folder).help("make values of the corpus that the runs learn from")
            })?;
            found.push((row, tokens as f64));
        }
        Ok(found)
    }
}

/// Means by tokens with a loss.
fn mean(rows: &[ValueRow]) -> ValueRow {
    let total: f64 = rows.iter().map(|row| f64::from(row.n_loss_tokens)).sum();
    let of = |column: Column<'_>| -> f32 {
        let sum = rows.iter().filter_map(|row| Some(f64::from(row.n_loss_tokens) * f64::from(column(row)?)));
        (sum.sum::<f64>() / total.max(1.0)) as f32
    };
    let names = rows.iter().flat_map(|row| row.targets.keys());
    ValueRow {
        value: of(&|row| Some(row.value)),
        overlap: Some(of(&|row| row.overlap)),
        targets: names.map(|name| (name.clone(), of(&|row| row.targets.get(name).copied()))).collect(),
        ..ValueRow::default()
    }
}

/// A run's folder, and the mean sealed loss of each target that it reached.
pub(super) struct Reached {
    pub folder: PathBuf,
    pub losses: Vec<f64>,
}

/// LDS of the combined value for the mean over targets, and of each target's.
///
/// # Errors
/// Fewer than five runs; runs that do not differ; what the folders lack.
pub(super) fn foretold(values: &Values, targets: &[String], runs: &[Reached]) -> Result<Vec<(String, Comparison)>> {
    let learned: Vec<Vec<(&ValueRow, f64)>> =
        runs.iter().map(|run| values.of_run(&run.folder)).collect::<Result<_>>()?;
    let score = |value: Column<'_>, loss: &dyn Fn(&Reached) -> f64| {
        // One document a run that stands for all of its own: LDS is of sums.
        let sums = |column: Column<'_>| -> Vec<f64> {
            let sum = |own: &Vec<(&ValueRow, f64)>| {
                own.iter().map(|(row, tokens)| tokens * f64::from(column(row).unwrap_or(0.0))).sum()
            };
            learned.iter().map(sum).collect()
        };
        let twin = |(number, run): (usize, &Reached)| Twin { learned: vec![(number, 1.0)], loss: loss(run) };
        lds(&sums(value), &sums(&|row| row.overlap), &runs.iter().enumerate().map(twin).collect::<Vec<_>>())
    };
    let mean = |run: &Reached| run.losses.iter().sum::<f64>() / run.losses.len().max(1) as f64;
    let mut found = vec![("all targets".to_owned(), score(&|row| Some(row.value), &mean)?)];
    for (number, name) in targets.iter().enumerate() {
        let column = format!("value_{name}");
        let value = |row: &ValueRow| row.targets.get(&column).copied();
        found.push((name.clone(), score(&value, &|run| run.losses[number])?));
    }
    Ok(found)
}
