//! A dense layer behind a ReLU, worked out only where its units are on.
//!
//! A unit that is off for a sample has neither tangent nor adjoint there, and half of LeNet's 1,024 hidden units are off
//! for the average digit. Two kernels pass by what is off, with the inputs in their vectors:
//!
//! * [`Dots`]: `y[s][r] += w_r . x_s` for a team of four samples and a list of units (tangents);
//! * [`Sums`]: `y_r += sum of c x_s` for a team of receivers and a list of givers (adjoints: of weights, where units receive
//!   from samples; of inputs, where samples receive from units).
//!
//! A team shares what it loads, wherever one member is on. Without sharing there is a load for every multiply-add,
//! and loads of whole AVX-512 registers come at two thirds of the pace of multiply-adds. Samples that are put together
//! [by similarity](Gates::by_similarity) share well: four need three fifths of the units, and two hardly more than one. Units
//! share badly: two of them share loads where both are on, and receive alone elsewhere. With sixteen registers no receivers share.
//!
//! The two terms of a product are one: `tW x + W tx` is a dot product over twice the inputs, `tdz^T x + dz^T tx` a sum of
//! twice the terms. Hence the number `N` of matrices side by side in a [`Tile`].

mod gates;
mod kernels;

use super::{Cpu, Mat, MatsMut, bias, for_each_block, matrices_mut, weights, weights_mut};
use crate::device::cpu::ahead::prefetch;
use crate::device::cpu::arena::{room, with_arena, written, zeroed, zeros};
use crate::device::cpu::simd::{CHANNELS, arch};
use crate::device::{DenseBackward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;
use bumpalo::Bump;
use gates::Gates;
use kernels::{Dots, Share, Sums, Tile};
use rayon::prelude::*;
use std::ops::Range;

/// Lines that a row of one matrix takes in a tile.
const RUN: usize = 28;
/// Columns of a tile.
const WIDTH: usize = RUN * CHANNELS;
/// Units a task of [`dots`].
const UNITS: usize = 256;
/// Samples that share their weights in [`Dots`].
const SAMPLES: usize = 4;
/// Givers whose rows lie in the first-level cache together, times `N`.
const ENTRIES: usize = 32;
/// As [`RUN`] and [`WIDTH`], for [`Sums`].
const SUM_RUN: usize = 14;
const SUM_WIDTH: usize = SUM_RUN * CHANNELS;

/// Whether the layer has a gate, and fills its tiles.
pub(super) fn pays(layer: &Dense) -> bool {
    layer.relu && 4 * layer.inputs.next_multiple_of(WIDTH) <= 5 * layer.inputs
}

pub(super) fn tangent<T: Scalar>(layer: &Dense, call: DenseTangent<'_, Cpu<T>>) {
    let inputs = |x, k: usize| activations(x, k, call.samples, layer.inputs);
    let w = weights(layer, call.theta, 0);
    let tw = |k| weights(layer, call.vectors, k);
    let tb = |k| bias(layer, call.vectors, k);
    let ty = matrices_mut(call.ty, call.directions, call.samples, layer.outputs);
    with_arena(|arena| {
        let gates = Gates::new(arena, layer, call.samples, call.y);
        let order = gates.by_similarity(arena);
        match (call.x, call.tx) {
            (Some(x), Some(tx)) => {
                dots(ty, false, &gates, &order, |k| [tw(k), w], |k| [inputs(x, 0), inputs(tx, k)], tb);
            }
            (Some(x), None) => dots(ty, false, &gates, &order, |k| [tw(k)], |_| [inputs(x, 0)], tb),
            (None, Some(tx)) => dots(ty, true, &gates, &order, |_| [w], |k| [inputs(tx, k)], tb),
            (None, None) => panic!("a tangent needs x or tx"),
        }
    });
}

/// With `dy` masked already, and the bias done.
pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let w = weights(layer, call.theta, 0);
    let dz = Mat::new(call.dy, call.samples, layer.outputs);
    let dw = weights_mut(layer, call.gradient, 1);
    with_arena(|arena| {
        let gates = Gates::new(arena, layer, call.samples, call.y);
        sums(arena, dw, Receivers::Units, call.accumulate, &gates, |_| [dz], |_| [x]);
        if let Some(dx) = call.dx {
            let dx = matrices_mut(dx, 1, call.samples, layer.inputs);
            let order = gates.by_similarity(arena);
            sums(arena, dx, Receivers::Samples(&order), false, &gates, |_| [dz], |_| [w]);
        }
    });
}

