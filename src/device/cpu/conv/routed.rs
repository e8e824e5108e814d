//! The first conv block's tangents and adjoints, worked out only where an output is routed.
//!
//! Three of four positions of every 2x2 window, and all of a dead one, carry neither tangent nor adjoint. A first layer has too few
//! input channels for transforms to pay ([`super::spectral`]); its patches are a few lines each ([`super::layout`]), and the
//! kernels are products of lines with scalars or with each other:
//!
//! * tangent: up to eight outputs of a channel share each load of its weights, and two directions each load of the input;
//! * weights: the sums of a channel stay in registers while its outputs stream by.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use super::layout::Layout;
use super::routes::{Routes, with_routes};
use super::{Codes, GROUP, by_group, group, slices, sum_biases};
use crate::device::cpu::CpuDevice;
use crate::device::cpu::ahead::Ahead;
use crate::device::cpu::arena::{room, with_arena, written, zeroed, zeros};
use crate::device::cpu::simd::{CHANNELS, Line, SimdScalar, arch};
use crate::device::{ConvBackward, ConvTangent, ConvTangentBackward, Scalar};
use crate::network::Conv;
use bumpalo::Bump;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

type Cpu<T> = CpuDevice<T>;

/// Whether the layer's lines are full enough, and its lists can be made.
pub(super) fn pays(c: &Conv) -> bool {
    c.in_channels < CHANNELS / 2 && c.patch_len() >= CHANNELS / 2 && Routes::fit(&Layout::new(c))
}

/// Vectors a line.
#[inline(always)]
fn per_line<T: SimdScalar, S: Simd>() -> usize {
    CHANNELS / T::lanes::<S>()
}

/// Checks, once a kernel, that the patch of every route, whose lines lie at `offsets`, lies inside an image.
fn assert_patches_inside(offsets: &[usize], routes: &Routes, image: usize) {
    assert!(routes.last_patch + offsets.last().expect("a patch has lines") + CHANNELS <= image);
}

/// The vector that begins at some scalar of an image.
///
/// # Safety
/// It lies inside the image.
#[inline(always)]
unsafe fn load<T: SimdScalar, S: Simd>(image: &[T], at: usize) -> T::Vector<S> {
    debug_assert!(at + T::lanes::<S>() <= image.len());
    // SAFETY: the caller's promise.
    unsafe { image.as_ptr().add(at).cast::<T::Vector<S>>().read_unaligned() }
}

/// `z_k[i] = w_k . patch_i` for the outputs of every channel and `D` directions k, which share what they load of the image.
struct Dots<'a, T, const D: usize> {
    /// Of a patch's lines: see [`Layout::offsets`].
    offsets: &'a [usize],
    routes: &'a Routes,
    /// Weights, output channel first.
    weights: [&'a [Line<T>]; D],
    image: &'a [T],
    /// By entry of the routes.
    z: [&'a mut [T]; D],
    /// What is packed next.
    ahead: &'a [T],
}

impl<T: Scalar, const D: usize> Dots<'_, T, D> {
    /// `R` outputs at once: each load of the weights, a line for each block, feeds them all.
    #[inline(always)]
    fn some<S: Simd, const R: usize>(
        simd: S,
        offsets: &[usize],
        weights: [&[Line<T>]; D],
        image: &[T],
        at: &[u16],
    ) -> [[T; R]; D] {
        let mut sums = [[T::splat(simd, T::zero()); R]; D];
        for (block, offset) in offsets.iter().enumerate() {
            for e in 0..per_line::<T, S>() {
                let offset = offset + e * T::lanes::<S>();
                for r in 0..R {
                    // SAFETY: `assert_patches_inside` checked the patches. A check for every multiply-add halves the speed.
                    let x = unsafe { load::<T, S>(image, usize::from(at[r]) + offset) };
                    for k in 0..D {
                        sums[k][r] = T::vfma(simd, T::load::<S>(&weights[k][block], e), x, sums[k][r]);
                    }
                }
            }
        }
        let mut dots = [[T::zero(); R]; D];
        for k in 0..D {
            dots[k] = T::vsums(simd, sums[k]);
        }
        dots
    }
}

