//! One self-contained page: nothing is loaded from outside, everything that came from files is escaped.

use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::svg::{Point, curve, interval};
use super::view::{Column, Line, View, count};
use crate::error::{Error, Result};
use crate::util::jinja;

const TEMPLATE: &str = include_str!("page.html");

#[derive(Serialize)]
struct Row {
    task: String,
    filter: String,
    shots: String,
    metric: String,
    slice: String,
    profile: String,
    n: String,
    cells: Vec<String>,
    /// SVG made here.
    interval: String,
}

#[derive(Serialize)]
struct Chart {
    title: String,
    svg: String,
}

/// The page of a suite.
pub fn page(view: &View) -> Result<String> {
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    let rows = |lines: &[Line]| -> Vec<Row> { lines.iter().map(|line| row(line, view.columns.len())).collect() };
    let several = view.columns.len() > 1;
    let charts: Vec<Chart> =
        if several { view.lines.iter().map(|line| chart(line, &view.columns)).collect() } else { Vec::new() };
    let labels: Vec<String> = view.columns.iter().map(|column| column.checkpoint.clone()).collect();
    let values = context! {
        suite => view.suite.clone(),
        columns => jinja::value(&view.columns),
        labels,
        rows => jinja::value(rows(&view.lines)),
        details => jinja::value(rows(&view.details)),
        charts => jinja::value(charts),
        notes => view.notes.clone(),
        feedback => jinja::value(&view.feedback),
        several,
    };
    env.render_str(TEMPLATE, values).map_err(|e| Error::internal(format!("report page: {}", jinja::explain(&e))))
}

fn row(line: &Line, columns: usize) -> Row {
    let last = line.cells.iter().rev().flatten().next();
    Row {
        task: line.task.clone(),
        filter: if line.filter == "none" { String::new() } else { line.filter.clone() },
        shots: count(line.shots),
        metric: line.metric.clone(),
        slice: line.slice.clone(),
        profile: line.profile.clone(),
        n: count(last.and_then(|cell| cell.n)),
        cells: line.cells.iter().map(|cell| cell.map_or_else(|| "–".to_owned(), |cell| cell.shown())).collect(),
        interval: if columns == 1 { last.map_or_else(String::new, interval) } else { String::new() },
    }
}

/// Steps on the x axis where every checkpoint has one, else their order.
fn chart(line: &Line, columns: &[Column]) -> Chart {
    let stepped = columns.iter().all(|column| column.step.is_some());
    let label = |column: &Column| match column.step.filter(|_| stepped) {
        Some(step) => step.to_string(),
        None => column.checkpoint.clone(),
    };
    let labels: Vec<String> = columns.iter().map(label).collect();
    let place = XAxis::of(columns.iter().filter_map(|column| column.step));
    let points: Vec<Point<'_>> = line
        .cells
        .iter()
        .enumerate()
        .filter_map(|(index, cell)| {
            let x = if stepped { place.at(columns[index].step?) } else { index as f64 };
            Some(Point { x, label: &labels[index], cell: (*cell)? })
        })
        .collect();
    let filter = if line.filter == "none" { String::new() } else { format!(", {}", line.filter) };
    Chart {
        title: format!("{} · {}{filter}", line.task, line.metric),
        svg: curve(&points, if stepped { place.title() } else { "" }),
    }
}

/// How steps lie along the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum XAxis {
    Linear,
    /// Checkpoints that are a factor apart would crowd at the left.
    Logarithmic,
}

impl XAxis {
    /// Logarithmic where half of the checkpoints lie in the first fifth.
    fn of(steps: impl Iterator<Item = u64>) -> Self {
        let mut steps: Vec<u64> = steps.collect();
        steps.sort_unstable();
        match (steps.get(steps.len() / 2), steps.last()) {
            (Some(middle), Some(last)) if steps.len() > 2 && *middle < last / 5 => Self::Logarithmic,
            _ => Self::Linear,
        }
    }

    /// Ten steps are added, so that step 0 has a place: a third of a factor of ten before step 10.
    fn at(self, step: u64) -> f64 {
        match self {
            Self::Linear => step as f64,
            Self::Logarithmic => (step as f64 + 10.0).log10(),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Linear => "step",
            Self::Logarithmic => "step (log)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_by_factors_lie_by_factors_and_even_ones_evenly() {
        let axis = |steps: &[u64]| XAxis::of(steps.iter().copied());
        assert_eq!(axis(&[0, 126, 266, 561, 1181, 3600]), XAxis::Logarithmic);
        assert_eq!(axis(&[0, 1000, 2000, 3000, 4000]), XAxis::Linear);
        assert_eq!(axis(&[0, 1_000_000]), XAxis::Linear);
        assert_eq!(axis(&[]), XAxis::Linear);
        let places = [0, 10, 100, 1000].map(|step| XAxis::Logarithmic.at(step));
        assert!(places.is_sorted() && places.iter().all(|place| place.is_finite()));
        assert_eq!(XAxis::Linear.at(7), 7.0);
    }
}
