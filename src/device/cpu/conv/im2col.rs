//! The conv block through im2col and one matrix product a sample.
//!
//! Tangents are computed at every position and read at the routed one; adjoints are scattered to the routed position
//! before the products. Samples are taken in groups of [`GROUP`]; each group has a gradient of its own, and the groups
//! are added in order.

use super::{GROUP, by_group, group};
use crate::device::cpu::CpuDevice;
use crate::device::cpu::arena::{room, with_arena, written, zeroed, zeros};
use crate::device::cpu::matrix::{Mat, MatMut};
use crate::device::{ConvBackward, ConvForward, ConvTangent, ConvTangentBackward, DEAD, Scalar};
use crate::network::Conv;
use rayon::prelude::*;

type Cpu<T> = CpuDevice<T>;

/// Bounds of the output coordinate for which `coordinate + tap - pad` lies inside `0..size`.
fn valid(size: usize, tap: usize, pad: usize) -> (usize, usize) {
    (pad.saturating_sub(tap).min(size), (size + pad).saturating_sub(tap).min(size))
}

/// `columns[(ic, ky, kx)][(y, x)] = image[ic][y + ky - pad][x + kx - pad]`, zero outside.
fn im2col<T: Scalar>(c: &Conv, image: &[T], columns: &mut [T]) {
    let (pad, area) = (c.kernel / 2, c.height * c.width);
    let mut rows = columns.chunks_exact_mut(area);
    for plane in image.chunks_exact(area) {
        for ky in 0..c.kernel {
            let (y0, y1) = valid(c.height, ky, pad);
            for kx in 0..c.kernel {
                let row = rows.next().expect("one row a tap");
                let (x0, x1) = valid(c.width, kx, pad);
                if x0 >= x1 || y0 >= y1 {
                    row.fill(T::zero());
                    continue;
                }
                row[..y0 * c.width].fill(T::zero());
                row[y1 * c.width..].fill(T::zero());
                for y in y0..y1 {
                    let from = (y + ky - pad) * c.width + x0 + kx - pad;
                    let to = &mut row[y * c.width..(y + 1) * c.width];
                    to[..x0].fill(T::zero());
                    to[x0..x1].copy_from_slice(&plane[from..from + x1 - x0]);
                    to[x1..].fill(T::zero());
                }
            }
        }
    }
}

/// The transpose of [`im2col`], overwriting `image`.
fn col2im<T: Scalar>(c: &Conv, columns: &[T], image: &mut [T]) {
    let (pad, area) = (c.kernel / 2, c.height * c.width);
    image.fill(T::zero());
    let mut rows = columns.chunks_exact(area);
    for plane in image.chunks_exact_mut(area) {
        for ky in 0..c.kernel {
            let (y0, y1) = valid(c.height, ky, pad);
            for kx in 0..c.kernel {
                let row = rows.next().expect("one row a tap");
                let (x0, x1) = valid(c.width, kx, pad);
                if x0 >= x1 {
                    continue;
                }
                for y in y0..y1 {
                    let to = (y + ky - pad) * c.width + x0 + kx - pad;
                    let from = &row[y * c.width + x0..y * c.width + x1];
                    plane[to..to + x1 - x0].iter_mut().zip(from).for_each(|(a, &b)| *a += b);
                }
            }
        }
    }
}

/// Calls `f(channel, output index, position in z)` for every live output of a sample.
fn for_each_live(c: &Conv, route: &[u8], mut f: impl FnMut(usize, usize, usize)) {
    for_each_output(c, |channel, i, window| {
        let code = usize::from(route[i] & 3);
        if route[i] != DEAD {
            f(channel, i, window + (code >> 1) * c.width + (code & 1));
        }
    });
}

/// Calls `f(channel, output index, first position of its window in z)` for every pooled output of a sample.
fn for_each_output(c: &Conv, mut f: impl FnMut(usize, usize, usize)) {
    let mut i = 0;
    for channel in 0..c.out_channels {
        for y in 0..c.pooled_height() {
            for x in 0..c.pooled_width() {
                f(channel, i, (channel * c.height + 2 * y) * c.width + 2 * x);
                i += 1;
            }
        }
    }
}

/// `z = unroute(dp)`.
fn unroute<T: Scalar>(c: &Conv, dp: &[T], route: &[u8], z: &mut [T]) {
    z.fill(T::zero());
    for_each_live(c, route, |_, i, at| z[at] = dp[i]);
}

/// The layer's `(weight, bias)` in direction `k` of a block of parameter vectors.
fn tensors<'a, T>(c: &Conv, block: &'a [T], k: usize) -> (Mat<'a, T>, &'a [T]) {
    let vector = &block[k * c.pitch..];
    (Mat::new(&vector[c.weight..], c.out_channels, c.patch_len()), &vector[c.bias..c.bias + c.out_channels])
}

