//! Discrete Fourier transforms of vectors, whose lanes are channels: one transform for each lane.
//!
//! Stockham's algorithm: the passes sort as they go. There is one direction only; the other is the same with real and imaginary
//! parts exchanged on both sides.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the transforms they are")]

use crate::device::Scalar;
use crate::device::cpu::simd::Line;
use bumpalo::Bump;
use pulp::{Simd, WithSimd};
use std::f64::consts::TAU;

/// Real and imaginary parts.
pub type Complex<V> = [V; 2];

/// Lengths that the compiler knows, those of LeNet's second layer: for MNIST, and for CIFAR-10.
pub const USUAL: [usize; 2] = [16, 18];

/// Lengths are products of these.
const RADICES: [usize; 4] = [4, 5, 3, 2];

/// Whether a length is a product of radices.
fn factors(len: usize) -> bool {
    RADICES.iter().fold(len, |rest, &radix| {
        let mut rest = rest;
        while rest % radix == 0 {
            rest /= radix;
        }
        rest
    }) == 1
}

/// The shortest length that can be transformed and is at least this one.
pub fn length(at_least: usize) -> usize {
    (at_least.max(2)..).find(|&len| factors(len)).expect("a power of two is near")
}

/// Transforms of one length.
#[derive(Clone, Copy)]
pub struct Transform<'a, T> {
    pub len: usize,
    /// `exp(-2 pi i j / len)`.
    roots: Roots<'a, T>,
}

#[derive(Clone, Copy)]
struct Roots<'a, T> {
    cos: &'a [T],
    sin: &'a [T],
}

impl<'a, T: Scalar> Transform<'a, T> {
    /// Of a [`length`].
    pub fn new(arena: &'a Bump, len: usize) -> Self {
        assert!(factors(len) && len > 1, "{len} can be transformed");
        let angle = |j: usize| -TAU * j as f64 / len as f64;
        let cos = arena.alloc_slice_fill_with(len, |j| T::from_f64(angle(j).cos()));
        let sin = arena.alloc_slice_fill_with(len, |j| T::from_f64(angle(j).sin()));
        Self { len, roots: Roots { cos, sin } }
    }

    /// `store(f, sum_j exp(-2 pi i j f / len) load(j))` for every f; `N` is the length if the compiler may know it, or 0. The scratch
    /// holds two vectors for each of twice the length.
    #[inline(always)]
    pub fn run<S: Simd, const N: usize>(
        &self,
        simd: S,
        scratch: &mut [Line<T>],
        load: impl Fn(usize) -> Complex<T::Vector<S>>,
        mut store: impl FnMut(usize, Complex<T::Vector<S>>),
    ) {
        let Roots { cos, sin } = self.roots;
        if N > 0 {
            let roots = Roots { cos: &cos[..N], sin: &sin[..N] };
            let (mut first, mut second) = ([[T::splat(simd, T::zero()); 2]; N], [[T::splat(simd, T::zero()); 2]; N]);
            if N == USUAL[0] {
                pass::<T, S, 4>(simd, roots, 4, 1, load, |i, x| first[i] = x);
                pass::<T, S, 4>(simd, roots, 1, 4, |i| first[i], store);
            } else {
                pass::<T, S, 3>(simd, roots, 6, 1, load, |i, x| first[i] = x);
                pass::<T, S, 3>(simd, roots, 2, 3, |i| first[i], |i, x| second[i] = x);
                pass::<T, S, 2>(simd, roots, 1, 9, |i| second[i], store);
            }
            return;
        }
        for (i, x) in complex::<T, S>(scratch)[..self.len].iter_mut().enumerate() {
            *x = load(i);
        }
        // Not compiled into every caller.
        simd.vectorize(Passes { roots: self.roots, scratch });
        for (i, &x) in complex::<T, S>(scratch)[..self.len].iter().enumerate() {
            store(i, x);
        }
    }
}

/// Transforms what is at the beginning of the scratch.
struct Passes<'a, T> {
    roots: Roots<'a, T>,
    scratch: &'a mut [Line<T>],
}

impl<T: Scalar> WithSimd for Passes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (roots, len) = (self.roots, self.roots.cos.len());
        let (mut from, mut to) = complex::<T, S>(self.scratch)[..2 * len].split_at_mut(len);
        let (mut rest, mut stride, mut passes) = (len, 1, 0);
        while rest > 1 {
            let radix = RADICES.into_iter().find(|radix| rest.is_multiple_of(*radix)).expect("a product of radices");
            rest /= radix;
            macro_rules! take {
                ($r:literal) => {
                    pass::<T, S, $r>(simd, roots, rest, stride, |i| from[i], |i, x| to[i] = x)
                };
            }
            match radix {
                2 => take!(2),
                3 => take!(3),
                4 => take!(4),
                _ => take!(5),
            }
            std::mem::swap(&mut from, &mut to);
            stride *= radix;
            passes += 1;
        }
        if passes % 2 == 1 {
            // The result is in the second half.
            to.copy_from_slice(from);
        }
    }
}

/// Complex vectors of some lines.
#[inline(always)]
pub fn complex<T: Scalar, S: Simd>(lines: &mut [Line<T>]) -> &mut [Complex<T::Vector<S>>] {
    T::vectors_mut::<S>(T::scalars_mut(lines)).as_chunks_mut().0
}

