//! The extreme eigenpairs at one checkpoint, and their file.

use crate::Result;
use crate::data::Samples;
use crate::device::{Device, Scalar};
use crate::eigen::{Eigenpair, Options, Progress, Solution, solve};
use crate::network::Network;
use crate::objective::{DEFAULT_CHUNK, Evaluation, Objective};
use crate::run::TensorFile;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a spectrum cost: a row of `tables/cost.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostRow {
    /// Steps of the training.
    pub step: u64,
    /// Hessian-vector products of the solve.
    pub hvps: usize,
    /// Hessian-vector products of the recomputed residuals.
    pub verification_hvps: usize,
    /// Wall-clock seconds of both.
    pub seconds: f64,
}

/// The spectrum at a point.
pub struct Spectrum<T> {
    /// The pairs and what they cost.
    pub solution: Solution<T>,
    /// The gradient (dim).
    pub gradient: Vec<T>,
    /// Loss and accuracy on the subset.
    pub evaluation: Evaluation,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl<T: Scalar> Spectrum<T> {
    /// The file: `eigenvalues (k)` in descending order, `residuals (k)`, `gradient (d)` and, with `save_vectors`,
    /// `eigenvectors (k, d)`; statuses, products and the loss in the metadata.
    pub fn to_file(&self, save_vectors: bool) -> TensorFile {
        let pairs: Vec<&Eigenpair<T>> = self.solution.descending().collect();
        let (k, d) = (pairs.len(), self.gradient.len());
        let narrow = |values: &[T]| values.iter().map(|v| v.widen() as f32).collect::<Vec<f32>>();
        let mut file = TensorFile::default();
        file.insert("eigenvalues", &[k], pairs.iter().map(|p| p.value).collect::<Vec<f64>>());
        file.insert("residuals", &[k], pairs.iter().map(|p| p.residual).collect::<Vec<f64>>());
        file.insert("gradient", &[d], narrow(&self.gradient));
        if save_vectors {
            file.insert("eigenvectors", &[k, d], pairs.iter().flat_map(|p| narrow(&p.vector)).collect::<Vec<f32>>());
        }
        let statuses: Vec<_> = pairs.iter().map(|p| p.status).collect();
        file.note("status", serde_json::to_string(&statuses).expect("statuses are plain"));
        file.note("largest", self.solution.largest.len());
        file.note("smallest", self.solution.smallest.len());
        file.note("hvps", self.solution.products);
        file.note("verification_hvps", self.solution.verification_products);
        file.note("loss", self.evaluation.loss);
        file.note("accuracy", self.evaluation.accuracy);
        file
    }
}

/// Computes the spectrum of the loss on `subset` at the parameters `theta`.
///
/// # Errors
/// What the solver or the device meets.
pub fn compute_spectrum<D: Device>(
    device: &D,
    network: &Network,
    theta: &[f32],
    subset: &Samples,
    options: &Options,
    memory: Option<usize>,
    report: impl FnMut(Progress),
) -> Result<Spectrum<D::Scalar>> {
    let start = Instant::now();
    let objective = Objective::new(device, network, subset, DEFAULT_CHUNK)?;
    let mut point = device.zeros(network.dim())?;
    device.write(&mut point, 0, &theta.iter().map(|&t| D::Scalar::from_f32(t)).collect::<Vec<_>>());
    let mut hessian = objective.linearize(&point, memory.unwrap_or_else(|| device.default_memory()))?;
    let solution = solve(&mut hessian, options, report)?;
    let gradient = device.read(hessian.gradient(), 0..network.dim())?;
    Ok(Spectrum { solution, gradient, evaluation: hessian.evaluation(), seconds: start.elapsed().as_secs_f64() })
}
