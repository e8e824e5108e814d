//! Two-dimensional transforms of images of channels.
//!
//! Two blocks of channels are transformed at once, one as real parts and one as imaginary ones, and told apart by symmetry: half of
//! a real image's frequencies are the conjugates of the other half, and are not kept.

use super::TASK;
use super::fourier::{Complex, Transform, USUAL, complex, length};
use crate::device::Scalar;
use crate::device::cpu::ahead::{Ahead, prefetch, prefetch_to_write};
use crate::device::cpu::arena::{with_arena, zeros};
use crate::device::cpu::matrix::MatMut;
use crate::device::cpu::simd::{CHANNELS, Line, arch};
use crate::network::Conv;
use bumpalo::Bump;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Transforms of a period in both directions that is long enough for a layer's images to meet none of their copies.
#[derive(Clone, Copy)]
pub struct Plan<'a, T> {
    y: Transform<'a, T>,
    x: Transform<'a, T>,
}

impl<'a, T: Scalar> Plan<'a, T> {
    pub fn new(arena: &'a Bump, c: &Conv) -> Self {
        let [y, x] = periods(c).map(|len| Transform::new(arena, len));
        Self { y, x }
    }

    /// What an image is multiplied by when it is transformed, multiplied with a transform, and transformed back.
    pub fn gain(&self) -> f64 {
        (4 * self.y.len * self.x.len) as f64
    }

    /// From a row of the image, transformed, to the next: one more than it has, so that a column's entries fall into different sets
    /// of a cache.
    fn pitch(&self) -> usize {
        self.x.len + 1
    }

    fn room<'r>(&self, arena: &'r Bump) -> Room<'r, T> {
        let [y, x] = [self.y.len, self.x.len];
        Room {
            pixels: [zeros(arena, x), zeros(arena, x)],
            rows: zeros(arena, 2 * y * self.pitch()),
            columns: [zeros(arena, 2 * y), zeros(arena, 2 * y)],
            scratch: zeros(arena, 4 * y.max(x)),
            own: zeros(arena, 2 * 3 * (y / 2) * (x / 2)),
        }
    }
}

/// What a transform works in.
pub struct Room<'r, T> {
    /// A row of each of two blocks.
    pixels: [&'r mut [Line<T>]; 2],
    /// The image with its rows transformed.
    rows: &'r mut [Line<T>],
    /// Two columns.
    columns: [&'r mut [Line<T>]; 2],
    scratch: &'r mut [Line<T>],
    /// For [`Source`] and [`Sink`]: three lines for every four pixels, for each of two blocks.
    own: &'r mut [Line<T>],
}

/// The lengths of a layer's transforms: of its images' columns and rows with what a kernel reaches beyond them, and of a larger kernel.
fn periods(c: &Conv) -> [usize; 2] {
    [c.height, c.width].map(|side| length((side + c.kernel / 2).max(c.kernel)))
}

/// The kept frequencies of each column: (column, column of their conjugates, how many). Of a column that is its own mirror, half.
fn columns([y, x]: [usize; 2]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..=x / 2).map(move |fx| {
        let mirrored = (x - fx) % x;
        (fx, mirrored, if mirrored == fx { y / 2 + 1 } else { y })
    })
}

/// How many frequencies of a layer's images are kept.
pub fn frequencies(c: &Conv) -> usize {
    columns(periods(c)).map(|(_, _, count)| count).sum()
}

/// Images that can be transformed.
pub trait Source<T>: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Called before the rows of a block of channels of an image are asked for.
    #[inline(always)]
    fn begin<S: Simd>(&self, _simd: S, _image: usize, _block: usize, _own: &mut [Line<T>]) {}

    /// Writes a row from its first pixel on; behind it zeros stay. Channels that there are not are zeros.
    fn row<S: Simd>(&self, simd: S, image: usize, block: usize, y: usize, own: &[Line<T>], pixels: &mut [Line<T>]);

    /// What is read of an image.
    fn values(&self, image: usize) -> &[T];
}

