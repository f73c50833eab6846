//! Dense f32 arrays whose memory is used again: a forward pass asks for the same few sizes over and over, and fresh
//! pages from the system cost more than the arithmetic on them.

use std::cell::RefCell;
use std::sync::Arc;

/// Buffers that each thread keeps.
const KEPT: usize = 32;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A row-major array. Clones share the memory.
#[derive(Debug, Clone)]
pub struct Array {
    pub(super) shape: Vec<usize>,
    data: Arc<Buffer>,
}

#[derive(Debug)]
struct Buffer(Vec<f32>);

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // During a thread's end its store is gone; then the buffer is simply freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

impl Array {
    /// From values in row-major order.
    pub(super) fn from_vec(shape: Vec<usize>, values: Vec<f32>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { shape, data: Arc::new(Buffer(values)) }
    }

    /// Filled by `f`, which is given the zeroed buffer.
    pub(super) fn build(shape: Vec<usize>, f: impl FnOnce(&mut [f32])) -> Self {
        let mut values = take(shape.iter().product());
        f(&mut values);
        Self::from_vec(shape, values)
    }

    /// A copy of `self` changed by `f`; without copying when nobody else holds it.
    pub(super) fn map(self, f: impl FnOnce(&mut [f32])) -> Self {
        let Self { shape, data } = self;
        match Arc::try_unwrap(data) {
            Ok(mut buffer) => {
                f(&mut buffer.0);
                Self { shape, data: Arc::new(buffer) }
            }
            Err(shared) => Self::build(shape, |values| {
                values.copy_from_slice(&shared.0);
                f(values);
            }),
        }
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.data.0
    }

    pub(super) fn reshaped(mut self, shape: Vec<usize>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), self.data.0.len());
        self.shape = shape;
        self
    }

    /// Length of the last axis.
    pub(super) fn width(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }
}

/// A zeroed buffer: the smallest kept one that is large enough, else a new one.
fn take(length: usize) -> Vec<f32> {
    let kept = FREE.with_borrow_mut(|free| {
        let fits = |(_, buffer): &(usize, &Vec<f32>)| buffer.capacity() >= length;
        let best =
            free.iter().enumerate().filter(fits).min_by_key(|(_, buffer)| buffer.capacity()).map(|(index, _)| index);
        best.map(|index| free.swap_remove(index))
    });
    let mut values = kept.unwrap_or_default();
    values.clear();
    values.resize(length, 0.0);
    values
}
