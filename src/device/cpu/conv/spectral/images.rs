//! The images that are transformed, and those that transforms become again: samples, kernels, and outputs at their routed positions.

use super::super::slices;
use super::plane::{Sink, Source};
use crate::device::cpu::simd::{CHANNELS, Line};
use crate::device::cpu::transpose::{to_channels, to_pixels};
use crate::device::{DEAD, Scalar};
use crate::network::Conv;
use pulp::Simd;
use std::ops::Range;

/// Images whose channels are planes.
pub struct Planes<'a, T> {
    values: &'a [T],
    /// From one image to the next, from one channel to the next.
    pitch: [usize; 2],
    channels: usize,
    height: usize,
    width: usize,
    scale: T,
}

impl<'a, T: Scalar> Planes<'a, T> {
    /// The inputs of some samples (N, IC, H, W).
    pub fn inputs(c: &Conv, values: &'a [T]) -> Self {
        let Conv { in_channels, height, width, .. } = *c;
        Self { values, pitch: [c.input_len(), height * width], channels: in_channels, height, width, scale: T::one() }
    }

    /// Weights (OC, IC, K, K), scaled: an image for each input channel, whose channels are the output's.
    pub fn by_input(c: &Conv, vector: &'a [T], scale: T) -> Self {
        let (values, taps) = (&vector[c.weight..c.weight + c.weight_len()], c.kernel * c.kernel);
        let (height, width) = (c.kernel, c.kernel);
        Self { values, pitch: [taps, c.patch_len()], channels: c.out_channels, height, width, scale }
    }

    /// The same with an image for each output channel.
    pub fn by_output(c: &Conv, vector: &'a [T], scale: T) -> Self {
        let Self { values, pitch: [input, output], height, width, .. } = Self::by_input(c, vector, scale);
        Self { values, pitch: [output, input], channels: c.in_channels, height, width, scale }
    }
}

impl<T: Scalar> Source<T> for Planes<'_, T> {
    fn rows(&self) -> usize {
        self.height
    }

    fn values(&self, image: usize) -> &[T] {
        // Of weights whose channels lie far apart, some: they are few, and read more than once.
        &self.values[image * self.pitch[0]..][..self.pitch[0]]
    }

    #[inline(always)]
    fn row<S: Simd>(&self, simd: S, image: usize, block: usize, y: usize, _: &[Line<T>], pixels: &mut [Line<T>]) {
        let count = CHANNELS.min(self.channels - block * CHANNELS);
        // Of a block before, or of images that were wider.
        if count < CHANNELS {
            pixels.fill(Line::zero());
        } else {
            pixels[self.width..].fill(Line::zero());
        }
        let pixels = &mut pixels[..self.width];
        let planes = &self.values[image * self.pitch[0] + block * CHANNELS * self.pitch[1] + y * self.width..];
        to_pixels(simd, count, |c| &planes[c * self.pitch[1]..], pixels);
        if self.scale != T::one() {
            pixels.iter_mut().flat_map(|line| &mut line.0).for_each(|value| *value *= self.scale);
        }
    }
}

/// Route codes of a block of channels of a sample, as numbers: a line for each window.
#[inline(always)]
fn codes<T: Scalar, S: Simd>(simd: S, codes: &[u8], values: &mut [T], lines: &mut [Line<T>]) {
    let windows = lines.len();
    for (value, &code) in values.iter_mut().zip(codes) {
        *value = T::from_f32(f32::from(code));
    }
    // Channels that there are not have no code: nothing is routed there.
    if codes.len() < CHANNELS * windows {
        lines.fill(Line([T::from_f32(f32::from(DEAD)); CHANNELS]));
    }
    to_pixels(simd, codes.len() / windows, |c| &values[c * windows..], lines);
}

/// The codes of the positions of a window's upper or lower row.
fn positions<T: Scalar>(y: usize) -> [T; 2] {
    [2 * (y % 2), 2 * (y % 2) + 1].map(|code| T::from_f64(code as f64))
}

/// The windows of a channel.
fn windows(c: &Conv) -> usize {
    c.pooled_height() * c.pooled_width()
}

/// A block of channels of a sample's outputs (OC, H/2, W/2).
fn of_block(c: &Conv, block: usize) -> Range<usize> {
    let len = CHANNELS * windows(c);
    block * len..((block + 1) * len).min(c.output_len())
}

/// Adjoints of pooled outputs (N, OC, H/2, W/2), each at its routed position.
pub struct Unrouted<'a, T> {
    pub c: &'a Conv,
    pub values: &'a [T],
    pub route: &'a [u8],
}

