//! A view as a table for the terminal, and rows in the other output formats.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::args::Format;
use crate::error::{Error, Result};
use crate::report::{Line, View};
use crate::store::{MetricRow, to_csv};

/// More checkpoints than this do not fit a terminal: the last ones are shown, the page has them all.
const MAX_COLUMNS: usize = 4;

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
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    let labels = view.columns[skipped..].iter().map(|column| plain(&column.checkpoint));
    table.set_header(
        ["task", "filter", "shots", "metric"].map(str::to_owned).into_iter().chain(labels).chain(["n".to_owned()]),
    );
    let mut last = "";
    for line in &view.lines {
        let task = if line.task == last { String::new() } else { plain(&line.task) };
        last = &line.task;
        table.add_row(
            [task, filter(line), line.shots.to_string(), line.metric.clone()].into_iter().chain(cells(line, skipped)),
        );
    }
    for index in (2..3).chain(4..5 + view.columns.len() - skipped) {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{table}\n");
    if skipped > 0 {
        text += &format!("{skipped} earlier checkpoints are in the report\n");
    }
    for note in &view.notes {
        text += &format!("note: {}\n", plain(note));
    }
    text
}

fn filter(line: &Line) -> String {
    if line.filter == "none" { String::new() } else { plain(&line.filter) }
}

fn cells(line: &Line, skipped: usize) -> impl Iterator<Item = String> {
    let shown = line.cells[skipped..].iter().map(|cell| cell.map_or_else(String::new, |cell| cell.shown()));
    let n = line.cells.iter().rev().flatten().next().map_or_else(String::new, |cell| cell.n.to_string());
    shown.chain([n])
}

/// Names come from folders and files: control characters stay out of the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
