//! The gated kernels: dot products and sums over tiles, in registers.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use super::{ENTRIES, SAMPLES, SUM_RUN};
use crate::device::Scalar;
use crate::device::cpu::arena::zeros;
use crate::device::cpu::matrix::Mat;
use crate::device::cpu::simd::{CHANNELS, Line};
use bumpalo::Bump;
use pulp::{Simd, WithSimd};

/// Some columns of some rows of `N` matrices, in aligned lines: a run of the first row of each, then of the second, ...
/// Columns that the matrices do not have are zero.
pub struct Tile<'a, T, const N: usize> {
    pub lines: &'a mut [Line<T>],
    run: usize,
}

impl<'a, T: Scalar, const N: usize> Tile<'a, T, N> {
    pub fn new(arena: &'a Bump, rows: usize, run: usize) -> Self {
        Self { lines: zeros(arena, rows * N * run), run }
    }

    pub fn fill(&mut self, matrices: [Mat<'_, T>; N], rows: impl Iterator<Item = usize>, first_column: usize) {
        let mut runs = self.lines.chunks_exact_mut(self.run);
        for row in rows {
            for (matrix, run) in matrices.iter().zip(&mut runs) {
                let from = &matrix.row(row)[first_column..];
                let to = T::scalars_mut(run);
                let (to, rest) = to.split_at_mut(from.len().min(to.len()));
                to.copy_from_slice(&from[..to.len()]);
                rest.fill(T::zero());
            }
        }
    }
}

/// `z[i][s] += weights_unit . x_s` for the i-th unit of a list and a team of samples.
pub struct Dots<'a, T, const N: usize> {
    /// Rows of `weights`.
    pub list: &'a [usize],
    pub weights: &'a [Line<T>],
    pub x: &'a [Line<T>],
    /// By entry of the list.
    pub z: &'a mut [[T; SAMPLES]],
}

impl<T: Scalar, const N: usize> Dots<'_, T, N> {
    /// `R` units at once.
    #[inline(always)]
    fn some<S: Simd, const R: usize>(
        simd: S,
        list: &[usize],
        weights: &[T::Vector<S>],
        x: &[T::Vector<S>],
        z: &mut [[T; SAMPLES]],
    ) {
        let len = x.len() / SAMPLES;
        let mut rows = [x; R];
        for r in 0..R {
            rows[r] = &weights[list[r] * len..][..len];
        }
        let mut samples = [x; SAMPLES];
        for s in 0..SAMPLES {
            samples[s] = &x[s * len..][..len];
        }
        let mut sums = [[T::splat(simd, T::zero()); SAMPLES]; R];
        for i in 0..len {
            for r in 0..R {
                for s in 0..SAMPLES {
                    sums[r][s] = T::vfma(simd, rows[r][i], samples[s][i], sums[r][s]);
                }
            }
        }
        for r in 0..R {
            let sums = T::vsums(simd, sums[r]);
            for s in 0..SAMPLES {
                z[r][s] += sums[s];
            }
        }
    }

    /// All units of a list, `R` at once.
    #[inline(always)]
    fn all<S: Simd, const R: usize>(self, simd: S) {
        let weights = T::vectors::<S>(T::scalars(self.weights));
        let x = T::vectors::<S>(T::scalars(self.x));
        let whole = self.list.len() / R * R;
        for (list, z) in self.list.chunks_exact(R).zip(self.z.chunks_exact_mut(R)) {
            Self::some::<S, R>(simd, list, weights, x, z);
        }
        for (list, z) in self.list[whole..].chunks_exact(1).zip(self.z[whole..].chunks_exact_mut(1)) {
            Self::some::<S, 1>(simd, list, weights, x, z);
        }
    }
}

impl<T: Scalar, const N: usize> WithSimd for Dots<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.all::<S, 6>(simd) } else { self.all::<S, 2>(simd) }
    }
}

/// How two receivers share what they load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Where both receive; elsewhere each receives alone. For receivers that have little in common.
    Both,
    /// Where either receives: the other's coefficients are zeros there. For receivers that have most in common.
    Either,
}

