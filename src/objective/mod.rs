//! The loss of a network on a fixed subset of samples, its gradient, its Hessian-vector products, its derivatives along
//! directions, and its values along lines.
//!
//! The order of passes and what is kept between them is written here once, over the [`Device`] contract. A subset is cut
//! into chunks; every chunk's contribution is scaled by one over the size of the whole subset, so a ragged last chunk
//! weighs what it should and the Hessian is that of the stated mean loss exactly.

mod compression;
mod coupling;
mod cross_entropy;
mod jets;
mod linearization;
mod lines;
mod pass;

pub use compression::Compression;
pub use jets::Jet;
pub use linearization::Linearization;
pub use lines::{Probe, mean_difference};

use crate::data::Samples;
use crate::device::{Device, Scalar};
use crate::network::{Conv, Layer, Network};
use crate::{Error, Result};
use pass::{Frame, Primal, Tangents};

/// Samples a chunk unless told otherwise: large enough for the dense layers' products, small enough for any GPU.
pub const DEFAULT_CHUNK: usize = 256;

/// A chunk of samples on the device.
struct Chunk<D: Device> {
    /// Number of samples N.
    samples: usize,
    /// Pixels in [0, 1] (N, C, H, W).
    images: D::Buffer,
    /// Labels (N).
    labels: D::Codes,
    /// The same labels on the host, to count correct answers.
    host_labels: Vec<u8>,
}

impl<D: Device> Chunk<D> {
    fn new(device: &D, samples: &Samples, start: usize, count: usize) -> Result<Self> {
        let pixels = samples.shape().pixels();
        let mut chunk = Self {
            samples: count,
            images: device.zeros(count * pixels)?,
            labels: device.codes(count)?,
            host_labels: Vec::new(),
        };
        chunk.load(device, samples, start);
        Ok(chunk)
    }

    fn load(&mut self, device: &D, samples: &Samples, start: usize) {
        let pixels = samples.shape().pixels();
        let full = D::Scalar::from_f64(255.0);
        let bytes = &samples.pixels()[start * pixels..(start + self.samples) * pixels];
        let scaled: Vec<D::Scalar> = bytes.iter().map(|&b| D::Scalar::from_f64(f64::from(b)) / full).collect();
        device.write(&mut self.images, 0, &scaled);
        self.host_labels = samples.labels()[start..start + self.samples].to_vec();
        device.write_codes(&mut self.labels, &self.host_labels);
    }
}

/// Loss and accuracy of a network on a subset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean softmax cross-entropy, in nats.
    pub loss: f64,
    /// Share of samples whose largest logit is the label's.
    pub accuracy: f64,
}

/// The mean softmax cross-entropy of `network` over a fixed subset, as a function of the parameters.
pub struct Objective<'a, D: Device> {
    device: &'a D,
    network: &'a Network,
    chunks: Vec<Chunk<D>>,
    samples: usize,
    /// Scratch of the passes that keep nothing, made on first use.
    scratch: Option<Primal<D>>,
    /// Scratch of [`Objective::gradient_and_hvp`], likewise.
    tangents: Option<Tangents<D>>,
}

impl<'a, D: Device> Objective<'a, D> {
    /// Uploads the subset in chunks of at most `chunk` samples. The size of the chunks changes results by rounding only.
    ///
    /// # Errors
    /// [`Error::Usage`] if the images or their labels do not fit the network, or there are none; [`Error::Device`] if they do not fit
    /// the device.
    pub fn new(device: &'a D, network: &'a Network, samples: &Samples, chunk: usize) -> Result<Self> {
        if samples.shape() != network.input() {
            let (s, n) = (samples.shape(), network.input());
            return Err(Error::Usage(format!(
                "the images are {}x{}x{}, the network wants {}x{}x{}",
                s.height, s.width, s.channels, n.height, n.width, n.channels
            )));
        }
        if samples.is_empty() || chunk == 0 {
            return Err(Error::Usage("an objective needs at least one sample, and chunks of at least one".into()));
        }
        if let Some(label) = samples.labels().iter().find(|&&label| usize::from(label) >= network.classes()) {
            let classes = network.classes();
            return Err(Error::Usage(format!("the network has {classes} outputs, a sample has the label {label}")));
        }
        let chunk = chunk.min(largest_chunk(device, network));
        let chunks = (0..samples.len())
            .step_by(chunk)
            .map(|start| Chunk::new(device, samples, start, chunk.min(samples.len() - start)))
            .collect::<Result<_>>()?;
        Ok(Self { device, network, chunks, samples: samples.len(), scratch: None, tangents: None })
    }

    /// Replaces the samples by as many others: the next minibatch of a training run.
    ///
    /// # Errors
    /// [`Error::Usage`] if their number or shape differs.
    pub fn load(&mut self, samples: &Samples) -> Result<()> {
        if samples.len() != self.samples || samples.shape() != self.network.input() {
            return Err(Error::Usage(format!("this objective holds {} samples, not {}", self.samples, samples.len())));
        }
        let mut start = 0;
        for chunk in &mut self.chunks {
            chunk.load(self.device, samples, start);
            start += chunk.samples;
        }
        Ok(())
    }

