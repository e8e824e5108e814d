//! The loss surface as the experiments see it: spectra, derivatives along directions, losses along lines.

use super::{Spectrum, SpectrumRequest, compute_spectrum};
use crate::Result;
use crate::data::Samples;
use crate::device::{Device, Scalar};
use crate::eigen::{Monitor, Options, SolverState};
use crate::network::Network;
use crate::objective::{DEFAULT_CHUNK, Jet, Objective, Probe, mean_difference};

/// Changes of the loss at probes along the directions that it was made for.
pub type LossChanges<'a> = Box<dyn FnMut(&[Probe]) -> Result<Vec<f64>> + 'a>;

/// A function of a parameter vector with known derivatives. Spectra, tracking and lines know no more of a network than
/// this, so that a function whose every answer is known can take its place.
pub trait Landscape {
    /// The type that spectra are computed in.
    type Scalar: Scalar;

    /// The extreme eigenpairs of the Hessian at `theta` (dim), from the beginning or from a saved state.
    ///
    /// # Errors
    /// What the solver, the device or the monitor meets.
    fn spectrum(
        &mut self,
        theta: &[f32],
        options: &Options,
        state: Option<&SolverState<Self::Scalar>>,
        monitor: &mut impl Monitor<Self::Scalar>,
    ) -> Result<Spectrum<Self::Scalar>>;

    /// The loss and its derivatives at `theta` along each direction (dim each).
    ///
    /// # Errors
    /// What the device meets, or a loss that is not finite.
    fn jets(&mut self, theta: &[f32], directions: &[&[f32]]) -> Result<Vec<Jet>>;

    /// `loss(theta + step * direction) - loss(theta)` as a function of probes.
    ///
    /// # Errors
    /// As [`Landscape::jets`].
    fn along<'s>(&'s mut self, theta: &[f32], directions: &[&[f32]]) -> Result<LossChanges<'s>>;
}

/// A network's mean loss on a fixed subset.
pub struct NetworkLandscape<'a, D: Device> {
    device: &'a D,
    network: &'a Network,
    subset: &'a Samples,
    objective: Objective<'a, D>,
    memory: Option<usize>,
}

impl<'a, D: Device> NetworkLandscape<'a, D> {
    /// The landscape of `network` on `subset`; `memory` bytes for what can be reused, the device's default if none.
    ///
    /// # Errors
    /// As [`Objective::new`].
    pub fn new(device: &'a D, network: &'a Network, subset: &'a Samples, memory: Option<usize>) -> Result<Self> {
        let objective = Objective::new(device, network, subset, DEFAULT_CHUNK)?;
        Ok(Self { device, network, subset, objective, memory })
    }

    /// The jets of each sample's loss: `jets[direction][sample]`. Directions are taken in groups that fit the memory.
    ///
    /// # Errors
    /// As [`Landscape::jets`].
    pub fn sample_jets(&mut self, theta: &[f32], directions: &[&[f32]]) -> Result<Vec<Vec<Jet>>> {
        let theta = self.device.upload(theta)?;
        let memory = self.memory.unwrap_or_else(|| self.device.default_memory());
        let group = (memory / 2 / (self.network.dim() * size_of::<D::Scalar>())).max(1);
        let mut jets = Vec::with_capacity(directions.len());
        for group in directions.chunks(group) {
            let uploaded: Vec<D::Buffer> = group.iter().map(|d| self.device.upload(d)).collect::<Result<_>>()?;
            jets.extend(self.objective.jets(&theta, &uploaded)?);
        }
        Ok(jets)
    }
}

impl<D: Device> Landscape for NetworkLandscape<'_, D> {
    type Scalar = D::Scalar;

    fn spectrum(
        &mut self,
        theta: &[f32],
        options: &Options,
        state: Option<&SolverState<D::Scalar>>,
        monitor: &mut impl Monitor<D::Scalar>,
    ) -> Result<Spectrum<D::Scalar>> {
        let request = SpectrumRequest {
            network: self.network,
            theta,
            subset: self.subset,
            options: options.clone(),
            auto_block: false,
            memory: self.memory,
            judge: false,
        };
        compute_spectrum(self.device, &request, state, monitor)
    }

    fn jets(&mut self, theta: &[f32], directions: &[&[f32]]) -> Result<Vec<Jet>> {
        Ok(self.sample_jets(theta, directions)?.iter().map(|jets| Jet::mean(jets)).collect())
    }

    fn along<'s>(&'s mut self, theta: &[f32], directions: &[&[f32]]) -> Result<LossChanges<'s>> {
        let theta = self.device.upload(theta)?;
        let directions: Vec<D::Buffer> = directions.iter().map(|d| self.device.upload(d)).collect::<Result<_>>()?;
        // A step of nothing along any direction: the losses to compare with.
        let nowhere = directions.first().map(|_| Probe { direction: 0, step: 0.0 });
        let before = self.objective.losses_along(&theta, &directions, nowhere.as_slice())?.pop().unwrap_or_default();
        let objective = &mut self.objective;
        Ok(Box::new(move |probes| {
            let after = objective.losses_along(&theta, &directions, probes)?;
            after.iter().map(|after| mean_difference(after, &before)).collect()
        }))
    }
}
