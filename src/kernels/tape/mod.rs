//! Recording kernels: a forward pass over [`Tape`] can be walked backwards.
//!
//! The decoder is written once, over [`Kernels`](super::Kernels). Run over a tape, the same code leaves one step for each
//! operation, and [`Tape::reverse`] walks the steps from the last to the first. So the reverse pass knows no family, and
//! whatever a pass did (edits, captured patterns, a mixture's choice of experts) is what is differentiated. Values are
//! computed by the kernels below, with their bits.
//!
//! ```text
//! leaf x ─► step ─► step ─► y        a node is a value and its place in the record; a step names the nodes it read
//!      dx ◄─ rule ◄─ rule ◄─ dy      and made, and a rule from their gradients to those of what it read
//! ```
//! Weights are no nodes. Their gradients are sums over tokens of outer products, of which users want sums, projections
//! or single terms: a [`Receiver`] is handed both factors and does as it likes.

mod host;
mod ops;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Reverse;
use crate::error::{Error, Result};

/// Kernels that record what they do, while a record is open; otherwise they only compute.
pub struct Tape<K: Reverse> {
    inner: K,
    record: Mutex<Option<Record<K>>>,
    /// Held while a pass is recorded and walked.
    pass: Mutex<()>,
    /// Matrices and vectors that were made, which number them.
    leaves: AtomicUsize,
    /// Records that were opened, which number them.
    records: AtomicU64,
}

/// A value of a pass.
pub struct Node<K: Reverse> {
    value: K::Array,
    /// Its place in a record; none for what no gradient reaches.
    id: Option<Id>,
    /// Which rows of the pass these are, where they are not all of them in order (rows of one expert).
    origin: Option<Arc<[usize]>>,
}

impl<K: Reverse> Clone for Node<K> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), id: self.id, origin: self.origin.clone() }
    }
}

impl<K: Reverse> Node<K> {
    pub fn value(&self) -> &K::Array {
        &self.value
    }

    pub fn into_value(self) -> K::Array {
        self.value
    }

    /// Where its gradient belongs, which outlives its value.
    pub fn place(&self) -> Place {
        Place(self.id)
    }
}

/// A node without its value.
#[derive(Debug, Clone, Copy)]
pub struct Place(Option<Id>);

impl Place {
    fn within(self, record: u64) -> Option<usize> {
        self.0.filter(|id| id.record == record).map(|id| id.node)
    }
}

/// A place in one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id {
    record: u64,
    node: usize,
}

/// A weight with its number, in the order of loading.
pub struct Leaf<T> {
    pub number: usize,
    pub value: T,
}

/// A matrix, and once it was needed, its transpose.
pub struct TapeMatrix<K: Reverse> {
    matrix: Leaf<K::Matrix>,
    transposed: OnceLock<K::Matrix>,
}

impl<K: Reverse> TapeMatrix<K> {
    fn transposed(&self, kernels: &K) -> Result<&K::Matrix> {
        if let Some(transposed) = self.transposed.get() {
            return Ok(transposed);
        }
        let transposed = kernels.transposed(&self.matrix.value)?;
        Ok(self.transposed.get_or_init(|| transposed))
    }
}

/// What a record says of a pass.
pub struct Record<K: Reverse> {
    number: u64,
    nodes: usize,
    steps: Vec<Step<K>>,
}

/// Gradients of the results, none where nothing reached one, to gradients of what was read.
type Rule<K> = Box<dyn Fn(&K, &Gradients<K>, &mut dyn Receiver<K>) -> Result<Gradients<K>> + Send + Sync>;
type Gradients<K> = Vec<Option<<K as super::Kernels>::Array>>;

struct Step<K: Reverse> {
    read: Vec<Option<Id>>,
    made: Vec<Id>,
    rule: Rule<K>,
}

/// Rows of a gradient that belongs to a weight.
pub struct RowsOf<'a, K: Reverse> {
    /// `[S, out]`, or `[S, heads, out]`: the gradient of what the weight made.
    pub gradient: &'a K::Array,
    /// Which rows of the pass these are; none when they are all of them in order.
    pub origin: Option<&'a [usize]>,
}

impl<K: Reverse> RowsOf<'_, K> {
    /// Which of these rows are those rows of the pass.
    pub fn among(&self, rows: &Range<usize>) -> Range<usize> {
        let place = |row: usize| self.origin.map_or(row, |origin| origin.partition_point(|&own| own < row));
        place(rows.start)..place(rows.end)
    }
}

/// Takes what the gradients of weights are made of, in the order of the walk.
pub trait Receiver<K: Reverse> {
    /// Whether the gradient of this weight is asked for.
    fn wants(&self, weight: usize) -> bool;

