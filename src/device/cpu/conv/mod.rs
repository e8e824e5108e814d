//! The conv block: [`direct`] forward pass, tangents and adjoints that are [`routed`] in a first layer and [`spectral`] in deeper ones
//! where that pays, and [`im2col`] with matrix products elsewhere.

mod codes;
mod coupling;
mod direct;
mod im2col;
mod layout;
mod routed;
mod routes;
mod spectral;

use super::CpuDevice;
use super::matrix::MatMut;
use crate::device::{ConvBackward, ConvForward, ConvTangent, ConvTangentBackward, Scalar};
use crate::network::Conv;
pub use codes::Codes;
pub(super) use coupling::coupling;
use rayon::prelude::*;
use std::ops::Range;

/// Samples a task: small enough that a minibatch of 32 feeds four cores, large enough to amortise the scratch.
const GROUP: usize = 8;

/// The samples of the group that begins with sample `first`.
fn group(first: usize, samples: usize) -> Range<usize> {
    first..samples.min(first + GROUP)
}

/// Slices number `at..at + count` of an array of slices of `len`.
fn slices<T>(array: &[T], at: usize, count: usize, len: usize) -> &[T] {
    &array[at * len..(at + count) * len]
}

/// Cuts an array (directions, samples, len), or nothing if there is none, by groups of samples, each a task:
/// (first entry of a direction, block with a row for each direction).
fn by_group<T: Scalar>(
    array: Option<&mut Vec<T>>,
    directions: usize,
    samples: usize,
    len: usize,
) -> impl IndexedParallelIterator<Item = (usize, MatMut<'_, T>)> {
    let (array, directions) = array.map_or((&mut [][..], 0), |array| (&mut array[..], directions));
    MatMut::new(array, directions, samples * len).column_blocks(GROUP * len)
}

/// The sums over all groups of samples of their biases (groups, directions, OC) of direction `k`, which are added to a parameter
/// vector's or replace them.
fn sum_biases<T: Scalar>(c: &Conv, biases: &[T], (k, directions): (usize, usize), vector: &mut [T], accumulate: bool) {
    let target = &mut vector[c.bias..c.bias + c.out_channels];
    if !accumulate {
        target.fill(T::zero());
    }
    for group in biases.chunks_exact(directions * c.out_channels) {
        target.iter_mut().zip(&group[k * c.out_channels..]).for_each(|(t, &b)| *t += b);
    }
}