impl<T: Scalar, const D: usize> WithSimd for Dots<'_, T, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (offsets, blocks) = (self.offsets, self.offsets.len());
        assert_patches_inside(offsets, self.routes, self.image.len());
        // Sums that the registers hold: a lone output would wait for its own multiply-adds.
        let most = if S::REGISTER_COUNT >= 32 { 8 } else { 8 / D };
        let mut ahead = Ahead::in_steps([self.ahead], self.routes.channels());
        for (oc, entries) in self.routes.by_channel().enumerate() {
            ahead.step();
            let weights = self.weights.map(|w| &w[oc * blocks..][..blocks]);
            let Range { start: mut first, end } = entries;
            // Cut evenly.
            let mut pieces = (end - first).div_ceil(most);
            while pieces > 0 {
                let size = (end - first).div_ceil(pieces);
                let at = &self.routes.patches[first..first + size];
                macro_rules! take {
                    ($r:literal) => {{
                        let sums = Self::some::<S, $r>(simd, offsets, weights, self.image, at);
                        for (z, sums) in self.z.iter_mut().zip(sums) {
                            z[first..first + size].copy_from_slice(&sums);
                        }
                    }};
                }
                match size {
                    1 => take!(1),
                    2 => take!(2),
                    3 => take!(3),
                    4 => take!(4),
                    5 => take!(5),
                    6 => take!(6),
                    7 => take!(7),
                    _ => take!(8),
                }
                first += size;
                pieces -= 1;
            }
        }
    }
}

/// `dw += sum_i d[i] patch_i` for every channel.
struct WeightSums<'a, T> {
    /// Of a patch's lines: see [`Layout::offsets`].
    offsets: &'a [usize],
    routes: &'a Routes,
    /// By entry of the routes.
    d: &'a [T],
    image: &'a [T],
    /// Output channel first.
    dw: &'a mut [Line<T>],
    /// What is read next.
    ahead: [&'a [T]; 2],
}

impl<T: Scalar> WeightSums<'_, T> {
    /// Of a channel's `B` blocks from the given one, `U` outputs at a time, because sums of one line would wait for one another.
    #[inline(always)]
    fn lines<S: Simd, const B: usize, const U: usize>(
        &mut self,
        simd: S,
        oc: usize,
        block: usize,
        entries: Range<usize>,
    ) {
        let blocks = self.offsets.len();
        let (d, patches) = (&self.d[entries.clone()], &self.routes.patches[entries]);
        for e in 0..per_line::<T, S>() {
            let mut offsets = [0; B];
            for b in 0..B {
                offsets[b] = self.offsets[block + b] + e * T::lanes::<S>();
            }
            let mut sums = [[T::splat(simd, T::zero()); B]; U];
            let add = |sums: &mut [T::Vector<S>; B], d: T, at: u16| {
                for b in 0..B {
                    // SAFETY: `assert_patches_inside` checked the patches.
                    let x = unsafe { load::<T, S>(self.image, usize::from(at) + offsets[b]) };
                    sums[b] = T::vfma(simd, T::splat(simd, d), x, sums[b]);
                }
            };
            let ((d, last_d), (patches, last_patches)) = (d.as_chunks::<U>(), patches.as_chunks::<U>());
            for (d, at) in d.iter().zip(patches) {
                for u in 0..U {
                    add(&mut sums[u], d[u], at[u]);
                }
            }
            for (&d, &at) in last_d.iter().zip(last_patches) {
                add(&mut sums[0], d, at);
            }
            for b in 0..B {
                let dw = &mut self.dw[oc * blocks + block + b];
                let mut sum = T::load::<S>(dw, e);
                for u in 0..U {
                    sum = T::vadd(simd, sum, sums[u][b]);
                }
                T::store::<S>(dw, e, sum);
            }
        }
    }
}

impl<T: Scalar> WithSimd for WeightSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (blocks, routes) = (self.offsets.len(), self.routes);
        assert_patches_inside(self.offsets, routes, self.image.len());
        let mut ahead = Ahead::in_steps(self.ahead, routes.channels());
        let paired = if S::REGISTER_COUNT >= 32 { blocks / 2 * 2 } else { 0 };
        for (oc, entries) in routes.by_channel().enumerate() {
            ahead.step();
            for block in (0..paired).step_by(2) {
                self.lines::<S, 2, 4>(simd, oc, block, entries.clone());
            }
            for block in paired..blocks {
                self.lines::<S, 1, 4>(simd, oc, block, entries.clone());
            }
        }
    }
}

/// The layer's `(weight, bias)` in direction `k` of a block of parameter vectors.
fn tensors<'a, T>(c: &Conv, block: &'a [T], k: usize) -> (&'a [T], &'a [T]) {
    let vector = &block[k * c.pitch..];
    (&vector[c.weight..c.weight + c.weight_len()], &vector[c.bias..c.bias + c.out_channels])
}

/// What lies behind slice number `n` of an array of `count` slices of `len`: nothing behind the last.
fn next<T>(array: &[T], n: usize, count: usize, len: usize) -> &[T] {
    if n + 1 < count { slices(array, n + 1, 1, len) } else { &[] }
}

