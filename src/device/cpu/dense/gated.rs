//! A dense layer behind a ReLU, worked out only for the pairs of sample and unit that are on.
//!
//! A unit that is off for a sample has neither tangent nor adjoint there, and half of LeNet's 1,024 hidden units are off
//! for the average digit. Matrix products, tiled over samples and units, have to do them all. Here the inputs lie in the
//! vectors, and what is off is passed by, at the price of a load for every multiply-add; so what is read again and again lies
//! in a [`Tile`] that fits the first-level cache. There are two kernels:
//!
//! * [`Dots`]: `y[s][r] += w_r . tile_s` for the pairs that are on (tangents);
//! * [`Sums`]: `y_r += sum of c tile_s` over the pairs that are on (adjoints, of weights and of inputs).
//!
//! The two terms of a product are one: `tW x + W tx` is a dot product over twice the inputs, `tdz^T x + dz^T tx` a sum of
//! twice the terms. Hence the number `N` of matrices side by side in a tile.

#![allow(clippy::needless_range_loop, reason = "index loops over registers read like the products they are")]

use super::{Cpu, Mat, MatMut, for_each_block, is_on, matrices_mut, tensors, weights_mut};
use crate::device::cpu::simd::{CHANNELS, Line};
use crate::device::{DenseBackward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Vectors of a sum in registers: with a coefficient and an operand, as many as AVX2 has.
const REGISTERS: usize = 14;
/// Lines of a row of one matrix in a tile.
const RUN: usize = REGISTERS;
/// Columns of a tile.
const WIDTH: usize = RUN * CHANNELS;
/// Rows of a tile of one matrix; of two, half as many. 28 KiB in f32.
const ROWS: usize = 32;
/// Outputs a task of the tangent.
const OUTPUTS: usize = 128;

/// Whether the layer has a gate, and fills its tiles.
pub(super) fn pays(layer: &Dense) -> bool {
    layer.relu && 4 * layer.inputs.next_multiple_of(WIDTH) <= 5 * layer.inputs
}

pub(super) fn tangent<T: Scalar>(layer: &Dense, call: DenseTangent<'_, Cpu<T>>) {
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let (w, _) = tensors(layer, call.theta, 0);
    let tw = |k| tensors(layer, call.vectors, k).0;
    let on = |o, n| is_on(layer, call.y[n * layer.outputs + o]);
    let ty = &mut call.ty[..call.directions * call.samples * layer.outputs];
    ty.fill(T::zero());
    let ty = matrices_mut(ty, call.directions, call.samples, layer.outputs);
    match call.tx {
        Some(tx) => {
            let tx = |k| Mat::new(&tx[k * call.samples * layer.inputs..], call.samples, layer.inputs);
            dots(ty, on, |k| [tw(k), w], |k| [x, tx(k)]);
        }
        None => dots(ty, on, |k| [tw(k)], |_| [x]),
    }
    let ty = matrices_mut(call.ty, call.directions, call.samples, layer.outputs);
    for_each_block(ty, OUTPUTS, |k, start, mut ty| {
        let (_, tb) = tensors(layer, call.vectors, k);
        for n in 0..call.samples {
            for ((ty, &tb), o) in ty.row(n).iter_mut().zip(&tb[start..]).zip(start..) {
                *ty += if on(o, n) { tb } else { T::zero() };
            }
        }
    });
}

/// With `dy` masked already, and the bias done.
pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let (w, _) = tensors(layer, call.theta, 0);
    let at = |n, o| n * layer.outputs + o;
    let (on, dz) = (|n, o| is_on(layer, call.y[at(n, o)]), |n, o| call.dy[at(n, o)]);
    sums(weights_mut(layer, call.gradient, 1), |o, n| on(n, o), |_, o, n| [dz(n, o)], |_| [x]);
    if let Some(dx) = call.dx {
        dx[..call.samples * layer.inputs].fill(T::zero());
        sums(matrices_mut(dx, 1, call.samples, layer.inputs), on, |_, n, o| [dz(n, o)], |_| [w]);
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
    let tdw = weights_mut(layer, call.products, directions);
    match call.tx {
        Some(tx) => {
            let tx = |k| Mat::new(&tx[k * samples * layer.inputs..], samples, layer.inputs);
            sums(tdw, |o, n| on(n, o), |k, o, n| [tdz(k, n, o), dz(n, o)], |k| [x, tx(k)]);
        }
        None => sums(tdw, |o, n| on(n, o), |k, o, n| [tdz(k, n, o)], |_| [x]),
    }
    if let Some(tdx) = call.tdx {
        tdx[..directions * samples * layer.inputs].fill(T::zero());
        let tdx = matrices_mut(tdx, directions, samples, layer.inputs);
        let tw = |k| tensors(layer, call.vectors, k).0;
        sums(tdx, on, |k, n, o| [tdz(k, n, o), dz(n, o)], |k| [w, tw(k)]);
    }
}

/// `y_k[s][r] += sum over the N of weights(k)_r . x(k)_s` for the pairs that are `on(r, s)`.
fn dots<'a, T: Scalar, const N: usize>(
    ys: impl Iterator<Item = MatMut<'a, T>>,
    on: impl Fn(usize, usize) -> bool + Sync,
    weights: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
    x: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
) {
    let w = weights(0)[0];
    let x0 = x(0)[0];
    let groups = lists(w.row_count(), x0.row_count(), ROWS / N, on);
    let arch = Arch::new();
    for_each_block(ys, OUTPUTS, |k, start, mut y| {
        let receivers = start..start + y.row(0).len();
        let (mut packed, mut tile) = (Tile::<T, N>::new(receivers.len()), Tile::<T, N>::new(ROWS / N));
        for column in (0..w.column_count()).step_by(WIDTH) {
            packed.fill(weights(k), receivers.clone(), column);
            for (givers, lists) in &groups {
                tile.fill(x(k), givers.clone(), column);
                let (weights, tile, receivers) = (&packed.0[..], &tile.0[..], receivers.clone());
                arch.dispatch(Dots::<T, N> { lists, receivers, weights, tile, first: givers.start, y: &mut y });
            }
        }
    });
}

