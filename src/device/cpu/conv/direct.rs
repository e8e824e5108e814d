//! The conv block's forward pass: every position is worked out, since a route must be known before it can be used.
//!
//! The output channels lie in the vectors. The four positions of a pooling window share each load of the weights, and up to four
//! vectors of channels each input; sixteen sums stay in registers. Input channels are taken a few at a time, so
//! that their weights stay in the first-level cache while the windows stream by.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use super::GROUP;
use crate::device::cpu::CpuDevice;
use crate::device::cpu::simd::{CHANNELS, Line, arch};
use crate::device::cpu::transpose::{to_channels, to_channels_anyhow};
use crate::device::{ConvForward, DEAD, Scalar};
use crate::network::Conv;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Positions of a pooling window.
const WINDOW: usize = 4;
/// Lines of weights that are used together: 24 KiB in f32.
const LINES: usize = 384;

/// Whether the vectors are full enough to be worth it.
pub(super) fn pays(c: &Conv) -> bool {
    c.out_channels >= CHANNELS / 2
}

pub(super) fn forward<T: Scalar>(c: &Conv, call: ConvForward<'_, CpuDevice<T>>) {
    let shape = Shape::new(c);
    let weights = shape.pack_weights(c, &call.theta[c.weight..c.weight + c.weight_len()]);
    let biases = &call.theta[c.bias..c.bias + c.out_channels];
    let arch = arch();
    let (input_len, len) = (c.input_len(), c.output_len());
    let outputs = call.p[..call.samples * len].par_chunks_mut(GROUP * len);
    let routes = call.route[..call.samples * len].par_chunks_mut(GROUP * len);
    let inputs = call.x[..call.samples * input_len].par_chunks(GROUP * input_len);
    (outputs, routes, inputs).into_par_iter().for_each(|(p, route, x)| {
        let mut image = vec![T::zero(); c.in_channels * shape.plane];
        let mut z = vec![Line::zero(); shape.windows * WINDOW * shape.lines];
        let samples = p.chunks_exact_mut(len).zip(route.chunks_exact_mut(len)).zip(x.chunks_exact(input_len));
        for ((p, route), x) in samples {
            shape.border(c, x, &mut image);
            z.fill(Line::zero());
            arch.dispatch(Windows { c, shape, weights: &weights, image: &image, z: &mut z });
            arch.dispatch(Pool { shape, biases, z: &z, p, route });
        }
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
    fn pack_weights<T: Scalar>(&self, c: &Conv, weights: &[T]) -> Vec<Line<T>> {
        let mut packed = vec![Line::zero(); c.in_channels * self.taps * self.lines];
        for (oc, weights) in weights.chunks_exact(c.in_channels * self.taps).enumerate() {
            for (lines, &w) in packed.chunks_exact_mut(self.lines).zip(weights) {
                lines[oc / CHANNELS].0[oc % CHANNELS] = w;
            }
        }
        packed
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

/// `z += W x` at the four positions of every window.
struct Windows<'a, T> {
    c: &'a Conv,
    shape: Shape,
    /// (IC, K, K, OC).
    weights: &'a [Line<T>],
    /// (IC, bordered plane).
    image: &'a [T],
    /// (window, position, OC).
    z: &'a mut [Line<T>],
}

impl<T: Scalar> Windows<'_, T> {
    /// `V` vectors of channels from the `first`, at one window; `taps` are offsets from the window's first position.
    #[inline(always)]
    fn some<S: Simd, const V: usize>(
        simd: S,
        row: usize,
        taps: &[usize],
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
        for (&tap, weights) in taps.iter().zip(weights.chunks_exact(vectors)) {
            let w = &weights[first..first + V];
            let (upper, lower) = (&image[tap..tap + 2], &image[tap + row..tap + row + 2]);
            let x = [upper[0], upper[1], lower[0], lower[1]];
            for i in 0..WINDOW {
                let x = T::splat(simd, x[i]);
                for v in 0..V {
                    sums[i][v] = T::vfma(simd, x, w[v], sums[i][v]);
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
        let step = (LINES / (taps * lines)).max(1);
        let offsets: Vec<usize> =
            (0..step * taps).map(|i| i / taps * plane + i % taps / self.c.kernel * row + i % self.c.kernel).collect();
        let blocks = self.weights.chunks(step * taps * lines).zip(self.image.chunks(step * plane));
        for (weights, image) in blocks {
            let weights = T::vectors::<S>(T::scalars(weights));
            let offsets = &offsets[..weights.len() / vectors];
            let mut windows = self.z.chunks_exact_mut(WINDOW * lines);
            for y in 0..self.c.pooled_height() {
                for (x, z) in (0..self.c.pooled_width()).zip(&mut windows) {
                    let image = &image[2 * (y * row + x)..];
                    let z = T::vectors_mut::<S>(T::scalars_mut(z));
                    let mut first = 0;
                    while first < vectors {
                        macro_rules! take {
                            ($v:literal) => {{
                                Self::some::<S, $v>(simd, row, offsets, weights, image, z, first);
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
    /// (OC, window).
    p: &'a mut [T],
    route: &'a mut [u8],
}

impl<T: Scalar> WithSimd for Pool<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Shape { lines, windows, .. } = self.shape;
        let (mut values, mut codes) = (vec![Line::zero(); windows], vec![[0; CHANNELS]; windows]);
        for (line, biases) in self.biases.chunks(CHANNELS).enumerate() {
            let mut padded = [T::zero(); CHANNELS];
            padded[..biases.len()].copy_from_slice(biases);
            for ((z, value), code) in self.z.chunks_exact(WINDOW * lines).zip(&mut values).zip(&mut codes) {
                let mut best = z[line].0;
                let mut route = [0u8; CHANNELS];
                for other in 1..WINDOW {
                    let z = &z[other * lines + line].0;
                    for c in 0..CHANNELS {
                        // A strict comparison: ties go to the first position.
                        let wins = z[c] > best[c];
                        best[c] = if wins { z[c] } else { best[c] };
                        route[c] = if wins { other as u8 } else { route[c] };
                    }
                }
                for c in 0..CHANNELS {
                    let sum = best[c] + padded[c];
                    // Written so that a NaN stays visible instead of dying at the ReLU.
                    let dead = sum <= T::zero();
                    value.0[c] = if dead { T::zero() } else { sum };
                    code[c] = if dead { DEAD } else { route[c] };
                }
            }
            let channels = line * CHANNELS * windows..(line * CHANNELS + biases.len()) * windows;
            to_channels(simd, &values, &mut self.p[channels.clone()], windows);
            to_channels_anyhow(&codes, &mut self.route[channels], windows);
        }
    }
}
