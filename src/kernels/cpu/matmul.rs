//! `y = x W^T` on one thread, every output one ascending chain (see [`super::tile`]).

use super::isa::Isa;
use super::packed::{PANEL, Packed};
use super::tile::{Tile, most_rows, strip};

/// Longest run of the inner dimension taken at once: a panel of 2048 x 32 is an eighth of L2.
const INNER: usize = 2048;
/// Bytes of x in one block of rows: they stay in L2 while the panels pass by.
const ROWS_BYTES: usize = 1 << 19;

/// `y [m, n] = x [m, k] W^T`. Rows of x are `ldx` apart, y is dense.
pub fn matmul(isa: Isa, x: &[f32], ldx: usize, m: usize, w: &Packed, y: &mut [f32]) {
    let (n, k) = (w.n, w.k);
    assert!(y.len() == m * n && (m == 0 || (ldx >= k && x.len() >= (m - 1) * ldx + k)), "shapes agree");
    if m * n * k == 0 {
        return y.fill(0.0);
    }
    let panels = n.div_ceil(PANEL);
    let block = (ROWS_BYTES / (4 * k.min(INNER))).max(8 * most_rows(isa));
    for from in (0..m).step_by(block) {
        let rows = block.min(m - from);
        for k0 in (0..k).step_by(INNER) {
            let inner = INNER.min(k - k0);
            let next_step = (PANEL * 4 / rows.div_ceil(most_rows(isa))).next_multiple_of(16);
            for p in 0..panels {
                let next = if p + 1 < panels { w.panel(p + 1, k0) } else { w.panel(0, (k0 + INNER) % k) };
                let tile = Tile {
                    rows,
                    k: inner,
                    a: x[from * ldx + k0..].as_ptr(),
                    lda: ldx,
                    b: w.panel(p, k0),
                    c: y[from * n + p * PANEL..].as_mut_ptr(),
                    ldc: n,
                    cols: PANEL.min(n - p * PANEL),
                    resume: k0 > 0,
                    next: next.cast(),
                    next_step,
                };
                // SAFETY: rows from..from + rows of x and y and the columns of panel p are in bounds by the assertion;
                // an `Isa` comes from `available`.
                unsafe { strip(isa, &tile) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{bits, chain, wild};

    #[test]
    fn every_output_is_one_ascending_chain() {
        let small = (0..=40)
            .flat_map(|m| [1, 31, 32, 33, 101].map(|n| (m, n)))
            .flat_map(|(m, n)| [1, 2, 64, 577].map(|k| (m, n, k)));
        for (m, n, k) in small.chain([(29, 70, 4099), (3, 300, 2049), (150, 33, 6000), (130, 70, 0), (700, 40, 576)]) {
            let ldx = k + m % 3;
            let (x, w) = (wild(m * ldx, 1), wild(n * k, 2));
            let want: Vec<f32> = (0..m * n).map(|o| chain(&x[o / n * ldx..][..k], &w[o % n * k..][..k])).collect();
            let packed = Packed::rows(&w, n, k, k);
            for isa in Isa::available() {
                let mut y = vec![f32::NAN; m * n];
                matmul(isa, &x, ldx, m, &packed, &mut y);
                assert_eq!(bits(&y), bits(&want), "{m} x {n} x {k}, {isa:?}");
            }
        }
    }

    #[test]
    fn packing_by_columns_is_packing_the_transpose() {
        let w = wild(37 * 70, 3);
        let transposed: Vec<f32> = (0..70 * 37).map(|i| w[i % 37 * 70 + i / 37]).collect();
        let (a, b) = (Packed::rows(&w, 37, 70, 70), Packed::columns(&transposed, 37, 70, 37));
        let (mut row_a, mut row_b) = (vec![0.0; 70], vec![0.0; 70]);
        for row in 0..37 {
            a.row(row, &mut row_a);
            b.row(row, &mut row_b);
            assert_eq!(row_a, w[row * 70..][..70]);
            assert_eq!(row_a, row_b);
        }
    }
}
