//! `metrics.csv`: the long table of scores.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::util::files;

/// One score. Column order is the file's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    pub suite: String,
    pub series: String,
    pub checkpoint: String,
    pub step: Option<u64>,
    pub tokens: Option<u64>,
    pub task: String,
    /// `name=value`, or empty for all items.
    pub slice: String,
    /// `none` without one.
    pub filter: String,
    /// Unknown in some tables from elsewhere.
    pub shots: Option<usize>,
    pub metric: String,
    pub value: f64,
    pub stderr: Option<f64>,
    pub ci_lo: Option<f64>,
    pub ci_hi: Option<f64>,
    /// Items. Unknown in some tables from elsewhere.
    pub n: Option<usize>,
    pub profile: String,
}

/// Writes the table. Cells that a spreadsheet would take for a formula get an apostrophe.
pub fn write_metrics(path: &Path, rows: &[MetricRow]) -> Result<()> {
    files::write_atomic(path, &to_csv(rows)?)
}

/// The table as bytes.
pub fn to_csv(rows: &[MetricRow]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        let guarded = MetricRow {
            suite: guard(&row.suite),
            series: guard(&row.series),
            checkpoint: guard(&row.checkpoint),
            task: guard(&row.task),
            slice: guard(&row.slice),
            filter: guard(&row.filter),
            metric: guard(&row.metric),
            profile: guard(&row.profile),
            ..row.clone()
        };
        writer.serialize(guarded).map_err(|e| Error::internal(format!("metrics.csv: {e}")))?;
    }
    writer.into_inner().map_err(|e| Error::internal(format!("metrics.csv: {e}")))
}

/// Reads the table back.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricRow>> {
    let text = files::read_text(path, 1 << 30)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Result<Vec<MetricRow>, csv::Error> = reader.deserialize().collect();
    let mut rows = rows.map_err(|e| Error::bad(format!("expected the columns of metrics.csv: {e}")).in_file(path))?;
    for row in &mut rows {
        let cells = [
            &mut row.suite,
            &mut row.series,
            &mut row.checkpoint,
            &mut row.task,
            &mut row.slice,
            &mut row.filter,
            &mut row.metric,
            &mut row.profile,
        ];
        for cell in cells {
            if let Some(plain) = cell.strip_prefix('\'').filter(|plain| plain.starts_with(FORMULA_STARTS)) {
                *cell = plain.to_owned();
            }
        }
    }
    Ok(rows)
}

const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A cell that no spreadsheet takes for a formula.
pub fn guard(cell: &str) -> String {
    if cell.starts_with(FORMULA_STARTS) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_and_formulas_are_guarded() {
        let row = MetricRow {
            suite: "s".into(),
            series: "=cmd()".into(),
            checkpoint: "a,b\"c".into(),
            step: Some(7),
            tokens: None,
            task: "t".into(),
            slice: "k=\nv".into(),
            filter: "none".into(),
            shots: Some(5),
            metric: "-acc".into(),
            value: 0.1 + 0.2,
            stderr: None,
            ci_lo: Some(f64::MIN_POSITIVE),
            ci_hi: Some(1.0),
            n: None,
            profile: "veval-1".into(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        write_metrics(&path, std::slice::from_ref(&row)).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [row]);
        assert!(std::fs::read_to_string(&path).unwrap().contains("'=cmd()"));
    }
}
