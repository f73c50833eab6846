//! Numbers of all documents in little room: about 120 bytes a document, and 4 for each part and checkpoint of a target.

use std::collections::BTreeMap;

use super::check::{check_document, check_setup};
use super::parts::{shares, weighted_mean};
use super::signals::{Document, Measure, Place, Setup};
use super::values::Values;
use crate::error::{Error, Result};

/// Takes documents one at a time. Nothing that is kept grows with their length.
#[derive(Debug)]
pub struct ValueTable {
    pub(super) setup: Setup,
    /// Of the checkpoints.
    pub(super) shares: Vec<f64>,
    pub(super) layout: Layout,
    pub(super) documents: Vec<Kept>,
    /// `[documents, layout.width]`
    pub(super) numbers: Vec<f32>,
    pub(super) sources: Names,
    pub(super) shards: Names,
}

/// A document without its numbers for the targets.
#[derive(Debug)]
pub(super) struct Kept {
    pub id: Box<str>,
    pub source: u32,
    shard: Option<u32>,
    row: Option<i64>,
    bytes: (Option<i64>, Option<i64>),
    token_range: (Option<i64>, Option<i64>),
    pub tokens: u32,
    pub loss_tokens: u32,
    pub loss: f32,
    pub loss_ref: Option<f32>,
    pub norm: f32,
    pub self_influence: f32,
    /// Squared norm of what is measured: how much noise of the target's gradient it picks up.
    pub size: f32,
}

/// Where the numbers of a target are among those of a document.
#[derive(Debug)]
pub(super) struct Layout {
    pub targets: Vec<TargetLayout>,
    pub width: usize,
    checkpoints: usize,
}

#[derive(Debug)]
pub(super) struct TargetLayout {
    /// Shares of the parts.
    pub shares: Vec<f64>,
    start: usize,
}

impl Layout {
    fn new(setup: &Setup) -> Self {
        let checkpoints = setup.checkpoints.len();
        let mut width = 0;
        let target = |parts: &[f64]| {
            let start = width;
            // Parts, checkpoints, and then `dot`, `cosine` and `step`.
            width += parts.len() + checkpoints + 3;
            TargetLayout { shares: shares(parts), start }
        };
        let targets = setup.targets.iter().map(|target| target.parts.as_slice()).map(target).collect();
        Self { targets, width, checkpoints }
    }

    /// Numbers of one target, of a document's.
    pub fn of<'a>(&self, target: usize, numbers: &'a [f32]) -> Stored<'a> {
        let TargetLayout { shares, start } = &self.targets[target];
        let (parts, rest) = numbers[*start..].split_at(shares.len());
        let (checkpoints, rest) = rest.split_at(self.checkpoints);
        Stored { parts, checkpoints, dot: rest[0], cosine: rest[1], step: rest[2] }
    }
}

/// What is kept of a document for a target.
pub(super) struct Stored<'a> {
    /// Of the measure: means over checkpoints, by part.
    pub parts: &'a [f32],
    /// Of the measure: means over parts, by checkpoint.
    pub checkpoints: &'a [f32],
    pub dot: f32,
    pub cosine: f32,
    /// NaN where it is not known.
    pub step: f32,
}

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub list: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.list.len() as u32;
        self.list.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

impl ValueTable {
    /// # Errors
    /// Every fault of the targets and checkpoints, a gradient of zero among them.
    pub fn new(setup: Setup) -> Result<Self> {
        check_setup(&setup)?;
        let weights: Vec<f64> = setup.checkpoints.iter().map(|checkpoint| checkpoint.weight).collect();
        Ok(Self {
            shares: shares(&weights),
            layout: Layout::new(&setup),
            setup,
            documents: Vec::new(),
            numbers: Vec::new(),
            sources: Names::default(),
            shards: Names::default(),
        })
    }

