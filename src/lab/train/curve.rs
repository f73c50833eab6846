//! The loss curve of a run as a table: a line for each step, appended as it is trained.
//!
//! `step,tokens,loss,rate,grad_norm,loss_SOURCE..`: tokens predicted so far, the step's mean loss per token in nats, its
//! learning rate, the norm of its gradient before clipping, and the mean loss over the tokens of each source, which is empty
//! where the step had none of it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::util::files;

const COLUMNS: [&str; 5] = ["step", "tokens", "loss", "rate", "grad_norm"];
const SOURCE_PREFIX: &str = "loss_";
const MAX_BYTES: u64 = 1 << 30;

/// A step of training.
#[derive(Debug, Clone, PartialEq)]
pub struct CurvePoint {
    pub step: u64,
    pub tokens: u64,
    pub loss: f64,
    pub rate: f64,
    pub grad_norm: f64,
    /// By source, in the order of the curve's sources.
    pub by_source: Vec<Option<f64>>,
}

/// A whole table.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub sources: Vec<String>,
    /// By step.
    pub points: Vec<CurvePoint>,
}

/// A table that grows.
#[derive(Debug)]
pub struct CurveFile {
    path: PathBuf,
    file: File,
    sources: usize,
}

impl CurveFile {
    /// Begins a table, in the place of one that was there.
    pub fn create(path: &Path, sources: &[&str]) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io("create", path, &e))?;
        let mut table = Self { path: path.to_owned(), file, sources: sources.len() };
        let columns = sources.iter().map(|source| format!("{SOURCE_PREFIX}{source}"));
        table.line(COLUMNS.iter().map(|&name| name.to_owned()).chain(columns).collect())?;
        Ok(table)
    }

    /// Goes on after `step`: later lines, and a line that a kill cut short, are taken away.
    ///
    /// # Errors
    /// No table of these sources, or one that ends before `step`; lines that are no points.
    pub fn resume(path: &Path, sources: &[&str], step: u64) -> Result<Self> {
        let text = files::read_text(path, MAX_BYTES)?;
        let (curve, end) = parse(&text, step).map_err(|error| error.in_file(path))?;
        if curve.sources != sources {
            let message = format!("expected the loss curve of the sources {sources:?}, found {:?}", curve.sources);
            return Err(Error::bad(message).in_file(path).help("begin the run anew, or name the sources as before"));
        }
        let reached = curve.points.last().map_or(0, |point| point.step);
        if reached != step {
            let message = format!("expected the loss curve of {step} steps, found that of {reached}");
            return Err(Error::bad(message)
                .in_file(path)
                .help("go on from an earlier checkpoint, or begin the run anew"));
        }
        let io = |e: std::io::Error| Error::io("open", path, &e);
        let file = OpenOptions::new().append(true).open(path).map_err(io)?;
        file.set_len(end).map_err(|e| Error::io("cut", path, &e))?;
        Ok(Self { path: path.to_owned(), file, sources: sources.len() })
    }

    /// Appends a step.
    pub fn append(&mut self, point: &CurvePoint) -> Result<()> {
        let CurvePoint { step, tokens, loss, rate, grad_norm, by_source } = point;
        if by_source.len() != self.sources {
            let (expected, found) = (self.sources, by_source.len());
            return Err(Error::internal(format!("expected losses of {expected} sources, found {found}")));
        }
        let losses = by_source.iter().map(|loss| loss.map_or_else(String::new, |loss| loss.to_string()));
        let cells = [step.to_string(), tokens.to_string(), loss.to_string(), rate.to_string(), grad_norm.to_string()];
        self.line(cells.into_iter().chain(losses).collect())
    }

    /// Returns when the disk has all steps: before a checkpoint is written from which a run may resume.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("write", &self.path, &e))
    }

    fn line(&mut self, cells: Vec<String>) -> Result<()> {
        let bad = |e: String| Error::internal(format!("loss curve: {e}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(cells).map_err(|e| bad(e.to_string()))?;
        let line = writer.into_inner().map_err(|e| bad(e.to_string()))?;
        self.file.write_all(&line).map_err(|e| Error::io("write", &self.path, &e))
    }
}

impl Curve {
    /// Reads a table; a last line that is not whole is passed over.
    ///
    /// # Errors
    /// Other columns; lines that are no points; steps out of order.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read_text(path, MAX_BYTES)?;
        parse(&text, u64::MAX).map(|(curve, _)| curve).map_err(|error| error.in_file(path))
    }
}

/// The points up to a step, and the byte after the last of them.
fn parse(text: &str, last: u64) -> Result<(Curve, u64)> {
    // A kill may have cut the last line.
    let text = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let mut curve: Option<Curve> = None;
    let mut end = 0;
    let mut record = csv::StringRecord::new();
    loop {
        let bad = |e: csv::Error| Error::bad(format!("expected cells of the curve's columns: {e}"));
        if !reader.read_record(&mut record).map_err(bad)? {
            break;
        }
        let line = record.position().map_or(0, csv::Position::line);
        match &mut curve {
            None => curve = Some(Curve { sources: header(&record)?, points: Vec::new() }),
            Some(curve) => {
                let point = point(&record).map_err(|message| Error::bad(message).at(format!("line {line}")))?;
                if point.step > last {
                    break;
                }
                if let Some(before) = curve.points.last().filter(|before| before.step >= point.step) {
                    let message = format!("expected a step after {}, found {}", before.step, point.step);
                    return Err(Error::bad(message).at(format!("line {line}")));
                }
                curve.points.push(point);
            }
        }
        end = reader.position().byte();
    }
    let curve = curve.ok_or_else(|| Error::bad("expected a loss curve, found no whole line"))?;
    Ok((curve, end))
}

/// The sources that the first line names.
fn header(record: &csv::StringRecord) -> Result<Vec<String>> {
    let sources = record.iter().skip(COLUMNS.len()).map(|name| name.strip_prefix(SOURCE_PREFIX).map(str::to_owned));
    let known = record.iter().take(COLUMNS.len()).eq(COLUMNS);
    sources.collect::<Option<Vec<String>>>().filter(|_| known).ok_or_else(|| {
        let found = record.iter().collect::<Vec<_>>().join(",");
        Error::bad(format!("expected the columns {},{SOURCE_PREFIX}.., found {found:?}", COLUMNS.join(",")))
            .at("line 1")
    })
}

fn point(record: &csv::StringRecord) -> Result<CurvePoint, String> {
    fn cell<T: std::str::FromStr>(record: &csv::StringRecord, column: usize) -> Result<T, String> {
        let text = record.get(column).unwrap_or("");
        text.parse().map_err(|_| format!("expected a number in the column {}, found {text:?}", COLUMNS[column]))
    }
    let loss = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("expected a loss or nothing, found {text:?}")),
    };
    Ok(CurvePoint {
        step: cell(record, 0)?,
        tokens: cell(record, 1)?,
        loss: cell(record, 2)?,
        rate: cell(record, 3)?,
        grad_norm: cell(record, 4)?,
        by_source: record.iter().skip(COLUMNS.len()).map(loss).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
#[path = "tests_curve.rs"]
mod tests;
