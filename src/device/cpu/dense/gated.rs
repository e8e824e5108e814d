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
//! [`by_similarity`] share well: four need three fifths of the units, and two hardly more than one. Units share badly, so they
//! receive alone.
//!
//! The two terms of a product are one: `tW x + W tx` is a dot product over twice the inputs, `tdz^T x + dz^T tx` a sum of
//! twice the terms. Hence the number `N` of matrices side by side in a [`Tile`].

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use super::{Cpu, Mat, MatMut, for_each_block, is_on, matrices_mut, tensors, weights_mut};
use crate::device::cpu::simd::{CHANNELS, Line};
use crate::device::{DenseBackward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;
use pulp::{Arch, Simd, WithSimd};
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
/// Samples that share what they are given in [`Sums`].
const PAIR: usize = 2;
/// Units that do: units have little in common.
const UNIT: usize = 1;
/// Givers whose rows lie in the first-level cache together, divided by `N`.
const GIVERS: usize = 32;
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
    let on = |n, o| is_on(layer, call.y[n * layer.outputs + o]);
    let ty = matrices_mut(call.ty, call.directions, call.samples, layer.outputs);
    match call.tx {
        Some(tx) => {
            let tx = |k| Mat::new(&tx[k * call.samples * layer.inputs..], call.samples, layer.inputs);
            dots(ty, on, |k| [tw(k), w], |k| [x, tx(k)], tb);
        }
        None => dots(ty, on, |k| [tw(k)], |_| [x], tb),
    }
}

/// With `dy` masked already, and the bias done.
pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let (w, _) = tensors(layer, call.theta, 0);
    let at = |n, o| n * layer.outputs + o;
    let (on, dz) = (|n, o| is_on(layer, call.y[at(n, o)]), |n, o| call.dy[at(n, o)]);
    let units: Vec<_> = (0..layer.outputs).collect();
    sums::<_, _, UNIT>(weights_mut(layer, call.gradient, 1), &units, |o, n| on(n, o), |_, o, n| [dz(n, o)], |_| [x]);
    if let Some(dx) = call.dx {
        dx[..call.samples * layer.inputs].fill(T::zero());
        let samples = by_similarity(call.samples, layer.outputs, on);
        sums::<_, _, PAIR>(
            matrices_mut(dx, 1, call.samples, layer.inputs),
            &samples,
            on,
            |_, n, o| [dz(n, o)],
            |_| [w],
        );
    }
}

/// With `tdy` masked already, and the bias done.
pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let (samples, directions) = (call.samples, call.directions);
    let x = Mat::new(call.x, samples, layer.inputs);
    let (w, _) = tensors(layer, call.theta, 0);
    let at = |n, o| n * layer.outputs + o;
    let on = |n, o| is_on(layer, call.y[at(n, o)]);
    let tdz = |k, n, o| call.tdy[at(k * samples + n, o)];
    let dz = |n, o| call.dz[at(n, o)];
    let units: Vec<_> = (0..layer.outputs).collect();
    let tdw = weights_mut(layer, call.products, directions);
    match call.tx {
        Some(tx) => {
            let tx = |k| Mat::new(&tx[k * samples * layer.inputs..], samples, layer.inputs);
            sums::<_, _, UNIT>(tdw, &units, |o, n| on(n, o), |k, o, n| [tdz(k, n, o), dz(n, o)], |k| [x, tx(k)]);
        }
        None => sums::<_, _, UNIT>(tdw, &units, |o, n| on(n, o), |k, o, n| [tdz(k, n, o)], |_| [x]),
    }
    if let Some(tdx) = call.tdx {
        tdx[..directions * samples * layer.inputs].fill(T::zero());
        let tdx = matrices_mut(tdx, directions, samples, layer.inputs);
        let tw = |k| tensors(layer, call.vectors, k).0;
        let order = by_similarity(samples, layer.outputs, on);
        sums::<_, _, PAIR>(tdx, &order, on, |k, n, o| [tdz(k, n, o), dz(n, o)], |k| [w, tw(k)]);
    }
}

