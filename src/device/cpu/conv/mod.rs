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
