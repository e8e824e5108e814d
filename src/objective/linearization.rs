//! The Hessian at one point: the primal kept, one tangent pass a product.

use super::coupling::Coupling;
use super::pass::{Frame, Primal, Tangents};
use super::{Chunk, Compression, Evaluation, Objective, Totals};
use crate::device::Device;
use crate::eigen::SymmetricOperator;
use crate::{Error, Result};

/// The most directions of one tangent pass; larger blocks gain nothing more from sharing the primal.
const MAX_DIRECTIONS: usize = 8;

/// The Hessian of an [`Objective`] at one `theta`.
pub struct Linearization<'a, D: Device> {
    pub(super) objective: &'a Objective<'a, D>,
    /// The point (dim).
    pub(super) theta: D::Buffer,
    /// The gradient there (dim).
    gradient: D::Buffer,
    evaluation: Evaluation,
    /// The primal of the first chunks, as many as the memory holds.
    kept: Vec<Primal<D>>,
    /// Where the primal of the other chunks is recomputed, with its gradient as a by-product.
    recomputed: Option<(Primal<D>, D::Buffer)>,
    /// Tangents for the largest block seen so far: (directions, buffers).
    tangents: Option<(usize, Tangents<D>)>,
    /// Second derivatives between the first two conv blocks, if they were prepared.
    coupling: Option<Coupling<D>>,
}

impl<'a, D: Device> Linearization<'a, D> {
    pub(super) fn new(objective: &'a Objective<'a, D>, theta: &D::Buffer, memory: usize) -> Result<Self> {
        let (device, network) = (objective.device, objective.network);
        let dim = network.dim();
        let mut own_theta = device.zeros(dim)?;
        device.copy(theta, 0, &mut own_theta, 0, dim);
        let mut gradient = device.zeros(dim)?;
        let mut left = memory / Primal::<D>::bytes_per_sample(network);
        let (mut kept, mut recomputed, mut total) = (Vec::new(), None, Totals::default());
        for (i, chunk) in objective.chunks.iter().enumerate() {
            let keep = recomputed.is_none() && left >= chunk.samples;
            if keep {
                left -= chunk.samples;
                kept.push(Primal::new(device, network, chunk.samples)?);
            } else if recomputed.is_none() {
                recomputed = Some((Primal::new(device, network, objective.chunks[0].samples)?, device.zeros(dim)?));
            }
            let primal = match (&mut recomputed, kept.last_mut()) {
                (Some((primal, _)), _) => primal,
                (None, Some(primal)) => primal,
                (None, None) => unreachable!("a chunk is kept or recomputed"),
            };
            primal.forward(device, network, chunk, theta);
            primal.backward(device, network, chunk, theta, objective.scale(), &mut gradient, i > 0);
            total.add(primal, device, chunk, network.classes())?;
        }
        let evaluation = total.mean(objective.samples)?;
        Ok(Self { objective, theta: own_theta, gradient, evaluation, kept, recomputed, tangents: None, coupling: None })
    }

    /// Loss and accuracy at the point.
    pub fn evaluation(&self) -> Evaluation {
        self.evaluation
    }

    /// The gradient (dim) at the point.
    pub fn gradient(&self) -> &D::Buffer {
        &self.gradient
    }

