//! The dense layer through matrix products, cut into blocks of columns, one thread each.

use super::{Cpu, Mat, MatMut, bias, for_each_block, is_on, matrices_mut, weights, weights_mut};
use crate::device::cpu::arena::{with_arena, zeros};
use crate::device::cpu::matrix::MatsMut;
use crate::device::{
    DenseBackward, DenseForward, DenseTangent, DenseTangentBackward, Matrices, Multiply, Scalar, Store, Zeros,
};
use crate::network::Dense;

/// Columns a task. Cutting the products ourselves and running each piece on one thread beats `gemm`'s own threads, and
/// makes the result independent of their number.
const COLUMNS: usize = 256;
/// The same for [`multiply`], whose results are smaller.
const MULTIPLY_COLUMNS: usize = 128;
/// Rows of a triangle that pass by the same zeros.
const TRIANGLE_ROWS: usize = 64;

pub(in crate::device::cpu) fn multiply<T: Scalar>(call: Multiply<'_, Cpu<T>>) {
    let Multiply { directions, shape: [rows, terms, columns], a, b, c, store } = call;
    let scale = if store == Store::Subtract { -T::one() } else { T::one() };
    let c = MatsMut::new(&mut c.buffer[c.offset..], directions, c.pitch, rows, columns);
    for_each_block(c, MULTIPLY_COLUMNS, |k, start, mut c| {
        let zeros = a.zeros;
        let (a, b) = (operand(&a, k, rows, terms), operand(&b, k, terms, columns).columns(start, c.column_count()));
        let height = if zeros == Zeros::Unknown { rows.max(1) } else { TRIANGLE_ROWS };
        for first in (0..rows).step_by(height) {
            let count = height.min(rows - first);
            let used = match zeros {
                Zeros::Right(n) => 0..terms.min(first + count + n),
                Zeros::Below(n) => first.saturating_sub(n).min(terms)..terms,
                Zeros::Unknown => 0..terms,
            };
            let a = a.rows(first, count).columns(used.start, used.len());
            c.rows(first, count).gemm(a, b.rows(used.start, used.len()), store != Store::Set, scale);
        }
    });
}

/// Matrix `k` of some.
fn operand<'a, T: Scalar>(of: &Matrices<'a, Cpu<T>>, k: usize, rows: usize, columns: usize) -> Mat<'a, T> {
    let data = &of.buffer[of.offset + k * of.pitch..];
    if of.transposed { Mat::new(data, columns, rows).t() } else { Mat::new(data, rows, columns) }
}

pub(in crate::device::cpu) fn forward<T: Scalar>(layer: &Dense, call: DenseForward<'_, Cpu<T>>) {
    let (w, b) = (weights(layer, call.theta, 0), bias(layer, call.theta, 0));
    let x = Mat::new(call.x, call.samples, layer.inputs);
    for_each_block(matrices_mut(call.y, 1, call.samples, layer.outputs), COLUMNS, |_, start, mut y| {
        let width = y.column_count();
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
    let w = weights(layer, call.theta, 0);
    let ty = matrices_mut(call.ty, call.directions, call.samples, layer.outputs);
    for_each_block(ty, COLUMNS, |k, start, mut ty| {
        let tb = bias(layer, call.vectors, k);
        let width = ty.column_count();
        if let Some(x) = call.x {
            let (x, tw) = (Mat::new(x, call.samples, layer.inputs), weights(layer, call.vectors, k));
            ty.set_product(x, tw.rows(start, width).t());
        }
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
    let w = weights(layer, call.theta, 0);
    let x = Mat::new(call.x, call.samples, layer.inputs);
    let dz = Mat::new(call.dy, call.samples, layer.outputs);
    for_each_block(weights_mut(layer, call.gradient, 1), COLUMNS, |_, start, mut dw| {
        let width = dw.column_count();
        dw.gemm(dz.t(), x.columns(start, width), call.accumulate, T::one());
    });
    if let Some(dx) = call.dx {
        for_each_block(matrices_mut(dx, 1, call.samples, layer.inputs), COLUMNS, |_, start, mut dx| {
            let width = dx.column_count();
            dx.set_product(dz, w.columns(start, width));
        });
    }
}

/// With `tdy` masked already, and the bias done.
pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let w = weights(layer, call.theta, 0);
    let (samples, directions) = (call.samples, call.directions);
    let dz = Mat::new(call.dz, samples, layer.outputs);
    let tdz = |k: usize| Mat::new(&call.tdy[k * samples * layer.outputs..], samples, layer.outputs);
    if let Some(x) = call.x {
        let x = Mat::new(x, samples, layer.inputs);
        for_each_block(weights_mut(layer, call.products, directions), COLUMNS, |k, start, mut tdw| {
            let width = tdw.column_count();
            tdw.gemm(tdz(k).t(), x.columns(start, width), call.accumulate, T::one());
            if let Some(tx) = call.tx {
                let tx = Mat::new(&tx[k * samples * layer.inputs..], samples, layer.inputs);
                tdw.add_product(T::one(), dz.t(), tx.columns(start, width));
            }
        });
    }
    if let Some(tdx) = call.tdx {
        for_each_block(matrices_mut(tdx, directions, samples, layer.inputs), COLUMNS, |k, start, mut tdx| {
            let width = tdx.column_count();
            tdx.gemm(tdz(k), w.columns(start, width), call.x.is_none(), T::one());
            if call.x.is_some() {
                let tw = weights(layer, call.vectors, k);
                tdx.add_product(T::one(), dz, tw.columns(start, width));
            }
        });
    }
}
