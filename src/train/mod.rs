//! Training as the paper did it: RMSProp with momentum, a learning rate that decays at every step, minibatches of 32.

mod batches;
mod negative;

pub use batches::Batches;
pub use negative::{Direction, DirectionState, NegativeCurvature};

use crate::data::Samples;
use crate::device::{Device, RmsPropStep};
use crate::network::Network;
use crate::objective::{DEFAULT_CHUNK, Evaluation, Objective};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How to train. The defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Samples a minibatch.
    pub batch: usize,
    /// Learning rate of the first step.
    pub rate: f64,
    /// What the learning rate is multiplied by over an epoch; it decays at every step.
    pub rate_decay: f64,
    /// RMSProp's decay of the mean square.
    pub rms_decay: f64,
    /// Momentum.
    pub momentum: f64,
    /// Added to the mean square inside the root.
    pub epsilon: f64,
    /// Seed of the order of the samples.
    pub seed: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { batch: 32, rate: 0.00036, rate_decay: 0.75, rms_decay: 0.95, momentum: 0.22, epsilon: 1e-10, seed: 0 }
    }
}

impl Schedule {
    /// Learning rate of step `step` (from 0) on a training set of `samples`.
    pub fn rate_at(&self, step: u64, samples: usize) -> f64 {
        let steps_per_epoch = samples as f64 / self.batch as f64;
        self.rate * self.rate_decay.powf(step as f64 / steps_per_epoch)
    }

    /// Refuses what cannot work on a training set of `samples`.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the setting.
    pub fn check(&self, samples: usize) -> Result<()> {
        let in_unit = |x: f64| (0.0..1.0).contains(&x);
        let wrong = if self.batch == 0 || self.batch > samples {
            format!("batch {} must be from 1 to the {samples} training samples", self.batch)
        } else if !(self.rate > 0.0 && self.rate.is_finite()) {
            format!("rate {} must be positive", self.rate)
        } else if !(self.rate_decay > 0.0 && self.rate_decay <= 1.0) {
            format!("rate_decay {} must be above 0 and at most 1", self.rate_decay)
        } else if !in_unit(self.rms_decay) || !in_unit(self.momentum) {
            format!("rms_decay {} and momentum {} must be from 0 to below 1", self.rms_decay, self.momentum)
        } else if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            format!("epsilon {} must not be negative", self.epsilon)
        } else {
            return Ok(());
        };
        Err(Error::Usage(format!("training: {wrong}")))
    }
}

/// Parameters and optimiser state after some steps, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerState {
    /// Steps done.
    pub step: u64,
    /// Parameters (dim).
    pub theta: Vec<f32>,
    /// RMSProp's mean square (dim).
    pub mean_square: Vec<f32>,
    /// Momentum (dim).
    pub momenta: Vec<f32>,
}

impl TrainerState {
    /// The state before the first step: TensorFlow 1 starts the mean square at one.
    pub fn start(theta: Vec<f32>) -> Self {
        let dim = theta.len();
        Self { step: 0, theta, mean_square: vec![1.0; dim], momenta: vec![0.0; dim] }
    }
}

/// What a step saw, before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The step's number, from 0.
    pub step: u64,
    /// Learning rate.
    pub rate: f64,
    /// Loss and accuracy on the minibatch.
    pub batch: Evaluation,
}

/// A training run in progress, on a device.
pub struct Trainer<'a, D: Device> {
    device: &'a D,
    network: &'a Network,
    train: &'a Samples,
    schedule: Schedule,
    batches: Batches,
    objective: Objective<'a, D>,
    step: u64,
    theta: D::Buffer,
    mean_square: D::Buffer,
    momenta: D::Buffer,
    gradient: D::Buffer,
}

