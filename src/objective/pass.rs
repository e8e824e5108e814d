//! The passes over one chunk, layer by layer: forward, backward, and their tangents.

use super::Chunk;
use super::compression::CompressedDense;
use super::coupling::Coupling;
use crate::Result;
use crate::device::*;
use crate::network::{Layer, Network};

/// What depends on the parameters alone, for one chunk.
pub(super) struct Primal<D: Device> {
    /// Output of each layer (N, features): pooled values, activations; the last are the logits.
    outputs: Vec<D::Buffer>,
    /// Route codes of each conv block.
    routes: Vec<Option<D::Codes>>,
    /// Adjoint of each layer's output; masked in place for dense layers.
    adjoints: Vec<D::Buffer>,
    /// Loss of each sample (N).
    losses: D::Buffer,
    /// `s - onehot(label)` (N, classes).
    r: D::Buffer,
}

impl<D: Device> Primal<D> {
    /// Room for chunks of up to `samples`.
    pub fn new(device: &D, network: &Network, samples: usize) -> Result<Self> {
        let outputs =
            || network.layers().iter().map(|l| device.zeros(samples * l.output_len())).collect::<Result<Vec<_>>>();
        let routes = network.layers().iter().map(|l| match l {
            Layer::Conv(c) => device.check_conv(c).and_then(|()| device.codes(samples * c.output_len())).map(Some),
            Layer::Dense(_) => Ok(None),
        });
        Ok(Self {
            outputs: outputs()?,
            routes: routes.collect::<Result<_>>()?,
            adjoints: outputs()?,
            losses: device.zeros(samples)?,
            r: device.zeros(samples * network.classes())?,
        })
    }

    /// Bytes of one sample.
    pub fn bytes_per_sample(network: &Network) -> usize {
        let scalars: usize = network.layers().iter().map(|l| 2 * l.output_len()).sum();
        let codes: usize = network.layers().iter().filter(|l| matches!(l, Layer::Conv(_))).map(Layer::output_len).sum();
        (scalars + network.classes() + 1) * size_of::<D::Scalar>() + codes * D::CODE_BYTES
    }

    /// Computes the outputs, the losses and `r`.
    pub fn forward(&mut self, device: &D, network: &Network, chunk: &Chunk<D>, theta: &D::Buffer) {
        let samples = chunk.samples;
        for (l, layer) in network.layers().iter().enumerate() {
            let (before, after) = self.outputs.split_at_mut(l);
            let x = before.last().unwrap_or(&chunk.images);
            match (layer, &mut self.routes[l]) {
                (Layer::Conv(conv), Some(route)) => {
                    device.conv_forward(conv, ConvForward { samples, theta, x, p: &mut after[0], route });
                }
                (Layer::Dense(dense), _) => {
                    device.dense_forward(dense, DenseForward { samples, theta, x, y: &mut after[0] });
                }
                (Layer::Conv(_), None) => unreachable!("every conv block has route codes"),
            }
        }
        device.loss_forward(LossForward {
            samples,
            classes: network.classes(),
            logits: self.outputs.last().expect("a network has layers"),
            labels: &chunk.labels,
            losses: &mut self.losses,
            r: &mut self.r,
        });
    }

    /// Computes the adjoints and the chunk's gradient, which is added to `gradient` or replaces it; follows
    /// [`Primal::forward`].
    #[allow(clippy::too_many_arguments, reason = "the pass needs the whole state, and each has its own owner")]
    pub fn backward(
        &mut self,
        device: &D,
        network: &Network,
        chunk: &Chunk<D>,
        theta: &D::Buffer,
        scale: f64,
        gradient: &mut D::Buffer,
        accumulate: bool,
    ) {
        let samples = chunk.samples;
        let last = network.layers().len() - 1;
        let dlogits = &mut self.adjoints[last];
        device.loss_backward(LossBackward { samples, classes: network.classes(), scale, r: &self.r, dlogits });
        for (l, layer) in network.layers().iter().enumerate().rev() {
            let x = if l == 0 { &chunk.images } else { &self.outputs[l - 1] };
            let (before, after) = self.adjoints.split_at_mut(l);
            let (dx, dy) = (before.last_mut(), &mut after[0]);
            match (layer, &self.routes[l]) {
                (Layer::Conv(conv), Some(route)) => {
                    device.conv_backward(
                        conv,
                        ConvBackward { samples, theta, x, route, dp: dy, gradient, accumulate, dx },
                    );
                }
                (Layer::Dense(dense), _) => {
                    let y = &self.outputs[l];
                    device.dense_backward(dense, DenseBackward { samples, theta, x, y, dy, gradient, accumulate, dx });
                }
                (Layer::Conv(_), None) => unreachable!("every conv block has route codes"),
            }
        }
    }

    /// The input (N, features) of layer `l`; none for the first, whose input is the images.
    pub fn input(&self, l: usize) -> Option<&D::Buffer> {
        l.checked_sub(1).map(|l| &self.outputs[l])
    }

    /// The output (N, features) of layer `l`.
    pub fn output(&self, l: usize) -> &D::Buffer {
        &self.outputs[l]
    }

    /// The adjoint (N, features) of the output of layer `l`; for a dense layer, masked.
    pub fn adjoint(&self, l: usize) -> &D::Buffer {
        &self.adjoints[l]
    }

    /// The route codes of conv block `l`.
    pub fn route(&self, l: usize) -> &D::Codes {
        self.routes[l].as_ref().expect("every conv block has route codes")
    }

    /// The losses (N) of the last forward pass.
    pub fn losses(&self, device: &D, samples: usize) -> Result<Vec<D::Scalar>> {
        device.read(&self.losses, 0..samples)
    }

