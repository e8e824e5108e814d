//! Inner products of columns that are millions of rows long.
//!
//! Memory bounds them, and their rounding is what the eigensolver sees as a loss of orthogonality: a lane sums few terms
//! before f64 takes over, so that a dot product of f32 keeps seven digits with the narrowest vectors too. `gemm` would sum
//! thousands one after the other wherever it has no kernel of this shape: with NEON, and for more than 256 products.

#![allow(clippy::needless_range_loop, reason = "closures would not be compiled for the chosen instructions")]

use super::CpuDevice;
use super::simd::arch;
use crate::device::{Columns, Gram, Scalar};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Rows a task: long enough that memory streams.
const ROWS: usize = 4096;

/// Terms that a lane sums in the columns' own precision.
const TERMS: usize = 64;

type Cpu<T> = CpuDevice<T>;

pub(super) fn gram<T: Scalar>(products: &[&[Gram<'_, Cpu<T>>]]) -> Vec<Vec<f64>> {
    let arch = arch();
    let zeros = |pieces: &&[Gram<'_, Cpu<T>>]| vec![0.0; pieces.first().map_or(0, |p| p.a.count * p.b.count)];
    let mut totals: Vec<_> = products.iter().map(zeros).collect();
    // The same rows of all products are one task: a column of several comes from memory once.
    for piece in 0..products.iter().map(|pieces| pieces.len()).max().unwrap_or(0) {
        let of_products = || products.iter().map(|pieces| pieces.get(piece));
        let rows = of_products().flatten().map(|piece| piece.rows).max().unwrap_or(0);
        let starts: Vec<usize> = (0..rows).step_by(ROWS).collect();
        let sums = starts.into_par_iter().map(|start| {
            let mut sums: Vec<_> = products.iter().map(zeros).collect();
            for (piece, sums) in of_products().zip(&mut sums) {
                let Some(Gram { rows, a, b }) = piece else { continue };
                arch.dispatch(Dots { a, b, rows: start.min(*rows)..(start + ROWS).min(*rows), sums });
            }
            sums
        });
        for (total, sums) in sums.collect::<Vec<_>>().iter().flat_map(|sums| (0..).zip(sums)) {
            totals[total].iter_mut().zip(sums).for_each(|(t, s)| *t += s);
        }
    }
    totals
}

/// `sums[i][j] += a_i . b_j` over some rows.
struct Dots<'a, T: Scalar> {
    a: &'a Columns<'a, Cpu<T>>,
    b: &'a Columns<'a, Cpu<T>>,
    rows: Range<usize>,
    sums: &'a mut [f64],
}

/// Some rows of `N` columns from the given one.
#[inline(always)]
fn columns<'a, T: Scalar, const N: usize>(all: &Columns<'a, Cpu<T>>, first: usize, rows: Range<usize>) -> [&'a [T]; N] {
    std::array::from_fn(|i| &all.buffer[all.offset + (first + i) * all.pitch..][rows.clone()])
}

impl<T: Scalar> Dots<'_, T> {
    /// `A` columns from the i-th by `B` from the j-th, which share what they load.
    #[inline(always)]
    fn some<S: Simd, const A: usize, const B: usize>(&mut self, simd: S, i: usize, b: [&[T]; B], j: usize) {
        let a = columns::<T, A>(self.a, i, self.rows.clone());
        let step = TERMS * T::lanes::<S>();
        for start in (0..self.rows.len()).step_by(step) {
            let rows = start..self.rows.len().min(start + step);
            let (mut of_a, mut of_b) = (a, b);
            for i in 0..A {
                of_a[i] = &a[i][rows.clone()];
            }
            for j in 0..B {
                of_b[j] = &b[j][rows.clone()];
            }
            let sums = Self::terms(simd, of_a, of_b);
            self.add(sums, i, j);
        }
    }

    /// Of so few rows that the lanes keep their digits.
    #[inline(always)]
    fn terms<S: Simd, const A: usize, const B: usize>(simd: S, a: [&[T]; A], b: [&[T]; B]) -> [[T; A]; B] {
        let zero = T::splat(simd, T::zero());
        let (mut sums, mut x, mut y) = ([[zero; A]; B], [zero; A], [zero; B]);
        let len = a[0].len();
        let vectors = len / T::lanes::<S>();
        let whole = vectors * T::lanes::<S>();
        let (mut of_a, mut of_b) = ([T::vectors::<S>(&a[0][..whole]); A], [T::vectors::<S>(&b[0][..whole]); B]);
        for i in 0..A {
            of_a[i] = &T::vectors::<S>(&a[i][..whole])[..vectors];
        }
        for j in 0..B {
            of_b[j] = &T::vectors::<S>(&b[j][..whole])[..vectors];
        }
        for at in 0..vectors {
            for i in 0..A {
                x[i] = of_a[i][at];
            }
            for j in 0..B {
                y[j] = of_b[j][at];
            }
            Self::add_products(simd, x, y, &mut sums);
        }
        if whole < len {
            for i in 0..A {
                x[i] = T::load_some::<S>(&a[i][whole..]);
            }
            for j in 0..B {
                y[j] = T::load_some::<S>(&b[j][whole..]);
            }
            Self::add_products(simd, x, y, &mut sums);
        }
        let mut totals = [[T::zero(); A]; B];
        for j in 0..B {
            totals[j] = T::vsums(simd, sums[j]);
        }
        totals
    }

    #[inline(always)]
    fn add_products<S: Simd, const A: usize, const B: usize>(
        simd: S,
        x: [T::Vector<S>; A],
        y: [T::Vector<S>; B],
        sums: &mut [[T::Vector<S>; A]; B],
    ) {
        for j in 0..B {
            for i in 0..A {
                sums[j][i] = T::vfma(simd, x[i], y[j], sums[j][i]);
            }
        }
    }

    /// All columns of `a` by `B` columns of `b` from the j-th.
    #[inline(always)]
    fn all<S: Simd, const B: usize>(&mut self, simd: S, j: usize) {
        const A: usize = 4;
        let b = columns::<T, B>(self.b, j, self.rows.clone());
        let whole = self.a.count / A * A;
        for i in (0..whole).step_by(A) {
            self.some::<S, A, B>(simd, i, b, j);
        }
        for i in whole..self.a.count {
            self.some::<S, 1, B>(simd, i, b, j);
        }
    }

    #[inline(always)]
    fn add<const A: usize, const B: usize>(&mut self, sums: [[T; A]; B], i: usize, j: usize) {
        let pitch = self.b.count;
        for (j, sums) in (j..).zip(sums) {
            for (i, sum) in (i..).zip(sums) {
                self.sums[i * pitch + j] += sum.widen();
            }
        }
    }
}

