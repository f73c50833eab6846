//! Why products are chains over chunks and not one chain: the same invariance, less rounding error, no time that could
//! be measured (2 cores, AVX-512: prefill of 512 tokens 0.41 s with either, products within 5 % in both directions).

use veval::kernels::cpu::{Isa, Packed, Pool, Product, Rows, matmul};

/// Standard normal values (Box and Muller) from a small generator.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    };
    (0..count).map(|_| ((-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()) as f32).collect()
}

/// Root mean square of the differences, in units of the products' own.
fn error(found: impl Iterator<Item = f32>, exact: &[f64]) -> f64 {
    let size: f64 = exact.iter().map(|x| x * x).sum();
    let off: f64 = found.zip(exact).map(|(x, y)| (f64::from(x) - y).powi(2)).sum();
    (off / size).sqrt()
}

#[test]
fn chunks_leave_less_rounding_error_than_one_chain() {
    for k in [576, 2048, 8192] {
        let (m, n) = (16, 64);
        let (x, w) = (normal(m * k, 1), normal(n * k, 2));
        let pair = |o: usize| x[o / n * k..][..k].iter().zip(&w[o % n * k..][..k]);
        let exact: Vec<f64> = (0..m * n).map(|o| pair(o).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()).collect();
        let chain = (0..m * n).map(|o| pair(o).fold(0.0f32, |sum, (x, w)| x.mul_add(*w, sum)));
        let packed = Packed::rows(&w, n, k, k);
        let mut y = vec![0.0; m * n];
        let rows = Rows { values: &x, ld: k, count: m };
        matmul(&Pool::new(2), Isa::best(), rows, &mut [Product { w: &packed, y: &mut y }]);
        let (ours, one_chain) = (error(y.into_iter(), &exact), error(chain, &exact));
        println!("k = {k}: {ours:.1e} in chunks, {one_chain:.1e} in one chain");
        assert!(ours < 0.75 * one_chain && ours < 5e-7, "k = {k}: {ours:.1e}, {one_chain:.1e}");
    }
}
