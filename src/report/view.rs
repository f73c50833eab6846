//! What a table or a page shows, before anybody draws it.

use serde::Serialize;

use super::feedback::FeedbackView;
use crate::store::{Manifest, MetricRow};

/// Scores of several checkpoints under one suite.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    pub suite: String,
    pub columns: Vec<Column>,
    /// Tasks that stand on their own, and groups.
    pub lines: Vec<Line>,
    /// Members of groups, and slices.
    pub details: Vec<Line>,
    /// How local data differ from the public tasks, and other things to know before quoting a number.
    pub notes: Vec<String>,
    /// What the last run leaves for the trainer.
    pub feedback: Option<FeedbackView>,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    pub series: String,
    pub checkpoint: String,
    pub step: Option<u64>,
    pub tokens: Option<u64>,
    pub model: String,
    pub parameters: usize,
    pub dtypes: Vec<String>,
    pub finished: Option<String>,
}

/// One task, slice, filter and metric over all checkpoints.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub task: String,
    pub slice: String,
    pub filter: String,
    pub shots: Option<usize>,
    pub metric: String,
    pub profile: String,
    /// One for each column; `None` where the checkpoint has no such score.
    pub cells: Vec<Option<Cell>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cell {
    pub value: f64,
    pub stderr: Option<f64>,
    pub lo: Option<f64>,
    pub hi: Option<f64>,
    pub n: Option<usize>,
}

impl View {
    /// Puts runs side by side, in the order given.
    pub fn new(suite: &str, runs: &[(Manifest, Vec<MetricRow>)]) -> Self {
        let columns = runs.iter().map(|(manifest, _)| Column {
            series: manifest.series.clone(),
            checkpoint: manifest.checkpoint.clone(),
            step: manifest.step,
            tokens: manifest.tokens,
            model: manifest.model.fingerprint.clone(),
            parameters: manifest.model.parameters,
            dtypes: manifest.model.dtypes.clone(),
            finished: manifest.finished.clone(),
        });
        let mut view = Self {
            suite: suite.to_owned(),
            columns: columns.collect(),
            lines: Vec::new(),
            details: Vec::new(),
            notes: Vec::new(),
            feedback: None,
        };
        for (index, (manifest, rows)) in runs.iter().enumerate() {
            // Runs list their scores in one order, so the next one is mostly the next line.
            let (mut line, mut detail) = (0, 0);
            for row in rows {
                let member = manifest.tasks.iter().any(|task| task.name == row.task && !task.groups.is_empty());
                if member || !row.slice.is_empty() {
                    detail = place(&mut view.details, row, detail, index, runs.len()) + 1;
                } else {
                    line = place(&mut view.lines, row, line, index, runs.len()) + 1;
                }
            }
            for task in &manifest.tasks {
                if let Some(deviation) = &task.deviation {
                    let note = format!("{}: {deviation}", task.groups.last().unwrap_or(&task.name));
                    if !view.notes.contains(&note) {
                        view.notes.push(note);
                    }
                }
            }
        }
        view
    }
}

/// Puts a score into its line, which is looked for from `expected` on, then from the beginning; says which it was.
fn place(lines: &mut Vec<Line>, row: &MetricRow, expected: usize, column: usize, columns: usize) -> usize {
    let same = |line: &Line| {
        (&line.task, &line.slice, &line.filter, line.shots, &line.metric, &line.profile)
            == (&row.task, &row.slice, &row.filter, row.shots, &row.metric, &row.profile)
    };
    let start = expected.min(lines.len());
    let after = lines[start..].iter().position(same).map(|index| start + index);
    let index = after.or_else(|| lines[..start].iter().position(same)).unwrap_or_else(|| {
        lines.push(Line {
            task: row.task.clone(),
            slice: row.slice.clone(),
            filter: row.filter.clone(),
            shots: row.shots,
            metric: row.metric.clone(),
            profile: row.profile.clone(),
            cells: vec![None; columns],
        });
        lines.len() - 1
    });
    lines[index].cells[column] =
        Some(Cell { value: row.value, stderr: row.stderr, lo: row.ci_lo, hi: row.ci_hi, n: row.n });
    index
}

/// A count, or nothing where it is unknown.
pub fn count(count: Option<usize>) -> String {
    count.map_or_else(String::new, |count| count.to_string())
}

impl Cell {
    /// `0.315 ± 0.033`
    pub fn shown(&self) -> String {
        match self.stderr {
            Some(stderr) => format!("{} ± {}", number(self.value), number(stderr)),
            None => number(self.value),
        }
    }
}

/// Four significant places at least, without a flood of digits for perplexities.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        x if !x.is_finite() => value.to_string(),
        x if x >= 1e6 => format!("{value:.3e}"),
        x if x >= 1000.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_read_well() {
        let cell = |value, stderr| Cell { value, stderr, lo: None, hi: None, n: Some(1) };
        assert_eq!(cell(0.315, Some(0.0329)).shown(), "0.3150 ± 0.0329");
        assert_eq!(cell(12_652_257.15, None).shown(), "1.265e7");
        assert_eq!(cell(16.1957, Some(f64::INFINITY)).shown(), "16.20 ± inf");
    }
}
