//! The micro-kernel: a few rows of x against one panel of weights.
//!
//! Every output is **one ascending chain of fused multiply-adds** over the inner dimension, from zero or from what the
//! output holds. Which rows are worked on together, where a block of the inner dimension ends, how wide a vector is:
//! all that only chooses the order in which *different* outputs proceed. So the bits depend on none of it.

use super::isa::Isa;
use super::packed::PANEL;

/// `rows` x one panel: `c[i][j] = fma(a[i][k-1], b[k-1][j], ... fma(a[i][0], b[0][j], start))`, where `start` is zero or,
/// to `resume`, what `c` holds.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub rows: usize,
    pub k: usize,
    pub a: *const f32,
    /// Elements from one row of `a` to the next.
    pub lda: usize,
    /// `k` rows of [`PANEL`] weights.
    pub b: *const f32,
    pub c: *mut f32,
    pub ldc: usize,
    /// Columns of the panel that exist; 1 to [`PANEL`].
    pub cols: usize,
    pub resume: bool,
    /// What the thread reads next, `next_step` bytes per step of `k`: fetching it early is worth more than all else.
    pub next: *const u8,
    pub next_step: usize,
}

type TileFn = unsafe fn(&Tile);

/// Kernels for 1, 2, ... rows; index 0 is for one row.
fn kernels(isa: Isa) -> &'static [TileFn] {
    macro_rules! table {
        ($f:ident: $($rows:literal)*) => { &[$($f::<$rows> as TileFn),*] };
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => table!(avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => table!(avx2: 1 2 3 4 5 6),
        _ => &[portable as TileFn; 8],
    }
}

/// Rows that one tile takes at most.
pub(super) fn most_rows(isa: Isa) -> usize {
    kernels(isa).len()
}

/// All rows of `tile` against its panel, in tiles of nearly equal height (16 rows as 8 + 8, not 14 + 2).
///
/// # Safety
/// `a` has `rows` rows of `k`, `b` has `k` rows of [`PANEL`], `c` has `rows` rows of `cols`, and nobody else touches
/// them; `isa` is available.
pub(super) unsafe fn strip(isa: Isa, tile: &Tile) {
    let kernels = kernels(isa);
    let tiles = tile.rows.div_ceil(kernels.len());
    for index in 0..tiles {
        let (from, to) = (index * tile.rows / tiles, (index + 1) * tile.rows / tiles);
        let part = Tile {
            rows: to - from,
            a: tile.a.wrapping_add(from * tile.lda),
            c: tile.c.wrapping_add(from * tile.ldc),
            next: tile.next.wrapping_add(index * tile.k * tile.next_step),
            ..*tile
        };
        // SAFETY: the rows from..to of what the caller vouches for.
        unsafe { kernels[to - from - 1](&part) }
    }
}

/// R x 32: 2 R accumulators, two registers of weights, one for the broadcast of x, which is read in place.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(tile: &Tile) {
    use std::arch::x86_64::{
        _MM_HINT_T1, _mm_prefetch, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_set1_ps, _mm512_setzero_ps,
    };
    let mask = [0, 16].map(|first| ((1u32 << tile.cols.saturating_sub(first).min(16)) - 1) as u16);
    let c = |i: usize, half: usize| tile.c.wrapping_add(i * tile.ldc + 16 * half);
    let mut acc = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: see `strip`; masked-off lanes are not touched.
    unsafe {
        if tile.resume {
            for (i, acc) in acc.iter_mut().enumerate() {
                for half in 0..2 {
                    acc[half] = _mm512_maskz_loadu_ps(mask[half], c(i, half));
                }
            }
        }
        let (mut a, mut b, mut next) = (tile.a, tile.b, tile.next);
        for _ in 0..tile.k {
            _mm_prefetch::<_MM_HINT_T1>(next.cast());
            let w = [_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16))];
            for (i, acc) in acc.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.add(i * tile.lda));
                acc[0] = _mm512_fmadd_ps(x, w[0], acc[0]);
                acc[1] = _mm512_fmadd_ps(x, w[1], acc[1]);
            }
            (a, b, next) = (a.wrapping_add(1), b.wrapping_add(PANEL), next.wrapping_add(tile.next_step));
        }
        for (i, acc) in acc.iter().enumerate() {
            for half in 0..2 {
                _mm512_mask_storeu_ps(c(i, half), mask[half], acc[half]);
            }
        }
    }
}

/// R x 16, twice: the panel is taken in two halves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize>(tile: &Tile) {
    use std::arch::x86_64::{
        _MM_HINT_T1, _mm_prefetch, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps,
        _mm256_maskstore_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps,
    };
    for half in [0usize, 16] {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mask =
            [half, half + 8].map(|first| _mm256_cmpgt_epi32(_mm256_set1_epi32(tile.cols as i32 - first as i32), lane));
        let c = |i: usize, v: usize| tile.c.wrapping_add(i * tile.ldc + half + 8 * v);
        let mut acc = [[_mm256_setzero_ps(); 2]; R];
        // SAFETY: see `strip`; masked-off lanes are not touched.
        unsafe {
            if tile.resume {
                for (i, acc) in acc.iter_mut().enumerate() {
                    for v in 0..2 {
                        acc[v] = _mm256_maskload_ps(c(i, v), mask[v]);
                    }
                }
            }
            let (mut a, mut b, mut next) = (tile.a, tile.b.wrapping_add(half), tile.next.wrapping_add(4 * half));
            for _ in 0..tile.k {
                _mm_prefetch::<_MM_HINT_T1>(next.cast());
                let w = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8))];
                for (i, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*a.add(i * tile.lda));
                    acc[0] = _mm256_fmadd_ps(x, w[0], acc[0]);
                    acc[1] = _mm256_fmadd_ps(x, w[1], acc[1]);
                }
                (a, b, next) = (a.wrapping_add(1), b.wrapping_add(PANEL), next.wrapping_add(tile.next_step));
            }
            for (i, acc) in acc.iter().enumerate() {
                for v in 0..2 {
                    _mm256_maskstore_ps(c(i, v), mask[v], acc[v]);
                }
            }
        }
    }
}

/// The definition, for any machine.
unsafe fn portable(tile: &Tile) {
    for (i, j) in (0..tile.rows).flat_map(|i| (0..tile.cols).map(move |j| (i, j))) {
        // SAFETY: see `strip`.
        unsafe {
            let (a, b, c) = (tile.a.add(i * tile.lda), tile.b.add(j), tile.c.add(i * tile.ldc + j));
            let start = if tile.resume { *c } else { 0.0 };
            *c = (0..tile.k).fold(start, |acc, k| (*a.add(k)).mul_add(*b.add(k * PANEL), acc));
        }
    }
}
