//! The dense layer: [`gated`] kernels behind a ReLU, matrix [`products`] elsewhere.

mod gated;
mod products;

pub(super) use products::{forward, multiply};

use super::CpuDevice;
use super::matrix::{Mat, MatMut, MatsMut};
use crate::device::{DenseBackward, DenseTangent, DenseTangentBackward, Scalar};
use crate::network::Dense;
use rayon::prelude::*;

type Cpu<T> = CpuDevice<T>;

pub(super) fn tangent<T: Scalar>(layer: &Dense, call: DenseTangent<'_, Cpu<T>>) {
    if gated::pays(layer) { gated::tangent(layer, call) } else { products::tangent(layer, call) }
}

pub(super) fn backward<T: Scalar>(layer: &Dense, call: DenseBackward<'_, Cpu<T>>) {
    mask(layer, call.y, &mut call.dy[..call.samples * layer.outputs]);
    sum_bias(layer, call.dy, call.gradient, call.samples, call.accumulate);
    if gated::pays(layer) { gated::backward(layer, call) } else { products::backward(layer, call) }
}

pub(super) fn tangent_backward<T: Scalar>(layer: &Dense, call: DenseTangentBackward<'_, Cpu<T>>) {
    let len = call.samples * layer.outputs;
    for (tdy, vector) in call.tdy.chunks_mut(len).zip(call.products.chunks_mut(layer.pitch)).take(call.directions) {
        mask(layer, call.y, tdy);
        sum_bias(layer, tdy, vector, call.samples, call.accumulate);
    }
    if gated::pays(layer) { gated::tangent_backward(layer, call) } else { products::tangent_backward(layer, call) }
}

/// The layer's weight in direction `k` of a block of parameter vectors.
fn weights<'a, T>(layer: &Dense, block: &'a [T], k: usize) -> Mat<'a, T> {
    Mat::new(&block[k * layer.pitch + layer.weight..], layer.outputs, layer.inputs)
}

/// The same of its bias.
fn bias<'a, T>(layer: &Dense, block: &'a [T], k: usize) -> &'a [T] {
    &block[k * layer.pitch + layer.bias..][..layer.outputs]
}

/// The layer's weights, to be written, in each of a block of `directions` parameter vectors.
fn weights_mut<'a, T: Send>(layer: &Dense, block: &'a mut [T], directions: usize) -> MatsMut<'a, T> {
    MatsMut::new(&mut block[layer.weight..], directions, layer.pitch, layer.outputs, layer.inputs)
}

/// Each of the `(rows, columns)` matrices of an array `(count, rows, columns)`, to be written.
fn matrices_mut<T: Send>(array: &mut [T], count: usize, rows: usize, columns: usize) -> MatsMut<'_, T> {
    MatsMut::new(array, count, rows * columns, rows, columns)
}

/// Runs `f(direction, first column, block)` over all blocks of `width` columns of a matrix for each direction.
fn for_each_block<'a, T: Scalar>(
    matrices: MatsMut<'a, T>,
    width: usize,
    f: impl Fn(usize, usize, MatMut<'a, T>) + Sync,
) {
    matrices.column_blocks(width).with_max_len(1).for_each(|(k, start, block)| f(k, start, block));
}

/// Whether a unit with output `y` carries tangents and adjoints. A NaN does, so that it stays visible.
fn is_on<T: Scalar>(layer: &Dense, y: T) -> bool {
    !(layer.relu && y <= T::zero())
}

/// `dy <- m dy`.
fn mask<T: Scalar>(layer: &Dense, y: &[T], dy: &mut [T]) {
    let rows = dy.par_chunks_exact_mut(layer.outputs).zip(y.par_chunks_exact(layer.outputs));
    rows.for_each(|(dy, y)| {
        dy.iter_mut().zip(y).for_each(|(dy, &y)| *dy = if is_on(layer, y) { *dy } else { T::zero() })
    });
}