pub(super) fn tangent<T: Scalar>(c: &Conv, call: ConvTangent<'_, Cpu<T>>) {
    let (layout, arch) = (Layout::new(c), arch());
    let (input_len, output_len, samples, directions) = (c.input_len(), c.output_len(), call.samples, call.directions);
    let tp = by_group(Some(call.tp), directions, samples, output_len);
    with_arena(|arena| {
        let pack = |k| layout.pack_weights(arena, c, tensors(c, call.vectors, k).0);
        let tw = &*arena.alloc_slice_fill_with(directions, pack);
        let offsets = layout.offsets(arena);
        tp.for_each(|(start, mut tp)| {
            with_arena(|arena| {
                let image = zeros(arena, layout.image);
                let mut z = [zeros(arena, output_len), zeros(arena, output_len)];
                for n in group(start / output_len, samples) {
                    let routes = &*call.route.routes(c, &layout, n);
                    layout.pack_image(c, slices(call.x, n, 1, input_len), image);
                    let image = &*image;
                    for first in (0..directions).step_by(2) {
                        let end = directions.min(first + 2);
                        let [z0, z1] = z.each_mut().map(|z| &mut z[..routes.patches.len()]);
                        let ahead = if end == directions { next(call.x, n, samples, input_len) } else { &[] };
                        if let &[w0, w1] = &tw[first..end] {
                            let (weights, z) = ([w0, w1], [&mut *z0, &mut *z1]);
                            arch.dispatch(Dots { offsets, routes, weights, image, z, ahead });
                        } else {
                            let (weights, z) = ([tw[first]], [&mut *z0]);
                            arch.dispatch(Dots { offsets, routes, weights, image, z, ahead });
                        }
                        for (k, z) in (first..end).zip([z0, z1]) {
                            let tp = &mut tp.row(k)[n * output_len - start..][..output_len];
                            routes.scatter(z, tensors(c, call.vectors, k).1, tp);
                        }
                    }
                }
            });
        });
    });
}

pub(super) fn backward<T: Scalar>(c: &Conv, call: ConvBackward<'_, Cpu<T>>) {
    let ConvBackward { samples, x, route, dp, gradient, accumulate, .. } = call;
    // Lists of its own: one gradient is all that is asked for at a point that training passes by.
    adjoints(c, Adjoints { samples, directions: 1, x, route, keep: false, tdp: dp, products: gradient, accumulate });
}

pub(super) fn tangent_backward<T: Scalar>(c: &Conv, call: ConvTangentBackward<'_, Cpu<T>>) {
    let ConvTangentBackward { samples, directions, x, route, tdp, products, accumulate, .. } = call;
    adjoints(c, Adjoints { samples, directions, x, route, keep: true, tdp, products, accumulate });
}

/// Both calls: a first layer's input has neither tangents nor an adjoint.
struct Adjoints<'a, T> {
    samples: usize,
    directions: usize,
    x: &'a [T],
    route: &'a Codes,
    /// Whether lists of live outputs stay with their codes.
    keep: bool,
    tdp: &'a [T],
    products: &'a mut [T],
    accumulate: bool,
}

fn adjoints<T: Scalar>(c: &Conv, call: Adjoints<'_, T>) {
    let Adjoints { samples, directions, x, route, keep, tdp, products, accumulate } = call;
    let (layout, arch) = (Layout::new(c), arch());
    let (input_len, output_len) = (c.input_len(), c.output_len());
    with_arena(|arena| {
        let mut partials = Partials::new(arena, c, layout, samples, directions);
        let offsets = layout.offsets(arena);
        partials.groups().for_each(|(g, mut partial)| {
            with_arena(|arena| {
                let image = zeros(arena, layout.image);
                let td = zeros(arena, output_len);
                for n in group(g * GROUP, samples) {
                    layout.pack_image(c, slices(x, n, 1, input_len), image);
                    let image = &*image;
                    let mut of_sample = |routes: &Routes| {
                        for k in 0..directions {
                            let of_outputs = routes.gather(slices(tdp, k * samples + n, 1, output_len), td);
                            let (dw, biases) = partial.direction(c, &layout, k);
                            let ahead = match k + 1 < directions {
                                true => [slices(tdp, (k + 1) * samples + n, 1, output_len), &[]],
                                false => [next(x, n, samples, input_len), next(tdp, n, samples, output_len)],
                            };
                            arch.dispatch(WeightSums { offsets, routes, d: of_outputs, image, dw, ahead });
                            add_biases(routes, of_outputs, biases);
                        }
                    };
                    if keep {
                        of_sample(&route.routes(c, &layout, n));
                    } else {
                        with_routes(|routes| {
                            routes.forget();
                            routes.list(c, &layout, slices(route, n, 1, output_len));
                            of_sample(routes);
                        });
                    }
                }
            });
        });
        // SAFETY: all groups were taken.
        unsafe { partials.sum(c, products, accumulate) };
    });
}

/// `db += sum dz`.
fn add_biases<T: Scalar>(routes: &Routes, d: &[T], db: &mut [T]) {
    for (entries, db) in routes.by_channel().zip(db) {
        *db += d[entries].iter().copied().sum();
    }
}

