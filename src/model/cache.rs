//! Keys and values of sequences that have their beginnings in common.
//!
//! ```text
//! header ──┬── question 1 ──┬── answer A        a cache is a path of segments; branches hold the segments
//!          │                └── answer B        before them in common, and nothing is copied
//!          └── question 2
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::decoder::Decoder;
use crate::error::Result;
use crate::kernels::Kernels;

/// Consecutive positions, in every layer.
pub(super) struct Segment<K: Kernels> {
    pub layers: Vec<K::Kv>,
    pub length: usize,
    pub capacity: usize,
    /// Held for what it counts: bytes that are alive.
    _charge: Charge,
}

/// Counts bytes as alive while it lives.
struct Charge {
    bytes: usize,
    live: Arc<AtomicUsize>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The positions so far of one sequence. Clones share what is there and go on separately.
pub struct Cache<K: Kernels> {
    pub(super) segments: Vec<Arc<Segment<K>>>,
    pub(super) length: usize,
}

// Not derived: that would ask `K` itself to be `Clone`.
impl<K: Kernels> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { segments: self.segments.clone(), length: self.length }
    }
}

impl<K: Kernels> Cache<K> {
    pub(super) fn empty() -> Self {
        Self { segments: Vec::new(), length: 0 }
    }

    /// Positions held.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Takes the last segment out, if nobody else holds it and `rows` more positions fit.
    pub(super) fn take_tail(&mut self, rows: usize) -> Option<Segment<K>> {
        let last = self.segments.pop()?;
        if last.capacity - last.length < rows {
            self.segments.push(last);
            return None;
        }
        match Arc::try_unwrap(last) {
            Ok(tail) => Some(tail),
            Err(shared) => {
                self.segments.push(shared);
                None
            }
        }
    }
}

/// Tokens that go on after the positions of a cache.
pub struct Sequence<'a, K: Kernels> {
    pub tokens: &'a [u32],
    pub cache: &'a mut Cache<K>,
    /// Whether the cache will be read again. If not, the new positions are forgotten layer by layer, and the cache
    /// stays as it was.
    pub keep: bool,
}

impl<K: Kernels> Decoder<K> {
    pub fn empty_cache(&self) -> Cache<K> {
        Cache::empty()
    }

    /// Makes room for `positions` that are appended a few at a time, so that they share one segment.
    pub fn reserve(&self, cache: &mut Cache<K>, positions: usize) -> Result<()> {
        cache.segments.push(Arc::new(self.segment(positions)?));
        Ok(())
    }

    pub(super) fn segment(&self, capacity: usize) -> Result<Segment<K>> {
        let kv = |_| self.kernels.kv(self.spec.kv_heads, self.spec.head_width, capacity);
        let layers = (0..self.spec.layers).map(kv).collect::<Result<_>>()?;
        Ok(Segment { layers, length: 0, capacity, _charge: self.charge(self.segment_bytes(capacity)) })
    }

    /// For positions that are forgotten layer by layer.
    pub(super) fn passing_segment(&self, capacity: usize) -> Segment<K> {
        Segment { layers: Vec::new(), length: 0, capacity, _charge: self.charge(0) }
    }

    fn charge(&self, bytes: usize) -> Charge {
        self.live.fetch_add(bytes, Ordering::Relaxed);
        Charge { bytes, live: Arc::clone(&self.live) }
    }

    /// Bytes of keys and values that are alive, over all caches.
    pub fn live_bytes(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Bytes that a segment of `positions` takes.
    pub fn segment_bytes(&self, positions: usize) -> usize {
        self.spec.layers * K::kv_bytes(self.spec.kv_heads, self.spec.head_width, positions)
    }
}