pub(super) fn forward<T: Scalar>(c: &Conv, call: ConvForward<'_, Cpu<T>>) {
    let (w, b) = tensors(c, call.theta, 0);
    let (area, len) = (c.height * c.width, c.output_len());
    let outputs = call.p[..call.samples * len].par_chunks_mut(GROUP * len);
    let routes = call.route.write()[..call.samples * len].par_chunks_mut(GROUP * len);
    let inputs = call.x[..call.samples * c.input_len()].par_chunks(GROUP * c.input_len());
    (outputs, routes, inputs).into_par_iter().for_each(|(p, route, x)| {
        with_arena(|arena| {
            let columns = zeros(arena, c.patch_len() * area);
            let z = zeros(arena, c.out_channels * area);
            let samples = p.chunks_exact_mut(len).zip(route.chunks_exact_mut(len)).zip(x.chunks_exact(c.input_len()));
            for ((p, route), x) in samples {
                im2col(c, x, columns);
                MatMut::new(z, c.out_channels, area).set_product(w, Mat::new(columns, c.patch_len(), area));
                for_each_output(c, |channel, i, window| {
                    let mut value = z[window];
                    let mut code = 0;
                    for (other, at) in [(1, window + 1), (2, window + c.width), (3, window + c.width + 1)] {
                        // A strict comparison: ties go to the first position.
                        (value, code) = if z[at] > value { (z[at], other) } else { (value, code) };
                    }
                    value += b[channel];
                    // Written so that a NaN stays visible instead of dying at the ReLU.
                    (p[i], route[i]) = if value <= T::zero() { (T::zero(), DEAD) } else { (value, code) };
                });
            }
        });
    });
}

pub(super) fn tangent<T: Scalar>(c: &Conv, call: ConvTangent<'_, Cpu<T>>) {
    let (w, _) = tensors(c, call.theta, 0);
    let (area, patch, input_len, output_len) = (c.height * c.width, c.patch_len(), c.input_len(), c.output_len());
    let (samples, directions) = (call.samples, call.directions);
    by_group(Some(call.tp), directions, samples, output_len).for_each(|(start, mut tp)| {
        with_arena(|arena| {
            let x_columns = zeros(arena, patch * area);
            let tx_columns = zeros(arena, if call.tx.is_some() { patch * area } else { 0 });
            let z = zeros(arena, c.out_channels * area);
            for n in group(start / output_len, samples) {
                let route = &call.route[n * output_len..(n + 1) * output_len];
                im2col(c, &call.x[n * input_len..(n + 1) * input_len], x_columns);
                for k in 0..directions {
                    let (tw, tb) = tensors(c, call.vectors, k);
                    let mut tz = MatMut::new(z, c.out_channels, area);
                    tz.set_product(tw, Mat::new(x_columns, patch, area));
                    if let Some(tx) = call.tx {
                        let at = (k * samples + n) * input_len;
                        im2col(c, &tx[at..at + input_len], tx_columns);
                        tz.add_product(T::one(), w, Mat::new(tx_columns, patch, area));
                    }
                    let tp = &mut tp.row(k)[n * output_len - start..][..output_len];
                    tp.fill(T::zero());
                    for_each_live(c, route, |channel, i, at| tp[i] = z[at] + tb[channel]);
                }
            }
        });
    });
}

pub(super) fn backward<T: Scalar>(c: &Conv, call: ConvBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(c, call.theta, 0);
    let (area, patch, input_len, samples) = (c.height * c.width, c.patch_len(), c.input_len(), call.samples);
    let parameters = c.weight_len() + c.out_channels;
    with_arena(|arena| {
        let partials = room(arena, samples.div_ceil(GROUP) * parameters);
        let groups = by_group(call.dx, 1, samples, input_len);
        let of_groups = partials.par_chunks_exact_mut(parameters);
        assert_eq!(groups.len(), of_groups.len(), "every group is a task");
        groups.zip(of_groups).for_each(|((start, mut dx), partial)| {
            with_arena(|arena| {
                let (dw, db) = zeroed(partial).split_at_mut(c.weight_len());
                let columns = zeros(arena, patch * area);
                let dz = zeros(arena, c.out_channels * area);
                for n in group(start / input_len, samples) {
                    let route = &call.route[n * c.output_len()..(n + 1) * c.output_len()];
                    unroute(c, &call.dp[n * c.output_len()..(n + 1) * c.output_len()], route, dz);
                    im2col(c, &call.x[n * input_len..(n + 1) * input_len], columns);
                    let dz = Mat::new(dz, c.out_channels, area);
                    let x = Mat::new(columns, patch, area);
                    MatMut::new(dw, c.out_channels, patch).add_product(T::one(), dz, x.t());
                    for_each_live(c, route, |channel, i, _| db[channel] += call.dp[n * c.output_len() + i]);
                    if dx.row_count() > 0 {
                        MatMut::new(columns, patch, area).set_product(w.t(), dz);
                        col2im(c, columns, &mut dx.row(0)[n * input_len - start..][..input_len]);
                    }
                }
            });
        });
        // SAFETY: every group's task has made zeros of its own.
        sum_partials(c, unsafe { written(partials) }, call.gradient, 1, call.accumulate);
    });
}

