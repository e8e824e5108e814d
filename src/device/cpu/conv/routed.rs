//! The conv block's tangents and adjoints, worked out only where an output is routed.
//!
//! Three of four positions of every 2x2 window, and all of a dead one, carry neither tangent nor adjoint: on LeNet's second
//! layer the work is a sixth of the dense products', and these kernels run 4 times as fast as im2col and `gemm`
//! (benches/RESULTS.md). A patch of one block of channels is `K` runs of `K` lines, so vectors lie over patch and channels
//! and the kernels are products of short runs with scalars or with each other:
//!
//! * tangent: up to eight outputs of a channel share each load of its weights, and two directions each load of the input;
//! * weights: a row of taps stays in registers while the channel's outputs stream by;
//! * input: a row of a patch stays in registers while the channels that chose the position stream by.
//!
//! Loads bound them, not arithmetic: each feeds about one multiply-add.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use super::layout::Layout;
use super::routes::{Position, Routes, with_routes};
use super::{GROUP, by_group, group};
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

/// Whether the lines of channels are full enough to be worth it, and its lists can be made.
pub(super) fn pays(c: &Conv) -> bool {
    c.in_channels >= CHANNELS / 2 && Routes::fit(c, &Layout::new(c))
}

/// Whether the first layer's lines are full enough once it is unfolded.
pub(super) fn unfolding_pays(c: &Conv) -> bool {
    c.in_channels < CHANNELS / 2 && c.patch_len() >= CHANNELS / 2 && Routes::fit(c, &Layout::unfolded(c))
}

/// `K` lines from `at`, unchecked: a check for every ten multiply-adds halves the speed of the tangent.
///
/// # Safety
/// `at + K` is at most the number of lines.
#[inline(always)]
unsafe fn run<T, const K: usize>(lines: &[Line<T>], at: usize) -> &[Line<T>; K] {
    debug_assert!(at + K <= lines.len());
    // SAFETY: the caller's promise.
    unsafe { &*lines.as_ptr().add(at).cast() }
}

/// Checks, once a kernel, that every patch of the routes lies inside a block's plane of `lines`.
fn assert_patches_inside(layout: &Layout, routes: &Routes, kernel: usize, lines: usize) {
    assert!(lines >= layout.plane && routes.last_patch + (kernel - 1) * layout.row + kernel <= layout.plane);
}

/// Whether the sums of a whole patch fit in the registers.
#[inline(always)]
fn has_room_for_patches<T: SimdScalar, S: Simd>() -> bool {
    per_line::<T, S>() == 1 && S::REGISTER_COUNT >= 32
}

/// Vectors a line.
#[inline(always)]
fn per_line<T: SimdScalar, S: Simd>() -> usize {
    CHANNELS / T::lanes::<S>()
}

