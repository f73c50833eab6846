//! `y = x W^T`, every output in one fixed order (see [`super::tile`]).

use super::array::Scratch;
use super::isa::Isa;
use super::packed::{PANEL, Packed};
use super::pool::{Output, Pool};
use super::tile::{Start, Tile, direct, kernels as wide_kernels, most_rows, strip_by, tiles};
use crate::ckpt::Dtype;

/// Length of a chain of fused multiply-adds. Against a single chain over the whole inner dimension chunks cost no time
/// that could be measured and leave two thirds (576) to a fifth (8192) of its rounding error
/// (`tests/numeric/rounding.rs`).
pub(super) const CHUNK: usize = 256;
/// Longest run of the inner dimension taken at once: a panel of 2048 x 32 is an eighth to a quarter of L2. A multiple of
/// [`CHUNK`].
const INNER: usize = 2048;
/// Bytes of x in one block of rows: they stay in L2 while the panels pass by.
const ROWS_BYTES: usize = 1 << 19;
/// Panels of one task where the inner dimension is longer than [`INNER`], if that leaves tasks enough: the block of x in L2
/// is used this often.
const GROUP: usize = 8;
/// So many tasks for each thread leave none of them waiting for long.
const TASKS: usize = 4;

/// One matrix and where its product goes: dense, `[m, n]`.
pub struct Product<'a> {
    pub w: &'a Packed,
    pub y: &'a mut [f32],
}

/// Rows of x, `ld` apart.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [f32],
    pub ld: usize,
    pub count: usize,
}

/// A run of panels of one product: what one task takes, for one block of rows.
struct Group {
    product: usize,
    first: usize,
    panels: usize,
}

/// The products of the same rows with several matrices.
///
/// Few rows: the threads share out the panels, so that each weight is read by one of them. Many rows: they take the
/// same panels for blocks of rows side by side. A task claims the next one before it begins, so that it knows what to
/// fetch in time.
pub fn matmul(pool: &Pool, isa: Isa, x: Rows<'_>, products: &mut [Product<'_>]) {
    let Rows { values, ld, count: m } = x;
    let k = products.first().map_or(0, |product| product.w.k);
    for Product { w, y } in products.iter_mut() {
        assert!(w.k == k && y.len() == m * w.n, "shapes agree");
        if k == 0 {
            y.fill(0.0);
        }
    }
    if m * k == 0 || products.iter().all(|product| product.w.n == 0) {
        return;
    }
    assert!(ld >= k && values.len() >= (m - 1) * ld + k, "the rows are there");
    let (tall, threads) = (most_rows(isa), pool.threads());
    let side = if m >= 8 * tall * threads { threads } else { 1 };
    let most = (ROWS_BYTES / (4 * run_length(k))).max(8 * tall);
    let panels: usize = products.iter().map(|product| product.w.n.div_ceil(PANEL)).sum();
    let size = if k <= INNER { 1 } else { (panels * m.div_ceil(most) / (TASKS * threads)).clamp(1, GROUP) };
    let groups = groups(products, size);
    let enough = (TASKS * threads).div_ceil(groups.len()).min(m.div_ceil(tall));
    let blocks = m.div_ceil(most).max(enough).next_multiple_of(side);
    let tasks = blocks * groups.len();
    let outputs: Vec<(&Packed, Output<f32>)> =
        products.iter_mut().map(|Product { w, y }| (*w, Output::new(y))).collect();
    let place = |task: usize| (task / (groups.len() * side) * side + task % side, task / side % groups.len());
    pool.run(tasks, |task| {
        let (block, at) = place(task);
        // Threads take turns, more or less: this one's next task is likely to be `threads` further on.
        let after = (task + threads < tasks).then(|| &groups[place(task + threads).1]);
        let after = after.map(|group| outputs[group.product].0.panel(group.first, 0));
        let (from, to) = (block * m / blocks, (block + 1) * m / blocks);
        let (w, y) = &outputs[groups[at].product];
        let rows = Rows { values: &values[from * ld..], ld, count: to - from };
        // SAFETY: the rows from..to and the panels of this group belong to this task alone.
        unsafe { task_product(isa, rows, w, &groups[at], y.pointer(from * w.n), after) }
    });
}

/// The inner dimension in as few runs as [`INNER`] allows, of nearly equal length: 3072 as 1536 + 1536, not 2048 + 1024.
fn run_length(k: usize) -> usize {
    k.div_ceil(k.div_ceil(INNER)).next_multiple_of(CHUNK).min(k)
}

