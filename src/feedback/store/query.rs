//! The rows that are most like some gradients: exact, in one sequential read of the store.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::element::Element;
use super::reader::GradStore;
use crate::ctx;
use crate::diag::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::cpu::Isa;
use crate::kernels::cpu::vectors::dot;
use crate::util::parallel;

/// Read at once: long enough for the disk, short enough for the cache of a core.
const BLOCK_BYTES: usize = 512 << 10;

/// How alike two rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// To first order, how much a step on one item lowers the loss of the other, per unit of learning rate.
    Dot,
    /// Without the lengths: long documents have long gradients.
    Cosine,
}

/// A row and how alike it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    pub row: u64,
    pub score: f32,
}

impl GradStore {
    /// For each query the `k` rows most like it: score descending, then row ascending. The same bits for any number of
    /// threads.
    ///
    /// # Errors
    /// Queries of another width or with numbers that are none; rows whose score is none.
    pub fn top(&self, queries: &[Vec<f32>], k: usize, measure: Measure, threads: usize) -> Result<Vec<Vec<Hit>>> {
        let query = self.queries(queries, measure)?;
        let k = k.min(usize::try_from(self.len()).unwrap_or(usize::MAX));
        let found = self.scan(&query, k, threads, BLOCK_BYTES)?;
        if let Some(row) = found.faulty {
            return Err(Error::bad(
                "expected a finite score, found none: the row is damaged or its numbers are too large",
            )
            .in_file(self.folder())
            .at(format!("row {row}")));
        }
        Ok(found.best.into_iter().map(Best::sorted).collect())
    }

    fn queries<'a>(&self, values: &'a [Vec<f32>], measure: Measure) -> Result<Vec<Query<'a>>> {
        let dim = self.layout().dim();
        let problem = |(number, query): (usize, &Vec<f32>)| {
            let found = match query.iter().find(|value| !value.is_finite()) {
                _ if query.len() != dim => format!("{} numbers", query.len()),
                Some(value) => value.to_string(),
                None => return None,
            };
            let message = format!("expected {dim} finite numbers, found {found}");
            Some(Diagnostic::new(message).at(format!("query {number}")))
        };
        Error::check(values.iter().enumerate().filter_map(problem).collect())?;
        let query = |values: &'a Vec<f32>| Query {
            values,
            length: (measure == Measure::Cosine).then(|| f64::from(dot(Isa::best(), values, values)).sqrt()),
        };
        Ok(values.iter().map(query).collect())
    }

    /// Every thread takes the next block, reads it and multiplies it while it is in the cache.
    pub(super) fn scan(&self, queries: &[Query<'_>], k: usize, threads: usize, block: usize) -> Result<Found> {
        let (layout, rows) = (self.layout(), self.len());
        let step = (block / layout.row_bytes()).max(1) as u64;
        let next = AtomicU64::new(0);
        let work = || {
            let (mut worker, mut bytes) = (Worker::new(layout.dtype, layout.dim(), queries, k), Vec::new());
            loop {
                let from = next.fetch_add(step, Ordering::Relaxed);
                if from >= rows {
                    return Ok(worker.found);
                }
                let read = if ctx::interrupted() {
                    Err(Error::new(ErrorKind::Incomplete, Diagnostic::new("interrupted")))
                } else {
                    self.read(from..rows.min(from + step), &mut bytes)
                };
                if let Err(error) = read {
                    // Nobody needs the rest.
                    next.store(rows, Ordering::Relaxed);
                    return Err(error);
                }
                worker.add(from, &bytes);
            }
        };
        let threads = threads.max(1);
        let workers: Vec<usize> = (0..threads).collect();
        let found: Result<Vec<Found>> = parallel::map(&workers, threads, |_| work()).into_iter().collect();
        found?.into_iter().reduce(Found::merged).ok_or_else(|| Error::internal("a search without threads"))
    }
}

/// A query, with its length where that counts.
pub(super) struct Query<'a> {
    pub values: &'a [f32],
    pub length: Option<f64>,
}

/// What was found so far.
pub(super) struct Found {
    pub best: Vec<Best>,
    /// The first row without a finite score.
    pub faulty: Option<u64>,
}

impl Found {
    fn merged(self, other: Self) -> Self {
        let both = |(mut mine, theirs): (Best, Best)| {
            theirs.heap.into_iter().for_each(|hit| mine.offer(hit.0));
            mine
        };
        let faulty = self.faulty.into_iter().chain(other.faulty).min();
        Self { best: self.best.into_iter().zip(other.best).map(both).collect(), faulty }
    }
}

struct Worker<'a> {
    isa: Isa,
    element: Element,
    queries: &'a [Query<'a>],
    /// One row, widened.
    row: Vec<f32>,
    found: Found,
}

impl<'a> Worker<'a> {
    fn new(element: Element, dim: usize, queries: &'a [Query<'a>], k: usize) -> Self {
        let best = queries.iter().map(|_| Best { k, heap: BinaryHeap::new() }).collect();
        Self { isa: Isa::best(), element, queries, row: vec![0.0; dim], found: Found { best, faulty: None } }
    }

    /// `first`: the number of the first row.
    fn add(&mut self, first: u64, bytes: &[u8]) {
        for (row, bytes) in (first..).zip(bytes.chunks_exact(self.row.len() * self.element.size())) {
            self.element.widen(self.isa, bytes, &mut self.row);
            let mut length = None;
            for (query, best) in self.queries.iter().zip(&mut self.found.best) {
                let product = dot(self.isa, query.values, &self.row);
                let score = match query.length {
                    None => product,
                    Some(own) => {
                        let other =
                            *length.get_or_insert_with(|| f64::from(dot(self.isa, &self.row, &self.row)).sqrt());
                        if own * other == 0.0 { product } else { (f64::from(product) / (own * other)) as f32 }
                    }
                };
                // Minus zero is as good as zero; infinity over infinity is a zero that hides an overflow.
                if !score.is_finite() || length.is_some_and(|length| !length.is_finite()) {
                    self.found.faulty = Some(self.found.faulty.map_or(row, |faulty| faulty.min(row)));
                } else {
                    best.offer(Hit { row, score: score + 0.0 });
                }
            }
        }
    }
}

/// The best of what was offered.
pub(super) struct Best {
    k: usize,
    /// The worst on top.
    heap: BinaryHeap<Worst>,
}

impl Best {
    fn offer(&mut self, hit: Hit) {
        if self.heap.len() < self.k {
            self.heap.push(Worst(hit));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Worst(hit) < *worst
        {
            *worst = Worst(hit);
        }
    }

    pub(super) fn sorted(self) -> Vec<Hit> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}

/// The better hit is the smaller one.
struct Worst(Hit);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.score.total_cmp(&self.0.score).then(self.0.row.cmp(&other.0.row))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Worst {}
