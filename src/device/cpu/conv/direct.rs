//! The conv block's forward pass: every position is worked out, since a route must be known before it can be used.
//!
//! The output channels lie in the vectors. The four positions of a pooling window share each load of the weights, and up to four
//! vectors of channels each input; sixteen sums stay in registers. Input channels are taken a few at a time, so
//! that their weights stay in the first-level cache while the windows stream by.
//!
//! Black borders and ReLUs leave zeros: a tap whose inputs at the four positions are all zero is passed by. On MNIST that is
//! three of four in LeNet's first layer, and in the second 54% before training and 29% after 500 steps.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use super::GROUP;
use crate::device::cpu::CpuDevice;
use crate::device::cpu::arena::{with_arena, zeros};
use crate::device::cpu::bits::{WORD, word_of};
use crate::device::cpu::simd::{CHANNELS, Line, arch};
use crate::device::cpu::transpose::{to_channels, to_channels_anyhow};
use crate::device::{ConvForward, DEAD, Scalar};
use crate::network::Conv;
use bumpalo::Bump;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Positions of a pooling window.
const WINDOW: usize = 4;
/// Lines of weights that are used together: 24 KiB in f32.
const LINES: usize = 384;

/// Whether the vectors are full enough to be worth it, and the taps few enough for a word of bits.
pub(super) fn pays(c: &Conv) -> bool {
    c.out_channels >= CHANNELS / 2 && c.kernel * c.kernel <= WORD
}

pub(super) fn forward<T: Scalar>(c: &Conv, call: ConvForward<'_, CpuDevice<T>>) {
    let shape = Shape::new(c);
    let biases = &call.theta[c.bias..c.bias + c.out_channels];
    let arch = arch();
    let (input_len, len) = (c.input_len(), c.output_len());
    let outputs = call.p[..call.samples * len].par_chunks_mut(GROUP * len);
    let routes = call.route.write()[..call.samples * len].par_chunks_mut(GROUP * len);
    let inputs = call.x[..call.samples * input_len].par_chunks(GROUP * input_len);
    with_arena(|arena| {
        let weights = shape.pack_weights(arena, c, &call.theta[c.weight..c.weight + c.weight_len()]);
        let offsets = shape.offsets(arena, c);
        (outputs, routes, inputs).into_par_iter().for_each(|(p, route, x)| {
            with_arena(|arena| {
                let image = zeros(arena, c.in_channels * shape.plane);
                let rows = zeros(arena, shape.plane / shape.row);
                let live = zeros(arena, shape.windows * c.in_channels);
                let z = zeros(arena, shape.windows * WINDOW * shape.lines);
                let (values, codes) = (zeros(arena, shape.windows), zeros(arena, shape.windows));
                let samples = p.chunks_exact_mut(len).zip(route.chunks_exact_mut(len)).zip(x.chunks_exact(input_len));
                for ((p, route), x) in samples {
                    shape.border(c, x, image);
                    arch.dispatch(FindLive { c, shape, image, rows, live });
                    z.fill(Line::zero());
                    arch.dispatch(Windows { c, shape, weights, offsets, image, live, z });
                    arch.dispatch(Pool { shape, biases, z, values, codes, p, route });
                }
            });
        });
    });
}

#[derive(Clone, Copy)]
struct Shape {
    /// Lines of output channels.
    lines: usize,
    /// Pooled outputs of a channel.
    windows: usize,
    /// Row of a bordered input channel.
    row: usize,
    /// A bordered input channel.
    plane: usize,
    /// Weights of one pair of channels: kernel x kernel.
    taps: usize,
}

impl Shape {
    fn new(c: &Conv) -> Self {
        let row = c.width + c.kernel - 1;
        Self {
            lines: c.out_channels.div_ceil(CHANNELS),
            windows: c.pooled_height() * c.pooled_width(),
            row,
            plane: row * (c.height + c.kernel - 1),
            taps: c.kernel * c.kernel,
        }
    }

