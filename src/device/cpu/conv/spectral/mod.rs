//! The conv block's tangents and adjoints through Fourier transforms.
//!
//! A convolution is a product at each frequency. Of LeNet's second layer, whose 14 x 14 images and 5 x 5 kernels fit a period of
//! 16 x 16, 130 frequencies are kept, and a product takes three multiply-adds at each for a pair of channels: 390, against the 4,900
//! of every position and tap, or the 900 where outputs are routed and live. They are products of matrices, which run near
//! the speed of the multipliers; the transforms, over vectors of channels, take a third of the time.
//!
//! With `X` and `W` the transforms of images and kernels, and correlations as convolutions are here, the tangents are `conj(W) X`, the
//! adjoints of the inputs `W dZ` and those of the kernels, the other way round, `dZ conj(X)`. What is conjugated is so from the beginning, and every
//! product is a plain one.
//!
//! Samples are taken in chunks whose transforms stay in the last cache, and chunks are tasks: for adjoints, whose sums go over samples, in two
//! groups. Within a chunk transforms go over images and products over frequencies, tasks too where there are cores for them.

mod fourier;
mod images;
mod plane;
mod product;

use super::{slices, sum_biases};
use crate::device::cpu::CpuDevice;
use crate::device::cpu::arena::{with_arena, with_idle, zeros};
use crate::device::cpu::matrix::MatMut;
use crate::device::cpu::simd::{CHANNELS, Line, arch};
use crate::device::{ConvBackward, ConvTangent, ConvTangentBackward, Scalar};
use crate::network::Conv;
use images::{Filter, Inputs, Planes, Routed, Unrouted};
use plane::{Plan, frequencies, transform, transform_back};
use product::{Entries, Products, Rows, Terms};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

type Cpu<T> = CpuDevice<T>;

/// Samples whose transforms are held at once: few, so that they stay in the last cache. Sums are made chunk by chunk.
const CHUNK: usize = 32;

/// Images that a task transforms: few, since a chunk has few.
const TASK: usize = 4;

/// Groups of samples that have sums of their own over their chunks: two cores then have little to do with each other, and with more
/// there would be more to add up.
const GROUPS: usize = 2;

/// Lines that a task adds.
const SUMMED: usize = 4096;

/// Whether the lines of channels are full enough, and the kernel large enough, to be worth it.
pub(super) fn pays(c: &Conv) -> bool {
    c.in_channels >= CHANNELS / 2 && c.out_channels >= CHANNELS / 2 && c.kernel > 1
}

/// Blocks of so many channels.
fn blocks(channels: usize) -> usize {
    channels.div_ceil(CHANNELS)
}

/// The transforms of some images: at each frequency `rows` images of `blocks` lines of real parts, and as many of imaginary ones.
struct Spectra<'a, T> {
    lines: &'a mut [Line<T>],
    blocks: usize,
    rows: usize,
}

impl<T: Scalar> Spectra<'_, T> {
    /// Lines from one frequency to the next. An odd number, so that an image's lines do not all fall into the same set of a cache.
    fn pitch(rows: usize, blocks: usize) -> usize {
        2 * rows * blocks + 1
    }

    /// All lines.
    fn len(frequencies: usize, rows: usize, blocks: usize) -> usize {
        frequencies * Self::pitch(rows, blocks)
    }

    /// The first images of each frequency, to be written.
    fn images(&mut self, count: usize) -> MatMut<'_, Line<T>> {
        let pitch = Self::pitch(self.rows, self.blocks);
        MatMut::strided(self.lines, self.lines.len() / pitch, 2 * count * self.blocks, pitch, 1)
    }

    /// The images at a frequency.
    fn at(&self, frequency: usize, count: usize) -> &[Line<T>] {
        &self.lines[frequency * Self::pitch(self.rows, self.blocks)..][..2 * count * self.blocks]
    }

    /// All lines, and from one frequency to the next.
    fn all(&self) -> (&[Line<T>], usize) {
        (self.lines, Self::pitch(self.rows, self.blocks))
    }

    /// Adds others to all.
    fn add(&mut self, other: &Self) {
        let (to, from) = (self.lines.par_chunks_mut(SUMMED), other.lines.par_chunks(SUMMED));
        to.zip(from).for_each(|(to, from)| {
            T::scalars_mut(to).iter_mut().zip(T::scalars(from)).for_each(|(to, &from)| *to += from);
        });
    }

    /// As a factor whose rows are images.
    fn rows(&self, frequency: usize, count: usize) -> Rows<'_, T> {
        Rows { lines: self.at(frequency, count), count }
    }

    /// As a factor with a row for each image and a column for each channel.
    fn entries(&self, frequency: usize, count: usize) -> Entries<'_, T> {
        let values = T::scalars(self.at(frequency, count));
        Entries { values, channels: self.blocks * CHANNELS, turned: false }
    }

    /// The transpose of [`Spectra::entries`].
    fn turned(&self, frequency: usize, count: usize) -> Entries<'_, T> {
        Entries { turned: true, ..self.entries(frequency, count) }
    }
}