/// Takes images that transforms were made back into.
pub trait Sink<T> {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Where in the period the first row and column lie.
    fn offset(&self) -> isize;

    /// Called before the rows of a block of channels.
    #[inline(always)]
    fn begin<S: Simd>(&mut self, _simd: S, _block: usize, _own: &mut [Line<T>]) {}

    /// Takes a row, which begins at the offset and goes round.
    fn row<S: Simd>(&mut self, simd: S, block: usize, y: usize, own: &mut [Line<T>], pixels: &[Line<T>]);

    /// Called after the rows.
    #[inline(always)]
    fn end<S: Simd>(&mut self, _simd: S, _block: usize, _own: &mut [Line<T>]) {}
}

/// Twice the transforms of some images, or their conjugates: for each frequency and image, `blocks` lines of real parts and as many of
/// imaginary ones.
pub fn transform<T: Scalar>(
    plan: &Plan<'_, T>,
    blocks: usize,
    conjugate: bool,
    source: &impl Source<T>,
    spectra: MatMut<'_, Line<T>>,
) {
    let sign = T::from_f32(if conjugate { -1.0 } else { 1.0 });
    spectra.column_blocks(TASK * 2 * blocks).for_each(|(start, mut spectra)| {
        with_arena(|arena| {
            let mut room = plan.room(arena);
            for at in (0..spectra.column_count()).step_by(2 * blocks) {
                let image = (start + at) / (2 * blocks);
                let ahead = if at + 2 * blocks < spectra.column_count() { source.values(image + 1) } else { &[] };
                let (room, spectra) = (&mut room, &mut spectra);
                let forward = Forward { plan, source, blocks, sign, image, ahead, room, spectra, at };
                arch().dispatch(forward);
            }
        });
    });
}

struct Forward<'f, 'a, 's, T, F> {
    plan: &'f Plan<'a, T>,
    source: &'f F,
    blocks: usize,
    /// Of the imaginary parts.
    sign: T,
    image: usize,
    /// What is read next.
    ahead: &'f [T],
    room: &'f mut Room<'a, T>,
    spectra: &'f mut MatMut<'s, Line<T>>,
    /// Where the image's lines begin.
    at: usize,
}