impl<T: Scalar> WithSimd for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (mut j, count) = (0, self.b.count);
        while j < count {
            match count - j {
                // Sixteen sums and what they are sums of need more than sixteen registers.
                4.. if S::REGISTER_COUNT >= 32 => {
                    self.all::<S, 4>(simd, j);
                    j += 4;
                }
                2.. => {
                    self.all::<S, 2>(simd, j);
                    j += 2;
                }
                _ => {
                    self.all::<S, 1>(simd, j);
                    j += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::dense::tests::noise;
    use crate::device::cpu::simd::tests::with_all;

    #[test]
    fn every_instruction_set_has_the_inner_products() {
        let (offset, pitch) = (3, 10_007);
        for (rows, a, b) in [(1, 1, 1), (37, 5, 4), (1000, 4, 3), (9999, 9, 6), (4096, 2, 7)] {
            let buffer = |count, seed| noise(offset + count * pitch, seed).iter().map(|&v| v as f32).collect();
            let (v, w): (Vec<f32>, Vec<f32>) = (buffer(a, 1), buffer(b, 3));
            let columns = |buffer, count| Columns { buffer, offset, pitch, count };
            with_all(|| Compare { a: columns(&v, a), b: columns(&w, b), rows });
        }
    }

    struct Compare<'a> {
        a: Columns<'a, Cpu<f32>>,
        b: Columns<'a, Cpu<f32>>,
        rows: usize,
    }

    impl WithSimd for Compare<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { a, b, rows } = self;
            // What is there is added to.
            let mut sums = vec![1.0; a.count * b.count];
            Dots { a: &a, b: &b, rows: 0..rows, sums: &mut sums }.with_simd(simd);
            for (at, sum) in sums.iter().enumerate() {
                let [x] = columns(&a, at / b.count, 0..rows);
                let [y] = columns(&b, at % b.count, 0..rows);
                let exact: f64 = x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                // Rounding; a term too few or too many is a thousand times as much.
                let most = 1e-6 * (rows as f64).sqrt();
                assert!((sum - 1.0 - exact).abs() <= most, "{simd:?}, {rows} rows, {at}: {sum} instead of 1 + {exact}");
            }
        }
    }
}