/// `db = sum dz`, or `+=`.
fn sum_bias<T: Scalar>(layer: &Dense, dz: &[T], vector: &mut [T], samples: usize, accumulate: bool) {
    let db = &mut vector[layer.bias..layer.bias + layer.outputs];
    if !accumulate {
        db.fill(T::zero());
    }
    for row in dz[..samples * layer.outputs].chunks_exact(layer.outputs) {
        db.iter_mut().zip(row).for_each(|(db, &dz)| *db += dz);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Numbers without a pattern, from -1 to 1.
    pub fn noise(len: usize, seed: u32) -> Vec<f64> {
        let mixed = |i: u32| (i + 1).wrapping_mul(seed).wrapping_mul(0x9E37_79B9);
        (0..len as u32)
            .map(|i| f64::from((mixed(i) ^ mixed(i) >> 15).wrapping_mul(0x85EB_CA6B) >> 8) * 2f64.powi(-23) - 1.0)
            .collect()
    }

    fn assert_close(what: &str, ours: &[f64], expected: &[f64]) {
        for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{what}, entry {i}: {a} instead of {b}");
        }
    }

    #[test]
    fn zeros_that_are_passed_by_change_nothing() {
        use crate::device::{Matrices, MatricesMut, Multiply, Store, Zeros};
        for (rows, terms, columns) in [(1, 1, 1), (130, 70, 5), (64, 200, 129), (200, 64, 3)] {
            for zeros in [Zeros::Right(0), Zeros::Right(50), Zeros::Below(0), Zeros::Below(70)] {
                let mut a = noise(rows * terms, 1);
                for (at, a) in a.iter_mut().enumerate() {
                    let (i, j) = (at / terms, at % terms);
                    let is_zero = match zeros {
                        Zeros::Right(n) => j > i + n,
                        Zeros::Below(n) => i > j + n,
                        Zeros::Unknown => false,
                    };
                    if is_zero {
                        *a = 0.0;
                    }
                }
                let a_t: Vec<f64> = (0..rows * terms).map(|at| a[at % rows * terms + at / rows]).collect();
                let b = noise(terms * columns, 2);
                // What is there is replaced, subtracted from or added to; a NaN would stay where a row is passed by as a whole.
                let product = |a: Matrices<'_, Cpu<f64>>, store: Store| {
                    let mut c = vec![if store == Store::Set { f64::NAN } else { 1.0 }; rows * columns];
                    let (b, c_place) = (Matrices::same(&b), MatricesMut { buffer: &mut c, offset: 0, pitch: 0 });
                    multiply(Multiply { directions: 1, shape: [rows, terms, columns], a, b, c: c_place, store });
                    c
                };
                for store in [Store::Set, Store::Add, Store::Subtract] {
                    let expected = product(Matrices::same(&a), store);
                    let what = format!("{rows}x{terms}x{columns}, {zeros:?}, {store:?}");
                    assert_close(&what, &product(Matrices::same(&a).with(zeros), store), &expected);
                    // The same of the transpose of its transpose.
                    assert_close(&what, &product(Matrices::same(&a_t).t().with(zeros), store), &expected);
                }
            }
        }
    }

    /// Gated kernels against matrix products, for units that are on where `y` says so.
    fn compare(inputs: usize, outputs: usize, samples: usize, directions: usize, y: &[f64], has_tx: bool) {
        let what = format!("{inputs} to {outputs}, {samples} samples, {directions} directions, tangent of x: {has_tx}");
        // Parameters of other layers lie on both sides.
        let (weight, bias) = (3, 3 + inputs * outputs);
        let pitch = bias + outputs + 2;
        let layer = Dense { inputs, outputs, relu: true, weight, bias, pitch };
        let (theta, vectors) = (noise(pitch, 1), noise(directions * pitch, 2));
        let (x, all_tx) = (noise(samples * inputs, 3), noise(directions * samples * inputs, 4));
        let tx = has_tx.then_some(&all_tx);
        let y = &y.to_vec();

        let run = |x, kernel: fn(&Dense, DenseTangent<'_, Cpu<f64>>)| {
            // What is there is replaced, or added to.
            let mut ty = noise(directions * samples * outputs, 10);
            let (theta, vectors) = (&theta, &vectors);
            kernel(&layer, DenseTangent { samples, directions, theta, vectors, x, tx, y, ty: &mut ty });
            ty
        };
        let whole = run(Some(&x), gated::tangent);
        assert_close(&format!("ty, {what}"), &whole, &run(Some(&x), products::tangent));
        if has_tx {
            let added = run(None, gated::tangent);
            assert_close(&format!("ty, added to, {what}"), &added, &run(None, products::tangent));
            assert!(added != whole || y.iter().all(|&y| y <= 0.0));
        }

        let mut dz = noise(samples * outputs, 5);
        mask(&layer, y, &mut dz);
        let run = |kernel: fn(&Dense, DenseBackward<'_, Cpu<f64>>)| {
            let (mut gradient, mut dx, mut dy) = (noise(pitch, 6), vec![f64::NAN; x.len()], dz.clone());
            let (theta, x) = (&theta, &x);
            let dx_out = has_tx.then_some(&mut dx);
            let (gradient_out, accumulate) = (&mut gradient, directions > 1);
            let call =
                DenseBackward { samples, theta, x, y, dy: &mut dy, gradient: gradient_out, accumulate, dx: dx_out };
            kernel(&layer, call);
            (gradient, dx)
        };
        let (ours, expected) = (run(gated::backward), run(products::backward));
        assert_close(&format!("gradient, {what}"), &ours.0, &expected.0);
        if has_tx {
            assert_close(&format!("dx, {what}"), &ours.1, &expected.1);
        }

        let mut tdz = noise(directions * samples * outputs, 7);
        tdz.chunks_mut(samples * outputs).for_each(|tdz| mask(&layer, y, tdz));
        let run = |x, kernel: fn(&Dense, DenseTangentBackward<'_, Cpu<f64>>)| {
            let (mut all, mut tdx, mut tdy) = (noise(directions * pitch, 8), noise(all_tx.len(), 11), tdz.clone());
            let (theta, vectors, dz) = (&theta, &vectors, &dz);
            let (tdy, products, tdx_out) = (&mut tdy, &mut all, has_tx.then_some(&mut tdx));
            let call = DenseTangentBackward {
                samples,
                directions,
                theta,
                vectors,
                x,
                tx,
                y,
                dz,
                tdy,
                products,
                accumulate: directions > 1,
                tdx: tdx_out,
            };
            kernel(&layer, call);
            (all, tdx)
        };
        for x in [Some(&x), None].into_iter().take(1 + usize::from(has_tx)) {
            let (ours, expected) = (run(x, gated::tangent_backward), run(x, products::tangent_backward));
            assert_close(&format!("products, {what}"), &ours.0, &expected.0);
            if has_tx {
                assert_close(&format!("tdx, {what}"), &ours.1, &expected.1);
            }
        }
    }

    #[test]
    fn gated_kernels_are_the_matrix_products_where_units_are_on() {
        let shapes = [(1, 1, 1, 1), (5, 3, 2, 2), (225, 7, 33, 1), (448, 130, 5, 2), (449, 257, 18, 1), (30, 2, 70, 3)];
        for (inputs, outputs, samples, directions) in shapes {
            for has_tx in [true, false] {
                let mixed = noise(samples * outputs, 9);
                compare(inputs, outputs, samples, directions, &mixed, has_tx);
                compare(inputs, outputs, samples, directions, &vec![0.0; mixed.len()], has_tx);
                compare(inputs, outputs, samples, directions, &vec![1.0; mixed.len()], has_tx);
            }
        }
    }

    #[test]
    fn lenets_hidden_layer_is_gated_and_its_logits_are_not() {
        let layer = |inputs, outputs, relu| Dense { inputs, outputs, relu, weight: 0, bias: 0, pitch: 0 };
        assert!(gated::pays(&layer(3136, 1024, true)));
        assert!(!gated::pays(&layer(1024, 10, false)));
        assert!(!gated::pays(&layer(16, 16, true)), "tiles would be nearly empty");
    }
}