/// Memory for spectra. A thread keeps it: zeros cost as much as a transform.
fn with_lines<T: Scalar, R>(len: usize, f: impl FnOnce(Lines<'_, T>) -> R) -> R {
    thread_local! {
        static IDLE: RefCell<Vec<Vec<Line<f32>>>> = const { RefCell::new(Vec::new()) };
    }
    with_idle(&IDLE, |lines| {
        let len = len * size_of::<Line<T>>() / size_of::<Line<f32>>();
        if lines.len() < len {
            // What the old ones hold is not wanted.
            *lines = Vec::new();
            *lines = bytemuck::zeroed_vec(len);
        }
        f(Lines(T::lines(lines)))
    })
}

/// `C = sum A B`, or `C += sum A B`, at a frequency.
fn multiply<T: Scalar>(terms: Terms<'_, T>, rows: usize, c: &mut [Line<T>], add: bool) {
    with_arena(|arena| {
        let len = terms.iter().flatten().map(|(a, _)| a.values.len() / 2).sum();
        arch().dispatch(Products { terms, rows, c, add, both: zeros(arena, len) });
    });
}

/// Lines that spectra are cut from.
struct Lines<'a, T>(&'a mut [Line<T>]);

impl<'a, T: Scalar> Lines<'a, T> {
    fn spectra(&mut self, frequencies: usize, rows: usize, blocks: usize) -> Spectra<'a, T> {
        let len = Spectra::<T>::len(frequencies, rows, blocks);
        let (lines, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        Spectra { lines, blocks, rows }
    }
}

pub(super) fn tangent<T: Scalar>(c: &Conv, call: ConvTangent<'_, Cpu<T>>) {
    let (samples, directions, count) = (call.samples, call.directions, frequencies(c));
    let (inputs, outputs, chunk) = (blocks(c.in_channels), blocks(c.out_channels), CHUNK.min(samples));
    let len = |rows, blocks| Spectra::<T>::len(count, rows, blocks);
    let of_weights = directions + usize::from(call.tx.is_some());
    with_lines(of_weights * len(c.in_channels, outputs), |mut lines| {
        with_arena(|arena| {
            let plan = &Plan::new(arena, c);
            let scale = T::from_f64(1.0 / plan.gain());
            let mut weights = |vector: &[T]| {
                let mut spectra = lines.spectra(count, c.in_channels, outputs);
                let source = Planes::by_input(c, vector, scale);
                // A correlation has the conjugates of the kernels.
                transform(plan, outputs, true, &source, spectra.images(c.in_channels));
                spectra
            };
            let w = &call.tx.map(|_| weights(call.theta));
            let tw = &*arena.alloc_slice_fill_with(directions, |k| weights(&call.vectors[k * c.pitch..]));
            let (input_len, output_len, offset) = (c.input_len(), c.output_len(), -((c.kernel / 2) as isize));
            let tp = MatMut::new(call.tp, directions, samples * output_len);
            tp.column_blocks(chunk * output_len).for_each(|(start, mut tp)| {
                let (first, n) = (start / output_len, tp.column_count() / output_len);
                with_lines(2 * len(chunk, inputs) + len(chunk, outputs), |mut lines| {
                    let (mut x, mut tx) = (lines.spectra(count, chunk, inputs), lines.spectra(count, chunk, inputs));
                    let mut z = lines.spectra(count, chunk, outputs);
                    let source = Planes::inputs(c, slices(call.x, first, n, input_len));
                    transform(plan, inputs, false, &source, x.images(n));
                    for (k, tw) in tw.iter().enumerate() {
                        if let Some(values) = call.tx {
                            let source = Planes::inputs(c, slices(values, k * samples + first, n, input_len));
                            transform(plan, inputs, false, &source, tx.images(n));
                        }
                        z.images(n).row_blocks(1).for_each(|(f, mut z)| {
                            let terms = [
                                Some((x.entries(f, n), tw.rows(f, c.in_channels))),
                                w.as_ref().map(|w| (tx.entries(f, n), w.rows(f, c.in_channels))),
                            ];
                            multiply(terms, n, z.row(0), false);
                        });
                        let biases = &call.vectors[k * c.pitch + c.bias..][..c.out_channels];
                        transform_back(plan, outputs, z.all(), tp.row(k), output_len, |i, outputs| {
                            let route = slices(call.route, first + i, 1, output_len);
                            Routed { c, offset, route, biases, outputs }
                        });
                    }
                });
            });
        });
    });
}