/// A conv block's kernels in f32 or f64. As methods of the scalars they are compiled here, once, and not by every crate that uses them.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn forward(c: &Conv, call: ConvForward<'_, CpuDevice<Self>>)
    where
        Self: Scalar;
    #[doc(hidden)]
    fn tangent(c: &Conv, call: ConvTangent<'_, CpuDevice<Self>>)
    where
        Self: Scalar;
    #[doc(hidden)]
    fn backward(c: &Conv, call: ConvBackward<'_, CpuDevice<Self>>)
    where
        Self: Scalar;
    #[doc(hidden)]
    fn tangent_backward(c: &Conv, call: ConvTangentBackward<'_, CpuDevice<Self>>)
    where
        Self: Scalar;
}

macro_rules! kernels {
    ($scalar:ty) => {
        impl Kernels for $scalar {
            fn forward(c: &Conv, call: ConvForward<'_, CpuDevice<Self>>) {
                if direct::pays(c) { direct::forward(c, call) } else { im2col::forward(c, call) }
            }

            fn tangent(c: &Conv, call: ConvTangent<'_, CpuDevice<Self>>) {
                match () {
                    _ if spectral::pays(c) => spectral::tangent(c, call),
                    _ if routed::pays(c) && call.tx.is_none() => routed::tangent(c, call),
                    _ => im2col::tangent(c, call),
                }
            }

            fn backward(c: &Conv, call: ConvBackward<'_, CpuDevice<Self>>) {
                match () {
                    _ if spectral::pays(c) => spectral::backward(c, call),
                    _ if routed::pays(c) && call.dx.is_none() => routed::backward(c, call),
                    _ => im2col::backward(c, call),
                }
            }

            fn tangent_backward(c: &Conv, call: ConvTangentBackward<'_, CpuDevice<Self>>) {
                match () {
                    _ if spectral::pays(c) => spectral::tangent_backward(c, call),
                    _ if routed::pays(c) && call.tx.is_none() && call.tdx.is_none() => {
                        routed::tangent_backward(c, call)
                    }
                    _ => im2col::tangent_backward(c, call),
                }
            }
        }
    };
}

kernels!(f32);
kernels!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    pub fn noise(len: usize, seed: f64) -> Vec<f64> {
        (1..=len).map(|i| (seed * (i * i) as f64).sin()).collect()
    }

    /// A block (input channels, output channels, kernel, height, width) whose parameters have something before and behind them.
    pub fn conv((in_channels, out_channels, kernel, height, width): (usize, usize, usize, usize, usize)) -> Conv {
        let weight = 2;
        let bias = weight + out_channels * in_channels * kernel * kernel;
        let pitch = bias + out_channels + 1;
        Conv { in_channels, out_channels, kernel, height, width, weight, bias, pitch }
    }

    /// The arguments of a block's kernels.
    pub struct Case {
        pub c: Conv,
        samples: usize,
        directions: usize,
        theta: Vec<f64>,
        vectors: Vec<f64>,
        x: Vec<f64>,
        tx: Vec<f64>,
        dp: Vec<f64>,
        tdp: Vec<f64>,
        route: Codes,
    }

    impl Case {
        pub fn new(c: Conv, samples: usize, directions: usize) -> Self {
            let (inputs, outputs) = (samples * c.input_len(), samples * c.output_len());
            Self {
                samples,
                directions,
                theta: noise(c.pitch, 0.7),
                vectors: noise(directions * c.pitch, 1.1),
                x: noise(inputs, 1.3),
                tx: noise(directions * inputs, 1.7),
                dp: noise(outputs, 1.9),
                tdp: noise(directions * outputs, 0.3),
                route: Codes::new((0..outputs).map(|i| (i * i % 7 % 5) as u8).collect()),
                c,
            }
        }

        /// What a kernel makes of them, with or without the inputs' tangents.
        pub fn tangent(&self, tx: bool, kernel: fn(&Conv, ConvTangent<'_, CpuDevice<f64>>)) -> Vec<f64> {
            let Self { c, samples, directions, theta, vectors, x, route, .. } = self;
            let mut tp = vec![f64::NAN; self.tdp.len()];
            let (samples, directions, tx) = (*samples, *directions, tx.then_some(&self.tx));
            kernel(c, ConvTangent { samples, directions, theta, vectors, x, tx, route, tp: &mut tp });
            tp
        }

        /// Products and tangents of the inputs' adjoints, where these are wanted; with or without the adjoint itself, and the inputs' tangents.
        pub fn tangent_backward(
            &self,
            (accumulate, wanted, dp, tx): (bool, bool, bool, bool),
            kernel: fn(&Conv, ConvTangentBackward<'_, CpuDevice<f64>>),
        ) -> (Vec<f64>, Vec<f64>) {
            let Self { c, samples, directions, theta, vectors, x, route, tdp, .. } = self;
            let (mut all, mut of_inputs) = (noise(self.vectors.len(), 0.9), vec![0.0; self.tx.len()]);
            let call = ConvTangentBackward {
                samples: *samples,
                directions: *directions,
                theta,
                vectors,
                x,
                tx: tx.then_some(&self.tx),
                route,
                dp: dp.then_some(&self.dp),
                tdp,
                products: &mut all,
                accumulate,
                tdx: wanted.then_some(&mut of_inputs),
            };
            kernel(c, call);
            (all, of_inputs)
        }

        /// The gradient of one direction's adjoint, and the inputs' adjoint, where it is wanted.
        pub fn backward(
            &self,
            wanted: bool,
            kernel: fn(&Conv, ConvBackward<'_, CpuDevice<f64>>),
        ) -> (Vec<f64>, Vec<f64>) {
            let Self { c, samples, theta, x, route, tdp: dp, .. } = self;
            let (mut all, mut of_inputs) = (noise(c.pitch, 0.9), vec![0.0; x.len()]);
            let (samples, gradient, dx) = (*samples, &mut all, wanted.then_some(&mut of_inputs));
            kernel(c, ConvBackward { samples, theta, x, route, dp, gradient, accumulate: false, dx });
            (all, of_inputs)
        }
    }

    #[test]
    fn both_forward_passes_agree() {
        // The last has rows longer than a word of bits.
        let shapes = [
            (1, 8, 3, 4, 6),
            (3, 20, 5, 6, 4),
            (7, 33, 3, 2, 2),
            (40, 16, 5, 10, 8),
            (2, 64, 1, 4, 4),
            (2, 9, 7, 4, 70),
        ];
        for shape in shapes {
            let c = conv(shape);
            for samples in [1, GROUP + 1] {
                let (theta, mut x) = (noise(c.pitch, 0.7), noise(samples * c.input_len(), 1.3));
                // As a ReLU leaves them, with a run of zeros that windows fit into.
                x.iter_mut().for_each(|x| *x = x.max(0.0));
                x[c.input_len() / 3..c.input_len() / 2].fill(0.0);
                let run = |kernel: fn(&Conv, ConvForward<'_, CpuDevice<f64>>)| {
                    let (mut p, mut route) =
                        (vec![f64::NAN; samples * c.output_len()], Codes::new(vec![9; samples * c.output_len()]));
                    kernel(&c, ConvForward { samples, theta: &theta, x: &x, p: &mut p, route: &mut route });
                    (p, route.to_vec())
                };
                let (ours, expected) = (run(direct::forward), run(im2col::forward));
                assert_eq!(ours.1, expected.1, "routes of {c:?}");
                for (i, (a, b)) in ours.0.iter().zip(&expected.0).enumerate() {
                    assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "output {i} of {c:?}: {a} instead of {b}");
                }
            }
        }
    }

    #[test]
    fn ties_go_to_the_first_position_and_a_nan_stays_visible() {
        let c =
            Conv { in_channels: 1, out_channels: 16, kernel: 1, height: 2, width: 4, weight: 0, bias: 16, pitch: 32 };
        let theta = [vec![1f32; 16], vec![0.0; 16]].concat();
        let x = vec![1.0, 2.0, f32::NAN, 3.0, 2.0, 2.0, 3.0, 3.0];
        let (mut p, mut route) = (vec![0.0; 32], Codes::new(vec![0; 32]));
        direct::forward(&c, ConvForward { samples: 1, theta: &theta, x: &x, p: &mut p, route: &mut route });
        for channel in 0..16 {
            assert_eq!((p[2 * channel], route[2 * channel]), (2.0, 1));
            assert!(p[2 * channel + 1].is_nan());
        }
    }
}