    pub fn len(&self) -> usize {
        self.documents.len()
    }

    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Bytes that are held, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        let ids: usize = self.documents.iter().map(|document| document.id.len()).sum();
        self.documents.capacity() * size_of::<Kept>() + self.numbers.capacity() * size_of::<f32>() + ids
    }

    /// Takes a document; its number is that of those before it.
    ///
    /// # Errors
    /// Every fault of its numbers, by checkpoint; nothing is taken then.
    pub fn push(&mut self, document: &Document) -> Result<()> {
        check_document(&self.setup, document)?;
        let at = &document.at;
        let mean = |f: &dyn Fn(usize) -> f64| -> f64 {
            self.shares.iter().enumerate().map(|(checkpoint, share)| share * f(checkpoint)).sum()
        };
        let measured = self.setup.measure;
        for (number, target) in self.setup.targets.iter().enumerate() {
            let part_shares = &self.layout.targets[number].shares;
            let gradient = |checkpoint: usize| at[checkpoint].products[number].as_slice();
            // Positive lowers the target's loss: gradients both ascend, a step descends.
            let step = |checkpoint: usize| {
                let step = at[checkpoint].step.as_ref()?;
                Some(step.products[number].iter().map(|product| -product).collect::<Vec<f64>>())
            };
            let chosen: Vec<Vec<f64>> = (0..at.len())
                .map(|checkpoint| match measured {
                    Measure::Gradient => gradient(checkpoint).to_vec(),
                    Measure::Step => step(checkpoint).unwrap_or_default(),
                })
                .collect();
            let parts = (0..part_shares.len()).map(|part| mean(&|checkpoint| chosen[checkpoint][part]));
            let by_checkpoint = chosen.iter().map(|parts| weighted_mean(part_shares, parts));
            let dot = |checkpoint: usize| weighted_mean(part_shares, gradient(checkpoint));
            let cosine = |checkpoint: usize| {
                let norms = target.squared_norm(&target.grams[checkpoint]) * at[checkpoint].squared_norm;
                (dot(checkpoint) / norms.sqrt()).clamp(-1.0, 1.0)
            };
            let known = at.iter().all(|at| at.step.is_some());
            let of_step =
                |checkpoint: usize| step(checkpoint).map_or(f64::NAN, |parts| weighted_mean(part_shares, &parts));
            let step_mean = if known { mean(&of_step) } else { f64::NAN };
            let rest = [mean(&dot), mean(&cosine), step_mean];
            self.numbers.extend(parts.chain(by_checkpoint).chain(rest).map(|number| number as f32));
        }
        let squared = |checkpoint: usize| at[checkpoint].squared_norm;
        let step = |checkpoint: usize| at[checkpoint].step.as_ref();
        let size = |checkpoint: usize| match measured {
            Measure::Gradient => squared(checkpoint),
            Measure::Step => step(checkpoint).map_or(f64::NAN, |step| step.squared_norm),
        };
        let own = |checkpoint: usize| match measured {
            Measure::Gradient => squared(checkpoint),
            Measure::Step => step(checkpoint).map_or(f64::NAN, |step| -step.own),
        };
        let Place { shard, row, byte_start, byte_end, token_start, token_end } = &document.place;
        let kept = Kept {
            id: document.id.as_str().into(),
            norm: mean(&|checkpoint| squared(checkpoint).sqrt()) as f32,
            self_influence: mean(&own) as f32,
            size: mean(&size) as f32,
            source: self.sources.number(&document.source),
            shard: shard.as_ref().map(|shard| self.shards.number(shard)),
            row: *row,
            bytes: (*byte_start, *byte_end),
            token_range: (*token_start, *token_end),
            tokens: document.tokens,
            loss_tokens: document.loss_tokens,
            loss: document.loss as f32,
            loss_ref: document.loss_ref.map(|loss| loss as f32),
        };
        self.documents.push(kept);
        Ok(())
    }

    /// When all documents are there.
    ///
    /// # Errors
    /// No document; a target that no document has a product with.
    pub fn finish(self) -> Result<Values> {
        if self.documents.is_empty() {
            return Err(Error::bad("expected values of at least one document, found none"));
        }
        Values::new(self)
    }

    pub(super) fn numbers_of(&self, document: usize) -> &[f32] {
        &self.numbers[document * self.layout.width..][..self.layout.width]
    }

    pub(super) fn place_of(&self, kept: &Kept) -> Place {
        Place {
            shard: kept.shard.map(|shard| self.shards.list[shard as usize].clone()),
            row: kept.row,
            byte_start: kept.bytes.0,
            byte_end: kept.bytes.1,
            token_start: kept.token_range.0,
            token_end: kept.token_range.1,
        }
    }
}