/// `y_k[s][r] = bias(k, r) + sum over the N of weights(k)_r . x(k)_s` for the pairs that are `on(s, r)`, zero for the others.
fn dots<'a, T: Scalar, const N: usize>(
    ys: impl Iterator<Item = MatMut<'a, T>>,
    on: impl Fn(usize, usize) -> bool + Sync,
    weights: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
    x: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
    bias: impl Fn(usize, usize) -> T + Sync,
) {
    let (w, x0) = (weights(0)[0], x(0)[0]);
    let samples = by_similarity(x0.row_count(), w.row_count(), &on);
    let arch = Arch::new();
    for_each_block(ys, UNITS, |k, start, mut y| {
        let units = start..start + y.row(0).len();
        let mut teams: Vec<_> = samples
            .chunks(SAMPLES)
            .map(|team| {
                let is_on = |&unit: &usize| team.iter().any(|&s| on(s, start + unit));
                let list: Vec<usize> = (0..units.len()).filter(is_on).collect();
                let z = vec![[T::zero(); SAMPLES]; list.len()];
                (team, list, z)
            })
            .collect();
        let (mut packed, mut tile) = (Tile::<T, N>::new(units.len(), RUN), Tile::<T, N>::new(SAMPLES, RUN));
        for column in (0..w.column_count()).step_by(WIDTH) {
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
                for (&unit, z) in list.iter().zip(z).filter(|(unit, _)| on(s, start + **unit)) {
                    y[unit] = z[i] + bias(k, start + unit);
                }
            }
        }
    });
}

/// `y_k[r] += sum over the N and the givers s of coefficients(k, r, s) x(k)_s`, which are zero unless `on(r, s)`.
///
/// The receivers are taken in teams of `M`, in the given order.
fn sums<'a, T: Scalar, const N: usize, const M: usize>(
    ys: impl Iterator<Item = MatMut<'a, T>>,
    receivers: &[usize],
    on: impl Fn(usize, usize) -> bool + Sync,
    coefficients: impl Fn(usize, usize, usize) -> [T; N] + Sync,
    x: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
) {
    let ys: Vec<_> = ys.collect();
    let givers = if ys.is_empty() { 0 } else { x(0)[0].row_count() };
    let groups: Vec<Range<usize>> =
        (0..givers).step_by(GIVERS / N).map(|first| first..givers.min(first + GIVERS / N)).collect();
    let lists: Vec<Lists<T, N, M>> = (0..ys.len() * groups.len())
        .into_par_iter()
        .map(|i| {
            let (k, givers) = (i / groups.len(), &groups[i % groups.len()]);
            Lists::new(receivers, givers, &on, |r, s| coefficients(k, r, s))
        })
        .collect();
    let arch = Arch::new();
    for_each_block(ys.into_iter(), SUM_WIDTH, |k, start, mut y| {
        let mut tile = Tile::<T, N>::new(GIVERS / N, SUM_RUN);
        let mut z = vec![Line::zero(); receivers.len().next_multiple_of(M) * SUM_RUN];
        for (givers, lists) in groups.iter().zip(&lists[k * groups.len()..]) {
            tile.fill(x(k), givers.clone(), start);
            arch.dispatch(Sums::<T, N, M> { lists, x: &tile.lines, z: &mut z });
        }
        for (&r, z) in receivers.iter().zip(z.chunks_exact(SUM_RUN)) {
            y.row(r).iter_mut().zip(T::scalars(z)).for_each(|(y, &z)| *y += z);
        }
    });
}

