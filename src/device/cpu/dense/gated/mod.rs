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

use super::{Cpu, Mat, MatMut, for_each_block, matrices_mut, tensors, weights_mut};
use crate::device::cpu::ahead::prefetch;
use crate::device::cpu::simd::{CHANNELS, Line, arch};
use crate::device::{DenseBackward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;
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
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let (w, _) = tensors(layer, call.theta, 0);
    let tw = |k| tensors(layer, call.vectors, k).0;
    let tb = |k, o| tensors(layer, call.vectors, k).1[o];
    let gates = Gates::new(layer, call.samples, call.y);
    let ty = matrices_mut(call.ty, call.directions, call.samples, layer.outputs);
    match call.tx {
        Some(tx) => {
            let tx = |k| Mat::new(&tx[k * call.samples * layer.inputs..], call.samples, layer.inputs);
            dots(ty, &gates, |k| [tw(k), w], |k| [x, tx(k)], tb);
        }
        None => dots(ty, &gates, |k| [tw(k)], |_| [x], tb),
    }
}

/// With `dy` masked already, and the bias done.
pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let (w, _) = tensors(layer, call.theta, 0);
    let dz = Mat::new(call.dy, call.samples, layer.outputs);
    let gates = Gates::new(layer, call.samples, call.y);
    sums(weights_mut(layer, call.gradient, 1), &Receivers::Units, call.accumulate, &gates, |_| [dz], |_| [x]);
    if let Some(dx) = call.dx {
        let dx = matrices_mut(dx, 1, call.samples, layer.inputs);
        sums(dx, &Receivers::Samples(&gates.by_similarity()), false, &gates, |_| [dz], |_| [w]);
    }
}

/// With `tdy` masked already, and the bias done.
pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let (samples, directions) = (call.samples, call.directions);
    let x = Mat::new(call.x, samples, layer.inputs);
    let (w, _) = tensors(layer, call.theta, 0);
    let dz = Mat::new(call.dz, samples, layer.outputs);
    let tdz = |k| Mat::new(&call.tdy[k * samples * layer.outputs..], samples, layer.outputs);
    let gates = Gates::new(layer, samples, call.y);
    let tdw = weights_mut(layer, call.products, directions);
    match call.tx {
        Some(tx) => {
            let tx = |k| Mat::new(&tx[k * samples * layer.inputs..], samples, layer.inputs);
            sums(tdw, &Receivers::Units, call.accumulate, &gates, |k| [tdz(k), dz], |k| [x, tx(k)]);
        }
        None => sums(tdw, &Receivers::Units, call.accumulate, &gates, |k| [tdz(k)], |_| [x]),
    }
    if let Some(tdx) = call.tdx {
        let tdx = matrices_mut(tdx, directions, samples, layer.inputs);
        let tw = |k| tensors(layer, call.vectors, k).0;
        let receivers = Receivers::Samples(&gates.by_similarity());
        sums(tdx, &receivers, false, &gates, |k| [tdz(k), dz], |k| [w, tw(k)]);
    }
}

/// `y_k[s][r] = bias(k, r) + sum over the N of weights(k)_r . x(k)_s` for the pairs that are on, zero for the others.
fn dots<'a, T: Scalar, const N: usize>(
    ys: impl Iterator<Item = MatMut<'a, T>>,
    gates: &Gates,
    weights: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
    x: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
    bias: impl Fn(usize, usize) -> T + Sync,
) {
    let columns = x(0)[0].column_count();
    let samples = gates.by_similarity();
    let arch = arch();
    for_each_block(ys, UNITS, |k, start, mut y| {
        let units = start..start + y.row(0).len();
        let mut teams: Vec<_> = samples
            .chunks(SAMPLES)
            .map(|team| {
                let list = gates.on_for_any(team, units.clone());
                let z = vec![[T::zero(); SAMPLES]; list.len()];
                (team, list, z)
            })
            .collect();
        let (mut packed, mut tile) = (Tile::<T, N>::new(units.len(), RUN), Tile::<T, N>::new(SAMPLES, RUN));
        for column in (0..columns).step_by(WIDTH) {
            packed.fill(weights(k), units.clone(), column);
            for (team, list, z) in &mut teams {
                tile.fill(x(k), team.iter().copied(), column);
                arch.dispatch(Dots::<T, N> { list, weights: &packed.lines, x: &tile.lines, z });
            }
        }
        for (team, list, z) in &teams {
            for (i, &s) in team.iter().enumerate() {
                let y = y.row(s);
                y.fill(T::zero());
                for (&unit, z) in list.iter().zip(z).filter(|(unit, _)| gates.is_on(s, start + **unit)) {
                    y[unit] = z[i] + bias(k, start + unit);
                }
            }
        }
    });
}

/// The first `count` scalars, or all if there are fewer.
fn first<T>(scalars: &[T], count: usize) -> &[T] {
    &scalars[..scalars.len().min(count)]
}

