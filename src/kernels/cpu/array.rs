//! Dense f32 arrays whose memory is used again: a forward pass asks for the same few sizes over and over, and fresh
//! pages from the system cost more than the arithmetic on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use super::lines::{Line, Lines, floats, floats_mut, zeroed, zeroed_on_large_pages};

/// Buffers that each thread keeps, and their bytes at most.
const KEPT: Limit = Limit { buffers: 16, bytes: 256 << 20, with_used: usize::MAX, excess: usize::MAX };

thread_local! {
    static FREE: RefCell<Free> = const {
        RefCell::new(Free { lines: BTreeMap::new(), buffers: 0, bytes: 0, used: 0, limit: KEPT })
    };
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    buffers: usize,
    bytes: usize,
    /// Bytes of those that are kept and those in use.
    with_used: usize,
    /// How many times as large as what is asked a buffer may be. Where few are kept, any that is large enough will do.
    excess: usize,
}

/// Buffers of a thread that nobody uses.
struct Free {
    /// By length.
    lines: BTreeMap<usize, Vec<Lines>>,
    buffers: usize,
    bytes: usize,
    /// Bytes of buffers that this thread took and has not given back.
    used: usize,
    limit: Limit,
}

impl Free {
    /// The smallest buffer that is large enough, and not much too large for what is asked; else a new one.
    fn take(&mut self, wanted: usize) -> Lines {
        let best =
            self.lines.range(wanted..=wanted.saturating_mul(self.limit.excess)).next().map(|(&length, _)| length);
        let lines = best.and_then(|length| self.remove(length)).unwrap_or_else(|| {
            self.trim(wanted * size_of::<Line>());
            zeroed(wanted)
        });
        self.used += size_of_val(&*lines);
        lines
    }

    fn put(&mut self, lines: Lines) {
        let bytes = size_of_val(&*lines);
        // Another thread may have taken it.
        self.used = self.used.saturating_sub(bytes);
        self.bytes += bytes;
        self.buffers += 1;
        self.lines.entry(lines.len()).or_default().push(lines);
        self.trim(0);
    }

    /// Keeps what the limit allows beside bytes that are about to be asked of the system. The large ones are worth most.
    fn trim(&mut self, asked: usize) {
        let Limit { buffers, bytes, with_used, .. } = self.limit;
        let too_much = |free: &Self| {
            let all = free.used.saturating_add(free.bytes).saturating_add(asked);
            free.buffers > buffers || free.bytes > bytes || all > with_used
        };
        while too_much(self)
            && let Some(&smallest) = self.lines.keys().next()
        {
            self.remove(smallest);
        }
    }

    fn remove(&mut self, length: usize) -> Option<Lines> {
        let same = self.lines.get_mut(&length)?;
        let lines = same.pop()?;
        if same.is_empty() {
            self.lines.remove(&length);
        }
        self.buffers -= 1;
        self.bytes -= size_of_val(&*lines);
        Some(lines)
    }
}

/// While it lives, this thread keeps more buffers: a pass that is walked backwards has hundreds of arrays at once.
#[derive(Debug)]
pub struct Keeping {
    before: Limit,
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl Keeping {
    /// Keeps buffers, as long as they take no more than so many bytes together with those that come into use, or no more
    /// than were kept before.
    pub(super) fn up_to(bytes: usize) -> Self {
        FREE.with_borrow_mut(|free| {
            let before = free.limit;
            let bytes = bytes.max(before.bytes);
            let with_used = before.with_used.min(free.used.saturating_add(bytes));
            free.limit = Limit { buffers: usize::MAX, bytes, with_used, excess: 2 };
            Self { before, _thread: PhantomData }
        })
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            free.limit = self.before;
            free.trim(0);
        });
    }
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
    /// One that was kept, else a new one. What it holds is left over.
    fn take(length: usize) -> Self {
        let wanted = length.div_ceil(32);
        if wanted == 0 {
            return Self { lines: Lines::default(), length, again: false };
        }
        Self { lines: FREE.with_borrow_mut(|free| free.take(wanted)), length, again: true }
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
        let _ = FREE.try_with(|free| free.borrow_mut().put(lines));
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
        Self(Buffer { lines: zeroed_on_large_pages(length.div_ceil(32)), length, again: false })
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

    /// Itself where nobody else holds the memory, so that it may be changed in place.
    pub(super) fn unshared(mut self) -> Result<Self, Self> {
        if Arc::get_mut(&mut self.data).is_some() { Ok(self) } else { Err(self) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> (usize, usize, usize) {
        FREE.with_borrow(|free| (free.buffers, free.bytes, free.used))
    }

    /// In a thread of its own, which keeps nothing from other tests.
    fn apart(f: impl FnOnce() + Send + 'static) {
        std::thread::spawn(f).join().unwrap();
    }

    #[test]
    fn what_was_given_back_is_used_again() {
        apart(|| {
            let first = Scratch::take(1000);
            assert_eq!(kept(), (0, 0, 4096));
            let place = first.as_ptr();
            drop(first);
            assert_eq!(kept(), (1, 4096, 0));
            // A small request takes what there is.
            let second = Scratch::take(3);
            assert_eq!((second.as_ptr(), second.len()), (place, 3));
            assert_eq!(Scratch::take(0).len(), 0);
            assert_eq!(kept(), (0, 0, 4096));
        });
    }

    #[test]
    fn few_buffers_are_kept_and_the_large_ones_longest() {
        apart(|| {
            drop((1..=40).map(|lines| Scratch::take(32 * lines)).collect::<Vec<_>>());
            assert_eq!(kept().0, KEPT.buffers);
            assert_eq!(FREE.with_borrow(|free| free.lines.keys().min().copied()), Some(25));
        });
    }

    #[test]
    fn a_pass_keeps_many_buffers_within_its_limit_and_gives_them_up() {
        apart(|| {
            let keeping = Keeping::up_to(1 << 30);
            drop((1..=400).map(|lines| Scratch::take(32 * lines)).collect::<Vec<_>>());
            assert_eq!(kept().0, 400);
            // None is much larger than what is asked.
            assert_eq!(Scratch::take(32 * 150).lines().len(), 150);
            assert_eq!(Scratch::take(32 * 401).lines().len(), 401);
            drop(keeping);
            assert_eq!(kept().0, KEPT.buffers);

            FREE.with_borrow_mut(|free| free.limit = Limit { bytes: 0, ..free.limit });
            let _keeping = Keeping::up_to(128 * 100);
            let used = Scratch::take(32 * 60);
            drop(Scratch::take(32 * 40));
            assert_eq!(kept(), (1, 128 * 40, 128 * 60));
            // What is kept makes room for what is used.
            let more = Scratch::take(32 * 30);
            assert_eq!(kept(), (0, 0, 128 * 100 - 128 * 10 + if more.lines().len() == 40 { 128 * 10 } else { 0 }));
            drop((used, more));
        });
    }
}