/// Every group's sums over its samples, for all directions.
struct Partials<'a, T> {
    layout: Layout,
    directions: usize,
    /// (groups, directions, output channel first).
    weights: &'a mut [MaybeUninit<Line<T>>],
    /// (groups, directions, OC).
    biases: &'a mut [MaybeUninit<T>],
}

/// Those of one group.
struct Partial<'a, T> {
    weights: &'a mut [Line<T>],
    biases: &'a mut [T],
}

impl<T> Partial<'_, T> {
    /// Weights and biases of direction `k`.
    fn direction(&mut self, c: &Conv, layout: &Layout, k: usize) -> (&mut [Line<T>], &mut [T]) {
        let weights = &mut self.weights[k * layout.weights..(k + 1) * layout.weights];
        (weights, &mut self.biases[k * c.out_channels..(k + 1) * c.out_channels])
    }
}

impl<'a, T: Scalar> Partials<'a, T> {
    fn new(arena: &'a Bump, c: &Conv, layout: Layout, samples: usize, directions: usize) -> Self {
        let all = samples.div_ceil(GROUP) * directions;
        // The small first: an arena grows twofold when it must.
        let biases = room(arena, all * c.out_channels);
        Self { layout, directions, weights: room(arena, all * layout.weights), biases }
    }

    /// Each group's number and sums, which begin as zeros.
    fn groups(&mut self) -> impl IndexedParallelIterator<Item = (usize, Partial<'_, T>)> {
        let weights = self.weights.par_chunks_exact_mut(self.directions * self.layout.weights);
        let biases = self.biases.par_chunks_exact_mut(self.biases.len() / weights.len());
        weights.zip(biases).map(|(w, b)| Partial { weights: zeroed(w), biases: zeroed(b) }).enumerate()
    }

    /// The groups' sums, in order of the groups, which are added to a block of parameter vectors or replace them.
    ///
    /// # Safety
    /// A task has taken each of [`Partials::groups`].
    unsafe fn sum(self, c: &Conv, block: &mut [T], accumulate: bool) {
        let Self { layout, directions, .. } = self;
        // SAFETY: a group's are zeros from the beginning of its task, and by the caller's promise there was one for each.
        let (weights, biases) = unsafe { (written(self.weights), written(self.biases)) };
        let lines = layout.blocks;
        for (k, vector) in block.chunks_mut(c.pitch).take(directions).enumerate() {
            let of_channels = vector[c.weight..c.weight + c.weight_len()].par_chunks_exact_mut(c.patch_len());
            of_channels.enumerate().with_min_len(4).for_each(|(oc, target)| {
                with_arena(|arena| {
                    let sum = zeros::<Line<T>>(arena, lines);
                    for group in weights.chunks_exact(directions * layout.weights) {
                        for (sum, line) in sum.iter_mut().zip(&group[k * layout.weights + oc * lines..]) {
                            sum.0.iter_mut().zip(line.0).for_each(|(s, p): (&mut T, T)| *s += p);
                        }
                    }
                    layout.unpack_channel(c, sum, target, accumulate);
                });
            });
            sum_biases(c, biases, (k, directions), vector, accumulate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::im2col;
    use super::super::tests::{Case, conv};
    use super::*;

    fn assert_near(what: &str, ours: &[f64], expected: &[f64]) {
        for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{what}: entry {i} is {a}, not {b}");
        }
    }

    #[test]
    fn tangents_and_weights_are_those_of_matrix_products() {
        // A row's patch is part of a line, or more than one; all of a patch's rows lie in a line, or some.
        for shape in [
            (1, 32, 5, 28, 28),
            (1, 3, 3, 4, 6),
            (3, 5, 5, 6, 4),
            (7, 4, 3, 2, 8),
            (2, 9, 7, 4, 10),
            (1, 2, 17, 4, 4),
            (5, 3, 1, 4, 2),
        ] {
            for (samples, directions) in [(1, 1), (GROUP + 1, 3)] {
                let case = Case::new(conv(shape), samples, directions);
                let c = &case.c;
                let (ours, expected) = (case.tangent(false, tangent), case.tangent(false, im2col::tangent));
                assert_near(&format!("tangents of {c:?}"), &ours, &expected);
                for accumulate in [false, true] {
                    let call = (accumulate, false, false, false);
                    let (ours, _) = case.tangent_backward(call, tangent_backward);
                    let (expected, _) = case.tangent_backward(call, im2col::tangent_backward);
                    assert_near(&format!("products of {c:?}"), &ours, &expected);
                }
                let (ours, expected) = (case.backward(false, backward), case.backward(false, im2col::backward));
                assert_near(&format!("gradient of {c:?}"), &ours.0, &expected.0);
            }
        }
    }
}
