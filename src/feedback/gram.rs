//! Sums of outer products in f64, and what follows from their eigenvectors: powers and thin singular values.

use nalgebra::{DMatrix, SymmetricEigen};

/// `sum of x x^T` over vectors of `dim` numbers. Every entry is one chain of additions in the order of the vectors, of
/// products that are exact in f64, so that neither batches nor machines change a bit.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    dim: usize,
    count: u64,
    /// `[dim, dim]`; only the entries on and right of the diagonal are kept up to date.
    upper: Vec<f64>,
}

/// Vectors that go through the matrix together, and columns that do: both fit into the first cache.
const ROWS: usize = 16;
const COLUMNS: usize = 128;

impl Gram {
    pub fn new(dim: usize) -> Self {
        Self { dim, count: 0, upper: vec![0.0; dim * dim] }
    }

    /// Of sums that were stored; row by row, symmetric.
    pub(super) fn from_sums(dim: usize, count: u64, sums: Vec<f64>) -> Self {
        debug_assert_eq!(sums.len(), dim * dim);
        Self { dim, count, upper: sums }
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many vectors were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds vectors, `[n, dim]`.
    ///
    /// # Panics
    /// Not whole vectors.
    pub fn add(&mut self, vectors: &[f32]) {
        if self.dim == 0 {
            return;
        }
        assert_eq!(vectors.len() % self.dim, 0, "vectors have {} numbers", self.dim);
        for block in vectors.chunks(ROWS * self.dim) {
            let wide: Vec<f64> = block.iter().map(|&value| f64::from(value)).collect();
            for row in 0..self.dim {
                let mut start = row;
                while start < self.dim {
                    let end = (start + COLUMNS).min(self.dim);
                    let sums = &mut self.upper[row * self.dim..][start..end];
                    for vector in wide.chunks(self.dim) {
                        let factor = vector[row];
                        sums.iter_mut().zip(&vector[start..end]).for_each(|(sum, value)| *sum += factor * value);
                    }
                    start = end;
                }
            }
        }
        self.count += (vectors.len() / self.dim) as u64;
    }

    /// Adds the sums of other vectors.
    ///
    /// # Panics
    /// Another `dim`.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.dim, other.dim);
        self.count += other.count;
        self.upper.iter_mut().zip(&other.upper).for_each(|(sum, value)| *sum += value);
    }

    /// The sums, `[dim, dim]`, symmetric.
    pub fn sums(&self) -> Symmetric {
        let at = |row: usize, column: usize| self.upper[row.min(column) * self.dim + row.max(column)];
        let values = (0..self.dim * self.dim).map(|index| at(index / self.dim, index % self.dim)).collect();
        Symmetric { dim: self.dim, values }
    }

    /// The sums over their count; zero where nothing was added.
    pub fn mean(&self) -> Symmetric {
        let mut mean = self.sums();
        let count = self.count.max(1) as f64;
        mean.values.iter_mut().for_each(|value| *value /= count);
        mean
    }
}

/// A symmetric matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Symmetric {
    pub dim: usize,
    pub values: Vec<f64>,
}

impl Symmetric {
    /// `share` of this and the rest of another.
    ///
    /// # Panics
    /// Another `dim`.
    #[must_use]
    pub fn mixed(&self, share: f64, other: &Self) -> Self {
        assert_eq!(self.dim, other.dim);
        let values = self.values.iter().zip(&other.values).map(|(a, b)| share * a + (1.0 - share) * b).collect();
        Self { dim: self.dim, values }
    }

    /// The mean of the eigenvalues, which is the trace over `dim`.
    pub fn mean_eigenvalue(&self) -> f64 {
        let trace: f64 = self.values.iter().step_by(self.dim + 1).sum();
        trace / self.dim.max(1) as f64
    }

    /// Householder tridiagonalisation and implicit QR: 2.4 s of one core for 1024 x 1024.
    ///
    /// # Panics
    /// Entries that are no numbers: the iteration would not end.
    pub fn eigen(&self) -> Eigen {
        if self.dim == 0 {
            return Eigen { dim: 0, values: Vec::new(), vectors: Vec::new() };
        }
        assert!(self.values.iter().all(|value| value.is_finite()), "a matrix of numbers was checked before");
        let eigen = SymmetricEigen::new(DMatrix::from_row_slice(self.dim, self.dim, &self.values));
        let mut order: Vec<usize> = (0..self.dim).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]).then(a.cmp(&b)));
        let vectors =
            order.iter().flat_map(|&column| eigen.eigenvectors.column(column).iter().copied().collect::<Vec<_>>());
        Eigen {
            dim: self.dim,
            vectors: vectors.collect(),
            values: order.iter().map(|&at| eigen.eigenvalues[at]).collect(),
        }
    }
}

/// Eigenvalues, the largest first, and the unit vectors that belong to them.
#[derive(Debug, Clone)]
pub struct Eigen {
    dim: usize,
    pub values: Vec<f64>,
    vectors: Vec<f64>,
}

impl Eigen {
    pub fn vector(&self, index: usize) -> &[f64] {
        &self.vectors[index * self.dim..][..self.dim]
    }

    /// The matrix of the same vectors whose eigenvalues are `of` these.
    pub fn map(&self, of: impl Fn(f64) -> f64) -> Symmetric {
        let mut values = vec![0.0; self.dim * self.dim];
        for (index, &value) in self.values.iter().enumerate() {
            let (vector, factor) = (self.vector(index), of(value));
            for (row, &entry) in values.chunks_mut(self.dim).zip(vector) {
                let factor = factor * entry;
                row.iter_mut().zip(vector).for_each(|(sum, value)| *sum += factor * value);
            }
        }
        Symmetric { dim: self.dim, values }
    }
}
