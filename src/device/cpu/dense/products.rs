//! The dense layer through matrix products, cut into blocks of columns, one thread each.

use super::{Cpu, Mat, MatMut, for_each_block, is_on, matrices_mut, tensors, weights_mut};
use crate::device::cpu::arena::{with_arena, zeros};
use crate::device::{DenseBackward, DenseForward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;

/// Columns a task. Cutting the products ourselves and running each piece on one thread beats `gemm`'s own threads, and
/// makes the result independent of their number.
const COLUMNS: usize = 256;

pub(in crate::device::cpu) fn forward<T: Scalar>(layer: &Dense, call: DenseForward<'_, Cpu<T>>) {
    let (w, b) = tensors(layer, call.theta, 0);
    let x = Mat::new(call.x, call.samples, layer.inputs);
    for_each_block(matrices_mut(call.y, 1, call.samples, layer.outputs), COLUMNS, |_, start, mut y| {
        let width = y.row(0).len();
        // Column after column: `gemm` packs the operand that runs along the columns, and the inputs are smaller than the weights.
        let samples = y.row_count();
        with_arena(|arena| {
            let z = zeros(arena, samples * width);
            MatMut::strided(z, samples, width, 1, samples).set_product(x, w.rows(start, width).t());
            for n in 0..samples {
                for ((y, z), &b) in y.row(n).iter_mut().zip(z[n..].iter().step_by(samples)).zip(&b[start..]) {
                    *y = *z + b;
                    // Not `max`, which would hide a NaN.
                    if layer.relu && *y < T::zero() {
                        *y = T::zero();
                    }
                }
            }
        });
    });
}

pub(super) fn tangent<T: Scalar>(layer: &Dense, call: DenseTangent<'_, Cpu<T>>) {
    let (w, _) = tensors(layer, call.theta, 0);
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let ty = matrices_mut(call.ty, call.directions, call.samples, layer.outputs);
    for_each_block(ty, COLUMNS, |k, start, mut ty| {
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
                *ty = if is_on(layer, y) { *ty + tb } else { T::zero() };
            }
        }
    });
}

/// With `dy` masked already, and the bias done.
pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(layer, call.theta, 0);
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let dz = Mat::new(call.dy, call.samples, layer.outputs);
    for_each_block(weights_mut(layer, call.gradient, 1), COLUMNS, |_, start, mut dw| {
        let width = dw.row(0).len();
        dw.product(dz.t(), x.columns(start, width), call.accumulate);
    });
    if let Some(dx) = call.dx {
        for_each_block(matrices_mut(dx, 1, call.samples, layer.inputs), COLUMNS, |_, start, mut dx| {
            let width = dx.row(0).len();
            dx.set_product(dz, w.columns(start, width));
        });
    }
}

/// With `tdy` masked already, and the bias done.
pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let (w, _) = tensors(layer, call.theta, 0);
    let (samples, directions) = (call.samples, call.directions);
    let x = Mat::new(call.x, samples, layer.inputs);
    let dz = Mat::new(call.dz, samples, layer.outputs);
    let tdz = |k: usize| Mat::new(&call.tdy[k * samples * layer.outputs..], samples, layer.outputs);
    for_each_block(weights_mut(layer, call.products, directions), COLUMNS, |k, start, mut tdw| {
        let width = tdw.row(0).len();
        tdw.product(tdz(k).t(), x.columns(start, width), call.accumulate);
        if let Some(tx) = call.tx {
            let tx = Mat::new(&tx[k * samples * layer.inputs..], samples, layer.inputs);
            tdw.add_product(T::one(), dz.t(), tx.columns(start, width));
        }
    });
    if let Some(tdx) = call.tdx {
        for_each_block(matrices_mut(tdx, directions, samples, layer.inputs), COLUMNS, |k, start, mut tdx| {
            let width = tdx.row(0).len();
            let (tw, _) = tensors(layer, call.vectors, k);
            tdx.set_product(tdz(k), w.columns(start, width));
            tdx.add_product(T::one(), dz, tw.columns(start, width));
        });
    }
}
