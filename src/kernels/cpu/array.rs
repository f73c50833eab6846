//! Dense f32 arrays whose memory is used again: a forward pass asks for the same few sizes over and over, and fresh
//! pages from the system cost more than the arithmetic on them.

use std::cell::RefCell;
use std::sync::Arc;

use super::lines::{Line, Lines, floats, floats_mut, zeroed};

/// Buffers that each thread keeps, and their bytes at most.
const KEPT: usize = 16;
const KEPT_BYTES: usize = 256 << 20;

thread_local! {
    static FREE: RefCell<Vec<Lines>> = const { RefCell::new(Vec::new()) };
}

/// A row-major array. Clones share the memory.
#[derive(Debug, Clone)]
pub struct Array {
    pub(super) shape: Vec<usize>,
    data: Arc<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    lines: Lines,
    length: usize,
    /// Whether the memory is kept for the next one that asks.
    again: bool,
}

impl Buffer {
    /// The smallest kept one that is large enough, else a new one. What it holds is left over.
    fn take(length: usize) -> Self {
        let wanted = length.div_ceil(32);
        let kept = FREE.with_borrow_mut(|free| {
            let fits = |(_, lines): &(usize, &Lines)| lines.len() >= wanted;
            let best =
                free.iter().enumerate().filter(fits).min_by_key(|(_, lines)| lines.len()).map(|(index, _)| index);
            best.map(|index| free.swap_remove(index))
        });
        Self { lines: kept.unwrap_or_else(|| zeroed(wanted)), length, again: true }
    }

    fn values(&self) -> &[f32] {
        &floats(&self.lines)[..self.length]
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut floats_mut(&mut self.lines)[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.again {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        // During a thread's end its store is gone; then the buffer is simply freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            free.push(lines);
            // The large ones are worth most.
            let bytes = |free: &[Lines]| free.iter().map(|lines| size_of_val(&**lines)).sum::<usize>();
            while free.len() > KEPT || (bytes(&free) > KEPT_BYTES && !free.is_empty()) {
                let smallest = (0..free.len()).min_by_key(|&index| free[index].len());
                smallest.map(|index| free.swap_remove(index));
            }
        });
    }
}

/// Room to work in, whose memory is used again by the thread that gives it back.
pub(super) struct Scratch(Buffer);

impl Scratch {
    /// `length` values, whatever they are.
    pub fn take(length: usize) -> Self {
        Self(Buffer::take(length))
    }

    /// Zeros that are meant to stay: their memory goes back to the system.
    pub fn lasting(length: usize) -> Self {
        Self(Buffer { lines: zeroed(length.div_ceil(32)), length, again: false })
    }

    pub fn lines(&self) -> &[Line] {
        &self.0.lines
    }

    pub fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.0.lines
    }
}

impl std::ops::Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.values()
    }
}

impl std::ops::DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.values_mut()
    }
}

impl Array {
    /// From values in row-major order.
    pub(super) fn from_values(shape: Vec<usize>, values: &[f32]) -> Self {
        Self::build(shape, |out| out.copy_from_slice(values))
    }

    /// Filled by `f`, which must write every value: the buffer holds what is left over from others.
    pub(super) fn build(shape: Vec<usize>, f: impl FnOnce(&mut [f32])) -> Self {
        let mut data = Buffer::take(shape.iter().product());
        f(data.values_mut());
        Self { shape, data: Arc::new(data) }
    }

    /// `self` changed by `f`; without copying when nobody else holds it.
    pub(super) fn map(self, f: impl FnOnce(&mut [f32])) -> Self {
        let Self { shape, data } = self;
        match Arc::try_unwrap(data) {
            Ok(mut data) => {
                f(data.values_mut());
                Self { shape, data: Arc::new(data) }
            }
            Err(shared) => Self::build(shape, |values| {
                values.copy_from_slice(shared.values());
                f(values);
            }),
        }
    }

    pub(super) fn values(&self) -> &[f32] {
        self.data.values()
    }

    /// `None` when somebody else holds the memory as well.
    pub(super) fn values_mut(&mut self) -> Option<&mut [f32]> {
        Arc::get_mut(&mut self.data).map(Buffer::values_mut)
    }

    pub(super) fn reshaped(mut self, shape: Vec<usize>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), self.data.length);
        self.shape = shape;
        self
    }

    /// Length of the last axis.
    pub(super) fn width(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }
}
