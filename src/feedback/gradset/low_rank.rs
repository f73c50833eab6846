//! The best approximation of a gradient by a matrix of low rank.

use super::Gradients;
use crate::feedback::gram::Gram;
use crate::request::SiteValues;

/// Singular values below this share of the largest are rounding of the input, which is f32; their vectors say nothing.
const LEAST_SHARE: f64 = 1e-9;

/// `u diag(s) v`, the largest singular values first.
#[derive(Debug, Clone, PartialEq)]
pub struct ThinSvd {
    pub rank: usize,
    /// `[rows, rank]`
    pub u: Vec<f32>,
    /// `[rank]`
    pub s: Vec<f32>,
    /// `[rank, columns]`
    pub v: Vec<f32>,
}

/// Singular values and vectors of `[rows, columns]`, in f64 by the eigenvectors of the smaller of `G G^T` and `G^T G`.
/// `rank` is cut to the smaller side; where a matrix has less, the rest is zero.
pub fn thin_svd(matrix: &[f32], rows: usize, columns: usize, rank: usize) -> ThinSvd {
    let rank = rank.min(rows).min(columns);
    let transposed: Vec<f32>;
    // Vectors of the smaller side, as many as the larger is long.
    let wide = rows <= columns;
    let vectors: &[f32] = if wide {
        transposed = (0..rows * columns).map(|at| matrix[at % rows * columns + at / rows]).collect();
        &transposed
    } else {
        matrix
    };
    let small = rows.min(columns);
    let mut gram = Gram::new(small);
    gram.add(vectors);
    let eigen = gram.sums().eigen();
    let mut svd = ThinSvd { rank, u: vec![0.0; rows * rank], s: vec![0.0; rank], v: vec![0.0; rank * columns] };
    let mut largest = 0f64;
    for index in 0..rank {
        let own = eigen.vector(index);
        let other: Vec<f64> = vectors
            .chunks(small)
            .map(|vector| vector.iter().zip(own).map(|(value, weight)| f64::from(*value) * weight).sum())
            .collect();
        // Not the root of the eigenvalue, which has lost half of its digits.
        let length = other.iter().map(|value| value * value).sum::<f64>().sqrt();
        largest = largest.max(length);
        if length <= LEAST_SHARE * largest {
            continue;
        }
        svd.s[index] = length as f32;
        let other: Vec<f64> = other.into_iter().map(|value| value / length).collect();
        let (left, right) = if wide { (own, other.as_slice()) } else { (other.as_slice(), own) };
        left.iter().enumerate().for_each(|(row, &value)| svd.u[row * rank + index] = value as f32);
        right.iter().enumerate().for_each(|(column, &value)| svd.v[index * columns + column] = value as f32);
    }
    svd
}

/// Tensors of a set of low rank: `NAME.u`, `NAME.s` and `NAME.v` of each matrix, of `[.., rows, columns]` a stack of
/// them; vectors as they are.
pub fn low_rank(gradients: &Gradients, rank: usize) -> Gradients {
    let mut tensors = Gradients::new();
    for (name, SiteValues { shape, values }) in gradients {
        let [ref leading @ .., rows, columns] = *shape.as_slice() else {
            tensors.insert(name.clone(), SiteValues { shape: shape.clone(), values: values.clone() });
            continue;
        };
        let stack: Vec<ThinSvd> =
            values.chunks((rows * columns).max(1)).map(|matrix| thin_svd(matrix, rows, columns, rank)).collect();
        let rank = rank.min(rows).min(columns);
        let mut insert = |part: &str, own: &[usize], of: fn(&ThinSvd) -> &[f32]| {
            let values = stack.iter().flat_map(|svd| of(svd).iter().copied()).collect();
            tensors.insert(format!("{name}.{part}"), SiteValues { shape: [leading, own].concat(), values });
        };
        insert("u", &[rows, rank], |svd| &svd.u);
        insert("s", &[rank], |svd| &svd.s);
        insert("v", &[rank, columns], |svd| &svd.v);
    }
    tensors
}
