//! Products of complex matrices, one for each frequency.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use crate::device::Scalar;
use crate::device::cpu::simd::Line;
use pulp::{Simd, WithSimd};

/// A factor whose entries are used one by one.
#[derive(Clone, Copy)]
pub struct Entries<'a, T> {
    /// Of each of some images `channels` real parts, and as many imaginary ones.
    pub values: &'a [T],
    pub channels: usize,
    /// Whether entry (i, k) is channel i of image k, instead of channel k of image i.
    pub turned: bool,
}

impl<T: Scalar> Entries<'_, T> {
    /// From a row to the next, and from a column to the next, where an image has so many scalars.
    fn strides(&self, image: usize) -> [usize; 2] {
        if self.turned { [1, image] } else { [image, 1] }
    }
}

/// A factor whose rows are lines: first the real parts, then as many of imaginary ones.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    pub lines: &'a [Line<T>],
    pub count: usize,
}

/// Up to two pairs of factors.
pub type Terms<'a, T> = [Option<(Entries<'a, T>, Rows<'a, T>)>; 2];

/// `C = sum A B`, or `C += sum A B`, over up to two pairs of factors; the rows of C are as those of B.
pub struct Products<'a, T> {
    pub terms: Terms<'a, T>,
    pub rows: usize,
    pub c: &'a mut [Line<T>],
    pub add: bool,
    /// Scratch: a scalar for each entry.
    pub both: &'a mut [T],
}

/// `R` rows and `V` vectors of C in registers, with three products for four: the imaginary part is
/// `(re + im) (re + im) - re re - im im`.
///
/// # Safety
/// The factors have the rows from `i` and the vectors from `j`; `both_of` has the sum of the real and imaginary part of every entry.
#[inline(always)]
unsafe fn sums<T: Scalar, S: Simd, const R: usize, const V: usize>(
    simd: S,
    terms: &Terms<'_, T>,
    both_of: [&[T]; 2],
    (i, j): (usize, usize),
    width: usize,
) -> [[[T::Vector<S>; V]; R]; 2] {
    let mut re = [[T::splat(simd, T::zero()); V]; R];
    let (mut im, mut both) = (re, re);
    for (term, of_a) in terms.iter().zip(both_of) {
        let Some((a, b)) = term else { continue };
        let vectors = T::vectors::<S>(T::scalars(b.lines)).as_ptr();
        let ([row, step], [row_of_both, step_of_both]) = (a.strides(2 * a.channels), a.strides(a.channels));
        // SAFETY: the caller's promise.
        let (mut at, mut at_both) = unsafe { (a.values.as_ptr().add(i * row), of_a.as_ptr().add(i * row_of_both)) };
        for k in 0..b.count {
            // SAFETY: the caller's promise.
            let (b_re, b_im): (&[_; V], &[_; V]) = unsafe {
                let at = vectors.add(2 * width * k + j);
                (&*at.cast(), &*at.add(width).cast())
            };
            let mut b_both = *b_re;
            for v in 0..V {
                b_both[v] = T::vadd(simd, b_re[v], b_im[v]);
            }
            for r in 0..R {
                // SAFETY: as above.
                let [a_re, a_im, a_both] = unsafe {
                    let at = at.add(r * row);
                    let of_both = T::splat(simd, *at_both.add(r * row_of_both));
                    [T::splat(simd, *at), T::splat(simd, *at.add(a.channels)), of_both]
                };
                for v in 0..V {
                    re[r][v] = T::vfma(simd, a_re, b_re[v], re[r][v]);
                    im[r][v] = T::vfma(simd, a_im, b_im[v], im[r][v]);
                    both[r][v] = T::vfma(simd, a_both, b_both[v], both[r][v]);
                }
            }
            at = at.wrapping_add(step);
            at_both = at_both.wrapping_add(step_of_both);
        }
    }
    for r in 0..R {
        for v in 0..V {
            let real = T::vsub(simd, re[r][v], im[r][v]);
            im[r][v] = T::vsub(simd, both[r][v], T::vadd(simd, re[r][v], im[r][v]));
            re[r][v] = real;
        }
    }
    [re, im]
}

