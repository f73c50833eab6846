//! The arithmetic of additions: f32, in an order that depends on nothing but the shapes.

use crate::ckpt::weights::{WeightFiles, widen};
use crate::error::{Error, Result};

/// What becomes of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ckpt) struct Change {
    pub start: Start,
    pub plus: Option<Plus>,
}

/// What stands there before anything is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ckpt) enum Start {
    /// A tensor of the base.
    Base(String),
    /// A tensor of the addition in its place.
    Addition(String),
}

/// What is added. All names are those of the addition's tensors.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ckpt) enum Plus {
    /// `scale` times a tensor of the same shape.
    Tensor {
        name: String,
        scale: f32,
    },
    Product(Product),
}

/// `scale` times `B A`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ckpt) struct Product {
    /// `[rank, in]`
    pub a: String,
    /// `[out, rank]`
    pub b: String,
    pub rank: usize,
    pub scale: f32,
    /// Whether the matrix is stored `[in, out]`.
    pub transposed: bool,
    /// DoRA: the length that the weights of each output have in the end, `[out]`.
    pub magnitude: Option<String>,
}

impl Plus {
    /// Adds it to a tensor of some shape.
    pub fn apply(&self, values: &mut [f32], shape: &[usize], files: &WeightFiles) -> Result<()> {
        match self {
            Self::Tensor { name, scale } => {
                for (value, more) in values.iter_mut().zip(read(files, name)?) {
                    *value += scale * more;
                }
            }
            Self::Product(product) => {
                let columns = *shape.last().ok_or_else(|| Error::internal("a product of a scalar"))?;
                let (a, b) = (read(files, &product.a)?, read(files, &product.b)?);
                let rank = product.rank;
                if product.transposed {
                    add_product(values, columns, &turned(&a, rank), &turned(&b, columns), rank, product.scale);
                } else {
                    add_product(values, columns, &b, &a, rank, product.scale);
                }
                if let Some(name) = &product.magnitude {
                    scale_to(values, columns, &read(files, name)?, product.transposed);
                }
            }
        }
        Ok(())
    }
}

fn read(files: &WeightFiles, name: &str) -> Result<Vec<f32>> {
    let dtype = files.get(name).and_then(|info| info.dtype);
    let dtype = dtype.ok_or_else(|| Error::internal(format!("tensor {name} was not checked")))?;
    Ok(widen(dtype, &files.read_bytes(name)?))
}

/// Adds `scale` times `[rows, rank] [rank, columns]`. Each entry is one ascending chain over the rank.
fn add_product(values: &mut [f32], columns: usize, left: &[f32], right: &[f32], rank: usize, scale: f32) {
    let mut sums = vec![0f32; columns];
    for (row, left) in values.chunks_exact_mut(columns.max(1)).zip(left.chunks_exact(rank.max(1))) {
        sums.fill(0.0);
        for (factor, right) in left.iter().zip(right.chunks_exact(columns.max(1))) {
            for (sum, x) in sums.iter_mut().zip(right) {
                *sum += factor * x;
            }
        }
        for (value, sum) in row.iter_mut().zip(&sums) {
            *value += scale * sum;
        }
    }
}

/// Gives the weights of each output, a row or, transposed, a column, this length.
fn scale_to(values: &mut [f32], columns: usize, lengths: &[f32], transposed: bool) {
    let squares = |value: &f32| f64::from(*value) * f64::from(*value);
    if transposed {
        let mut sums = vec![0f64; columns];
        for row in values.chunks_exact(columns.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += squares(value));
        }
        let factors: Vec<f32> = lengths.iter().zip(&sums).map(|(length, sum)| length / sum.sqrt() as f32).collect();
        for row in values.chunks_exact_mut(columns.max(1)) {
            row.iter_mut().zip(&factors).for_each(|(value, factor)| *value *= factor);
        }
    } else {
        for (row, length) in values.chunks_exact_mut(columns.max(1)).zip(lengths) {
            let sum: f64 = row.iter().map(squares).sum();
            let factor = length / sum.sqrt() as f32;
            for value in row {
                *value *= factor;
            }
        }
    }
}

/// `[rows, columns]`, of so many rows, as `[columns, rows]`.
fn turned(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows.max(1);
    (0..values.len()).map(|i| values[i % rows.max(1) * columns + i / rows.max(1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_paper_and_pencil() {
        // B = [[1, 2], [3, 4], [5, 6]], A = [[1, 0, -1, 2], [0, 1, 1, 1]]
        let (b, a) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, -1.0, 2.0, 0.0, 1.0, 1.0, 1.0]);
        let product = [1.0, 2.0, 1.0, 4.0, 3.0, 4.0, 1.0, 10.0, 5.0, 6.0, 1.0, 16.0];
        let mut values = [10.0; 12];
        add_product(&mut values, 4, &b, &a, 2, 0.5);
        assert!(values.iter().zip(product).all(|(value, product)| *value == 10.0 + 0.5 * product));
        let mut values = [10.0; 12];
        add_product(&mut values, 3, &turned(&a, 2), &turned(&b, 3), 2, 0.5);
        assert_eq!(values.to_vec(), turned(&product, 3).iter().map(|x| 10.0 + 0.5 * x).collect::<Vec<f32>>());
    }

    #[test]
    fn outputs_get_their_lengths() {
        let mut rows = [3.0, 4.0, 0.0, 2.0];
        scale_to(&mut rows, 2, &[10.0, 1.0], false);
        assert_eq!(rows, [6.0, 8.0, 0.0, 1.0]);
        let mut columns = [3.0, 0.0, 4.0, 2.0];
        scale_to(&mut columns, 2, &[10.0, 1.0], true);
        assert_eq!(columns, [6.0, 0.0, 8.0, 1.0]);
    }
}
