//! The dense layer: [`gated`] kernels behind a ReLU, matrix [`products`] elsewhere.

mod gated;
mod products;

pub(super) use products::forward;

use super::CpuDevice;
use super::matrix::{Mat, MatMut};
use crate::device::{DenseBackward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;
use rayon::prelude::*;

type Cpu<T> = CpuDevice<T>;

pub(super) fn tangent<T: Scalar>(layer: &Dense, call: DenseTangent<'_, Cpu<T>>) {
    if gated::pays(layer) { gated::tangent(layer, call) } else { products::tangent(layer, call) }
}

pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    mask(layer, call.y, &mut call.dy[..call.samples * layer.outputs]);
    add_bias(layer, call.dy, call.gradient, call.samples);
    if gated::pays(layer) { gated::backward(layer, call) } else { products::backward(layer, call) }
}

pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let len = call.samples * layer.outputs;
    for (tdy, vector) in call.tdy.chunks_mut(len).zip(call.products.chunks_mut(layer.pitch)).take(call.directions) {
        mask(layer, call.y, tdy);
        add_bias(layer, tdy, vector, call.samples);
    }
    if gated::pays(layer) { gated::tangent_backward(layer, call) } else { products::tangent_backward(layer, call) }
}

/// The layer's `(weight, bias)` in direction `k` of a block of parameter vectors.
fn tensors<'a, T>(layer: &Dense, block: &'a [T], k: usize) -> (Mat<'a, T>, &'a [T]) {
    let vector = &block[k * layer.pitch..];
    (Mat::new(&vector[layer.weight..], layer.outputs, layer.inputs), &vector[layer.bias..layer.bias + layer.outputs])
}

/// The layer's weights, to be written, in each of a block of `directions` parameter vectors.
fn weights_mut<'a, T>(layer: &Dense, block: &'a mut [T], directions: usize) -> impl Iterator<Item = MatMut<'a, T>> {
    let (weight, outputs, inputs) = (layer.weight, layer.outputs, layer.inputs);
    block.chunks_mut(layer.pitch).take(directions).map(move |v| MatMut::new(&mut v[weight..], outputs, inputs))
}

/// Each of the `(rows, columns)` matrices of an array `(count, rows, columns)`, to be written.
fn matrices_mut<T>(array: &mut [T], count: usize, rows: usize, columns: usize) -> impl Iterator<Item = MatMut<'_, T>> {
    array.chunks_mut(rows * columns).take(count).map(move |m| MatMut::new(m, rows, columns))
}

/// Runs `f(direction, first column, block)` over all blocks of `width` columns of a matrix for each direction.
fn for_each_block<'a, T: Scalar>(
    matrices: impl Iterator<Item = MatMut<'a, T>>,
    width: usize,
    f: impl Fn(usize, usize, MatMut<'a, T>) + Sync,
) {
    let tasks: Vec<_> = matrices
        .enumerate()
        .flat_map(|(k, m)| m.column_blocks(width).into_iter().map(move |(start, block)| (k, start, block)))
        .collect();
    tasks.into_par_iter().with_max_len(1).for_each(|(k, start, block)| f(k, start, block));
}

/// Whether a unit with output `y` carries tangents and adjoints. A NaN does, so that it stays visible.
fn is_on<T: Scalar>(layer: &Dense, y: T) -> bool {
    !(layer.relu && y <= T::zero())
}

/// `dy <- m dy`.
fn mask<T: Scalar>(layer: &Dense, y: &[T], dy: &mut [T]) {
    dy.iter_mut().zip(y).filter(|(_, y)| !is_on(layer, **y)).for_each(|(dy, _)| *dy = T::zero());
}

/// `db += sum dz`.
fn add_bias<T: Scalar>(layer: &Dense, dz: &[T], vector: &mut [T], samples: usize) {
    let db = &mut vector[layer.bias..layer.bias + layer.outputs];
    for row in dz[..samples * layer.outputs].chunks_exact(layer.outputs) {
        db.iter_mut().zip(row).for_each(|(db, &dz)| *db += dz);
    }
}