impl<T: Scalar> WithSimd for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { terms, rows, c, add, both } = self;
        if rows == 0 {
            return;
        }
        let c = T::vectors_mut::<S>(T::scalars_mut(c));
        let width = c.len() / (2 * rows);
        assert_eq!(c.len(), 2 * rows * width);
        for (a, b) in terms.iter().flatten() {
            assert_eq!(T::vectors::<S>(T::scalars(b.lines)).len(), 2 * width * b.count);
            let (images, channels) = if a.turned { (b.count, rows) } else { (rows, b.count) };
            assert!(channels <= a.channels && images <= a.values.len() / (2 * a.channels));
        }
        // Of every entry once, instead of whenever it is used.
        let mut sums_of = [&[][..]; 2];
        let mut left = both;
        for (sums, term) in sums_of.iter_mut().zip(&terms) {
            let Some((a, _)) = term else { continue };
            let (own, rest) = left.split_at_mut(a.values.len() / 2);
            left = rest;
            for (own, image) in own.chunks_exact_mut(a.channels).zip(a.values.chunks_exact(2 * a.channels)) {
                let (re, im) = image.split_at(a.channels);
                for ((sum, &re), &im) in own.iter_mut().zip(re).zip(im) {
                    *sum = re + im;
                }
            }
            *sums = own;
        }
        let mut j = 0;
        while j < width {
            macro_rules! columns {
                ($v:literal, $most:expr) => {{
                    let mut i = 0;
                    // Cut evenly.
                    let mut pieces = rows.div_ceil($most);
                    while pieces > 0 {
                        let size = (rows - i).div_ceil(pieces);
                        macro_rules! take {
                            ($r:literal) => {{
                                // SAFETY: asserted above.
                                let sums = unsafe { sums::<T, S, $r, $v>(simd, &terms, sums_of, (i, j), width) };
                                for (part, sums) in sums.iter().enumerate() {
                                    for r in 0..$r {
                                        let c = &mut c[(2 * (i + r) + part) * width + j..][..$v];
                                        for v in 0..$v {
                                            c[v] = if add { T::vadd(simd, c[v], sums[r][v]) } else { sums[r][v] };
                                        }
                                    }
                                }
                            }};
                        }
                        match size {
                            1 => take!(1),
                            2 => take!(2),
                            3 => take!(3),
                            4 => take!(4),
                            5 => take!(5),
                            _ => take!(6),
                        }
                        i += size;
                        pieces -= 1;
                    }
                    j += $v;
                }};
            }
            match width - j {
                2.. if S::REGISTER_COUNT >= 32 => columns!(2, 4),
                _ if S::REGISTER_COUNT >= 32 => columns!(1, 6),
                _ => columns!(1, 3),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::simd::tests::with_all;
    use crate::device::cpu::simd::{CHANNELS, SimdScalar};

    #[test]
    fn sums_of_complex_products() {
        for (rows, lines, counts, add) in [(1, 1, [1, 0], false), (7, 2, [3, 4], true), (13, 3, [5, 0], false)] {
            let noise = |len: usize, seed: f64| (0..len).map(|i| (seed * (i * i) as f64).sin()).collect::<Vec<_>>();
            let (a, b) =
                (counts.map(|n| noise(rows * 2 * n, 0.3)), counts.map(|n| noise(n * 2 * lines * CHANNELS, 0.7)));
            let as_lines =
                |values: &[f64]| values.chunks_exact(CHANNELS).map(|l| Line(l.try_into().unwrap())).collect::<Vec<_>>();
            let before = noise(rows * 2 * lines * CHANNELS, 0.9);
            let channels = lines * CHANNELS;
            with_all(|| {
                let c: &mut [Line<f64>] = as_lines(&before).leak();
                Check {
                    a: a.clone(),
                    b: [as_lines(&b[0]), as_lines(&b[1])],
                    counts,
                    rows,
                    add,
                    c,
                    channels,
                    before: before.clone(),
                }
            });
        }
    }

    struct Check {
        a: [Vec<f64>; 2],
        b: [Vec<Line<f64>>; 2],
        counts: [usize; 2],
        rows: usize,
        channels: usize,
        add: bool,
        before: Vec<f64>,
        c: &'static mut [Line<f64>],
    }

    impl WithSimd for Check {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let Self { a, b, counts, rows, channels, add, before, c } = self;
            let term = |t: usize| {
                let entries = Entries { values: &a[t][..], channels: counts[t], turned: false };
                (counts[t] > 0).then_some((entries, Rows { lines: &b[t][..], count: counts[t] }))
            };
            let both = &mut vec![f64::NAN; rows * (counts[0] + counts[1])];
            Products { terms: [term(0), term(1)], rows, c, add, both }.with_simd(simd);
            let c = f64::scalars(c);
            for i in 0..rows {
                for j in 0..channels {
                    let [mut re, mut im] =
                        if add { [0, 1].map(|p| before[(2 * i + p) * channels + j]) } else { [0.0; 2] };
                    for t in 0..2 {
                        let b = f64::scalars(&b[t]);
                        for k in 0..counts[t] {
                            let [ar, ai] = [0, 1].map(|p| a[t][(2 * i + p) * counts[t] + k]);
                            let [br, bi] = [0, 1].map(|p| b[(2 * k + p) * channels + j]);
                            (re, im) = (re + ar * br - ai * bi, im + ar * bi + ai * br);
                        }
                    }
                    for (p, expected) in [re, im].into_iter().enumerate() {
                        let value = c[(2 * i + p) * channels + j];
                        assert!(
                            (value - expected).abs() < 1e-13,
                            "{simd:?}: ({i}, {j})[{p}] is {value}, not {expected}"
                        );
                    }
                }
            }
        }
    }
}