/// One pass: `stride` interleaved transforms of length `R rest` become `R stride` of length `rest`.
#[inline(always)]
fn pass<T: Scalar, S: Simd, const R: usize>(
    simd: S,
    roots: Roots<'_, T>,
    rest: usize,
    stride: usize,
    load: impl Fn(usize) -> Complex<T::Vector<S>>,
    mut store: impl FnMut(usize, Complex<T::Vector<S>>),
) {
    for p in 0..rest {
        for q in 0..stride {
            // Loops and no closures, which would be compiled without the vectors' instructions.
            let mut x = [load(q + stride * p); R];
            for j in 1..R {
                x[j] = load(q + stride * (p + j * rest));
            }
            let y = butterfly::<T, S, R>(simd, roots, x);
            for k in 0..R {
                // The first of them are not turned.
                let turned = if p * k == 0 {
                    y[k]
                } else {
                    turn::<T, S>(simd, y[k], roots.cos[p * k * stride], roots.sin[p * k * stride])
                };
                store(q + stride * (R * p + k), turned);
            }
        }
    }
}

/// `x root`.
#[inline(always)]
fn turn<T: Scalar, S: Simd>(simd: S, [re, im]: Complex<T::Vector<S>>, cos: T, sin: T) -> Complex<T::Vector<S>> {
    let (cos, sin) = (T::splat(simd, cos), T::splat(simd, sin));
    [T::vfnma(simd, im, sin, T::vmul(simd, re, cos)), T::vfma(simd, im, cos, T::vmul(simd, re, sin))]
}

/// A transform of length R, by its definition but for what symmetry saves.
#[inline(always)]
fn butterfly<T: Scalar, S: Simd, const R: usize>(
    simd: S,
    roots: Roots<'_, T>,
    x: [Complex<T::Vector<S>>; R],
) -> [Complex<T::Vector<S>>; R] {
    let add = |a: Complex<_>, b: Complex<_>| [T::vadd(simd, a[0], b[0]), T::vadd(simd, a[1], b[1])];
    let sub = |a: Complex<_>, b: Complex<_>| [T::vsub(simd, a[0], b[0]), T::vsub(simd, a[1], b[1])];
    let mut y = x;
    if R == 2 {
        (y[0], y[1]) = (add(x[0], x[1]), sub(x[0], x[1]));
    } else if R == 4 {
        let (even, odd) = ([add(x[0], x[2]), sub(x[0], x[2])], [add(x[1], x[3]), sub(x[1], x[3])]);
        // -i times the second odd one is [im, -re].
        let [re, im] = odd[1];
        (y[0], y[2]) = (add(even[0], odd[0]), sub(even[0], odd[0]));
        y[1] = [T::vadd(simd, even[1][0], im), T::vsub(simd, even[1][1], re)];
        y[3] = [T::vsub(simd, even[1][0], im), T::vadd(simd, even[1][1], re)];
    } else {
        // x_j and x_(R-j) have the same cosines and opposite sines.
        let unit = roots.cos.len() / R;
        for j in 1..=R / 2 {
            y[0] = add(y[0], add(x[j], x[R - j]));
        }
        for k in 1..=R / 2 {
            let (mut cosines, mut sines) = (x[0], [T::splat(simd, T::zero()); 2]);
            for j in 1..=R / 2 {
                let root = j * k % R * unit;
                let (cos, sin) = (T::splat(simd, roots.cos[root]), T::splat(simd, roots.sin[root]));
                let (sum, difference) = (add(x[j], x[R - j]), sub(x[j], x[R - j]));
                cosines = [T::vfma(simd, cos, sum[0], cosines[0]), T::vfma(simd, cos, sum[1], cosines[1])];
                // i sin times the difference.
                sines = [T::vfnma(simd, sin, difference[1], sines[0]), T::vfma(simd, sin, difference[0], sines[1])];
            }
            (y[k], y[R - k]) = (add(cosines, sines), sub(cosines, sines));
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::simd::tests::with_all;

    /// Every length up to 40 against the definition.
    struct Definition;

    impl WithSimd for Definition {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            for len in (2..=40).filter(|&len| length(len) == len) {
                let arena = Bump::new();
                let transform = Transform::<f64>::new(&arena, len);
                let value = |j: usize| ((j * j) as f64 * 0.37).sin();
                let splat = |x| <f64 as crate::device::cpu::simd::SimdScalar>::splat(simd, x);
                let mut scratch = vec![Line::zero(); 4 * len];
                let mut seen = vec![0; len];
                transform.run::<S, 0>(
                    simd,
                    &mut scratch,
                    |j| [splat(value(j)), splat(value(j + 99))],
                    |f, y| {
                        seen[f] += 1;
                        let angle = |j: usize| -TAU * (j * f % len) as f64 / len as f64;
                        let re: f64 =
                            (0..len).map(|j| value(j) * angle(j).cos() - value(j + 99) * angle(j).sin()).sum();
                        let im: f64 =
                            (0..len).map(|j| value(j) * angle(j).sin() + value(j + 99) * angle(j).cos()).sum();
                        for (part, expected) in y.iter().zip([re, im]) {
                            let lanes: &[f64] = bytemuck::cast_slice(std::slice::from_ref(part));
                            assert!(
                                lanes.iter().all(|l| (l - expected).abs() < 1e-13 * len as f64),
                                "{len}, {f}: {lanes:?} {expected}"
                            );
                        }
                    },
                );
                assert_eq!(seen, vec![1; len]);
            }
        }
    }

    #[test]
    fn transforms_are_what_they_are_defined_to_be() {
        with_all(|| Definition);
    }

    #[test]
    fn lengths_are_products_of_small_primes() {
        let lengths: Vec<usize> = [1, 7, 11, 13, 16, 17, 19, 31, 66].map(length).to_vec();
        assert_eq!(lengths, [2, 8, 12, 15, 16, 18, 20, 32, 72]);
    }
}