fn groups(products: &[Product<'_>], size: usize) -> Vec<Group> {
    let of = |(product, Product { w, .. }): (usize, &Product<'_>)| {
        let panels = w.n.div_ceil(PANEL);
        (0..panels).step_by(size).map(move |first| Group { product, first, panels: size.min(panels - first) })
    };
    products.iter().enumerate().flat_map(of).collect()
}

/// # Safety
/// `y` has `x.count` rows of `w.n`, and nobody else touches the columns of the group.
unsafe fn task_product(isa: Isa, x: Rows<'_>, w: &Packed, group: &Group, y: *mut f32, after: Option<*const u8>) {
    let Rows { values, ld, count } = x;
    // Few rows read half-precision panels directly; for many a panel is widened once.
    let few = direct(isa, w.element()).filter(|kernels| w.element() == Dtype::F32 || tiles(kernels, count, ld) <= 2);
    let kernels = few.unwrap_or_else(|| wide_kernels(isa));
    // What has to be widened for few rows is read again at once: it must not go by way of the next cache.
    let near = few.is_none() && tiles(kernels, count, ld) <= 2;
    let run = if near { CHUNK.min(w.k) } else { run_length(w.k) };
    let mut wide = if few.is_none() { Scratch::take(run * PANEL) } else { Scratch::take(0) };
    let step = w.step_bytes().div_ceil(tiles(kernels, count, ld));
    let last = group.first + group.panels - 1;
    for k0 in (0..w.k).step_by(run) {
        let inner = run.min(w.k - k0);
        for p in group.first..=last {
            let own = w.panel(p, k0);
            let next = if p < last {
                w.panel(p + 1, k0)
            } else if k0 + run < w.k {
                w.panel(group.first, k0 + run)
            } else {
                after.unwrap_or(own)
            };
            let (b, row_bytes) = if few.is_some() {
                (own, w.step_bytes())
            } else {
                w.widen(isa, p, k0, inner, &mut wide);
                (wide.as_ptr().cast(), PANEL * 4)
            };
            let tile = Tile {
                rows: count,
                k: inner,
                chunk: CHUNK,
                a: values[k0..].as_ptr(),
                lda: ld,
                b,
                row_bytes,
                c: y.wrapping_add(p * PANEL),
                ldc: w.n,
                cols: PANEL.min(w.n - p * PANEL),
                start: if k0 > 0 { Start::Add } else { Start::Zero },
                next,
                next_step: step,
            };
            // SAFETY: rows of x and y and the columns of panel p are in bounds by the caller's assertions; an `Isa`
            // comes from `available`.
            unsafe { strip_by(kernels, &tile) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::packed::Stored;
    use crate::kernels::cpu::testing::{bits, chunked, wild};

    #[test]
    fn every_output_is_the_same_sum() {
        let small = (0..=40)
            .flat_map(|m| [1, 31, 32, 33, 101].map(|n| (m, n)))
            .flat_map(|(m, n)| [1, 2, 64, 577].map(|k| (m, n, k)));
        let pools = [Pool::new(1), Pool::new(2), Pool::new(3)];
        let large = [(29, 70, 4099), (3, 300, 2049), (150, 33, 6000), (130, 70, 0), (700, 40, 576), (16, 768, 3072)];
        let meeting =
            [8, 9, 12, 14, 15, 17, 23, 24, 25, 40].map(|m| (m, 33, 1024)).into_iter().chain([(100, 40, 2048)]);
        for (m, n, k) in small.chain(large).chain(meeting) {
            // Rows that meet in one set of the cache, and others.
            let ld = if k % 1024 == 0 { k } else { k + m % 3 };
            let x = wild(m * ld, 1);
            for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
                // Halves of moderate size, exactly representable in either format.
                let wide: Vec<f32> = match dtype {
                    Dtype::F32 => wild(n * k, 2),
                    _ => wild(n * k, 2).iter().map(|w| half::f16::from_f32(w % 8.0).to_f32()).collect(),
                };
                let wide: Vec<f32> = match dtype {
                    Dtype::Bf16 => wide.iter().map(|w| half::bf16::from_f32(*w).to_f32()).collect(),
                    _ => wide,
                };
                let bytes: Vec<u8> = match dtype {
                    Dtype::F32 => wide.iter().flat_map(|w| w.to_le_bytes()).collect(),
                    Dtype::F16 => wide.iter().flat_map(|w| half::f16::from_f32(*w).to_le_bytes()).collect(),
                    _ => wide.iter().flat_map(|w| half::bf16::from_f32(*w).to_le_bytes()).collect(),
                };
                let want: Vec<f32> =
                    (0..m * n).map(|o| chunked(&x[o / n * ld..][..k], &wide[o % n * k..][..k], CHUNK)).collect();
                let stored = Stored { bytes: &bytes, dtype, row_step: k, k_step: 1 };
                let pool = &pools[(m + n + k) % 3];
                let packed = Packed::pack(pool, n, k, |row| row, stored);
                for isa in Isa::available() {
                    let (mut y, mut z) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
                    let rows = Rows { values: &x, ld, count: m };
                    let both = &mut [Product { w: &packed, y: &mut y }, Product { w: &packed, y: &mut z }];
                    matmul(pool, isa, rows, both);
                    assert_eq!(bits(&y), bits(&want), "{m} x {n} x {k}, {isa:?}, {dtype:?}");
                    assert_eq!(bits(&z), bits(&want), "{m} x {n} x {k}, {isa:?}, {dtype:?}, second product");
                }
            }
        }
    }

    /// Rows of random blocks, their scales of moderate size.
    fn random_blocks(dtype: Dtype, elements: usize) -> Vec<u8> {
        let (length, size) = dtype.block();
        let noise = wild(elements / length * size, 7);
        let mut bytes: Vec<u8> = noise.iter().map(|x| (x.to_bits() >> 9) as u8).collect();
        for block in bytes.chunks_exact_mut(size) {
            // Exponents near 0; Q4_K has a second scale.
            block[1] = block[1] & 0x83 | 0x30;
            block[3] = if dtype == Dtype::Q4K { block[3] & 0x83 | 0x28 } else { block[3] };
        }
        bytes
    }

    #[test]
    fn quantised_weights_give_the_bits_of_the_same_weights_as_f32() {
        for (m, n, k) in [(1, 33, 256), (5, 70, 2304), (40, 64, 512), (150, 31, 4352), (3, 1, 256)] {
            for dtype in [Dtype::Q8_0, Dtype::Q4K] {
                let bytes = random_blocks(dtype, n * k);
                let wide = crate::ckpt::widen(dtype, &bytes);
                let stored = Stored { bytes: &bytes, dtype, row_step: k, k_step: 1 };
                // Rows in another order, as a view of some of them has.
                let pool = Pool::new(2);
                let packed = Packed::pack(&pool, n, k, |row| n - 1 - row, stored);
                assert!(packed.bytes() <= packed.n.next_multiple_of(PANEL) * k * 9 / 8);
                let row_of = |row: usize| &wide[(n - 1 - row) * k..][..k];
                let mut row = vec![0.0; k];
                for index in 0..n {
                    packed.row(index, &mut row);
                    assert_eq!(bits(&row), bits(row_of(index)), "{dtype:?}, row {index}");
                }
                let x = wild(m * k, 1);
                let want: Vec<f32> = (0..m * n).map(|o| chunked(&x[o / n * k..][..k], row_of(o % n), CHUNK)).collect();
                for isa in Isa::available() {
                    let mut y = vec![f32::NAN; m * n];
                    let rows = Rows { values: &x, ld: k, count: m };
                    matmul(&pool, isa, rows, &mut [Product { w: &packed, y: &mut y }]);
                    assert_eq!(bits(&y), bits(&want), "{m} x {n} x {k}, {isa:?}, {dtype:?}");
                }
            }
        }
    }

    #[test]
    fn packing_by_columns_is_packing_the_transpose() {
        let w = wild(37 * 70, 3);
        let transposed: Vec<u8> = (0..70 * 37).flat_map(|i| w[i % 37 * 70 + i / 37].to_le_bytes()).collect();
        let stored = Stored { bytes: &transposed, dtype: Dtype::F32, row_step: 1, k_step: 37 };
        let (a, b) = (Packed::rows(&w, 37, 70, 70), Packed::pack(&Pool::new(2), 37, 70, |row| row, stored));
        let (mut row_a, mut row_b) = (vec![0.0; 70], vec![0.0; 70]);
        for row in 0..37 {
            a.row(row, &mut row_a);
            b.row(row, &mut row_b);
            assert_eq!(row_a, w[row * 70..][..70]);
            assert_eq!(row_a, row_b);
        }
    }
}