    /// The matrix made `input W^T`: its gradient is the sum over rows of `outer(gradient, input)`.
    fn linear(&mut self, weight: usize, input: &K::Array, rows: &RowsOf<'_, K>) -> Result<()>;

    /// The gradient of this vector is the sum of all rows.
    fn vector(&mut self, weight: usize, rows: &RowsOf<'_, K>) -> Result<()>;

    /// Row `ids[i]` of the table made row i.
    fn table(&mut self, weight: usize, ids: &[u32], rows: &RowsOf<'_, K>) -> Result<()>;
}

/// Asks for no weight.
pub struct Nothing;

impl<K: Reverse> Receiver<K> for Nothing {
    fn wants(&self, _: usize) -> bool {
        false
    }

    fn linear(&mut self, _: usize, _: &K::Array, _: &RowsOf<'_, K>) -> Result<()> {
        Ok(())
    }

    fn vector(&mut self, _: usize, _: &RowsOf<'_, K>) -> Result<()> {
        Ok(())
    }

    fn table(&mut self, _: usize, _: &[u32], _: &RowsOf<'_, K>) -> Result<()> {
        Ok(())
    }
}

impl<K: Reverse> Tape<K> {
    pub fn new(inner: K) -> Self {
        Self {
            inner,
            record: Mutex::new(None),
            pass: Mutex::new(()),
            leaves: AtomicUsize::new(0),
            records: AtomicU64::new(0),
        }
    }

    /// The kernels that compute.
    pub fn inner(&self) -> &K {
        &self.inner
    }

    /// Held by whoever walks: records of two passes at once would mix.
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a record; one that was open is forgotten.
    pub fn open(&self) {
        let number = self.records.fetch_add(1, Ordering::Relaxed);
        *self.lock() = Some(Record { number, nodes: 0, steps: Vec::new() });
    }

    /// Closes the record and takes it.
    pub fn close(&self) -> Result<Record<K>> {
        self.lock().take().ok_or_else(|| Error::internal("no record is open"))
    }

    /// A value that gradients are to reach, in the open record.
    pub fn leaf(&self, value: K::Array) -> Node<K> {
        let id = self.lock().as_mut().map(Record::node);
        Node { value, id, origin: None }
    }

    /// A leaf that holds these rows of the pass.
    pub fn leaf_of_rows(&self, value: K::Array, rows: &[usize]) -> Node<K> {
        Node { origin: Some(rows.into()), ..self.leaf(value) }
    }

    /// Walks a record backwards from the gradients of some of its nodes, and returns those of others, none where nothing
    /// reached one.
    pub fn reverse(
        &self,
        record: &Record<K>,
        from: Vec<(Place, K::Array)>,
        to: &[&Node<K>],
        receiver: &mut dyn Receiver<K>,
    ) -> Result<Gradients<K>> {
        let kept: Vec<Option<usize>> = to.iter().map(|node| node.place().within(record.number)).collect();
        let mut gradients: Gradients<K> = vec![None; record.nodes];
        let k = &self.inner;
        for (place, gradient) in from {
            let place = place.within(record.number);
            let place = place.ok_or_else(|| Error::internal("a gradient of a value that was not recorded"))?;
            add(k, &mut gradients[place], gradient)?;
        }
        for step in record.steps.iter().rev() {
            let take = |id: &Id| {
                let gradient = &mut gradients[id.node];
                if kept.contains(&Some(id.node)) { gradient.clone() } else { gradient.take() }
            };
            let made: Gradients<K> = step.made.iter().map(take).collect();
            if made.iter().all(Option::is_none) {
                continue;
            }
            let read = (step.rule)(k, &made, receiver)?;
            for (id, gradient) in step.read.iter().zip(read) {
                if let (Some(id), Some(gradient)) = (id, gradient) {
                    add(k, &mut gradients[id.node], gradient)?;
                }
            }
        }
        Ok(kept.iter().map(|place| place.and_then(|place| gradients[place].clone())).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Record<K>>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> usize {
        self.leaves.fetch_add(1, Ordering::Relaxed)
    }

    /// Records a step that made `values`, if a record is open and a gradient can reach what was read or wants a weight.
    fn step(&self, values: Vec<K::Array>, read: &[&Node<K>], weights: bool, rule: Rule<K>) -> Vec<Node<K>> {
        let origin = read.first().and_then(|node| node.origin.clone());
        let mut open = self.lock();
        let Some(record) = open.as_mut() else {
            return values.into_iter().map(|value| Node { value, id: None, origin: origin.clone() }).collect();
        };
        let ids: Vec<Option<Id>> = read.iter().map(|node| node.id.filter(|id| id.record == record.number)).collect();
        if !weights && ids.iter().all(Option::is_none) {
            return values.into_iter().map(|value| Node { value, id: None, origin: origin.clone() }).collect();
        }
        let made: Vec<Node<K>> =
            values.into_iter().map(|value| Node { value, id: Some(record.node()), origin: origin.clone() }).collect();
        record.steps.push(Step { read: ids, made: made.iter().filter_map(|node| node.id).collect(), rule });
        made
    }

    /// [`Self::step`] that made one value.
    fn one(&self, value: K::Array, read: &[&Node<K>], rule: Rule<K>) -> Result<Node<K>> {
        let mut made = self.step(vec![value], read, false, rule);
        made.pop().ok_or_else(|| Error::internal("a step without result"))
    }
}

impl<K: Reverse> Record<K> {
    fn node(&mut self) -> Id {
        self.nodes += 1;
        Id { record: self.number, node: self.nodes - 1 }
    }
}

impl<K: Reverse + fmt::Debug> fmt::Debug for Tape<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({:?})", self.inner)
    }
}

fn add<K: Reverse>(k: &K, sum: &mut Option<K::Array>, gradient: K::Array) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => k.add(sum, &gradient)?,
        None => gradient,
    });
    Ok(())
}