impl<'a, D: Device> Trainer<'a, D> {
    /// Continues from `state`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a schedule that cannot work; [`Error::Device`] if it does not fit the device.
    pub fn new(
        device: &'a D,
        network: &'a Network,
        train: &'a Samples,
        schedule: Schedule,
        state: &TrainerState,
    ) -> Result<Self> {
        schedule.check(train.len())?;
        let upload = |values: &[f32]| -> Result<D::Buffer> {
            if values.len() != network.dim() {
                return Err(Error::Usage(format!("{} parameters given, {} wanted", values.len(), network.dim())));
            }
            device.upload(values)
        };
        let mut batches = Batches::new(train.len(), schedule.batch, schedule.seed);
        let first = train.select(&batches.indices(state.step));
        Ok(Self {
            device,
            network,
            train,
            batches,
            objective: Objective::new(device, network, &first, DEFAULT_CHUNK)?,
            step: state.step,
            theta: upload(&state.theta)?,
            mean_square: upload(&state.mean_square)?,
            momenta: upload(&state.momenta)?,
            gradient: device.zeros(network.dim())?,
            schedule,
        })
    }

    /// Steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Parameters (dim), on the device.
    pub fn theta(&self) -> &D::Buffer {
        &self.theta
    }

    /// One step on the next minibatch.
    ///
    /// # Errors
    /// [`Error::Numerical`] if the loss is no longer finite; [`Error::Device`] if the device fails.
    pub fn step(&mut self) -> Result<StepReport> {
        let batch = self.train.select(&self.batches.indices(self.step));
        self.step_on(&batch)
    }

    /// One step on the given minibatch, of the schedule's size.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn step_on(&mut self, batch: &Samples) -> Result<StepReport> {
        self.objective.load(batch)?;
        let evaluation = self.objective.gradient(&self.theta, &mut self.gradient).map_err(|e| self.diverged(e))?;
        Ok(self.rmsprop(evaluation))
    }

    /// A loss that is not finite, with the step at which it was met.
    fn diverged(&self, error: Error) -> Error {
        match error {
            Error::Numerical(m) => Error::Numerical(format!("step {}: {m}; try a smaller rate", self.step)),
            other => other,
        }
    }

    /// Moves the parameters by the gradient that was computed.
    fn rmsprop(&mut self, evaluation: Evaluation) -> StepReport {
        let rate = self.schedule.rate_at(self.step, self.train.len());
        self.device.rmsprop_step(RmsPropStep {
            len: self.network.dim(),
            rate,
            decay: self.schedule.rms_decay,
            momentum: self.schedule.momentum,
            epsilon: self.schedule.epsilon,
            gradient: &self.gradient,
            mean_square: &mut self.mean_square,
            momenta: &mut self.momenta,
            theta: &mut self.theta,
        });
        self.step += 1;
        StepReport { step: self.step - 1, rate, batch: evaluation }
    }

    /// Copies parameters and optimiser state to the host, as f32.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn state(&self) -> Result<TrainerState> {
        let read = |buffer: &D::Buffer| self.device.download(buffer, self.network.dim());
        Ok(TrainerState {
            step: self.step,
            theta: read(&self.theta)?,
            mean_square: read(&self.mean_square)?,
            momenta: read(&self.momenta)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_decays_to_three_quarters_in_an_epoch() {
        let schedule = Schedule::default();
        assert_eq!(schedule.rate_at(0, 50_000), 0.00036);
        // An epoch of 50,000 samples is 1562.5 steps of 32.
        assert!((schedule.rate_at(3125, 50_000) / (0.00036 * 0.75 * 0.75) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn impossible_schedules_are_refused() {
        for (schedule, hint) in [
            (Schedule { batch: 0, ..Schedule::default() }, "batch 0"),
            (Schedule { batch: 101, ..Schedule::default() }, "batch 101"),
            (Schedule { rate: f64::NAN, ..Schedule::default() }, "rate NaN"),
            (Schedule { rate_decay: 1.5, ..Schedule::default() }, "rate_decay"),
            (Schedule { momentum: 1.0, ..Schedule::default() }, "momentum"),
            (Schedule { epsilon: -1.0, ..Schedule::default() }, "epsilon"),
        ] {
            let message = schedule.check(100).unwrap_err().to_string();
            assert!(message.contains(hint), "{message}");
        }
    }
}