pub(super) fn backward<T: Scalar>(c: &Conv, call: ConvBackward<'_, Cpu<T>>) {
    let ConvBackward { samples, theta, x, route, dp, gradient, accumulate, dx } = call;
    adjoints(
        c,
        Adjoints {
            samples,
            directions: 1,
            theta,
            x,
            route,
            tdp: dp,
            second: None,
            products: gradient,
            accumulate,
            tdx: dx,
        },
    );
}

pub(super) fn tangent_backward<T: Scalar>(c: &Conv, call: ConvTangentBackward<'_, Cpu<T>>) {
    let ConvTangentBackward { samples, directions, theta, vectors, x, tx, route, dp, tdp, products, accumulate, tdx } =
        call;
    let second = dp.map(|dp| Second { vectors, tx, dp });
    adjoints(c, Adjoints { samples, directions, theta, x, route, tdp, second, products, accumulate, tdx });
}

/// Both calls: a gradient is a product of one direction without second terms.
struct Adjoints<'a, T> {
    samples: usize,
    directions: usize,
    theta: &'a [T],
    x: &'a [T],
    route: &'a [u8],
    tdp: &'a [T],
    second: Option<Second<'a, T>>,
    products: &'a mut [T],
    accumulate: bool,
    tdx: Option<&'a mut Vec<T>>,
}

/// What belongs to the terms with the adjoint itself.
#[derive(Clone, Copy)]
struct Second<'a, T> {
    vectors: &'a [T],
    tx: Option<&'a Vec<T>>,
    dp: &'a [T],
}

