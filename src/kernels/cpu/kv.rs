//! Keys and values of a run of positions, in panels that grow.

use super::lines::{Lines, floats, floats_mut, zeroed};
use super::packed::PANEL;

/// What attention reads of up to `capacity` consecutive positions. Branches of a prefix tree hold such segments in
/// common; nothing is copied when a branch goes on.
///
/// ```text
/// keys    for each head, panels of 32 positions:    panel[entry of the head][position]
/// values  for each head, panels of 32 entries:      panel[position][entry of the head]
/// ```
pub struct Kv {
    heads: usize,
    width: usize,
    capacity: usize,
    length: usize,
    keys: Lines,
    values: Lines,
}

impl Kv {
    pub fn new(heads: usize, width: usize, capacity: usize) -> Self {
        let (keys, values) = Self::sizes(heads, width, capacity);
        let lines = |values: usize| zeroed(values / PANEL);
        Self { heads, width, capacity, length: 0, keys: lines(keys), values: lines(values) }
    }

    fn sizes(heads: usize, width: usize, capacity: usize) -> (usize, usize) {
        (heads * capacity.next_multiple_of(PANEL) * width, heads * width.next_multiple_of(PANEL) * capacity)
    }

    /// Bytes that a segment of `capacity` positions takes.
    pub fn bytes(heads: usize, width: usize, capacity: usize) -> usize {
        let (keys, values) = Self::sizes(heads, width, capacity);
        4 * (keys + values)
    }

    /// Positions held.
    pub fn length(&self) -> usize {
        self.length
    }

    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Appends rows `[rows, heads, width]`.
    ///
    /// # Panics
    /// When they do not fit.
    pub(super) fn append(&mut self, keys: &[f32], values: &[f32]) {
        let (heads, width, capacity) = (self.heads, self.width, self.capacity);
        let rows = keys.len() / (heads * width);
        assert!(keys.len() == values.len() && self.length + rows <= capacity, "the segment has room");
        let (key_head, value_head) =
            (capacity.next_multiple_of(PANEL) * width, width.next_multiple_of(PANEL) * capacity);
        let (own_keys, own_values) = (floats_mut(&mut self.keys), floats_mut(&mut self.values));
        // Head by head, so that a panel of keys stays near while its positions come.
        for (head, row) in (0..heads).flat_map(|head| (0..rows).map(move |row| (head, row))) {
            let (position, from) = (self.length + row, (row * heads + head) * width);
            let (key, value) = (&keys[from..from + width], &values[from..from + width]);
            let panel = &mut own_keys[head * key_head + position / PANEL * PANEL * width..][..PANEL * width];
            for (entry, key) in key.iter().enumerate() {
                panel[entry * PANEL + position % PANEL] = *key;
            }
            for (panel, part) in value.chunks(PANEL).enumerate() {
                let at = head * value_head + (panel * capacity + position) * PANEL;
                own_values[at..at + part.len()].copy_from_slice(part);
            }
        }
        self.length += rows;
    }

    /// Panel `p` of the keys of a head: positions `32 p ..`.
    pub(super) fn key_panel(&self, head: usize, p: usize) -> *const u8 {
        let at = (head * self.capacity.next_multiple_of(PANEL) + p * PANEL) * self.width;
        self.keys.as_ptr().cast::<u8>().wrapping_add(4 * at)
    }

    /// Panel `p` of the values of a head, from `position` on.
    pub(super) fn value_panel(&self, head: usize, p: usize, position: usize) -> *const u8 {
        let at = head * self.width.next_multiple_of(PANEL) * self.capacity + (p * self.capacity + position) * PANEL;
        self.values.as_ptr().cast::<u8>().wrapping_add(4 * at)
    }

    /// The rows as they were appended: keys and values `[length, heads, width]`.
    pub(super) fn unpack(&self, keys: &mut [f32], values: &mut [f32]) {
        let (heads, width) = (self.heads, self.width);
        let (own_keys, own_values) = (floats(&self.keys), floats(&self.values));
        let key_head = self.capacity.next_multiple_of(PANEL) * width;
        let value_head = width.next_multiple_of(PANEL) * self.capacity;
        for (index, (key, value)) in keys.chunks_exact_mut(width).zip(values.chunks_exact_mut(width)).enumerate() {
            let (position, head) = (index / heads, index % heads);
            let panel = &own_keys[head * key_head + position / PANEL * PANEL * width..];
            for entry in 0..width {
                key[entry] = panel[entry * PANEL + position % PANEL];
                let at = head * value_head + (entry / PANEL * self.capacity + position) * PANEL;
                value[entry] = own_values[at + entry % PANEL];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::wild;

    #[test]
    fn what_is_appended_is_unpacked() {
        for (heads, width, capacity) in [(3, 40, 70), (1, 8, 33), (2, 64, 5)] {
            let row = heads * width;
            let (keys, values) = (wild(capacity * row, 1), wild(capacity * row, 2));
            let mut kv = Kv::new(heads, width, capacity);
            let mut done = 0;
            for rows in [1, 3, capacity - 4] {
                let range = done * row..(done + rows) * row;
                kv.append(&keys[range.clone()], &values[range]);
                done += rows;
            }
            let (mut k, mut v) = (vec![0.0; capacity * row], vec![0.0; capacity * row]);
            kv.unpack(&mut k, &mut v);
            assert_eq!((k, v), (keys, values));
        }
    }
}