    /// Packs weights (OC, IC, K, K) as (IC, K, K, OC).
    fn pack_weights<'a, T: Scalar>(&self, arena: &'a Bump, c: &Conv, weights: &[T]) -> &'a [Line<T>] {
        let packed = zeros::<Line<T>>(arena, c.in_channels * self.taps * self.lines);
        for (oc, weights) in weights.chunks_exact(c.in_channels * self.taps).enumerate() {
            for (lines, &w) in packed.chunks_exact_mut(self.lines).zip(weights) {
                lines[oc / CHANNELS].0[oc % CHANNELS] = w;
            }
        }
        packed
    }

    /// Input channels whose weights are used together.
    fn step(&self) -> usize {
        (LINES / (self.taps * self.lines)).max(1)
    }

    /// Where each tap of so many channels meets a window's first position.
    fn offsets<'a>(&self, arena: &'a Bump, c: &Conv) -> &'a [usize] {
        let Self { row, plane, taps, .. } = *self;
        let offset = |i: usize| i / taps * plane + i % taps / c.kernel * row + i % c.kernel;
        arena.alloc_slice_fill_with(self.step() * taps, offset)
    }

    /// Copies a sample (IC, H, W) into the inside of a zero-bordered image.
    fn border<T: Scalar>(&self, c: &Conv, sample: &[T], image: &mut [T]) {
        let pad = c.kernel / 2;
        for (plane, channel) in image.chunks_exact_mut(self.plane).zip(sample.chunks_exact(c.height * c.width)) {
            for (to, from) in plane.chunks_exact_mut(self.row).skip(pad).zip(channel.chunks_exact(c.width)) {
                to[pad..pad + c.width].copy_from_slice(from);
            }
        }
    }
}

/// Finds the taps of every window that meet an input which is not zero.
struct FindLive<'a, T> {
    c: &'a Conv,
    shape: Shape,
    /// (IC, bordered plane).
    image: &'a [T],
    /// Scratch: a word of bits for each row of a channel.
    rows: &'a mut [u64],
    /// A bit for each tap (window, IC).
    live: &'a mut [u64],
}

impl<T: Scalar> WithSimd for FindLive<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Shape { row, plane, taps, .. } = self.shape;
        let Conv { kernel, in_channels, .. } = *self.c;
        if row > WORD {
            return self.live.fill(u64::MAX >> (WORD - taps));
        }
        let rows = self.rows;
        for (ic, image) in self.image.chunks_exact(plane).enumerate() {
            for (live, row) in rows.iter_mut().zip(image.chunks_exact(row)) {
                *live = word_of(row, |x| u8::from(x != T::zero()));
            }
            // A position's bit stands for the two by two inputs that its tap meets in a window.
            for y in 0..rows.len() {
                let both = rows[y] | rows.get(y + 1).copied().unwrap_or(0);
                rows[y] = both | both >> 1;
            }
            let mut windows = self.live[ic..].iter_mut().step_by(in_channels);
            for y in 0..self.c.pooled_height() {
                let rows = &rows[2 * y..2 * y + kernel];
                for (x, live) in (0..self.c.pooled_width()).zip(&mut windows) {
                    let bits = |row: &u64| row >> (2 * x) & ((1 << kernel) - 1);
                    *live = rows.iter().rev().fold(0, |all, row| all << kernel | bits(row));
                }
            }
        }
    }
}

/// `z += W x` at the four positions of every window.
struct Windows<'a, T> {
    c: &'a Conv,
    shape: Shape,
    /// (IC, K, K, OC).
    weights: &'a [Line<T>],
    /// See [`Shape::offsets`].
    offsets: &'a [usize],
    /// (IC, bordered plane).
    image: &'a [T],
    /// A bit for each tap (window, IC), see [`FindLive`].
    live: &'a [u64],
    /// (window, position, OC).
    z: &'a mut [Line<T>],
}

/// The taps of some input channels, at one window.
#[derive(Clone, Copy)]
struct Taps<'a> {
    /// Distance of the window's two rows.
    row: usize,
    /// Where each tap meets the window's first position.
    offsets: &'a [usize],
    /// For each channel a bit for each of its taps.
    live: &'a [u64],
}

impl<T: Scalar> Windows<'_, T> {
    /// `V` vectors of channels from the `first`, at one window.
    ///
    /// # Safety
    /// There are weights for every tap; where it meets the image a position follows, and two in the next row; only taps have bits.
    #[inline(always)]
    unsafe fn some<S: Simd, const V: usize>(
        simd: S,
        Taps { row, offsets, live }: Taps<'_>,
        weights: &[T::Vector<S>],
        image: &[T],
        z: &mut [T::Vector<S>],
        first: usize,
    ) {
        let vectors = z.len() / WINDOW;
        let mut sums = [[T::splat(simd, T::zero()); V]; WINDOW];
        for i in 0..WINDOW {
            sums[i].copy_from_slice(&z[i * vectors + first..][..V]);
        }
        let taps = offsets.len() / live.len();
        for (ic, &bits) in live.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                let at = ic * taps + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                // SAFETY: the caller's promises. With checks there are more instructions than the multiply-adds leave time for.
                let (x, w): ([&[T; 2]; 2], &[T::Vector<S>; V]) = unsafe {
                    let at_tap = image.as_ptr().add(*offsets.get_unchecked(at));
                    ([&*at_tap.cast(), &*at_tap.add(row).cast()], &*weights.as_ptr().add(at * vectors + first).cast())
                };
                for i in 0..WINDOW {
                    let x = T::splat(simd, x[i / 2][i % 2]);
                    for v in 0..V {
                        sums[i][v] = T::vfma(simd, x, w[v], sums[i][v]);
                    }
                }
            }
        }
        for i in 0..WINDOW {
            z[i * vectors + first..][..V].copy_from_slice(&sums[i]);
        }
    }
}

