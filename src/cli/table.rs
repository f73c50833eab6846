//! A view as a table for the terminal, and rows in the other output formats.

use super::args::Format;
use crate::error::{Error, Result};
use crate::report::{Line, View, count};
use crate::store::{MetricRow, to_csv};

/// More checkpoints than this do not fit a terminal: the last ones are shown, the page has them all.
pub(super) const MAX_COLUMNS: usize = 4;

/// Rows in the format asked for.
pub(super) fn format(format: Format, view: &View, rows: &[MetricRow]) -> Result<String> {
    match format {
        Format::Table => Ok(table(view)),
        Format::Csv => String::from_utf8(to_csv(rows)?).map_err(|e| Error::internal(format!("CSV: {e}"))),
        Format::Json => {
            let json = serde_json::to_string_pretty(rows).map_err(|e| Error::internal(format!("JSON: {e}")))?;
            Ok(json + "\n")
        }
    }
}

fn table(view: &View) -> String {
    let skipped = view.columns.len().saturating_sub(MAX_COLUMNS);
    let labels = view.columns[skipped..].iter().map(|column| plain(&column.checkpoint));
    let head = ["task", "filter", "shots", "metric"].map(str::to_owned);
    let mut rows: Vec<Vec<String>> = vec![head.into_iter().chain(labels).chain(["n".to_owned()]).collect()];
    let mut last = "";
    for line in &view.lines {
        let task = if line.task == last { String::new() } else { plain(&line.task) };
        last = &line.task;
        let about = [task, filter(line), count(line.shots), line.metric.clone()];
        rows.push(about.into_iter().chain(cells(line, skipped)).collect());
    }
    let mut text = aligned(&rows, &[0, 1, 3]);
    if skipped > 0 {
        text += &format!("{skipped} earlier checkpoints are in the report\n");
    }
    for note in &view.notes {
        text += &format!("note: {}\n", plain(note));
    }
    text
}

/// Columns side by side, those named to the left and numbers to the right, a line under the head. An empty column takes
/// no room.
pub(super) fn aligned(rows: &[Vec<String>], left: &[usize]) -> String {
    let width =
        |column: usize| rows[1..].iter().map(|row| row[column].chars().count()).max().filter(|width| *width > 0);
    let widths: Vec<Option<usize>> =
        (0..rows[0].len()).map(|c| width(c).map(|w| w.max(rows[0][c].chars().count()))).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().filter_map(|(column, (cell, width))| {
            let width = (*width)?;
            Some(if left.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += &format!("{}\n", line.trim_end());
        if index == 0 {
            text += &format!("{}\n", "─".repeat(line.chars().count()));
        }
    }
    text
}

fn filter(line: &Line) -> String {
    if line.filter == "none" { String::new() } else { plain(&line.filter) }
}

fn cells(line: &Line, skipped: usize) -> impl Iterator<Item = String> {
    let shown = line.cells[skipped..].iter().map(|cell| cell.map_or_else(String::new, |cell| cell.shown()));
    let n = line.cells.iter().rev().flatten().next().and_then(|cell| cell.n);
    shown.chain([count(n)])
}

/// Names come from folders and files: control characters stay out of the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
