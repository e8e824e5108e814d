//! Figure 1: the largest and the most negative eigenvalues along the training.

use super::{Configuration, CostRow, Observer, SpectrumRequest, TrainingPlan, compute_spectrum, train};
use crate::data::{Dataset, Samples};
use crate::device::Device;
use crate::eigen::{Monitor, Phase, Progress};
use crate::figure::{End, SpectrumRow, eigenvalues_over_steps, svg_to_png};
use crate::run::{Checkpoint, RunDirectory, TensorFile, read_metrics};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A row of `tables/eigenvalues.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EigenvalueRow {
    /// Steps of the training.
    pub step: u64,
    /// `largest` or `smallest`.
    pub end: String,
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

/// Trains, computes the spectra that are not there yet, writes the tables and draws the figure.
///
/// # Errors
/// What the training, the solver, the device or the files meet. What was written stands, and a resumed run goes on there.
pub fn run<D: Device>(
    device: &D,
    configuration: &Configuration,
    data: &Dataset,
    run: &RunDirectory,
    memory: Option<usize>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let network = configuration.network(data)?;
    let spectra = &configuration.spectra;
    let subset = match spectra.subset_seed {
        Some(seed) => data.train.random(spectra.samples, seed)?,
        None => data.train.first(spectra.samples)?,
    };
    let validation = data.validation.first(configuration.validation_samples.min(data.validation.len()))?;
    let plan = TrainingPlan {
        steps: configuration.steps,
        checkpoints: spectra.at.iter().copied().chain([configuration.steps]).collect(),
        evaluate_every: configuration.evaluate_every,
        init: configuration.network.init,
        seed: configuration.network.seed,
        schedule: configuration.training.clone(),
    };
    train(device, data, &network, &plan, &subset, &validation, run, observer)?;

    observer.begin("spectra", spectra.at.len() as u64);
    for (i, &step) in spectra.at.iter().enumerate() {
        if !run.spectrum(step).exists() {
            one_spectrum(device, configuration, data, &subset, run, memory, step, |detail| {
                observer.advance(i as u64, detail);
            })?;
        }
        observer.advance(i as u64 + 1, "");
    }
    let unconverged = write_tables(configuration, run)?;
    draw(run, &data.name)?;
    observer.end(&match unconverged {
        0 => "all pairs converged".into(),
        n => format!("{n} pairs are not converged: see status in tables/eigenvalues.csv"),
    });
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "each part comes from another room")]
fn one_spectrum<D: Device>(
    device: &D,
    configuration: &Configuration,
    data: &Dataset,
    subset: &Samples,
    run: &RunDirectory,
    memory: Option<usize>,
    step: u64,
    tell: impl FnMut(&str),
) -> Result<()> {
    let options = configuration.spectra.options();
    let checkpoint = Checkpoint::read(&run.checkpoint(step), data.shape)?;
    let mut monitor = Telling { step, largest: options.largest, smallest: options.smallest, tell };
    let request = SpectrumRequest {
        network: &checkpoint.network,
        theta: &checkpoint.state.theta,
        subset,
        options,
        auto_block: false,
        memory,
        judge: false,
    };
    let spectrum = compute_spectrum(device, &request, None, &mut monitor)?;
    // The cost first: a spectrum's file promises that its cost is in the table.
    let mut costs: Vec<CostRow> = if run.table("cost").exists() { run.read_table("cost")? } else { Vec::new() };
    costs.retain(|row| row.step != step);
    costs.push(CostRow {
        step,
        hvps: spectrum.solution.products,
        guard_hvps: spectrum.solution.guard_products,
        verification_hvps: spectrum.solution.verification_products,
        seconds: (1000.0 * spectrum.seconds).round() / 1000.0,
    });
    costs.sort_by_key(|row| row.step);
    run.write_table("cost", &costs)?;
    let mut file = spectrum.to_file(configuration.spectra.save_vectors);
    file.note("step", step);
    file.write(&run.spectrum(step))
}

/// Passes a solve's progress on, in words.
struct Telling<F> {
    step: u64,
    largest: usize,
    smallest: usize,
    tell: F,
}

impl<T, F: FnMut(&str)> Monitor<T> for Telling<F> {
    fn step(&mut self, p: &Progress) {
        let what = if p.phase == Phase::Search { "" } else { ", looking for missed pairs" };
        (self.tell)(&format!(
            "step {}: {} HVPs, LA {}/{}, SA {}/{}{what}",
            self.step, p.products, p.largest, self.largest, p.smallest, self.smallest
        ));
    }
}

/// Writes `tables/eigenvalues.csv` and `tables/loss.csv` from the spectra and the metrics; returns how many pairs did
/// not converge.
fn write_tables(configuration: &Configuration, run: &RunDirectory) -> Result<usize> {
    let mut rows = Vec::new();
    for &step in &configuration.spectra.at {
        let path = run.spectrum(step);
        let file = TensorFile::read(&path)?;
        let note = |key: &str| {
            file.metadata.get(key).ok_or_else(|| Error::file(&path, format!("its metadata has no \"{key}\"")))
        };
        let values = file.get("eigenvalues")?.data.to_f64();
        let residuals = file.get("residuals")?.data.to_f64();
        let statuses: Vec<String> = serde_json::from_str(note("status")?).map_err(|e| Error::file(&path, e))?;
        let largest: usize = note("largest")?.parse().map_err(|e| Error::file(&path, e))?;
        for (i, ((value, residual), status)) in values.iter().zip(&residuals).zip(statuses).enumerate() {
            let (end, rank) = if i < largest { ("largest", i + 1) } else { ("smallest", values.len() - i) };
            rows.push(EigenvalueRow { step, end: end.into(), rank, value: *value, residual: *residual, status });
        }
    }
    run.write_table("eigenvalues", &rows)?;
    let metrics = read_metrics(&run.metrics())?;
    let losses: Vec<LossRow> =
        metrics.iter().filter_map(|m| m.subset_loss.map(|loss| LossRow { step: m.step, loss })).collect();
    run.write_table("loss", &losses)?;
    Ok(rows.iter().filter(|r| r.status != "converged").count())
}

/// Draws `figures/fig1.svg` and `.png` from the tables alone.
///
/// # Errors
/// [`Error::File`] if a table is missing or a figure cannot be written.
pub fn draw(run: &RunDirectory, data_name: &str) -> Result<()> {
    let eigenvalues: Vec<EigenvalueRow> = run.read_table("eigenvalues")?;
    let losses: Vec<LossRow> = run.read_table("loss")?;
    let rows: Vec<SpectrumRow> = eigenvalues
        .iter()
        .map(|row| SpectrumRow {
            step: row.step,
            end: if row.end == "largest" { End::Largest } else { End::Smallest },
            rank: row.rank,
            value: row.value,
        })
        .collect();
    let losses: Vec<(f64, f64)> = losses.iter().map(|row| (row.step as f64, row.loss)).collect();
    let title = format!("Extreme eigenvalues of the Hessian during training ({data_name})");
    let svg = eigenvalues_over_steps(&title, &rows, &losses).to_svg(900, 600)?;
    run.write_figure("fig1", &svg, &svg_to_png(&svg, 2.0)?)
}
