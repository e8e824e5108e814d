//! Appendix C: the optimiser that the paper proposes, beside plain RMSProp.

use super::tracking::cosines;
use super::{Landscape, NetworkLandscape, Session};
use crate::Result;
use crate::data::{Dataset, Samples};
use crate::device::{Device, Scalar};
use crate::eigen::{NoMonitor, Options};
use crate::network::Network;
use crate::objective::{DEFAULT_CHUNK, Objective};
use crate::run::{RunDirectory, TensorFile, save_interval, write_rows};
use crate::train::{Direction, DirectionState, Schedule, Trainer, TrainerState};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the state of a run is saved.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// An optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// RMSProp alone.
    Rmsprop,
    /// RMSProp alternating with steps along the running bottom eigenvector.
    Alternating,
}

/// A row of `tables/appendix_c.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerRow {
    /// Seed of the initial parameters and of the order of the samples.
    pub seed: u64,
    /// Optimiser.
    pub method: Method,
    /// Steps of the run.
    pub step: u64,
    /// Loss on the fixed subset.
    pub loss: f64,
    /// Accuracy on the fixed subset.
    pub accuracy: f64,
}

/// A row of `tables/appendix_c_direction.csv`: the running eigenvector v~ against the true one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectionRow {
    /// Seed of the run.
    pub seed: u64,
    /// Steps of the run.
    pub step: u64,
    /// The optimiser's own running mean of `v~^T H v~` over minibatches.
    pub estimate: Option<f64>,
    /// `v~^T H v~` on the fixed subset.
    pub rayleigh: f64,
    /// The smallest eigenvalue there.
    pub eigenvalue: f64,
    /// `|v~^T v_d|`.
    pub cosine: f64,
    /// `converged`, `noise-floor` or `budget-spent`: what the smallest eigenvalue is worth.
    pub status: String,
}

/// A row of `clock/appendix_c.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSeconds {
    /// Seed of the run.
    pub seed: u64,
    /// Optimiser.
    pub method: Method,
    /// Steps of the run.
    pub step: u64,
    /// Wall-clock seconds of those steps, without the evaluations between them.
    pub seconds: f64,
}

/// Runs both optimisers from every seed.
///
/// # Errors
/// What the training, the solver, the device or the files meet. What was written stands, and a resumed run goes on there.
pub fn run<D: Device>(
    device: &D,
    network: &Network,
    data: &Dataset,
    subset: &Samples,
    memory: Option<usize>,
    session: &mut Session<'_>,
) -> Result<()> {
    let Session { configuration, run, .. } = *session;
    let settings = &configuration.appendix_c;
    let runs: Vec<(u64, Method)> =
        settings.seeds.iter().flat_map(|&seed| [Method::Rmsprop, Method::Alternating].map(|m| (seed, m))).collect();
    session.observer.begin("optimisers", runs.len() as u64 * settings.steps);
    let mut landscape = NetworkLandscape::new(device, network, subset, memory)?;
    let bottom = Options { largest: 0, smallest: 1, guard: false, ..configuration.spectra.options() };
    let mut objective = Objective::new(device, network, subset, DEFAULT_CHUNK)?;
    for (i, &(seed, method)) in runs.iter().enumerate() {
        let mut log = Log::open(run, seed, method)?;
        let name = format!("appendix-c-{seed}-{}", if method == Method::Rmsprop { "rmsprop" } else { "alternating" });
        if log.rows.iter().any(|r| r.seed == seed && r.method == method && r.step == settings.steps) {
            run.finished(&name);
            continue;
        }
        let path = run.unfinished(&name);
        let start = || {
            let theta = configuration.network.init.parameters(network, seed);
            Ok((TrainerState::start(theta), DirectionState::start(network.dim()), 0.0))
        };
        let (state, direction, mut seconds) = if path.exists() { read_unfinished(&path)? } else { start()? };
        log.keep_before(state.step);
        let schedule = Schedule { seed, ..configuration.training.clone() };
        let mut trainer = Trainer::new(device, network, &data.train, schedule, &state)?;
        let mut direction = Direction::new(device, settings.optimizer.clone(), &direction)?;
        let save_every = save_interval(SAVE_EVERY);
        let mut saved = Instant::now();
        loop {
            let step = trainer.step_count();
            if method == Method::Alternating && settings.compare_at.contains(&step) {
                let theta = device.download(trainer.theta(), network.dim())?;
                let vector = device.download(direction.vector(), network.dim())?;
                let jet = landscape.jets(&theta, &[&vector])?[0];
                let spectrum = landscape.spectrum(&theta, &bottom, None, &mut NoMonitor)?;
                let pair = &spectrum.solution.smallest[0];
                let true_vector: Vec<f32> = pair.vector.iter().map(|v| v.widen() as f32).collect();
                log.directions.push(DirectionRow {
                    seed,
                    step,
                    estimate: direction.value(),
                    rayleigh: jet.curvature,
                    eigenvalue: pair.value,
                    cosine: cosines(&[&vector], &[&true_vector])[0].abs(),
                    status: pair.status.to_string(),
                });
            }
            if step % settings.evaluate_every == 0 || step == settings.steps {
                let evaluation = objective.evaluate(trainer.theta())?;
                session.observer.advance(
                    i as u64 * settings.steps + step,
                    &format!("{method:?} from seed {seed}: loss {:.4}", evaluation.loss),
                );
                log.seconds.push(OptimizerSeconds { seed, method, step, seconds: (1000.0 * seconds).round() / 1000.0 });
                log.rows.push(OptimizerRow {
                    seed,
                    method,
                    step,
                    loss: evaluation.loss,
                    accuracy: evaluation.accuracy,
                });
            }
            if step == settings.steps {
                break;
            }
            if saved.elapsed() >= save_every && step > state.step {
                log.write(run)?;
                write_unfinished(&path, &trainer.state()?, &direction.state(device)?, seconds)?;
                saved = Instant::now();
            }
            let start = Instant::now();
            match method {
                Method::Rmsprop => trainer.step()?,
                Method::Alternating => trainer.alternating_step(&mut direction)?,
            };
            seconds += start.elapsed().as_secs_f64();
        }
        log.write(run)?;
        run.finished(&name);
    }
    session.observer.end(&format!("{} runs of {} steps", runs.len(), settings.steps));
    Ok(())
}

