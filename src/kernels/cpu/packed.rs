//! Weights in the order in which the micro-kernel reads them.

use super::array::Scratch;
use super::blocks;
use super::isa::Isa;
use super::lines;
use super::math;
use super::pool::{Output, Pool};
use crate::ckpt::Dtype;

/// Columns of a panel: two AVX-512 vectors, four AVX2 vectors.
pub(super) const PANEL: usize = 32;

/// How a panel's weights are stored. Half-precision and quantised weights stay as narrow as they are: less memory, less
/// traffic. Kernels widen them exactly, so the results are those of the widened weights.
pub use crate::ckpt::Dtype as Element;

/// A matrix `[n, k]` as panels of 32 of its rows, each k-major: `panel[p][kk][j] = w[32 p + j][kk]`, zero beyond row n.
/// One layout for every instruction set.
pub struct Packed {
    pub n: usize,
    pub k: usize,
    element: Element,
    lines: Scratch,
}

/// Where the weights of a matrix lie in little-endian bytes: entry (row, kk) is element `row * row_step + kk * k_step`.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    pub bytes: &'a [u8],
    pub dtype: Dtype,
    pub row_step: usize,
    pub k_step: usize,
}

impl Packed {
    /// From rows that are `ld` elements apart.
    pub fn rows(w: &[f32], n: usize, k: usize, ld: usize) -> Self {
        Self::floats(&Pool::new(1), w, (n, k), (ld, 1))
    }

    /// `n` rows of `k` values: entry (row, kk) is `values[row * row_step + kk * k_step]`.
    pub(super) fn floats(
        pool: &Pool,
        values: &[f32],
        (n, k): (usize, usize),
        (row_step, k_step): (usize, usize),
    ) -> Self {
        Self::floats_in(pool, values, (n, k), (row_step, k_step), Scratch::take(n.next_multiple_of(PANEL) * k))
    }

    /// The same in this memory.
    pub(super) fn floats_in(
        pool: &Pool,
        values: &[f32],
        (n, k): (usize, usize),
        (row_step, k_step): (usize, usize),
        mut panels: Scratch,
    ) -> Self {
        let stored = Stored { bytes: lines::bytes_of(values), dtype: Dtype::F32, row_step, k_step };
        let last = n / PANEL * PANEL * k;
        panels[last..].fill(0.0);
        Self::fill(pool, (n, k), |row| row, stored, panels)
    }

    /// Takes row `row_of(i)` of what is stored as its row i. The panels are shared out among the threads.
    ///
    /// # Panics
    /// When what is stored does not hold them all.
    pub fn pack(pool: &Pool, n: usize, k: usize, row_of: impl Fn(usize) -> usize + Sync, from: Stored<'_>) -> Self {
        let bytes = n.div_ceil(PANEL) * panel_bytes(from.dtype, k);
        Self::fill(pool, (n, k), row_of, from, Scratch::lasting(bytes.div_ceil(4)))
    }

    /// Writes the panels into `lines`, which are zero beyond row n.
    fn fill(
        pool: &Pool,
        (n, k): (usize, usize),
        row_of: impl Fn(usize) -> usize + Sync,
        from: Stored<'_>,
        mut lines: Scratch,
    ) -> Self {
        let element = from.dtype;
        let panels = n.div_ceil(PANEL);
        let size = panel_bytes(element, k);
        let last =
            (0..n).map(&row_of).max().map_or(0, |row| row * from.row_step + k.saturating_sub(1) * from.k_step + 1);
        assert!(k == 0 || from.bytes.len() >= element.size(last), "the source holds {n} rows of {k}");
        let out = Output::new(lines::bytes_mut(lines.lines_mut()));
        pool.run(panels, |panel| {
            // SAFETY: each panel is one task's.
            let out = unsafe { out.part(panel * size, size) };
            let rows: [usize; PANEL] = std::array::from_fn(|j| row_of((panel * PANEL + j).min(n - 1)) * from.row_step);
            let present = PANEL.min(n - panel * PANEL);
            match element {
                Element::F32 => transpose::<4>(&rows[..present], from, out),
                Element::F16 | Element::Bf16 => transpose::<2>(&rows[..present], from, out),
                Element::Q8_0 | Element::Q4K => {
                    assert!(from.k_step == 1 && k.is_multiple_of(element.block().0), "rows of whole blocks");
                    let row = |row: &usize| &from.bytes[element.size(*row)..][..element.size(k)];
                    blocks::pack(element, &rows[..present].iter().map(row).collect::<Vec<_>>(), k, out);
                }
            }
        });
        Self { n, k, element, lines }
    }