pub(super) fn tangent_backward<T: Scalar>(c: &Conv, call: ConvTangentBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(c, call.theta, 0);
    let (area, patch, input_len, output_len) = (c.height * c.width, c.patch_len(), c.input_len(), c.output_len());
    let (samples, directions, parameters) = (call.samples, call.directions, c.weight_len() + c.out_channels);
    with_arena(|arena| {
        let partials = room(arena, samples.div_ceil(GROUP) * directions * parameters);
        let of_groups = partials.par_chunks_exact_mut(directions * parameters);
        let groups = by_group(call.tdx, directions, samples, input_len);
        assert_eq!(groups.len(), of_groups.len(), "every group is a task");
        groups.zip(of_groups).for_each(|((start, mut tdx), partial)| {
            with_arena(|arena| {
                let partial = zeroed(partial);
                let [x_columns, scratch] = [(); 2].map(|()| zeros(arena, patch * area));
                let [dz, tdz] = [(); 2].map(|()| zeros(arena, c.out_channels * area));
                for n in group(start / input_len, samples) {
                    let route = &call.route[n * output_len..(n + 1) * output_len];
                    let dz = call.dp.map(|dp| {
                        unroute(c, &dp[n * output_len..(n + 1) * output_len], route, dz);
                        Mat::new(dz, c.out_channels, area)
                    });
                    im2col(c, &call.x[n * input_len..(n + 1) * input_len], x_columns);
                    for (k, partial) in partial.chunks_exact_mut(parameters).enumerate() {
                        let at = k * samples + n;
                        let tdp = &call.tdp[at * output_len..(at + 1) * output_len];
                        let (tdw, tdb) = partial.split_at_mut(c.weight_len());
                        unroute(c, tdp, route, tdz);
                        let tdz = Mat::new(tdz, c.out_channels, area);
                        let mut tdw = MatMut::new(tdw, c.out_channels, patch);
                        tdw.add_product(T::one(), tdz, Mat::new(x_columns, patch, area).t());
                        if let (Some(tx), Some(dz)) = (call.tx, dz) {
                            im2col(c, &tx[at * input_len..(at + 1) * input_len], scratch);
                            tdw.add_product(T::one(), dz, Mat::new(scratch, patch, area).t());
                        }
                        for_each_live(c, route, |channel, i, _| tdb[channel] += tdp[i]);
                        if k < tdx.row_count() {
                            let (tw, _) = tensors(c, call.vectors, k);
                            let mut columns = MatMut::new(scratch, patch, area);
                            columns.set_product(w.t(), tdz);
                            if let Some(dz) = dz {
                                columns.add_product(T::one(), tw.t(), dz);
                            }
                            col2im(c, scratch, &mut tdx.row(k)[n * input_len - start..][..input_len]);
                        }
                    }
                }
            });
        });
        // SAFETY: every group's task has made zeros of its own.
        sum_partials(c, unsafe { written(partials) }, call.products, directions, call.accumulate);
    });
}

/// The sums of the groups' `(directions, weight then bias)`, in order of the groups, which are added to a block of parameter
/// vectors or replace them.
fn sum_partials<T: Scalar>(c: &Conv, partials: &[T], block: &mut [T], directions: usize, accumulate: bool) {
    let parameters = c.weight_len() + c.out_channels;
    debug_assert_eq!(c.bias, c.weight + c.weight_len(), "a layer's bias follows its weight");
    for (k, vector) in block.chunks_mut(c.pitch).take(directions).enumerate() {
        let target = &mut vector[c.weight..c.weight + parameters];
        target.par_iter_mut().with_min_len(1024).enumerate().for_each(|(i, t)| {
            let start = if accumulate { *t } else { T::zero() };
            let of_groups = partials[k * parameters + i..].iter().step_by(directions * parameters);
            *t = of_groups.fold(start, |sum, &partial| sum + partial);
        });
    }
}
