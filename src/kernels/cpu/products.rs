//! Inner products of long vectors, many with many, as of gradients with directions.
//!
//! A task takes one piece of all vectors, so that the pieces of one side stay in the cache while those of the other pass.
//! A piece is summed in sixteen lanes of f32, pieces are added in f64 in ascending order: the bits depend on neither
//! threads nor instruction sets nor on how many vectors there are.

use super::Array;
use super::isa::{Isa, versions};
use super::pool::{Output, Pool};

/// Elements of a piece.
const PIECE: usize = 4096;
/// Lanes of a sum, by absolute position.
const LANES: usize = 16;
/// Sums that are carried at once: one alone would wait for its own additions.
const TOGETHER: usize = 4;

#[inline(always)]
fn dots_body<const N: usize>(a: &[f32], b: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[0f32; LANES]; N];
    let (chunks, rest) = a.as_chunks::<LANES>();
    let others = b.map(|b| b.as_chunks::<LANES>());
    for (index, a) in chunks.iter().enumerate() {
        for (sums, (others, _)) in sums.iter_mut().zip(&others) {
            let b = &others[index];
            for lane in 0..LANES {
                sums[lane] += a[lane] * b[lane];
            }
        }
    }
    for (sums, (_, others)) in sums.iter_mut().zip(&others) {
        for (sum, (a, b)) in sums.iter_mut().zip(rest.iter().zip(*others)) {
            *sum += a * b;
        }
    }
    sums.map(|sums| sums.iter().sum())
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    dots_body(a, [b])[0]
}

#[inline(always)]
fn dots_of_four_body(a: &[f32], b: [&[f32]; TOGETHER]) -> [f32; TOGETHER] {
    dots_body(a, b)
}

#[inline(always)]
fn weighted_square_body(x: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    let (weight_chunks, weight_rest) = weights.as_chunks::<LANES>();
    for (x, w) in chunks.iter().zip(weight_chunks) {
        for lane in 0..LANES {
            sums[lane] += w[lane] * x[lane] * x[lane];
        }
    }
    for (sum, (x, w)) in sums.iter_mut().zip(rest.iter().zip(weight_rest)) {
        *sum += w * x * x;
    }
    sums.iter().sum()
}

versions! {
    fn dot = dot_body(a: &[f32], b: &[f32]) -> f32;
    fn dots_of_four = dots_of_four_body(a: &[f32], b: [&[f32]; TOGETHER]) -> [f32; TOGETHER];
    fn weighted_square = weighted_square_body(x: &[f32], weights: &[f32]) -> f32;
}

/// `[a.len(), b.len()]`, of arrays of one size.
pub(super) fn inner_products(pool: &Pool, isa: Isa, a: &[&Array], b: &[&Array]) -> Vec<f64> {
    let size = a.first().map_or(0, |a| a.values().len());
    by_piece(pool, size, a.len() * b.len(), |piece, sums| {
        for (own, sums) in a.iter().zip(sums.chunks_mut(b.len().max(1))) {
            let own = &own.values()[piece.clone()];
            let (fours, rest) = b.as_chunks::<TOGETHER>();
            let (four_sums, rest_sums) = sums.as_chunks_mut::<TOGETHER>();
            for (four, sums) in fours.iter().zip(four_sums) {
                *sums = dots_of_four(isa, own, four.map(|b| &b.values()[piece.clone()])).map(f64::from);
            }
            for (b, sum) in rest.iter().zip(rest_sums) {
                *sum = f64::from(dot(isa, own, &b.values()[piece.clone()]));
            }
        }
    })
}

/// Of each array the sum of `weights x x`; without weights, of `x x`.
pub(super) fn squares(pool: &Pool, isa: Isa, xs: &[&Array], weights: Option<&Array>) -> Vec<f64> {
    let size = xs.first().map_or(0, |x| x.values().len());
    by_piece(pool, size, xs.len(), |piece, sums| {
        for (x, sum) in xs.iter().zip(sums) {
            let x = &x.values()[piece.clone()];
            *sum = f64::from(match weights {
                Some(weights) => weighted_square(isa, x, &weights.values()[piece.clone()]),
                None => dot(isa, x, x),
            });
        }
    })
}

/// `count` sums over `size` elements: `f` makes those of a piece.
fn by_piece(pool: &Pool, size: usize, count: usize, f: impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync) -> Vec<f64> {
    let pieces = size.div_ceil(PIECE);
    let mut parts = vec![0f64; pieces * count];
    let out = Output::new(&mut parts);
    pool.run(pieces, |piece| {
        // SAFETY: the sums of a piece are one task's.
        let own = unsafe { out.part(piece * count, count) };
        f(piece * PIECE..size.min((piece + 1) * PIECE), own);
    });
    let mut sums = vec![0f64; count];
    for part in parts.chunks(count.max(1)) {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wild(n: usize, by: f32) -> Array {
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * by).sin() * 1e2).collect();
        Array::from_values(vec![n], &values)
    }

    #[test]
    fn products_are_right_and_depend_on_neither_company_nor_threads_nor_instructions() {
        for n in [1, 17, 4096, 10_007] {
            let a: Vec<Array> = (0..3).map(|i| wild(n, 0.3 + i as f32)).collect();
            let b: Vec<Array> = (0..6).map(|i| wild(n, 0.7 + i as f32)).collect();
            let (a, b): (Vec<&Array>, Vec<&Array>) = (a.iter().collect(), b.iter().collect());
            let all = inner_products(&Pool::new(1), Isa::PORTABLE, &a, &b);
            let squared = squares(&Pool::new(1), Isa::PORTABLE, &a, Some(b[5]));
            for (i, x) in a.iter().enumerate() {
                for (j, y) in b.iter().enumerate() {
                    let pairs = x.values().iter().zip(y.values());
                    let exact: f64 = pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    assert!((all[i * 6 + j] - exact).abs() <= 1e4 * n as f64 * f64::from(f32::EPSILON), "{n}");
                    let alone = inner_products(&Pool::new(2), Isa::best(), &[x], &[y]);
                    assert_eq!(alone[0].to_bits(), all[i * 6 + j].to_bits(), "{n}");
                }
                let weighted: f64 =
                    x.values().iter().zip(b[5].values()).map(|(x, w)| f64::from(*w) * f64::from(*x).powi(2)).sum();
                assert!((squared[i] - weighted).abs() <= 1e6 * n as f64 * f64::from(f32::EPSILON), "{n}");
                assert_eq!(squares(&Pool::new(2), Isa::best(), &[x], Some(b[5]))[0].to_bits(), squared[i].to_bits());
                let plain = squares(&Pool::new(2), Isa::best(), &[x], None);
                assert_eq!(plain, inner_products(&Pool::new(1), Isa::PORTABLE, &[x], &[x]), "{n}");
            }
        }
    }
}
