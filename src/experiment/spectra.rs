//! The extreme eigenpairs at the checkpoints of a run, and their files.

use super::{Landscape, Session};
use crate::data::Samples;
use crate::device::cpu::CpuDevice;
use crate::device::{Device, Scalar};
use crate::eigen::{
    self, Eigenpair, Monitor, Options, Phase, Residuals, Solution, SolverState, SymmetricOperator, choose_block,
    resume, solve,
};
use crate::figure::End;
use crate::network::Network;
use crate::objective::{DEFAULT_CHUNK, Evaluation, Objective};
use crate::run::{
    ConvergenceLog, ConvergenceRow, MetricsRow, RunDirectory, TensorData, TensorFile, read_rows, read_state,
    save_interval, write_rows, write_state,
};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a solve's state is saved: hundreds of megabytes.
const SAVE_EVERY: Duration = Duration::from_secs(120);

/// A row of `tables/eigenvalues.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EigenvalueRow {
    /// Steps of the training.
    pub step: u64,
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Eigenvalue.
    pub value: f64,
    /// Recomputed residual `||H v - value v||`.
    pub residual: f64,
    /// `converged`, `noise-floor` or `budget-spent`.
    pub status: String,
}

/// A row of `tables/loss.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossRow {
    /// Steps of the training.
    pub step: u64,
    /// Loss on the fixed subset whose Hessian is looked at.
    pub loss: f64,
}

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
    /// Products after which all wanted largest pairs had converged, if they did.
    pub largest_hvps: Option<usize>,
    /// Products after which all wanted smallest pairs had converged, if they did.
    pub smallest_hvps: Option<usize>,
    /// Bytes of the basis.
    pub basis_bytes: usize,
}

/// A row of `clock/spectra.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpectrumSeconds {
    /// Steps of the training.
    pub step: u64,
    /// Wall-clock seconds of the solve, its guard and its verification.
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
    /// Length of the solve's vectors: dim, or less where the Hessian was compressed.
    pub dimension: usize,
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
    /// The file: `eigenvalues (k)` in descending order, `residuals (k)`, `gradient (d)` and, if the solver
    /// was asked for them, `eigenvectors (k, d)`; statuses, products and the loss in the metadata.
    pub fn to_file(&self) -> TensorFile {
        let pairs: Vec<&Eigenpair<T>> = self.solution.descending().collect();
        let (k, d) = (pairs.len(), self.gradient.len());
        let narrow = |values: &[T]| values.iter().map(|v| v.widen() as f32).collect::<Vec<f32>>();
        let mut file = TensorFile::default();
        file.insert("eigenvalues", &[k], pairs.iter().map(|p| p.value).collect::<Vec<f64>>());
        file.insert("residuals", &[k], pairs.iter().map(|p| p.residual).collect::<Vec<f64>>());
        file.insert("gradient", &[d], narrow(&self.gradient));
        if pairs.iter().all(|p| p.vector.len() == d) {
            // Vector by vector: a flat map of so many scalars takes seconds.
            let mut vectors: Vec<f32> = Vec::with_capacity(k * d);
            pairs.iter().for_each(|p| vectors.extend(p.vector.iter().map(|v| v.widen() as f32)));
            file.insert("eigenvectors", &[k, d], vectors);
        }
        let statuses: Vec<_> = pairs.iter().map(|p| p.status).collect();
        file.note("status", serde_json::to_string(&statuses).expect("statuses are plain"));
        file.note("largest", self.solution.largest.len());
        file.note("smallest", self.solution.smallest.len());
        file.note("hvps", self.solution.products);
        file.note("guard_hvps", self.solution.guard_products);
        file.note("verification_hvps", self.solution.verification_products);
        let bounded = self.solution.residuals == Residuals::Bounded;
        file.note("residuals_are", if bounded { "bounds" } else { "recomputed" });
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
    let objective = Objective::new(device, request.network, request.subset, DEFAULT_CHUNK)?;
    let mut hessian = objective.linearize_host(request.theta, request.memory)?;
    hessian.prepare(PRODUCTS_A_PAIR * (request.options.largest + request.options.smallest))?;
    let mut dimension = hessian.dim();
    let (mut solution, block) =
        match hessian.compression(LEAST_COORDINATES * (request.options.basis + request.options.block))? {
            Some(mut compression) => {
                dimension = compression.dimension();
                pairs(&mut compression, request, state, monitor)?
            }
            None => pairs(&mut hessian, request, state, monitor)?,
        };
    if request.judge {
        let twin = CpuDevice::<f64>::new();
        let objective = Objective::new(&twin, request.network, request.subset, DEFAULT_CHUNK)?;
        solution.judge(&mut objective.linearize_host(request.theta, None)?)?;
    }
    let gradient = device.read(hessian.gradient(), 0..request.network.dim())?;
    let seconds = state.map_or(0.0, |s| s.seconds) + start.elapsed().as_secs_f64();
    Ok(Spectrum { solution, gradient, evaluation: hessian.evaluation(), block, dimension, seconds })
}