/// `z_r += sum over the entries e of a group of coefficient(r, e) x_e`, for each receiver.
///
/// Giver g of a group has entries `N g` to `N g + N - 1`: its rows of `N` matrices.
pub struct Sums<'a, T, const N: usize> {
    /// For each receiver, the bits of its givers.
    pub givers: &'a [u32],
    /// For each receiver.
    pub coefficients: &'a [[T; ENTRIES]],
    /// How the receivers share, two by two.
    pub share: Share,
    /// A run of each entry.
    pub x: &'a [Line<T>],
    /// A run for each receiver.
    pub z: &'a mut [Line<T>],
}

impl<T: Scalar, const N: usize> Sums<'_, T, N> {
    /// Adds to `V` vectors of `R` receivers what those of `givers` give them.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const V: usize>(
        simd: S,
        mut givers: u32,
        x: &[T::Vector<S>],
        run: usize,
        coefficients: [&[T; ENTRIES]; R],
        sums: [&mut [T::Vector<S>; V]; R],
    ) {
        while givers != 0 {
            let giver = givers.trailing_zeros() as usize % (ENTRIES / N);
            givers &= givers - 1;
            for entry in giver * N..(giver + 1) * N {
                let x = &x[entry * run..][..V];
                let mut c = [T::splat(simd, T::zero()); R];
                for r in 0..R {
                    c[r] = T::splat(simd, coefficients[r][entry]);
                }
                for v in 0..V {
                    for r in 0..R {
                        sums[r][v] = T::vfma(simd, c[r], x[v], sums[r][v]);
                    }
                }
            }
        }
    }

    /// `V` vectors of all receivers at once, `R` by `R`.
    #[inline(always)]
    fn all<S: Simd, const R: usize, const V: usize>(
        self,
        simd: S,
        add: impl Fn(&[u32; R], &[[T; ENTRIES]; R], &[T::Vector<S>], usize, &mut [[T::Vector<S>; V]; R]),
    ) {
        let x = T::vectors::<S>(T::scalars(self.x));
        // Vectors of a run.
        let run = SUM_RUN * CHANNELS / T::lanes::<S>();
        let givers = self.givers.as_chunks::<R>().0;
        let coefficients = self.coefficients.as_chunks::<R>().0;
        for ((givers, c), z) in givers.iter().zip(coefficients).zip(self.z.chunks_exact_mut(R * SUM_RUN)) {
            let z = T::vectors_mut::<S>(T::scalars_mut(z));
            for first in (0..run).step_by(V) {
                let mut sums = [[T::splat(simd, T::zero()); V]; R];
                for r in 0..R {
                    sums[r].copy_from_slice(&z[r * run + first..][..V]);
                }
                add(givers, c, &x[first..], run, &mut sums);
                for r in 0..R {
                    z[r * run + first..][..V].copy_from_slice(&sums[r]);
                }
            }
        }
    }

    #[inline(always)]
    fn in_pairs<S: Simd, const V: usize>(self, simd: S) {
        let share = self.share;
        self.all::<S, 2, V>(
            simd,
            #[inline(always)]
            |&[a, b], [c0, c1], x, run, [s0, s1]| {
                let both = if share == Share::Both { a & b } else { a | b };
                Self::add::<S, 2, V>(simd, both, x, run, [c0, c1], [s0, s1]);
                Self::add::<S, 1, V>(simd, a & !both, x, run, [c0], [s0]);
                Self::add::<S, 1, V>(simd, b & !both, x, run, [c1], [s1]);
            },
        );
    }

    #[inline(always)]
    fn one_by_one<S: Simd, const V: usize>(self, simd: S) {
        self.all::<S, 1, V>(
            simd,
            #[inline(always)]
            |&[givers], [c], x, run, [sums]| {
                Self::add::<S, 1, V>(simd, givers, x, run, [c], [sums]);
            },
        );
    }
}

impl<T: Scalar, const N: usize> WithSimd for Sums<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Sixteen registers hold the sums of half a run of one receiver: two would have a quarter each, and load more often.
        if S::REGISTER_COUNT >= 32 { self.in_pairs::<S, 14>(simd) } else { self.one_by_one::<S, 14>(simd) }
    }
}