/// Who receives in [`sums`]: each two of a sequence are a pair.
enum Receivers<'a> {
    /// Units, from samples.
    Units,
    /// Samples in this order, from units.
    Samples(&'a [usize]),
}

/// What one group of givers gives, for each receiver, of which there is an even number.
struct Gifts<T> {
    /// The bits of its givers.
    givers: Vec<u32>,
    coefficients: Vec<[T; ENTRIES]>,
}

impl<T: Scalar> Gifts<T> {
    /// With coefficients `c[i]` (samples, units), zero where a unit is off.
    fn new<const N: usize>(receivers: &Receivers, givers: Range<usize>, gates: &Gates, c: [Mat<'_, T>; N]) -> Self {
        match receivers {
            Receivers::Units => Self::to_units(givers, gates, c),
            Receivers::Samples(order) => Self::to_samples(order, givers, gates, c),
        }
    }

    fn to_units<const N: usize>(samples: Range<usize>, gates: &Gates, c: [Mat<'_, T>; N]) -> Self {
        let units = c[0].column_count();
        let mut givers = gates.of_samples(samples.clone(), units);
        givers.resize(units.next_multiple_of(2), 0);
        let mut coefficients = vec![[T::zero(); ENTRIES]; givers.len()];
        // So many units at a time that their coefficients stay in the first-level cache.
        const CHUNK: usize = 128;
        for (first, coefficients) in (0..units).step_by(CHUNK).zip(coefficients.chunks_mut(CHUNK)) {
            for entry in 0..samples.len() * N {
                let row = &c[entry % N].row(samples.start + entry / N)[first..];
                coefficients.iter_mut().zip(row).for_each(|(to, &c)| to[entry] = c);
            }
        }
        Self { givers, coefficients }
    }

    fn to_samples<const N: usize>(order: &[usize], units: Range<usize>, gates: &Gates, c: [Mat<'_, T>; N]) -> Self {
        let mut givers: Vec<u32> = order.iter().map(|&sample| gates.of_units(sample, units.clone())).collect();
        givers.resize(order.len().next_multiple_of(2), 0);
        let mut coefficients = vec![[T::zero(); ENTRIES]; givers.len()];
        for (coefficients, &sample) in coefficients.iter_mut().zip(order) {
            for i in 0..N {
                let given = &c[i].row(sample)[units.clone()];
                coefficients.chunks_exact_mut(N).zip(given).for_each(|(to, &c)| to[i] = c);
            }
        }
        Self { givers, coefficients }
    }
}

/// `y_k[r] += sum over the N and the givers s of c(k) x(k)_s`, or `=` if not `accumulate`.
fn sums<'a, 'b, T: Scalar, const N: usize>(
    ys: impl Iterator<Item = MatMut<'a, T>>,
    receivers: &Receivers<'_>,
    accumulate: bool,
    gates: &Gates,
    c: impl Fn(usize) -> [Mat<'b, T>; N] + Sync,
    x: impl Fn(usize) -> [Mat<'b, T>; N] + Sync,
) {
    let ys: Vec<_> = ys.collect();
    let givers = if ys.is_empty() { 0 } else { x(0)[0].row_count() };
    let size = ENTRIES / N;
    let groups: Vec<Range<usize>> = (0..givers).step_by(size).map(|first| first..givers.min(first + size)).collect();
    let gifts: Vec<Gifts<T>> = (0..ys.len() * groups.len())
        .into_par_iter()
        .map(|i| {
            let (k, givers) = (i / groups.len(), groups[i % groups.len()].clone());
            Gifts::new(receivers, givers, gates, c(k))
        })
        .collect();
    let share = match receivers {
        // Units share little: where only one of two is on, to work out the other's sums too would cost more than it saves.
        Receivers::Units => Share::Both,
        Receivers::Samples(_) => Share::Either,
    };
    let arch = arch();
    for_each_block(ys.into_iter(), SUM_WIDTH, |k, start, mut y| {
        let mut tile = Tile::<T, N>::new(size, SUM_RUN);
        let mut z = vec![Line::zero(); y.row_count().next_multiple_of(2) * SUM_RUN];
        let x = x(k);
        for (group, (givers, gifts)) in groups.iter().zip(&gifts[k * groups.len()..]).enumerate() {
            tile.fill(x, givers.clone(), start);
            // The next group's rows come from memory meanwhile, one at a time: a core that asks for many lines at once waits.
            let mut next = groups.get(group + 1).cloned().unwrap_or(0..0);
            let some = gifts.givers.len().div_ceil(2 * size) * 2;
            let receivers = gifts.givers.chunks(some).zip(gifts.coefficients.chunks(some));
            for ((givers, coefficients), z) in receivers.zip(z.chunks_mut(some * SUM_RUN)) {
                if let Some(row) = next.next() {
                    x.iter().for_each(|x| prefetch(first(&x.row(row)[start..], SUM_WIDTH)));
                }
                arch.dispatch(Sums::<T, N> { givers, coefficients, share, x: &tile.lines, z });
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
}
