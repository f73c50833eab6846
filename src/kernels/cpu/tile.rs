//! The micro-kernel: a few rows of x against one panel of weights.
//!
//! Every output is a sum in **one fixed order**: the inner dimension is cut at multiples of [`Tile::chunk`], each chunk
//! is an ascending chain of fused multiply-adds, and chunks are added in ascending order. Which rows are worked on
//! together, where a block of the inner dimension ends, how wide a vector is: all that only chooses the order in which
//! *different* outputs proceed. So the bits depend on none of it.

use super::isa::{Isa, Set};
use super::packed::{Element, PANEL};

/// `rows` x one panel: `c[i][j]` becomes the sum over k of `a[i][k] b[k][j]`, in the order above, from `start`.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub rows: usize,
    pub k: usize,
    /// Length of a chain. The tile begins at the beginning of a chunk; `usize::MAX` where everything is one chain.
    pub chunk: usize,
    pub a: *const f32,
    /// Elements from one row of `a` to the next.
    pub lda: usize,
    /// `k` rows of [`PANEL`] weights, each of `row_bytes`.
    pub b: *const u8,
    pub row_bytes: usize,
    pub c: *mut f32,
    pub ldc: usize,
    /// Columns of the panel that exist; 1 to [`PANEL`].
    pub cols: usize,
    pub start: Start,
    /// What the thread reads next, `next_step` bytes per step of `k`: fetching it early is worth more than all else.
    pub next: *const u8,
    pub next_step: usize,
}

/// What an output holds before the first product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing: the first chunk is written.
    Zero,
    /// The chunks so far: the next one is added.
    Add,
    /// The chain so far: it is carried on.
    Carry,
}

type TileFn = unsafe fn(&Tile);

/// Kernels for 1, 2, ... rows over panels of f32; index 0 is for one row.
pub(super) fn kernels(isa: Isa) -> &'static [TileFn] {
    match isa.set() {
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => &x86::AVX512_F32,
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => &x86::AVX2_F32,
        Set::Portable => &[portable as TileFn; 8],
    }
}

/// Kernels that read panels of `element` as they are stored; none where they have to be widened first.
pub(super) fn direct(isa: Isa, element: Element) -> Option<&'static [TileFn]> {
    match (isa.set(), element) {
        (_, Element::F32) => Some(kernels(isa)),
        #[cfg(target_arch = "x86_64")]
        (Set::Avx512, Element::Bf16) => Some(&x86::AVX512_BF16),
        #[cfg(target_arch = "x86_64")]
        (Set::Avx512, Element::F16) => Some(&x86::AVX512_F16),
        _ => None,
    }
}

/// Rows that one tile over f32 takes at most.
pub(super) fn most_rows(isa: Isa) -> usize {
    kernels(isa).len()
}

/// Bytes after which memory meets the same set of the nearest cache, and how many lines such a set has: of the caches of
/// these machines, the smallest.
const WAY: usize = 4096;
const WAYS: usize = 8;

/// Into how many tiles `rows` of x, `lda` apart, are cut. Rows that all meet in one set must not be more than it has lines,
/// or every step reads them from the next cache: widths of 1024, 2048 or 3072 are such.
pub(super) fn tiles(kernels: &[TileFn], rows: usize, lda: usize) -> usize {
    let meet = (lda * size_of::<f32>()).is_multiple_of(WAY);
    rows.div_ceil(if meet { kernels.len().min(WAYS) } else { kernels.len() })
}

/// [`strip_by`] over panels of f32.
///
/// # Safety
/// As there.
pub(super) unsafe fn strip(isa: Isa, tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { strip_by(kernels(isa), tile) }
}