impl<T: Scalar, F: Source<T>> Forward<'_, '_, '_, T, F> {
    /// With periods that the compiler knows, or with 0.
    #[inline(always)]
    fn run<S: Simd, const N: usize>(self, simd: S) {
        let Self { plan, source, blocks, sign, image, ahead, room, spectra, at } = self;
        let (y, x) = if N > 0 { (N, N) } else { (plan.y.len, plan.x.len) };
        let (pitch, per_line) = (x + 1, CHANNELS / T::lanes::<S>());
        let sign = T::splat(simd, sign);
        let Room { pixels: [first, second], rows, columns: [p, q], scratch, own } = room;
        let rows = &mut complex::<T, S>(rows)[..y * pitch * per_line];
        let (p, q) = (&mut complex::<T, S>(p)[..y], &mut complex::<T, S>(q)[..y]);
        let mut ahead = Ahead::in_steps([ahead], blocks.div_ceil(2) * source.rows());
        for block in (0..blocks).step_by(2) {
            let paired = block + 1 < blocks;
            let (own, of_second) = own.split_at_mut(own.len() / 2);
            source.begin(simd, image, block, own);
            if paired {
                source.begin(simd, image, block + 1, of_second);
            } else {
                second.fill(Line::zero());
            }
            for rows in rows.chunks_exact_mut(y * pitch) {
                // Rows below the image.
                rows[source.rows() * pitch..].fill([T::splat(simd, T::zero()); 2]);
            }
            for i in 0..source.rows() {
                ahead.step();
                source.row(simd, image, block, i, own, first);
                if paired {
                    source.row(simd, image, block + 1, i, of_second, second);
                }
                let (re, im) = (T::vectors::<S>(T::scalars(first)), T::vectors::<S>(T::scalars(second)));
                let (re, im) = (&re[..x * per_line], &im[..x * per_line]);
                for e in 0..per_line {
                    let row = &mut rows[(e * y + i) * pitch..][..x];
                    plan.x.run::<S, N>(
                        simd,
                        scratch,
                        |j| [re[j * per_line + e], im[j * per_line + e]],
                        |f, z| row[f] = z,
                    );
                }
            }
            let (mut first_of_column, mut asked) = (0, 0);
            for (fx, mirrored, count) in columns([y, x]) {
                // The lines of the next column, as soon as there is a pause.
                while block == 0 && asked < spectra.row_count().min(first_of_column + count + y) {
                    prefetch_to_write(&mut spectra.row(asked)[at..][..2 * blocks]);
                    asked += 1;
                }
                for (e, rows) in rows.chunks_exact(y * pitch).enumerate() {
                    plan.y.run::<S, N>(simd, scratch, |i| rows[i * pitch + fx], |f, z| p[f] = z);
                    if mirrored == fx {
                        q.copy_from_slice(p);
                    } else {
                        plan.y.run::<S, N>(simd, scratch, |i| rows[i * pitch + mirrored], |f, z| q[f] = z);
                    }
                    for fy in 0..count {
                        let ([re, im], [mirror_re, mirror_im]) = (p[fy], q[if fy == 0 { 0 } else { y - fy }]);
                        let lines = &mut spectra.row(first_of_column + fy)[at..][..2 * blocks];
                        T::store::<S>(&mut lines[block], e, T::vadd(simd, re, mirror_re));
                        T::store::<S>(&mut lines[blocks + block], e, T::vmul(simd, sign, T::vsub(simd, im, mirror_im)));
                        if paired {
                            T::store::<S>(&mut lines[block + 1], e, T::vadd(simd, im, mirror_im));
                            let imaginary = T::vmul(simd, sign, T::vsub(simd, mirror_re, re));
                            T::store::<S>(&mut lines[blocks + block + 1], e, imaginary);
                        }
                    }
                }
                first_of_column += count;
            }
        }
    }
}

impl<T: Scalar, F: Source<T>> WithSimd for Forward<'_, '_, '_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match [self.plan.y.len, self.plan.x.len] {
            lens if lens == [USUAL[0]; 2] => self.run::<S, { USUAL[0] }>(simd),
            lens if lens == [USUAL[1]; 2] => self.run::<S, { USUAL[1] }>(simd),
            _ => self.run::<S, 0>(simd),
        }
    }
}

/// Transforms images back, each into `len` of the values, for which `sink` makes a sink of their number and place. Their lines at
/// a frequency are `pitch` from those at the next.
pub fn transform_back<'v, T: Scalar, F: Sink<T>>(
    plan: &Plan<'_, T>,
    blocks: usize,
    (spectra, pitch): (&[Line<T>], usize),
    values: &'v mut [T],
    len: usize,
    sink: impl Fn(usize, &'v mut [T]) -> F + Sync,
) {
    values.par_chunks_mut(TASK * len).enumerate().for_each(|(task, values)| {
        with_arena(|arena| {
            let mut room = plan.room(arena);
            for (image, values) in (task * TASK..).zip(values.chunks_exact_mut(len)) {
                let (at, room, sink) = (2 * blocks * image, &mut room, sink(image, values));
                arch().dispatch(Inverse { plan, blocks, spectra, pitch, at, room, sink });
            }
        });
    });
}

struct Inverse<'f, 'a, T, F> {
    plan: &'f Plan<'a, T>,
    blocks: usize,
    spectra: &'f [Line<T>],
    pitch: usize,
    /// Where the image's lines begin.
    at: usize,
    room: &'f mut Room<'a, T>,
    sink: F,
}