    pub(super) fn element(&self) -> Element {
        self.element
    }

    fn bytes_of(&self) -> &[u8] {
        lines::bytes(self.lines.lines())
    }

    /// Bytes from the beginning of the panels to inner index `k0` of panel `p`; `k0` is a multiple of [`blocks::RUN`].
    fn offset(&self, p: usize, k0: usize) -> usize {
        p * panel_bytes(self.element, self.k) + panel_bytes(self.element, k0)
    }

    /// Panel `p` from inner index `k0` on.
    pub(super) fn panel(&self, p: usize, k0: usize) -> *const u8 {
        self.bytes_of().as_ptr().wrapping_add(self.offset(p, k0))
    }

    /// Bytes of one step of the inner dimension in a panel, on average.
    pub(super) fn step_bytes(&self) -> usize {
        panel_bytes(self.element, blocks::RUN) / blocks::RUN
    }

    /// `steps` rows of panel `p` from inner index `k0` on, as f32.
    pub(super) fn widen(&self, isa: Isa, p: usize, k0: usize, steps: usize, out: &mut [f32]) {
        let bytes = &self.bytes_of()[self.offset(p, k0)..][..panel_bytes(self.element, steps)];
        let out = &mut out[..steps * PANEL];
        match self.element {
            Element::Q8_0 => blocks::widen_eight(isa, bytes, out),
            Element::Q4K => blocks::widen_four(isa, bytes, out),
            plain => math::widen(isa, plain, bytes, out),
        }
    }

    /// Row `row`, copied out.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let (panel, j) = (row / PANEL, row % PANEL);
        let bytes = &self.bytes_of()[self.offset(panel, 0)..][..panel_bytes(self.element, self.k)];
        let out = &mut out[..self.k];
        let halves = |widen: fn(u16) -> f32, out: &mut [f32]| {
            for (out, step) in out.iter_mut().zip(bytes.as_chunks::<{ 2 * PANEL }>().0) {
                *out = widen(u16::from_le_bytes([step[2 * j], step[2 * j + 1]]));
            }
        };
        match self.element {
            Element::F32 => {
                for (out, step) in out.iter_mut().zip(bytes.as_chunks::<{ 4 * PANEL }>().0) {
                    *out = f32::from_le_bytes(std::array::from_fn(|i| step[4 * j + i]));
                }
            }
            Element::F16 => halves(|bits| half::f16::from_bits(bits).to_f32(), out),
            Element::Bf16 => halves(|bits| half::bf16::from_bits(bits).to_f32(), out),
            Element::Q8_0 | Element::Q4K => blocks::column(self.element, bytes, j, out),
        }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.lines())
    }
}

/// Bytes of `steps` steps of the inner dimension in a panel.
pub(super) fn panel_bytes(element: Element, steps: usize) -> usize {
    match blocks::run_bytes(element) {
        Some(bytes) => steps / blocks::RUN * bytes,
        None => PANEL * element.size(steps),
    }
}

/// Steps of the inner dimension that are turned at once: as many f32 as a cache line of the source holds.
const TURNED: usize = 16;

/// Writes one panel, a few steps of k at a time: each cache line of the source is read once.
fn transpose<const SIZE: usize>(rows: &[usize], from: Stored<'_>, out: &mut [u8]) {
    let (source, out) = (from.bytes.as_chunks::<SIZE>().0, out.as_chunks_mut::<SIZE>().0);
    // Columns of a matrix that is stored row by row lie beside each other.
    if rows.windows(2).all(|pair| pair[1] == pair[0] + 1) {
        for (kk, step) in out.chunks_exact_mut(PANEL).enumerate() {
            step[..rows.len()].copy_from_slice(&source[rows[0] + kk * from.k_step..][..rows.len()]);
        }
        return;
    }
    for (index, steps) in out.chunks_mut(TURNED * PANEL).enumerate() {
        let first = index * TURNED;
        let mut block = [[[0; SIZE]; PANEL]; TURNED];
        for (j, row) in rows.iter().enumerate() {
            // What lies beyond the end of a row is not copied out.
            let run = &source[row + first * from.k_step..];
            match run.first_chunk::<TURNED>() {
                Some(run) if from.k_step == 1 => block.iter_mut().zip(run).for_each(|(step, value)| step[j] = *value),
                _ => {
                    let run = run.iter().step_by(from.k_step);
                    block.iter_mut().zip(run).for_each(|(step, value)| step[j] = *value);
                }
            }
        }
        steps.copy_from_slice(&block.as_flattened()[..steps.len()]);
    }
}
