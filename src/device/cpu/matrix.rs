//! Strided matrix views over slices, and the one place that calls `gemm`.

use crate::device::Scalar;
use rayon::prelude::*;
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

    /// Cuts into blocks of `width` columns (the last may be narrower), each a task: (first column, block).
    pub fn column_blocks(self, width: usize) -> impl IndexedParallelIterator<Item = (usize, MatMut<'a, T>)>
    where
        T: Send,
    {
        MatsMut { first: self, count: 1, pitch: 0 }.column_blocks(width).map(|(_, start, block)| (start, block))
    }

    /// Cuts into blocks of `height` rows (the last may be lower), each a task: (first row, block).
    pub fn row_blocks(self, height: usize) -> impl IndexedParallelIterator<Item = (usize, MatMut<'a, T>)>
    where
        T: Send,
    {
        self.t().column_blocks(height).map(|(start, block)| (start, block.t()))
    }

    /// Row `i` of a view whose rows are contiguous.
    pub fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows && self.column_stride == 1);
        // SAFETY: the row lies inside the view, and the view is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row_stride), self.columns) }
    }

    /// Rows `start..start + count`.
    pub fn rows(&mut self, start: usize, count: usize) -> MatMut<'_, T> {
        assert!(start + count <= self.rows);
        // Wrapping, because a matrix without entries may lie anywhere.
        let data = self.data.wrapping_add(start * self.row_stride);
        MatMut { data, rows: count, borrow: PhantomData, ..*self }
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.columns
    }
}

/// Matrices of one shape, `pitch` scalars apart, to be written.
pub struct MatsMut<'a, T> {
    first: MatMut<'a, T>,
    count: usize,
    pitch: usize,
}

impl<'a, T: Send> MatsMut<'a, T> {
    /// Row-major `rows x columns` each, the first at the beginning of `data`.
    pub fn new(data: &'a mut [T], count: usize, pitch: usize, rows: usize, columns: usize) -> Self {
        assert!(count <= 1 || pitch >= rows * columns, "matrices to be written must not overlap");
        assert_fits(data.len(), count, rows * columns, pitch, 1);
        // With none there need be no data.
        Self { first: MatMut::new(data, if count > 0 { rows } else { 0 }, columns), count, pitch }
    }

    /// Number of matrices.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of rows of each.
    pub fn row_count(&self) -> usize {
        self.first.rows
    }

    /// Cuts all into blocks of `width` columns (the last may be narrower), each a task: (matrix, first column, block).
    pub fn column_blocks(self, width: usize) -> impl IndexedParallelIterator<Item = (usize, usize, MatMut<'a, T>)> {
        let MatMut { data, rows, columns, row_stride, column_stride, .. } = self.first;
        let (data, blocks) = (Shared(data), columns.div_ceil(width));
        (0..self.count * blocks).into_par_iter().map(move |i| {
            let (matrix, start) = (i / blocks, i % blocks * width);
            // Wrapping, because a matrix without rows may lie anywhere.
            let data = data.get().wrapping_add(matrix * self.pitch + start * column_stride);
            let columns = width.min(columns - start);
            (matrix, start, MatMut { data, rows, columns, row_stride, column_stride, borrow: PhantomData })
        })
    }

    /// Cuts all into blocks of `height` rows (the last may be lower), each a task: (matrix, first row, block).
    pub fn row_blocks(self, height: usize) -> impl IndexedParallelIterator<Item = (usize, usize, MatMut<'a, T>)> {
        let turned = Self { first: self.first.t(), ..self };
        turned.column_blocks(height).map(|(matrix, start, block)| (matrix, start, block.t()))
    }
}

/// Where [`MatsMut`] lie. Their blocks share no entry: matrices do not overlap, nor do their columns, and an index runs once over
/// all blocks of all matrices.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: it is only used to make views that share no entry.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: likewise.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

impl<T: Scalar> MatMut<'_, T> {
    /// Copies a view whose columns are contiguous, column after column.
    pub fn copy_to(&self, to: &mut [T]) {
        assert!(self.row_stride == 1 && to.len() == self.rows * self.columns);
        for (j, to) in to.chunks_exact_mut(self.rows).take(self.columns).enumerate() {
            // SAFETY: the column lies inside the view, and nobody else may write it while the view lives.
            to.copy_from_slice(unsafe { std::slice::from_raw_parts(self.data.add(j * self.column_stride), self.rows) });
        }
    }

    /// `self = lhs rhs`, on one thread.
    pub fn set_product(&mut self, lhs: Mat<'_, T>, rhs: Mat<'_, T>) {
        self.gemm(lhs, rhs, false, T::one());
    }

    /// `self += scale lhs rhs`, on one thread.
    pub fn add_product(&mut self, scale: T, lhs: Mat<'_, T>, rhs: Mat<'_, T>) {
        self.gemm(lhs, rhs, true, scale);
    }

    /// `self = scale lhs rhs`, or `+=` if `accumulate`, on one thread.
    pub fn gemm(&mut self, lhs: Mat<'_, T>, rhs: Mat<'_, T>, accumulate: bool, scale: T) {
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
        let (down, right) = ((rows - 1).checked_mul(row_stride), (columns - 1).checked_mul(column_stride));
        let last = down.zip(right).and_then(|(down, right)| down.checked_add(right)).unwrap_or(usize::MAX - 1);
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
            MatMut::new(&mut c, m, n).column_blocks(2).for_each(|(start, mut block)| {
                let width = block.columns;
                block.add_product(2.0, Mat::new(&a, m, k), Mat::new(&b, n, k).t().columns(start, width));
            });
            for i in 0..m {
                for j in 0..n {
                    let exact: f64 = 1.0 + 2.0 * (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f64>();
                    assert_eq!(c[i * n + j], exact, "({m},{k},{n}) at ({i},{j})");
                }
            }
        }
    }

    #[test]
    fn blocks_of_several_matrices_cover_each_entry_once() {
        for (count, rows, columns, width) in [(0, 3, 4, 2), (1, 2, 7, 3), (3, 2, 5, 2), (2, 0, 4, 3)] {
            let pitch = rows * columns + 1;
            let mut data = vec![0; count * pitch];
            MatsMut::new(&mut data, count, pitch, rows, columns).column_blocks(width).for_each(
                |(k, start, mut block)| {
                    for i in 0..block.row_count() {
                        let row = block.row(i).iter_mut().enumerate();
                        row.for_each(|(j, entry)| *entry += 1 + k * pitch + i * columns + start + j);
                    }
                },
            );
            for (at, &entry) in data.iter().enumerate() {
                assert_eq!(entry, if at % pitch < rows * columns { 1 + at } else { 0 }, "{count} of {rows}x{columns}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a 3x3 matrix needs 9 scalars")]
    fn a_view_outside_its_slice_is_refused() {
        Mat::new(&[0f32; 8], 3, 3);
    }
}