/// All rows of `tile` against its panel, in tiles of nearly equal height (16 rows as 8 + 8, not 14 + 2).
///
/// # Safety
/// `a` has `rows` rows of `k`, `b` has `k` rows of [`PANEL`], `c` has `rows` rows of `cols`, and nobody else touches
/// them; the kernels are for an available instruction set and for the element of `b`.
pub(super) unsafe fn strip_by(kernels: &[TileFn], tile: &Tile) {
    let tiles = tiles(kernels, tile.rows, tile.lda);
    let (height, taller) = (tile.rows / tiles.max(1), tile.rows % tiles.max(1));
    let mut next = tile.next;
    let mut part = |from: usize, rows: usize, done: usize| {
        let part = Tile {
            rows,
            k: tile.chunk.min(tile.k - done),
            a: tile.a.wrapping_add(from * tile.lda + done),
            b: tile.b.wrapping_add(done * tile.row_bytes),
            c: tile.c.wrapping_add(from * tile.ldc),
            start: if done == 0 { tile.start } else { Start::Add },
            next,
            ..*tile
        };
        // SAFETY: the rows and the steps of this chunk of what the caller vouches for.
        unsafe { kernels[rows - 1](&part) }
        next = next.wrapping_add(part.k * tile.next_step);
    };
    let heights = (0..tiles).map(|index| height + usize::from(index < taller));
    let chunks = (0..tile.k).step_by(tile.chunk.min(tile.k).max(1));
    // Few tiles: chunk by chunk for all rows, so that the weights of a chunk are near when they are read again. Many: tile
    // by tile.
    if tiles <= 2 {
        for done in chunks {
            let mut from = 0;
            for rows in heights.clone() {
                part(from, rows, done);
                from += rows;
            }
        }
    } else {
        let mut from = 0;
        for rows in heights {
            chunks.clone().for_each(|done| part(from, rows, done));
            from += rows;
        }
    }
}

