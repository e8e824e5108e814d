//! Strided matrix views over slices, and the one place that calls `gemm`.

use crate::device::Scalar;
use std::marker::PhantomData;

/// A matrix view: entry (i, j) is at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// Row-major `rows x columns` at the beginning of `data`.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns, 1)
    }

    /// Any strides; panics if the last entry lies outside `data`.
    pub fn strided(data: &'a [T], rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Self {
        assert_fits(data.len(), rows, columns, row_stride, column_stride);
        Self { data, rows, columns, row_stride, column_stride }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Columns `start..start + count`.
    pub fn columns(self, start: usize, count: usize) -> Self {
        let data = if count == 0 { &[] } else { &self.data[start * self.column_stride..] };
        Self::strided(data, self.rows, count, self.row_stride, self.column_stride)
    }

    /// Row `i` of a view whose rows are contiguous.
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows && self.column_stride == 1);
        &self.data[i * self.row_stride..][..self.columns]
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// Rows `start..start + count`.
    pub fn rows(self, start: usize, count: usize) -> Self {
        self.t().columns(start, count).t()
    }
}

/// A matrix view to be written.
pub struct MatMut<'a, T> {
    data: *mut T,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a MatMut is an exclusive borrow of the entries it covers, like `&mut [T]`.
unsafe impl<T: Send> Send for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// Row-major `rows x columns` at the beginning of `data`.
    pub fn new(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns, 1)
    }

    /// Any strides; panics if the last entry lies outside `data` or if two entries may share a place.
    pub fn strided(data: &'a mut [T], rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Self {
        assert_fits(data.len(), rows, columns, row_stride, column_stride);
        assert!(
            rows <= 1 || columns <= 1 || row_stride >= columns * column_stride || column_stride >= rows * row_stride,
            "entries of a matrix to be written must not overlap"
        );
        Self { data: data.as_mut_ptr(), rows, columns, row_stride, column_stride, borrow: PhantomData }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Cuts into blocks of `width` columns (the last may be narrower): (first column, block).
    pub fn column_blocks(self, width: usize) -> Vec<(usize, MatMut<'a, T>)> {
        let block = |start: usize| {
            // SAFETY: start < columns, so the block begins inside the view; blocks share no entry.
            let data = unsafe { self.data.add(start * self.column_stride) };
            (start, MatMut { data, columns: width.min(self.columns - start), ..self })
        };
        (0..self.columns).step_by(width).map(block).collect()
    }

    /// Cuts into blocks of `height` rows (the last may be lower): (first row, block).
    pub fn row_blocks(self, height: usize) -> Vec<(usize, MatMut<'a, T>)> {
        self.t().column_blocks(height).into_iter().map(|(start, block)| (start, block.t())).collect()
    }

    /// Row `i` of a view whose rows are contiguous.
    pub fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows && self.column_stride == 1);
        // SAFETY: the row lies inside the view, and the view is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row_stride), self.columns) }
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }
}

impl<T: Scalar> MatMut<'_, T> {
    /// A copy of a view whose columns are contiguous, column after column.
    pub fn to_vec(&self) -> Vec<T> {
        assert!(self.row_stride == 1);
        // SAFETY: the column lies inside the view, and nobody else may write it while the view lives.
        let column = |j| unsafe { std::slice::from_raw_parts(self.data.add(j * self.column_stride), self.rows) };
        (0..self.columns).flat_map(|j| column(j).iter().copied()).collect()
    }

    /// `self = lhs rhs`, on one thread.
    pub fn set_product(&mut self, lhs: Mat<'_, T>, rhs: Mat<'_, T>) {
        self.gemm(lhs, rhs, false, T::one());
    }

    /// `self += scale lhs rhs`, on one thread.
    pub fn add_product(&mut self, scale: T, lhs: Mat<'_, T>, rhs: Mat<'_, T>) {
        self.gemm(lhs, rhs, true, scale);
    }

    /// `self = lhs rhs`, or `+=` if `accumulate`, on one thread.
    pub fn product(&mut self, lhs: Mat<'_, T>, rhs: Mat<'_, T>, accumulate: bool) {
        self.gemm(lhs, rhs, accumulate, T::one());
    }

    fn gemm(&mut self, lhs: Mat<'_, T>, rhs: Mat<'_, T>, accumulate: bool, scale: T) {
        assert_eq!((self.rows, self.columns, lhs.columns), (lhs.rows, rhs.columns, rhs.rows), "shapes of a product");
        // SAFETY: all three views were checked to lie inside their slices when they were made, and `self` is exclusive.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                lhs.columns,
                self.data,
                self.column_stride as isize,
                self.row_stride as isize,
                accumulate,
                lhs.data.as_ptr(),
                lhs.column_stride as isize,
                lhs.row_stride as isize,
                rhs.data.as_ptr(),
                rhs.column_stride as isize,
                rhs.row_stride as isize,
                T::one(),
                scale,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

fn assert_fits(len: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) {
    if rows > 0 && columns > 0 {
        let last = (rows - 1) * row_stride + (columns - 1) * column_stride;
        assert!(last < len, "a {rows}x{columns} matrix needs {} scalars, the slice has {len}", last + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_awkward_sizes_and_strides_match_the_definition() {
        for (m, k, n) in [(1, 1, 1), (3, 2, 5), (17, 7, 4), (8, 0, 3)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i * 7 % 11) as f64 - 5.0).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i * 5 % 13) as f64 - 6.0).collect();
            let mut c = vec![1.0; m * n];
            // b is read transposed; c is written in two column blocks.
            for (start, mut block) in MatMut::new(&mut c, m, n).column_blocks(2) {
                let width = block.columns;
                block.add_product(2.0, Mat::new(&a, m, k), Mat::new(&b, n, k).t().columns(start, width));
            }
            for i in 0..m {
                for j in 0..n {
                    let exact: f64 = 1.0 + 2.0 * (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f64>();
                    assert_eq!(c[i * n + j], exact, "({m},{k},{n}) at ({i},{j})");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a 3x3 matrix needs 9 scalars")]
    fn a_view_outside_its_slice_is_refused() {
        Mat::new(&[0f32; 8], 3, 3);
    }
}
