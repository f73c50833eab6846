//! `veval grad query`, `veval grad export`: stores of gradients, searched and handed on.

use std::io::Write;

use serde::Serialize;

use super::args::{Format, GradExportArguments, GradQueryArguments, Like};
use super::table::aligned;
use super::{grad_items, print, printable};
use crate::error::{Error, Result};
use crate::feedback::store::{self, GradStore, Hit, Measure};

/// Queries are held in memory, as f32.
const MAX_QUERY_BYTES: u64 = 1 << 32;

pub(super) fn query(arguments: &GradQueryArguments) -> Result<()> {
    let store = GradStore::open(&arguments.store)?;
    let queries = queries(&store, arguments)?;
    let values: Vec<Vec<f32>> = queries.iter().map(|query| query.values.clone()).collect();
    let measure = if arguments.cosine { Measure::Cosine } else { Measure::Dot };
    let threads = arguments.threads.count();
    let found = store.top(&values, arguments.k, measure, threads)?;
    let items = grad_items::ids(&arguments.store)?;
    let mut lines = Vec::new();
    for (query, hits) in queries.iter().zip(&found) {
        for (index, hit) in hits.iter().enumerate() {
            lines.push(line(&store, &items, &query.name, index + 1, *hit)?);
        }
    }
    print(&format(arguments.format, &lines)?)
}

pub(super) fn export(arguments: &GradExportArguments) -> Result<()> {
    let store = GradStore::open(&arguments.store)?;
    let exported = store::export(&store, arguments.to.into(), &arguments.out)?;
    let mut err = std::io::stderr().lock();
    for note in &exported.notes {
        // Nothing can be done about a standard error that cannot be written to.
        let _ = writeln!(err, "note: {}", printable(note));
    }
    print(&format!("{}\n", arguments.out.display()))
}

struct Query {
    /// As its lines call it: a row, an item, a token of one (`ITEM@POSITION`), or `mean`.
    name: String,
    values: Vec<f32>,
}

/// One found row, as the tables have it.
#[derive(Serialize)]
struct Line {
    query: String,
    rank: usize,
    row: u64,
    item: String,
    /// Of a token's row: its place among the item's tokens.
    position: Option<i32>,
    score: f32,
    loss: Option<f32>,
    norm: Option<f32>,
    n_tokens: Option<i32>,
}

fn queries(store: &GradStore, arguments: &GradQueryArguments) -> Result<Vec<Query>> {
    let (from, rows) = match &arguments.like {
        Like::Rows(ranges) => (None, ranges.clone()),
        Like::Store(folder) => {
            let other = GradStore::open(folder)?;
            store.comparable(&other)?;
            let rows = if other.is_empty() { Vec::new() } else { vec![0..=other.len() - 1] };
            (Some((other, folder.as_path())), rows)
        }
    };
    let (from, folder) = from.as_ref().map_or((store, arguments.store.as_path()), |(other, folder)| (other, *folder));
    let count =
        rows.iter().fold(0u64, |sum, range| sum.saturating_add((range.end() - range.start()).saturating_add(1)));
    if count == 0 {
        return Err(Error::bad("expected at least one row to look for, found none").in_file(folder));
    }
    if !arguments.mean && count.saturating_mul(4 * store.layout().dim() as u64) > MAX_QUERY_BYTES {
        let message = format!("expected fewer queries, found {count} rows of {} numbers", store.layout().dim());
        return Err(Error::bad(message).help("take fewer rows, or their mean with --mean"));
    }
    let names = grad_items::ids(folder)?;
    let mut queries = Vec::new();
    let mut sum = vec![0f64; store.layout().dim()];
    for row in rows.into_iter().flatten() {
        let values = from.rows(row..row.saturating_add(1))?;
        if arguments.mean {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
        } else {
            let info = from.info(row)?;
            let place = info.item.and_then(|item| item.position).map_or_else(String::new, |place| format!("@{place}"));
            queries.push(Query { name: name(&names, info.id) + &place, values });
        }
    }
    if arguments.mean {
        let values = sum.into_iter().map(|sum| (sum / count as f64) as f32).collect();
        queries.push(Query { name: "mean".to_owned(), values });
    }
    Ok(queries)
}

fn line(store: &GradStore, items: &[String], query: &str, rank: usize, hit: Hit) -> Result<Line> {
    let info = store.info(hit.row)?;
    Ok(Line {
        query: query.to_owned(),
        rank,
        row: hit.row,
        item: name(items, info.id),
        position: info.item.and_then(|item| item.position),
        score: hit.score,
        loss: info.item.map(|item| item.loss),
        norm: info.item.map(|item| item.norm),
        n_tokens: info.item.map(|item| item.n_tokens),
    })
}

/// An item by its number: its id where the store has a list of them.
fn name(items: &[String], id: i64) -> String {
    let item = usize::try_from(id).ok().and_then(|id| items.get(id));
    item.map_or_else(|| id.to_string(), |item| printable(item))
}

fn format(format: Format, lines: &[Line]) -> Result<String> {
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(lines).map_err(|e| Error::internal(format!("JSON: {e}")))?;
            Ok(json + "\n")
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            let written = lines.iter().try_for_each(|line| csv.serialize(line));
            let internal = |e: String| Error::internal(format!("CSV: {e}"));
            written.map_err(|e| internal(e.to_string()))?;
            let bytes = csv.into_inner().map_err(|e| internal(e.to_string()))?;
            String::from_utf8(bytes).map_err(|e| internal(e.to_string()))
        }
        Format::Table => {
            let head =
                ["query", "rank", "row", "item", "position", "score", "loss", "tokens"].map(str::to_owned).to_vec();
            let cells = |line: &Line| {
                let number = |value: Option<f32>| value.map_or_else(String::new, |value| format!("{value:.4}"));
                vec![
                    line.query.clone(),
                    line.rank.to_string(),
                    line.row.to_string(),
                    line.item.clone(),
                    line.position.map_or_else(String::new, |position| position.to_string()),
                    format!("{:.4e}", line.score),
                    number(line.loss),
                    line.n_tokens.map_or_else(String::new, |count| count.to_string()),
                ]
            };
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(lines.iter().map(cells)).collect();
            Ok(aligned(&rows, &[0, 3]))
        }
    }
}