/// The tables as they grow.
struct Log {
    seed: u64,
    method: Method,
    rows: Vec<OptimizerRow>,
    directions: Vec<DirectionRow>,
    seconds: Vec<OptimizerSeconds>,
}

impl Log {
    fn open(run: &RunDirectory, seed: u64, method: Method) -> Result<Self> {
        Ok(Self {
            seed,
            method,
            rows: run.read_table_so_far("appendix_c")?,
            directions: run.read_table_so_far("appendix_c_direction")?,
            seconds: run.read_clock_so_far("appendix_c")?,
        })
    }

    /// Drops what this run had written at `step` and later: it will be written again.
    fn keep_before(&mut self, step: u64) {
        let Self { seed, method, .. } = *self;
        let ours = |s: u64, m: Method, at: u64| s == seed && m == method && at >= step;
        self.rows.retain(|r| !ours(r.seed, r.method, r.step));
        self.directions.retain(|r| !ours(r.seed, Method::Alternating, r.step));
        self.seconds.retain(|r| !ours(r.seed, r.method, r.step));
    }

    /// The rows last: that a run is complete is read from them.
    fn write(&self, run: &RunDirectory) -> Result<()> {
        write_rows(&run.clock("appendix_c"), &self.seconds)?;
        run.write_table("appendix_c_direction", &self.directions)?;
        run.write_table("appendix_c", &self.rows)
    }
}

fn write_unfinished(path: &Path, state: &TrainerState, direction: &DirectionState, seconds: f64) -> Result<()> {
    let mut file = TensorFile::default();
    for (name, values) in [
        ("theta", &state.theta),
        ("mean_square", &state.mean_square),
        ("momenta", &state.momenta),
        ("vector", &direction.vector),
        ("velocity", &direction.velocity),
    ] {
        file.insert(name, &[values.len()], values.clone());
    }
    file.note("step", state.step);
    file.note("value", serde_json::to_string(&direction.value).expect("a number or null"));
    file.note("scale", direction.scale);
    file.note("seconds", seconds);
    file.write(path)
}

fn read_unfinished(path: &Path) -> Result<(TrainerState, DirectionState, f64)> {
    let file = TensorFile::read(path)?;
    let vector = |name: &str| -> Result<Vec<f32>> { Ok(file.get(name)?.data.to_f32()) };
    let state = TrainerState {
        step: file.read_note("step")?,
        theta: vector("theta")?,
        mean_square: vector("mean_square")?,
        momenta: vector("momenta")?,
    };
    let direction = DirectionState {
        vector: vector("vector")?,
        velocity: vector("velocity")?,
        value: file.read_note("value")?,
        scale: file.read_note("scale")?,
    };
    Ok((state, direction, file.read_note("seconds")?))
}