/// Hessian-vector products that a pair takes, about (benches/RESULTS.md).
const PRODUCTS_A_PAIR: usize = 5;

/// Coordinates that a compressed Hessian must have for each vector of a solve's basis, so that a Krylov space stays far from all of
/// them.
const LEAST_COORDINATES: usize = 10;

/// The eigenpairs of an operator, and the vectors to a block that were used.
fn pairs<D: Device>(
    operator: &mut impl SymmetricOperator<D>,
    request: &SpectrumRequest<'_>,
    state: Option<&SolverState<D::Scalar>>,
    monitor: &mut impl Monitor<D::Scalar>,
) -> Result<(Solution<D::Scalar>, usize)> {
    let mut options = request.options.clone();
    match state {
        Some(state) => options.block = state.next.len() / state.dimension.max(1),
        None if request.auto_block => options.block = choose_block(operator)?,
        None => {}
    }
    let solution = match state {
        Some(state) => resume(operator, &options, state, monitor)?,
        None => solve(operator, &options, monitor)?,
    };
    Ok((solution, options.block))
}

/// A spectrum as its file tells it.
pub struct StoredSpectrum {
    /// The pairs, in descending order of their values.
    pub pairs: Vec<StoredPair>,
}

/// An eigenpair as a file tells it.
pub struct StoredPair {
    /// End of the spectrum.
    pub end: End,
    /// 1 for the outermost.
    pub rank: usize,
    /// Eigenvalue.
    pub value: f64,
    /// Residual, or a bound of it.
    pub residual: f64,
    /// `converged`, `noise-floor` or `budget-spent`.
    pub status: String,
    /// Unit vector (dim); empty if the file has none.
    pub vector: Vec<f32>,
}

impl StoredSpectrum {
    /// Reads what [`Spectrum::to_file`] made.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or broken.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::read(path)?;
        let values = file.get("eigenvalues")?.data.to_f64();
        let residuals = file.get("residuals")?.data.to_f64();
        let statuses: Vec<String> = file.read_note("status")?;
        let largest: usize = file.read_note("largest")?;
        let count = values.len();
        let mut vectors = match file.tensors.get("eigenvectors") {
            Some(tensor) if tensor.shape.len() == 2 && tensor.shape[0] == count => {
                tensor.data.to_f32().chunks_exact(tensor.shape[1].max(1)).map(<[f32]>::to_vec).collect()
            }
            Some(_) => return Err(Error::file(path, "its eigenvectors are not as many as its eigenvalues")),
            None => vec![Vec::new(); count],
        }
        .into_iter();
        let pairs =
            values.into_iter().zip(residuals).zip(statuses).enumerate().map(|(i, ((value, residual), status))| {
                let (end, rank) = if i < largest { (End::Largest, i + 1) } else { (End::Smallest, count - i) };
                StoredPair { end, rank, value, residual, status, vector: vectors.next().unwrap_or_default() }
            });
        Ok(Self { pairs: pairs.collect() })
    }

    /// The pairs of an end, by rank.
    pub fn ranked(&self, end: End) -> Vec<&StoredPair> {
        let mut pairs: Vec<&StoredPair> = self.pairs.iter().filter(|p| p.end == end).collect();
        pairs.sort_by_key(|p| p.rank);
        pairs
    }

    /// The outermost pair of an end.
    pub fn outermost(&self, end: End) -> Option<&StoredPair> {
        self.pairs.iter().find(|p| p.end == end && p.rank == 1)
    }
}