/// `y_k[r] += sum over the N and over the pairs that are `on(r, s)` of coefficients(k, r, s) x(k)_s`.
fn sums<'a, T: Scalar, const N: usize>(
    ys: impl Iterator<Item = MatMut<'a, T>>,
    on: impl Fn(usize, usize) -> bool + Sync,
    coefficients: impl Fn(usize, usize, usize) -> [T; N] + Sync,
    x: impl Fn(usize) -> [Mat<'a, T>; N] + Sync,
) {
    let ys: Vec<_> = ys.collect();
    let Some(receivers) = ys.first().map(MatMut::row_count) else { return };
    let x0 = x(0)[0];
    let groups = lists(receivers, x0.row_count(), ROWS / N, on);
    let gathered: Vec<Vec<[T; N]>> = (0..ys.len() * groups.len())
        .into_par_iter()
        .map(|i| {
            let (givers, lists) = &groups[i % groups.len()];
            lists.gather(|r, s| coefficients(i / groups.len(), r, givers.start + s))
        })
        .collect();
    let arch = Arch::new();
    for_each_block(ys.into_iter(), WIDTH, |k, start, mut y| {
        let mut tile = Tile::<T, N>::new(ROWS / N);
        for ((givers, lists), coefficients) in groups.iter().zip(&gathered[k * groups.len()..]) {
            tile.fill(x(k), givers.clone(), start);
            arch.dispatch(Sums::<T, N> { lists, coefficients, tile: &tile.0, y: &mut y });
        }
    });
}

/// The pairs that are on, for one group of givers: receiver r's are entries `starts[r]..starts[r + 1]`.
struct Lists {
    starts: Vec<usize>,
    /// Giver of each entry, counted from the first of its group.
    members: Vec<u32>,
}

impl Lists {
    /// Calls `f(receiver, giver)` for all entries.
    fn gather<V>(&self, f: impl Fn(usize, usize) -> V) -> Vec<V> {
        let of = |(r, bounds): (usize, &[usize])| (r, &self.members[bounds[0]..bounds[1]]);
        self.starts
            .windows(2)
            .enumerate()
            .map(of)
            .flat_map(|(r, l)| l.iter().map(move |&s| (r, s as usize)))
            .map(|(r, s)| f(r, s))
            .collect()
    }
}

/// Cuts the givers into groups, each with its lists.
fn lists(
    receivers: usize,
    givers: usize,
    group: usize,
    on: impl Fn(usize, usize) -> bool + Sync,
) -> Vec<(Range<usize>, Lists)> {
    let one = |g: usize| {
        let givers = g * group..givers.min((g + 1) * group);
        let (mut starts, mut members) = (vec![0; receivers + 1], vec![0; receivers * group]);
        let mut end = 0;
        for r in 0..receivers {
            for s in givers.clone() {
                // Every entry is written and one that is off then overwritten: no branch can predict it.
                members[end] = (s - givers.start) as u32;
                end += usize::from(on(r, s));
            }
            starts[r + 1] = end;
        }
        members.truncate(end);
        (givers, Lists { starts, members })
    };
    (0..givers.div_ceil(group)).into_par_iter().map(one).collect()
}

/// [`WIDTH`] columns of some rows of `N` matrices, in aligned lines: row 0 of each, row 1 of each, ... Columns that the
/// matrices do not have are zero.
struct Tile<T, const N: usize>(Vec<Line<T>>);

impl<T: Scalar, const N: usize> Tile<T, N> {
    fn new(rows: usize) -> Self {
        Self(vec![Line::zero(); rows * N * RUN])
    }