/// Orders the samples so that each four in a row share as many of their units as a greedy search can find.
fn by_similarity(samples: usize, units: usize, on: impl Fn(usize, usize) -> bool + Sync) -> Vec<usize> {
    let words = units.div_ceil(64);
    let mut bits = vec![0u64; samples * words];
    bits.par_chunks_exact_mut(words).enumerate().for_each(|(s, bits)| {
        for (word, first) in bits.iter_mut().zip((0..).step_by(64)) {
            *word = (first..units.min(first + 64)).fold(0, |word, u| word | u64::from(on(s, u)) << (u - first));
        }
    });
    let mut left: Vec<usize> = (0..samples).collect();
    let mut order = Vec::with_capacity(samples);
    let mut union = vec![0u64; words];
    while !left.is_empty() {
        if order.len() % SAMPLES == 0 {
            union.fill(0);
        }
        let added = |s: usize| -> u32 {
            bits[s * words..][..words].iter().zip(&union).map(|(bits, union)| (*bits & !*union).count_ones()).sum()
        };
        let is_first = order.len() % SAMPLES == 0;
        let best = if is_first { 0 } else { (0..left.len()).min_by_key(|&i| added(left[i])).expect("some are left") };
        let next = left.remove(best);
        union.iter_mut().zip(&bits[next * words..]).for_each(|(union, bits)| *union |= bits);
        order.push(next);
    }
    order
}

/// What one group of givers gives: pair p of receivers has entries `starts[p]..starts[p + 1]`.
struct Lists<T, const N: usize, const M: usize> {
    starts: Vec<usize>,
    /// Giver of each entry, counted from the first of its group.
    members: Vec<u32>,
    /// Its coefficients for both receivers.
    coefficients: Vec<[[T; N]; M]>,
}

impl<T: Scalar, const N: usize, const M: usize> Lists<T, N, M> {
    fn new(
        receivers: &[usize],
        givers: &Range<usize>,
        on: impl Fn(usize, usize) -> bool,
        coefficients: impl Fn(usize, usize) -> [T; N],
    ) -> Self {
        let pairs = receivers.chunks(M);
        let mut members = vec![0; pairs.len() * givers.len()];
        let mut starts = vec![0];
        let mut end = 0;
        for pair in pairs {
            for s in givers.clone() {
                // Every entry is written and one that is off then overwritten: no branch can predict it.
                members[end] = (s - givers.start) as u32;
                end += usize::from(pair.iter().any(|&r| on(r, s)));
            }
            starts.push(end);
        }
        members.truncate(end);
        let mut all = vec![[[T::zero(); N]; M]; end];
        for (pair, bounds) in receivers.chunks(M).zip(starts.windows(2)) {
            for entry in bounds[0]..bounds[1] {
                let s = givers.start + members[entry] as usize;
                pair.iter().zip(&mut all[entry]).for_each(|(&r, c)| *c = coefficients(r, s));
            }
        }
        Self { starts, members, coefficients: all }
    }
}

/// Some columns of some rows of `N` matrices, in aligned lines: a run of the first row of each, then of the second, ...
/// Columns that the matrices do not have are zero.
struct Tile<T, const N: usize> {
    lines: Vec<Line<T>>,
    run: usize,
}

impl<T: Scalar, const N: usize> Tile<T, N> {
    fn new(rows: usize, run: usize) -> Self {
        Self { lines: vec![Line::zero(); rows * N * run], run }
    }

    fn fill(&mut self, matrices: [Mat<'_, T>; N], rows: impl Iterator<Item = usize>, first_column: usize) {
        let mut runs = self.lines.chunks_exact_mut(self.run);
        for row in rows {
            for (matrix, run) in matrices.iter().zip(&mut runs) {
                let from = &matrix.row(row)[first_column..];
                let to = T::scalars_mut(run);
                let (to, rest) = to.split_at_mut(from.len().min(to.len()));
                to.copy_from_slice(&from[..to.len()]);
                rest.fill(T::zero());
            }
        }
    }
}

/// `z[i][s] += weights_unit . x_s` for the i-th unit of a list and a team of samples.
struct Dots<'a, T, const N: usize> {
    /// Rows of `weights`.
    list: &'a [usize],
    weights: &'a [Line<T>],
    x: &'a [Line<T>],
    /// By entry of the list.
    z: &'a mut [[T; SAMPLES]],
}

