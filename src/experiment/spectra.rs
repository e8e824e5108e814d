//! The extreme eigenpairs at one checkpoint, and their file.

use crate::Result;
use crate::data::Samples;
use crate::device::cpu::CpuDevice;
use crate::device::{Device, Scalar};
use crate::eigen::{Eigenpair, Monitor, Options, Solution, SolverState, choose_block, resume, solve};
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
    /// Hessian-vector products of the search for missed pairs.
    pub guard_hvps: usize,
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
    /// Vectors a block, as asked for or as `auto` found.
    pub block: usize,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Which spectrum to compute.
pub struct SpectrumRequest<'a> {
    /// The network.
    pub network: &'a Network,
    /// Its parameters (dim).
    pub theta: &'a [f32],
    /// The samples whose mean loss is looked at.
    pub subset: &'a Samples,
    /// What the solver is asked for.
    pub options: Options,
    /// Whether to choose the block size by timing products; a saved state's goes first.
    pub auto_block: bool,
    /// Bytes for what products may keep; the device's default if none.
    pub memory: Option<usize>,
    /// Whether the f64 twin judges the pairs in the end.
    pub judge: bool,
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
        file.note("guard_hvps", self.solution.guard_products);
        file.note("verification_hvps", self.solution.verification_products);
        file.note("guard", serde_json::to_string(&self.solution.guard).expect("a word").replace('"', ""));
        file.note("loss", self.evaluation.loss);
        file.note("accuracy", self.evaluation.accuracy);
        file
    }
}

/// Computes a spectrum, from the beginning or from a saved state.
///
/// # Errors
/// What the solver, the device or the monitor meets.
pub fn compute_spectrum<D: Device>(
    device: &D,
    request: &SpectrumRequest<'_>,
    state: Option<&SolverState<D::Scalar>>,
    monitor: &mut impl Monitor<D::Scalar>,
) -> Result<Spectrum<D::Scalar>> {
    let start = Instant::now();
    let dim = request.network.dim();
    let objective = Objective::new(device, request.network, request.subset, DEFAULT_CHUNK)?;
    let mut hessian = objective.linearize_host(request.theta, request.memory)?;
    let mut options = request.options.clone();
    match state {
        Some(state) => options.block = state.next.len() / dim,
        None if request.auto_block => options.block = choose_block(&mut hessian)?,
        None => {}
    }
    let mut solution = match state {
        Some(state) => resume(&mut hessian, &options, state, monitor)?,
        None => solve(&mut hessian, &options, monitor)?,
    };
    if request.judge {
        let twin = CpuDevice::<f64>::new();
        let objective = Objective::new(&twin, request.network, request.subset, DEFAULT_CHUNK)?;
        solution.judge(&mut objective.linearize_host(request.theta, None)?)?;
    }
    let gradient = device.read(hessian.gradient(), 0..dim)?;
    let seconds = state.map_or(0.0, |s| s.seconds) + start.elapsed().as_secs_f64();
    Ok(Spectrum { solution, gradient, evaluation: hessian.evaluation(), block: options.block, seconds })
}