/// The definition, for any machine.
#[expect(clippy::cast_ptr_alignment, reason = "panels of f32 are aligned")]
unsafe fn portable(tile: &Tile) {
    for i in 0..tile.rows {
        // SAFETY: see `strip_by`.
        unsafe {
            let c = std::slice::from_raw_parts_mut(tile.c.add(i * tile.ldc), tile.cols);
            let mut sums = [0.0; PANEL];
            if tile.start == Start::Carry {
                sums[..tile.cols].copy_from_slice(c);
            }
            for k in 0..tile.k {
                let (x, w) = (*tile.a.add(i * tile.lda + k), &*tile.b.cast::<[f32; PANEL]>().add(k));
                // All outputs of the row side by side, which a compiler can vectorise.
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = x.mul_add(*w, *sum);
                }
            }
            for (c, sum) in c.iter_mut().zip(sums) {
                *c = if tile.start == Start::Add { *c + sum } else { sum };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, _MM_HINT_T1, _mm_prefetch, _mm256_add_ps, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_set1_epi32, _mm256_set1_ps,
        _mm256_setr_epi32, _mm256_setzero_ps, _mm512_add_ps, _mm512_castsi512_ps, _mm512_cvtepu16_epi32,
        _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    };

    use super::{PANEL, Start, Tile, TileFn};

    macro_rules! table {
        ($f:ident: $($rows:literal)*) => { [$($f::<$rows> as TileFn),*] };
        ($f:ident, $element:ident: $($rows:literal)*) => { [$($f::<$rows, $element> as TileFn),*] };
    }
    const F32: u8 = 0;
    const BF16: u8 = 1;
    const F16: u8 = 2;
    pub(super) static AVX512_F32: [TileFn; 14] = table!(avx512, F32: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    // With 13 rows and more the widened weights spill.
    pub(super) static AVX512_BF16: [TileFn; 12] = table!(avx512, BF16: 1 2 3 4 5 6 7 8 9 10 11 12);
    pub(super) static AVX512_F16: [TileFn; 12] = table!(avx512, F16: 1 2 3 4 5 6 7 8 9 10 11 12);
    pub(super) static AVX2_F32: [TileFn; 6] = table!(avx2: 1 2 3 4 5 6);

    const fn bytes(element: u8) -> usize {
        if element == F32 { 4 } else { 2 }
    }

    /// Sixteen weights, widened exactly.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn weights<const E: u8>(b: *const u8) -> __m512 {
        // SAFETY: sixteen elements lie at b.
        unsafe {
            match E {
                BF16 => {
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(b.cast()))))
                }
                F16 => _mm512_cvtph_ps(_mm256_loadu_si256(b.cast())),
                _ => _mm512_loadu_ps(b.cast()),
            }
        }
    }

    /// A whole panel, or its first half, where no column of the second exists: projections to 16 numbers are such.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn avx512<const R: usize, const E: u8>(tile: &Tile) {
        // SAFETY: see `strip_by`.
        unsafe { if tile.cols > 16 { halves::<R, E, 2>(tile) } else { halves::<R, E, 1>(tile) } }
    }

    /// R x 16 H: H R accumulators, H registers of weights, one for the broadcast of x, which is read in place.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn halves<const R: usize, const E: u8, const H: usize>(tile: &Tile) {
        let mask: [u16; H] =
            std::array::from_fn(|half| ((1u32 << tile.cols.saturating_sub(16 * half).min(16)) - 1) as u16);
        let c = |i: usize, half: usize| tile.c.wrapping_add(i * tile.ldc + 16 * half);
        let (mut a, mut b, mut next) = (tile.a, tile.b, tile.next);
        // SAFETY: see `strip_by`; masked-off lanes are not touched.
        unsafe {
            let mut acc = [[_mm512_setzero_ps(); H]; R];
            if tile.start == Start::Carry {
                for (i, acc) in acc.iter_mut().enumerate() {
                    for half in 0..H {
                        acc[half] = _mm512_maskz_loadu_ps(mask[half], c(i, half));
                    }
                }
            }
            for _ in 0..tile.k {
                // Two lines: where all rows are one tile of f32, a step moves on by both.
                _mm_prefetch::<_MM_HINT_T1>(next.cast());
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(64).cast());
                let mut w = [_mm512_setzero_ps(); H];
                for (half, w) in w.iter_mut().enumerate() {
                    *w = weights::<E>(b.wrapping_add(16 * half * bytes(E)));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(i * tile.lda));
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm512_fmadd_ps(x, w, *acc);
                    }
                }
                (a, b) = (a.wrapping_add(1), b.wrapping_add(PANEL * bytes(E)));
                next = next.wrapping_add(tile.next_step);
            }
            for (i, acc) in acc.iter().enumerate() {
                for half in 0..H {
                    let mut sum = acc[half];
                    if tile.start == Start::Add {
                        sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask[half], c(i, half)), sum);
                    }
                    _mm512_mask_storeu_ps(c(i, half), mask[half], sum);
                }
            }
        }
    }

    /// R x 16, twice: the panel is taken in two halves.
    #[expect(clippy::cast_ptr_alignment, reason = "panels of f32 are aligned")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const R: usize>(tile: &Tile) {
        for half in [0usize, 16] {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let exist = |first: usize| _mm256_cmpgt_epi32(_mm256_set1_epi32(tile.cols as i32 - first as i32), lane);
            let mask = [exist(half), exist(half + 8)];
            let c = |i: usize, v: usize| tile.c.wrapping_add(i * tile.ldc + half + 8 * v);
            let (mut a, mut b) = (tile.a, tile.b.cast::<f32>().wrapping_add(half));
            let mut next = tile.next.wrapping_add(4 * half);
            // SAFETY: see `strip_by`; masked-off lanes are not touched.
            unsafe {
                let mut acc = [[_mm256_setzero_ps(); 2]; R];
                if tile.start == Start::Carry {
                    for (i, acc) in acc.iter_mut().enumerate() {
                        for v in 0..2 {
                            acc[v] = _mm256_maskload_ps(c(i, v), mask[v]);
                        }
                    }
                }
                for _ in 0..tile.k {
                    _mm_prefetch::<_MM_HINT_T1>(next.cast());
                    let w = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.wrapping_add(8))];
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let x = _mm256_set1_ps(*a.add(i * tile.lda));
                        acc[0] = _mm256_fmadd_ps(x, w[0], acc[0]);
                        acc[1] = _mm256_fmadd_ps(x, w[1], acc[1]);
                    }
                    (a, b) = (a.wrapping_add(1), b.wrapping_add(PANEL));
                    next = next.wrapping_add(tile.next_step);
                }
                for (i, acc) in acc.iter().enumerate() {
                    for v in 0..2 {
                        let mut sum = acc[v];
                        if tile.start == Start::Add {
                            sum = _mm256_add_ps(_mm256_maskload_ps(c(i, v), mask[v]), sum);
                        }
                        _mm256_maskstore_ps(c(i, v), mask[v], sum);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_meet_in_one_set_are_cut_smaller() {
        for isa in Isa::available() {
            let (kernels, most) = (kernels(isa), most_rows(isa));
            for (lda, height) in [(576, most), (1024, most.min(8)), (3072, most.min(8)), (1536, most), (3073, most)] {
                for rows in 0..50 {
                    assert_eq!(tiles(kernels, rows, lda), rows.div_ceil(height), "{rows} rows, {lda} apart, {isa:?}");
                }
            }
        }
    }
}
