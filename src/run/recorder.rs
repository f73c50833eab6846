//! From answers, in whatever order they come, to samples in the order of the items.

use std::ops::Range;

use super::encode::Encoded;
use super::prepare::Prepared;
use super::score::sample_metrics;
use crate::error::{Error, Result};
use crate::request::Response;
use crate::store::{Sample, SampleWriter, TaskRecord};

/// Collects the answers of some items and writes each sample as soon as all before it are written.
pub(super) struct Recorder<'a> {
    prepared: &'a Prepared,
    encoded: &'a Encoded,
    records: &'a [TaskRecord],
    writer: SampleWriter,
    /// Items to record.
    items: Range<usize>,
    /// Answers of these items, by item and request.
    answers: Vec<Vec<Option<Response>>>,
    /// The first item that is not written yet.
    next: usize,
    samples: Vec<Sample>,
}

impl<'a> Recorder<'a> {
    pub fn new(
        prepared: &'a Prepared,
        encoded: &'a Encoded,
        records: &'a [TaskRecord],
        writer: SampleWriter,
        items: Range<usize>,
    ) -> Self {
        let answers = encoded.items[items.clone()].iter().map(|item| vec![None; item.requests.len()]).collect();
        let next = items.start;
        Self { prepared, encoded, records, writer, items, answers, next, samples: Vec::new() }
    }

    pub fn answer(&mut self, (item, position): (usize, usize), response: Response) {
        self.answers[item - self.items.start][position] = Some(response);
    }

    /// Items written so far.
    pub fn done(&self) -> usize {
        self.next - self.items.start
    }

    /// Writes the items at the head of the line that have all their answers.
    pub fn write_finished(&mut self) -> Result<()> {
        let before = self.next;
        let whole = |answers: &Vec<Option<Response>>| answers.iter().all(Option::is_some);
        while self.next < self.items.end && whole(&self.answers[self.next - self.items.start]) {
            let answers = std::mem::take(&mut self.answers[self.next - self.items.start]);
            let sample = self.sample(self.next, answers.into_iter().flatten().collect())?;
            self.writer.write(&sample)?;
            self.samples.push(sample);
            self.next += 1;
        }
        if self.next > before { self.writer.flush() } else { Ok(()) }
    }

    /// The finished record.
    pub fn finish(self) -> Result<(SampleWriter, Vec<Sample>)> {
        if self.next != self.items.end {
            return Err(Error::internal(format!("{} of {} items were answered", self.done(), self.items.len())));
        }
        Ok((self.writer, self.samples))
    }

    fn sample(&self, index: usize, responses: Vec<Response>) -> Result<Sample> {
        let encoded = &self.encoded.items[index];
        let task = &self.prepared.tasks[encoded.task];
        let item = &task.items[encoded.item];
        let record = &self.records[encoded.task];
        let outcome = encoded.outcome(&task.task, item, responses)?;
        Ok(Sample {
            task: record.name.clone(),
            item: item.id.clone(),
            row: item.row,
            slices: item.slices.iter().cloned().collect(),
            shots: item.shots.clone(),
            prompt_hash: encoded.prompt_hash.clone(),
            truncated: encoded.truncated,
            metrics: sample_metrics(record, &outcome)?,
            outcome,
        })
    }
}
