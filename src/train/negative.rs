//! The optimiser that the paper's appendix C proposes and never tried.
//!
//! RMSProp alternates with a step along a running estimate v~ of the bottom eigenvector. `v^T H v` over unit vectors is
//! smallest there, and half its gradient is `H v`, so each minibatch serves three times: its gradient g for RMSProp, its
//! product `H v~` for one step of stochastic gradient descent on the sphere, and `-(g^T v~) v~` for the parameters.

use super::{StepReport, Trainer};
use crate::device::{Columns, ColumnsMut, Device, Gram, Update};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Share of a new minibatch in the running estimate of the eigenvalue.
const NEW: f64 = 0.1;
/// How fast the largest curvature seen is forgotten, an update.
const FORGET: f64 = 0.995;

/// How the bottom eigenvector is estimated, and how far the parameters move along it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NegativeCurvature {
    /// Rate of the descent along `H v`, in units of one over the largest `||H v~||` of late. No fixed rate would do: the
    /// descent diverges above `2 (1 + momentum) / lambda_1`, and lambda_1 grows by orders of magnitude in a training. When
    /// it begins to diverge v~ turns to the top eigenvector, `||H v~||` grows to lambda_1, and the descent is stable again.
    pub estimate_rate: f64,
    /// Momentum of that descent.
    pub momentum: f64,
    /// The parameters move by `-step_rate (g^T v~) v~`.
    pub step_rate: f64,
    /// No further than this at a time: a minibatch's slope along a direction that has just turned may be anything.
    pub longest_step: f64,
    /// Minibatches from one estimate and step to the next.
    pub every: u64,
}

impl Default for NegativeCurvature {
    fn default() -> Self {
        Self { estimate_rate: 0.2, momentum: 0.9, step_rate: 1.0, longest_step: 0.1, every: 1 }
    }
}

impl NegativeCurvature {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the setting.
    pub fn check(&self) -> Result<()> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let wrong = if ![self.estimate_rate, self.step_rate, self.longest_step].into_iter().all(positive) {
            "estimate_rate, step_rate and longest_step must be positive"
        } else if !(0.0..1.0).contains(&self.momentum) {
            "momentum must be from 0 to below 1"
        } else if self.every == 0 {
            "every must be at least 1"
        } else {
            return Ok(());
        };
        Err(Error::Usage(format!("appendix_c.optimizer: {wrong}")))
    }
}

/// The running estimate on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionState {
    /// The unit vector v~ (dim).
    pub vector: Vec<f32>,
    /// Its velocity (dim).
    pub velocity: Vec<f32>,
    /// Running mean of the minibatches' `v~^T H v~`; none before the first.
    pub value: Option<f64>,
    /// The largest `||H v~||` of late.
    pub scale: f64,
}

impl DirectionState {
    /// No estimate yet: the first minibatch's gradient will be the first.
    pub fn start(dim: usize) -> Self {
        Self { vector: vec![0.0; dim], velocity: vec![0.0; dim], value: None, scale: 0.0 }
    }
}

/// The running estimate on a device.
pub struct Direction<D: Device> {
    settings: NegativeCurvature,
    vector: D::Buffer,
    velocity: D::Buffer,
    product: D::Buffer,
    value: Option<f64>,
    scale: f64,
    dim: usize,
}

impl<D: Device> Direction<D> {
    /// Continues from `state`.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that cannot work; [`Error::Device`] if it does not fit the device.
    pub fn new(device: &D, settings: NegativeCurvature, state: &DirectionState) -> Result<Self> {
        settings.check()?;
        let dim = state.vector.len();
        Ok(Self {
            settings,
            vector: device.upload(&state.vector)?,
            velocity: device.upload(&state.velocity)?,
            product: device.zeros(dim)?,
            value: state.value,
            scale: state.scale,
            dim,
        })
    }

    /// The unit vector v~ (dim).
    pub fn vector(&self) -> &D::Buffer {
        &self.vector
    }

    /// Running mean of `v~^T H v~`.
    pub fn value(&self) -> Option<f64> {
        self.value
    }

    /// Takes the direction of a gradient as the first estimate: it has a share in both ends of the spectrum.
    fn begin(&mut self, device: &D, gradient: &D::Buffer) -> Result<()> {
        let norm = self.dot(device, gradient, gradient)?.sqrt();
        if norm > 0.0 {
            device.copy(gradient, 0, &mut self.vector, 0, self.dim);
            add(device, self.dim, &mut self.vector, 1.0 / norm, &self.velocity, 0.0);
            self.scale = f64::MIN_POSITIVE;
        }
        Ok(())
    }

