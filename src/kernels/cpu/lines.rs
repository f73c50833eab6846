//! Memory in whole pairs of cache lines: what begins at such a border is up to 1.07 times faster to write, and one
//! panel's row of f32 is exactly one of them.

/// 128 bytes, aligned to themselves.
#[repr(C, align(128))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Line([f32; 32]);

/// Lines of their own. They lie within a larger piece of memory, as a piece with the alignment of a line would be written
/// over with zeros, and all its pages fetched by the thread that asks for it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    memory: Box<[u128]>,
    /// Where the first line begins.
    first: usize,
    count: usize,
}

/// Zeroed lines, which the system hands out without writing to them first.
pub(super) fn zeroed(count: usize) -> Lines {
    const WORDS: usize = size_of::<Line>() / size_of::<u128>();
    // SAFETY: all bits zero is 0.
    let memory: Box<[u128]> = unsafe { Box::new_zeroed_slice(count * WORDS + WORDS - 1).assume_init() };
    let first = memory.as_ptr().align_offset(align_of::<Line>());
    assert!(count * WORDS + first <= memory.len(), "the lines lie within their memory");
    Lines { memory, first, count }
}

/// The same for what stays and is read from end to end again and again, as weights are: on large pages, where the system
/// has them. Small ones cost a thirteenth of the time of a step of decoding, for want of translations.
pub(super) fn zeroed_on_large_pages(count: usize) -> Lines {
    let lines = zeroed(count);
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let range = lines.memory.as_ptr_range();
        let (start, end) = (range.start.addr().next_multiple_of(PAGE), range.end.addr() / PAGE * PAGE);
        if start < end {
            // SAFETY: whole pages of memory that is ours. The advice changes nothing that they hold, and whether it is
            // taken does not matter.
            unsafe { libc::madvise(range.start.with_addr(start).cast_mut().cast(), end - start, libc::MADV_HUGEPAGE) };
        }
    }
    lines
}

impl std::ops::Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: `count` lines begin at the word `first`, aligned, as `zeroed` saw to; any bits are values.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(self.first).cast(), self.count) }
    }
}

impl std::ops::DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().add(self.first).cast(), self.count) }
    }
}

pub(super) fn floats(lines: &[Line]) -> &[f32] {
    // SAFETY: a line is 32 values without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 32) }
}

pub(super) fn floats_mut(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 32) }
}

pub(super) fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 128 bytes without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

pub(super) fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as above, and every pattern of bits is an f32.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// Values as the bytes that they are made of.
pub(super) fn bytes_of(values: &[f32]) -> &[u8] {
    // SAFETY: an f32 has four bytes, any of which may be read.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}
