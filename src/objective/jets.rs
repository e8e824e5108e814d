//! Derivatives of the loss along directions, by forward passes alone.
//!
//! Along `theta + s v` every activation is, up to the next kink, a polynomial `x0 + x1 s + x2 s^2 + x3 s^3`, and a layer
//! maps coefficient to coefficient: `z_k = W x_k + V x_{k-1}`, plus V's bias for k = 1. That is the tangent kernel with
//! other inputs, so no kernel is needed beside it. The input does not depend on s, so after the l-th layer
//! the degree is l at most, and the terms beyond it are not computed.

use super::pass::Primal;
use super::{Objective, cross_entropy};
use crate::device::{ConvTangent, DenseTangent, Device, Scalar};
use crate::network::{Layer, Network};
use crate::{Error, Result};

/// Coefficients beyond the value: three derivatives.
const ORDER: usize = 3;

/// The loss and its derivatives along a direction v.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jet {
    /// The loss itself.
    pub loss: f64,
    /// `g^T v`.
    pub slope: f64,
    /// `v^T H v`.
    pub curvature: f64,
    /// The third derivative of the loss along v.
    pub third: f64,
}

impl Jet {
    /// The mean over samples: the jet of the mean loss.
    pub fn mean(jets: &[Jet]) -> Jet {
        let mean = |of: fn(&Jet) -> f64| jets.iter().map(of).sum::<f64>() / jets.len() as f64;
        Jet {
            loss: mean(|j| j.loss),
            slope: mean(|j| j.slope),
            curvature: mean(|j| j.curvature),
            third: mean(|j| j.third),
        }
    }
}

/// Taylor coefficients of one chunk's activations along one direction.
struct Taylor<D: Device> {
    /// Coefficients 1, 2, 3 of each layer's output (N, features), as many as its degree.
    layers: Vec<Vec<D::Buffer>>,
    /// The direction without its biases, for the coefficients beyond the first (dim).
    weights: D::Buffer,
}

impl<D: Device> Taylor<D> {
    fn new(device: &D, network: &Network, samples: usize) -> Result<Self> {
        let layer = |(l, layer): (usize, &Layer)| -> Result<Vec<D::Buffer>> {
            (0..ORDER.min(l + 1)).map(|_| device.zeros(samples * layer.output_len())).collect()
        };
        let layers = network.layers().iter().enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, weights: device.zeros(network.dim())? })
    }

    /// Computes the coefficients; `primal` has seen the forward pass of the chunk with these `images`.
    #[allow(clippy::too_many_arguments, reason = "the pass needs the whole state, and each has its own owner")]
    fn forward(
        &mut self,
        device: &D,
        network: &Network,
        samples: usize,
        images: &D::Buffer,
        primal: &Primal<D>,
        theta: &D::Buffer,
        direction: &D::Buffer,
    ) {
        device.copy(direction, 0, &mut self.weights, 0, network.dim());
        for layer in network.layers() {
            let bias = match layer {
                Layer::Conv(c) => c.bias..c.bias + c.out_channels,
                Layer::Dense(d) => d.bias..d.bias + d.outputs,
            };
            device.clear(&mut self.weights, bias);
        }
        for (l, layer) in network.layers().iter().enumerate() {
            let (before, after) = self.layers.split_at_mut(l);
            let inputs = before.last().map_or(&[][..], Vec::as_slice);
            for (k, output) in after[0].iter_mut().enumerate() {
                // `output` is coefficient k + 1: W times the input's coefficient k + 1, V times its coefficient k.
                let x = match k {
                    0 => primal.input(l).unwrap_or(images),
                    k => &inputs[k - 1],
                };
                let (tx, vectors) = (inputs.get(k), if k == 0 { direction } else { &self.weights });
                match layer {
                    Layer::Conv(conv) => {
                        let route = primal.route(l);
                        device.conv_tangent(
                            conv,
                            ConvTangent { samples, directions: 1, theta, vectors, x, tx, route, tp: output },
                        );
                    }
                    Layer::Dense(dense) => {
                        let y = primal.output(l);
                        device.dense_tangent(
                            dense,
                            DenseTangent { samples, directions: 1, theta, vectors, x: Some(x), tx, y, ty: output },
                        );
                    }
                }
            }
        }
    }
}

impl<D: Device> Objective<'_, D> {
    /// The jet of every sample's loss along every direction (dim each) at `theta` (dim): `jets[k][n]`. [`Jet::mean`] makes
    /// the mean loss's of them.
    ///
    /// The forward pass at `theta` is shared by all directions; no backward pass is needed.
    ///
    /// # Errors
    /// [`Error::Numerical`] if the loss is not finite; [`Error::Device`] if the device fails.
    pub fn jets(&mut self, theta: &D::Buffer, directions: &[D::Buffer]) -> Result<Vec<Vec<Jet>>> {
        let (device, network, classes) = (self.device, self.network, self.network.classes());
        let largest = self.chunks[0].samples;
        let mut primal = self.take_scratch()?;
        let mut taylor = Taylor::new(device, network, largest)?;
        // All logits of a chunk, to be read at once: (directions, orders, N, classes).
        let mut gathered = device.zeros(directions.len().max(1) * ORDER * largest * classes)?;
        let mut jets = vec![Vec::with_capacity(self.samples); directions.len()];
        for chunk in &self.chunks {
            let len = chunk.samples * classes;
            primal.forward(device, network, chunk, theta);
            for (k, direction) in directions.iter().enumerate() {
                taylor.forward(device, network, chunk.samples, &chunk.images, &primal, theta, direction);
                let logits = taylor.layers.last().expect("a network has layers");
                for (order, coefficient) in logits.iter().enumerate() {
                    device.copy(coefficient, 0, &mut gathered, (k * ORDER + order) * len, len);
                }
                // A network of fewer layers has fewer coefficients.
                if logits.len() < ORDER {
                    device.clear(&mut gathered, (k * ORDER + logits.len()) * len..(k + 1) * ORDER * len);
                }
            }
            let wide = |scalars: Vec<D::Scalar>| scalars.into_iter().map(Scalar::widen).collect::<Vec<f64>>();
            let values = wide(primal.logits(device, chunk.samples, classes)?);
            let coefficients = wide(device.read(&gathered, 0..directions.len() * ORDER * len)?);
            for (jets, logits) in jets.iter_mut().zip(coefficients.chunks_exact(ORDER * len)) {
                for (n, &label) in chunk.host_labels.iter().enumerate() {
                    let of = |order: usize| &logits[order * len + n * classes..][..classes];
                    let z = [&values[n * classes..][..classes], of(0), of(1), of(2)];
                    jets.push(cross_entropy::jet(z, usize::from(label)));
                }
            }
        }
        self.scratch = Some(primal);
        match jets.iter().flatten().all(|j| j.loss.is_finite() && j.third.is_finite()) {
            true => Ok(jets),
            false => Err(Error::Numerical("a derivative of the loss is not finite: the parameters are broken".into())),
        }
    }
}
