//! Second derivatives between the first two conv blocks, made once for many products.
//!
//! Of the six products in a conv block's Hessian-vector product, two have the adjoint `dz`, which depends on the parameters alone:
//! `dz tx^T`, a part of `tdW`, and `tW^T dz`, a part of `tdx`. In the second block `tx` is what the first block's parameters `t1`
//! make of the images, linearly, and channel by channel, because a channel of it depends on that channel's weights and bias only:
//!
//! ```text
//! dz2 tx^T = M t1        route(tW2^T dz2) x^T = M^T tW2
//! ```
//!
//! with one `M`, a second derivative of the loss: for LeNet 26 components of each of 32 channels by 64 x 25 weights, 1.3 million
//! numbers. It takes as much work as a dozen products' share in it, and then costs next to nothing.

use super::Linearization;
use crate::Result;
use crate::device::{ConvBackward, ConvCoupling, ConvTangent, Device, Scalar};
use crate::network::{Conv, Layer};

/// `M` (J, OC, IC, K, K), as [`ConvCoupling`] wants it.
pub(super) struct Coupling<D: Device> {
    matrix: D::Buffer,
}

/// The first two conv blocks, if there are two.
fn blocks(layers: &[Layer]) -> Option<(&Conv, &Conv)> {
    match layers {
        [Layer::Conv(first), Layer::Conv(second), ..] => Some((first, second)),
        _ => None,
    }
}

impl<D: Device> Coupling<D> {
    /// How many products it takes to pay: one for each column of `M`, which is about twice what the multiply-adds say.
    pub fn pays_from(layers: &[Layer]) -> Option<usize> {
        blocks(layers).map(|(first, _)| components(first))
    }

    /// The coupling of the network's first two blocks.
    ///
    /// # Panics
    /// If they are no conv blocks.
    pub fn new(hessian: &mut Linearization<'_, D>) -> Result<Self> {
        let (device, layers) = (hessian.device(), hessian.objective.network.layers());
        let (first, second) = blocks(layers).expect("the caller has asked whether it pays");
        // Both with their parameters at the beginning of vectors of their own.
        let lengths = [first, second].map(|c| c.weight_len() + c.out_channels);
        let first = first.moved(0, first.weight_len(), lengths[0]);
        let second = second.moved(0, second.weight_len(), lengths[1]);
        let columns = components(&first);
        let mut gradients = (0..columns).map(|_| device.zeros(lengths[1])).collect::<Result<Vec<_>>>()?;
        let (mut direction, no_weights) = (device.zeros(lengths[0])?, device.zeros(lengths[1])?);
        let mut tx = device.zeros(hessian.objective.chunks[0].samples * first.output_len())?;
        hessian.each_primal(|device, chunk, i, primal| {
            let samples = chunk.samples;
            for (j, gradient) in gradients.iter_mut().enumerate() {
                // The same component of every channel at once: they do not meet.
                let mut component = vec![D::Scalar::from_f64(0.0); lengths[0]];
                (0..first.out_channels).for_each(|c| component[place(&first, c, j)] = D::Scalar::from_f64(1.0));
                device.write(&mut direction, 0, &component);
                let (theta, vectors, x, route) = (&direction, &direction, &chunk.images, primal.route(0));
                let call = ConvTangent { samples, directions: 1, theta, vectors, x, tx: None, route, tp: &mut tx };
                device.conv_tangent(&first, call);
                let (theta, x, route, dp, accumulate) = (&no_weights, &tx, primal.route(1), primal.adjoint(1), i > 0);
                let call = ConvBackward { samples, theta, x, route, dp, gradient, accumulate, dx: None };
                device.conv_backward(&second, call);
            }
            Ok(())
        })?;
        let mut matrix = device.zeros(columns * second.weight_len())?;
        for (j, gradient) in gradients.iter().enumerate() {
            device.copy(gradient, 0, &mut matrix, j * second.weight_len(), second.weight_len());
        }
        Ok(Self { matrix })
    }

    /// Adds `M t1` and `M^T tW2` to the products.
    pub fn apply(
        &self,
        device: &D,
        layers: &[Layer],
        directions: usize,
        vectors: &D::Buffer,
        products: &mut D::Buffer,
    ) {
        let (first, second) = blocks(layers).expect("it was made of two");
        device.conv_coupling(first, second, ConvCoupling { directions, matrix: &self.matrix, vectors, products });
    }
}

/// Weights and bias of a channel.
fn components(first: &Conv) -> usize {
    first.patch_len() + 1
}

/// Where component `j` of a channel lies in a parameter vector: the bias is the last.
fn place(c: &Conv, channel: usize, j: usize) -> usize {
    if j < c.patch_len() { c.weight + channel * c.patch_len() + j } else { c.bias + channel }
}
