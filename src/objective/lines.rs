//! The loss along lines: many forward passes, one wait.

use super::{Objective, cross_entropy};
use crate::device::{Columns, ColumnsMut, Device, Scalar, Update};
use crate::{Error, Result};

/// Probes between two waits for the device.
const BATCH: usize = 64;

/// A point `theta + step * direction`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Which of the directions.
    pub direction: usize,
    /// How far along it.
    pub step: f64,
}

impl<D: Device> Objective<'_, D> {
    /// The loss of every sample at every probe, `losses[p][n]`, in f64 from the device's logits.
    ///
    /// Differences of losses are best taken sample by sample, and then averaged: see [`mean_difference`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn losses_along(
        &mut self,
        theta: &D::Buffer,
        directions: &[D::Buffer],
        probes: &[Probe],
    ) -> Result<Vec<Vec<f64>>> {
        let (device, network, classes) = (self.device, self.network, self.network.classes());
        let (dim, len) = (network.dim(), self.samples * classes);
        let mut primal = self.take_scratch()?;
        let mut point = device.zeros(dim)?;
        let batch = (device.max_buffer_len() / len).clamp(1, BATCH);
        let mut gathered = device.zeros(batch.min(probes.len()) * len)?;
        let labels: Vec<u8> = self.chunks.iter().flat_map(|c| c.host_labels.iter().copied()).collect();
        let mut losses = Vec::with_capacity(probes.len());
        for group in probes.chunks(batch) {
            for (p, probe) in group.iter().enumerate() {
                device.copy(theta, 0, &mut point, 0, dim);
                device.update(Update {
                    rows: dim,
                    w: ColumnsMut { buffer: &mut point, offset: 0, pitch: dim, count: 1 },
                    v: Columns { buffer: &directions[probe.direction], offset: 0, pitch: dim, count: 1 },
                    h: &[-probe.step],
                    m: &[1.0],
                });
                let mut at = p * len;
                for chunk in &self.chunks {
                    primal.forward(device, network, chunk, &point);
                    device.copy(
                        primal.output(network.layers().len() - 1),
                        0,
                        &mut gathered,
                        at,
                        chunk.samples * classes,
                    );
                    at += chunk.samples * classes;
                }
            }
            let logits: Vec<f64> =
                device.read(&gathered, 0..group.len() * len)?.into_iter().map(Scalar::widen).collect();
            losses.extend(logits.chunks_exact(len).map(|logits| {
                let samples = logits.chunks_exact(classes).zip(&labels);
                samples.map(|(z, &label)| cross_entropy::loss(z, usize::from(label))).collect::<Vec<f64>>()
            }));
        }
        self.scratch = Some(primal);
        Ok(losses)
    }
}

/// Mean of `after - before` over samples: what rounding has in common in both cancels.
///
/// # Errors
/// [`Error::Numerical`] if a loss at `before` is not finite; one at `after` makes the difference infinite.
pub fn mean_difference(after: &[f64], before: &[f64]) -> Result<f64> {
    if before.iter().any(|l| !l.is_finite()) {
        return Err(Error::Numerical("the loss is not finite: the parameters have diverged or are broken".into()));
    }
    let sum: f64 = after.iter().zip(before).map(|(a, b)| a - b).sum();
    Ok(if sum.is_finite() { sum / before.len() as f64 } else { f64::INFINITY })
}