/// With `tdy` masked already, and the bias done.
pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let samples = call.samples;
    let inputs = |x, k: usize| activations(x, k, samples, layer.inputs);
    let w = weights(layer, call.theta, 0);
    let dz = activations(call.dz, 0, samples, layer.outputs);
    let tdz = |k| activations(&*call.tdy, k, samples, layer.outputs);
    with_arena(|arena| {
        let gates = Gates::new(arena, layer, samples, call.y);
        if let Some(x) = call.x {
            let tdw = weights_mut(layer, call.products, call.directions);
            match call.tx {
                Some(tx) => {
                    let (c, x) = (|k| [tdz(k), dz], |k| [inputs(x, 0), inputs(tx, k)]);
                    sums(arena, tdw, Receivers::Units, call.accumulate, &gates, c, x);
                }
                None => {
                    sums(arena, tdw, Receivers::Units, call.accumulate, &gates, |k| [tdz(k)], |_| [inputs(x, 0)]);
                }
            }
        }
        if let Some(tdx) = call.tdx {
            let tdx = matrices_mut(tdx, call.directions, samples, layer.inputs);
            let order = gates.by_similarity(arena);
            let receivers = Receivers::Samples(&order);
            if call.x.is_some() {
                let tw = |k| weights(layer, call.vectors, k);
                sums(arena, tdx, receivers, false, &gates, |k| [tdz(k), dz], |k| [w, tw(k)]);
            } else {
                sums(arena, tdx, receivers, true, &gates, |k| [tdz(k)], |_| [w]);
            }
        }
    });
}

/// The activations or adjoints (N, features) in direction `k` of a block of them.
fn activations<T>(block: &[T], k: usize, samples: usize, features: usize) -> Mat<'_, T> {
    Mat::new(&block[k * samples * features..], samples, features)
}

/// `y_k[s][r] = bias(k, r) + sum over the N of weights(k)_r . x(k)_s` for the pairs that are on, or `+=` if `accumulate`, and zero
/// for the others; samples are taken in the given order.
fn dots<'a, T: Scalar, const N: usize>(
    ys: MatsMut<'_, T>,
    accumulate: bool,
    gates: &Gates,
    order: &[usize],
    weights: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
    x: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
    bias: impl Fn(usize) -> &'a [T] + Sync,
) {
    let columns = x(0)[0].column_count();
    let arch = arch();
    for_each_block(ys, UNITS, |k, start, mut y| {
        let units = start..start + y.column_count();
        with_arena(|arena| {
            let teams = arena.alloc_slice_fill_iter(order.chunks(SAMPLES).map(|team| {
                let list = gates.on_for_any(arena, team, units.clone()).into_bump_slice();
                (team, list, zeros::<[T; SAMPLES]>(arena, list.len()))
            }));
            let mut packed = Tile::<T, N>::new(arena, units.len(), RUN);
            let mut tile = Tile::<T, N>::new(arena, SAMPLES, RUN);
            for column in (0..columns).step_by(WIDTH) {
                packed.fill(weights(k), units.clone(), column);
                for (team, list, z) in &mut *teams {
                    tile.fill(x(k), team.iter().copied(), column);
                    arch.dispatch(Dots::<T, N> { list, weights: packed.lines, x: tile.lines, z });
                }
            }
            let bias = &bias(k)[units.clone()];
            let before = zeros::<T>(arena, units.len());
            for (team, list, z) in teams {
                for (i, &s) in team.iter().enumerate() {
                    let y = y.row(s);
                    if accumulate {
                        before.copy_from_slice(y);
                    }
                    y.fill(T::zero());
                    // No branch can predict which units of the team are on for the sample.
                    for (&unit, z) in list.iter().zip(&**z) {
                        let sum = z[i] + bias[unit] + before[unit];
                        y[unit] = if gates.is_on(s, start + unit) { sum } else { T::zero() };
                    }
                }
            }
        });
    });
}

/// The first `count` scalars, or all if there are fewer.
fn first<T>(scalars: &[T], count: usize) -> &[T] {
    &scalars[..scalars.len().min(count)]
}

/// Who receives in [`sums`]: each two of a sequence are a pair.
#[derive(Clone, Copy)]
enum Receivers<'a> {
    /// Units, from samples.
    Units,
    /// Samples in this order, from units.
    Samples(&'a [usize]),
}

/// What one group of givers gives, for each receiver, of which there is an even number.
struct Gifts<'a, T> {
    /// The bits of its givers.
    givers: &'a mut [u32],
    coefficients: &'a mut [[T; ENTRIES]],
}