impl<T: Scalar> Source<T> for Unrouted<'_, T> {
    fn rows(&self) -> usize {
        2 * self.c.pooled_height()
    }

    fn values(&self, image: usize) -> &[T] {
        slices(self.values, image, 1, self.c.output_len())
    }

    #[inline(always)]
    fn begin<S: Simd>(&self, simd: S, image: usize, block: usize, own: &mut [Line<T>]) {
        let (c, windows) = (self.c, windows(self.c));
        let (routes, own) = own.split_at_mut(windows);
        let (adjoints, scratch) = own.split_at_mut(windows);
        let [values, route] = [image * c.output_len(); 2];
        let (values, route) = (&self.values[values..][of_block(c, block)], &self.route[route..][of_block(c, block)]);
        codes(simd, route, T::scalars_mut(scratch), routes);
        to_pixels(simd, values.len() / windows, |c| &values[c * windows..], adjoints);
    }

    #[inline(always)]
    fn row<S: Simd>(&self, _: S, _: usize, _: usize, y: usize, own: &[Line<T>], pixels: &mut [Line<T>]) {
        let (count, width, [left, right]) = (windows(self.c), self.c.pooled_width(), positions::<T>(y));
        let (routes, adjoints) = (&own[y / 2 * width..][..width], &own[count + y / 2 * width..][..width]);
        pixels[2 * width..].fill(Line::zero());
        for ((pixels, adjoint), route) in pixels.as_chunks_mut::<2>().0.iter_mut().zip(adjoints).zip(routes) {
            // Copies, so that compilers see that nothing else is written.
            let (mut first, mut second, route) = (adjoint.0, adjoint.0, route.0);
            for c in 0..CHANNELS {
                first[c] = if route[c] == left { first[c] } else { T::zero() };
                second[c] = if route[c] == right { second[c] } else { T::zero() };
            }
            *pixels = [Line(first), Line(second)];
        }
    }
}

/// Tangents of a sample's pooled outputs (OC, H/2, W/2), picked at their routed positions.
pub struct Routed<'a, T> {
    pub c: &'a Conv,
    /// Where the image lies.
    pub offset: isize,
    pub route: &'a [u8],
    pub biases: &'a [T],
    pub outputs: &'a mut [T],
}

impl<T: Scalar> Sink<T> for Routed<'_, T> {
    fn rows(&self) -> usize {
        2 * self.c.pooled_height()
    }

    fn offset(&self) -> isize {
        self.offset
    }

    #[inline(always)]
    fn begin<S: Simd>(&mut self, simd: S, block: usize, own: &mut [Line<T>]) {
        let (routes, scratch) = own.split_at_mut(windows(self.c));
        codes(simd, &self.route[of_block(self.c, block)], T::scalars_mut(scratch), routes);
    }

    #[inline(always)]
    fn row<S: Simd>(&mut self, _: S, block: usize, y: usize, own: &mut [Line<T>], pixels: &[Line<T>]) {
        let (count, width, [left, right]) = (windows(self.c), self.c.pooled_width(), positions::<T>(y));
        let (routes, outputs) = own.split_at_mut(count);
        let (routes, outputs) = (&routes[y / 2 * width..][..width], &mut outputs[y / 2 * width..][..width]);
        let mut bias = [T::zero(); CHANNELS];
        bias.iter_mut().zip(&self.biases[block * CHANNELS..]).for_each(|(bias, &value)| *bias = value);
        let first = self.offset.rem_euclid(pixels.len() as isize) as usize;
        for (x, (output, route)) in outputs.iter_mut().zip(routes).enumerate() {
            let (at, route) = (first + 2 * x, route.0);
            let (a, b) = (pixels[at % pixels.len()].0, pixels[(at + 1) % pixels.len()].0);
            let mut sum = if y.is_multiple_of(2) { [T::zero(); CHANNELS] } else { output.0 };
            for c in 0..CHANNELS {
                sum[c] = if route[c] == left { a[c] + bias[c] } else { sum[c] };
                sum[c] = if route[c] == right { b[c] + bias[c] } else { sum[c] };
            }
            output.0 = sum;
        }
    }

    #[inline(always)]
    fn end<S: Simd>(&mut self, simd: S, block: usize, own: &mut [Line<T>]) {
        let windows = windows(self.c);
        to_channels(simd, &own[windows..2 * windows], &mut self.outputs[of_block(self.c, block)], windows);
    }
}

/// A sample's inputs (IC, H, W).
pub struct Inputs<'a, T> {
    pub c: &'a Conv,
    pub offset: isize,
    pub inputs: &'a mut [T],
}

impl<T: Scalar> Sink<T> for Inputs<'_, T> {
    fn rows(&self) -> usize {
        self.c.height
    }

    fn offset(&self) -> isize {
        self.offset
    }

    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, block: usize, y: usize, _: &mut [Line<T>], pixels: &[Line<T>]) {
        let area = self.c.height * self.c.width;
        let planes = &mut self.inputs[block * CHANNELS * area + y * self.c.width..];
        // The period is long enough for the image and what a kernel reaches beyond it, on one side.
        let first = self.offset as usize;
        to_channels(simd, &pixels[first..first + self.c.width], planes, area);
    }
}

/// The weights of an output channel (IC, K, K), which are replaced or added to. Their image is the other way round.
pub struct Filter<'a, T> {
    pub c: &'a Conv,
    pub scale: T,
    pub add: bool,
    pub weights: &'a mut [T],
}

impl<T: Scalar> Sink<T> for Filter<'_, T> {
    fn rows(&self) -> usize {
        self.c.kernel
    }

    fn offset(&self) -> isize {
        -((self.c.kernel / 2) as isize)
    }

    #[inline(always)]
    fn row<S: Simd>(&mut self, _: S, block: usize, y: usize, _: &mut [Line<T>], pixels: &[Line<T>]) {
        let (kernel, period) = (self.c.kernel, pixels.len());
        let channels = self.weights.chunks_exact_mut(kernel * kernel).skip(block * CHANNELS).take(CHANNELS);
        for (c, taps) in channels.enumerate() {
            for (x, tap) in taps.rchunks_exact_mut(kernel).nth(y).into_iter().flatten().rev().enumerate() {
                let value = self.scale * pixels[(period - kernel / 2 + x) % period].0[c];
                *tap = if self.add { *tap + value } else { value };
            }
        }
    }
}