impl<T: Scalar, const N: usize> Dots<'_, T, N> {
    /// `R` units at once.
    #[inline(always)]
    fn some<S: Simd, const R: usize>(
        simd: S,
        list: &[usize],
        weights: &[T::Vector<S>],
        x: &[T::Vector<S>],
        z: &mut [[T; SAMPLES]],
    ) {
        let len = x.len() / SAMPLES;
        let mut rows = [x; R];
        for r in 0..R {
            rows[r] = &weights[list[r] * len..][..len];
        }
        let mut samples = [x; SAMPLES];
        for s in 0..SAMPLES {
            samples[s] = &x[s * len..][..len];
        }
        let mut sums = [[T::splat(simd, T::zero()); SAMPLES]; R];
        for i in 0..len {
            for r in 0..R {
                for s in 0..SAMPLES {
                    sums[r][s] = T::vfma(simd, rows[r][i], samples[s][i], sums[r][s]);
                }
            }
        }
        for r in 0..R {
            for s in 0..SAMPLES {
                z[r][s] += T::vsum(simd, sums[r][s]);
            }
        }
    }

    /// All units of a list, `R` at once.
    #[inline(always)]
    fn all<S: Simd, const R: usize>(self, simd: S) {
        let weights = T::vectors::<S>(T::scalars(self.weights));
        let x = T::vectors::<S>(T::scalars(self.x));
        let whole = self.list.len() / R * R;
        for (list, z) in self.list.chunks_exact(R).zip(self.z.chunks_exact_mut(R)) {
            Self::some::<S, R>(simd, list, weights, x, z);
        }
        for (list, z) in self.list[whole..].chunks_exact(1).zip(self.z[whole..].chunks_exact_mut(1)) {
            Self::some::<S, 1>(simd, list, weights, x, z);
        }
    }
}

impl<T: Scalar, const N: usize> WithSimd for Dots<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.all::<S, 6>(simd) } else { self.all::<S, 2>(simd) }
    }
}

/// `z_r += sum over the N and over the list of coefficient x_s`, for each pair of receivers.
struct Sums<'a, T, const N: usize, const M: usize> {
    lists: &'a Lists<T, N, M>,
    x: &'a [Line<T>],
    /// A run for each receiver.
    z: &'a mut [Line<T>],
}

impl<T: Scalar, const N: usize, const M: usize> Sums<'_, T, N, M> {
    /// `V` vectors of both receivers at once.
    #[inline(always)]
    fn all<S: Simd, const V: usize>(self, simd: S) {
        let x = T::vectors::<S>(T::scalars(self.x));
        // Vectors of a run.
        let run = SUM_RUN * CHANNELS / T::lanes::<S>();
        for (bounds, z) in self.lists.starts.windows(2).zip(self.z.chunks_exact_mut(M * SUM_RUN)) {
            let members = &self.lists.members[bounds[0]..bounds[1]];
            let coefficients = &self.lists.coefficients[bounds[0]..bounds[1]];
            let z = T::vectors_mut::<S>(T::scalars_mut(z));
            for first in (0..run).step_by(V) {
                let mut sums = [[T::splat(simd, T::zero()); V]; M];
                for r in 0..M {
                    sums[r].copy_from_slice(&z[r * run + first..][..V]);
                }
                for (&s, coefficients) in members.iter().zip(coefficients) {
                    for i in 0..N {
                        let x = &x[(s as usize * N + i) * run + first..][..V];
                        let mut c = [T::splat(simd, T::zero()); M];
                        for r in 0..M {
                            c[r] = T::splat(simd, coefficients[r][i]);
                        }
                        for v in 0..V {
                            for r in 0..M {
                                sums[r][v] = T::vfma(simd, c[r], x[v], sums[r][v]);
                            }
                        }
                    }
                }
                for r in 0..M {
                    z[r * run + first..][..V].copy_from_slice(&sums[r]);
                }
            }
        }
    }
}

impl<T: Scalar, const N: usize, const M: usize> WithSimd for Sums<'_, T, N, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 || M == 1 { self.all::<S, 14>(simd) } else { self.all::<S, 7>(simd) }
    }
}