impl<T: Scalar> Gifts<'_, T> {
    /// With coefficients `c[i]` (samples, units), zero where a unit is off.
    fn fill<const N: usize>(self, receivers: Receivers, givers: Range<usize>, gates: &Gates, c: [Mat<'_, T>; N]) {
        match receivers {
            Receivers::Units => self.fill_of_units(givers, gates, c),
            Receivers::Samples(order) => self.fill_of_samples(order, givers, gates, c),
        }
    }

    fn fill_of_units<const N: usize>(self, samples: Range<usize>, gates: &Gates, c: [Mat<'_, T>; N]) {
        let units = c[0].column_count();
        gates.of_samples(samples.clone(), &mut self.givers[..units]);
        // So many units at a time that their coefficients stay in the first-level cache.
        const CHUNK: usize = 128;
        for (first, coefficients) in (0..units).step_by(CHUNK).zip(self.coefficients.chunks_mut(CHUNK)) {
            for entry in 0..samples.len() * N {
                let row = &c[entry % N].row(samples.start + entry / N)[first..];
                coefficients.iter_mut().zip(row).for_each(|(to, &c)| to[entry] = c);
            }
        }
    }

    fn fill_of_samples<const N: usize>(self, order: &[usize], units: Range<usize>, gates: &Gates, c: [Mat<'_, T>; N]) {
        for ((givers, coefficients), &sample) in self.givers.iter_mut().zip(self.coefficients).zip(order) {
            *givers = gates.of_units(sample, units.clone());
            for i in 0..N {
                let given = &c[i].row(sample)[units.clone()];
                coefficients.chunks_exact_mut(N).zip(given).for_each(|(to, &c)| to[i] = c);
            }
        }
    }
}

/// `y_k[r] += sum over the N and the givers s of c(k) x(k)_s`, or `=` if not `accumulate`.
fn sums<'b, T: Scalar, const N: usize>(
    arena: &Bump,
    ys: MatsMut<'_, T>,
    receivers: Receivers<'_>,
    accumulate: bool,
    gates: &Gates,
    c: impl Fn(usize) -> [Mat<'b, T>; N] + Sync,
    x: impl Fn(usize) -> [Mat<'b, T>; N] + Sync,
) {
    let (size, all, count) = (ENTRIES / N, x(0)[0].row_count(), ys.row_count().next_multiple_of(2));
    // Each group's givers.
    let groups = all.div_ceil(size);
    let givers_of = |group: usize| (group * size).min(all)..((group + 1) * size).min(all);
    let givers = room::<u32>(arena, ys.count() * groups * count);
    let coefficients = room::<[T; ENTRIES]>(arena, givers.len());
    let gifts = givers.par_chunks_exact_mut(count).zip(coefficients.par_chunks_exact_mut(count));
    gifts.enumerate().for_each(|(i, (givers, coefficients))| {
        let gifts = Gifts { givers: zeroed(givers), coefficients: zeroed(coefficients) };
        gifts.fill(receivers, givers_of(i % groups), gates, c(i / groups));
    });
    // SAFETY: the chunks are all of both, and every task has filled its own.
    let (givers, coefficients) = unsafe { (written(givers), written(coefficients)) };
    let share = match receivers {
        // Units share little: where only one of two is on, to work out the other's sums too would cost more than it saves.
        Receivers::Units => Share::Both,
        Receivers::Samples(_) => Share::Either,
    };
    let arch = arch();
    for_each_block(ys, SUM_WIDTH, |k, start, mut y| {
        with_arena(|arena| {
            let mut tile = Tile::<T, N>::new(arena, size, SUM_RUN);
            let z = zeros(arena, count * SUM_RUN);
            let x = x(k);
            for group in 0..groups {
                tile.fill(x, givers_of(group), start);
                // The next group's rows come from memory meanwhile, one at a time: a core that asks for many lines at once waits.
                let mut next = givers_of(group + 1);
                let gifts = (k * groups + group) * count..(k * groups + group + 1) * count;
                let (givers, coefficients) = (&givers[gifts.clone()], &coefficients[gifts]);
                let some = count.div_ceil(2 * size) * 2;
                let receivers = givers.chunks(some).zip(coefficients.chunks(some));
                for ((givers, coefficients), z) in receivers.zip(z.chunks_mut(some * SUM_RUN)) {
                    if let Some(row) = next.next() {
                        x.iter().for_each(|x| prefetch(first(&x.row(row)[start..], SUM_WIDTH)));
                    }
                    arch.dispatch(Sums::<T, N> { givers, coefficients, share, x: tile.lines, z });
                }
            }
            for (i, z) in z.chunks_exact(SUM_RUN).take(y.row_count()).enumerate() {
                let place = |i: usize| match receivers {
                    Receivers::Units => i,
                    Receivers::Samples(order) => order[i],
                };
                if i + 8 < y.row_count() {
                    prefetch(y.row(place(i + 8)));
                }
                let row = y.row(place(i));
                let z = T::scalars(z);
                if accumulate {
                    row.iter_mut().zip(z).for_each(|(y, &z)| *y += z);
                } else {
                    row.copy_from_slice(&z[..row.len()]);
                }
            }
        });
    });
}
