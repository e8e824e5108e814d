//! Dense symmetric eigenproblems on the host, in f64, by faer.

use crate::{Error, Result};
use faer::{Mat, Side};
use std::ops::Range;

/// Eigenvalues in ascending order and their orthonormal eigenvectors.
#[derive(Clone, Debug)]
pub struct SymmetricEigen {
    /// Eigenvalues, ascending (n).
    pub values: Vec<f64>,
    /// Eigenvector j is `vectors[j]` (n, n).
    pub vectors: Vec<Vec<f64>>,
}

/// All eigenpairs of the symmetric matrix whose entry (i, j), for i >= j, is `entry(i, j)`.
///
/// # Errors
/// [`Error::Numerical`] if an entry is not finite or the iteration fails.
pub fn symmetric_eigen(n: usize, entry: impl Fn(usize, usize) -> f64) -> Result<SymmetricEigen> {
    let matrix = Mat::from_fn(n, n, |i, j| entry(i.max(j), i.min(j)));
    if (0..n).any(|j| (0..n).any(|i| !matrix[(i, j)].is_finite())) {
        return Err(Error::Numerical("the operator returned a value that is not finite".into()));
    }
    let eigen = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|e| Error::Numerical(format!("the dense eigensolver failed on a {n}x{n} matrix: {e:?}")))?;
    let values = (0..n).map(|j| eigen.S()[j]).collect();
    let vectors = (0..n).map(|j| (0..n).map(|i| eigen.U()[(i, j)]).collect()).collect();
    Ok(SymmetricEigen { values, vectors })
}

/// A small row-major matrix in f64.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Small {
    pub rows: usize,
    pub columns: usize,
    pub data: Vec<f64>,
}

impl Small {
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, data: vec![0.0; rows * columns] }
    }

    pub fn identity(n: usize) -> Self {
        Self::from_fn(n, n, |i, j| if i == j { 1.0 } else { 0.0 })
    }

    pub fn from_fn(rows: usize, columns: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        let data = (0..rows * columns).map(|i| f(i / columns, i % columns)).collect();
        Self { rows, columns, data }
    }

    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.columns + j]
    }

    pub fn set(&mut self, i: usize, j: usize, value: f64) {
        self.data[i * self.columns + j] = value;
    }

    /// Rows and columns in these ranges.
    pub fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Small {
        Small::from_fn(rows.len(), columns.len(), |i, j| self.at(rows.start + i, columns.start + j))
    }

    /// Writes `part` with its first entry at `(row, column)`.
    pub fn put(&mut self, row: usize, column: usize, part: &Small) {
        for i in 0..part.rows {
            let to = (row + i) * self.columns + column;
            self.data[to..to + part.columns].copy_from_slice(&part.data[i * part.columns..(i + 1) * part.columns]);
        }
    }

    pub fn transposed(&self) -> Small {
        Small::from_fn(self.columns, self.rows, |i, j| self.at(j, i))
    }

    pub fn minus(&self, other: &Small) -> Small {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns), "shapes of a difference");
        Small::from_fn(self.rows, self.columns, |i, j| self.at(i, j) - other.at(i, j))
    }

    pub fn plus(&self, other: &Small) -> Small {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns), "shapes of a sum");
        Small::from_fn(self.rows, self.columns, |i, j| self.at(i, j) + other.at(i, j))
    }

    pub fn times(&self, other: &Small) -> Small {
        assert_eq!(self.columns, other.rows, "shapes of a product");
        Small::from_fn(self.rows, other.columns, |i, j| (0..self.columns).map(|l| self.at(i, l) * other.at(l, j)).sum())
    }

    pub fn max_abs(&self) -> f64 {
        self.data.iter().fold(0.0, |m, v| v.abs().max(m))
    }

    pub fn row_norm(&self, i: usize) -> f64 {
        self.data[i * self.columns..(i + 1) * self.columns].iter().map(|v| v * v).sum::<f64>().sqrt()
    }
}