fn adjoints<T: Scalar>(c: &Conv, call: Adjoints<'_, T>) {
    let Adjoints { samples, directions, theta, x, route, tdp, second, products, accumulate, tdx } = call;
    let (inputs, count) = (blocks(c.in_channels), frequencies(c));
    let with_tdx = usize::from(tdx.is_some());
    // Samples of a group, whole chunks of them.
    let group = samples.div_ceil(CHUNK).div_ceil(GROUPS) * CHUNK;
    let sums = samples.div_ceil(group) * directions;
    let of_weights = with_tdx * (1 + if second.is_some() { directions } else { 0 }) + sums;
    with_lines(of_weights * Spectra::<T>::len(count, c.out_channels, inputs), |mut lines| {
        with_arena(|arena| {
            let plan = &Plan::new(arena, c);
            let scale = T::from_f64(1.0 / plan.gain());
            let mut weights = |vector: &[T]| {
                let mut spectra = lines.spectra(count, c.out_channels, inputs);
                let source = Planes::by_output(c, vector, scale);
                transform(plan, inputs, false, &source, spectra.images(c.out_channels));
                spectra
            };
            let w = &tdx.as_ref().map(|_| weights(theta));
            let tw = &*arena.alloc_slice_fill_with(directions, |k| {
                let second = second.filter(|_| with_tdx == 1)?;
                Some(weights(&second.vectors[k * c.pitch..]))
            });
            let tdw = arena.alloc_slice_fill_with(sums, |_| lines.spectra(count, c.out_channels, inputs));
            let biases = zeros::<T>(arena, sums * c.out_channels);
            let tdx = tdx.map_or(&mut [][..], |tdx| &mut tdx[..]);
            let tdx = MatMut::new(tdx, with_tdx * directions, samples * c.input_len());
            let of_groups = tdw.par_chunks_mut(directions).zip(biases.par_chunks_mut(directions * c.out_channels));
            let samples_of = Samples { c, plan, all: samples, x, route, tdp, second, w: w.as_ref(), tw };
            of_groups.zip(tdx.column_blocks(group * c.input_len())).for_each(|((tdw, biases), (start, tdx))| {
                let first = start / c.input_len();
                samples_of.adjoints(first..samples.min(first + group), Sums { tdw, biases, tdx });
            });
            let (tdw, others) = tdw.split_at_mut(directions);
            for (k, tdw) in tdw.iter_mut().enumerate() {
                for other in others.iter().skip(k).step_by(directions) {
                    tdw.add(other);
                }
                let (weights, len) = (&mut products[k * c.pitch + c.weight..][..c.weight_len()], c.patch_len());
                let filter = |_, weights| Filter { c, scale, add: accumulate, weights };
                transform_back(plan, inputs, tdw.all(), weights, len, filter);
                sum_biases(c, biases, (k, directions), &mut products[k * c.pitch..], accumulate);
            }
        });
    });
}

/// What the adjoints of all samples are made of.
struct Samples<'a, 'l, T> {
    c: &'a Conv,
    plan: &'a Plan<'a, T>,
    /// How many.
    all: usize,
    x: &'a [T],
    route: &'a [u8],
    tdp: &'a [T],
    second: Option<Second<'a, T>>,
    /// The kernels' transforms, where adjoints of inputs are wanted.
    w: Option<&'a Spectra<'l, T>>,
    /// The same of each direction, for second terms.
    tw: &'a [Option<Spectra<'l, T>>],
}

/// What a group of samples adds up to, for each direction, and the adjoints of its inputs, if they are wanted.
struct Sums<'a, 'l, T> {
    tdw: &'a mut [Spectra<'l, T>],
    /// (directions, OC).
    biases: &'a mut [T],
    /// (directions, samples of the group and their inputs).
    tdx: MatMut<'a, T>,
}