/// Computes the spectra of a run that are not there yet, and writes their tables.
///
/// # Errors
/// What the solver, the device or the files meet. What was written stands, and a resumed run goes on there.
pub fn run<L: Landscape>(landscape: &mut L, session: &mut Session<'_>) -> Result<()>
where
    TensorData: From<Vec<L::Scalar>>,
{
    let at = &session.configuration.spectra.at;
    session.observer.begin("spectra", at.len() as u64);
    for (i, &step) in at.iter().enumerate() {
        if session.run.spectrum(step).exists() {
            session.run.finished(&unfinished_name(step));
        } else {
            one(landscape, session, i as u64, step)?;
        }
        session.observer.advance(i as u64 + 1, "");
    }
    let unconverged = write_tables(session)?;
    session.observer.end(&match unconverged {
        0 => "all pairs converged".into(),
        n => format!("{n} pairs are not converged: see status in tables/eigenvalues.csv"),
    });
    Ok(())
}

fn one<L: Landscape>(landscape: &mut L, session: &mut Session<'_>, done: u64, step: u64) -> Result<()>
where
    TensorData: From<Vec<L::Scalar>>,
{
    let run = session.run;
    let options = session.configuration.spectra.options();
    let theta = session.theta(step)?;
    let name = unfinished_name(step);
    let log = run.convergence_log(step);
    let mut tell = |detail: &str| session.observer.advance(done, &format!("step {step}: {detail}"));
    let spectrum = resumable(landscape, run, &name, &theta, &options, &log, &mut tell)?;
    // The costs first: a spectrum's file promises that they are in their tables.
    let rows: Vec<ConvergenceRow> = read_rows(&log)?;
    let search = || rows.iter().filter(|r| r.phase == Phase::Search);
    let after = |all: &dyn Fn(&ConvergenceRow) -> bool| search().find(|r| all(r)).map(|r| r.hvps);
    let cost = CostRow {
        step,
        hvps: spectrum.solution.products,
        guard_hvps: spectrum.solution.guard_products,
        verification_hvps: spectrum.solution.verification_products,
        largest_hvps: after(&|r| r.largest >= options.largest.min(theta.len())),
        smallest_hvps: after(&|r| r.smallest >= options.smallest.min(theta.len())),
        basis_bytes: (options.basis + options.block) * spectrum.dimension * size_of::<L::Scalar>(),
    };
    let costs = with_row(run.read_table_so_far("cost")?, cost, |row: &CostRow| row.step);
    run.write_table("cost", &costs)?;
    let row = SpectrumSeconds { step, seconds: (1000.0 * spectrum.seconds).round() / 1000.0 };
    let seconds = with_row(run.read_clock_so_far("spectra")?, row, |row| row.step);
    write_rows(&run.clock("spectra"), &seconds)?;
    let mut file = spectrum.to_file();
    file.note("step", step);
    file.write(&run.spectrum(step))?;
    run.finished(&name);
    Ok(())
}

fn unfinished_name(step: u64) -> String {
    format!("spectrum-{step:06}")
}

/// Computes a spectrum whose state is kept under `name` and whose convergence is logged, from where it stood.
///
/// # Errors
/// What the solver, the device or the files meet.
pub(super) fn resumable<L: Landscape>(
    landscape: &mut L,
    run: &RunDirectory,
    name: &str,
    theta: &[f32],
    options: &Options,
    log: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<Spectrum<L::Scalar>>
where
    TensorData: From<Vec<L::Scalar>>,
{
    let path = run.unfinished(name);
    let state = if path.exists() { Some(read_state(&path, name)?) } else { None };
    let mut monitor = Following {
        log: ConvergenceLog::open(log, state.as_ref().map_or(0, |s: &SolverState<L::Scalar>| s.counters[0]))?,
        saved: Instant::now(),
        path: &path,
        fingerprint: name,
        options,
        tell,
    };
    landscape.spectrum(theta, options, state.as_ref(), &mut monitor)
}

/// The rows with one more, in place of one with the same key, in ascending order of keys.
fn with_row<R, K: Ord>(mut rows: Vec<R>, row: R, key: impl Fn(&R) -> K) -> Vec<R> {
    rows.retain(|other| key(other) != key(&row));
    rows.push(row);
    rows.sort_by_key(key);
    rows
}

/// Follows a solve: tells, logs, and saves its state.
struct Following<'a> {
    log: ConvergenceLog,
    saved: Instant,
    path: &'a Path,
    fingerprint: &'a str,
    options: &'a Options,
    tell: &'a mut dyn FnMut(&str),
}

impl<T: Scalar> Monitor<T> for Following<'_>
where
    TensorData: From<Vec<T>>,
{
    fn step(&mut self, progress: &eigen::Progress) {
        self.log.add(&progress.into());
        let what = if progress.phase == Phase::Search { "" } else { ", looking for missed pairs" };
        let Options { largest, smallest, .. } = self.options;
        let eigen::Progress { products, largest: la, smallest: sa, .. } = progress;
        (self.tell)(&format!("{products} HVPs, LA {la}/{largest}, SA {sa}/{smallest}{what}"));
    }

    fn wants_state(&mut self, _: usize) -> bool {
        self.saved.elapsed() >= save_interval(SAVE_EVERY)
    }

    fn save(&mut self, state: SolverState<T>) -> Result<()> {
        write_state(self.path, &state, self.fingerprint)?;
        self.saved = Instant::now();
        Ok(())
    }
}

/// Writes `tables/eigenvalues.csv` and `tables/loss.csv` from the spectra and the metrics; returns how many pairs did
/// not converge.
fn write_tables(session: &Session<'_>) -> Result<usize> {
    let run = session.run;
    let mut rows: Vec<EigenvalueRow> = run.read_table_so_far("eigenvalues")?;
    let known: BTreeSet<u64> = rows.iter().map(|row| row.step).collect();
    // The files are large, and most of each is vectors.
    for &step in session.configuration.spectra.at.iter().filter(|step| !known.contains(step)) {
        let row = |p: StoredPair| EigenvalueRow {
            step,
            end: p.end,
            rank: p.rank,
            value: p.value,
            residual: p.residual,
            status: p.status,
        };
        rows.extend(StoredSpectrum::read(&run.spectrum(step))?.pairs.into_iter().map(row));
    }
    rows.sort_by_key(|row| row.step);
    run.write_table("eigenvalues", &rows)?;
    run.write_table("loss", &losses(run)?)?;
    Ok(rows.iter().filter(|r| r.status != "converged").count())
}

/// The losses on the fixed subset that the training recorded.
fn losses(run: &RunDirectory) -> Result<Vec<LossRow>> {
    if !run.metrics().exists() {
        return Ok(Vec::new());
    }
    let metrics: Vec<MetricsRow> = read_rows(&run.metrics())?;
    Ok(metrics.iter().filter_map(|m| m.subset_loss.map(|loss| LossRow { step: m.step, loss })).collect())
}