impl<T: Scalar, F: Sink<T>> Inverse<'_, '_, T, F> {
    /// With periods that the compiler knows, or with 0.
    #[inline(always)]
    fn run<S: Simd, const N: usize>(self, simd: S) {
        let Self { plan, blocks, spectra, pitch: of_spectra, at, room, mut sink } = self;
        let (y, x) = if N > 0 { (N, N) } else { (plan.y.len, plan.x.len) };
        let (pitch, per_line) = (x + 1, CHANNELS / T::lanes::<S>());
        let Room { pixels: [first, second], rows, columns: [p, q], scratch, own } = room;
        let rows = &mut complex::<T, S>(rows)[..y * pitch * per_line];
        let (p, q) = (&mut complex::<T, S>(p)[..y], &mut complex::<T, S>(q)[..y]);
        let start = sink.offset().rem_euclid(y as isize) as usize;
        for block in (0..blocks).step_by(2) {
            let paired = block + 1 < blocks;
            let (own, of_second) = own.split_at_mut(own.len() / 2);
            sink.begin(simd, block, own);
            if paired {
                sink.begin(simd, block + 1, of_second);
            }
            let mut asked = spectra.chunks(of_spectra).map(|lines| &lines[at..at + 2 * blocks]);
            if block == 0 {
                asked.by_ref().take(y / 2 + 1).for_each(prefetch);
            }
            let mut frequency = 0;
            for (fx, mirrored, count) in columns([y, x]) {
                if block == 0 {
                    asked.by_ref().take(y).for_each(prefetch);
                }
                for (e, rows) in rows.chunks_exact_mut(y * pitch).enumerate() {
                    for fy in 0..count {
                        let lines = &spectra[(frequency + fy) * of_spectra + at..][..2 * blocks];
                        let (re, im) = (T::load::<S>(&lines[block], e), T::load::<S>(&lines[blocks + block], e));
                        let (mut other_re, mut other_im) = (T::splat(simd, T::zero()), T::splat(simd, T::zero()));
                        if paired {
                            other_re = T::load::<S>(&lines[block + 1], e);
                            other_im = T::load::<S>(&lines[blocks + block + 1], e);
                        }
                        // Real and imaginary parts exchanged, which makes the transforms go back.
                        p[fy] = [T::vadd(simd, im, other_re), T::vsub(simd, re, other_im)];
                        let mirror = [T::vsub(simd, other_re, im), T::vadd(simd, re, other_im)];
                        let mirrored_y = if fy == 0 { 0 } else { y - fy };
                        if mirrored == fx {
                            p[mirrored_y] = mirror;
                        } else {
                            q[mirrored_y] = mirror;
                        }
                    }
                    plan.y.run::<S, N>(simd, scratch, |i| p[i], |i, z| rows[i * pitch + fx] = z);
                    if mirrored != fx {
                        plan.y.run::<S, N>(simd, scratch, |i| q[i], |i, z| rows[i * pitch + mirrored] = z);
                    }
                }
                frequency += count;
            }
            for i in 0..sink.rows() {
                let (re, im) =
                    (T::vectors_mut::<S>(T::scalars_mut(first)), T::vectors_mut::<S>(T::scalars_mut(second)));
                let (re, im) = (&mut re[..x * per_line], &mut im[..x * per_line]);
                for e in 0..per_line {
                    let row = &rows[(e * y + (start + i) % y) * pitch..][..x];
                    let store = |j: usize, z: Complex<_>| (im[j * per_line + e], re[j * per_line + e]) = (z[0], z[1]);
                    plan.x.run::<S, N>(simd, scratch, |j| row[j], store);
                }
                sink.row(simd, block, i, own, first);
                if paired {
                    sink.row(simd, block + 1, i, of_second, second);
                }
            }
            sink.end(simd, block, own);
            if paired {
                sink.end(simd, block + 1, of_second);
            }
        }
    }
}

impl<T: Scalar, F: Sink<T>> WithSimd for Inverse<'_, '_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match [self.plan.y.len, self.plan.x.len] {
            lens if lens == [USUAL[0]; 2] => self.run::<S, { USUAL[0] }>(simd),
            lens if lens == [USUAL[1]; 2] => self.run::<S, { USUAL[1] }>(simd),
            _ => self.run::<S, 0>(simd),
        }
    }
}