impl<T: Scalar> Samples<'_, '_, T> {
    /// The adjoints of a group, chunk by chunk.
    fn adjoints(&self, group: Range<usize>, sums: Sums<'_, '_, T>) {
        let &Self { c, plan, all, second, w, tw, .. } = self;
        let Sums { tdw, biases, mut tdx } = sums;
        let (inputs, outputs, chunk) = (blocks(c.in_channels), blocks(c.out_channels), CHUNK.min(group.len()));
        let (count, with_tdx, tx) = (frequencies(c), usize::from(w.is_some()), second.and_then(|second| second.tx));
        let len = |rows, blocks| Spectra::<T>::len(count, rows, blocks);
        let lines = (1 + usize::from(tx.is_some())) * len(chunk, inputs)
            + len(with_tdx * chunk, inputs)
            + (1 + usize::from(second.is_some())) * len(chunk, outputs);
        with_lines(lines, |mut lines| {
            let mut x = lines.spectra(count, chunk, inputs);
            let mut tx_spectra = tx.map(|_| lines.spectra(count, chunk, inputs));
            let mut tdx_spectra = lines.spectra(count, with_tdx * chunk, inputs);
            let mut td = lines.spectra(count, chunk, outputs);
            let mut d = second.map(|_| lines.spectra(count, chunk, outputs));
            for first in group.clone().step_by(chunk) {
                let n = chunk.min(group.end - first);
                let images = |array, k: usize| Planes::inputs(c, slices(array, k * all + first, n, c.input_len()));
                let route = slices(self.route, first, n, c.output_len());
                let unrouted =
                    |array, k: usize| Unrouted { c, route, values: slices(array, k * all + first, n, c.output_len()) };
                transform(plan, inputs, true, &images(self.x, 0), x.images(n));
                if let (Some(second), Some(d)) = (second, &mut d) {
                    transform(plan, outputs, false, &unrouted(second.dp, 0), d.images(n));
                }
                let of_directions = tdw.iter_mut().zip(tw).zip(biases.chunks_mut(c.out_channels));
                for (k, ((tdw, tw), biases)) in of_directions.enumerate() {
                    transform(plan, outputs, false, &unrouted(self.tdp, k), td.images(n));
                    if let (Some(tx), Some(spectra)) = (tx, &mut tx_spectra) {
                        transform(plan, inputs, true, &images(tx, k), spectra.images(n));
                    }
                    let at_each = tdw.images(c.out_channels).row_blocks(1);
                    at_each.zip(tdx_spectra.images(with_tdx * n).row_blocks(1)).for_each(
                        |((f, mut tdw), (_, mut tdx))| {
                            let of_weights = [
                                Some((td.turned(f, n), x.rows(f, n))),
                                d.as_ref().zip(tx_spectra.as_ref()).map(|(d, tx)| (d.turned(f, n), tx.rows(f, n))),
                            ];
                            let rows = c.out_channels;
                            multiply(of_weights, rows, tdw.row(0), first > group.start);
                            let of_inputs = [
                                w.map(|w| (td.entries(f, n), w.rows(f, rows))),
                                d.as_ref().zip(tw.as_ref()).map(|(d, tw)| (d.entries(f, n), tw.rows(f, rows))),
                            ];
                            multiply(of_inputs, with_tdx * n, tdx.row(0), false);
                        },
                    );
                    // The zero frequency is twice the sum.
                    for image in T::scalars(td.at(0, n)).chunks_exact(2 * outputs * CHANNELS) {
                        biases.iter_mut().zip(image).for_each(|(bias, &sum)| *bias += sum * T::from_f32(0.5));
                    }
                    if with_tdx == 1 {
                        let (len, offset) = (c.input_len(), (c.kernel / 2) as isize);
                        let tdx = &mut tdx.row(k)[(first - group.start) * len..][..n * len];
                        let inputs_of = |_, inputs| Inputs { c, offset, inputs };
                        transform_back(plan, inputs, tdx_spectra.all(), tdx, len, inputs_of);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::im2col;
    use super::super::tests::{Case, conv};
    use super::*;

    fn assert_near(what: &str, ours: &[f64], expected: &[f64]) {
        let size = expected.iter().fold(0f64, |size, x| size.max(x.abs()));
        for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= 1e-13 * size, "{what}: entry {i} is {a}, not {b}");
        }
    }

    #[test]
    fn tangents_and_adjoints_are_those_of_matrix_products() {
        for shape in [
            (8, 8, 3, 4, 6),
            (9, 8, 7, 2, 4),
            (20, 40, 5, 6, 5),
            (16, 33, 3, 3, 2),
            (33, 16, 7, 10, 8),
            (32, 64, 5, 14, 14),
            (32, 64, 5, 16, 16),
        ] {
            for (samples, directions) in [(1, 1), (2 * CHUNK + 3, 2)] {
                let case = Case::new(conv(shape), samples, directions);
                let c = &case.c;
                for tx in [false, true] {
                    let (ours, expected) = (case.tangent(tx, tangent), case.tangent(tx, im2col::tangent));
                    assert_near(&format!("tangents of {c:?}"), &ours, &expected);
                }
                for call in [(false, true, true, true), (true, true, false, true), (true, false, true, false)] {
                    let ours = case.tangent_backward(call, tangent_backward);
                    let expected = case.tangent_backward(call, im2col::tangent_backward);
                    assert_near(&format!("products of {c:?}"), &ours.0, &expected.0);
                    assert_near(&format!("tangents of adjoints of {c:?}"), &ours.1, &expected.1);
                }
                let (ours, expected) = (case.backward(true, backward), case.backward(true, im2col::backward));
                assert_near(&format!("gradient of {c:?}"), &ours.0, &expected.0);
                assert_near(&format!("adjoints of {c:?}"), &ours.1, &expected.1);
            }
        }
    }
}
