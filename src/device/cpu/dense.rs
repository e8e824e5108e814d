//! The dense layer: matrix products cut into blocks of columns, one thread each.

use super::CpuDevice;
use super::matrix::{Mat, MatMut};
use crate::device::{DenseBackward, DenseForward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;
use rayon::prelude::*;

/// Columns a task. Cutting the products ourselves and running each piece on one thread beats `gemm`'s own threads, and
/// makes the result independent of their number.
const COLUMNS: usize = 256;

type Cpu<T> = CpuDevice<T>;

/// The layer's `(weight, bias)` in direction `k` of a block of parameter vectors.
fn tensors<'a, T>(layer: &Dense, block: &'a [T], k: usize) -> (Mat<'a, T>, &'a [T]) {
    let vector = &block[k * layer.pitch..];
    (Mat::new(&vector[layer.weight..], layer.outputs, layer.inputs), &vector[layer.bias..layer.bias + layer.outputs])
}

/// Runs `f(direction, first column, block)` over all blocks of columns of `directions` row-major matrices.
fn for_each_block<'a, T: Scalar>(
    matrices: impl Iterator<Item = MatMut<'a, T>>,
    f: impl Fn(usize, usize, MatMut<'a, T>) + Sync,
) {
    let tasks: Vec<_> = matrices
        .enumerate()
        .flat_map(|(k, m)| m.column_blocks(COLUMNS).into_iter().map(move |(start, block)| (k, start, block)))
        .collect();
    tasks.into_par_iter().with_max_len(1).for_each(|(k, start, block)| f(k, start, block));
}

pub(super) fn forward<T: Scalar>(layer: &Dense, call: DenseForward<'_, Cpu<T>>) {
    let (w, b) = tensors(layer, call.theta, 0);
    let x = Mat::new(call.x, call.samples, layer.inputs);
    for_each_block(std::iter::once(MatMut::new(call.y, call.samples, layer.outputs)), |_, start, mut y| {
        let width = y.row(0).len();
        y.set_product(x, w.rows(start, width).t());
        for n in 0..y.row_count() {
            for (y, &b) in y.row(n).iter_mut().zip(&b[start..]) {
                *y += b;
                // Not `max`, which would hide a NaN.
                if layer.relu && *y < T::zero() {
                    *y = T::zero();
                }
            }
        }
    });
}

pub(super) fn tangent<T: Scalar>(layer: &Dense, call: DenseTangent<'_, Cpu<T>>) {
    let (w, _) = tensors(layer, call.theta, 0);
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let len = call.samples * layer.outputs;
    let outputs = call.ty.chunks_mut(len).take(call.directions);
    for_each_block(outputs.map(|ty| MatMut::new(ty, call.samples, layer.outputs)), |k, start, mut ty| {
        let (tw, tb) = tensors(layer, call.vectors, k);
        let width = ty.row(0).len();
        ty.set_product(x, tw.rows(start, width).t());
        if let Some(tx) = call.tx {
            let tx = Mat::new(&tx[k * call.samples * layer.inputs..], call.samples, layer.inputs);
            ty.add_product(T::one(), tx, w.rows(start, width).t());
        }
        for n in 0..ty.row_count() {
            let y = &call.y[n * layer.outputs + start..];
            for ((ty, &tb), &y) in ty.row(n).iter_mut().zip(&tb[start..]).zip(y) {
                *ty = if layer.relu && y <= T::zero() { T::zero() } else { *ty + tb };
            }
        }
    });
}

pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(layer, call.theta, 0);
    let x = Mat::new(call.x, call.samples, layer.inputs);
    mask(layer, call.y, &mut call.dy[..call.samples * layer.outputs]);
    add_bias(layer, call.dy, call.gradient, call.samples);
    let dz = Mat::new(call.dy, call.samples, layer.outputs);
    let dw = &mut call.gradient[layer.weight..];
    for_each_block(std::iter::once(MatMut::new(dw, layer.outputs, layer.inputs)), |_, start, mut dw| {
        let width = dw.row(0).len();
        dw.add_product(T::one(), dz.t(), x.columns(start, width));
    });
    if let Some(dx) = call.dx {
        for_each_block(std::iter::once(MatMut::new(dx, call.samples, layer.inputs)), |_, start, mut dx| {
            let width = dx.row(0).len();
            dx.set_product(dz, w.columns(start, width));
        });
    }
}

pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(layer, call.theta, 0);
    let (samples, directions) = (call.samples, call.directions);
    let x = Mat::new(call.x, samples, layer.inputs);
    let dz = Mat::new(call.dz, samples, layer.outputs);
    let len = samples * layer.outputs;
    for (tdy, vector) in call.tdy.chunks_mut(len).zip(call.products.chunks_mut(layer.pitch)).take(directions) {
        mask(layer, call.y, tdy);
        add_bias(layer, tdy, vector, samples);
    }
    let tdz = |k: usize| Mat::new(&call.tdy[k * len..], samples, layer.outputs);
    let products = call.products.chunks_mut(layer.pitch).take(directions);
    let tdw = products.map(|vector| MatMut::new(&mut vector[layer.weight..], layer.outputs, layer.inputs));
    for_each_block(tdw, |k, start, mut tdw| {
        let width = tdw.row(0).len();
        tdw.add_product(T::one(), tdz(k).t(), x.columns(start, width));
        if let Some(tx) = call.tx {
            let tx = Mat::new(&tx[k * samples * layer.inputs..], samples, layer.inputs);
            tdw.add_product(T::one(), dz.t(), tx.columns(start, width));
        }
    });
    if let Some(tdx) = call.tdx {
        let tdx = tdx.chunks_mut(samples * layer.inputs).take(directions);
        for_each_block(tdx.map(|tdx| MatMut::new(tdx, samples, layer.inputs)), |k, start, mut tdx| {
            let width = tdx.row(0).len();
            let (tw, _) = tensors(layer, call.vectors, k);
            tdx.set_product(tdz(k), w.columns(start, width));
            tdx.add_product(T::one(), dz, tw.columns(start, width));
        });
    }
}

/// `dy <- m dy`.
fn mask<T: Scalar>(layer: &Dense, y: &[T], dy: &mut [T]) {
    if layer.relu {
        dy.iter_mut().zip(y).filter(|(_, y)| **y <= T::zero()).for_each(|(dy, _)| *dy = T::zero());
    }
}

/// `db += sum dz`.
fn add_bias<T: Scalar>(layer: &Dense, dz: &[T], vector: &mut [T], samples: usize) {
    let db = &mut vector[layer.bias..layer.bias + layer.outputs];
    for row in dz[..samples * layer.outputs].chunks_exact(layer.outputs) {
        db.iter_mut().zip(row).for_each(|(db, &dz)| *db += dz);
    }
}