    /// Copies the estimate to the host.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn state(&self, device: &D) -> Result<DirectionState> {
        Ok(DirectionState {
            vector: device.download(&self.vector, self.dim)?,
            velocity: device.download(&self.velocity, self.dim)?,
            value: self.value,
            scale: self.scale,
        })
    }

    /// One step of descent, `product` being the minibatch's `H v~`: the velocity takes up the part of `-H v~` that is
    /// orthogonal to v~, and v~ moves with it and is scaled back to length one.
    ///
    /// Returns the minibatch's curvature along the v~ that it was given.
    fn descend(&mut self, device: &D) -> Result<f64> {
        let curvature = self.dot(device, &self.vector, &self.product)?;
        self.value = Some(self.value.map_or(curvature, |value| value + NEW * (curvature - value)));
        let size = self.dot(device, &self.product, &self.product)?.sqrt();
        self.scale = size.max(FORGET * self.scale);
        let NegativeCurvature { estimate_rate, momentum, .. } = self.settings;
        let rate = if self.scale > 0.0 { estimate_rate / self.scale } else { 0.0 };
        let Self { vector, velocity, product, dim, .. } = self;
        // velocity <- momentum velocity - rate (H v - (v^T H v) v)
        add(device, *dim, velocity, momentum, product, -rate);
        add(device, *dim, velocity, 1.0, vector, rate * curvature);
        add(device, *dim, vector, 1.0, velocity, 1.0);
        let norm = self.dot(device, &self.vector, &self.vector)?.sqrt();
        if !(norm > 0.0 && norm.is_finite()) {
            return Err(Error::Numerical(
                "the running eigenvector is no longer finite: try a smaller appendix_c.optimizer.estimate_rate".into(),
            ));
        }
        add(device, self.dim, &mut self.vector, 1.0 / norm, &self.velocity, 0.0);
        Ok(curvature)
    }

    fn dot(&self, device: &D, a: &D::Buffer, b: &D::Buffer) -> Result<f64> {
        let column = |buffer| Columns { buffer, offset: 0, pitch: self.dim, count: 1 };
        Ok(device.gram(&[&[Gram { rows: self.dim, a: column(a), b: column(b) }]])?[0][0])
    }
}

/// `w <- a w + b v`.
fn add<D: Device>(device: &D, rows: usize, w: &mut D::Buffer, a: f64, v: &D::Buffer, b: f64) {
    if a == 0.0 {
        device.clear(w, 0..rows);
    }
    let a = if a == 0.0 { 1.0 } else { a };
    device.update(Update {
        rows,
        w: ColumnsMut { buffer: w, offset: 0, pitch: rows, count: 1 },
        v: Columns { buffer: v, offset: 0, pitch: rows, count: 1 },
        h: &[-b / a],
        m: &[a],
    });
}

impl<D: Device> Trainer<'_, D> {
    /// One step of RMSProp on the next minibatch, followed by one along `direction`, which the same minibatch has updated.
    ///
    /// The parameters move along it only where both the minibatch and the running estimate see negative curvature.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn alternating_step(&mut self, direction: &mut Direction<D>) -> Result<StepReport> {
        if direction.scale == 0.0 {
            let report = self.step()?;
            direction.begin(self.device, &self.gradient)?;
            return Ok(report);
        }
        if !self.step.is_multiple_of(direction.settings.every) {
            return self.step();
        }
        self.objective.load(&self.train.select(&self.batches.indices(self.step)))?;
        let Direction { vector, product, .. } = direction;
        let evaluation = self
            .objective
            .gradient_and_hvp(&self.theta, &mut self.gradient, vector, product)
            .map_err(|e| self.diverged(e))?;
        let curvature = direction.descend(self.device)?;
        let slope = direction.dot(self.device, &self.gradient, &direction.vector)?;
        let report = self.rmsprop(evaluation);
        if curvature < 0.0 && direction.value.is_some_and(|value| value < 0.0) {
            let NegativeCurvature { step_rate, longest_step, .. } = direction.settings;
            let step = (-step_rate * slope).clamp(-longest_step, longest_step);
            add(self.device, self.network.dim(), &mut self.theta, 1.0, &direction.vector, step);
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::CpuDevice;

    #[test]
    fn the_estimate_finds_the_bottom_of_a_diagonal_operator() {
        let device = CpuDevice::<f64>::new();
        let dim = 200;
        // Eigenvalues from -1 to 50, most of them small, as a network's are.
        let values: Vec<f64> =
            (0..dim).map(|i| if i < 3 { -1.0 + 0.3 * i as f64 } else { 50.0 / (i * i) as f64 }).collect();
        let mut direction = Direction::new(&device, NegativeCurvature::default(), &DirectionState::start(dim)).unwrap();
        direction.begin(&device, &vec![3.0; dim]).unwrap();
        assert!((direction.vector().iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-12);
        for _ in 0..400 {
            direction.product = direction.vector.iter().zip(&values).map(|(v, l)| v * l).collect();
            direction.descend(&device).unwrap();
        }
        assert!((direction.value().unwrap() + 1.0).abs() < 1e-3, "{:?}", direction.value());
        assert!(direction.vector()[0].abs() > 0.999);
        let restored =
            Direction::new(&device, NegativeCurvature::default(), &direction.state(&device).unwrap()).unwrap();
        assert!((restored.vector()[0] - direction.vector()[0]).abs() < 1e-7);
    }
}