    /// The device it runs on.
    pub fn device(&self) -> &'a D {
        self.device
    }

    /// The network.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// Number of samples in the subset.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Loss and accuracy at `theta` (dim): forward passes only.
    ///
    /// # Errors
    /// [`Error::Numerical`] if the loss is not finite; [`Error::Device`] if the device fails.
    pub fn evaluate(&mut self, theta: &D::Buffer) -> Result<Evaluation> {
        self.run(theta, None, None)
    }

    /// Loss and accuracy at `theta`, and the gradient (dim).
    ///
    /// # Errors
    /// As [`Objective::evaluate`].
    pub fn gradient(&mut self, theta: &D::Buffer, gradient: &mut D::Buffer) -> Result<Evaluation> {
        self.run(theta, Some(gradient), None)
    }

    /// The Hessian at `theta` (dim), ready for products.
    ///
    /// What depends on `theta` alone is computed now and kept for as many chunks as `memory` bytes hold; the others are
    /// recomputed in every product, with the same result to the bit.
    ///
    /// # Errors
    /// As [`Objective::evaluate`].
    pub fn linearize(&self, theta: &D::Buffer, memory: usize) -> Result<Linearization<'_, D>> {
        Linearization::new(self, theta, memory)
    }

    /// As [`Objective::linearize`], of parameters on the host, with the device's default memory unless told.
    ///
    /// # Errors
    /// As [`Objective::linearize`].
    pub fn linearize_host(&self, theta: &[f32], memory: Option<usize>) -> Result<Linearization<'_, D>> {
        let point = self.device.upload(theta)?;
        self.linearize(&point, memory.unwrap_or_else(|| self.device.default_memory()))
    }

    /// Loss, gradient (dim) and one Hessian-vector product (dim) at `theta`, keeping nothing: for a product or two, as on a
    /// minibatch, where a [`Linearization`] would not pay.
    ///
    /// # Errors
    /// As [`Objective::evaluate`].
    pub fn gradient_and_hvp(
        &mut self,
        theta: &D::Buffer,
        gradient: &mut D::Buffer,
        vector: &D::Buffer,
        product: &mut D::Buffer,
    ) -> Result<Evaluation> {
        self.run(theta, Some(gradient), Some((vector, product)))
    }

    fn take_scratch(&mut self) -> Result<Primal<D>> {
        match self.scratch.take() {
            Some(primal) => Ok(primal),
            None => Primal::new(self.device, self.network, self.chunks[0].samples),
        }
    }

    /// One pass over the chunks; sets the gradient, and `product` to `H vector`, which needs the gradient.
    fn run(
        &mut self,
        theta: &D::Buffer,
        mut gradient: Option<&mut D::Buffer>,
        mut tangent: Option<(&D::Buffer, &mut D::Buffer)>,
    ) -> Result<Evaluation> {
        let (device, network, scale) = (self.device, self.network, self.scale());
        let mut primal = self.take_scratch()?;
        if tangent.is_some() && self.tangents.is_none() {
            self.tangents = Some(Tangents::new(device, network, self.chunks[0].samples, 1)?);
        }
        let mut total = Totals::default();
        for (i, chunk) in self.chunks.iter().enumerate() {
            primal.forward(device, network, chunk, theta);
            if let Some(gradient) = gradient.as_deref_mut() {
                primal.backward(device, network, chunk, theta, scale, gradient, i > 0);
            }
            if let (Some((vector, product)), Some(tangents)) = (&mut tangent, &mut self.tangents) {
                tangents.hvp(device, Frame::whole(network, theta), i, chunk, &primal, scale, 1, vector, product);
            }
            total.add(&primal, device, chunk, network.classes())?;
        }
        self.scratch = Some(primal);
        total.mean(self.samples)
    }

    fn scale(&self) -> f64 {
        1.0 / self.samples as f64
    }
}

/// The largest chunk whose activations, images and tangents of a few directions fit a bindable buffer.
fn largest_chunk<D: Device>(device: &D, network: &Network) -> usize {
    // A GPU has a conv block's images with borders, in quads: shaders/lib/quads.wgsl. Those of x and of one direction's tx.
    let images = |c: &Conv| {
        let quads = c.in_channels.div_ceil(4).max(c.in_channels.min(2));
        2 * 4 * quads * (c.height + c.kernel - 1) * (c.width + c.kernel - 1)
    };
    let len = |layer: &Layer| match layer {
        Layer::Conv(c) => images(c).max(8 * c.input_len().max(c.output_len())),
        Layer::Dense(d) => 8 * d.inputs.max(d.outputs),
    };
    (device.max_buffer_len() / network.layers().iter().map(len).max().unwrap_or(1)).max(1)
}

/// Sums over chunks, in f64.
#[derive(Default)]
struct Totals {
    loss: f64,
    correct: usize,
}

impl Totals {
    fn add<D: Device>(&mut self, primal: &Primal<D>, device: &D, chunk: &Chunk<D>, classes: usize) -> Result<()> {
        let logits = primal.logits(device, chunk.samples, classes)?;
        self.loss += primal.losses(device, chunk.samples)?.iter().map(|l| l.widen()).sum::<f64>();
        for (logits, &label) in logits.chunks_exact(classes).zip(&chunk.host_labels) {
            let best = (1..classes).fold(0, |best, j| if logits[j] > logits[best] { j } else { best });
            self.correct += usize::from(best == usize::from(label));
        }
        Ok(())
    }

    fn mean(&self, samples: usize) -> Result<Evaluation> {
        let loss = self.loss / samples as f64;
        if !loss.is_finite() {
            return Err(Error::Numerical(format!("the loss is {loss}: the parameters have diverged or are broken")));
        }
        Ok(Evaluation { loss, accuracy: self.correct as f64 / samples as f64 })
    }
}