    /// The device it runs on.
    pub fn device(&self) -> &'a D {
        self.objective.device
    }

    /// Number of parameters.
    pub fn dim(&self) -> usize {
        self.objective.network.dim()
    }

    /// How many of the subset's chunks have their primal kept, and how many there are.
    pub fn kept_chunks(&self) -> (usize, usize) {
        (self.kept.len(), self.objective.chunks.len())
    }

    /// The most directions that [`Linearization::hvp`] takes at once.
    pub fn max_directions(&self) -> usize {
        self.directions_of(self.dim())
    }

    /// The most directions of this length.
    pub(super) fn directions_of(&self, length: usize) -> usize {
        (self.device().max_buffer_len() / length).clamp(1, MAX_DIRECTIONS)
    }

    /// Hessian-vector products: `products[k] = H vectors[k]` for a block of `directions` vectors (directions, dim).
    ///
    /// # Errors
    /// [`Error::Usage`] if there are more than [`Linearization::max_directions`]; [`Error::Device`] if the device fails.
    pub fn hvp(&mut self, directions: usize, vectors: &D::Buffer, products: &mut D::Buffer) -> Result<()> {
        if directions == 0 || directions > self.max_directions() {
            return Err(Error::Usage(format!(
                "a block of {directions} directions: from 1 to {} fit this device",
                self.max_directions()
            )));
        }
        self.products(None, directions, vectors, products)
    }

    /// The products of directions that lie as the parameters do, or as a frame says.
    pub(super) fn products(
        &mut self,
        frame: Option<Frame<'_, D>>,
        directions: usize,
        vectors: &D::Buffer,
        products: &mut D::Buffer,
    ) -> Result<()> {
        let Objective { device, network, chunks, .. } = self.objective;
        let mut tangents = match self.tangents.take() {
            Some((room, tangents)) if room >= directions => (room, tangents),
            _ => (directions, Tangents::new(*device, network, chunks[0].samples, directions)?),
        };
        let theta = &self.theta;
        let coupling = self.coupling.as_ref();
        let frame = Frame { coupling, ..frame.unwrap_or(Frame::whole(network, theta)) };
        let scale = self.objective.scale();
        for (i, chunk) in chunks.iter().enumerate() {
            let primal = primal(self.objective, theta, &self.kept, &mut self.recomputed, i);
            tangents.1.hvp(*device, frame, i, chunk, primal, scale, directions, vectors, products);
        }
        if let Some(coupling) = coupling {
            coupling.apply(device, frame.layers, directions, vectors, products);
        }
        self.tangents = Some(tangents);
        Ok(())
    }

    /// Makes what pays for `products` Hessian-vector products, which are then the same but for rounding: two of six products with
    /// the second conv block's weights are replaced by one with a small matrix, if there will be some tens.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn prepare(&mut self, products: usize) -> Result<()> {
        let pays = Coupling::<D>::pays_from(self.objective.network.layers()).is_some_and(|from| products >= from);
        if pays && self.coupling.is_none() {
            self.coupling = Some(Coupling::new(self)?);
        }
        Ok(())
    }

    /// The compression of the Hessian to a subspace that holds its range, if that is worth while: if the subset is small
    /// enough for a dense layer's weights to have coordinates half as many as they are, and `least` coordinates are left: a solve
    /// that might exhaust them would meet those that stand for nothing.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn compression(&mut self, least: usize) -> Result<Option<Compression<'_, 'a, D>>> {
        Compression::new(self, least)
    }

    /// Calls `f(device, chunk, its number, primal)` for each chunk.
    pub(super) fn each_primal(
        &mut self,
        mut f: impl FnMut(&D, &Chunk<D>, usize, &Primal<D>) -> Result<()>,
    ) -> Result<()> {
        for (i, chunk) in self.objective.chunks.iter().enumerate() {
            let primal = primal(self.objective, &self.theta, &self.kept, &mut self.recomputed, i);
            f(self.objective.device, chunk, i, primal)?;
        }
        Ok(())
    }

    /// Hessian-vector products of any number of host vectors, each of length dim; a convenience over
    /// [`Linearization::hvp`] that moves them to the device and back, a block at a time.
    ///
    /// # Errors
    /// As [`Linearization::hvp`].
    pub fn hvp_host(&mut self, vectors: &[Vec<D::Scalar>]) -> Result<Vec<Vec<D::Scalar>>> {
        let (device, dim) = (self.device(), self.dim());
        let block = self.max_directions().min(vectors.len().max(1));
        let (mut input, mut output) = (device.zeros(block * dim)?, device.zeros(block * dim)?);
        let mut products = Vec::with_capacity(vectors.len());
        for group in vectors.chunks(block) {
            for (k, vector) in group.iter().enumerate() {
                device.write(&mut input, k * dim, vector);
            }
            self.hvp(group.len(), &input, &mut output)?;
            for k in 0..group.len() {
                products.push(device.read(&output, k * dim..(k + 1) * dim)?);
            }
        }
        Ok(products)
    }
}

/// The primal of chunk `i`: kept, or recomputed.
fn primal<'p, D: Device>(
    objective: &Objective<'_, D>,
    theta: &D::Buffer,
    kept: &'p [Primal<D>],
    recomputed: &'p mut Option<(Primal<D>, D::Buffer)>,
    i: usize,
) -> &'p Primal<D> {
    match (kept.get(i), recomputed) {
        (Some(primal), _) => primal,
        (None, Some((primal, by_product))) => {
            let Objective { device, network, chunks, .. } = objective;
            primal.forward(*device, network, &chunks[i], theta);
            primal.backward(*device, network, &chunks[i], theta, objective.scale(), by_product, false);
            primal
        }
        (None, None) => unreachable!("a chunk is kept or recomputed"),
    }
}

impl<D: Device> SymmetricOperator<D> for Linearization<'_, D> {
    fn device(&self) -> &D {
        Linearization::device(self)
    }

    fn dimension(&self) -> usize {
        self.dim()
    }

    fn max_block(&self) -> usize {
        self.max_directions()
    }

    fn apply(&mut self, count: usize, vectors: &D::Buffer, products: &mut D::Buffer) -> Result<()> {
        self.hvp(count, vectors, products)
    }
}