    fn fill(&mut self, matrices: [Mat<'_, T>; N], rows: Range<usize>, first_column: usize) {
        let mut runs = self.0.chunks_exact_mut(RUN);
        for row in rows {
            for (matrix, run) in matrices.iter().zip(&mut runs) {
                let from = &matrix.row(row)[first_column..];
                let (to, rest) = T::scalars_mut(run).split_at_mut(from.len().min(WIDTH));
                to.copy_from_slice(&from[..to.len()]);
                rest.fill(T::zero());
            }
        }
    }
}

/// `y[first + s][r] += weights_r . tile_s` for the pairs of the lists.
struct Dots<'a, 'b, T, const N: usize> {
    lists: &'a Lists,
    /// Which receivers; the first is column 0 of `y`.
    receivers: Range<usize>,
    weights: &'a [Line<T>],
    tile: &'a [Line<T>],
    /// Row of `y` for giver 0.
    first: usize,
    y: &'a mut MatMut<'b, T>,
}

impl<T: Scalar, const N: usize> Dots<'_, '_, T, N> {
    /// `R` dot products at once: each load of the weights feeds them all.
    #[inline(always)]
    fn some<S: Simd, const R: usize>(simd: S, weights: &[T::Vector<S>], tile: &[T::Vector<S>], at: &[u32]) -> [T; R] {
        let len = weights.len();
        let mut sums = [T::splat(simd, T::zero()); R];
        let mut rows = [tile; R];
        for r in 0..R {
            rows[r] = &tile[at[r] as usize * len..][..len];
        }
        for i in 0..len {
            for r in 0..R {
                sums[r] = T::vfma(simd, weights[i], rows[r][i], sums[r]);
            }
        }
        let mut totals = [T::zero(); R];
        for r in 0..R {
            totals[r] = T::vsum(simd, sums[r]);
        }
        totals
    }
}

impl<T: Scalar, const N: usize> WithSimd for Dots<'_, '_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let tile = T::vectors::<S>(T::scalars(self.tile));
        for (column, (r, weights)) in self.receivers.zip(self.weights.chunks_exact(N * RUN)).enumerate() {
            let weights = T::vectors::<S>(T::scalars(weights));
            let mut list = &self.lists.members[self.lists.starts[r]..self.lists.starts[r + 1]];
            // Cut evenly, into pieces of at most eight: a lone sum would wait for its own multiply-adds.
            let mut pieces = list.len().div_ceil(8);
            while pieces > 0 {
                let (at, rest) = list.split_at(list.len().div_ceil(pieces));
                macro_rules! take {
                    ($r:literal) => {{
                        let sums = Self::some::<S, $r>(simd, weights, tile, at);
                        for (&s, sum) in at.iter().zip(sums) {
                            self.y.row(self.first + s as usize)[column] += sum;
                        }
                    }};
                }
                match at.len() {
                    1 => take!(1),
                    2 => take!(2),
                    3 => take!(3),
                    4 => take!(4),
                    5 => take!(5),
                    6 => take!(6),
                    7 => take!(7),
                    _ => take!(8),
                }
                list = rest;
                pieces -= 1;
            }
        }
    }
}

/// `y_r += sum over the N and over r's list of coefficient tile_s`.
struct Sums<'a, 'b, T, const N: usize> {
    lists: &'a Lists,
    /// By entry of the lists.
    coefficients: &'a [[T; N]],
    tile: &'a [Line<T>],
    /// At most [`WIDTH`] columns.
    y: &'a mut MatMut<'b, T>,
}

impl<T: Scalar, const N: usize> WithSimd for Sums<'_, '_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let tile = T::vectors::<S>(T::scalars(self.tile));
        // In vectors: a run, and a row of the tile.
        let run = RUN * CHANNELS / T::lanes::<S>();
        let row = N * run;
        let mut aside = [Line::zero(); RUN];
        for (r, bounds) in self.lists.starts.windows(2).enumerate() {
            let members = &self.lists.members[bounds[0]..bounds[1]];
            let coefficients = &self.coefficients[bounds[0]..bounds[1]];
            let y = &mut *self.y.row(r);
            let is_narrow = y.len() < WIDTH;
            if is_narrow {
                T::scalars_mut(&mut aside)[..y.len()].copy_from_slice(y);
            }
            let sums = T::vectors_mut::<S>(if is_narrow { T::scalars_mut(&mut aside) } else { y });
            for (pass, sums) in sums.chunks_exact_mut(REGISTERS).enumerate() {
                let mut registers = [T::splat(simd, T::zero()); REGISTERS];
                registers.copy_from_slice(sums);
                for (&s, coefficients) in members.iter().zip(coefficients) {
                    let x = &tile[s as usize * row + pass * REGISTERS..];
                    for i in 0..N {
                        let c = T::splat(simd, coefficients[i]);
                        let x = &x[i * run..][..REGISTERS];
                        for v in 0..REGISTERS {
                            registers[v] = T::vfma(simd, c, x[v], registers[v]);
                        }
                    }
                }
                sums.copy_from_slice(&registers);
            }
            if is_narrow {
                let width = y.len();
                y.copy_from_slice(&T::scalars_mut(&mut aside)[..width]);
            }
        }
    }
}