/// `z_k[i] += w_k . patch_i` for the outputs of every channel and `D` directions k, which share what they load of the image.
struct Dots<'a, T, const K: usize, const D: usize> {
    layout: Layout,
    routes: &'a Routes,
    /// Weights, output channel first.
    weights: [&'a [Line<T>]; D],
    image: &'a [Line<T>],
    /// By entry of the routes.
    z: [&'a mut [T]; D],
    /// What is packed next.
    ahead: &'a [T],
}

impl<T: Scalar, const K: usize, const D: usize> Dots<'_, T, K, D> {
    /// `R` outputs at once: each load of the weights feeds them all. Of the image, some blocks.
    #[inline(always)]
    fn some<S: Simd, const R: usize>(
        simd: S,
        layout: &Layout,
        weights: [&[Line<T>]; D],
        image: &[Line<T>],
        at: &[u16],
    ) -> [[T; R]; D] {
        let mut sums = [[T::splat(simd, T::zero()); R]; D];
        for (block, image) in image.chunks_exact(layout.plane).enumerate() {
            for ky in 0..K {
                // SAFETY: the weights are K runs of K for each block.
                let mut w = [unsafe { run::<T, K>(weights[0], block * layout.taps + ky * K) }; D];
                for k in 1..D {
                    // SAFETY: as above.
                    w[k] = unsafe { run(weights[k], block * layout.taps + ky * K) };
                }
                let mut x = [w[0]; R];
                for r in 0..R {
                    // SAFETY: `assert_patches_inside` checked the patches.
                    x[r] = unsafe { run(image, usize::from(at[r]) + ky * layout.row) };
                }
                for kx in 0..K {
                    for e in 0..per_line::<T, S>() {
                        for r in 0..R {
                            let x = T::load::<S>(&x[r][kx], e);
                            for k in 0..D {
                                sums[k][r] = T::vfma(simd, T::load::<S>(&w[k][kx], e), x, sums[k][r]);
                            }
                        }
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

impl<T: Scalar, const K: usize, const D: usize> WithSimd for Dots<'_, T, K, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let layout = self.layout;
        let Layout { blocks, plane, taps, .. } = layout;
        assert_patches_inside(&layout, self.routes, K, self.image.len() / blocks);
        // Sums that the registers hold: a lone output would wait for its own multiply-adds.
        let most = if S::REGISTER_COUNT >= 32 { 8 } else { 8 / D };
        // Block by block: one block of an image fits the first-level cache, all of them do not. But where a block is a single
        // multiply-add, summing over the lanes would cost more than it.
        let together = if K == 1 { blocks } else { 1 };
        let mut ahead = Ahead::in_steps([self.ahead], blocks / together * self.routes.channels());
        for block in (0..blocks).step_by(together) {
            let image = &self.image[block * plane..(block + together) * plane];
            for (oc, entries) in self.routes.by_channel().enumerate() {
                ahead.step();
                let weights = self.weights.map(|w| &w[(oc * blocks + block) * taps..][..together * taps]);
                let Range { start: mut first, end } = entries;
                // Cut evenly.
                let mut pieces = (end - first).div_ceil(most);
                while pieces > 0 {
                    let size = (end - first).div_ceil(pieces);
                    let at = &self.routes.patches[first..first + size];
                    macro_rules! take {
                        ($r:literal) => {{
                            let sums = Self::some::<S, $r>(simd, &layout, weights, image, at);
                            for (z, sums) in self.z.iter_mut().zip(sums) {
                                z[first..first + size].iter_mut().zip(sums).for_each(|(z, s)| *z += s);
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
}

/// `dw += sum_i d[i] patch_i` for every channel.
struct WeightSums<'a, T, const K: usize> {
    layout: Layout,
    routes: &'a Routes,
    /// By entry of the routes.
    d: &'a [T],
    image: &'a [Line<T>],
    /// Output channel first.
    dw: &'a mut [Line<T>],
    /// What is read next.
    ahead: [&'a [T]; 3],
}

impl<T: Scalar, const K: usize> WeightSums<'_, T, K> {
    /// `R` rows of taps, and of each line the `E` vectors from `e`, in registers.
    #[inline(always)]
    fn some<S: Simd, const R: usize, const E: usize>(
        simd: S,
        dw: &mut [Line<T>],
        e: usize,
        image: &[Line<T>],
        row: usize,
        entries: impl Iterator<Item = (T, u16)>,
    ) {
        let mut sums = [[[T::splat(simd, T::zero()); E]; K]; R];
        for (d, at) in entries {
            let d = T::splat(simd, d);
            for r in 0..R {
                // SAFETY: `assert_patches_inside` checked the patches.
                let x = unsafe { run::<T, K>(image, usize::from(at) + r * row) };
                for kx in 0..K {
                    for v in 0..E {
                        sums[r][kx][v] = T::vfma(simd, d, T::load::<S>(&x[kx], e + v), sums[r][kx][v]);
                    }
                }
            }
        }
        for r in 0..R {
            let dw: &mut [Line<T>; K] = (&mut dw[r * K..(r + 1) * K]).try_into().expect("K lines");
            for kx in 0..K {
                for v in 0..E {
                    let sum = T::vadd(simd, T::load::<S>(&dw[kx], e + v), sums[r][kx][v]);
                    T::store::<S>(&mut dw[kx], e + v, sum);
                }
            }
        }
    }

    /// Where a patch is a single line: of a channel's `B` blocks from the given one, `U` outputs at a time, because sums of one line would
    /// wait for one another.
    #[inline(always)]
    fn lines<S: Simd, const B: usize, const U: usize>(
        &mut self,
        simd: S,
        oc: usize,
        block: usize,
        entries: Range<usize>,
    ) {
        let Layout { blocks, plane, .. } = self.layout;
        let (d, patches) = (&self.d[entries.clone()], &self.routes.patches[entries]);
        for e in 0..per_line::<T, S>() {
            let mut sums = [[T::splat(simd, T::zero()); B]; U];
            let add = |sums: &mut [T::Vector<S>; B], d: T, at: u16| {
                for b in 0..B {
                    // SAFETY: `assert_patches_inside` checked the patches.
                    let [x] = unsafe { run::<T, 1>(self.image, (block + b) * plane + usize::from(at)) };
                    sums[b] = T::vfma(simd, T::splat(simd, d), T::load::<S>(x, e), sums[b]);
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

impl<T: Scalar, const K: usize> WithSimd for WeightSums<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Layout { blocks, plane, row, taps, .. } = self.layout;
        assert_patches_inside(&self.layout, self.routes, K, self.image.len() / blocks);
        if K == 1 {
            let routes = self.routes;
            let mut ahead = Ahead::in_steps(self.ahead, routes.channels());
            for (oc, entries) in routes.by_channel().enumerate() {
                ahead.step();
                let paired = if S::REGISTER_COUNT >= 32 { blocks / 2 * 2 } else { 0 };
                for block in (0..paired).step_by(2) {
                    self.lines::<S, 2, 4>(simd, oc, block, entries.clone());
                }
                for block in paired..blocks {
                    self.lines::<S, 1, 4>(simd, oc, block, entries.clone());
                }
            }
            return;
        }
        let mut ahead = Ahead::in_steps(self.ahead, blocks * self.routes.channels());
        for block in 0..blocks {
            let image = &self.image[block * plane..(block + 1) * plane];
            for (oc, entries) in self.routes.by_channel().enumerate() {
                ahead.step();
                let dw = &mut self.dw[(oc * blocks + block) * taps..][..taps];
                let patches = &self.routes.patches[entries.clone()];
                let entries = self.d[entries].iter().copied().zip(patches.iter().copied());
                if has_room_for_patches::<T, S>() {
                    Self::some::<S, K, 1>(simd, dw, 0, image, row, entries);
                } else {
                    for (ky, dw) in dw.chunks_exact_mut(K).enumerate() {
                        for e in (0..per_line::<T, S>()).step_by(2) {
                            Self::some::<S, 1, 2>(simd, dw, e, &image[ky * row..], row, entries.clone());
                        }
                    }
                }
            }
        }
    }
}

/// `dx[patch] += sum_c d[c] w_c` over the channels that chose the patch's position, for every position and source (d, w).
struct InputSums<'a, T, const K: usize, const N: usize> {
    layout: Layout,
    routes: &'a Routes,
    /// Adjoints by member of the positions, so that they stream; weights, block and row of taps first.
    sources: [(&'a [T], &'a [Line<T>]); N],
    /// Bordered image; what falls on the border is dropped later.
    dx: &'a mut [Line<T>],
    /// Where it is unpacked to.
    ahead: &'a [T],
}

impl<T: Scalar, const K: usize, const N: usize> InputSums<'_, T, K, N> {
    /// Adds `M` sources to some blocks, `B` of them and of each line of a patch's row `E` vectors at a time in registers.
    #[inline(always)]
    fn add<S: Simd, const M: usize, const B: usize, const E: usize>(
        &mut self,
        simd: S,
        blocks: Range<usize>,
        sources: [(&[T], &[Line<T>]); M],
    ) {
        let Layout { plane, row, .. } = self.layout;
        let slice = self.routes.channels() * K;
        assert!(sources.iter().all(|(_, weights)| weights.len() >= blocks.end * K * slice));
        let mut ahead = Ahead::in_steps([self.ahead], blocks.len() / B * K * self.routes.positions());
        // A row of taps at a time: one row of all channels fits the first-level cache, whole patches do not.
        for (block, ky) in blocks.step_by(B).flat_map(|block| (0..K).map(move |ky| (block, ky))) {
            let weights: [usize; B] = std::array::from_fn(|b| ((block + b) * K + ky) * slice);
            for (Position { patch, .. }, entries) in self.routes.by_position() {
                ahead.step();
                let members = &self.routes.members[entries.clone()];
                let sources = sources.map(|(d, w)| (&d[entries.clone()], w));
                let at = usize::from(patch) + ky * row;
                for e in (0..per_line::<T, S>()).step_by(E) {
                    let mut sums = [[[T::splat(simd, T::zero()); E]; K]; B];
                    for (i, &oc) in members.iter().enumerate() {
                        for (d, w) in &sources {
                            let d = T::splat(simd, d[i]);
                            for b in 0..B {
                                // SAFETY: `oc` counts channels, and a slice holds K lines of each.
                                let w = unsafe { run::<T, K>(w, weights[b] + usize::from(oc) * K) };
                                for kx in 0..K {
                                    for v in 0..E {
                                        sums[b][kx][v] = T::vfma(simd, d, T::load::<S>(&w[kx], e + v), sums[b][kx][v]);
                                    }
                                }
                            }
                        }
                    }
                    for b in 0..B {
                        let dx = &mut self.dx[(block + b) * plane + at..][..K];
                        let dx: &mut [Line<T>; K] = dx.try_into().expect("K lines");
                        for kx in 0..K {
                            for v in 0..E {
                                let sum = T::vadd(simd, T::load::<S>(&dx[kx], e + v), sums[b][kx][v]);
                                T::store::<S>(&mut dx[kx], e + v, sum);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl<T: Scalar, const K: usize, const N: usize> WithSimd for InputSums<'_, T, K, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let blocks = self.layout.blocks;
        if per_line::<T, S>() > 1 {
            for i in 0..N {
                self.add::<S, 1, 1, 2>(simd, 0..blocks, [self.sources[i]]);
            }
        } else if N > 1 {
            self.add::<S, N, 1, 1>(simd, 0..blocks, self.sources);
        } else {
            // The sums of one source and one block are too few to keep the multipliers busy.
            let paired = blocks / 2 * 2;
            self.add::<S, N, 2, 1>(simd, 0..paired, self.sources);
            self.add::<S, N, 1, 1>(simd, paired..blocks, self.sources);
        }
    }
}

/// The layer's `(weight, bias)` in direction `k` of a block of parameter vectors.
fn tensors<'a, T>(c: &Conv, block: &'a [T], k: usize) -> (&'a [T], &'a [T]) {
    let vector = &block[k * c.pitch..];
    (&vector[c.weight..c.weight + c.weight_len()], &vector[c.bias..c.bias + c.out_channels])
}

/// Slice number `at` of an array of slices of `len`.
fn slice<T>(array: &[T], at: usize, len: usize) -> &[T] {
    &array[at * len..(at + 1) * len]
}

/// What lies behind slice number `n` of an array of `count` slices of `len`: nothing behind the last.
fn next<T>(array: &[T], n: usize, count: usize, len: usize) -> &[T] {
    if n + 1 < count { slice(array, n + 1, len) } else { &[] }
}

pub(super) fn tangent<T: Scalar, const K: usize>(c: &Conv, layout: Layout, call: ConvTangent<'_, Cpu<T>>) {
    assert_eq!(layout.kernel, K);
    let arch = arch();
    let (input_len, output_len, samples, directions) = (c.input_len(), c.output_len(), call.samples, call.directions);
    let tp = by_group(Some(call.tp), directions, samples, output_len);
    with_arena(|arena| {
        let pack = |vector: &[T]| layout.pack_weights(arena, c, vector, Layout::by_channel);
        let w = pack(tensors(c, call.theta, 0).0);
        let tw = &*arena.alloc_slice_fill_with(directions, |k| pack(tensors(c, call.vectors, k).0));
        tp.for_each(|(start, mut tp)| {
            with_arena(|arena| {
                let bordered = zeros(arena, layout.bordered);
                let (image, timage) = (zeros(arena, layout.image), zeros(arena, layout.image));
                let mut z = [zeros(arena, output_len), zeros(arena, output_len)];
                for n in group(start / output_len, samples) {
                    let routes = call.route.routes(c, &layout, n);
                    layout.pack_image(c, slice(call.x, n, input_len), bordered, image);
                    let (routes, image) = (&*routes, &*image);
                    let next = next(call.x, n, samples, input_len);
                    let tx = |k: usize| Some(slice(call.tx?, k * samples + n, input_len));
                    // What is packed before direction k; before one that there is not, the next sample.
                    let packed = |k: usize| if k < directions { tx(k).unwrap_or_default() } else { next };
                    for first in (0..directions).step_by(2) {
                        let end = directions.min(first + 2);
                        let [z0, z1] = z.each_mut().map(|z| &mut z[..routes.patches.len()]);
                        z0.fill(T::zero());
                        z1.fill(T::zero());
                        let ahead = packed(if call.tx.is_some() { first } else { end });
                        if let &[w0, w1] = &tw[first..end] {
                            let (weights, z) = ([w0, w1], [&mut *z0, &mut *z1]);
                            arch.dispatch(Dots::<T, K, 2> { layout, routes, weights, image, z, ahead });
                        } else {
                            let (weights, z) = ([tw[first]], [&mut *z0]);
                            arch.dispatch(Dots::<T, K, 1> { layout, routes, weights, image, z, ahead });
                        }
                        for (k, z) in (first..end).zip([z0, z1]) {
                            if let Some(tx) = tx(k) {
                                layout.pack_image(c, tx, bordered, timage);
                                let (weights, image, z, ahead) = ([w], &*timage, [&mut *z], packed(k + 1));
                                arch.dispatch(Dots::<T, K, 1> { layout, routes, weights, image, z, ahead });
                            }
                            let tp = &mut tp.row(k)[n * output_len - start..][..output_len];
                            routes.scatter(z, tensors(c, call.vectors, k).1, tp);
                        }
                    }
                }
            });
        });
    });
}

pub(super) fn backward<T: Scalar, const K: usize>(c: &Conv, layout: Layout, call: ConvBackward<'_, Cpu<T>>) {
    assert_eq!(layout.kernel, K);
    let arch = arch();
    let (input_len, output_len, samples) = (c.input_len(), c.output_len(), call.samples);
    let has_dx = call.dx.is_some();
    let dx = by_group(call.dx, 1, samples, input_len);
    with_arena(|arena| {
        let pack = |vector: &[T]| layout.pack_weights(arena, c, vector, Layout::by_row);
        let w = if has_dx { pack(tensors(c, call.theta, 0).0) } else { &[] };
        let mut partials = Partials::new(arena, c, layout, samples, 1);
        partials.groups(dx).for_each(|((start, mut dx), Partial { weights: dw, biases })| {
            // Lists of its own: one gradient is all that is asked for at a point that training passes by.
            with_routes(|routes| {
                with_arena(|arena| {
                    let bordered = zeros(arena, layout.bordered);
                    let (image, dimage) = (zeros(arena, layout.image), zeros(arena, layout.image));
                    let entries = zeros(arena, output_len);
                    for n in group(start / input_len, samples) {
                        routes.forget();
                        routes.list(c, &layout, slice(call.route, n, output_len));
                        let d = routes.gather(slice(call.dp, n, output_len), entries);
                        layout.pack_image(c, slice(call.x, n, input_len), bordered, image);
                        let ahead = [next(call.x, n, samples, input_len), next(call.dp, n, samples, output_len), &[]];
                        arch.dispatch(WeightSums::<T, K> { layout, routes, d, image, dw, ahead });
                        add_biases(routes, d, biases);
                        if dx.row_count() > 0 {
                            let dx = &mut dx.row(0)[n * input_len - start..][..input_len];
                            routes.sort_by_position();
                            let d = routes.gather_members(slice(call.dp, n, output_len), entries);
                            dimage.fill(Line::zero());
                            let (routes, sources, ahead) = (&*routes, [(d, w)], &*dx);
                            arch.dispatch(InputSums::<T, K, 1> { layout, routes, sources, dx: dimage, ahead });
                            layout.unpack_image(c, dimage, dx);
                        }
                    }
                });
            });
        });
        // SAFETY: all groups were taken.
        unsafe { partials.sum(c, call.gradient, call.accumulate) };
    });
}

pub(super) fn tangent_backward<T: Scalar, const K: usize>(
    c: &Conv,
    layout: Layout,
    call: ConvTangentBackward<'_, Cpu<T>>,
) {
    assert_eq!(layout.kernel, K);
    let arch = arch();
    let (input_len, output_len, samples, directions) = (c.input_len(), c.output_len(), call.samples, call.directions);
    let tdx = by_group(call.tdx, directions, samples, input_len);
    with_arena(|arena| {
        let pack = |vector: &[T]| layout.pack_weights(arena, c, vector, Layout::by_row);
        let w = pack(tensors(c, call.theta, 0).0);
        let of_adjoint = if call.dp.is_some() { directions } else { 0 };
        let tw = &*arena.alloc_slice_fill_with(of_adjoint, |k| pack(tensors(c, call.vectors, k).0));
        let mut partials = Partials::new(arena, c, layout, samples, directions);
        partials.groups(tdx).for_each(|((start, mut tdx), mut partial)| {
            with_arena(|arena| {
                let bordered = zeros(arena, layout.bordered);
                let [image, timage, tdimage] = [(); 3].map(|()| zeros(arena, layout.image));
                let [d, td, d_of_members] = [(); 3].map(|()| zeros(arena, output_len));
                for n in group(start / input_len, samples) {
                    let mut routes = call.route.routes(c, &layout, n);
                    if tdx.row_count() > 0 {
                        routes.sort_by_position();
                    }
                    let routes = &*routes;
                    let dp = call.dp.map(|dp| slice(dp, n, output_len));
                    let d = dp.map(|dp| routes.gather(dp, d));
                    let members = dp.map(|dp| routes.gather_members(dp, d_of_members));
                    layout.pack_image(c, slice(call.x, n, input_len), bordered, image);
                    // What is read after direction k.
                    let after = |k: usize| match k + 1 < directions {
                        true => [slice(call.tdp, (k + 1) * samples + n, output_len), &[], &[]],
                        false => [
                            next(call.x, n, samples, input_len),
                            call.dp.map_or(&[], |dp| next(dp, n, samples, output_len)),
                            next(call.tdp, n, samples, output_len),
                        ],
                    };
                    for k in 0..directions {
                        let at = k * samples + n;
                        let tdp = slice(call.tdp, at, output_len);
                        let of_outputs = routes.gather(tdp, td);
                        let (dw, biases) = partial.direction(c, &layout, k);
                        let tx = call.tx.map(|tx| slice(tx, at, input_len)).zip(d);
                        let ahead = tx.map_or(after(k), |(tx, _)| [tx, &[], &[]]);
                        arch.dispatch(WeightSums::<T, K> { layout, routes, d: of_outputs, image, dw, ahead });
                        if let Some((tx, d)) = tx {
                            layout.pack_image(c, tx, bordered, timage);
                            let (image, ahead) = (&*timage, after(k));
                            arch.dispatch(WeightSums::<T, K> { layout, routes, d, image, dw, ahead });
                        }
                        add_biases(routes, of_outputs, biases);
                        if k < tdx.row_count() {
                            let tdx = &mut tdx.row(k)[n * input_len - start..][..input_len];
                            tdimage.fill(Line::zero());
                            let (of_members, ahead) = ((routes.gather_members(tdp, td), w), &*tdx);
                            let dx = &mut *tdimage;
                            match members {
                                Some(members) => {
                                    let sources = [of_members, (members, tw[k])];
                                    arch.dispatch(InputSums::<T, K, 2> { layout, routes, sources, dx, ahead });
                                }
                                None => {
                                    let sources = [of_members];
                                    arch.dispatch(InputSums::<T, K, 1> { layout, routes, sources, dx, ahead });
                                }
                            }
                            layout.unpack_image(c, tdimage, tdx);
                        }
                    }
                }
            });
        });
        // SAFETY: all groups were taken.
        unsafe { partials.sum(c, call.products, call.accumulate) };
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

    /// Each group's, which begin as zeros, with the block that it writes.
    fn groups<B: IndexedParallelIterator>(
        &mut self,
        blocks: B,
    ) -> impl IndexedParallelIterator<Item = (B::Item, Partial<'_, T>)> {
        let weights = self.weights.par_chunks_exact_mut(self.directions * self.layout.weights);
        let biases = self.biases.par_chunks_exact_mut(self.biases.len() / weights.len());
        assert_eq!(blocks.len(), weights.len(), "every group is a task");
        let zeros = weights.zip(biases).map(|(w, b)| Partial { weights: zeroed(w), biases: zeroed(b) });
        blocks.zip(zeros)
    }

    /// The groups' sums, in order of the groups, which are added to a block of parameter vectors or replace them.
    ///
    /// # Safety
    /// A task has taken each of [`Partials::groups`].
    unsafe fn sum(self, c: &Conv, block: &mut [T], accumulate: bool) {
        let Self { layout, directions, .. } = self;
        // SAFETY: a group's are zeros from the beginning of its task, and by the caller's promise there was one for each.
        let (weights, biases) = unsafe { (written(self.weights), written(self.biases)) };
        let lines = layout.blocks * layout.taps;
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
            let target = &mut vector[c.bias..c.bias + c.out_channels];
            if !accumulate {
                target.fill(T::zero());
            }
            for group in biases.chunks_exact(directions * c.out_channels) {
                target.iter_mut().zip(&group[k * c.out_channels..]).for_each(|(t, &b)| *t += b);
            }
        }
    }
}
