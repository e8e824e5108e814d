//! The conv block through im2col and one matrix product a sample.
//!
//! Tangents are computed at every position and read at the routed one; adjoints are scattered to the routed position
//! before the products. Samples are taken in groups of [`GROUP`]; each group has a gradient of its own, and the groups
//! are added in order.

use super::GROUP;
use crate::device::cpu::matrix::{Mat, MatMut};
use crate::device::cpu::{CpuDevice, by_sample};
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
    let routes = call.route[..call.samples * len].par_chunks_mut(GROUP * len);
    let inputs = call.x[..call.samples * c.input_len()].par_chunks(GROUP * c.input_len());
    (outputs, routes, inputs).into_par_iter().for_each(|(p, route, x)| {
        let mut columns = vec![T::zero(); c.patch_len() * area];
        let mut z = vec![T::zero(); c.out_channels * area];
        let samples = p.chunks_exact_mut(len).zip(route.chunks_exact_mut(len)).zip(x.chunks_exact(c.input_len()));
        for ((p, route), x) in samples {
            im2col(c, x, &mut columns);
            MatMut::new(&mut z, c.out_channels, area).set_product(w, Mat::new(&columns, c.patch_len(), area));
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
}

pub(super) fn tangent<T: Scalar>(c: &Conv, call: ConvTangent<'_, Cpu<T>>) {
    let (w, _) = tensors(c, call.theta, 0);
    let (area, patch, input_len) = (c.height * c.width, c.patch_len(), c.input_len());
    let mut tp = by_sample(call.tp, call.directions, call.samples, c.output_len());
    tp.par_chunks_mut(GROUP).enumerate().for_each(|(group, tp)| {
        let mut x_columns = vec![T::zero(); patch * area];
        let mut tx_columns = vec![T::zero(); if call.tx.is_some() { patch * area } else { 0 }];
        let mut z = vec![T::zero(); c.out_channels * area];
        for (n, tp) in (group * GROUP..).zip(tp) {
            let route = &call.route[n * c.output_len()..(n + 1) * c.output_len()];
            im2col(c, &call.x[n * input_len..(n + 1) * input_len], &mut x_columns);
            for (k, tp) in tp.iter_mut().enumerate() {
                let (tw, tb) = tensors(c, call.vectors, k);
                let mut tz = MatMut::new(&mut z, c.out_channels, area);
                tz.set_product(tw, Mat::new(&x_columns, patch, area));
                if let Some(tx) = call.tx {
                    let at = (k * call.samples + n) * input_len;
                    im2col(c, &tx[at..at + input_len], &mut tx_columns);
                    tz.add_product(T::one(), w, Mat::new(&tx_columns, patch, area));
                }
                tp.fill(T::zero());
                for_each_live(c, route, |channel, i, at| tp[i] = z[at] + tb[channel]);
            }
        }
    });
}

pub(super) fn backward<T: Scalar>(c: &Conv, call: ConvBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(c, call.theta, 0);
    let (area, patch, input_len) = (c.height * c.width, c.patch_len(), c.input_len());
    let mut none = vec![];
    let wants_dx = call.dx.is_some();
    let dx = call.dx.unwrap_or(&mut none);
    let mut dx = by_sample(dx, usize::from(wants_dx), call.samples, input_len);
    let partials: Vec<Vec<T>> = dx
        .par_chunks_mut(GROUP)
        .enumerate()
        .map(|(group, dx)| {
            let mut partial = vec![T::zero(); c.weight_len() + c.out_channels];
            let (dw, db) = partial.split_at_mut(c.weight_len());
            let mut columns = vec![T::zero(); patch * area];
            let mut dz = vec![T::zero(); c.out_channels * area];
            for (n, dx) in (group * GROUP..).zip(dx) {
                let route = &call.route[n * c.output_len()..(n + 1) * c.output_len()];
                unroute(c, &call.dp[n * c.output_len()..(n + 1) * c.output_len()], route, &mut dz);
                im2col(c, &call.x[n * input_len..(n + 1) * input_len], &mut columns);
                let dz = Mat::new(&dz, c.out_channels, area);
                MatMut::new(dw, c.out_channels, patch).add_product(T::one(), dz, Mat::new(&columns, patch, area).t());
                for_each_live(c, route, |channel, i, _| db[channel] += call.dp[n * c.output_len() + i]);
                if let Some(dx) = dx.first_mut() {
                    MatMut::new(&mut columns, patch, area).set_product(w.t(), dz);
                    col2im(c, &columns, dx);
                }
            }
            partial
        })
        .collect();
    sum_partials(c, &partials, call.gradient, 1, call.accumulate);
}

pub(super) fn tangent_backward<T: Scalar>(c: &Conv, call: ConvTangentBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(c, call.theta, 0);
    let (area, patch, input_len, output_len) = (c.height * c.width, c.patch_len(), c.input_len(), c.output_len());
    let parameters = c.weight_len() + c.out_channels;
    let mut none = vec![];
    let wants_tdx = call.tdx.is_some();
    let tdx = call.tdx.unwrap_or(&mut none);
    let mut tdx = by_sample(tdx, if wants_tdx { call.directions } else { 0 }, call.samples, input_len);
    let partials: Vec<Vec<T>> = tdx
        .par_chunks_mut(GROUP)
        .enumerate()
        .map(|(group, tdx)| {
            let mut partial = vec![T::zero(); call.directions * parameters];
            let mut x_columns = vec![T::zero(); patch * area];
            let mut scratch = vec![T::zero(); patch * area];
            let mut dz = vec![T::zero(); c.out_channels * area];
            let mut tdz = dz.clone();
            for (n, tdx) in (group * GROUP..).zip(tdx) {
                let route = &call.route[n * output_len..(n + 1) * output_len];
                unroute(c, &call.dp[n * output_len..(n + 1) * output_len], route, &mut dz);
                im2col(c, &call.x[n * input_len..(n + 1) * input_len], &mut x_columns);
                let dz = Mat::new(&dz, c.out_channels, area);
                for (k, partial) in partial.chunks_exact_mut(parameters).enumerate() {
                    let at = k * call.samples + n;
                    let tdp = &call.tdp[at * output_len..(at + 1) * output_len];
                    let (tdw, tdb) = partial.split_at_mut(c.weight_len());
                    unroute(c, tdp, route, &mut tdz);
                    let tdz = Mat::new(&tdz, c.out_channels, area);
                    let mut tdw = MatMut::new(tdw, c.out_channels, patch);
                    tdw.add_product(T::one(), tdz, Mat::new(&x_columns, patch, area).t());
                    if let Some(tx) = call.tx {
                        im2col(c, &tx[at * input_len..(at + 1) * input_len], &mut scratch);
                        tdw.add_product(T::one(), dz, Mat::new(&scratch, patch, area).t());
                    }
                    for_each_live(c, route, |channel, i, _| tdb[channel] += tdp[i]);
                    if let Some(tdx) = tdx.get_mut(k) {
                        let (tw, _) = tensors(c, call.vectors, k);
                        let mut columns = MatMut::new(&mut scratch, patch, area);
                        columns.set_product(w.t(), tdz);
                        columns.add_product(T::one(), tw.t(), dz);
                        col2im(c, &scratch, tdx);
                    }
                }
            }
            partial
        })
        .collect();
    sum_partials(c, &partials, call.products, call.directions, call.accumulate);
}

/// The sums of the groups' `(directions, weight then bias)`, in order of the groups, which are added to a block of parameter
/// vectors or replace them.
fn sum_partials<T: Scalar>(c: &Conv, partials: &[Vec<T>], block: &mut [T], directions: usize, accumulate: bool) {
    let parameters = c.weight_len() + c.out_channels;
    debug_assert_eq!(c.bias, c.weight + c.weight_len(), "a layer's bias follows its weight");
    for (k, vector) in block.chunks_mut(c.pitch).take(directions).enumerate() {
        let target = &mut vector[c.weight..c.weight + parameters];
        target.par_iter_mut().with_min_len(1024).enumerate().for_each(|(i, t)| {
            let start = if accumulate { *t } else { T::zero() };
            *t = partials.iter().fold(start, |sum, partial| sum + partial[k * parameters + i]);
        });
    }
}