impl<T: Scalar> WithSimd for Windows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Shape { lines, row, plane, taps, .. } = self.shape;
        let vectors = lines * CHANNELS / T::lanes::<S>();
        let all = self.live.iter().fold(0, |all, bits| all | bits);
        assert!(all.leading_zeros() as usize >= WORD - taps);
        let (rows, columns) = (self.c.pooled_height(), self.c.pooled_width());
        let last_window = 2 * (rows.saturating_sub(1) * row + columns.saturating_sub(1));
        let step = self.shape.step();
        let blocks = self.weights.chunks(step * taps * lines).zip(self.image.chunks(step * plane));
        for ((weights, image), ic) in blocks.zip((0..).step_by(step)) {
            let weights = T::vectors::<S>(T::scalars(weights));
            let offsets = &self.offsets[..weights.len() / vectors];
            let last = offsets.last().map_or(0, |last| last + last_window + row + 1);
            assert!(last < image.len());
            let channels = ic..ic + offsets.len() / taps;
            let mut live = self.live.chunks_exact(self.c.in_channels).map(|live| &live[channels.clone()]);
            let mut windows = self.z.chunks_exact_mut(WINDOW * lines);
            for y in 0..rows {
                for ((x, z), live) in (0..columns).zip(&mut windows).zip(&mut live) {
                    let image = &image[2 * (y * row + x)..];
                    let z = T::vectors_mut::<S>(T::scalars_mut(z));
                    let taps = Taps { row, offsets, live };
                    let mut first = 0;
                    while first < vectors {
                        macro_rules! take {
                            ($v:literal) => {{
                                // SAFETY: asserted above of the last tap of the last window, and of all bits.
                                unsafe { Self::some::<S, $v>(simd, taps, weights, image, z, first) };
                                first += $v;
                            }};
                        }
                        match vectors - first {
                            4.. if S::REGISTER_COUNT >= 32 => take!(4),
                            2.. => take!(2),
                            _ => take!(1),
                        }
                    }
                }
            }
        }
    }
}

/// `p = relu(max over a window of z + b)` and its route.
struct Pool<'a, T> {
    shape: Shape,
    biases: &'a [T],
    /// (window, position, OC).
    z: &'a [Line<T>],
    /// Scratch: values of a line of channels (window).
    values: &'a mut [Line<T>],
    /// Scratch: route codes of a line of channels (window).
    codes: &'a mut [[u8; CHANNELS]],
    /// (OC, window).
    p: &'a mut [T],
    route: &'a mut [u8],
}

impl<T: Scalar> WithSimd for Pool<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Shape { lines, windows, .. } = self.shape;
        let Self { values, codes, .. } = self;
        for (line, biases) in self.biases.chunks(CHANNELS).enumerate() {
            let mut padded = [T::zero(); CHANNELS];
            padded[..biases.len()].copy_from_slice(biases);
            for ((z, value), code) in self.z.chunks_exact(WINDOW * lines).zip(&mut *values).zip(&mut *codes) {
                let mut best = z[line].0;
                // As wide as the values, so that both are chosen by one comparison of vectors.
                let mut route = [0u32; CHANNELS];
                for other in 1..WINDOW {
                    let z = &z[other * lines + line].0;
                    for c in 0..CHANNELS {
                        // A strict comparison: ties go to the first position.
                        let wins = z[c] > best[c];
                        best[c] = if wins { z[c] } else { best[c] };
                        route[c] = if wins { other as u32 } else { route[c] };
                    }
                }
                for c in 0..CHANNELS {
                    let sum = best[c] + padded[c];
                    // Written so that a NaN stays visible instead of dying at the ReLU.
                    let dead = sum <= T::zero();
                    value.0[c] = if dead { T::zero() } else { sum };
                    route[c] = if dead { u32::from(DEAD) } else { route[c] };
                }
                for c in 0..CHANNELS {
                    code[c] = route[c] as u8;
                }
            }
            let channels = line * CHANNELS * windows..(line * CHANNELS + biases.len()) * windows;
            to_channels(simd, values, &mut self.p[channels.clone()], windows);
            to_channels_anyhow(codes, &mut self.route[channels], windows);
        }
    }
}