    /// The logits (N, classes) of the last forward pass.
    pub fn logits(&self, device: &D, samples: usize, classes: usize) -> Result<Vec<D::Scalar>> {
        device.read(self.outputs.last().expect("a network has layers"), 0..samples * classes)
    }
}

/// How a block of directions is laid out.
pub(super) struct Frame<'a, D: Device> {
    /// The layers, at their places in the parameters and in a direction.
    pub layers: &'a [Layer],
    /// The parameters.
    pub theta: &'a D::Buffer,
    /// The layers whose weights a direction holds in other coordinates; may be shorter than the layers.
    pub compressed: &'a [Option<CompressedDense<D>>],
    /// What the second conv block's products leave to the end.
    pub coupling: Option<&'a Coupling<D>>,
}

impl<D: Device> Clone for Frame<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Frame<'_, D> {}

impl<'a, D: Device> Frame<'a, D> {
    /// Directions that lie as the parameters do.
    pub fn whole(network: &'a Network, theta: &'a D::Buffer) -> Self {
        Self { layers: network.layers(), theta, compressed: &[], coupling: None }
    }

    fn compressed(&self, layer: usize) -> Option<&'a CompressedDense<D>> {
        self.compressed.get(layer).and_then(Option::as_ref)
    }
}

/// Tangents of a chunk's activations and adjoints along a block of directions.
pub(super) struct Tangents<D: Device> {
    /// Tangent of each layer's output (K, N, features).
    outputs: Vec<D::Buffer>,
    /// Tangent of the adjoint of each layer's output (K, N, features).
    adjoints: Vec<D::Buffer>,
}

impl<D: Device> Tangents<D> {
    /// Room for chunks of up to `samples` and blocks of up to `directions`.
    pub fn new(device: &D, network: &Network, samples: usize, directions: usize) -> Result<Self> {
        let buffers = || {
            network
                .layers()
                .iter()
                .map(|l| device.zeros(directions * samples * l.output_len()))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self { outputs: buffers()?, adjoints: buffers()? })
    }

    /// The Hessian-vector products of chunk `index` of a block of directions (K, pitch). Those of the first replace what is in
    /// `products`, the others are added.
    #[allow(clippy::too_many_arguments, reason = "the pass needs the whole state, and each has its own owner")]
    pub fn hvp(
        &mut self,
        device: &D,
        frame: Frame<'_, D>,
        index: usize,
        chunk: &Chunk<D>,
        primal: &Primal<D>,
        scale: f64,
        directions: usize,
        vectors: &D::Buffer,
        products: &mut D::Buffer,
    ) {
        let (samples, accumulate, theta) = (chunk.samples, index > 0, frame.theta);
        for (l, layer) in frame.layers.iter().enumerate() {
            let x = if l == 0 { &chunk.images } else { &primal.outputs[l - 1] };
            let (before, after) = self.outputs.split_at_mut(l);
            let (tx, ty) = (before.last(), &mut after[0]);
            match (layer, &primal.routes[l]) {
                (Layer::Conv(conv), Some(route)) => {
                    device.conv_tangent(conv, ConvTangent { samples, directions, theta, vectors, x, tx, route, tp: ty })
                }
                (Layer::Dense(dense), _) => {
                    let (x, y) = (frame.compressed(l).is_none().then_some(x), &primal.outputs[l]);
                    if let Some(compressed) = frame.compressed(l) {
                        compressed.tangent(device, index, samples, directions, ty);
                    }
                    device.dense_tangent(dense, DenseTangent { samples, directions, theta, vectors, x, tx, y, ty });
                }
                (Layer::Conv(_), None) => unreachable!("every conv block has route codes"),
            }
        }
        let last = frame.layers.len() - 1;
        device.loss_tangent_backward(LossTangentBackward {
            samples,
            classes: frame.layers[last].output_len(),
            directions,
            scale,
            r: &primal.r,
            labels: &chunk.labels,
            tlogits: &self.outputs[last],
            tdlogits: &mut self.adjoints[last],
        });
        for (l, layer) in frame.layers.iter().enumerate().rev() {
            let x = if l == 0 { &chunk.images } else { &primal.outputs[l - 1] };
            let tx = if l == 0 { None } else { Some(&self.outputs[l - 1]) };
            let (before, after) = self.adjoints.split_at_mut(l);
            let (mut tdx, tdy) = (before.last_mut(), &mut after[0]);
            let dy = &primal.adjoints[l];
            let coupled = l == 1 && frame.coupling.is_some();
            match (layer, &primal.routes[l]) {
                (Layer::Conv(conv), Some(route)) => device.conv_tangent_backward(
                    conv,
                    ConvTangentBackward {
                        samples,
                        directions,
                        theta,
                        vectors,
                        x,
                        tx,
                        route,
                        dp: (!coupled).then_some(dy),
                        tdp: tdy,
                        products,
                        accumulate,
                        tdx,
                    },
                ),
                (Layer::Dense(dense), _) => {
                    let (compressed, y) = (frame.compressed(l), &primal.outputs[l]);
                    if let (Some(compressed), Some(tdx)) = (compressed, tdx.as_deref_mut()) {
                        compressed.tangent_backward(device, index, samples, directions, vectors, tdx);
                    }
                    device.dense_tangent_backward(
                        dense,
                        DenseTangentBackward {
                            samples,
                            directions,
                            theta,
                            vectors,
                            x: compressed.is_none().then_some(x),
                            tx,
                            y,
                            dz: dy,
                            tdy,
                            products,
                            accumulate,
                            tdx,
                        },
                    );
                    if let (Some(compressed), Some(tx)) = (compressed, tx) {
                        compressed.products(device, index, samples, directions, tdy, tx, products, accumulate);
                    }
                }
                (Layer::Conv(_), None) => unreachable!("every conv block has route codes"),
            }
        }
    }
}
