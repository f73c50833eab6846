//! Weights in the order in which the micro-kernel reads them.

/// Columns of a panel: two AVX-512 vectors, four AVX2 vectors.
pub(super) const PANEL: usize = 32;

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct CacheLine([f32; 16]);

/// A matrix `[n, k]` as panels of 32 of its rows, each k-major: `panel[p][kk][j] = w[32 p + j][kk]`, zero beyond row n.
/// One layout for every instruction set.
pub struct Packed {
    pub n: usize,
    pub k: usize,
    lines: Vec<CacheLine>,
}

impl Packed {
    /// From rows that are `ld` elements apart.
    pub fn rows(w: &[f32], n: usize, k: usize, ld: usize) -> Self {
        assert!(n == 0 || k == 0 || w.len() >= (n - 1) * ld + k, "the source holds n rows");
        Self::pack(n, k, |row, kk| w[row * ld + kk])
    }

    /// From the transpose: row kk of `w` holds the kk-th entries of all n rows.
    pub fn columns(w: &[f32], n: usize, k: usize, ld: usize) -> Self {
        assert!(n == 0 || k == 0 || w.len() >= (k - 1) * ld + n, "the source holds k rows");
        Self::pack(n, k, |row, kk| w[kk * ld + row])
    }

    /// 16 steps of k at a time: each cache line of the source is read once.
    fn pack(n: usize, k: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        let panels = n.div_ceil(PANEL);
        let mut lines = vec![CacheLine([0.0; 16]); panels * k * PANEL / 16];
        for panel in 0..panels {
            for first in (0..k).step_by(16) {
                for j in 0..PANEL.min(n - panel * PANEL) {
                    for kk in first..k.min(first + 16) {
                        lines[(panel * k + kk) * 2 + j / 16].0[j % 16] = at(panel * PANEL + j, kk);
                    }
                }
            }
        }
        Self { n, k, lines }
    }

    /// Panel `p` from inner index `k0` on.
    pub(super) fn panel(&self, p: usize, k0: usize) -> *const f32 {
        self.lines.as_ptr().cast::<f32>().wrapping_add((p * self.k + k0) * PANEL)
    }

    /// Row `row`, copied out.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let (panel, j) = (row / PANEL, row % PANEL);
        for (kk, out) in out.iter_mut().enumerate().take(self.k) {
            *out = self.lines[(panel * self.k + kk) * 2 + j / 16].0[j % 16];
        }
    }

    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<CacheLine>()
    }
}
